//! From wasm bytes to machine code.
//!
//! [`Compiler::compile`] reads a module (`parse`), translates and compiles each function
//! (`bodies`, `function`, within the memory of a `budget`, against the environment in `env`), and puts the machine code into one text (`link`,
//! `module`), which `artifact` writes and reads and `cache` keeps in files.
//! [`Compiler::compile_trampolines`] makes the ways in and out for a function type (`stubs`).
//! Nothing here runs code or knows of stores; what code will address is in [`crate::vm::layout`].
#![deny(unsafe_code)]

mod artifact;
mod bodies;
mod budget;
#[cfg(feature = "cache")]
mod cache;
mod code;
mod costs;
mod env;
mod fuel_sites;
mod function;
mod info;
mod isa;
mod link;
mod locations;
mod module;
mod parse;
mod placement;
mod settings;
mod signature;
mod stubs;
#[cfg(test)]
mod tests;
mod trampolines;
mod traps;

use std::fmt;

use anyhow::{Context as _, Result};
use wasmparser::Validator;

use artifact::Origin;
use budget::Budget;
use isa::Targets;

pub use artifact::ModuleVersionStrategy;
pub use costs::{OperatorClass, OperatorCosts};
pub use settings::OptLevel;

pub(crate) use artifact::{Kind, Parts, kind};
#[cfg(feature = "cache")]
pub(crate) use cache::{Cache, CacheSettings};
pub(crate) use info::{
    ConstExpr, ConstOp, DataSegment, DebugSections, ElementSegment, EntityIndex, Import,
    ModuleInfo, SegmentMode,
};
pub(crate) use module::{AddressMap, Artifact};
#[cfg(test)]
pub(crate) use settings::FuelTracking;
pub(crate) use settings::Settings;
pub(crate) use trampolines::TrampolineCode;

/// Makes machine code for the host, under fixed settings.
pub(crate) struct Compiler {
    pub(crate) settings: Settings,
    targets: Targets,
    /// The memory for all functions that are compiled at a time, of whatever modules.
    budget: Budget,
    /// What the compiler's artifacts say of themselves.
    origin: Origin,
}

impl Compiler {
    /// A compiler for the host.
    ///
    /// # Errors
    ///
    /// When no code can be generated for this machine, one of the flags is unknown or has no
    /// such value, or a proposal is enabled that is not implemented.
    pub(crate) fn new(settings: Settings) -> Result<Self> {
        settings.check()?;
        let targets = Targets::new(&settings)?;
        let origin = Origin::new(&settings, &*targets.normal);
        let budget = Budget::new(settings.memory);
        Ok(Self { settings, targets, budget, origin })
    }

    /// What a module declares, without a look inside its functions.
    ///
    /// # Errors
    ///
    /// When the rest is not valid, with the offset.
    pub(crate) fn declarations(&self, wasm: &[u8]) -> Result<ModuleInfo> {
        Ok(parse::module(wasm, &self.settings)?.info)
    }

    /// Checks that bytes are a valid module that may be compiled.
    ///
    /// # Errors
    ///
    /// When they are not, with the offset and what was expected.
    pub(crate) fn validate(&self, wasm: &[u8]) -> Result<()> {
        // What is valid but unsupported outside of functions is found by reading.
        parse::module(wasm, &self.settings)?;
        let mut validator = Validator::new_with_features(self.settings.features);
        validator.validate_all(wasm).context("invalid WebAssembly module")?;
        Ok(())
    }
}

impl fmt::Debug for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiler")
            .field("target", &self.targets.normal.triple().to_string())
            .field("settings", &self.settings)
            .finish()
    }
}
