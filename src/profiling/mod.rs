//! Telling profilers of native code which addresses belong to which function of a guest.

mod file;
mod jit_dump;
mod perf_map;
#[cfg(feature = "vtune")]
mod vtune;

use std::ops::Range;
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::compile::ModuleInfo;
use crate::symbols::{SourceLine, Symbolizer, readable_name};
use crate::types::FuncType;
use crate::vm::code::Code;

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

/// A function in machine code.
struct Function<'a> {
    name: String,
    address: usize,
    code: &'a [u8],
    /// The addresses where another line of the source begins, sorted.
    lines: Vec<(usize, SourceLine)>,
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

    /// Tells of a module's code. `functions` are the ranges of its functions in the text,
    /// `addresses` where in the text which operator begins.
    pub(crate) fn module(
        &self,
        info: &Arc<ModuleInfo>,
        code: &Code,
        functions: &[Range<u32>],
        addresses: &[(u32, u32)],
    ) -> Result<()> {
        let module = info.name.as_deref().map_or_else(|| "wasm".to_owned(), readable_name);
        let mut lines = source_lines(info, addresses).into_iter().peekable();
        let mut all = Vec::new();
        for (defined, range) in functions.iter().enumerate() {
            let index = info.imported_functions + defined as u32;
            let name = match info.function_name(index) {
                Some(name) => format!("{module}!{}", readable_name(name)),
                None => format!("{module}!<wasm function {index}>"),
            };
            let mut function = Function::new(name, code, range.clone());
            while let Some((pc, line)) = lines.next_if(|(pc, _)| *pc < range.end) {
                function.lines.push((code.range().start + pc as usize, line));
            }
            all.push(function);
        }
        let stubs = functions.last().map_or(0, |last| last.end)..code.text().len() as u32;
        if !stubs.is_empty() {
            all.push(Function::new(format!("{module}!<ways to the runtime>"), code, stubs));
        }
        self.functions(&all)
    }

    /// Tells of the ways in and out of wasm for a type; `exit` is where the latter begins.
    pub(crate) fn trampolines(&self, ty: &FuncType, code: &Code, exit: u32) -> Result<()> {
        let enter = Function::new(format!("lampwick!<enter {ty}>"), code, 0..exit);
        let end = code.text().len() as u32;
        let exit = Function::new(format!("lampwick!<exit {ty}>"), code, exit..end);
        self.functions(&[enter, exit])
    }

    fn functions(&self, functions: &[Function<'_>]) -> Result<()> {
        match self {
            Self::PerfMap => perf_map::write(functions),
            Self::JitDump => jit_dump::write(functions),
            #[cfg(feature = "vtune")]
            Self::VTune => vtune::load(functions),
        }
        .context("cannot tell the profiler of new code")
    }
}

impl<'a> Function<'a> {
    /// The function in this range of a text.
    fn new(name: String, code: &'a Code, range: Range<u32>) -> Self {
        let range = range.start as usize..range.end as usize;
        let address = code.range().start + range.start;
        Self { name, address, code: &code.text()[range], lines: Vec::new() }
    }
}

/// The offsets in the text where another line of the source begins.
fn source_lines(info: &Arc<ModuleInfo>, addresses: &[(u32, u32)]) -> Vec<(u32, SourceLine)> {
    if addresses.is_empty() || info.debug.sections.is_empty() {
        return Vec::new();
    }
    let operators: Vec<u32> = addresses.iter().map(|&(_, operator)| operator).collect();
    let lines = Symbolizer::new(info).lines(&operators);
    let mut lines: Vec<_> =
        addresses.iter().zip(lines).filter_map(|(&(pc, _), line)| Some((pc, line?))).collect();
    lines.dedup_by(|(_, next), (_, line)| next == line);
    lines
}
