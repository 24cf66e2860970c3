//! A store and its limiter: who is asked, and by whom.

use std::future::Future;
use std::pin::Pin;

use anyhow::{Result, bail, ensure};
use lampwick_fibers::{Cancelled, Suspender};

use super::limits::{DEFAULT_COUNT, ResourceLimiter, ResourceLimiterAsync};
use super::{Store, StoreInner};
use crate::vm;
use crate::vm::limits::{Growth, LimiterHooks, Resource};

/// How an embedder's data leads to a limiter that answers at once.
type Prompt<T> = dyn FnMut(&mut T) -> &mut (dyn ResourceLimiter) + Send + Sync;
/// The same for one that may wait.
type Patient<T> = dyn FnMut(&mut T) -> &mut (dyn ResourceLimiterAsync) + Send + Sync;

/// The limiter of a store, if it has one.
pub(super) enum Limiter<T> {
    None,
    Prompt(Box<Prompt<T>>),
    Patient(Box<Patient<T>>),
}

impl<T> Store<T> {
    /// Lets a [`ResourceLimiter`], which `limiter` finds in the host's data, decide what this store
    /// may grow to from now on. What the store has already stays. There is one limiter: it
    /// replaces an earlier one.
    ///
    /// Without a limiter a store may have 10,000 instances, 10,000 tables and 10,000 memories, each
    /// of them as large as its type allows.
    ///
    /// See [`StoreLimits`](crate::StoreLimits) for limits that are plain numbers.
    pub fn limiter(
        &mut self,
        limiter: impl FnMut(&mut T) -> &mut (dyn ResourceLimiter) + Send + Sync + 'static,
    ) {
        self.inner.set_limiter(Limiter::Prompt(Box::new(limiter)));
    }

    /// As [`limiter`](Self::limiter), for a limiter that may wait before it answers.
    ///
    /// From now on what makes or grows memories and tables without being async itself panics, as
    /// its documentation says: use [`Memory::new_async`](crate::Memory::new_async),
    /// [`Memory::grow_async`](crate::Memory::grow_async),
    /// [`Table::new_async`](crate::Table::new_async) and
    /// [`Table::grow_async`](crate::Table::grow_async).
    ///
    /// # Panics
    ///
    /// Panics if the store's engine is not async.
    pub fn limiter_async(
        &mut self,
        limiter: impl FnMut(&mut T) -> &mut (dyn ResourceLimiterAsync) + Send + Sync + 'static,
    ) {
        assert!(
            self.inner.engine.is_async(),
            "cannot use an async limiter with a store whose engine is not async \
             (see `Config::async_support`)"
        );
        self.inner.set_limiter(Limiter::Patient(Box::new(limiter)));
    }
}

impl<T> StoreInner<T> {
    fn set_limiter(&mut self, limiter: Limiter<T>) {
        self.limiter = limiter;
        self.vm.limiter =
            Some(const { &LimiterHooks { permits: permits::<T>, failed: failed::<T> } });
    }

    /// Asks whether a growth may be. `method` is what the embedder called.
    ///
    /// # Panics
    ///
    /// Panics if the limiter is async.
    pub(crate) fn permit(&mut self, growth: Growth, method: &str) -> Result<()> {
        let permitted = match &mut self.limiter {
            Limiter::None => true,
            Limiter::Prompt(limiter) => ask(limiter(&mut self.data), growth),
            Limiter::Patient(_) => {
                panic!("must use `{method}_async` with a store whose limiter is async")
            }
        };
        answer(permitted, growth)
    }

    /// Whether the limiter is async.
    pub(crate) fn limiter_waits(&self) -> bool {
        matches!(self.limiter, Limiter::Patient(_))
    }

    /// The same for both kinds of limiters.
    pub(crate) async fn permit_async(&mut self, growth: Growth) -> Result<()> {
        let future = match &mut self.limiter {
            Limiter::None => return Ok(()),
            Limiter::Prompt(limiter) => {
                return answer(ask(limiter(&mut self.data), growth), growth);
            }
            Limiter::Patient(limiter) => ask_async(limiter(&mut self.data), growth),
        };
        answer(future.await, growth)
    }

