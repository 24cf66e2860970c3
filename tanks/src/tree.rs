//! A ledger behind a lock, with a clock, and a place for each of its tanks.
//!
//! One lock guards all tanks of a tree: whose turn it is depends on all of them. It is held for as
//! long as the ledger takes, some hundred nanoseconds; guests come here once for several slices
//! where there is plenty, and else once for each time that they have to wait. Wakers, which are
//! foreign code, are woken and dropped outside of the lock.

use std::task::{Context, Wake, Waker};
use std::time::Duration;

use lampwick_runqueue::RunQueue;

use crate::clock::Instant;
use crate::ledger::{Id, Ledger};
use crate::sync::{Arc, AtomicBool, Mutex, MutexGuard, Ordering};
use crate::timer;

/// All tanks below one that has no parent.
#[derive(Debug)]
pub(crate) struct Tree {
    state: Mutex<State>,
    epoch: Instant,
    /// How often the lock was taken.
    #[cfg(test)]
    pub(crate) locks: std::sync::atomic::AtomicUsize,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) ledger: Ledger<Sleeper>,
    /// Whether a timer will tick.
    timed: bool,
    /// By id, what tells those who draw from a tank that it is closed.
    closed: Vec<Arc<AtomicBool>>,
}

/// A tank: its id in the tree, for as long as somebody has it.
#[derive(Debug)]
pub(crate) struct Place {
    tree: Arc<Tree>,
    pub(crate) id: Id,
    closed: Arc<AtomicBool>,
    /// Keeps the parent; taken only when this is dropped.
    parent: Option<Arc<Place>>,
}

impl Tree {
    /// A tree with one tank.
    pub(crate) fn with_root(capacity: u64) -> Arc<Place> {
        let (ledger, id) = Ledger::new(capacity);
        let mut state = State { ledger, timed: false, closed: Vec::new() };
        let closed = state.flag(id, false);
        let tree = Arc::new(Self {
            state: Mutex::new(state),
            epoch: Instant::now(),
            #[cfg(test)]
            locks: Default::default(),
        });
        Arc::new(Place { tree, id, closed, parent: None })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        #[cfg(test)]
        self.locks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Nanoseconds since the tree was made; a few centuries at the most.
    pub(crate) fn now(&self) -> u64 {
        let elapsed = Instant::now().saturating_duration_since(self.epoch);
        u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Has a timer tick for a tap that waits, if a rate will make fuel for it and none does yet.
    ///
    /// # Panics
    ///
    /// In a tokio runtime whose timers are disabled.
    pub(crate) fn arm(self: &Arc<Self>, mut state: MutexGuard<'_, State>, tap: Id) {
        if state.timed {
            return;
        }
        let Some(nanos) = state.ledger.time_to_serve(tap) else { return };
        state.timed = true;
        drop(state);
        timer::start(Arc::downgrade(self), Duration::from_nanos(nanos));
    }

    pub(crate) fn ticket(self: &Arc<Self>) -> Waker {
        Waker::from(std::sync::Arc::new(Ticket(self.clone())))
    }

    /// The timer's tick. Answers when the next one is due; without one the timer ends.
    pub(crate) fn tick(&self) -> Option<Duration> {
        let mut woken = Vec::new();
        let now = self.now();
        let mut state = self.lock();
        let next = state.ledger.tick(now, &mut woken);
        state.timed = next.is_some();
        drop(state);
        wake(woken);
        next.map(Duration::from_nanos)
    }

    /// The timer is gone although it was not to end. Somebody who waits will start another.
    pub(crate) fn timer_lost(&self) {
        let mut state = self.lock();
        state.timed = false;
        let woken = state.ledger.wake_all();
        drop(state);
        wake(woken);
    }
}

impl State {
    /// A flag for a new tank.
    fn flag(&mut self, id: Id, closed: bool) -> Arc<AtomicBool> {
        let flag = Arc::new(AtomicBool::new(closed));
        // Ids are given in order, and again when they are free.
        match self.closed.get_mut(id) {
            Some(former) => *former = flag.clone(),
            None => self.closed.push(flag.clone()),
        }
        flag
    }
}

impl Place {
    pub(crate) fn tree(&self) -> &Arc<Tree> {
        &self.tree
    }

    /// A tank under this one.
    pub(crate) fn child(self: &Arc<Self>, weight: u32) -> Arc<Self> {
        let mut state = self.tree.lock();
        let id = state.ledger.add_child(self.id, weight);
        let closed = state.flag(id, self.is_closed());
        drop(state);
        Arc::new(Self { tree: self.tree.clone(), id, closed, parent: Some(self.clone()) })
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Closes this tank and those under it.
    pub(crate) fn close(&self) {
        let mut state = self.tree.lock();
        let (ids, woken) = state.ledger.close(self.id);
        for id in ids {
            state.closed[id].store(true, Ordering::Release);
        }
        drop(state);
        wake(woken);
    }

    /// Does something with the ledger, and wakes whom it names.
    pub(crate) fn with<R>(
        &self,
        act: impl FnOnce(&mut Ledger<Sleeper>, Id, u64) -> (R, Vec<Sleeper>),
    ) -> R {
        let now = self.tree.now();
        let (result, woken) = act(&mut self.tree.lock().ledger, self.id, now);
        wake(woken);
        result
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let now = self.tree.now();
        let mut state = self.tree.lock();
        let woken = state.ledger.remove_tank(self.id, now);
        drop(state);
        wake(woken);
        // One after the other: nobody knows how deep they are.
        let mut parent = self.parent.take();
        while let Some(mut place) = parent.and_then(Arc::into_inner) {
            parent = place.parent.take();
        }
    }
}

/// A task that waits, and the line of its runtime.
#[derive(Debug)]
pub(crate) struct Sleeper {
    pub(crate) waker: Waker,
    pub(crate) queue: Option<RunQueue>,
}

impl Sleeper {
    /// The task that polls, on this thread.
    pub(crate) fn of(context: &Context<'_>) -> Self {
        Self { waker: context.waker().clone(), queue: RunQueue::current() }
    }
}

/// Wakes tasks, each in its runtime's line: there may be so many that they would keep everything
/// else on it waiting.
pub(crate) fn wake(woken: Vec<Sleeper>) {
    for Sleeper { waker, queue } in woken {
        match queue {
            Some(queue) => queue.push(waker),
            None => waker.wake(),
        }
    }
}

/// What stands in a runtime's line for a tap that waits to run: the one who then has the turn is
/// woken.
#[derive(Debug)]
struct Ticket(Arc<Tree>);

impl Wake for Ticket {
    fn wake(self: std::sync::Arc<Self>) {
        self.wake_by_ref();
    }

    /// Those of other runtimes have no ticket in this one's line, nor may theirs come here for somebody
    /// of this one: they are woken in addition.
    fn wake_by_ref(self: &std::sync::Arc<Self>) {
        let here = RunQueue::current();
        loop {
            // The lock is not held while somebody is woken.
            let next = self.0.lock().ledger.run_next();
            match next {
                None => return,
                Some(None) => {}
                Some(Some(next)) if next.queue == here => return next.waker.wake(),
                Some(Some(other)) => wake(vec![other]),
            }
        }
    }
}
