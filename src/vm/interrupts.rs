//! Interrupts and epochs: how a guest is stopped from outside.
//!
//! Machine code has one check for both, at function entries and loop heads: it compares the
//! engine's epoch (zero where the engine has none) with the store's *deadline word*, and from there
//! on calls [`Store::attend`]. An interrupt sets the word to zero, which no epoch is below, and a
//! flag beside it, which says that the word does not tell the deadline.
//!
//! Who writes what, when: a handle sets first the flag, then the word. The store first writes the
//! word, then looks at the flag, and sets the word to zero if it is up; all in one total order. So
//! a flag that the store does not see is followed by a word that it will, and no interrupt is lost.
//! A word may still become zero after its interrupt was consumed; the check then finds nothing to
//! do, and puts it right.

use std::collections::BTreeMap;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use std::task::{Context, Poll, Waker};

use super::activation::Unwind;
use super::layout::{TrapCode, VMDeadline};
use super::store::Store;

/// An engine's epoch: a number that goes up when the embedder says so. Guests on all cores read it
/// all the time, so that it has a cache line of its own.
#[derive(Debug, Default)]
pub(crate) struct Epoch {
    now: Line<AtomicU64>,
    sleepers: Line<Sleepers>,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Line<T>(T);

impl Epoch {
    /// Begins the next one.
    pub(crate) fn increment(&self) {
        // In one order with those who go to sleep: they are seen here, or they see this.
        let now = self.now.0.fetch_add(1, Ordering::SeqCst) + 1;
        self.sleepers.0.wake(now);
    }

    fn now(&self) -> u64 {
        self.now.0.load(Ordering::Relaxed)
    }
}

/// Guests that wait for something else, and are to be woken at their deadlines.
#[derive(Debug, Default)]
struct Sleepers {
    any: AtomicBool,
    by_deadline: Mutex<BTreeMap<(u64, usize), Waker>>,
}

impl Sleepers {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(u64, usize), Waker>> {
        self.by_deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, place: (u64, usize), waker: Waker) {
        let mut sleepers = self.lock();
        let former = sleepers.insert(place, waker);
        self.any.store(true, Ordering::SeqCst);
        drop(sleepers);
        drop(former);
    }

    fn remove(&self, place: (u64, usize)) {
        let mut sleepers = self.lock();
        let former = sleepers.remove(&place);
        self.any.store(!sleepers.is_empty(), Ordering::SeqCst);
        drop(sleepers);
        drop(former);
    }

    /// Wakes those whose deadline has come.
    fn wake(&self, now: u64) {
        if !self.any.load(Ordering::SeqCst) {
            return;
        }
        let mut sleepers = self.lock();
        let later = sleepers.split_off(&(now.saturating_add(1), 0));
        let due = std::mem::replace(&mut *sleepers, later);
        self.any.store(!sleepers.is_empty(), Ordering::SeqCst);
        drop(sleepers);
        // Wakers are foreign code.
        due.into_values().for_each(Waker::wake);
    }
}

/// What a store shares with those who interrupt it, and with machine code.
#[derive(Debug)]
pub(crate) struct Deadline {
    machine: VMDeadline,
    /// Whether there is an interrupt that no check has seen.
    interrupted: AtomicBool,
    /// Whom to wake, while the guest waits for something else.
    sleeper: Mutex<Option<Waker>>,
}

// SAFETY: only machine code follows the pointer to the epoch, and the store that it belongs to
// keeps the epoch alive.
unsafe impl Send for Deadline {}
// SAFETY: as above.
unsafe impl Sync for Deadline {}

impl Deadline {
    /// Sends an interrupt.
    pub(crate) fn interrupt(&self) {
        self.interrupted.store(true, Ordering::SeqCst);
        self.machine.word.store(0, Ordering::SeqCst);
        // Behind the word, which who goes to sleep looks at behind leaving this.
        let sleeper = self.sleeper().take();
        if let Some(waker) = sleeper {
            waker.wake();
        }
    }

    fn sleeper(&self) -> MutexGuard<'_, Option<Waker>> {
        self.sleeper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the guest call [`Store::attend`] at its next check, to find whatever there is.
    ///
    /// The store may overwrite this before the guest sees it.
    pub(crate) fn draw_attention(&self) {
        self.machine.word.store(0, Ordering::SeqCst);
    }