    /// Tells the limiter that what it permitted has failed.
    pub(crate) fn grow_failed(&mut self, resource: Resource, error: &anyhow::Error) {
        match &mut self.limiter {
            Limiter::None => {}
            Limiter::Prompt(limiter) => {
                let limiter = limiter(&mut self.data);
                match resource {
                    Resource::Memory => limiter.memory_grow_failed(error),
                    Resource::Table => limiter.table_grow_failed(error),
                }
            }
            Limiter::Patient(limiter) => {
                let limiter = limiter(&mut self.data);
                match resource {
                    Resource::Memory => limiter.memory_grow_failed(error),
                    Resource::Table => limiter.table_grow_failed(error),
                }
            }
        }
    }

    /// Fails if there may not be so many more instances, tables and memories.
    pub(crate) fn check_counts(&mut self, more: Counts) -> Result<()> {
        let limits = match &mut self.limiter {
            Limiter::None => {
                Counts { instances: DEFAULT_COUNT, tables: DEFAULT_COUNT, memories: DEFAULT_COUNT }
            }
            Limiter::Prompt(limiter) => {
                let limiter = limiter(&mut self.data);
                let (instances, tables) = (limiter.instances(), limiter.tables());
                Counts { instances, tables, memories: limiter.memories() }
            }
            Limiter::Patient(limiter) => {
                let limiter = limiter(&mut self.data);
                let (instances, tables) = (limiter.instances(), limiter.tables());
                Counts { instances, tables, memories: limiter.memories() }
            }
        };
        let vm::store::Store { instances, tables, memories, .. } = &self.vm;
        check_count("instances", instances.len(), more.instances, limits.instances)?;
        check_count("tables", tables.len(), more.tables, limits.tables)?;
        check_count("memories", memories.len(), more.memories, limits.memories)
    }
}

/// Numbers of things in a store.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) instances: usize,
    pub(crate) tables: usize,
    pub(crate) memories: usize,
}

fn check_count(what: &str, present: usize, more: usize, limit: usize) -> Result<()> {
    if more > 0 && present + more > limit {
        bail!("a store may have {limit} {what}: it has {present} and cannot have {more} more");
    }
    Ok(())
}

fn ask(limiter: &mut dyn ResourceLimiter, growth: Growth) -> bool {
    let Growth { current, desired, maximum, .. } = growth;
    match growth.resource {
        Resource::Memory => limiter.memory_growing(current, desired, maximum),
        Resource::Table => {
            let maximum = maximum.map(|maximum| maximum as u32);
            limiter.table_growing(current as u32, desired as u32, maximum)
        }
    }
}

fn ask_async<'a>(
    limiter: &'a mut (dyn ResourceLimiterAsync + 'a),
    growth: Growth,
) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
    let Growth { current, desired, maximum, .. } = growth;
    match growth.resource {
        Resource::Memory => limiter.memory_growing(current, desired, maximum),
        Resource::Table => {
            let maximum = maximum.map(|maximum| maximum as u32);
            limiter.table_growing(current as u32, desired as u32, maximum)
        }
    }
}

fn answer(permitted: bool, growth: Growth) -> Result<()> {
    ensure!(permitted, "the store's limiter does not let grow {growth}");
    Ok(())
}

/// [`LimiterHooks::permits`] for a store with data of type `T`.
///
/// # Safety
///
/// As said there; and `store` must be that of a [`StoreInner<T>`].
unsafe fn permits<T>(
    store: *mut vm::store::Store,
    suspender: &Suspender,
    growth: Growth,
) -> Result<bool, Cancelled> {
    let store = store.cast::<StoreInner<T>>();
    // SAFETY: a store begins with what the pointer is to. What the future borrows across a
    // suspension is the host's data, which nobody else reaches as long as the call borrows the
    // store.
    unsafe {
        let data = &mut (*store).data;
        match &mut (*store).limiter {
            Limiter::None => Ok(true),
            Limiter::Prompt(limiter) => Ok(ask(limiter(data), growth)),
            Limiter::Patient(limiter) => {
                let mut future = ask_async(limiter(data), growth);
                suspender.block_on_pinned(future.as_mut())
            }
        }
    }
}

/// [`LimiterHooks::failed`] for a store with data of type `T`.
///
/// # Safety
///
/// As for [`permits`].
unsafe fn failed<T>(store: *mut vm::store::Store, resource: Resource, error: &anyhow::Error) {
    // SAFETY: as above; nothing of the store is borrowed.
    unsafe { (*store.cast::<StoreInner<T>>()).grow_failed(resource, error) }
}
