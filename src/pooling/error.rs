//! The errors of a pool, which embedders tell from others.

/// Every slot of the engine's pool has an instance in it; see
/// [`InstanceLimits::count`](crate::InstanceLimits::count).
///
/// A server may answer that it is busy and try again later, when stores were dropped:
///
/// ```
/// # fn main() -> anyhow::Result<()> {
/// use lampwick::{
///     Config, Engine, Instance, InstanceAllocationStrategy, InstanceLimits, Module,
///     PoolExhausted, Store,
/// };
///
/// let engine = Engine::new(Config::new().allocation_strategy(
///     InstanceAllocationStrategy::Pooling {
///         strategy: Default::default(),
///         module_limits: Default::default(),
///         instance_limits: InstanceLimits { count: 1 },
///     },
/// ))?;
/// let module = Module::new(&engine, "(module)")?;
/// let mut first = Store::new(&engine, ());
/// Instance::new(&mut first, &module, &[])?;
///
/// let mut second = Store::new(&engine, ());
/// let error = Instance::new(&mut second, &module, &[]).unwrap_err();
/// let status = if error.is::<PoolExhausted>() { 503 } else { 500 };
/// assert_eq!(status, 503);
///
/// drop(first);
/// Instance::new(&mut second, &module, &[])?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the engine's pool has no slot for another instance: all {count} (`InstanceLimits::count`) are \
     taken, {held} of them by this store"
)]
#[non_exhaustive]
pub struct PoolExhausted {
    pub(super) count: u32,
    pub(super) held: u32,
}

impl PoolExhausted {
    /// How many instances the pool has room for.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// How many of them the store has that was to have one more. Where that is
    /// [`count`](Self::count), waiting is in vain.
    pub fn held(&self) -> u32 {
        self.held
    }
}

/// A module, or the growth of a memory or table, exceeds one of the
/// [`ModuleLimits`](crate::ModuleLimits) of the engine's pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pool's limit `{limit}` is {bound}, but {value} are asked for")]
#[non_exhaustive]
pub struct PoolLimitError {
    limit: &'static str,
    value: u64,
    bound: u64,
}

impl PoolLimitError {
    /// Fails if `value` exceeds the `bound` of this limit.
    pub(crate) fn check(limit: &'static str, value: u64, bound: u64) -> Result<(), Self> {
        if value > bound { Err(Self { limit, value, bound }) } else { Ok(()) }
    }

    /// The field of [`ModuleLimits`](crate::ModuleLimits), such as `memory_pages`.
    pub fn limit(&self) -> &'static str {
        self.limit
    }

    /// What was asked for.
    pub fn value(&self) -> u64 {
        self.value
    }

    /// What the limit is.
    pub fn bound(&self) -> u64 {
        self.bound
    }
}
