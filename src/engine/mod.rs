//! Engines: a compiler, and what the stores of a process share.

mod signatures;

use std::sync::Arc;

use anyhow::{Context, Result};
use lampwick_fibers::StackPool;

#[cfg(feature = "cache")]
use crate::compile::Cache;
use crate::compile::Compiler;
use crate::config::Config;
use crate::pooling::Pool;
use crate::vm::interrupts::{Epoch, Interrupts};
use crate::vm::memory::MemorySource;
use crate::vm::signals;

use signatures::Registry;
pub(crate) use signatures::Signature;

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
pub struct Engine(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    compiler: Compiler,
    stacks: StackPool,
    memories: MemorySource,
    pool: Option<Pool>,
    signatures: Arc<Registry>,
    epoch: Arc<Epoch>,
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
    /// [pool](crate::InstanceAllocationStrategy::Pooling), or if the directory of the cache cannot be
    /// made or is open to others.
    pub fn new(config: &Config) -> Result<Self> {
        let compiler = Compiler::new(config.compiler_settings())?;
        let stacks = config.stacks()?.build().context("cannot make stacks of this size")?;
        let (memories, pool) = config.allocation.build(config.memory)?;
        signals::install();
        Ok(Self(Arc::new(Inner {
            compiler,
            stacks,
            memories,
            pool,
            signatures: Arc::default(),
            epoch: Arc::default(),
            #[cfg(feature = "cache")]
            cache: config.cache.as_ref().map(Cache::open).transpose()?,
            config: config.clone(),
        })))
    }

    /// The configuration that the engine was made with.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Whether these are the same engine, and not just two with the same configuration.
    pub fn same(a: &Self, b: &Self) -> bool {
        Arc::ptr_eq(&a.0, &b.0)
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

    pub(crate) fn interruptable(&self) -> bool {
        self.0.config.compiler.interruptable
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

    /// The function types in use.
    pub(crate) fn signatures(&self) -> &Arc<Registry> {
        &self.0.signatures
    }
}
