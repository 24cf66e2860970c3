//! Puts compiled functions into one text.

use std::ops::Range;

use anyhow::{Result, bail, ensure};
use cranelift_codegen::binemit::Reloc;

use super::code::Code;
use crate::vm::layout::Builtin;

/// What the bytes between functions are: each a trap, should control ever get there.
const PADDING: u8 = 0xcc;

/// Something that machine code of a text calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Symbol {
    /// A function that the module defines, counted without imports.
    Function(u32),
    /// The stub of a builtin.
    Stub(Builtin),
}

impl Symbol {
    /// The symbol as a name of Cranelift's: namespace and index.
    pub(super) fn parts(self) -> (u32, u32) {
        match self {
            Self::Function(index) => (0, index),
            Self::Stub(builtin) => (1, builtin as u32),
        }
    }

    /// The symbol of such a name.
    pub(super) fn from_parts(namespace: u32, index: u32) -> Option<Self> {
        match namespace {
            0 => Some(Self::Function(index)),
            1 => Builtin::ALL.get(index as usize).copied().map(Self::Stub),
            _ => None,
        }
    }
}

/// A place in machine code that depends on where another function is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Relocation {
    pub(super) offset: u32,
    pub(super) kind: Reloc,
    pub(super) target: Symbol,
    pub(super) addend: i64,
}

/// A text that grows.
#[derive(Default)]
pub(super) struct Linker {
    text: Vec<u8>,
    functions: Vec<Range<u32>>,
    stubs: Vec<(Builtin, u32)>,
    relocations: Vec<Relocation>,
}

impl Linker {
    /// Appends the next function of the module, answers where.
    pub(super) fn function(&mut self, code: &Code) -> Result<u32> {
        let range = self.append(code)?;
        self.functions.push(range.clone());
        Ok(range.start)
    }

    /// Appends a stub.
    pub(super) fn stub(&mut self, builtin: Builtin, code: &Code) -> Result<()> {
        let range = self.append(code)?;
        self.stubs.push((builtin, range.start));
        Ok(())
    }

    fn append(&mut self, code: &Code) -> Result<Range<u32>> {
        let start = code.placement.after(self.text.len());
        let end = start + code.bytes.len();
        // Calls reach 2 GiB in either direction.
        ensure!(end <= i32::MAX as usize, "the module's code exceeds 2 GiB");
        self.text.resize(start, PADDING);
        self.text.extend_from_slice(&code.bytes);
        let moved = |relocation: &Relocation| Relocation {
            offset: relocation.offset + start as u32,
            ..*relocation
        };
        self.relocations.extend(code.relocations.iter().map(moved));
        Ok(start as u32..end as u32)
    }

    /// Resolves all calls; answers the text and where its functions are.
    pub(super) fn finish(mut self) -> Result<(Vec<u8>, Vec<Range<u32>>)> {
        for relocation in std::mem::take(&mut self.relocations) {
            self.resolve(relocation)?;
        }
        Ok((self.text, self.functions))
    }

    fn resolve(&mut self, relocation: Relocation) -> Result<()> {
        let target = match relocation.target {
            Symbol::Function(index) => self.functions.get(index as usize).map(|range| range.start),
            Symbol::Stub(builtin) => {
                self.stubs.iter().find(|(stub, _)| *stub == builtin).map(|&(_, start)| start)
            }
        };
        let Some(target) = target else {
            bail!("internal error: a call of {:?}, which has no code", relocation.target);
        };
        match relocation.kind {
            Reloc::X86CallPCRel4 | Reloc::X86PCRel4 => {
                let at = relocation.offset as usize;
                let distance = i64::from(target) + relocation.addend - at as i64;
                let distance = i32::try_from(distance)?;
                self.text[at..at + 4].copy_from_slice(&distance.to_le_bytes());
                Ok(())
            }
            kind => bail!("internal error: unexpected relocation {kind:?}"),
        }
    }
}
