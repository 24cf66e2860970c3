//! The engines under comparison. Everything that is not named here is at its default.

use anyhow::Result;

/// Ours for async stores, metered or not.
pub fn ours(metered: bool) -> Result<lampwick::Engine> {
    let mut config = lampwick::Config::new();
    config.async_support(true).consume_fuel(metered);
    lampwick::Engine::new(&config)
}

/// Ours for synchronous stores.
pub fn ours_synchronous() -> Result<lampwick::Engine> {
    lampwick::Engine::new(&lampwick::Config::new())
}

/// How the peer finds memory and stacks for its instances.
#[derive(Clone, Copy)]
pub enum Allocation {
    OnDemand,
    Pooled,
}

/// The peer's, metered or not; its stores are async where they are used so.
pub fn theirs(metered: bool, allocation: Allocation) -> Result<wasmtime::Engine> {
    theirs_for(metered, allocation, 1_000)
}

/// The peer's, with a pool for so many instances. A thousand is its default.
pub fn theirs_for(
    metered: bool,
    allocation: Allocation,
    instances: u32,
) -> Result<wasmtime::Engine> {
    let mut config = wasmtime::Config::new();
    // Only the guests of `theirs_with_objects` need that.
    config.consume_fuel(metered).gc_support(false);
    if let Allocation::Pooled = allocation {
        let mut pool = wasmtime::PoolingAllocationConfig::new();
        pool.total_core_instances(instances)
            .total_memories(instances)
            .total_tables(instances)
            .total_stacks(instances);
        config.allocation_strategy(wasmtime::InstanceAllocationStrategy::Pooling(pool));
    }
    Ok(wasmtime::Engine::new(&config)?)
}

/// The peer's, unmetered, for guests with exceptions, structs and arrays.
pub fn theirs_with_objects() -> Result<wasmtime::Engine> {
    Ok(wasmtime::Engine::new(&wasmtime::Config::new())?)
}
