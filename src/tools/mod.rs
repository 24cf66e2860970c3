//! What tools that look at native code are told of guests: profilers and debuggers.

mod debugger;
mod dwarf;
mod elf;
mod file;
mod jit_dump;
mod perf_map;
mod profiler;
#[cfg(feature = "vtune")]
mod vtune;

use std::ops::Range;
use std::sync::Arc;

pub(crate) use debugger::Registration;
pub(crate) use profiler::Profiler;
pub use profiler::ProfilingStrategy;

use anyhow::Result;

use crate::compile::ModuleInfo;
use crate::engine::Engine;
use crate::symbols::{SourceLine, Symbolizer, plain_name, readable_name};
use crate::types::FuncType;
use crate::vm::code::Code;

/// A function in machine code.
pub(crate) struct Function<'a> {
    name: String,
    /// The name without that of the module, as one would type it in a debugger.
    short_name: String,
    address: usize,
    code: &'a [u8],
    /// The addresses where another line of the source begins, sorted.
    lines: Vec<(usize, SourceLine)>,
}

/// Tells a module's code to the tools that the engine has. The debugger knows it while the answer
/// lives.
pub(crate) fn tell_of_module(
    engine: &Engine,
    info: &Arc<ModuleInfo>,
    code: &Code,
    ranges: &[Range<u32>],
    addresses: &[(u32, u32)],
) -> Result<Option<Registration>> {
    if !engine.has_tools() {
        return Ok(None);
    }
    let module = info.name.as_deref().map_or_else(|| "wasm".to_owned(), plain_name);
    tell(engine, &module, code, &functions(&module, info, code, ranges, addresses))
}

/// Tells of the ways in and out of wasm for a type; `exit` is where the latter begins.
pub(crate) fn tell_of_trampolines(
    engine: &Engine,
    ty: &FuncType,
    code: &Code,
    exit: u32,
) -> Result<Option<Registration>> {
    if !engine.has_tools() {
        return Ok(None);
    }
    let end = code.text().len() as u32;
    let enter = Function::new(OURS, format!("<enter {ty}>"), code, 0..exit);
    let exit = Function::new(OURS, format!("<exit {ty}>"), code, exit..end);
    tell(engine, OURS, code, &[enter, exit])
}

/// What stands for the module in names of functions that belong to none.
const OURS: &str = "lampwick";

fn tell(
    engine: &Engine,
    module: &str,
    code: &Code,
    functions: &[Function<'_>],
) -> Result<Option<Registration>> {
    engine.profiler().map_or(Ok(()), |profiler| profiler.functions(functions))?;
    let debugger = engine.config().debug_info;
    debugger.then(|| Registration::new(module, code, functions)).transpose()
}

/// The functions of a module, and after them its ways to the runtime. `functions` are the ranges in
/// the text, `addresses` where in the text which operator begins.
fn functions<'a>(
    module: &str,
    info: &Arc<ModuleInfo>,
    code: &'a Code,
    ranges: &[Range<u32>],
    addresses: &[(u32, u32)],
) -> Vec<Function<'a>> {
    let mut lines = source_lines(info, addresses).into_iter().peekable();
    let mut all = Vec::new();
    for (defined, range) in ranges.iter().enumerate() {
        let index = info.imported_functions + defined as u32;
        let name = match info.function_name(index) {
            Some(name) => readable_name(name),
            None => format!("<wasm function {index}>"),
        };
        let mut function = Function::new(module, name, code, range.clone());
        while let Some((pc, line)) = lines.next_if(|(pc, _)| *pc < range.end) {
            function.lines.push((code.range().start + pc as usize, line));
        }
        // The prologue is no operator's; it goes with what follows.
        if let Some((_, line)) = function.lines.first().filter(|(pc, _)| *pc > function.address) {
            function.lines.insert(0, (function.address, line.clone()));
        }
        all.push(function);
    }
    let stubs = ranges.last().map_or(0, |last| last.end)..code.text().len() as u32;
    if !stubs.is_empty() {
        all.push(Function::new(module, "<ways to the runtime>".to_owned(), code, stubs));
    }
    all
}

impl<'a> Function<'a> {
    /// The function in this range of a text.
    fn new(module: &str, short_name: String, code: &'a Code, range: Range<u32>) -> Self {
        let range = range.start as usize..range.end as usize;
        let address = code.range().start + range.start;
        let name = format!("{module}!{short_name}");
        Self { name, short_name, address, code: &code.text()[range], lines: Vec::new() }
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
