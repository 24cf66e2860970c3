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
struct SystemMonotonic(Instant);

impl SystemMonotonic {
    fn new() -> Self {
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

struct SystemWall;

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
    /// Whether the embedder chose it.
    pub(crate) monotonic_is_given: bool,
    pub(crate) wall: Box<dyn HostWallClock>,
    /// The embedder's own clock of processors.
    pub(crate) cpu: Option<Box<dyn HostMonotonicClock>>,
    /// What the program took of workers up to the call that asks, where its engine keeps accounts.
    pub(crate) busy: Option<Duration>,
}

impl Clocks {
    /// The system's.
    pub(crate) fn new() -> Self {
        Self {
            monotonic: Box::new(SystemMonotonic::new()),
            monotonic_is_given: false,
            wall: Box::new(SystemWall),
            cpu: None,
            busy: None,
        }
    }

    pub(crate) fn resolution(&self, id: Clockid) -> Result<Timestamp> {
        match id {
            Clockid::Realtime => nanoseconds(self.wall.resolution()),
            Clockid::Monotonic => Ok(self.monotonic.resolution()),
            Clockid::ProcessCputimeId | Clockid::ThreadCputimeId => Ok(match self.cpu() {
                Cpu::Host(clock) => clock.resolution(),
                Cpu::Busy(_) => 1,
            }),
        }
    }

    pub(crate) fn now(&self, id: Clockid) -> Result<Timestamp> {
        match id {
            Clockid::Realtime => nanoseconds(self.wall.now()),
            Clockid::Monotonic => Ok(self.monotonic.now()),
            Clockid::ProcessCputimeId | Clockid::ThreadCputimeId => match self.cpu() {
                Cpu::Host(clock) => Ok(clock.now()),
                Cpu::Busy(time) => nanoseconds(time),
            },
        }
    }

    /// What [`WasiCtxBuilder::cpu_clock`](crate::WasiCtxBuilder::cpu_clock) promises.
    fn cpu(&self) -> Cpu<'_> {
        match (&self.cpu, self.busy) {
            (Some(clock), _) => Cpu::Host(clock.as_ref()),
            (None, Some(time)) if !self.monotonic_is_given => Cpu::Busy(time),
            _ => Cpu::Host(self.monotonic.as_ref()),
        }
    }
}

/// Where the time on processors is from.
enum Cpu<'a> {
    Host(&'a dyn HostMonotonicClock),
    Busy(Duration),
}

fn nanoseconds(duration: Duration) -> Result<Timestamp> {
    Timestamp::try_from(duration.as_nanos()).map_err(|_| Errno::Overflow.into())
}
