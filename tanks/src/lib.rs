#![doc = include_str!("../README.md")]
//!
//! Where to look: `ledger` is the state machine, which knows neither locks nor clocks; `bucket` a
//! tank's level and rate; `tree` the lock around it all; [`Tap`] and [`FuelTank`] the two ends.

mod bucket;
mod clock;
mod ledger;
#[cfg(all(test, feature = "tokio", not(feature = "shuttle")))]
mod locks;
#[doc(hidden)]
pub mod measure;
#[cfg(all(test, feature = "shuttle"))]
mod shuttled;
mod sync;
mod tank;
mod tap;
mod timer;
mod tree;

pub use tank::{FuelTank, TankClosed};
pub use tap::Tap;
