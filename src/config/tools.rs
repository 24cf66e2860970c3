//! What tools and people are told of guests that run or fail.

use anyhow::{Result, bail};

use super::Config;
use crate::symbols::WasmBacktraceDetails;
use crate::tools::ProfilingStrategy;

impl Config {
    /// Whether native debuggers know guests' functions, and for guests with debug information
    /// (DWARF) their source lines: gdb then shows guests in backtraces, stops at breakpoints in
    /// their source (`break guest.c:12`), and steps by line. Off by default.
    ///
    /// Each module keeps its debug information and a description of its machine code in memory, and
    /// registers it with the interface that gdb defines for just-in-time compilers. Variables are
    /// not described. Code is optimized as ever, unless
    /// [`cranelift_opt_level`](Self::cranelift_opt_level) says otherwise.
    ///
    /// Other compilers in the process that use the same interface must not register code at the
    /// same moment: it has no lock.
    pub fn debug_info(&mut self, enable: bool) -> &mut Self {
        self.debug_info = enable;
        self
    }

    /// Which profiler of native code is told of guests' functions. None by default.
    ///
    /// Files are created when the engine is made, which fails if they cannot be. If later one
    /// cannot be written, making a module or a host function fails: an incomplete profile would be
    /// taken for a complete one.
    ///
    /// # Errors
    ///
    /// Fails for [`ProfilingStrategy::VTune`] if the crate was built without its feature `vtune`.
    pub fn profiler(&mut self, strategy: ProfilingStrategy) -> Result<&mut Self> {
        if strategy == ProfilingStrategy::VTune && cfg!(not(feature = "vtune")) {
            bail!("profiling with VTune needs the feature `vtune` of the crate `lampwick`");
        }
        self.profiler = strategy;
        Ok(self)
    }

    /// Whether frames of [traps](crate::Trap) tell files and lines from the guest's own debug
    /// information (DWARF); see [`FrameInfo::symbols`](crate::FrameInfo::symbols). What the
    /// environment says by default.
    ///
    /// Modules then keep their debug information in memory, where they have any. It is not looked
    /// at before somebody asks for the symbols of a frame.
    pub fn wasm_backtrace_details(&mut self, details: WasmBacktraceDetails) -> &mut Self {
        self.backtrace_details = details;
        self
    }

    /// Whether a tool is told which source line each instruction belongs to.
    pub(super) fn wants_lines(&self) -> bool {
        self.debug_info || self.profiler == ProfilingStrategy::JitDump
    }
}
