//! Reads a module: what it declares, and the bodies of its functions.
//!
//! Everything outside of function bodies is validated here; a body comes with its validator, which
//! runs where and when the body is translated.

mod constant;
mod convert;
mod debug;
mod names;
mod segments;

use std::ops::Range;

use anyhow::{Context as _, Result, bail};
use wasmparser::{
    CustomSectionReader, Encoding, ExternalKind, FuncToValidate, FunctionBody, Parser, Payload,
    TypeRef, ValidPayload, Validator, ValidatorResources,
};

use super::info::{EntityIndex, Export, Import, ModuleInfo};
use super::settings::Settings;
use segments::Escaping;

use crate::types::CompositeKind;

/// A function to compile.
pub(super) struct Body<'a> {
    pub(super) validator: FuncToValidate<ValidatorResources>,
    pub(super) body: FunctionBody<'a>,
}

impl Body<'_> {
    /// Its length in bytes.
    pub(super) fn len(&self) -> u64 {
        self.body.range().end - self.body.range().start
    }
}

/// A module, read.
#[derive(Default)]
pub(super) struct Parsed<'a> {
    pub(super) info: ModuleInfo,
    /// The types of the module as the validator knows them.
    pub(super) types: Vec<wasmparser::SubType>,
    /// What each of them is.
    kinds: Vec<CompositeKind>,
    /// The functions that the module defines, in order.
    pub(super) bodies: Vec<Body<'a>>,
    /// The bytes of all data segments, one after the other.
    pub(super) data: Vec<u8>,
    escaping: Escaping,
}

/// Reads and validates all of a module but the insides of its functions.
pub(super) fn module<'a>(wasm: &'a [u8], settings: &Settings) -> Result<Parsed<'a>> {
    let features = settings.features;
    let mut validator = Validator::new_with_features(features);
    let mut parsed = Parsed::default();
    let mut parser = Parser::new(0);
    // Some encodings are well-formed under some features only, such as limits of 64 bits.
    parser.set_features(features);
    for payload in parser.parse_all(wasm) {
        let payload = payload.context("malformed WebAssembly")?;
        // The validator's own words for a component speak of a switch that embedders do not have.
        if let Payload::Version { encoding: Encoding::Component, .. } = payload {
            bail!("the binary is a WebAssembly component; only modules can be compiled");
        }
        match validator.payload(&payload).context("invalid WebAssembly module")? {
            ValidPayload::Func(validator, body) => {
                parsed.info.body_offsets.push(body.range().start as u32);
                parsed.bodies.push(Body { validator, body });
            }
            ValidPayload::Ok | ValidPayload::Parser(_) | ValidPayload::End(_) => {}
        }
        match payload {
            Payload::CodeSectionStart { unchecked_range: range, .. } => {
                parsed.info.debug.code_start = range.start as u32;
            }
            Payload::CustomSection(section) => {
                parsed.custom_section(&section, settings.debug_sections);
            }
            payload => parsed.payload(payload)?,
        }
    }
    parsed.info.escaping = parsed.escaping.finish();
    Ok(parsed)
}

impl<'a> Parsed<'a> {
    fn payload(&mut self, payload: Payload<'a>) -> Result<()> {
        match payload {
            Payload::TypeSection(types) => self.types(types)?,
            Payload::ImportSection(imports) => self.imports(imports)?,
            Payload::FunctionSection(functions) => {
                for ty in functions {
                    self.info.functions.push(ty?);
                }
            }
            Payload::TableSection(tables) => self.tables(tables)?,
            Payload::MemorySection(memories) => {
                for memory in memories {
                    self.info.memories.push(convert::memory_type(memory?)?);
                }
            }
            Payload::TagSection(tags) => unsupported("exception tags", tags.range())?,
            Payload::GlobalSection(globals) => self.globals(globals)?,
            Payload::ExportSection(exports) => self.exports(exports)?,
            Payload::StartSection { func, .. } => {
                self.info.start = Some(func);
                self.escaping.add(func);
            }
            Payload::ElementSection(elements) => self.elements(elements)?,
            Payload::DataSection(data) => self.data(data)?,
            // The rest has no meaning beyond what the validator checked.
            _ => {}
        }
        Ok(())
    }

