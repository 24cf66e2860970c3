//! How long a guest waits at most.
//!
//! Inside a tokio runtime with timers the runtime's clock says when it is over, so that a paused clock
//! stops that, too; elsewhere a thread of our own, which is there only while somebody waits.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// When a wait is over.
pub(crate) struct Timer {
    timeout: Duration,
    /// `None` where that is later than there are times.
    end: Option<Instant>,
    alarm: Alarm,
}

enum Alarm {
    /// Nobody was told yet.
    Unset,
    #[cfg(feature = "tokio")]
    Tokio(std::pin::Pin<Box<tokio::time::Sleep>>),
    Thread(Place),
}

impl Timer {
    /// From now on.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { timeout, end: Instant::now().checked_add(timeout), alarm: Alarm::Unset }
    }

    /// When it is over, for a thread that waits by itself.
    pub(crate) fn end(&self) -> Option<Instant> {
        self.end
    }

    /// Ready when it is over.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(end) = self.end else { return Poll::Pending };
        if let Alarm::Unset = self.alarm {
            self.alarm = set(self.timeout, end);
        }
        match &mut self.alarm {
            #[cfg(feature = "tokio")]
            Alarm::Tokio(sleep) => sleep.as_mut().poll(context),
            Alarm::Thread(place) => place.poll(context),
            Alarm::Unset => Poll::Pending,
        }
    }
}

/// Never inlined: a thread-local of tokio's is read on a fiber.
#[inline(never)]
fn set(_timeout: Duration, end: Instant) -> Alarm {
    #[cfg(feature = "tokio")]
    if tokio::runtime::Handle::try_current().is_ok() {
        // It panics in a runtime that has no timers.
        let made = std::panic::catch_unwind(|| Box::pin(tokio::time::sleep(_timeout)));
        if let Ok(sleep) = made {
            return Alarm::Tokio(sleep);
        }
    }
    Alarm::Thread(Place::new(end))
}

/// Who is to be woken when.
static CLOCK: Clock = Clock { alarms: Mutex::new(Alarms::NONE), changed: Condvar::new() };

struct Clock {
    alarms: Mutex<Alarms>,
    changed: Condvar,
}

struct Alarms {
    next: u64,
    waiting: BTreeMap<(Instant, u64), Waker>,
    is_running: bool,
}

impl Alarms {
    const NONE: Self = Self { next: 0, waiting: BTreeMap::new(), is_running: false };
}

impl Clock {
    fn lock(&self) -> MutexGuard<'_, Alarms> {
        self.alarms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the thread does: wakes all whose time has come, until nobody waits.
    fn run(&self) {
        let mut alarms = self.lock();
        while let Some((&(first, _), _)) = alarms.waiting.first_key_value() {
            let now = Instant::now();
            if first > now {
                let waited = self.changed.wait_timeout(alarms, first - now);
                alarms = waited.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            let later = alarms.waiting.split_off(&(now, u64::MAX));
            let due = std::mem::replace(&mut alarms.waiting, later);
            drop(alarms);
            due.into_values().for_each(Waker::wake);
            alarms = self.lock();
        }
        alarms.is_running = false;
    }
}

/// A place among those who wait for the clock's thread. Dropped, it is given up.
struct Place(Instant, u64);

impl Place {
    fn new(end: Instant) -> Self {
        let mut alarms = CLOCK.lock();
        alarms.next += 1;
        Self(end, alarms.next)
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.0 {
            return Poll::Ready(());
        }
        let waker = context.waker().clone();
        let mut alarms = CLOCK.lock();
        let former = alarms.waiting.insert((self.0, self.1), waker);
        if !alarms.is_running {
            let builder = std::thread::Builder::new().name("wait-timer".to_owned());
            alarms.is_running = builder.spawn(|| CLOCK.run()).is_ok();
            if !alarms.is_running {
                // No thread is to be had: the guest looks at the time itself, in its turn.
                context.waker().wake_by_ref();
            }
        }
        drop(alarms);
        CLOCK.changed.notify_one();
        drop(former);
        Poll::Pending
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let waker = CLOCK.lock().waiting.remove(&(self.0, self.1));
        CLOCK.changed.notify_one();
        drop(waker);
    }
}
