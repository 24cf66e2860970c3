//! A fiber that stays between jobs.

use crate::future::{Run, SendRun};
use crate::job::{Header, Job};
use crate::reason::Reason;
use crate::stack::Stack;
use crate::suspender::Suspender;
use crate::switch::{Fiber, Parent, Word};
use lampwick_runqueue::Yielder;
use std::fmt;
use std::mem::{self, ManuallyDrop};
use std::panic::resume_unwind;
use std::ptr;
use std::task::Context;

/// A fiber that runs one job after another on its own stack.
///
/// Between jobs it waits in a loop at its base, so that a job costs two stack switches and no
/// set-up. It may be sent to another thread whenever no job is on it.
///
/// When a [`Run`] is forgotten half-way, its job stays on the stack for ever. The fiber is then
/// *busy*: it refuses other jobs, and its stack is never used again.
pub struct Resident {
    fiber: ManuallyDrop<Fiber>,
    stack: ManuallyDrop<Stack>,
    /// A job was started and has not finished.
    busy: bool,
    /// Here and not in the future, which may take memory that the stack's pages do not.
    pub(crate) yielder: Yielder,
}

// SAFETY: an idle fiber holds nothing but its base's frame, which is the same on every thread. A
// busy one is borrowed by the future that polls it, or was left behind by a forgotten future and
// is never resumed again.
unsafe impl Send for Resident {}
// SAFETY: a shared resident shows its stack's bounds and nothing else.
unsafe impl Sync for Resident {}

impl Resident {
    /// Makes an idle fiber on `stack`. Allocates nothing.
    #[inline]
    #[must_use]
    pub fn new(stack: Stack) -> Self {
        // SAFETY: the stack's usable range is ours while we hold it, is at least two pages with a
        // guard below, and is given up only after the fiber; its top is aligned to 16 bytes.
        let fiber = unsafe { Fiber::new(stack.bottom(), stack.top(), base) };
        Self {
            fiber: ManuallyDrop::new(fiber),
            stack: ManuallyDrop::new(stack),
            busy: false,
            yielder: Yielder::default(),
        }
    }

    /// The stack that jobs run on.
    #[must_use]
    pub fn stack(&self) -> &Stack {
        &self.stack
    }

    /// Where frames may begin on the stack of an idle fiber: an address that is a multiple of 16,
    /// below which all of the stack is unused.
    ///
    /// A runtime that enters other code than Rust's, which neither panics nor suspends, can lead it
    /// there itself and spare what [`run_blocking`](Self::run_blocking) does. It must not use the
    /// fiber meanwhile.
    ///
    /// # Panics
    ///
    /// When the fiber is [busy](Self::is_busy).
    #[inline]
    #[must_use]
    pub fn unused_top(&self) -> *mut u8 {
        self.assert_idle();
        self.fiber.unused(self.stack.top()).map_addr(|address| address & !15)
    }

