//! What a configuration says of the room for instances.

use std::sync::Arc;

use anyhow::{Result, bail};

use super::{InstanceAllocationStrategy, Pool};
use crate::config::Config;
use crate::vm::memory::{
    HostMemories, MemoryCreator, MemorySettings, MemorySource, PooledMemories,
};

/// Where an engine takes the room for instances from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Allocation {
    strategy: InstanceAllocationStrategy,
    waits: bool,
    host: Option<HostMemories>,
}

impl Config {
    /// Where the engine takes the room for instances from.
    /// [`OnDemand`](InstanceAllocationStrategy::OnDemand) by default.
    ///
    /// ```
    /// # fn main() -> anyhow::Result<()> {
    /// use lampwick::{Config, Engine, InstanceAllocationStrategy};
    ///
    /// let mut config = Config::new();
    /// config.allocation_strategy(InstanceAllocationStrategy::pooling());
    /// let engine = Engine::new(&config)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn allocation_strategy(&mut self, strategy: InstanceAllocationStrategy) -> &mut Self {
        self.allocation.strategy = strategy;
        self
    }

    /// Whether async instantiations *wait* while all slots of a
    /// [pool](InstanceAllocationStrategy::Pooling) are taken, instead of failing with
    /// [`PoolExhausted`](crate::PoolExhausted): the future is pending until a store with an
    /// instance is dropped, wherever that happens, and slots are given in the order in which the
    /// futures were first polled. A future that is dropped leaves the queue. Off by default, and
    /// without effect where there is no pool; synchronous instantiations never wait.
    ///
    /// Whoever waits keeps the instances that its store has. A store that has all slots already
    /// gets the error; but two stores that each have some and wait for more can wait for one
    /// another forever. Give each store its instances in one go, or time the waiting out. The
    /// same is true of *commands* in linkers, which are instantiated by each call that a guest
    /// makes and stay until the store is dropped: on its own a guest can take all slots of the
    /// pool, unless a [limiter](crate::Store::limiter) bounds the instances of its store.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> anyhow::Result<()> {
    /// use lampwick::{
    ///     Config, Engine, Instance, InstanceAllocationStrategy, InstanceLimits, Module, Store,
    /// };
    ///
    /// let mut config = Config::new();
    /// config.async_support(true).wait_for_instance_slot(true);
    /// config.allocation_strategy(InstanceAllocationStrategy::Pooling {
    ///     strategy: Default::default(),
    ///     module_limits: Default::default(),
    ///     instance_limits: InstanceLimits { count: 2 },
    /// });
    /// let engine = Engine::new(&config)?;
    /// let module = Module::new(&engine, "(module)")?;
    /// let tasks = (0..10).map(|_| {
    ///     let (engine, module) = (engine.clone(), module.clone());
    ///     tokio::spawn(async move {
    ///         // Eight of the ten wait here.
    ///         let mut store = Store::new(&engine, ());
    ///         Instance::new_async(&mut store, &module, &[]).await.map(drop)
    ///     })
    /// });
    /// for task in tasks.collect::<Vec<_>>() {
    ///     task.await??;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait_for_instance_slot(&mut self, enable: bool) -> &mut Self {
        self.allocation.waits = enable;
        self
    }

    /// Lets the embedder provide the bytes of all memories, those of instances and those that the
    /// host makes, instead of the engine. What [`MemoryCreator`] is told follows the settings
    /// of static and dynamic memories; keeping what lies before a memory inaccessible
    /// ([`guard_before_linear_memory`](Self::guard_before_linear_memory)) is up to the creator.
    ///
    /// It cannot be combined with [pooling](InstanceAllocationStrategy::Pooling), whose memories
    /// are reserved beforehand: [`Engine::new`](crate::Engine::new) then fails.
    ///
    /// ```
    /// # fn main() -> anyhow::Result<()> {
    /// use std::sync::Arc;
    /// use std::sync::atomic::AtomicU8;
    ///
    /// use lampwick::{Config, Engine, LinearMemory, Memory, MemoryCreator, MemoryType, Store};
    ///
    /// struct Heap;
    /// /// Atomics may be written to through a shared reference.
    /// struct OnHeap(Vec<AtomicU8>);
    ///
    /// // SAFETY: the engine's memories are all dynamic, so that every access is compared with the
    /// // size; the bytes are on the heap, zero, and nobody else's.
    /// unsafe impl MemoryCreator for Heap {
    ///     fn new_memory(
    ///         &self,
    ///         _ty: MemoryType,
    ///         minimum: usize,
    ///         _maximum: Option<usize>,
    ///         reserved: Option<usize>,
    ///         _guard: usize,
    ///     ) -> Result<Box<dyn LinearMemory>, String> {
    ///         match reserved {
    ///             None => Ok(Box::new(OnHeap((0..minimum).map(|_| AtomicU8::new(0)).collect()))),
    ///             Some(bytes) => Err(format!("cannot reserve {bytes} bytes")),
    ///         }
    ///     }
    /// }
    ///
    /// // SAFETY: as above.
    /// unsafe impl LinearMemory for OnHeap {
    ///     fn byte_size(&self) -> usize {
    ///         self.0.len()
    ///     }
    ///     fn maximum_byte_size(&self) -> Option<usize> {
    ///         None
    ///     }
    ///     fn grow_to(&mut self, new_size: usize) -> anyhow::Result<()> {
    ///         self.0.try_reserve(new_size - self.0.len())?;
    ///         self.0.resize_with(new_size, AtomicU8::default);
    ///         Ok(())
    ///     }
    ///     fn as_ptr(&self) -> *mut u8 {
    ///         self.0.as_ptr().cast_mut().cast()
    ///     }
    /// }
    ///
    /// let mut config = Config::new();
    /// config.with_host_memory(Arc::new(Heap)).static_memory_maximum_size(0);
    /// let mut store = Store::new(&Engine::new(&config)?, ());
    /// let memory = Memory::new(&mut store, MemoryType::new(1, None))?;
    /// memory.grow(&mut store, 2)?;
    /// memory.write(&mut store, 3 * 65536 - 5, b"bytes")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_host_memory(&mut self, creator: Arc<dyn MemoryCreator>) -> &mut Self {
        self.allocation.host = Some(HostMemories(creator));
        self
    }
}

impl Allocation {
    /// Where memories come from, and the pool, if there is one.
    ///
    /// # Errors
    ///
    /// Fails if the settings contradict each other, or if the system does not have the address
    /// space.
    pub(crate) fn build(&self, settings: MemorySettings) -> Result<(MemorySource, Option<Pool>)> {
        let (pool, memories) = match Pool::new(&self.strategy, self.waits, &settings)? {
            Some(_) if self.host.is_some() => bail!(
                "host memory (`Config::with_host_memory`) cannot be combined with pooling \
                 (`Config::allocation_strategy`)"
            ),
            Some((pool, slots)) => {
                let pages = pool.limits.memory_pages;
                (Some(pool), Some(PooledMemories { slots: Arc::new(slots), pages }))
            }
            None => (None, None),
        };
        Ok((MemorySource::new(settings, memories, self.host.clone()), pool))
    }
}
