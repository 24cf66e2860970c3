//! The frames of wasm in a trap.

use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::compile::ModuleInfo;
use crate::symbols::{FrameSymbol, Symbolizer, plain_name, readable_name};

/// A frame of wasm in a [`Trap`](crate::Trap).
///
/// `Display` shows module and function, the latter demangled if it has a name of Rust's or C++'s.
/// Names are cut after 1 KiB, and control characters in them, which the guest could use to write
/// lines of its own, are shown as `?`. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct FrameInfo(Arc<Inner>);

struct Inner {
    info: Arc<ModuleInfo>,
    /// The function's index among those that the module defines.
    defined: usize,
    module_offset: usize,
    /// Where symbols come from, if the engine wants them and the guest has them.
    symbolizer: Option<Arc<Symbolizer>>,
    /// Filled when somebody asks.
    symbols: OnceLock<Vec<FrameSymbol>>,
}

impl FrameInfo {
    pub(crate) fn new(
        info: Arc<ModuleInfo>,
        defined: usize,
        module_offset: usize,
        symbolizer: Option<Arc<Symbolizer>>,
    ) -> Self {
        let symbols = OnceLock::new();
        Self(Arc::new(Inner { info, defined, module_offset, symbolizer, symbols }))
    }

    /// The function's index in its module.
    pub fn func_index(&self) -> u32 {
        self.0.info.imported_functions + self.0.defined as u32
    }

    /// The name of the module, if it has one.
    pub fn module_name(&self) -> Option<&str> {
        self.0.info.name.as_deref()
    }

    /// The name of the function as it stands in the module's name section, if it does.
    pub fn func_name(&self) -> Option<&str> {
        self.0.info.function_name(self.func_index())
    }

    /// The offset of the operator in the module, in bytes.
    pub fn module_offset(&self) -> usize {
        self.0.module_offset
    }

    /// The offset of the operator from the start of its function's body, in bytes.
    pub fn func_offset(&self) -> usize {
        let start = self.0.info.body_offsets[self.0.defined] as usize;
        self.0.module_offset.saturating_sub(start)
    }

    /// The functions, files and lines of the source that the operator belongs to, the innermost
    /// first: if the guest's compiler inlined functions, the frame stands for all of them. The last
    /// is the function itself.
    ///
    /// Empty unless [`Config::wasm_backtrace_details`](crate::Config::wasm_backtrace_details) asks
    /// for details and the guest has debug information that knows the place.
    ///
    /// The first call reads the debug information, as much as it takes and a few times its size at
    /// most, on a thread of its own.
    pub fn symbols(&self) -> &[FrameSymbol] {
        self.0.symbols.get_or_init(|| {
            let start = self.0.info.debug.code_start as usize;
            let offset = self.0.module_offset.checked_sub(start);
            let look_up = |symbolizer: &Arc<Symbolizer>| symbolizer.symbols(offset? as u64).into();
            self.0.symbolizer.as_ref().and_then(look_up).unwrap_or_default()
        })
    }

    /// Whether the guest has debug information that nobody wanted.
    pub(super) fn could_tell_more(&self) -> bool {
        self.0.info.debug.present && self.0.symbolizer.is_none()
    }

    /// Writes the frame's lines in a backtrace.
    pub(super) fn fmt_numbered(&self, index: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n  {index:>3}: {:#8x} - ", self.0.module_offset)?;
        let symbols = self.symbols();
        let Some((outermost, inlined)) = symbols.split_last() else {
            return write!(f, "{self}");
        };
        for symbol in inlined {
            write!(f, "{} (inlined)", symbol.name().unwrap_or("<unknown>"))?;
            fmt_location(symbol, f)?;
            write!(f, "\n{:17}", "")?;
        }
        write!(f, "{self}")?;
        fmt_location(outermost, f)
    }
}

fn fmt_location(symbol: &FrameSymbol, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Some(file) = symbol.file() else { return Ok(()) };
    write!(f, "\n{:21}at {file}", "")?;
    for number in [symbol.line(), symbol.column()] {
        let Some(number) = number else { break };
        write!(f, ":{number}")?;
    }
    Ok(())
}

impl fmt::Display for FrameInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}!", self.module_name().map_or_else(|| "<unknown>".into(), plain_name))?;
        match self.func_name() {
            Some(name) => f.write_str(&readable_name(name)),
            None => write!(f, "<wasm function {}>", self.func_index()),
        }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("module", &self.info.name)
            .field("function", &(self.info.imported_functions as usize + self.defined))
            .field("module_offset", &self.module_offset)
            .finish_non_exhaustive()
    }
}
