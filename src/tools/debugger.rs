//! Telling debuggers of new machine code: an object file in memory that describes it.

use std::fmt;

use anyhow::{Context, Result};

use super::{Function, dwarf, elf};
use crate::vm::code::Code;
use crate::vm::gdb::DebugFile;

/// Machine code that debuggers know, as long as this lives.
pub(crate) struct Registration {
    _file: DebugFile,
}

impl Registration {
    /// Describes machine code with these functions.
    pub(super) fn new(module: &str, code: &Code, functions: &[Function<'_>]) -> Result<Self> {
        let file = dwarf::sections(module, functions)
            .and_then(|sections| elf::file(code.range(), functions, &sections))
            .context("cannot describe new code to debuggers")?;
        Ok(Self { _file: DebugFile::register(file.into()) })
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").finish_non_exhaustive()
    }
}
