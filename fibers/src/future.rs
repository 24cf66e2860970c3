//! A job on a fiber as a future.
//!
//! # Who may touch what, when
//!
//! | | not started | job suspended | job running | finished |
//! |---|---|---|---|---|
//! | `resident` | poller | poller | nobody (its `fiber` field changes hands) | poller |
//! | `job`: closure | poller | gone, moved to the fiber's stack | fiber | gone |
//! | `job`: result | – | – | fiber, as its last act | poller, once |
//! | the poller's `Context` | – | – | fiber, until it suspends | – |
//! | the fiber's stack | nobody | nobody | fiber | nobody |
//!
//! "Poller" is whoever has `Pin<&mut Run>` (or drops it); it waits while the job runs, so that
//! there is never more than one. The job's memory is pinned from the first poll on, because the
//! fiber keeps its address for the result.
//!
//! * **Dropped before the first poll**: the closure is dropped, the fiber never knew.
//! * **Dropped while suspended**: the fiber is resumed with null instead of a context; every
//!   attempt to suspend now fails at once, so that the job returns (or panics) in this one resume.
//! * **Dropped after the end**: the result was handed out by the last poll.
//! * **Forgotten while suspended**: the resident stays busy, and its stack is never used again, so
//!   that what the job pinned or lent there stays valid.
//! * **Polled by its own job**: impossible, the poll in progress holds the only `Pin<&mut Run>`.
//! * **Sent while suspended**: `Run` is not `Send`; whoever makes a [`SendRun`] vouches.

use crate::job::Job;
use crate::reason::Reason;
use crate::resident::Resident;
use crate::suspender::Suspender;
use std::any::Any;
use std::cell::UnsafeCell;
use std::fmt;
use std::future::Future;
use std::marker::{PhantomData, PhantomPinned};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::process::abort;
use std::ptr;
use std::task::{Context, Poll};
use std::thread;

/// A job that runs on a [`Resident`], as a future. Made by [`Resident::run`].
///
/// Dropping it unfinished resumes the fiber once more, *cancelled*: whatever the job waits for or
/// tries to wait for ends with [`Cancelled`](crate::Cancelled), it drops its values and returns,
/// and the fiber is ready for the next job. A panic of the job then leaves the drop, unless the
/// thread is unwinding already.
///
/// It is not `Send`, because the compiler does not see what lies on the fiber's stack:
///
/// ```compile_fail,E0277
/// # use lampwick_fibers::{Resident, StackPool};
/// fn assert_send(_: impl Send) {}
/// let mut fiber = Resident::new(StackPool::new().take().unwrap());
/// assert_send(fiber.run(|_| ()));
/// ```
///
/// # Panics
///
/// Polling panics when the job panicked, with its panic, and after the future has finished.
#[must_use = "futures do nothing unless polled"]
pub struct Run<'r, F, R>
where
    F: FnOnce(&Suspender) -> R,
{
    resident: &'r mut Resident,
    stage: Stage,
    job: UnsafeCell<Job<F, R>>,
    _pinned: PhantomPinned,
    _not_send: PhantomData<*mut ()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The job holds its closure.
    New,
    /// The job is on the fiber.
    Suspended,
    /// The result is gone.
    Done,
}

impl<'r, F, R> Run<'r, F, R>
where
    F: FnOnce(&Suspender) -> R,
{
    #[inline]
    pub(crate) fn new(resident: &'r mut Resident, job: F) -> Self {
        Self {
            resident,
            stage: Stage::New,
            job: UnsafeCell::new(Job::new(job)),
            _pinned: PhantomPinned,
            _not_send: PhantomData,
        }
    }

    /// Takes the result of the job, which has just finished.
    #[inline]
    fn take_result(&mut self) -> thread::Result<R> {
        debug_assert_eq!(self.stage, Stage::Suspended);
        self.stage = Stage::Done;
        // SAFETY: the fiber has said that the job finished, and `Done` keeps this from a
        // repetition.
        unsafe { Job::take_result(self.job.get()) }
    }
}

