//! The ways in which modules are run: by us, and by whom we are compared with.

use lampwick::{
    Config, Engine, InstanceAllocationStrategy, InstanceLimits, Linker, Module, ModuleLimits,
    OptLevel, PoolingAllocationStrategy,
};

use crate::generate::Family;
use crate::proposals::{OWN, PROPOSALS};
use crate::side::Side;
use crate::{host, lampwick as ours, wasmi as theirs};

/// A way to run modules on both sides, which threads share.
pub struct Way {
    /// What is special about it.
    pub name: &'static str,
    ours: Ours,
    theirs: Theirs,
}

/// An engine of ours.
struct Ours {
    linker: Linker<ours::Data>,
    /// Whether calls are async, and yield.
    sliced: bool,
    /// The host's imports as a module, from which their types are read.
    imports: Module,
}

/// The other side.
enum Theirs {
    Interpreter { config: wasmi::Config, imports: wasmi::Module },
    Ours(Ours),
}

/// A module of the other side.
pub(crate) enum Compiled {
    Interpreter(wasmi::Module),
    Ours(Module),
}

/// All ways in which we are compared with the interpreter.
pub fn ways() -> Vec<Way> {
    let family = Family::Common;
    let config = config(family);
    let way = |name, ours| Way { name, ours, theirs: interpreter() };
    vec![
        way("plain", Ours::new(family, &config)),
        way("async slices", Ours::sliced(family, &config)),
        way("explicit bounds checks", Ours::new(family, explicit_checks(&mut config.clone()))),
        way("pooled", Ours::new(family, pooled(config.clone().consume_fuel(true)))),
    ]
}

/// All ways in which we are compared with ourselves.
pub fn ways_alone() -> Vec<Way> {
    let family = Family::Own;
    let plain = config(family);
    let metered = plain.clone().consume_fuel(true).clone();
    let slow = plain.clone().cranelift_opt_level(OptLevel::None).clone();
    let checked = explicit_checks(&mut metered.clone()).gc_stress(true).clone();
    let way = |name, ours: &Config, theirs| Way {
        name,
        ours: Ours::new(family, ours),
        theirs: Theirs::Ours(theirs),
    };
    vec![
        way("plain and in slices", &plain, Ours::sliced(family, &plain)),
        way("metered and in slices, not optimized", &metered, Ours::sliced(family, &slow)),
        way(
            "metered and with collections, explicit bounds checks",
            &metered,
            Ours::new(family, &checked),
        ),
        way(
            "plain and not optimized, with collections",
            &plain,
            Ours::new(family, slow.clone().gc_stress(true)),
        ),
    ]
}

/// A configuration that accepts a family's proposals.
fn config(family: Family) -> Config {
    let mut config = Config::new();
    // Modules are small, and compared on all cores.
    config.parallel_compilation(false);
    for proposal in PROPOSALS {
        (proposal.ours)(&mut config);
    }
    for proposal in OWN.iter().filter(|_| family == Family::Own) {
        (proposal.ours)(&mut config);
    }
    config
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

fn interpreter() -> Theirs {
    let mut config = wasmi::Config::default();
    for proposal in PROPOSALS {
        (proposal.theirs)(&mut config);
    }
    let engine = wasmi::Engine::new(&config);
    let imports =
        wasmi::Module::new(&engine, host::imports(Family::Common)).expect("they are a module");
    Theirs::Interpreter { config, imports }
}

impl Ours {
    fn new(family: Family, config: &Config) -> Self {
        let engine = Engine::new(config).expect("the configuration suits this machine");
        let imports = host::imports(family);
        let imports = Module::from_binary(&engine, &imports).expect("they are a module");
        Self { linker: ours::linker(&imports), sliced: false, imports }
    }

    /// One whose calls yield after each slice of fuel.
    fn sliced(family: Family, config: &Config) -> Self {
        let mut config = config.clone();
        config.async_support(true).consume_fuel(true);
        Self { sliced: true, ..Self::new(family, &config) }
    }

    fn compile(&self, wasm: &[u8]) -> anyhow::Result<Module> {
        Module::from_binary(self.linker.engine(), wasm)
    }

    fn guest(&self, module: &Module, slice: u64) -> Box<dyn Side> {
        let slice = self.sliced.then_some(slice);
        Box::new(ours::Guest::new(self.linker.clone(), &self.imports, module, slice))
    }
}

impl Way {
    /// Whether there is nobody but us.
    pub(crate) fn is_alone(&self) -> bool {
        matches!(self.theirs, Theirs::Ours(_))
    }

    /// The modules that can be run in this way.
    pub fn family(&self) -> Family {
        if self.is_alone() { Family::Own } else { Family::Common }
    }

    pub(crate) fn compile_ours(&self, wasm: &[u8]) -> anyhow::Result<Module> {
        self.ours.compile(wasm)
    }

    pub(crate) fn compile_theirs(&self, wasm: &[u8]) -> anyhow::Result<Compiled> {
        Ok(match &self.theirs {
            // An engine of theirs keeps the code of all modules that it has seen.
            Theirs::Interpreter { config, .. } => {
                Compiled::Interpreter(wasmi::Module::new(&wasmi::Engine::new(config), wasm)?)
            }
            Theirs::Ours(ours) => Compiled::Ours(ours.compile(wasm)?),
        })
    }

    /// A module on our side. If there are slices of fuel, each has this many units.
    pub(crate) fn ours(&self, module: &Module, slice: u64) -> Box<dyn Side> {
        self.ours.guest(module, slice)
    }

    /// A module on the other side.
    ///
    /// # Panics
    ///
    /// Panics if it was compiled in a way that has another one.
    pub(crate) fn theirs(&self, module: &Compiled, slice: u64) -> Box<dyn Side> {
        match (&self.theirs, module) {
            (Theirs::Interpreter { imports, .. }, Compiled::Interpreter(module)) => {
                Box::new(theirs::Guest::new(module, imports))
            }
            (Theirs::Ours(ours), Compiled::Ours(module)) => ours.guest(module, slice),
            _ => panic!("the module is not this way's"),
        }
    }
}
