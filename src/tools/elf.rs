//! An object file for code that is in memory already.

use std::ops::Range;

use anyhow::Result;
use object::elf;
use object::write::elf::{FileHeader, SectionHeader, Sym, Writer};

use super::Function;

/// An ELF file with these sections of debug information, and a symbol for each function. The code
/// itself is at the addresses where it is, and not in the file.
pub(super) fn file(
    text: Range<usize>,
    functions: &[Function<'_>],
    debug: &[(&'static str, Vec<u8>)],
) -> Result<Vec<u8>> {
    let mut file = Vec::new();
    let mut writer = Writer::new(object::Endianness::Little, true, &mut file);
    writer.reserve_file_header();
    let text_name = writer.add_section_name(b".text");
    let text_index = writer.reserve_section_index();
    let mut headers = vec![SectionHeader {
        name: Some(text_name),
        sh_type: elf::SHT_NOBITS,
        sh_flags: (elf::SHF_ALLOC | elf::SHF_EXECINSTR).into(),
        sh_addr: text.start as u64,
        sh_size: text.len() as u64,
        sh_addralign: 1,
        ..NO_HEADER
    }];
    for (name, bytes) in debug {
        writer.reserve_section_index();
        headers.push(SectionHeader {
            name: Some(writer.add_section_name(name.as_bytes())),
            sh_type: elf::SHT_PROGBITS,
            sh_offset: writer.reserve(bytes.len(), 1) as u64,
            sh_size: bytes.len() as u64,
            sh_addralign: 1,
            ..NO_HEADER
        });
    }
    writer.reserve_null_symbol_index();
    let names: Vec<_> = functions
        .iter()
        .map(|function| {
            writer.reserve_symbol_index(Some(text_index));
            writer.add_string(function.name.as_bytes())
        })
        .collect();
    writer.reserve_symtab_section_index();
    writer.reserve_strtab_section_index();
    writer.reserve_shstrtab_section_index();
    writer.reserve_symtab();
    writer.reserve_strtab();
    writer.reserve_shstrtab();
    writer.reserve_section_headers();

    writer.write_file_header(&FileHeader {
        os_abi: elf::ELFOSABI_NONE,
        abi_version: 0,
        e_type: elf::ET_EXEC,
        e_machine: elf::EM_X86_64,
        e_entry: 0,
        e_flags: 0,
    })?;
    debug.iter().for_each(|(_, bytes)| writer.write(bytes));
    writer.write_null_symbol();
    for (function, name) in functions.iter().zip(names) {
        writer.write_symbol(&Sym {
            name: Some(name),
            section: Some(text_index),
            st_info: (elf::STB_GLOBAL << 4) | elf::STT_FUNC,
            st_other: elf::STV_DEFAULT,
            st_shndx: 0,
            st_value: function.address as u64,
            st_size: function.code.len() as u64,
        });
    }
    writer.write_strtab();
    writer.write_shstrtab();
    writer.write_null_section_header();
    headers.iter().for_each(|header| writer.write_section_header(header));
    writer.write_symtab_section_header(1);
    writer.write_strtab_section_header();
    writer.write_shstrtab_section_header();
    Ok(file)
}

const NO_HEADER: SectionHeader = SectionHeader {
    name: None,
    sh_type: elf::SHT_NULL,
    sh_flags: 0,
    sh_addr: 0,
    sh_offset: 0,
    sh_size: 0,
    sh_link: 0,
    sh_info: 0,
    sh_addralign: 0,
    sh_entsize: 0,
};