impl<F, R> Future for Run<'_, F, R>
where
    F: FnOnce(&Suspender) -> R,
{
    type Output = R;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<R> {
        // SAFETY: nothing is moved out of the pinned job but its result.
        let this = unsafe { self.get_unchecked_mut() };
        let lent = ptr::from_mut(context).cast::<Context<'static>>();
        let reason = match this.stage {
            Stage::Suspended => {
                // SAFETY: the job has suspended; the context lives until this poll ends; and the
                // job is on the thread that started it, or the maker of a `SendRun` vouched.
                unsafe { this.resident.resume(lent) }
            }
            Stage::New => {
                this.stage = Stage::Suspended;
                // SAFETY: a resident whose run is new is idle; the job is new, and pinned until it
                // has finished, because dropping it finishes it.
                unsafe { this.resident.start(this.job.get().cast(), lent) }
            }
            Stage::Done => panic!("a fiber's future was polled after it had finished"),
        };
        match reason {
            Reason::Pending => Poll::Pending,
            Reason::Yielded => {
                this.resident.yielder.wake_in_turn(context.waker());
                Poll::Pending
            }
            Reason::Finished => match this.take_result() {
                Ok(result) => Poll::Ready(result),
                Err(payload) => resume_unwind(payload),
            },
        }
    }
}

impl<F, R> Drop for Run<'_, F, R>
where
    F: FnOnce(&Suspender) -> R,
{
    #[inline]
    fn drop(&mut self) {
        match self.stage {
            Stage::Done => {}
            // SAFETY: a new job holds its closure, and the drop happens once.
            Stage::New => unsafe { Job::drop_closure(self.job.get()) },
            Stage::Suspended => self.cancel(),
        }
    }
}

impl<F, R> Run<'_, F, R>
where
    F: FnOnce(&Suspender) -> R,
{
    #[cold]
    fn cancel(&mut self) {
        // SAFETY: the job has suspended, and this is a thread on which it may be polled.
        let reason = unsafe { self.resident.resume(ptr::null_mut()) };
        if reason != Reason::Finished {
            // The job holds addresses into memory that is about to go.
            abort();
        }
        match self.take_result() {
            Ok(result) => drop(result),
            Err(payload) if thread::panicking() => swallow(payload),
            Err(payload) => resume_unwind(payload),
        }
    }
}

/// Drops a panic's payload although the drop itself may panic.
fn swallow(payload: Box<dyn Any + Send>) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
}

impl<F, R> fmt::Debug for Run<'_, F, R>
where
    F: FnOnce(&Suspender) -> R,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("resident", &self.resident)
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}

/// A [`Run`] that may be polled on one thread after another. Made by [`Resident::run_send`].
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct SendRun<'r, F, R>(Run<'r, F, R>)
where
    F: FnOnce(&Suspender) -> R;

// SAFETY: the maker vouches that all that lies on the fiber's stack across a suspension is Send;
// the closure and the result, which lie in the future, are so by these bounds; an idle resident is.
unsafe impl<F, R> Send for SendRun<'_, F, R>
where
    F: FnOnce(&Suspender) -> R + Send,
    R: Send,
{
}

impl<'r, F, R> SendRun<'r, F, R>
where
    F: FnOnce(&Suspender) -> R,
{
    /// # Safety
    ///
    /// The contract of [`Resident::run_send`].
    #[inline]
    pub(crate) unsafe fn new(run: Run<'r, F, R>) -> Self {
        Self(run)
    }
}

impl<F, R> Future for SendRun<'_, F, R>
where
    F: FnOnce(&Suspender) -> R,
{
    type Output = R;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<R> {
        // SAFETY: the inner future is pinned when the outer one is: nothing else touches it.
        unsafe { self.map_unchecked_mut(|this| &mut this.0) }.poll(context)
    }
}
