//! What made an artifact, and for what: everything that must agree for it to be used.

use anyhow::{Context as _, Result, bail};
use cranelift_codegen::isa::TargetIsa;
use serde::{Deserialize, Serialize};
use wasmparser::WasmFeatures;

#[cfg(feature = "cache")]
use super::version::ModuleVersionStrategy;
use super::version::Version;
use crate::compile::costs::OperatorClass;
use crate::compile::settings::{FuelTracking, Settings};

/// What made an artifact. An engine's own is what it expects.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    version: Version,
    machine: Machine,
    /// What is kept for people and tools: the guest's debug information, and the map of addresses.
    #[cfg_attr(not(feature = "cache"), expect(dead_code, reason = "only caches tell them apart"))]
    kept: (bool, bool),
}

/// For what an artifact was made; read only after the version is known to be right.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Machine {
    target: String,
    /// Features of the processor that code may use.
    cpu: Vec<String>,
    /// All that changes the code or what it expects of the engine, as names and values, in an order
    /// that depends on nothing.
    settings: Vec<(String, String)>,
}

impl Origin {
    /// The origin of what is made under these settings for this machine.
    pub(in crate::compile) fn new(settings: &Settings, isa: &dyn TargetIsa) -> Self {
        let features = isa.isa_flags().into_iter().filter(|flag| flag.as_bool() == Some(true));
        let machine = Machine {
            target: isa.triple().to_string(),
            cpu: features.map(|flag| flag.name.to_owned()).collect(),
            settings: all_settings(settings, isa),
        };
        let kept = (settings.debug_sections, settings.address_map);
        Self { version: Version::new(&settings.module_version), machine, kept }
    }

    /// As it is in an artifact: the version first, which alone says how the rest is to be read.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>> {
        postcard::to_stdvec(&(&self.version, &self.machine)).context("cannot write the origin")
    }

    /// All that what is made depends on, beside the module: as in an artifact, and the version
    /// even where it is not compared, and what is kept.
    #[cfg(feature = "cache")]
    pub(in crate::compile) fn identity(&self) -> Result<Vec<u8>> {
        let version = Version::new(&ModuleVersionStrategy::LampwickVersion);
        postcard::to_stdvec(&(version, &self.version, &self.machine, self.kept))
            .context("cannot write the origin")
    }

    /// Checks that an engine of this origin can use what was made by that of the artifact, which
    /// these bytes begin with.
    pub(super) fn check(&self, artifact: &[u8]) -> Result<()> {
        let unreadable = "cannot read for what it was made";
        let (version, rest) = postcard::take_from_bytes::<Version>(artifact).context(unreadable)?;
        self.version.check(&version)?;
        let (machine, _) = postcard::take_from_bytes::<Machine>(rest).context(unreadable)?;
        self.machine.check(&machine)
    }
}

impl Machine {
    fn check(&self, artifact: &Self) -> Result<()> {
        if self.target != artifact.target {
            bail!("it is for the target `{}`, not for `{}`", artifact.target, self.target);
        }
        if let Some(feature) = artifact.cpu.iter().find(|feature| !self.cpu.contains(feature)) {
            bail!("it needs the CPU feature `{feature}`, which the engine does not have");
        }
        let value = |settings: &[(String, String)], name: &str| {
            let setting = settings.iter().find(|(other, _)| other == name);
            setting.map_or_else(|| "nothing".to_owned(), |(_, value)| format!("`{value}`"))
        };
        for (name, _) in self.settings.iter().chain(&artifact.settings) {
            let (theirs, ours) = (value(&artifact.settings, name), value(&self.settings, name));
            if theirs != ours {
                bail!("the setting `{name}` was {theirs} for it, and is {ours} for the engine");
            }
        }
        Ok(())
    }
}

/// Every setting that matters, with its value.
fn all_settings(settings: &Settings, isa: &dyn TargetIsa) -> Vec<(String, String)> {
    let Settings {
        metered,
        costs,
        fuel_tracking,
        interruptable,
        epochs,
        static_memory_maximum,
        static_memory_guard,
        relaxed_simd_deterministic,
        features,
        // Cranelift's settings, below, have them.
        opt_level: _,
        nan_canonicalization: _,
        flags: _,
        // What is compiled does not depend on these.
        verifier: _,
        parallel: _,
        memory: _,
        // Compared by itself.
        module_version: _,
        // What they keep helps people and tools only, and may be missing or too much.
        debug_sections: _,
        address_map: _,
    } = settings;
    let own = [
        ("consume_fuel", metered.to_string()),
        ("fuel written through", (*fuel_tracking == FuelTracking::WriteThrough).to_string()),
        ("interruptable", interruptable.to_string()),
        ("epoch_interruption", epochs.to_string()),
        ("relaxed_simd_deterministic", relaxed_simd_deterministic.to_string()),
        ("static_memory_maximum_size", static_memory_maximum.to_string()),
        ("static_memory_guard_size", static_memory_guard.to_string()),
    ];
    let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
    // What is not counted has no costs.
    let classes = OperatorClass::ALL.iter().filter(|_| *metered);
    let costs = classes
        .map(|&class| (format!("operator_cost {}", class.name()), costs.cost(class).to_string()));
    let proposals = WasmFeatures::all().iter_names().map(|(name, feature)| {
        (format!("wasm {}", name.to_lowercase()), features.contains(feature).to_string())
    });
    let shared = isa.flags().iter().filter(|flag| flag.name != "enable_verifier");
    let machine = isa.isa_flags().into_iter().filter(|flag| flag.as_bool().is_none());
    let cranelift = shared.chain(machine);
    let cranelift = cranelift.map(|flag| (format!("cranelift {}", flag.name), flag.value_string()));
    own.chain(costs).chain(proposals).chain(cranelift).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(target: &str, cpu: &[&str], settings: &[(&str, &str)]) -> Machine {
        Machine {
            target: target.to_owned(),
            cpu: cpu.iter().map(|&feature| feature.to_owned()).collect(),
            settings: settings.iter().map(|&(name, value)| (name.into(), value.into())).collect(),
        }
    }

    #[test]
    fn differences_are_named() {
        let engine = machine("here", &["fast"], &[("size", "1")]);
        assert!(engine.check(&machine("here", &[], &[("size", "1")])).is_ok());
        for (artifact, words) in [
            (machine("there", &["fast"], &[("size", "1")]), ["`here`", "`there`"]),
            (machine("here", &["fast", "wide"], &[("size", "1")]), ["feature", "`wide`"]),
            (machine("here", &["fast"], &[("size", "2")]), ["`size` was `2`", "is `1`"]),
            (machine("here", &["fast"], &[]), ["`size` was nothing", "is `1`"]),
            (
                machine("here", &["fast"], &[("size", "1"), ("more", "yes")]),
                ["`more` was `yes`", "is nothing"],
            ),
        ] {
            let error = engine.check(&artifact).expect_err("a difference").to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        }
    }
}
