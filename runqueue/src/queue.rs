//! The line, as those who wait in it see it.

use std::task::Waker;

#[cfg(feature = "tokio")]
use crate::here::{self, Known};
#[cfg(feature = "tokio")]
use crate::pump::Line;
#[cfg(feature = "tokio")]
use std::sync::Weak;

/// The line of one tokio runtime, in which tasks that never rest wait for their turns.
///
/// Cloning is cheap and gives the same line. It does not keep the runtime alive.
#[derive(Clone, Debug)]
pub struct RunQueue {
    #[cfg(feature = "tokio")]
    line: Weak<Line>,
    #[cfg(not(feature = "tokio"))]
    never: std::convert::Infallible,
}

impl PartialEq for RunQueue {
    /// Whether both are the line of one runtime.
    fn eq(&self, _other: &Self) -> bool {
        #[cfg(feature = "tokio")]
        return self.line.ptr_eq(&_other.line);
        #[cfg(not(feature = "tokio"))]
        match self.never {}
    }
}

impl RunQueue {
    /// That of the runtime one of whose workers the current thread is.
    ///
    /// `None` elsewhere: outside of a runtime, on threads for blocking calls, and in a task that
    /// `block_on` polls beside a runtime's workers.
    #[inline(never)]
    pub fn current() -> Option<Self> {
        #[cfg(feature = "tokio")]
        return here::line().map(|line| Self { line: std::sync::Arc::downgrade(&line) });
        #[cfg(not(feature = "tokio"))]
        None
    }

    /// Has `waker` woken when all who came before had their turns; at once where the runtime is gone.
    /// May be called on any thread.
    ///
    /// A waker may be anything that lets a task go on, and need not know yet which. It must not come
    /// back here when it is woken.
    #[inline(never)]
    pub fn push(&self, waker: Waker) {
        self.enter(waker, Place::Last);
    }

    /// As [`push`](Self::push), but those who come next are not woken together with it, as otherwise
    /// several may be whose turns are short: for a waker that finds out only then who goes on.
    #[inline(never)]
    pub fn push_alone(&self, waker: Waker) {
        self.enter(waker, Place::LastAlone);
    }

    /// As [`push_alone`](Self::push_alone), but before all others: for a task whose turn goes on, and
    /// which looks only whether anything beside those in line is ready.
    #[inline(never)]
    pub fn push_first(&self, waker: Waker) {
        self.enter(waker, Place::First);
    }

    #[cfg(feature = "tokio")]
    fn enter(&self, waker: Waker, place: Place) {
        match self.line.upgrade() {
            Some(line) => line.push(waker, place),
            None => waker.wake(),
        }
    }

    #[cfg(not(feature = "tokio"))]
    fn enter(&self, _waker: Waker, _place: Place) {
        match self.never {}
    }
}

/// Where somebody comes into the line, and whether others may be woken together with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    First,
    Last,
    LastAlone,
}

/// A task that yields time and again.
///
/// To have one spares each yield to find out anew for which runtime the task works, which its workers
/// cannot do at the same time without waiting for one another's caches.
#[derive(Debug, Default)]
pub struct Yielder {
    #[cfg(feature = "tokio")]
    known: Option<Known>,
}

impl Yielder {
    /// As [`wake_in_turn`]. The task may be another one than before, on any thread.
    #[inline(never)]
    pub fn wake_in_turn(&mut self, waker: &Waker) {
        #[cfg(feature = "tokio")]
        if crate::pump::yield_in_turn(waker, &mut self.known) {
            return;
        }
        waker.wake_by_ref();
    }
}

/// Wakes a task after all that wait in its runtime's [`RunQueue`], where there is one; else by
/// reference.
///
/// Meant for a task that yields, which is to say that its poll is about to return `Poll::Pending`.
#[inline(never)]
pub fn wake_in_turn(waker: &Waker) {
    Yielder::default().wake_in_turn(waker);
}
