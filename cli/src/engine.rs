//! The one configuration of all commands, so that what one compiles the others run.

use anyhow::Result;
use lampwick::{Config, Engine};

/// What all engines of this command have in common.
pub fn config() -> Config {
    let mut config = Config::new();
    config
        .async_support(true)
        .consume_fuel(true)
        .accounts(true)
        .wasm_multi_memory(true)
        .wasm_custom_page_sizes(true)
        .wasm_relaxed_simd(true);
    config
}

/// An engine that runs programs.
pub fn engine() -> Result<Engine> {
    Engine::new(&config())
}
