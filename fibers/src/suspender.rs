//! The fiber's side: how a job gives control back.

use crate::job::Header;
use crate::reason::{Cancelled, Reason};
use crate::switch::{Departure, Parent, Word};
use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::{Pin, pin};
use std::ptr;
use std::task::{Context, Poll, Waker};
use std::thread;

/// A job's means to suspend the fiber that it runs on.
///
/// It lies on the fiber's base and is only ever borrowed. A runtime whose frames cannot carry the
/// borrow may keep it as a raw pointer, valid until the job returns, and use it on that fiber.
///
/// It cannot leave the job:
///
/// ```compile_fail
/// # use lampwick_fibers::{Resident, StackPool, Suspender};
/// let mut fiber = Resident::new(StackPool::new().take().unwrap());
/// let mut stolen: Option<&Suspender> = None;
/// fiber.run_blocking(|suspender| stolen = Some(suspender));
/// ```
///
/// nor go to another thread:
///
/// ```compile_fail,E0277
/// # use lampwick_fibers::{Resident, StackPool, Suspender};
/// let mut fiber = Resident::new(StackPool::new().take().unwrap());
/// fiber.run_blocking(|suspender| {
///     std::thread::scope(|scope| {
///         scope.spawn(|| suspender.yield_now());
///     });
/// });
/// ```
pub struct Suspender {
    parent: Parent,
    /// The context of the poll in progress. Null when there is none to be had: in a blocking
    /// call, after cancellation, and while it is lent to the future that `block_on` polls.
    context: Cell<*mut Context<'static>>,
    mode: Cell<Mode>,
    _not_send: PhantomData<*mut ()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// The caller waits on its own stack; nothing can suspend.
    Blocking,
    /// A future polls the job.
    Async,
    /// The future was dropped.
    Cancelled,
}

impl Suspender {
    pub(crate) const fn new(parent: Parent) -> Self {
        Self {
            parent,
            context: Cell::new(ptr::null_mut()),
            mode: Cell::new(Mode::Blocking),
            _not_send: PhantomData,
        }
    }

