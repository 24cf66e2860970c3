#![doc = include_str!("../README.md")]

#[cfg(all(test, feature = "shuttle"))]
mod shuttled;
mod sync;
#[cfg(all(test, not(feature = "shuttle")))]
mod tests;

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};

use sync::{Arc, Mutex, MutexGuard};

/// How many are woken under one lock.
pub const BATCH: u64 = 64;

/// The waiters of one memory.
#[derive(Debug, Default)]
pub struct Waiters(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    /// The number of the next one to come.
    next: u64,
    /// By address, then in the order in which they came; each with whom to wake.
    waiting: BTreeMap<Place, Option<Waker>>,
}

/// An address, and the number of a waiter.
type Place = (u64, u64);

impl Waiters {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the next one who comes: those with smaller ones are waiting now. Who notifies in
    /// several parts serves these alone, and so comes to an end.
    pub fn mark(&self) -> u64 {
        self.lock().next
    }

    /// Wakes at most `count` and [`BATCH`] of those who wait at the address and came before the
    /// mark, first come, first served. Answers how many.
    pub fn notify(&self, address: u64, count: u64, mark: u64) -> u64 {
        let mut woken = Vec::new();
        let mut queue = self.lock();
        while (woken.len() as u64) < count.min(BATCH) {
            let first = queue.waiting.range((address, 0)..(address, mark)).next();
            let Some(place) = first.map(|(place, _)| *place) else { break };
            woken.push(queue.waiting.remove(&place).expect("found above"));
        }
        drop(queue);
        // Wakers are foreign code.
        let count = woken.len() as u64;
        woken.into_iter().flatten().for_each(Waker::wake);
        count
    }

    #[cfg(test)]
    fn count(&self) -> usize {
        self.lock().waiting.len()
    }
}

/// A waiter: in the queue until it is notified or leaves. Dropped, it leaves; a notification that it had
/// without taking notice goes to the next one.
#[derive(Debug)]
pub struct Waiter {
    waiters: Arc<Waiters>,
    place: Place,
    /// Whether it took notice of its notification, or left.
    done: bool,
}

impl Waiter {
    /// Joins those who wait at the address, if the value there is the expected one. That is asked under
    /// the lock, which those who notify take after they changed the value.
    pub fn join(
        waiters: &Arc<Waiters>,
        address: u64,
        is_expected: impl FnOnce() -> bool,
    ) -> Option<Self> {
        let mut queue = waiters.lock();
        if !is_expected() {
            return None;
        }
        let place = (address, queue.next);
        queue.next += 1;
        queue.waiting.insert(place, None);
        drop(queue);
        Some(Self { waiters: waiters.clone(), place, done: false })
    }

    /// Ready once it was notified. Until then the waker of the last poll is the one that is woken.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // Cloning and dropping a waker is foreign code.
        let waker = context.waker().clone();
        let mut queue = self.waiters.lock();
        let Some(slot) = queue.waiting.get_mut(&self.place) else {
            self.done = true;
            return Poll::Ready(());
        };
        let former = slot.replace(waker);
        drop(queue);
        drop(former);
        Poll::Pending
    }

    /// Leaves the queue; answers whether it had been notified.
    #[must_use]
    pub fn leave(&mut self) -> bool {
        self.done = true;
        let former = self.waiters.lock().waiting.remove(&self.place);
        former.is_none()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let mut queue = self.waiters.lock();
        let (former, mark) = (queue.waiting.remove(&self.place), queue.next);
        drop(queue);
        if former.is_none() {
            self.waiters.notify(self.place.0, 1, mark);
        }
    }
}
