//! What an engine can be asked about all its guests.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::Engine;

/// What an engine holds, and what it did: [`Engine::stats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineStats {
    /// Stores that exist. Zero without [`Config::accounts`](crate::Config::accounts).
    pub guests: usize,
    /// Those of them with a call that is suspended: it waits for the host or for fuel, or its slice
    /// ended and nobody has polled it since. A call whose future was forgotten counts until its store
    /// is dropped. Zero without [`Config::accounts`](crate::Config::accounts).
    pub suspended: usize,
    /// Stacks that stores have. Most have one; it takes another for each call that a host function
    /// makes, and for the calls that follow one that was dropped or forgotten.
    pub stacks: usize,
    /// Stacks that wait for their next store.
    pub idle_stacks: usize,
    /// Ranges of address space that are reserved for memories, those that wait for their next memory
    /// among them. A pool's one range and memories of the
    /// [embedder's](crate::Config::with_host_memory) are not counted.
    pub reservations: usize,
    /// Those that wait for their next memory.
    pub idle_reservations: usize,
    /// Slots of the [pool](crate::InstanceAllocationStrategy::Pooling) that have an instance or were
    /// promised to one. Zero without a pool.
    pub pool_slots: usize,
    /// Modules that were compiled. What came out of the cache or an artifact is not counted.
    pub modules_compiled: u64,
    /// The time for which threads waited for modules to be compiled, those that could not be
    /// compiled among them. It may be less than what all cores spent on it.
    pub compile_time: Duration,
}

/// What an engine compiled.
#[derive(Debug, Default)]
pub(super) struct Compilations {
    modules: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Engine {
    /// What the engine's guests hold at present, and what it compiled.
    ///
    /// Nothing is counted for it that would slow guests down: stacks, reservations and slots are
    /// looked up now, under the locks that guard them, for a few microseconds. Numbers that change
    /// meanwhile need not be of the same moment.
    ///
    /// ```
    /// use lampwick::{Config, Engine, Module, Store};
    ///
    /// # fn main() -> anyhow::Result<()> {
    /// let engine = Engine::new(Config::new().accounts(true))?;
    /// let module = Module::new(&engine, "(module)")?;
    /// let stores = [Store::new(&engine, 1), Store::new(&engine, 2)];
    /// let stats = engine.stats();
    /// assert_eq!((stats.guests, stats.suspended, stats.modules_compiled), (2, 0, 1));
    /// drop(stores);
    /// assert_eq!(engine.stats().guests, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn stats(&self) -> EngineStats {
        let (reservations, idle_reservations) = self.memories().reservations();
        let gauges = self.0.gauges.as_deref();
        EngineStats {
            guests: gauges.map_or(0, |gauges| gauges.guests()),
            suspended: gauges.map_or(0, |gauges| gauges.suspended()),
            stacks: self.stacks().live(),
            idle_stacks: self.stacks().idle(),
            reservations,
            idle_reservations,
            pool_slots: self.pool().map_or(0, |pool| pool.slots.in_use()),
            modules_compiled: self.0.compilations.modules.load(Relaxed),
            compile_time: Duration::from_nanos(self.0.compilations.nanoseconds.load(Relaxed)),
        }
    }

    /// Counts the compilation of a module.
    pub(crate) fn compiling<R, E>(&self, compile: impl FnOnce() -> Result<R, E>) -> Result<R, E> {
        let began = Instant::now();
        let result = compile();
        let Compilations { modules, nanoseconds } = &self.0.compilations;
        let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let add = |sum: u64| Some(sum.saturating_add(took));
        let _ = nanoseconds.fetch_update(Relaxed, Relaxed, add);
        if result.is_ok() {
            modules.fetch_add(1, Relaxed);
        }
        result
    }
}
