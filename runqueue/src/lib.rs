#![doc = include_str!("../README.md")]
//!
//! # How it works
//!
//! Each runtime has one line, [`RunQueue`], of wakers. *Pumps*, tasks of the runtime, as many as it
//! has workers, wake one of the line in each of their rounds. Between two rounds a pump is on
//! tokio's list of those who yield, which a worker wakes only after it found nothing to run and
//! looked at timers and sockets. What is ready beside those who yield is thus one or two of them for
//! each worker, and an event waits for about two of their turns.
//!
//! To look at timers and sockets costs about as much as a short turn. Who comes to the line on a
//! worker therefore wakes the next one directly, until `ROUND` has gone by since the pump's last
//! round there; and where turns are very short, several at a time, as many as take about `BATCH`.

#[cfg(feature = "tokio")]
mod here;
#[cfg(feature = "tokio")]
mod home;
#[cfg(feature = "tokio")]
mod pump;
mod queue;

#[cfg(feature = "tokio")]
use std::time::Duration;

pub use queue::{RunQueue, Yielder, wake_in_turn};

/// For how long those in line wake one another before a worker looks at timers and sockets.
#[cfg(feature = "tokio")]
const ROUND: Duration = Duration::from_micros(100);
/// For how long those may run who are woken at a time, if they are more than one.
#[cfg(feature = "tokio")]
const BATCH: Duration = Duration::from_micros(20);
#[cfg(feature = "tokio")]
const MOST_IN_BATCH: u128 = 32;
