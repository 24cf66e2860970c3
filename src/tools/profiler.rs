//! Telling profilers which addresses belong to which function of a guest.

use anyhow::{Context, Result};

#[cfg(feature = "vtune")]
use super::vtune;
use super::{Function, jit_dump, perf_map};

/// Which profiler is told of guests' functions; see
/// [`Config::profiler`](crate::Config::profiler).
///
/// Functions are named `module!function`. Stacks can be followed by frame pointers
/// (`perf record --call-graph fp`).
///
/// Files are made for the process, not for the engine. They are created anew, readable by the
/// user only; what is in their place must be a file of the same user, and no link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProfilingStrategy {
    /// None.
    #[default]
    None,
    /// Linux `perf`, with the code itself and, for guests with debug information, source lines: a
    /// file `jit-<pid>.dump` in the current directory, which grows by all code that is made.
    ///
    /// ```console
    /// $ perf record -k mono my-server
    /// $ perf inject --jit --input perf.data --output perf.jit.data
    /// $ perf report --input perf.jit.data
    /// ```
    JitDump,
    /// Intel VTune. Needs the crate's feature `vtune`.
    VTune,
    /// Linux `perf`, with names alone: a file `/tmp/perf-<pid>.map`, which `perf report` finds by
    /// itself. Costs the least.
    PerfMap,
}

/// Is told of new machine code.
#[derive(Debug)]
pub(crate) enum Profiler {
    PerfMap,
    JitDump,
    #[cfg(feature = "vtune")]
    VTune,
}

impl Profiler {
    /// Creates the files that the profiler reads.
    pub(crate) fn new(strategy: ProfilingStrategy) -> Result<Option<Self>> {
        Ok(Some(match strategy {
            ProfilingStrategy::None => return Ok(None),
            ProfilingStrategy::PerfMap => {
                perf_map::open()?;
                Self::PerfMap
            }
            ProfilingStrategy::JitDump => {
                jit_dump::open()?;
                Self::JitDump
            }
            #[cfg(feature = "vtune")]
            ProfilingStrategy::VTune => Self::VTune,
            #[cfg(not(feature = "vtune"))]
            ProfilingStrategy::VTune => unreachable!("refused by the configuration"),
        }))
    }

    /// Tells of functions.
    pub(super) fn functions(&self, functions: &[Function<'_>]) -> Result<()> {
        match self {
            Self::PerfMap => perf_map::write(functions),
            Self::JitDump => jit_dump::write(functions),
            #[cfg(feature = "vtune")]
            Self::VTune => vtune::load(functions),
        }
        .context("cannot tell the profiler of new code")
    }
}
