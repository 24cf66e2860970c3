//! The pooling allocation strategy: its settings, its limits, and the slots of instances.

mod config;
mod error;
mod limits;
mod slots;

pub(crate) use config::Allocation;
pub use error::{PoolExhausted, PoolLimitError};
pub use limits::{InstanceLimits, ModuleLimits};
pub(crate) use slots::{InstanceSlot, InstanceSlots};

use anyhow::{Context, Result, ensure};

use crate::vm::memory::{MemorySettings, MemorySlots};

/// Where an engine takes the room for instances from; see
/// [`Config::allocation_strategy`](crate::Config::allocation_strategy).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum InstanceAllocationStrategy {
    /// Room is made when an instance needs it, without limits but those of the system and of each
    /// store's [limiter](crate::Store::limiter). What ended guests leave is kept for the next
    /// ones, so that this is as fast as pooling.
    #[default]
    OnDemand,
    /// All address space for the memories of instances is reserved when the engine is made, in one
    /// mapping, and there are hard limits on how many instances there are and on what a module may
    /// define. Whoever meets one gets an error that names it: a [`PoolExhausted`] or a
    /// [`PoolLimitError`].
    ///
    /// An instance occupies its slot until its store is dropped. An instantiation that fails gives
    /// the slot back at once, unless it got as far as the module's segments or start function:
    /// what these did stays, and so does the instance.
    ///
    /// What the host makes itself ([`Memory::new`](crate::Memory::new),
    /// [`Table::new`](crate::Table::new)) is made on demand and bounded by its type and the
    /// store's limiter only, also where guests import it.
    ///
    /// Instances with memories cost the process a mapping or two each; Linux allows 65,530 of them
    /// by default (`vm.max_map_count`).
    Pooling {
        /// Which free slot an instance gets.
        strategy: PoolingAllocationStrategy,
        /// What a module may define.
        module_limits: ModuleLimits,
        /// How many instances there may be.
        instance_limits: InstanceLimits,
    },
}

impl InstanceAllocationStrategy {
    /// Pooling with its default limits.
    pub fn pooling() -> Self {
        Self::Pooling {
            strategy: PoolingAllocationStrategy::default(),
            module_limits: ModuleLimits::default(),
            instance_limits: InstanceLimits::default(),
        }
    }
}

/// Which free slot of a pool an instance gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PoolingAllocationStrategy {
    /// The one that was freed last, whose page tables are most likely still there.
    #[default]
    NextAvailable,
    /// Any, so that a guest cannot foresee at which addresses its next instance will lie.
    Random,
}

/// An engine's pool.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) limits: ModuleLimits,
    pub(crate) slots: InstanceSlots,
    /// Whether async instantiations wait for a slot.
    pub(crate) waits: bool,
}

/// No pool has more slots, so that lists of them stay small beside what is in them.
const MAX_SLOTS: u64 = 1 << 24;

impl Pool {
    /// The first of the slots for memories that belong to an instance's slot.
    pub(crate) fn first_memory(&self, slot: &InstanceSlot) -> usize {
        slot.index() * self.limits.memories as usize
    }

    /// The pool that a strategy asks for, if it does, and its memories.
    ///
    /// # Errors
    ///
    /// Fails if a limit is beyond what can be had, or if the system does not have the address
    /// space.
    pub(crate) fn new(
        strategy: &InstanceAllocationStrategy,
        waits: bool,
        settings: &MemorySettings,
    ) -> Result<Option<(Self, MemorySlots)>> {
        let InstanceAllocationStrategy::Pooling { strategy, module_limits, instance_limits } =
            strategy
        else {
            return Ok(None);
        };
        module_limits.check_bounds()?;
        let memories = reserve(module_limits, instance_limits.count, settings)?;
        let slots = InstanceSlots::new(instance_limits.count, *strategy);
        Ok(Some((Self { limits: module_limits.clone(), slots, waits }, memories)))
    }
}

/// Reserves the address space of all memories that instances may have.
fn reserve(limits: &ModuleLimits, count: u32, settings: &MemorySettings) -> Result<MemorySlots> {
    let memories = limits.memories;
    let slots = u64::from(count) * u64::from(memories);
    ensure!(
        slots.max(count.into()) <= MAX_SLOTS,
        "the pool is to have room for {count} instances (`InstanceLimits::count`) with {memories} \
         memories each (`ModuleLimits::memories`); it can have room for {MAX_SLOTS}"
    );
    let stride = MemorySlots::stride(settings, limits.memory_pages);
    let total = stride.and_then(|stride| MemorySlots::total(settings, stride, slots));
    let what = || {
        let (stride, total) = (stride.unwrap_or(u64::MAX), total.unwrap_or(u64::MAX));
        format!(
            "cannot reserve {total} bytes of address space for the pool: {count} instances \
             (`InstanceLimits::count`) with {memories} memories (`ModuleLimits::memories`) of \
             {stride} bytes, guards included (`Config::static_memory_maximum_size` and \
             `Config::static_memory_guard_size`, or `ModuleLimits::memory_pages` if that is more)"
        )
    };
    let (Some(stride), Some(_)) = (stride, total) else {
        return Err(std::io::Error::from(std::io::ErrorKind::OutOfMemory)).with_context(what);
    };
    MemorySlots::new(settings, stride, slots as usize).with_context(what)
}
