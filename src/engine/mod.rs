//! Engines: a compiler, and what the stores of a process share.

mod stats;
mod types;

use std::sync::Arc;

use anyhow::{Context, Result};
use lampwick_fibers::{Shared, StackPool};

#[cfg(feature = "cache")]
use crate::compile::Cache;
use crate::compile::Compiler;
use crate::config::Config;
use crate::pooling::Pool;
use crate::tools::Profiler;
use crate::trap::Trap;
use crate::vm::accounts::{Accounts, Gauges};
use crate::vm::interrupts::{Epoch, Interrupts};
use crate::vm::memory::MemorySource;
use crate::vm::{current, signals};

use stats::Compilations;
pub use stats::EngineStats;
pub(crate) use types::{DefinedType, Group, Registry, TypeHandle};

/// A compiler with its configuration, and the stacks, memories and types that stores share.
///
/// Cloning is cheap and gives the same engine. What belongs to one engine cannot be used with
/// another.
///
/// Stacks and reservations of address space that guests no longer use stay with the engine, for the
/// next ones.
///
/// ```
/// use lampwick::{Config, Engine, Module};
///
/// # fn main() -> anyhow::Result<()> {
/// let engine = Engine::new(Config::new().async_support(true).consume_fuel(true))?;
/// // Modules are compiled for their engine once, and shared by threads and stores.
/// let module = Module::new(&engine, "(module)")?;
/// std::thread::spawn(move || assert_eq!(module.exports().len(), 0)).join().unwrap();
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Engine(Shared<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    compiler: Compiler,
    stacks: StackPool,
    memories: MemorySource,
    pool: Option<Pool>,
    types: Arc<Registry>,
    epoch: Arc<Epoch>,
    /// Where the configuration asks for accounts.
    gauges: Option<Shared<Gauges>>,
    compilations: Compilations,
    /// Whether frames of traps tell files and lines.
    symbols: bool,
    profiler: Option<Profiler>,
    #[cfg(feature = "cache")]
    cache: Option<Cache>,
}

impl Default for Engine {
    /// An engine with the default configuration.
    ///
    /// # Panics
    ///
    /// Panics where [`Engine::new`] fails.
    fn default() -> Self {
        Self::new(&Config::default()).expect("the default configuration suits this machine")
    }
}

impl Engine {
    /// An engine with a copy of this configuration.
    ///
    /// The first engine of a process installs handlers for the signals by which the machine reports
    /// a guest's faults (`SIGSEGV`, `SIGBUS`, `SIGILL`, `SIGFPE`). They pass on what is none.
    ///
    /// # Errors
    ///
    /// Fails if the settings contradict each other, if a proposal is enabled that this version does
    /// not implement, if a Cranelift setting is unknown, if this machine lacks what generated code
    /// needs, if it does not have the address space of a
    /// [pool](crate::InstanceAllocationStrategy::Pooling), if the directory of the cache cannot be
    /// made or is open to others, or if the files of a [profiler](Config::profiler) cannot be
    /// created.
    pub fn new(config: &Config) -> Result<Self> {
        let compiler = Compiler::new(config.compiler_settings())?;
        let stacks = config.stacks()?.build().context("cannot make stacks of this size")?;
        let (memories, pool) = config.allocation.build(config.memory)?;
        signals::install();
        Ok(Self(Shared::new(Inner {
            compiler,
            stacks,
            memories,
            pool,
            types: Arc::default(),
            epoch: Arc::default(),
            gauges: config.accounts.is_kept.then(|| Shared::new(Gauges::new())),
            compilations: Compilations::default(),
            symbols: config.backtrace_details.enabled(),
            profiler: Profiler::new(config.profiler)?,
            #[cfg(feature = "cache")]
            cache: config.cache.as_ref().map(Cache::open).transpose()?,
            config: config.clone(),
        })))
    }

    /// Prepares this thread for guests, as the first call of wasm on it does otherwise: it gets an
    /// alternate stack of 64 KiB for signal handlers, unless it has one that is large enough. Tells
    /// whether that is possible, and takes the time for it away from the first call.
    ///
    /// # Errors
    ///
    /// Fails if the system refuses the stack. A call of wasm on such a thread panics.
    ///
    /// ```
    /// std::thread::spawn(|| lampwick::Engine::tls_eager_initialize()).join().unwrap()?;
    /// # Ok::<(), lampwick::Trap>(())
    /// ```
    pub fn tls_eager_initialize() -> Result<(), Trap> {
        current::try_prepare_thread().map_err(|error| anyhow::Error::new(error).into())
    }

    /// The configuration that the engine was made with.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Whether these are the same engine, and not just two with the same configuration.
    pub fn same(a: &Self, b: &Self) -> bool {
        Shared::ptr_eq(&a.0, &b.0)
    }

    /// The same engine for a store of this thread's: stores that others make count elsewhere.
    pub(crate) fn local(&self) -> Self {
        Self(self.0.local())
    }

    /// Begins the engine's next epoch. Guests whose deadline it is trap or yield at their next
    /// check; see [`Store::set_epoch_deadline`](crate::Store::set_epoch_deadline).
    ///
    /// This is one addition, however many guests there are. It may be done on any thread, and in a
    /// signal handler. Where [`Config::epoch_interruption`] is off nobody looks at the epoch.
    pub fn increment_epoch(&self) {
        self.0.epoch.increment();
    }

    /// What a new store needs for interrupts and deadlines, where either is on.
    pub(crate) fn interrupts(&self) -> Option<Interrupts> {
        let settings = &self.0.config.compiler;
        let epoch = settings.epochs.then(|| self.0.epoch.clone());
        (settings.interruptable || settings.epochs).then(|| Interrupts::new(epoch))
    }

    /// What a new store needs for its account, where there is one.
    pub(crate) fn account(&self) -> Option<Box<Accounts>> {
        self.0.gauges.as_ref().map(Accounts::new)
    }

    pub(crate) fn interruptable(&self) -> bool {
        self.0.config.compiler.interruptable
    }

    /// What is told of new machine code.
    pub(crate) fn profiler(&self) -> Option<&Profiler> {
        self.0.profiler.as_ref()
    }

    /// Whether somebody wants to know of new machine code.
    pub(crate) fn has_tools(&self) -> bool {
        self.0.profiler.is_some() || self.0.config.debug_info
    }

    pub(crate) fn wants_symbols(&self) -> bool {
        self.0.symbols
    }

    pub(crate) fn compiler(&self) -> &Compiler {
        &self.0.compiler
    }

    #[cfg(feature = "cache")]
    pub(crate) fn cache(&self) -> Option<&Cache> {
        self.0.cache.as_ref()
    }

    pub(crate) fn stacks(&self) -> &StackPool {
        &self.0.stacks
    }

    pub(crate) fn memories(&self) -> &MemorySource {
        &self.0.memories
    }

    /// The pool, where the engine has one.
    pub(crate) fn pool(&self) -> Option<&Pool> {
        self.0.pool.as_ref()
    }

    pub(crate) fn metered(&self) -> bool {
        self.0.config.compiler.metered
    }

    pub(crate) fn is_async(&self) -> bool {
        self.0.config.async_support
    }

    /// The types in use.
    pub(crate) fn types(&self) -> &Arc<Registry> {
        &self.0.types
    }
}
