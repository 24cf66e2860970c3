//! Which versions of Lampwick may use each other's artifacts.

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

/// Which versions may use each other's artifacts; see
/// [`Config::module_version`](crate::Config::module_version).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModuleVersionStrategy {
    /// Those that were built from the same sources of Lampwick, with the same Cranelift.
    #[default]
    LampwickVersion,
    /// Those to which the embedder gave this name. Whoever chooses it promises that they make and
    /// expect the same code and the same format of artifacts, as only builds of the same sources do.
    Custom(String),
    /// All of them: nothing is compared. The promise is the same as that of
    /// [`Custom`](Self::Custom).
    None,
}

/// What an artifact says of the version that made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Version {
    None,
    Lampwick(String),
    Custom(String),
}

impl Version {
    /// What an engine puts into its artifacts, and expects of others.
    pub(super) fn new(strategy: &ModuleVersionStrategy) -> Self {
        match strategy {
            ModuleVersionStrategy::LampwickVersion => Self::Lampwick(format!(
                "{}+{} with Cranelift {}",
                env!("CARGO_PKG_VERSION"),
                env!("LAMPWICK_SOURCES"),
                cranelift_codegen::VERSION,
            )),
            ModuleVersionStrategy::Custom(name) => Self::Custom(name.clone()),
            ModuleVersionStrategy::None => Self::None,
        }
    }

    /// Checks that an engine of this version may use what `maker` made.
    pub(super) fn check(&self, maker: &Self) -> Result<()> {
        if *self != Self::None && self != maker {
            bail!(
                "the artifact was made by {}, the engine is {}",
                maker.describe(),
                self.describe()
            );
        }
        Ok(())
    }

    fn describe(&self) -> String {
        match self {
            Self::None => "a version without a name".to_owned(),
            Self::Lampwick(version) => format!("Lampwick {version}"),
            Self::Custom(name) => format!("the custom version `{name}`"),
        }
    }
}
