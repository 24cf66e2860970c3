//! A job as it lies in memory: first the closure, then, in the same place, its result.
//!
//! A job belongs to its caller (a pinned [`Run`](crate::Run), or the frame of a blocking call).
//! The fiber is given its address when it starts, takes the closure out to its own stack, and
//! writes the result as the last thing before it says that it has finished. In between the job's
//! memory belongs to nobody.

use crate::suspender::Suspender;
use std::any::Any;
use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::task::Context;
use std::thread;

/// What the fiber's base knows of a job: how to run it. The first field of every [`Job`].
#[derive(Debug)]
pub(crate) struct Header {
    invoke: unsafe fn(*mut Header, &Suspender),
    /// What the job panicked with. Apart from the result, which so is read as it was written.
    panic: Option<Box<dyn Any + Send>>,
    /// The context of the first poll; null in a blocking call.
    pub(crate) context: Cell<*mut Context<'static>>,
}

impl Header {
    /// Runs the job that starts with this header to its end, on this stack.
    ///
    /// # Safety
    ///
    /// `header` is the header of a job whose closure has not been taken.
    #[inline]
    pub(crate) unsafe fn invoke(header: *mut Header, suspender: &Suspender) {
        // SAFETY: the header is alive, and `invoke` was made for the job's own types.
        unsafe { ((*header).invoke)(header, suspender) }
    }
}

#[repr(C)]
pub(crate) struct Job<F, R> {
    header: Header,
    slot: Slot<F, R>,
}

union Slot<F, R> {
    closure: ManuallyDrop<F>,
    result: ManuallyDrop<R>,
}

impl<F, R> Job<F, R>
where
    F: FnOnce(&Suspender) -> R,
{
    #[inline]
    pub(crate) fn new(closure: F) -> Self {
        let context = Cell::new(ptr::null_mut());
        let header = Header { invoke: invoke::<F, R>, panic: None, context };
        Self { header, slot: Slot { closure: ManuallyDrop::new(closure) } }
    }

    /// Drops the closure of a job that was never started.
    ///
    /// # Safety
    ///
    /// `job` was never started, and this is called once.
    pub(crate) unsafe fn drop_closure(job: *mut Self) {
        // SAFETY: an unstarted job holds its closure.
        unsafe { ManuallyDrop::drop(&mut (*job).slot.closure) }
    }

    /// Takes the result of a job that has finished, or its panic.
    ///
    /// # Safety
    ///
    /// `job` has finished, and this is called once.
    #[inline]
    pub(crate) unsafe fn take_result(job: *mut Self) -> thread::Result<R> {
        // SAFETY: a finished job that did not panic holds its result.
        unsafe {
            match (*job).header.panic.take() {
                None => Ok(ManuallyDrop::take(&mut (*job).slot.result)),
                Some(payload) => Err(payload),
            }
        }
    }
}

/// # Safety
///
/// `header` is the header of a `Job<F, R>` whose closure has not been taken.
unsafe fn invoke<F, R>(header: *mut Header, suspender: &Suspender)
where
    F: FnOnce(&Suspender) -> R,
{
    let job = header.cast::<Job<F, R>>();
    // SAFETY: the closure is there (the caller's promise) and is taken this once.
    let closure = unsafe { ManuallyDrop::take(&mut (*job).slot.closure) };
    // The closure and what it borrowed are gone when the panic continues in the poller, which is
    // all that unwind safety asks of us.
    let result = catch_unwind(AssertUnwindSafe(|| closure(suspender)));
    // SAFETY: the job outlives its run: its owner waits for the result, or forgot a pinned future,
    // whose memory is never used again.
    unsafe {
        match result {
            Ok(result) => (&raw mut (*job).slot.result).write(ManuallyDrop::new(result)),
            Err(payload) => (*job).header.panic = Some(payload),
        }
    }
}
