//! Guests that wait at an address of a shared memory.
//!
//! On a store whose calls can suspend, the guest's fiber does; elsewhere the thread waits. Either way
//! the guest hears interrupts, deadlines, and handles that pause or stop it, which are told whom to
//! wake before they are looked at.
//!
//! A guest's place in the queue belongs to its store, not to its stack: if the future of its call is
//! forgotten, what is on the stack is never dropped, but the store is used again, or dropped.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use lampwick_waiters::Waiter;

use super::activation::Unwind;
use super::layout::TrapCode;
use super::memory::SharedMemory;
use super::store::Store;
use super::timer::Timer;

/// What a wait compares with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expected {
    W32(u32),
    W64(u64),
}

impl Expected {
    fn size(self) -> u64 {
        match self {
            Self::W32(_) => 4,
            Self::W64(_) => 8,
        }
    }
}

/// How a wait ended; the numbers are the operators' answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitResult {
    /// Somebody notified.
    Ok = 0,
    /// The value was not the expected one.
    Mismatch = 1,
    /// Nobody notified in time.
    TimedOut = 2,
}

/// Joins those who wait at the address, unless the value there is another one.
pub(crate) fn join(
    memory: &Arc<SharedMemory>,
    address: Option<u64>,
    expected: Expected,
) -> Result<Option<Waiter>, TrapCode> {
    let (address, place) = aligned(memory, address, expected.size())?;
    let is_expected = || {
        // SAFETY: the bytes are inside of the memory, which never shrinks, and aligned; all others
        // access them atomically, or as guests do.
        unsafe {
            match expected {
                Expected::W32(value) => AtomicU32::from_ptr(place.cast()).load(SeqCst) == value,
                Expected::W64(value) => AtomicU64::from_ptr(place.cast()).load(SeqCst) == value,
            }
        }
    };
    Ok(Waiter::join(&memory.waiters, address, is_expected))
}

/// The place of so many bytes, which must be inside and aligned; `None` is an address beyond all.
pub(crate) fn aligned(
    memory: &SharedMemory,
    address: Option<u64>,
    size: u64,
) -> Result<(u64, *mut u8), TrapCode> {
    let address = address.ok_or(TrapCode::MemoryOutOfBounds)?;
    if !address.is_multiple_of(size) {
        return Err(TrapCode::HeapMisaligned);
    }
    let place = memory.at(address, size).ok_or(TrapCode::MemoryOutOfBounds)?;
    Ok((address, place))
}

/// Why a guest that waits goes on.
enum Event {
    Notified,
    TimedOut,
    /// Somebody wants something else of it.
    Attention,
}

/// A store's waiter while its guest waits. A store has at most one, since who waits is the innermost
/// guest, and uses the store alone: one that is there when the next comes, or when a call
/// begins, was forgotten.
struct Waiting(*mut Store);

impl Waiting {
    /// # Safety
    ///
    /// The store must be live as long as this, and nothing of it may be borrowed.
    unsafe fn new(store: *mut Store, waiter: Waiter) -> Self {
        // SAFETY: by contract.
        unsafe { (*store).waiter = Some(Box::new(waiter)) };
        Self(store)
    }

    /// The waiter; the borrow must end before the fiber may suspend.
    fn waiter(&mut self) -> &mut Waiter {
        // SAFETY: the store is live and nothing of it is borrowed, by the contract of `new`.
        let waiter = unsafe { &mut (*self.0).waiter };
        waiter.as_mut().expect("set by `new`, taken by `drop`")
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // SAFETY: the store is live, by the contract of `new`.
        unsafe { (*self.0).forget_waiter() };
    }
}

impl Store {
    /// Lets the guest that waits, if there is one, leave its queue.
    pub(super) fn forget_waiter(&mut self) {
        self.waiter = None;
    }

    /// Waits to be notified, for so many nanoseconds at most, or for ever if that is negative.
    ///
    /// # Safety
    ///
    /// As for [`Self::refuel`].
    pub(super) unsafe fn wait_to_be_notified(
        this: *mut Self,
        waiter: Waiter,
        timeout: i64,
    ) -> Result<WaitResult, Box<Unwind>> {
        let mut timer = u64::try_from(timeout).ok().map(Duration::from_nanos).map(Timer::new);
        // SAFETY: by contract.
        let mut waiting = unsafe { Waiting::new(this, waiter) };
        loop {
            // SAFETY: by contract; nothing of the store is borrowed here.
            let event = unsafe { Self::next_event(this, &mut waiting, &mut timer) };
            // SAFETY: the borrow ends at once.
            unsafe { (*this).forget_wakers() };
            match event? {
                Event::Notified => return Ok(WaitResult::Ok),
                Event::TimedOut if waiting.waiter().leave() => return Ok(WaitResult::Ok),
                Event::TimedOut => return Ok(WaitResult::TimedOut),
                // SAFETY: by contract. A trap drops the waiter.
                Event::Attention => unsafe { Self::attend(this)? },
            }
        }
    }

    /// # Safety
    ///
    /// As for [`Self::refuel`].
    unsafe fn next_event(
        this: *mut Self,
        waiting: &mut Waiting,
        timer: &mut Option<Timer>,
    ) -> Result<Event, Box<Unwind>> {
        // SAFETY: the activation is live since its wasm called us.
        let suspender = unsafe { &*(*(*this).activation).suspender };
        let blocks = suspender.is_blocking();
        let end = timer.as_ref().and_then(Timer::end);
        let poll = |context: &mut Context<'_>| {
            if waiting.waiter().poll(context).is_ready() {
                return Poll::Ready(Event::Notified);
            }
            // SAFETY: the call borrows the store as long as its future exists, and who polls that
            // polls us, on the fiber; the borrow ends with the poll.
            if unsafe { &mut *this }.poll_attention(context).is_ready() {
                return Poll::Ready(Event::Attention);
            }
            let is_over = match timer {
                None => false,
                Some(_) if blocks => end.is_some_and(|end| Instant::now() >= end),
                Some(timer) => timer.poll(context).is_ready(),
            };
            if is_over { Poll::Ready(Event::TimedOut) } else { Poll::Pending }
        };
        if blocks {
            return Ok(on_thread(poll, end));
        }
        suspender.block_on(poll_fn(poll)).map_err(|_cancelled| Box::new(Unwind::Cancelled))
    }

    /// Ready when [`Self::attend`] has something to do.
    fn poll_attention(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(interrupts) = &mut self.interrupts
            && interrupts.poll_due(context).is_ready()
        {
            return Poll::Ready(());
        }
        match self.fuel.supply_ref().and_then(|supply| supply.control()) {
            Some(control) => control.poll_attention(context),
            None => Poll::Pending,
        }
    }

    /// Nobody needs to wake the guest any more.
    fn forget_wakers(&mut self) {
        if let Some(interrupts) = &mut self.interrupts {
            interrupts.forget_waker();
        }
    }
}

/// Waits on this thread until `poll` is ready, polling again at `end`.
///
/// Never inlined: a thread-local is read, which on a fiber may be another one later.
#[inline(never)]
pub(crate) fn on_thread<R>(
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<R>,
    end: Option<Instant>,
) -> R {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(ready) = poll(&mut context) {
            return ready;
        }
        match end {
            None => thread::park(),
            Some(end) => thread::park_timeout(end.saturating_duration_since(Instant::now())),
        }
    }
}

/// Wakes a thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
