//! The ELF file that an artifact is.

use std::ops::Range;

use anyhow::{Context as _, Result, anyhow};
use bytes::Bytes;
use object::read::elf::ElfFile64;
use object::write::{Object, Symbol, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, LittleEndian, Object as _, ObjectSection as _,
    SectionKind, SymbolFlags, SymbolKind, SymbolScope,
};

/// The text has pages of its own, since they alone become executable.
const PAGE: usize = 4096;

/// What the text ends with, up to a whole number of pages: each byte a trap.
const PADDING: u8 = 0xcc;

const HEAD: &str = ".lampwick.head";
const KEY: &str = ".lampwick.key";
const INFO: &str = ".lampwick.info";
const TRAPS: &str = ".lampwick.traps";
const CALLS: &str = ".lampwick.calls";
const MAPS: &str = ".lampwick.maps";
const BITS: &str = ".lampwick.bits";
const HANDLERS: &str = ".lampwick.handlers";
const SAVES: &str = ".lampwick.saves";
const DATA: &str = ".lampwick.data";
const TEXT: &str = ".text";

/// The sections to write, but for the text.
pub(super) struct Sections<'a> {
    pub(super) head: Vec<u8>,
    pub(super) key: &'a [u8],
    pub(super) info: &'a [u8],
    pub(super) traps: &'a [u8],
    pub(super) calls: &'a [u8],
    pub(super) maps: &'a [u8],
    pub(super) bits: &'a [u8],
    pub(super) handlers: &'a [u8],
    pub(super) saves: &'a [u8],
    pub(super) data: &'a [u8],
}

/// The sections of an artifact, as parts of its bytes.
pub(super) struct Found {
    pub(super) key: Bytes,
    pub(super) info: Bytes,
    pub(super) traps: Bytes,
    pub(super) calls: Bytes,
    pub(super) maps: Bytes,
    pub(super) bits: Bytes,
    pub(super) handlers: Bytes,
    pub(super) saves: Bytes,
    pub(super) data: Bytes,
    pub(super) text: Bytes,
}

/// Writes an artifact. `symbols` are the names of ranges in the text.
pub(super) fn write(
    sections: &Sections<'_>,
    text: &[u8],
    symbols: impl Iterator<Item = (String, Range<u32>)>,
) -> Result<Vec<u8>> {
    let mut text = text.to_vec();
    text.resize(text.len().max(1).next_multiple_of(PAGE), PADDING);
    let mut object = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
    for (name, data, alignment) in [
        // First, and without a need for alignment: right behind the ELF header.
        (HEAD, &*sections.head, 1),
        (KEY, sections.key, 1),
        (INFO, sections.info, 1),
        (TRAPS, sections.traps, 4),
        (CALLS, sections.calls, 4),
        (MAPS, sections.maps, 4),
        (BITS, sections.bits, 4),
        (HANDLERS, sections.handlers, 4),
        (SAVES, sections.saves, 4),
        (DATA, sections.data, 16),
    ] {
        let section = object.add_section(Vec::new(), name.into(), SectionKind::Other);
        object.set_section_data(section, data, alignment);
    }
    let section = object.add_section(Vec::new(), TEXT.into(), SectionKind::Text);
    object.set_section_data(section, text, PAGE as u64);
    for (name, range) in symbols {
        object.add_symbol(Symbol {
            name: name.into_bytes(),
            value: range.start.into(),
            size: (range.end - range.start).into(),
            kind: SymbolKind::Text,
            scope: SymbolScope::Compilation,
            weak: false,
            section: SymbolSection::Section(section),
            flags: SymbolFlags::None,
        });
    }
    object.write().context("cannot write the artifact")
}

/// The name of a function in the table of symbols, where names end with a zero.
pub(super) fn symbol_name(function: u32, name: Option<&str>) -> String {
    match name {
        Some(name) => name.replace('\0', "\u{fffd}"),
        None => format!("wasm function {function}"),
    }
}

/// Finds the sections of an artifact.
pub(super) fn read(artifact: &Bytes) -> Result<Found> {
    let file = ElfFile64::<LittleEndian>::parse(&**artifact)
        .context("damaged artifact: it is no ELF file")?;
    let find = |name: &str| -> Result<Bytes> {
        let section = file.section_by_name(name);
        let section =
            section.ok_or_else(|| anyhow!("damaged artifact: it has no section {name}"))?;
        let outside = || anyhow!("damaged artifact: its section {name} ends outside of it");
        Ok(artifact.slice_ref(section.data().map_err(|_| outside())?))
    };
    Ok(Found {
        key: find(KEY)?,
        info: find(INFO)?,
        traps: find(TRAPS)?,
        calls: find(CALLS)?,
        maps: find(MAPS)?,
        bits: find(BITS)?,
        handlers: find(HANDLERS)?,
        saves: find(SAVES)?,
        data: find(DATA)?,
        text: find(TEXT)?,
    })
}

#[cfg(test)]
mod tests {
    use object::ObjectSymbol as _;

    use super::*;

    #[test]
    fn tools_find_the_functions() {
        let sections = Sections {
            head: vec![1; 7],
            key: b"",
            info: b"info",
            traps: b"",
            calls: b"",
            maps: b"",
            bits: b"",
            handlers: b"",
            saves: b"",
            data: b"data",
        };
        let symbols = [(symbol_name(3, Some("a\0b")), 0..10), (symbol_name(4, None), 32..40)];
        let bytes = write(&sections, &[0x90; 40], symbols.into_iter()).expect("an artifact");
        let file = ElfFile64::<LittleEndian>::parse(&*bytes).expect("an ELF file");
        let symbols: Vec<_> =
            file.symbols().map(|it| (it.name(), it.address(), it.size())).collect();
        assert_eq!(symbols, [(Ok("a\u{fffd}b"), 0, 10), (Ok("wasm function 4"), 32, 8)]);
        let text = file.section_by_name(TEXT).expect("a text");
        let (offset, size) = text.file_range().expect("in the file");
        assert_eq!((offset % PAGE as u64, size), (0, PAGE as u64));
    }
}
