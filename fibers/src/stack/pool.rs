//! The pool that lends stacks and takes them back.
//!
//! A slot of a slab is in one of four states, and a mutex guards all transitions:
//!
//! ```text
//!  fresh ──lend──► live ──return──► warm (keeps its pages)
//!                   ▲  ╲              │
//!                   │   ╲──return──► cold (pages given back)
//!                   └──────lend───────┘
//! ```
//!
//! Warm stacks are lent first, the last returned before all others: its pages are in the caches.
//!
//! In front of that lie a few warm slots for each group of threads, with locks of their own. For the
//! state they count as lent, until another group needs them.

use super::slab::{self, Layout, Slab};
use super::{Guards, Stack, StackError, StackPoolConfig};
use crate::workers::{PerWorker, Shared};
use std::fmt;
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Lends stacks of one size. A handle: clones share the pool.
///
/// A lent stack keeps the pool alive, so that handles may go first.
///
/// A reused stack may still hold the bytes of its last user. Compiled code never reads what it did
/// not write, so this is no channel as long as nobody is shown a stack's raw bytes.
#[derive(Clone)]
pub struct StackPool(Shared<Inner>);

struct Inner {
    layout: Layout,
    max_stacks: usize,
    max_warm: usize,
    warm_per_worker: usize,
    max_empty_slabs: usize,
    /// Warm slots of each group of threads, the hottest last.
    workers: PerWorker<Mutex<Vec<Slot>>>,
    state: Mutex<State>,
}

struct State {
    /// `None` where a slab was given back to the system; its index is used again.
    slabs: Vec<Option<Slab>>,
    /// Idle slots that keep their pages; the last is the hottest.
    warm: Vec<Slot>,
    /// Idle slots without pages.
    cold: Vec<Slot>,
    /// Slots that are lent or a worker's.
    live: usize,
    /// Slabs of which no slot is lent or a worker's.
    empty: usize,
    /// How guards are made, as far as is known by now.
    guards: Guards,
}

/// Which stack of which slab.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) bottom: NonNull<u8>,
    pub(super) slab: u32,
}

// SAFETY: a slot is a name for an address range that its holder owns; no thread is special to it.
unsafe impl Send for Slot {}
// SAFETY: a shared slot gives nothing but numbers and an address.
unsafe impl Sync for Slot {}

impl StackPool {
    /// A pool with the default configuration.
    ///
    /// # Panics
    ///
    /// Never: the defaults fit every address space.
    #[must_use]
    pub fn new() -> Self {
        StackPoolConfig::new().build().expect("the default sizes fit every address space")
    }

    pub(super) fn with(layout: Layout, config: StackPoolConfig) -> Self {
        let state = State {
            slabs: Vec::new(),
            warm: Vec::new(),
            cold: Vec::new(),
            live: 0,
            empty: 0,
            guards: config.guards,
        };
        Self(Shared::new(Inner {
            layout,
            max_stacks: config.max_stacks,
            max_warm: config.max_warm,
            warm_per_worker: config.warm_per_worker,
            workers: PerWorker::new(Mutex::default),
            max_empty_slabs: config.max_empty_slabs,
            state: Mutex::new(state),
        }))
    }

    /// Lends a stack.
    ///
    /// # Errors
    ///
    /// When the configured maximum is lent already, or when the system refuses memory or a guard.
    #[inline]
    pub fn take(&self) -> Result<Stack, StackError> {
        let slot = match self.0.take_own() {
            Some(slot) => slot,
            None => self.0.take_from_all()?,
        };
        Ok(Stack::new(slot, Self(self.0.local())))
    }

    /// Usable bytes of each stack.
    #[must_use]
    #[inline]
    pub fn stack_size(&self) -> usize {
        self.0.layout.usable
    }

    /// Takes back a slot that its holder gave up.
    #[inline]
    pub(super) fn put(&self, slot: Slot) {
        self.0.put(slot);
    }

    /// How many stacks are lent.
    #[must_use]
    pub fn live(&self) -> usize {
        let state = self.0.lock();
        state.live - self.0.in_workers()
    }

    /// How many stacks were returned and wait to be lent again.
    #[must_use]
    pub fn idle(&self) -> usize {
        let state = self.0.lock();
        state.warm.len() + state.cold.len() + self.0.in_workers()
    }

    /// How many of the idle stacks keep the pages that they touched.
    #[must_use]
    pub fn warm(&self) -> usize {
        let state = self.0.lock();
        state.warm.len() + self.0.in_workers()
    }

    /// How many slabs are mapped.
    #[must_use]
    pub fn slabs(&self) -> usize {
        self.0.lock().slabs.iter().flatten().count()
    }

    /// How guards are made, as far as is known: the first guard decides whether
    /// [`Guards::Automatic`] must become [`Guards::Protected`].
    #[must_use]
    pub fn guards(&self) -> Guards {
        self.0.lock().guards
    }

    /// Gives the pages of all idle stacks and all empty slabs back to the system.
    pub fn trim(&self) {
        let mut state = self.0.lock();
        for worker in self.0.workers.iter() {
            for slot in std::mem::take(&mut *lock(worker)) {
                state.unlend(slot, &self.0);
            }
        }
        let warm = std::mem::take(&mut state.warm);
        for slot in &warm {
            // SAFETY: the slot is idle and its slab is mapped; the lock keeps it so.
            unsafe { slab::discard(slot.bottom, self.0.layout.usable) };
        }
        state.cold.extend(warm);
        state.release_empty(0);
    }
}

