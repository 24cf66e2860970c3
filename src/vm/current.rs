//! The store whose guest runs on a thread, which the signal handler reads.
//!
//! A fiber may go on on another thread: whoever resumes one, or leads wasm to a stack, does so inside
//! [`run_prepared`] or [`run_straight`], on its own stack.

use std::cell::Cell;
use std::ptr;

use super::signals::{self, FailedInstall};
use super::store::Store;

/// What a thread's current store is before the thread was prepared for signals.
const UNPREPARED: *mut Store = ptr::without_provenance_mut(1);

/// What a store waits for in vain to be its thread's current one, if its guests cannot be entered
/// [straight](is_straight).
const NEVER: *mut Store = ptr::without_provenance_mut(2);

thread_local! {
    static CURRENT: Cell<*mut Store> = const { Cell::new(UNPREPARED) };
}

/// The store whose guest runs on this thread, or null. Async-signal-safe.
pub(super) fn current() -> *mut Store {
    match CURRENT.get() {
        UNPREPARED => ptr::null_mut(),
        store => store,
    }
}

/// How guests of a store are entered: a word that a thread's current store is compared with, so that one
/// comparison tells all that could be in the way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way(*mut Store);

impl Way {
    /// Where the store has neither a call hook nor an account.
    pub(super) const STRAIGHT: Self = Self(ptr::null_mut());
    /// Where it has one of them.
    pub(super) const WATCHED: Self = Self(NEVER);
}

/// Whether a guest can be entered by [`run_straight`]: this thread has been prepared for signals and runs no
/// guest, and the store has neither a call hook nor an account.
#[inline(always)]
pub(crate) fn is_straight(store: &Store) -> bool {
    CURRENT.get() == store.way.0
}

/// As [`run_prepared`], where a guest of the store can be entered [straight](is_straight).
#[inline(always)]
pub(crate) fn run_straight<R>(store: *mut Store, enter: impl FnOnce() -> R) -> R {
    /// Puts things right also when a panic leaves the fiber.
    struct Leave;
    impl Drop for Leave {
        #[inline(always)]
        fn drop(&mut self) {
            CURRENT.set(ptr::null_mut());
        }
    }
    CURRENT.set(store);
    let _leave = Leave;
    enter()
}

/// Prepares the thread for signals, and goes on as [`run_prepared`].
#[inline(always)]
pub(crate) fn run<R>(store: *mut Store, enter: impl FnOnce() -> R) -> R {
    prepare_thread();
    run_prepared(store, enter)
}

/// Runs `enter`, which lets a guest of `store` run: resumes its fiber, or leads wasm to a stack. The
/// thread must be prepared for signals.
///
/// This frame may itself be on a fiber, but `enter` comes back on the thread on which it was
/// called, so that the address of the thread-local may be kept meanwhile.
#[inline(always)]
pub(crate) fn run_prepared<R>(store: *mut Store, enter: impl FnOnce() -> R) -> R {
    /// As above.
    struct Restore(*mut Store);
    impl Drop for Restore {
        #[inline(always)]
        fn drop(&mut self) {
            CURRENT.set(self.0);
        }
    }
    let _restore = Restore(CURRENT.replace(store));
    enter()
}

/// Sees to it that faults of guests on this thread become traps. Not for code on a fiber that may move to
/// another.
///
/// # Panics
///
/// Panics where [`try_prepare_thread`] fails.
#[inline]
pub(crate) fn prepare_thread() {
    if CURRENT.get() == UNPREPARED {
        try_prepare_thread().unwrap_or_else(|error| panic!("{error}"));
    }
}

/// As [`prepare_thread`].
///
/// # Errors
///
/// Fails if the system refuses an alternate stack, for instance on a thread that is handling a
/// signal.
#[cold]
#[inline(never)]
pub(crate) fn try_prepare_thread() -> Result<(), FailedInstall> {
    if signals::give_stack()? && CURRENT.get() == UNPREPARED {
        CURRENT.set(ptr::null_mut());
    }
    Ok(())
}