    /// Whether a job was left on the stack by a forgotten future.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.busy
    }

    /// Gives the stack up, to be returned or used otherwise.
    ///
    /// # Panics
    ///
    /// When the fiber is [busy](Self::is_busy).
    #[inline]
    #[must_use]
    pub fn into_stack(mut self) -> Stack {
        self.assert_idle();
        // SAFETY: `self` is forgotten, so both are taken once; an idle fiber is at its base.
        unsafe {
            ManuallyDrop::take(&mut self.fiber).close();
            let stack = ManuallyDrop::take(&mut self.stack);
            mem::forget(self);
            stack
        }
    }

    /// Runs `job` on the fiber while the caller waits.
    ///
    /// The job cannot suspend: [`Suspender::yield_now`] does nothing, and [`Suspender::block_on`]
    /// panics when its future is pending.
    ///
    /// # Panics
    ///
    /// When the job panics, with its panic; and when the fiber is [busy](Self::is_busy).
    #[inline]
    pub fn run_blocking<F, R>(&mut self, job: F) -> R
    where
        F: FnOnce(&Suspender) -> R,
    {
        self.assert_idle();
        let mut job = Job::new(job);
        let job = &raw mut job;
        // SAFETY: the job is new, lies in this frame, and is finished before the frame is left:
        // without a context it cannot suspend, so that it runs to its end in one go.
        let result = unsafe {
            let reason = self.start(job.cast(), ptr::null_mut());
            debug_assert_eq!(reason, Reason::Finished, "a blocking job cannot suspend");
            Job::take_result(job)
        };
        result.unwrap_or_else(|payload| resume_unwind(payload))
    }

    /// Runs `job` on the fiber as a future.
    ///
    /// Nothing happens until the first poll. Dropping the unfinished future cancels the job: see
    /// [`Run`].
    ///
    /// # Panics
    ///
    /// When the fiber is [busy](Self::is_busy). The future panics when the job does, with its
    /// panic.
    #[inline]
    pub fn run<F, R>(&mut self, job: F) -> Run<'_, F, R>
    where
        F: FnOnce(&Suspender) -> R,
    {
        self.assert_idle();
        Run::new(self, job)
    }

    /// Runs `job` on the fiber as a future that may move between threads.
    ///
    /// # Safety
    ///
    /// Between two polls the fiber may change threads with all that lies on its stack, which the
    /// compiler does not see. Whatever the job (and all that it calls) holds across a suspension
    /// must be `Send`, and no address of a thread-local may be held there: neither a reference nor
    /// one that the compiler keeps, so that code that suspends uses thread-locals only in functions
    /// that are never inlined into it.
    ///
    /// # Panics
    ///
    /// As for [`run`](Self::run).
    #[inline]
    pub unsafe fn run_send<F, R>(&mut self, job: F) -> SendRun<'_, F, R>
    where
        F: FnOnce(&Suspender) -> R + Send,
        R: Send,
    {
        // SAFETY: passed on to the caller.
        unsafe { SendRun::new(self.run(job)) }
    }

    /// Starts a job.
    ///
    /// # Safety
    ///
    /// The fiber is idle; `header` is that of a job that was not started and stays in place until
    /// it has finished; `context` is null, or valid until this returns.
    #[inline(always)]
    pub(crate) unsafe fn start(
        &mut self,
        header: *mut Header,
        context: *mut Context<'static>,
    ) -> Reason {
        self.busy = true;
        // SAFETY: the header is alive, and an idle fiber's base takes the word for a job's header.
        unsafe {
            (*header).context.set(context);
            self.switch(header.cast())
        }
    }

    /// Goes on with a job that has suspended. A null context says that it is cancelled.
    ///
    /// # Safety
    ///
    /// The fiber's job has suspended; `context` is null, or valid until this returns; what the job
    /// holds may be used on this thread.
    #[inline(always)]
    pub(crate) unsafe fn resume(&mut self, context: *mut Context<'static>) -> Reason {
        // SAFETY: a suspended job takes the word for a context, or null for its cancellation.
        unsafe { self.switch(context.cast()) }
    }

    #[inline(always)]
    unsafe fn switch(&mut self, word: Word) -> Reason {
        // SAFETY: the fiber is suspended: only this method resumes it, and `&mut self` says that no
        // other call of it is under way. Its stack is alive. The word's meaning is the caller's.
        let reason = Reason::from_word(unsafe { self.fiber.resume(word) });
        if reason == Reason::Finished {
            self.busy = false;
        }
        reason
    }

    #[inline]
    fn assert_idle(&self) {
        if self.busy {
            refuse_busy();
        }
    }
}

#[cold]
fn refuse_busy() -> ! {
    panic!("this fiber is busy: the future of its last job was forgotten before it finished")
}

impl Drop for Resident {
    #[inline]
    fn drop(&mut self) {
        if self.busy {
            // A forgotten job's values live on the stack and may be pinned there or borrowed.
            // Neither field is dropped, so that the stack counts as lent for ever.
            return;
        }
        // SAFETY: an idle fiber is at its base, and neither field is used after this.
        unsafe {
            ManuallyDrop::take(&mut self.fiber).close();
            ManuallyDrop::drop(&mut self.stack);
        }
    }
}

impl fmt::Debug for Resident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resident")
            .field("stack", &*self.stack)
            .field("busy", &self.busy)
            .finish_non_exhaustive()
    }
}

/// The base of every fiber: waits for a job, runs it, reports, and so on until it is closed.
///
/// Nothing here needs to be dropped, so that a fiber at its base can be abandoned.
unsafe extern "C" fn base(parent: Parent, first: Word) {
    let suspender = Suspender::new(parent);
    let mut word = first;
    while !word.is_null() {
        // SAFETY: at its base the fiber is resumed with the header of a job that was not started.
        word = unsafe { suspender.serve(word.cast()) };
    }
}