    /// That of code which was entered without a job, and whose caller waits for it: as in a blocking
    /// call, nothing can suspend.
    #[inline]
    #[must_use]
    pub fn blocking() -> &'static Self {
        struct Shared(Suspender);
        // SAFETY: a suspender without a context stays as it is and leaves its parent alone, as every
        // method sees by the mode.
        unsafe impl Sync for Shared {}
        static BLOCKING: Shared = Shared(Suspender::new(Parent::none()));
        &BLOCKING.0
    }

    /// Runs the job at `header`, says so to the parent, and answers the word of the next resume.
    ///
    /// # Safety
    ///
    /// Called at the base of the fiber that owns this suspender, with a job that was not started.
    #[inline]
    pub(crate) unsafe fn serve(&self, header: *mut Header) -> Word {
        // SAFETY: the header is alive when its job starts.
        let context = unsafe { (*header).context.get() };
        self.context.set(context);
        self.mode.set(if context.is_null() { Mode::Blocking } else { Mode::Async });
        // SAFETY: the job was not started (the caller's promise), and this is the fiber's base.
        unsafe {
            Header::invoke(header, self);
            self.parent.suspend(Reason::Finished.into_word())
        }
    }

    /// Whether the caller waits on its own stack, so that nothing can suspend.
    #[must_use]
    pub fn is_blocking(&self) -> bool {
        self.mode.get() == Mode::Blocking
    }

    /// Whether the future that ran the job was dropped.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.mode.get() == Mode::Cancelled
    }

    /// Lets other tasks run, then goes on.
    ///
    /// Inside tokio the task is woken when all that yielded before had their turns, and timers and
    /// sockets do not wait for those (`lampwick-runqueue`); elsewhere at once, by `wake_by_ref`.
    ///
    /// Where nothing can suspend this does nothing: in a blocking call, and inside a future that
    /// [`block_on`](Self::block_on) is polling.
    ///
    /// # Errors
    ///
    /// [`Cancelled`] when the job's future was dropped, now or before; and while this thread
    /// unwinds from a panic, when a fiber cannot be left.
    #[inline]
    pub fn yield_now(&self) -> Result<(), Cancelled> {
        if self.context.get().is_null() {
            return self.yield_without_context();
        }
        self.suspend(Reason::Yielded)
    }

    #[cold]
    fn yield_without_context(&self) -> Result<(), Cancelled> {
        match self.mode.get() {
            Mode::Cancelled => Err(Cancelled),
            Mode::Blocking | Mode::Async => Ok(()),
        }
    }

    /// Waits for `future`: polls it on the fiber and suspends while it is pending.
    ///
    /// # Errors
    ///
    /// As for [`block_on_pinned`](Self::block_on_pinned), which see. The future is dropped.
    ///
    /// # Panics
    ///
    /// As for [`block_on_pinned`](Self::block_on_pinned).
    #[inline]
    pub fn block_on<F: Future>(&self, future: F) -> Result<F::Output, Cancelled> {
        self.block_on_pinned(pin!(future))
    }

    /// Waits for a future that is pinned already.
    ///
    /// # Errors
    ///
    /// [`Cancelled`] when the job's future was dropped, now or before; and while this thread
    /// unwinds from a panic, when a fiber cannot be left. The future may
    /// then be dropped, or polled elsewhere.
    ///
    /// # Panics
    ///
    /// In a blocking call when the future is pending, since nobody will wake it; and when called
    /// from inside a future that this suspender's `block_on` is polling: `.await` there.
    #[inline]
    pub fn block_on_pinned<F: Future + ?Sized>(
        &self,
        mut future: Pin<&mut F>,
    ) -> Result<F::Output, Cancelled> {
        loop {
            if self.context.get().is_null() {
                return self.block_without_context(future);
            }
            if let Poll::Ready(output) = self.poll(future.as_mut()) {
                return Ok(output);
            }
            self.suspend(Reason::Pending)?;
        }
    }

    /// Polls once with the task's context.
    ///
    /// The context is out of reach meanwhile: the future holds it across its own frames, where a
    /// suspension would let it dangle. Never inlined: addresses of thread-locals that the future
    /// uses must not be kept in a frame that suspends.
    #[inline(never)]
    fn poll<F: Future + ?Sized>(&self, future: Pin<&mut F>) -> Poll<F::Output> {
        let context = self.context.replace(ptr::null_mut());
        let _restore = Restore { cell: &self.context, context };
        // SAFETY: the poller's context lives until the fiber suspends, which nothing can do through
        // this suspender while `context` is null; and it is borrowed here only.
        future.poll(unsafe { &mut *context })
    }

    #[cold]
    #[inline(never)]
    fn block_without_context<F: Future + ?Sized>(
        &self,
        future: Pin<&mut F>,
    ) -> Result<F::Output, Cancelled> {
        match self.mode.get() {
            Mode::Cancelled => Err(Cancelled),
            Mode::Blocking => match future.poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(output) => Ok(output),
                Poll::Pending => panic!(
                    "block_on met a pending future in a job started by run_blocking, \
                     which nothing would wake: start such jobs by run"
                ),
            },
            Mode::Async => panic!(
                "block_on was called from inside a future that the same fiber's block_on polls: \
                 await there instead"
            ),
        }
    }

    /// With what assembly can do as [`yield_now`](Self::yield_now) does (`switch_instructions`): where
    /// that would suspend the fiber, and by a switch that is known.
    ///
    /// A processor foresees where a function returns to by the calls that it has seen, those of the
    /// other side among them. So each return that a yield still has before it costs about as much as
    /// two switches, and assembly can have one only.
    #[inline]
    #[must_use]
    pub fn departure(&self) -> Option<Departure> {
        if self.context.get().is_null() || thread::panicking() {
            return None;
        }
        let word = Reason::Yielded.into_word();
        self.parent.other_side().map(|to| Departure { to, word })
    }

    /// Goes on behind the switch of a [`Departure`], which has ended with this stack pointer and word.
    ///
    /// # Errors
    ///
    /// [`Cancelled`] when the job's future was dropped.
    ///
    /// # Safety
    ///
    /// The switch was made with what [`departure`](Self::departure) of this suspender answered, on its
    /// fiber, and nothing has used it since.
    #[inline]
    pub unsafe fn arrive(&self, sp: *mut u8, word: Word) -> Result<(), Cancelled> {
        self.parent.resumed(sp);
        self.go_on(word)
    }

    /// Gives control to the poller; comes back with the context of its next poll.
    #[inline]
    fn suspend(&self, reason: Reason) -> Result<(), Cancelled> {
        if thread::panicking() {
            // Threads count their panics: one that began here cannot end on another thread, and
            // whoever runs on this thread meanwhile would believe that it unwinds.
            return Err(Cancelled);
        }
        // SAFETY: a suspender is only reachable from the job that runs on its fiber (it is neither
        // Send nor outlives the job) or from fibers that the job resumes.
        let word = unsafe { self.parent.suspend(reason.into_word()) };
        self.go_on(word)
    }

    /// Takes the word of a resume.
    #[inline]
    fn go_on(&self, word: Word) -> Result<(), Cancelled> {
        self.context.set(word.cast());
        if word.is_null() {
            self.mode.set(Mode::Cancelled);
            return Err(Cancelled);
        }
        Ok(())
    }
}

/// Gives back a context that was lent, also when the future panics.
struct Restore<'a> {
    cell: &'a Cell<*mut Context<'static>>,
    context: *mut Context<'static>,
}

impl Drop for Restore<'_> {
    #[inline]
    fn drop(&mut self) {
        self.cell.set(self.context);
    }
}

impl fmt::Debug for Suspender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suspender").field("mode", &self.mode.get()).finish_non_exhaustive()
    }
}
