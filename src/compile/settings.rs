//! What a compiler is told when it is made.

use anyhow::{Result, bail};
use wasmparser::WasmFeatures;

use super::artifact::ModuleVersionStrategy;
use super::costs::OperatorCosts;

/// How much the compiler works to make code fast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OptLevel {
    /// Fastest compilation: no optimizing passes.
    None,
    /// Fastest code.
    #[default]
    Speed,
    /// Fast code, but smaller where there is a choice.
    SpeedAndSize,
}

impl OptLevel {
    /// The name of the level in Cranelift's settings.
    pub(crate) fn flag(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Speed => "speed",
            Self::SpeedAndSize => "speed_and_size",
        }
    }
}

/// Where exact fuel comes from when an instruction faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum FuelTracking {
    /// The counter stays wherever register allocation put it, and a table tells where that is.
    /// Functions for which the table cannot be complete are compiled in the other way.
    #[default]
    Located,
    /// The counter is put into its register before every operator that may fault.
    WriteThrough,
}

/// What a compiler is told when it is made.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Whether code counts fuel.
    pub(crate) metered: bool,
    /// What operators cost.
    pub(crate) costs: OperatorCosts,
    /// How the count is kept exact at faults; both ways answer the same.
    pub(crate) fuel_tracking: FuelTracking,
    /// Whether code looks for interrupts.
    pub(crate) interruptable: bool,
    /// Whether code looks for deadlines.
    pub(crate) epochs: bool,
    pub(crate) opt_level: OptLevel,
    /// Whether Cranelift checks its own intermediate code.
    pub(crate) verifier: bool,
    /// Whether every NaN that an operator produces has the canonical bits.
    pub(crate) nan_canonicalization: bool,
    /// Whether relaxed vector operators have the results of the deterministic profile.
    pub(crate) relaxed_simd_deterministic: bool,
    /// More of Cranelift's settings: a name alone enables the setting.
    pub(crate) flags: Vec<(String, Option<String>)>,
    /// Memories that can never be larger than this have this many bytes reserved.
    pub(crate) static_memory_maximum: u64,
    /// Bytes behind such a reservation that fault.
    pub(crate) static_memory_guard: u64,
    /// Whether functions are compiled on all cores, where the crate is built with the ability.
    pub(crate) parallel: bool,
    /// The bytes that functions which are being compiled may take together.
    pub(crate) memory: Option<u64>,
    /// Whether guests' DWARF is kept.
    pub(crate) debug_sections: bool,
    /// Whether the artifact tells of every instruction which operator it belongs to.
    pub(crate) address_map: bool,
    /// Which versions may use the compiler's artifacts.
    pub(crate) module_version: ModuleVersionStrategy,
    /// The proposals that modules may use.
    pub(crate) features: WasmFeatures,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            metered: false,
            costs: OperatorCosts::default(),
            fuel_tracking: FuelTracking::default(),
            interruptable: false,
            epochs: false,
            opt_level: OptLevel::default(),
            verifier: cfg!(debug_assertions),
            nan_canonicalization: false,
            relaxed_simd_deterministic: false,
            flags: Vec::new(),
            static_memory_maximum: 1 << 32,
            static_memory_guard: 1 << 31,
            parallel: true,
            memory: None,
            debug_sections: false,
            address_map: false,
            module_version: ModuleVersionStrategy::default(),
            features: FEATURES,
        }
    }
}

impl Settings {
    /// Checks that the compiler can translate what modules may use.
    ///
    /// # Errors
    ///
    /// When a proposal is enabled that is not implemented, or without one that it needs, with its
    /// name.
    pub(super) fn check(&self) -> Result<()> {
        let missing = self.features.difference(FEATURES.union(OPTIONAL));
        if let Some((name, _)) = missing.iter_names().next() {
            let name = name.to_lowercase().replace('_', "-");
            bail!("the proposal `{name}` is enabled, which this version does not implement");
        }
        if self.features.relaxed_simd() && !self.features.simd() {
            bail!("the proposal `relaxed-simd` is enabled without `simd`, which it is a part of");
        }
        for (proposal, needed) in NEEDS {
            if self.features.contains(proposal) && !self.features.contains(needed) {
                let name = |features: WasmFeatures| {
                    let name = features.iter_names().next().map_or("", |(name, _)| name);
                    name.to_lowercase().replace('_', "-")
                };
                bail!(
                    "the proposal `{}` is enabled without `{}`, which it builds on",
                    name(proposal),
                    name(needed)
                );
            }
        }
        Ok(())
    }
}

/// Proposals that build on others.
const NEEDS: [(WasmFeatures, WasmFeatures); 2] = [
    (WasmFeatures::FUNCTION_REFERENCES, WasmFeatures::REFERENCE_TYPES),
    (WasmFeatures::GC, WasmFeatures::FUNCTION_REFERENCES),
];

/// The proposals that modules may use if the embedder says so.
const OPTIONAL: WasmFeatures = {
    let optional = WasmFeatures::CUSTOM_PAGE_SIZES;
    // Its types are implemented, and tested from within; its operators are not.
    if cfg!(test) { optional.union(WasmFeatures::GC) } else { optional }
};

/// The proposals that modules may use unless the embedder says otherwise.
const FEATURES: WasmFeatures = WasmFeatures::MUTABLE_GLOBAL
    .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
    .union(WasmFeatures::SIGN_EXTENSION)
    .union(WasmFeatures::REFERENCE_TYPES)
    .union(WasmFeatures::FUNCTION_REFERENCES)
    .union(WasmFeatures::MULTI_VALUE)
    .union(WasmFeatures::BULK_MEMORY)
    .union(WasmFeatures::SIMD)
    .union(WasmFeatures::RELAXED_SIMD)
    .union(WasmFeatures::MULTI_MEMORY)
    .union(WasmFeatures::MEMORY64)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::TAIL_CALL)
    .union(WasmFeatures::FLOATS)
    .union(WasmFeatures::GC_TYPES);
