//! The ways in which our side runs modules.

use lampwick::{
    Config, Engine, InstanceAllocationStrategy, InstanceLimits, Linker, Module, ModuleLimits,
    PoolingAllocationStrategy,
};

use crate::proposals::PROPOSALS;
use crate::side::Side;
use crate::{host, lampwick as ours, wasmi as theirs};

/// A way to run modules, with the engines of both sides, which threads share.
pub struct Way {
    /// What is special about it.
    pub name: &'static str,
    linker: Linker<ours::Data>,
    sliced: bool,
    theirs: wasmi::Engine,
    /// The host's imports as a module, from which each side reads their types.
    imports: (Module, wasmi::Module),
}

/// All ways.
pub fn ways() -> Vec<Way> {
    let mut config = Config::new();
    // Modules are small, and compared on all cores.
    config.parallel_compilation(false);
    for proposal in PROPOSALS {
        (proposal.ours)(&mut config);
    }
    let config = || config.clone();
    vec![
        Way::new("plain", &mut config()),
        Way::new("async slices", config().async_support(true).consume_fuel(true)).sliced(),
        Way::new("explicit bounds checks", explicit_checks(&mut config())),
        Way::new("pooled", pooled(config().consume_fuel(true))),
    ]
}

/// Memories without reservations or guards.
fn explicit_checks(config: &mut Config) -> &mut Config {
    config
        .static_memory_maximum_size(0)
        .static_memory_guard_size(0)
        .dynamic_memory_guard_size(0)
        .dynamic_memory_reserved_for_growth(0)
}

/// Memories in the slots of a pool. There is room for what a module may have, on many threads.
fn pooled(config: &mut Config) -> &mut Config {
    let module_limits = ModuleLimits {
        imported_functions: 1_000,
        imported_tables: 100,
        imported_memories: 100,
        imported_globals: 1_000,
        types: 1_000,
        functions: 2_000,
        tables: 100,
        memories: 4,
        globals: 1_000,
        table_elements: 1_000,
        memory_pages: 16,
    };
    config.allocation_strategy(InstanceAllocationStrategy::Pooling {
        strategy: PoolingAllocationStrategy::Random,
        module_limits,
        instance_limits: InstanceLimits { count: 1_000 },
    })
}

impl Way {
    fn new(name: &'static str, config: &mut Config) -> Self {
        let ours = Engine::new(config).expect("the configuration suits this machine");
        let mut theirs = wasmi::Config::default();
        for proposal in PROPOSALS {
            (proposal.theirs)(&mut theirs);
        }
        let theirs = wasmi::Engine::new(&theirs);
        let wasm = host::imports();
        let imports = (
            Module::from_binary(&ours, &wasm).expect("they are a module"),
            wasmi::Module::new(&theirs, &wasm).expect("they are a module"),
        );
        Self { name, linker: ours::linker(&imports.0), sliced: false, theirs, imports }
    }

    /// Calls are async, and yield after each slice of fuel.
    fn sliced(self) -> Self {
        Self { sliced: true, ..self }
    }

    pub(crate) fn compile_ours(&self, wasm: &[u8]) -> anyhow::Result<Module> {
        Module::from_binary(self.linker.engine(), wasm)
    }

    pub(crate) fn compile_theirs(&self, wasm: &[u8]) -> Result<wasmi::Module, wasmi::Error> {
        wasmi::Module::new(&self.theirs, wasm)
    }

    /// A module on our side. If there are slices of fuel, each has this many units.
    pub(crate) fn ours(&self, module: &Module, slice: u64) -> impl Side + use<> {
        let slice = self.sliced.then_some(slice);
        ours::Guest::new(self.linker.clone(), &self.imports.0, module, slice)
    }

    pub(crate) fn theirs(&self, module: &wasmi::Module) -> impl Side + use<> {
        theirs::Guest::new(module, &self.imports.1)
    }
}
