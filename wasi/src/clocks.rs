//! What time it is for a program.

use std::pin::Pin;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::bindings::types::{Clockid, Errno, Timestamp};
use crate::errno::Result;

/// A clock that only goes forward, by which programs wait.
///
/// One of one's own makes runs repeatable; see
/// [`WasiCtxBuilder::monotonic_clock`](crate::WasiCtxBuilder::monotonic_clock).
pub trait HostMonotonicClock: Send + Sync {
    /// The time between two ticks, in nanoseconds.
    fn resolution(&self) -> u64;

    /// Nanoseconds since some moment.
    fn now(&self) -> u64;

    /// A future that is ready when this much time has passed on the clock. By default it is real
    /// time, for which the tokio runtime must have its timer enabled.
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// A clock that tells the date.
pub trait HostWallClock: Send + Sync {
    /// The time between two ticks.
    fn resolution(&self) -> Duration;

    /// The time since the beginning of 1970, UTC.
    fn now(&self) -> Duration;
}

/// The system's monotonic clock, from 0 when it is made: guests do not learn for how long the host
/// has been up.
pub(crate) struct SystemMonotonic(Instant);

impl SystemMonotonic {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }
}

impl HostMonotonicClock for SystemMonotonic {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

pub(crate) struct SystemWall;

impl HostWallClock for SystemWall {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}

/// The clocks of one program.
pub(crate) struct Clocks {
    pub(crate) monotonic: Box<dyn HostMonotonicClock>,
    pub(crate) wall: Box<dyn HostWallClock>,
}

impl Clocks {
    pub(crate) fn resolution(&self, id: Clockid) -> Result<Timestamp> {
        match id {
            Clockid::Realtime => nanoseconds(self.wall.resolution()),
            Clockid::Monotonic => Ok(self.monotonic.resolution()),
            // There is no such clock: tasks of a runtime have no thread of their own.
            Clockid::ProcessCputimeId | Clockid::ThreadCputimeId => Err(Errno::Inval.into()),
        }
    }

    pub(crate) fn now(&self, id: Clockid) -> Result<Timestamp> {
        match id {
            Clockid::Realtime => nanoseconds(self.wall.now()),
            Clockid::Monotonic => Ok(self.monotonic.now()),
            Clockid::ProcessCputimeId | Clockid::ThreadCputimeId => Err(Errno::Inval.into()),
        }
    }
}

fn nanoseconds(duration: Duration) -> Result<Timestamp> {
    Timestamp::try_from(duration.as_nanos()).map_err(|_| Errno::Overflow.into())
}
