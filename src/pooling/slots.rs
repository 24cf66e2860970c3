//! Which instance has which slot, and who waits for one.
//!
//! One lock guards the free slots and the queue, under one invariant: while somebody waits, no slot
//! is free. A slot that is given back goes to the longest waiter under the lock, before anybody is
//! woken; so no newcomer overtakes, no wake-up is lost, and a waiter that is dropped after it was
//! woken passes its slot on. Wakers, which are foreign code, are cloned, woken and dropped outside
//! of the lock.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use super::{PoolExhausted, PoolingAllocationStrategy};

/// The slots of a pool's instances.
#[derive(Clone, Debug)]
pub(crate) struct InstanceSlots(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    count: u32,
    queue: Mutex<Queue>,
}

#[derive(Debug)]
struct Queue {
    free: Free,
    /// Who waits, by ticket: the lowest is first.
    waiting: BTreeMap<u64, Waker>,
    /// Slots that were handed to waiters which have not looked yet.
    handed: HashMap<u64, u32>,
    next_ticket: u64,
}

/// The slots that nobody has.
#[derive(Debug)]
struct Free {
    /// The one that was freed last is last.
    slots: Vec<u32>,
    /// The source of random choices, keyed by the system, and how many were made.
    random: Option<(RandomState, u64)>,
}

impl Free {
    fn take(&mut self) -> Option<u32> {
        let Some((state, choices)) = &mut self.random else { return self.slots.pop() };
        if self.slots.is_empty() {
            return None;
        }
        *choices += 1;
        let index = state.hash_one(*choices) % self.slots.len() as u64;
        Some(self.slots.swap_remove(index as usize))
    }
}

impl InstanceSlots {
    /// `count` free slots.
    pub(super) fn new(count: u32, strategy: PoolingAllocationStrategy) -> Self {
        let random = match strategy {
            PoolingAllocationStrategy::NextAvailable => None,
            PoolingAllocationStrategy::Random => Some((RandomState::new(), 0)),
        };
        let free = Free { slots: (0..count).rev().collect(), random };
        let queue =
            Queue { free, waiting: BTreeMap::new(), handed: HashMap::new(), next_ticket: 0 };
        Self(Arc::new(Inner { count, queue: Mutex::new(queue) }))
    }

    /// How many slots have an instance, or wait for one that they were promised.
    pub(crate) fn in_use(&self) -> usize {
        self.0.count as usize - self.0.lock().free.slots.len()
    }

    /// A slot for a store that has `held` already.
    ///
    /// # Errors
    ///
    /// Fails if none is free.
    pub(crate) fn take(&self, held: usize) -> Result<InstanceSlot, PoolExhausted> {
        let index = self.0.lock().free.take();
        index.map(|index| self.slot(index)).ok_or_else(|| self.exhausted(held))
    }

    /// As [`take`](Self::take), but waits until a slot is free and all who came before have theirs.
    ///
    /// # Errors
    ///
    /// Fails if none can become free, since the store that is to have one more has all.
    pub(crate) async fn wait(&self, held: usize) -> Result<InstanceSlot, PoolExhausted> {
        if held >= self.0.count as usize {
            return Err(self.exhausted(held));
        }
        Ok(Turn { slots: self, ticket: None }.await)
    }

    fn slot(&self, index: u32) -> InstanceSlot {
        InstanceSlot { slots: self.clone(), index }
    }

    #[cold]
    fn exhausted(&self, held: usize) -> PoolExhausted {
        PoolExhausted { count: self.0.count, held: held as u32 }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Hands a slot to the longest waiter, or makes it free.
    fn give(&self, index: u32) {
        let mut queue = self.lock();
        let Some((ticket, waker)) = queue.waiting.pop_first() else {
            queue.free.slots.push(index);
            return;
        };
        queue.handed.insert(ticket, index);
        drop(queue);
        waker.wake();
    }
}

/// A slot with an instance in it, or about to have one. Dropping it gives the slot to the next.
#[derive(Debug)]
pub(crate) struct InstanceSlot {
    slots: InstanceSlots,
    index: u32,
}

impl InstanceSlot {
    /// Its place among the pool's slots.
    pub(crate) fn index(&self) -> usize {
        self.index as usize
    }
}

impl Drop for InstanceSlot {
    fn drop(&mut self) {
        self.slots.0.give(self.index);
    }
}

/// Waits for its turn to have a slot.
struct Turn<'a> {
    slots: &'a InstanceSlots,
    /// The place in the queue, from the first poll that finds no slot until there is one.
    ticket: Option<u64>,
}

impl Turn<'_> {
    /// The slot, if there is one for us now.
    fn try_take(&mut self, queue: &mut Queue) -> Option<InstanceSlot> {
        let index = match self.ticket {
            None => queue.free.take()?,
            Some(ticket) => queue.handed.remove(&ticket)?,
        };
        self.ticket = None;
        Some(self.slots.slot(index))
    }
}

impl Future for Turn<'_> {
    type Output = InstanceSlot;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<InstanceSlot> {
        let this = &mut *self;
        let slots = this.slots;
        if let Some(slot) = this.try_take(&mut slots.0.lock()) {
            return Poll::Ready(slot);
        }
        let waker = cx.waker().clone();
        let mut queue = slots.0.lock();
        if let Some(slot) = this.try_take(&mut queue) {
            drop(queue);
            return Poll::Ready(slot);
        }
        let ticket = *this.ticket.get_or_insert_with(|| {
            queue.next_ticket += 1;
            queue.next_ticket
        });
        let former = queue.waiting.insert(ticket, waker);
        drop(queue);
        drop(former);
        Poll::Pending
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let mut queue = self.slots.0.lock();
        let waker = queue.waiting.remove(&ticket);
        let handed = queue.handed.remove(&ticket);
        drop(queue);
        drop(waker);
        if let Some(index) = handed {
            self.slots.0.give(index);
        }
    }
}
