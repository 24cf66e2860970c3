//! The ways in which scripts are run.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use lampwick::{Config, Engine, Module};

/// What a way of running does about fuel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fuel {
    /// It is not counted.
    Off,
    /// There is plenty. What each directive burned is remembered.
    Measured,
    /// There is plenty, and each directive must burn what it did when it was measured.
    Compared,
    /// As `Compared`, but async, and in small slices, each with a yield before it.
    Sliced,
}

/// Makes a module of one in the binary format.
type Compile = dyn Fn(&Engine, &[u8]) -> Result<Module> + Send + Sync;

/// A way of running scripts, with its engine.
pub struct Way {
    pub(crate) engine: Engine,
    name: &'static str,
    pub(crate) fuel: Fuel,
    compile: Box<Compile>,
    /// Scripts share many modules. Each is compiled once.
    modules: Mutex<HashMap<Box<[u8]>, Module>>,
}

impl Way {
    /// A way of running under this configuration, in which counting fuel and async support are set
    /// as `fuel` needs them.
    ///
    /// # Errors
    ///
    /// As for [`Engine::new`].
    pub fn new(name: &'static str, fuel: Fuel, config: &Config) -> Result<Self> {
        let mut config = config.clone();
        config.consume_fuel(fuel != Fuel::Off).async_support(fuel == Fuel::Sliced);
        let engine = Engine::new(&config)?;
        let compile = |engine: &Engine, binary: &[u8]| Module::from_binary(engine, binary);
        Ok(Self { name, fuel, engine, compile: Box::new(compile), modules: Mutex::default() })
    }

    /// The same, but with modules that come from this function.
    pub fn with_modules(
        self,
        compile: impl Fn(&Engine, &[u8]) -> Result<Module> + Send + Sync + 'static,
    ) -> Self {
        Self { compile: Box::new(compile), ..self }
    }

    /// What it is called.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What it does about fuel.
    pub fn fuel(&self) -> Fuel {
        self.fuel
    }

    pub(crate) fn is_async(&self) -> bool {
        self.fuel == Fuel::Sliced
    }

    /// A compiled module.
    pub(crate) fn module(&self, binary: &[u8]) -> Result<Module> {
        let modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = modules.get(binary) {
            return Ok(module.clone());
        }
        drop(modules);
        let module = (self.compile)(&self.engine, binary)?;
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        modules.insert(binary.into(), module.clone());
        Ok(module)
    }
}