    /// Custom sections only help those who look for errors.
    fn custom_section(&mut self, section: &CustomSectionReader<'_>, keep_debug: bool) {
        if let wasmparser::KnownCustom::Name(names) = section.as_known() {
            names::read(&mut self.info, names);
        }
        debug::read(&mut self.info.debug, section.name(), section.data(), keep_debug);
    }

    fn types(&mut self, types: wasmparser::TypeSectionReader<'a>) -> Result<()> {
        for group in types {
            let group = group?;
            let (start, len) = (self.kinds.len() as u32, group.types().len() as u32);
            if len != 1 {
                self.info.groups.push((start, len));
            }
            // Types of a group may name those that come later.
            for ty in group.types() {
                self.kinds.push(convert::kind(ty)?);
            }
            for ty in group.into_types() {
                self.info.types.push(convert::sub_type(&ty, &self.kinds)?);
                self.types.push(ty);
            }
        }
        Ok(())
    }

    fn imports(&mut self, imports: wasmparser::ImportSectionReader<'a>) -> Result<()> {
        let range = imports.range();
        for import in imports.into_imports() {
            let import = import?;
            let info = &mut self.info;
            let entity = match import.ty {
                TypeRef::Func(ty) => {
                    info.functions.push(ty);
                    info.imported_functions += 1;
                    EntityIndex::Function(info.imported_functions - 1)
                }
                TypeRef::Table(ty) => {
                    info.tables.push(convert::table_type(ty, &self.kinds)?);
                    info.imported_tables += 1;
                    EntityIndex::Table(info.imported_tables - 1)
                }
                TypeRef::Memory(ty) => {
                    info.memories.push(convert::memory_type(ty)?);
                    info.imported_memories += 1;
                    EntityIndex::Memory(info.imported_memories - 1)
                }
                TypeRef::Global(ty) => {
                    info.globals.push(convert::global_type(ty, &self.kinds)?);
                    info.imported_globals += 1;
                    EntityIndex::Global(info.imported_globals - 1)
                }
                TypeRef::Tag(_) | TypeRef::FuncExact(_) => {
                    return unsupported("imports of this kind", range);
                }
            };
            let (module, name) = (import.module.to_owned(), import.name.to_owned());
            info.imports.push(Import { module, name, entity });
        }
        Ok(())
    }

    fn tables(&mut self, tables: wasmparser::TableSectionReader<'a>) -> Result<()> {
        for table in tables {
            let table = table?;
            self.info.tables.push(convert::table_type(table.ty, &self.kinds)?);
            let init = match table.init {
                wasmparser::TableInit::RefNull => super::info::ConstExpr::RefNull,
                wasmparser::TableInit::Expr(init) => self.constant(&init)?,
            };
            self.info.table_inits.push(init);
        }
        Ok(())
    }

    fn globals(&mut self, globals: wasmparser::GlobalSectionReader<'a>) -> Result<()> {
        for global in globals {
            let global = global?;
            self.info.globals.push(convert::global_type(global.ty, &self.kinds)?);
            let init = self.constant(&global.init_expr)?;
            self.info.global_inits.push(init);
        }
        Ok(())
    }

    fn exports(&mut self, exports: wasmparser::ExportSectionReader<'a>) -> Result<()> {
        let range = exports.range();
        for export in exports {
            let export = export?;
            let entity = match export.kind {
                ExternalKind::Func => {
                    self.escaping.add(export.index);
                    EntityIndex::Function(export.index)
                }
                ExternalKind::Table => EntityIndex::Table(export.index),
                ExternalKind::Memory => EntityIndex::Memory(export.index),
                ExternalKind::Global => EntityIndex::Global(export.index),
                ExternalKind::Tag | ExternalKind::FuncExact => {
                    return unsupported("exports of this kind", range);
                }
            };
            self.info.exports.push(Export { name: export.name.to_owned(), entity });
        }
        Ok(())
    }
}

/// The error for something that is valid but unknown here, in a section at `range`.
fn unsupported<T>(what: &str, range: Range<u64>) -> Result<T> {
    bail!("unsupported: {what}, in the section at offset {:#x}", range.start)
}
