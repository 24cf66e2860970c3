//! The engines under comparison. All are async; everything that is not named here is at its default.

use anyhow::Result;

/// Ours, metered or not.
pub fn ours(metered: bool) -> Result<lampwick::Engine> {
    let mut config = lampwick::Config::new();
    config.async_support(true).consume_fuel(metered);
    lampwick::Engine::new(&config)
}

/// How the peer finds memory and stacks for its instances.
#[derive(Clone, Copy)]
pub enum Allocation {
    OnDemand,
    Pooled,
}

/// The peer's, metered or not.
pub fn theirs(metered: bool, allocation: Allocation) -> Result<wasmtime::Engine> {
    let mut config = wasmtime::Config::new();
    config.consume_fuel(metered);
    if let Allocation::Pooled = allocation {
        config.allocation_strategy(wasmtime::InstanceAllocationStrategy::pooling());
    }
    Ok(wasmtime::Engine::new(&config)?)
}