    /// Sets the word, for the store only.
    fn set(&self, deadline: u64) {
        self.machine.word.store(deadline, Ordering::SeqCst);
        if self.interrupted.load(Ordering::SeqCst) {
            self.machine.word.store(0, Ordering::SeqCst);
        }
    }

    /// Whether there was an interrupt; then it is consumed.
    fn take_interrupt(&self) -> bool {
        self.interrupted.swap(false, Ordering::SeqCst)
    }
}

/// What happens at the deadline.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AtDeadline {
    /// The guest traps.
    Trap,
    /// The guest yields, and its deadline is then this many epochs after the one in which it goes
    /// on.
    Yield(u64),
}

/// A store's part.
#[derive(Debug)]
pub(crate) struct Interrupts {
    shared: Arc<Deadline>,
    /// The engine's epoch, where guests look at it.
    epoch: Option<Arc<Epoch>>,
    /// The first epoch that is too late. Without epochs there is none.
    deadline: u64,
    at_deadline: AtDeadline,
}

/// What the slow path of a check finds.
#[derive(Clone, Copy, Debug)]
enum Due {
    /// Nothing any more: see the module's top.
    Nothing,
    Trap,
    Yield(u64),
}

impl Interrupts {
    /// For a new store. Its deadline is the present epoch, if the engine has epochs.
    pub(crate) fn new(epoch: Option<Arc<Epoch>>) -> Self {
        let deadline = epoch.as_ref().map_or(u64::MAX, |epoch| epoch.now());
        let place = epoch.as_ref().map_or(ptr::null(), |epoch| &raw const epoch.now.0);
        let machine = VMDeadline { word: deadline.into(), epoch: place };
        let shared = Deadline { machine, interrupted: false.into(), sleeper: Mutex::default() };
        Self { shared: Arc::new(shared), epoch, deadline, at_deadline: AtDeadline::Trap }
    }

    /// Through which the store is interrupted, whether or not it still exists.
    pub(crate) fn shared(&self) -> &Arc<Deadline> {
        &self.shared
    }

    /// What contexts hold.
    pub(crate) fn machine(&self) -> *const VMDeadline {
        &raw const self.shared.machine
    }

    /// Sets the deadline to `ticks` epochs after the present one. Without epochs this does nothing.
    pub(crate) fn set_deadline(&mut self, ticks: u64) {
        let Some(epoch) = &self.epoch else { return };
        self.deadline = epoch.now().saturating_add(ticks);
        self.shared.set(self.deadline);
    }

    pub(crate) fn at_deadline(&mut self, action: AtDeadline) {
        self.at_deadline = action;
    }

