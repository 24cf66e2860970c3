//! Compiled modules as bytes, which can be written to a file and used where they are mapped.
//!
//! An artifact is an ELF file, so that the usual tools can look into it (`objdump -d` shows its
//! functions by name), with these sections:
//!
//! ```text
//!   .lampwick.head    magic, length, checksum; what made the artifact, and for what (`origin`)
//!   .lampwick.key     the entry that this is in a cache; empty elsewhere
//!   .lampwick.info    what the module declares, where its functions are in the text, and the
//!                     trampolines of its types
//!   .lampwick.traps   trap sites, as records
//!   .lampwick.calls   return addresses, as records
//!   .lampwick.maps    for return addresses, where references are
//!   .lampwick.bits    the words of these maps
//!   .lampwick.handlers  for return addresses, where control goes when the call throws
//!   .lampwick.saves   for functions, which registers their frames hold for their callers
//!   .lampwick.data    the bytes of the data segments
//!   .text             machine code, in pages that hold nothing else
//! ```
//!
//! The head lies at a fixed place. Nothing else is believed before length and checksum are known to
//! be right, and nothing but the head before it is known to fit the engine. The checksum finds
//! damage; it is no proof of who made the artifact, and code in it can do whatever it likes.

mod container;
mod head;
mod origin;
mod version;

use std::collections::{BTreeSet, HashSet};
use std::ops::Range;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::info::ModuleInfo;
use super::{AddressMap, Artifact, Compiler, TrampolineCode};
use crate::vm::layout::SiteTable;

use container::{Sections, symbol_name};

pub use version::ModuleVersionStrategy;

pub(crate) use head::{Kind, kind};
pub(super) use origin::Origin;

/// What an artifact consists of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts<'a> {
    /// The entry that it is in a cache; empty elsewhere.
    pub(crate) key: &'a [u8],
    pub(crate) info: &'a ModuleInfo,
    pub(crate) functions: &'a [Range<u32>],
    pub(crate) addresses: &'a [(u32, u32)],
    pub(crate) sites: &'a SiteTable,
    pub(crate) data: &'a [u8],
    pub(crate) text: &'a [u8],
}

/// What must be decoded before it can be used.
#[derive(Serialize)]
struct Declarations<'a> {
    info: &'a ModuleInfo,
    functions: &'a [Range<u32>],
    addresses: &'a [(u32, u32)],
    trampolines: Vec<(u32, TrampolineCode)>,
}

/// The same, decoded.
#[derive(Deserialize)]
struct OwnedDeclarations {
    info: ModuleInfo,
    functions: Vec<Range<u32>>,
    addresses: AddressMap,
    trampolines: Vec<(u32, TrampolineCode)>,
}

impl Artifact {
    /// What an artifact of this module would consist of.
    pub(crate) fn parts(&self) -> Parts<'_> {
        let Self { info, functions, addresses, sites, data, text, .. } = self;
        Parts { key: &[], info, functions, addresses, sites, data, text }
    }
}

impl Compiler {
    /// The artifact of a module that this compiler compiled: the same bytes for the same module.
    ///
    /// # Errors
    ///
    /// When it is too large for its format.
    pub(crate) fn write_artifact(&self, module: Parts<'_>) -> Result<Vec<u8>> {
        let Parts { key, info, functions, addresses, sites, data, text } = module;
        let trampolines = self.escaping_trampolines(info)?;
        let declarations = Declarations { info, functions, addresses, trampolines };
        let declarations =
            postcard::to_stdvec(&declarations).context("cannot write what the module declares")?;
        let [traps, calls, maps, bits, handlers, saves] = sites.parts();
        let head = head::unfinished(&self.origin)?;

        let info_bytes = &*declarations;
        let sections = Sections {
            head,
            key,
            info: info_bytes,
            traps,
            calls,
            maps,
            bits,
            handlers,
            saves,
            data,
        };
        let symbols = (info.imported_functions..).zip(functions).map(|(function, range)| {
            (symbol_name(function, info.function_name(function)), range.clone())
        });
        let mut bytes = container::write(&sections, text, symbols)?;
        head::finish(&mut bytes)?;
        Ok(bytes)
    }

    /// The module in an artifact, of whose bytes it keeps parts.
    ///
    /// # Errors
    ///
    /// When the bytes are no artifact, one that is damaged, or one that does not fit the engine, with
    /// the difference.
    pub(crate) fn read_artifact(&self, bytes: &Bytes) -> Result<Artifact> {
        head::check(bytes, &self.origin)?;
        let sections = container::read(bytes)?;
        let OwnedDeclarations { info, functions, addresses, trampolines } =
            postcard::from_bytes(&sections.info)
                .context("damaged artifact: cannot read what the module declares")?;
        let sites = SiteTable::from_parts([
            sections.traps,
            sections.calls,
            sections.maps,
            sections.bits,
            sections.handlers,
            sections.saves,
        ])
        .context("damaged artifact: a table is cut")?;
        let layout = info.context_layout();
        let (key, data, text) = (sections.key, sections.data, sections.text);
        Ok(Artifact {
            key,
            info,
            layout,
            data,
            text,
            functions,
            sites,
            addresses,
            trampolines,
            write_through: 0,
        })
    }

    /// The trampolines of all types of escaping functions, so that whoever loads the artifact need
    /// not compile anything.
    fn escaping_trampolines(&self, info: &ModuleInfo) -> Result<Vec<(u32, TrampolineCode)>> {
        let indexes: BTreeSet<u32> =
            info.escaping.iter().map(|&function| info.functions[function as usize]).collect();
        // A module may declare a type more than once.
        let mut seen = HashSet::new();
        let distinct = indexes.into_iter().filter(|&ty| seen.insert(&info.types[ty as usize]));
        let compile = |ty: u32| Ok((ty, self.compile_trampolines(info.func_type(ty))?));
        distinct.map(compile).collect()
    }
}
