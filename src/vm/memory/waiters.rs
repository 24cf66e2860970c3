//! Who waits at which address of a shared memory.
//!
//! A waiter is in the queue until it is notified or leaves. Comparing the value and joining the queue
//! are one step under the lock, which those who notify take after they changed the value: nobody goes
//! to sleep past a notification. Who was notified and is dropped before it took notice hands the
//! notification on, so that none is lost with a guest that is cancelled.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::shared::SharedMemory;

/// How many are woken under one lock.
pub(crate) const BATCH: u64 = 64;

/// The waiters of one memory.
#[derive(Debug, Default)]
pub(crate) struct Waiters(Mutex<Queue>);

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

    /// The number of the next one who comes: those with smaller ones are waiting now.
    pub(crate) fn mark(&self) -> u64 {
        self.lock().next
    }

    /// Wakes at most `count` and [`BATCH`] of those who wait at the address and came before the
    /// mark, first come, first served. Answers how many.
    pub(crate) fn notify(&self, address: u64, count: u64, mark: u64) -> u64 {
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

/// A waiter. Dropped, it leaves.
#[derive(Debug)]
pub(crate) struct Waiter {
    memory: Arc<SharedMemory>,
    place: Place,
    /// Whether it took notice of its notification, or left.
    done: bool,
}

impl Waiter {
    /// Joins those who wait at the address, if the value there is the expected one.
    pub(crate) fn join(
        memory: &Arc<SharedMemory>,
        address: u64,
        is_expected: impl FnOnce() -> bool,
    ) -> Option<Self> {
        let mut queue = memory.waiters.lock();
        if !is_expected() {
            return None;
        }
        let place = (address, queue.next);
        queue.next += 1;
        queue.waiting.insert(place, None);
        drop(queue);
        Some(Self { memory: memory.clone(), place, done: false })
    }

    /// Ready once it was notified.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // Cloning and dropping a waker is foreign code.
        let waker = context.waker().clone();
        let mut queue = self.memory.waiters.lock();
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
    pub(crate) fn leave(&mut self) -> bool {
        self.done = true;
        let former = self.memory.waiters.lock().waiting.remove(&self.place);
        former.is_none()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let waiters = &self.memory.waiters;
        let mut queue = waiters.lock();
        let (former, mark) = (queue.waiting.remove(&self.place), queue.next);
        drop(queue);
        if former.is_none() {
            waiters.notify(self.place.0, 1, mark);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
    use std::thread;

    use super::*;
    use crate::types::MemoryType;
    use crate::vm::memory::tests::shared;

    fn memory() -> Arc<SharedMemory> {
        shared(&MemoryType::shared(1, 1))
    }

    fn is_notified(waiter: &mut Waiter) -> bool {
        waiter.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn the_first_to_come_are_woken_at_their_address() {
        let memory = memory();
        let join = |address| Waiter::join(&memory, address, || true).unwrap();
        let [mut a, mut b, mut c, mut other] = [join(8), join(8), join(8), join(16)];
        assert!(Waiter::join(&memory, 8, || false).is_none());
        let mark = memory.waiters.mark();
        let mut late = join(8);
        assert_eq!(memory.waiters.notify(8, 2, mark), 2);
        assert_eq!([&mut a, &mut b, &mut c].map(is_notified), [true, true, false]);
        assert_eq!(memory.waiters.notify(8, 9, mark), 1);
        assert_eq!([&mut c, &mut late, &mut other].map(is_notified), [true, false, false]);
        assert!(!late.leave());
        drop(other);
        assert_eq!(memory.waiters.count(), 0);
    }

    #[test]
    fn a_notification_of_who_is_dropped_is_handed_on() {
        let memory = memory();
        let join = || Waiter::join(&memory, 0, || true).unwrap();
        let [a, b, mut c] = [join(), join(), join()];
        assert_eq!(memory.waiters.notify(0, 1, u64::MAX), 1);
        drop(b);
        assert!(!is_notified(&mut c));
        drop(a);
        assert!(is_notified(&mut c));
        drop(c);
        assert_eq!(memory.waiters.count(), 0, "who took notice hands nothing on");
    }

    /// Each of the threads waits for all numbers in turn; one that slept past a notification would
    /// hang.
    #[test]
    fn nobody_sleeps_past_a_notification() {
        const ROUNDS: u64 = 2_000;
        let (memory, value) = (memory(), AtomicU64::new(0));
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for round in 0..ROUNDS {
                        while value.load(SeqCst) == round {
                            let waiter = Waiter::join(&memory, 0, || value.load(SeqCst) == round);
                            if let Some(mut waiter) = waiter {
                                crate::vm::waiting::on_thread(|context| waiter.poll(context), None);
                            }
                        }
                    }
                });
            }
            for round in 1..=ROUNDS {
                value.store(round, SeqCst);
                memory.waiters.notify(0, u64::MAX, u64::MAX);
                if round % 7 == 0 {
                    thread::yield_now();
                }
            }
        });
        assert_eq!(memory.waiters.count(), 0);
    }
}
