//! Debug information for machine code: which function and which line of the guest's source an
//! address belongs to.

use anyhow::Result;
use gimli::write::{
    Address, AttributeValue, Dwarf, EndianVec, FileId, LineProgram, LineString, Range, RangeList,
    Sections, Unit,
};
use gimli::{Encoding, Format, LineEncoding, LittleEndian};

use super::Function;

/// What debuggers of all ages read.
const ENCODING: Encoding = Encoding { address_size: 8, format: Format::Dwarf32, version: 4 };

/// The sections of a module's debug information, by name.
pub(super) fn sections(
    module: &str,
    functions: &[Function<'_>],
) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let mut dwarf = Dwarf::new();
    let unit = dwarf.units.add(Unit::new(ENCODING, line_program(module, functions)));
    let ranges = functions.iter().map(|function| Range::StartLength {
        begin: address(function.address),
        length: function.code.len() as u64,
    });
    let unit = dwarf.units.get_mut(unit);
    let ranges = unit.ranges.add(RangeList(ranges.collect()));
    let root = unit.root();
    let root_entry = unit.get_mut(root);
    root_entry.set(gimli::DW_AT_producer, string("lampwick"));
    root_entry.set(gimli::DW_AT_name, string(module));
    // Debuggers take names as they are in this one.
    root_entry.set(gimli::DW_AT_language, AttributeValue::Language(gimli::DW_LANG_C99));
    root_entry.set(gimli::DW_AT_low_pc, AttributeValue::Address(address(0)));
    root_entry.set(gimli::DW_AT_ranges, AttributeValue::RangeListRef(ranges));
    for function in functions {
        let entry = unit.add(root, gimli::DW_TAG_subprogram);
        let entry = unit.get_mut(entry);
        let low = AttributeValue::Address(address(function.address));
        entry.set(gimli::DW_AT_name, string(&function.short_name));
        entry.set(gimli::DW_AT_low_pc, low);
        entry.set(gimli::DW_AT_high_pc, AttributeValue::Udata(function.code.len() as u64));
        entry.set(gimli::DW_AT_external, AttributeValue::Flag(true));
    }
    let mut sections = Sections::new(EndianVec::new(LittleEndian));
    dwarf.write(&mut sections)?;
    let mut named = Vec::new();
    sections.for_each(|id, section| {
        if !section.slice().is_empty() {
            named.push((id.name(), section.slice().to_vec()));
        }
        Ok::<_, gimli::write::Error>(())
    })?;
    Ok(named)
}

fn line_program(module: &str, functions: &[Function<'_>]) -> LineProgram {
    let text = |text: &str| LineString::String(if text.is_empty() { "?" } else { text }.into());
    let (directory, file) = (text("."), text(module));
    let mut program =
        LineProgram::new(ENCODING, LineEncoding::default(), directory, None, file, None);
    let directory = program.default_directory();
    for function in functions.iter().filter(|function| !function.lines.is_empty()) {
        program.begin_sequence(Some(address(function.address)));
        for (pc, line) in &function.lines {
            let file: FileId = program.add_file(text(&line.file), directory, None);
            let row = program.row();
            row.address_offset = (pc - function.address) as u64;
            row.file = file;
            (row.line, row.column) = (line.line.into(), line.column.into());
            program.generate_row();
        }
        program.end_sequence(function.code.len() as u64);
    }
    program
}

fn address(address: usize) -> Address {
    Address::Constant(address as u64)
}

fn string(text: &str) -> AttributeValue {
    AttributeValue::String(text.into())
}