    /// Ready when a check would find something due; else the guest is woken when one would.
    pub(super) fn poll_due(&self, context: &mut Context<'_>) -> Poll<()> {
        let waker = context.waker().clone();
        let former = self.shared.sleeper().replace(waker);
        drop(former);
        if let Some(epoch) = &self.epoch {
            epoch.sleepers.0.add(self.sleeping_place(), context.waker().clone());
        }
        let now = self.epoch.as_ref().map_or(0, |epoch| epoch.now.0.load(Ordering::SeqCst));
        let is_due = now >= self.shared.machine.word.load(Ordering::SeqCst);
        if is_due { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Ends what [`Self::poll_due`] began.
    pub(super) fn forget_waker(&self) {
        let former = self.shared.sleeper().take();
        drop(former);
        if let Some(epoch) = &self.epoch {
            epoch.sleepers.0.remove(self.sleeping_place());
        }
    }

    /// No other store has the same.
    fn sleeping_place(&self) -> (u64, usize) {
        (self.deadline, Arc::as_ptr(&self.shared).addr())
    }

    fn due(&mut self) -> Due {
        let interrupted = self.shared.take_interrupt();
        self.shared.set(self.deadline);
        let late = self.epoch.as_ref().is_some_and(|epoch| epoch.now() >= self.deadline);
        match self.at_deadline {
            _ if interrupted => Due::Trap,
            _ if !late => Due::Nothing,
            AtDeadline::Trap => Due::Trap,
            AtDeadline::Yield(ticks) => Due::Yield(ticks),
        }
    }
}

impl Store {
    /// Does what an interrupt, the deadline or a handle demands.
    ///
    /// # Safety
    ///
    /// As for [`Self::refuel`].
    pub(super) unsafe fn attend(this: *mut Self) -> Result<(), Box<Unwind>> {
        // SAFETY: each borrow ends before the fiber suspends; the activation is live since its wasm
        // called us.
        unsafe {
            let due = (*this).interrupts.as_mut().map_or(Due::Nothing, Interrupts::due);
            match due {
                Due::Nothing => Self::attend_handles(this)?,
                Due::Trap => return Err(Self::trap(this, TrapCode::Interrupt)),
                Due::Yield(ticks) => {
                    Self::yield_now(this)?;
                    Self::attend_handles(this)?;
                    if let Some(interrupts) = (*this).interrupts.as_mut() {
                        interrupts.set_deadline(ticks);
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(interrupts: &Interrupts) -> u64 {
        interrupts.shared.machine.word.load(Ordering::SeqCst)
    }

    #[test]
    fn an_interrupt_is_consumed_once_and_the_deadline_restored() {
        let epoch = Arc::new(Epoch::default());
        let mut interrupts = Interrupts::new(Some(epoch));
        interrupts.set_deadline(5);
        interrupts.shared.interrupt();
        interrupts.shared.interrupt();
        assert_eq!(word(&interrupts), 0);
        assert!(matches!(interrupts.due(), Due::Trap));
        assert_eq!(word(&interrupts), 5);
        assert!(matches!(interrupts.due(), Due::Nothing));
    }

    #[test]
    fn a_new_deadline_does_not_hide_an_interrupt() {
        let mut interrupts = Interrupts::new(Some(Arc::default()));
        interrupts.shared.interrupt();
        interrupts.set_deadline(5);
        assert_eq!(word(&interrupts), 0);
        assert!(matches!(interrupts.due(), Due::Trap));
    }

    #[test]
    fn a_late_zero_is_put_right() {
        let mut interrupts = Interrupts::new(None);
        interrupts.shared.interrupted.store(true, Ordering::SeqCst);
        assert!(matches!(interrupts.due(), Due::Trap));
        // The second half of the interrupt.
        interrupts.shared.machine.word.store(0, Ordering::SeqCst);
        assert!(matches!(interrupts.due(), Due::Nothing));
        assert_eq!(word(&interrupts), u64::MAX);
    }

    /// Whatever the order of steps, an interrupt that was sent is seen afterwards.
    #[test]
    fn no_interrupt_is_lost_between_threads() {
        let mut interrupts = Interrupts::new(None);
        let shared = interrupts.shared.clone();
        let (sent, seen) = std::sync::mpsc::channel();
        let (go_on, turn) = std::sync::mpsc::channel();
        let sender = std::thread::spawn(move || {
            for round in 0..20_000 {
                shared.interrupt();
                sent.send(round).expect("somebody waits");
                turn.recv().expect("somebody answers");
            }
        });
        for round in 0..20_000 {
            let mut taken = 0;
            // Checks of a guest that runs on.
            while seen.try_recv() != Ok(round) {
                if word(&interrupts) == 0 {
                    taken += u32::from(matches!(interrupts.due(), Due::Trap));
                }
            }
            if word(&interrupts) == 0 {
                taken += u32::from(matches!(interrupts.due(), Due::Trap));
            }
            assert_eq!(taken, 1, "round {round}");
            go_on.send(()).expect("somebody waits");
        }
        sender.join().expect("the sender ends");
    }

    #[test]
    fn deadlines_saturate() {
        let epoch = Arc::new(Epoch::default());
        let mut interrupts = Interrupts::new(Some(epoch.clone()));
        assert!(matches!(interrupts.due(), Due::Trap));
        epoch.increment();
        interrupts.set_deadline(u64::MAX);
        assert_eq!(word(&interrupts), u64::MAX);
        assert!(matches!(interrupts.due(), Due::Nothing));
    }
}