impl Default for StackPool {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for StackPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.lock();
        let in_workers = self.0.in_workers();
        f.debug_struct("StackPool")
            .field("stack_size", &self.0.layout.usable)
            .field("live", &(state.live - in_workers))
            .field("warm", &(state.warm.len() + in_workers))
            .field("cold", &state.cold.len())
            .field("slabs", &state.slabs.iter().flatten().count())
            .field("guards", &state.guards)
            .finish()
    }
}

/// What is guarded is consistent wherever code under a lock could panic.
#[inline]
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The lock of the state is never taken while that of a worker is held.
impl Inner {
    #[inline]
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// A slot that this thread's group has.
    #[inline]
    fn take_own(&self) -> Option<Slot> {
        if self.warm_per_worker == 0 {
            return None;
        }
        lock(self.workers.mine()).pop()
    }

    /// A slot that is everybody's, or another group's, before one that was never lent.
    fn take_from_all(&self) -> Result<Slot, StackError> {
        let mut state = self.lock();
        if state.live < self.max_stacks
            && let Some(slot) = state.warm.pop().or_else(|| state.cold.pop())
        {
            state.lend(slot);
            return Ok(slot);
        }
        if let Some(slot) = self.workers.iter().find_map(|worker| lock(worker).pop()) {
            return Ok(slot);
        }
        let slot = state.take_new(self)?;
        state.lend(slot);
        Ok(slot)
    }

    /// How many slots the groups have. Exact while the state is locked and nobody returns a stack.
    fn in_workers(&self) -> usize {
        self.workers.iter().map(|worker| lock(worker).len()).sum()
    }

    /// Takes back a slot that its holder gave up.
    #[inline]
    fn put(&self, slot: Slot) {
        if self.warm_per_worker > 0 {
            let mut own = lock(self.workers.mine());
            if own.len() < self.warm_per_worker {
                own.push(slot);
                return;
            }
        }
        let mut state = self.lock();
        if state.warm.len() < self.max_warm {
            state.unlend(slot, self);
            return;
        }
        drop(state);
        self.put_cold(slot);
    }

    #[cold]
    fn put_cold(&self, slot: Slot) {
        // The system call is made without the lock: the slot still counts as lent.
        // SAFETY: the slot was given up, and its slab stays mapped while it counts as lent.
        unsafe { slab::discard(slot.bottom, self.layout.usable) };
        let mut state = self.lock();
        state.cold.push(slot);
        state.count_return(slot, self);
    }
}

impl State {
    /// A slot that was never lent.
    #[cold]
    fn take_new(&mut self, pool: &Inner) -> Result<Slot, StackError> {
        if self.live >= pool.max_stacks {
            return Err(StackError::Exhausted { max: pool.max_stacks });
        }
        let slab_index = self.slab_with_room(pool)?;
        let slab = self.slabs[slab_index].as_mut().expect("a slab with room is mapped");
        let index = slab.guarded;
        let bytes = pool.layout.guard;
        // SAFETY: the guard of a slot that was never lent is unused memory of the slab's own.
        unsafe { self.guards.install(slab.guard(index).as_ptr(), bytes) }
            .map_err(|source| StackError::Guard { bytes, source })?;
        slab.guarded += 1;
        Ok(Slot { bottom: slab.bottom(index), slab: slab_index as u32 })
    }

    /// The index of a slab that has slots that were never lent.
    fn slab_with_room(&mut self, pool: &Inner) -> Result<usize, StackError> {
        // The newest slab is the only one that can have room, unless an older one failed.
        let room = |slab: &Option<Slab>| slab.as_ref().is_some_and(|slab| !slab.is_guarded());
        if let Some(index) = self.slabs.iter().rposition(room) {
            return Ok(index);
        }
        let slab = Slab::map(pool.layout)?;
        self.empty += 1;
        if let Some(index) = self.slabs.iter().position(Option::is_none) {
            self.slabs[index] = Some(slab);
            return Ok(index);
        }
        self.slabs.push(Some(slab));
        Ok(self.slabs.len() - 1)
    }

    #[inline]
    fn lend(&mut self, slot: Slot) {
        self.live += 1;
        let slab = self.slab_of(slot);
        slab.live += 1;
        if slab.live == 1 {
            self.empty -= 1;
        }
    }

    #[inline]
    fn unlend(&mut self, slot: Slot, pool: &Inner) {
        self.warm.push(slot);
        self.count_return(slot, pool);
    }

    #[inline]
    fn count_return(&mut self, slot: Slot, pool: &Inner) {
        self.live -= 1;
        let slab = self.slab_of(slot);
        slab.live -= 1;
        if slab.live == 0 {
            self.empty += 1;
            if self.empty > pool.max_empty_slabs {
                self.release_empty(pool.max_empty_slabs);
            }
        }
    }

    #[inline]
    fn slab_of(&mut self, slot: Slot) -> &mut Slab {
        self.slabs[slot.slab as usize].as_mut().expect("a slab with a lent stack is mapped")
    }

    /// Unmaps empty slabs until `keep` of them are left.
    #[cold]
    fn release_empty(&mut self, keep: usize) {
        for index in 0..self.slabs.len() {
            if self.empty <= keep {
                return;
            }
            if self.slabs[index].as_ref().is_some_and(|slab| slab.live == 0) {
                self.warm.retain(|slot| slot.slab as usize != index);
                self.cold.retain(|slot| slot.slab as usize != index);
                self.slabs[index] = None;
                self.empty -= 1;
            }
        }
    }
}
