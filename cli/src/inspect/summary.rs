//! What a module consists of.

use std::path::Path;

use anyhow::Result;
use lampwick::{ExternType, FuncType, Module, Mutability};
use serde::Serialize;
use wasmparser::{Parser, Payload};

use super::Subject;

/// A module, as JSON has it.
#[derive(Serialize)]
pub(super) struct Summary {
    pub(super) file: String,
    /// `module` or `artifact`.
    pub(super) kind: &'static str,
    pub(super) name: Option<String>,
    pub(super) sizes: Sizes,
    pub(super) imports: Vec<Import>,
    pub(super) exports: Vec<Export>,
    pub(super) functions: Vec<Function>,
}

/// Sizes in bytes.
#[derive(Serialize)]
pub(super) struct Sizes {
    pub(super) file: u64,
    /// The machine code of all functions.
    pub(super) machine_code: usize,
    /// The sections of the binary format, in order; an artifact has none.
    pub(super) sections: Vec<(String, u64)>,
}

#[derive(Serialize)]
pub(super) struct Import {
    pub(super) module: String,
    pub(super) name: String,
    pub(super) kind: &'static str,
    #[serde(rename = "type")]
    pub(super) ty: String,
}

#[derive(Serialize)]
pub(super) struct Export {
    pub(super) name: String,
    pub(super) kind: &'static str,
    #[serde(rename = "type")]
    pub(super) ty: String,
}

/// A function that the module defines.
#[derive(Serialize)]
pub(super) struct Function {
    pub(super) index: u32,
    pub(super) name: Option<String>,
    pub(super) exports: Vec<String>,
    /// Where its body is in the module.
    pub(super) body_offset: usize,
    /// The size of its machine code, in bytes.
    pub(super) machine_code: usize,
}

impl Summary {
    pub(super) fn new(subject: &Subject, path: &Path) -> Result<Self> {
        let module = &subject.module;
        let functions: Vec<Function> = functions(module);
        let sizes = Sizes {
            file: subject.file,
            machine_code: functions.iter().map(|function| function.machine_code).sum(),
            sections: subject.wasm.as_deref().map(sections).transpose()?.unwrap_or_default(),
        };
        let imports = module.imports().map(|import| Import {
            module: import.module().to_owned(),
            name: import.name().unwrap_or_default().to_owned(),
            kind: kind(&import.ty()),
            ty: shown(&import.ty()),
        });
        let exports = module.exports().map(|export| Export {
            name: export.name().to_owned(),
            kind: kind(&export.ty()),
            ty: shown(&export.ty()),
        });
        Ok(Self {
            file: path.display().to_string(),
            kind: if subject.is_artifact { "artifact" } else { "module" },
            name: module.name().map(str::to_owned),
            sizes,
            imports: imports.collect(),
            exports: exports.collect(),
            functions,
        })
    }
}

fn functions(module: &Module) -> Vec<Function> {
    let function = |function: lampwick::FunctionCode<'_>| Function {
        index: function.index,
        name: function.name.map(str::to_owned),
        exports: function.exports.iter().map(|&name| name.to_owned()).collect(),
        body_offset: function.body_offset,
        machine_code: function.code.len(),
    };
    module.functions().map(function).collect()
}

/// The sections of a module with their sizes.
fn sections(wasm: &[u8]) -> Result<Vec<(String, u64)>> {
    let mut sections = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        let Some((id, range)) = payload.as_section() else { continue };
        let name = match &payload {
            Payload::CustomSection(section) => format!("custom {:?}", section.name()),
            _ => section_name(id).to_owned(),
        };
        sections.push((name, range.end - range.start));
    }
    Ok(sections)
}

/// What the specification calls the section with this number.
fn section_name(id: u8) -> &'static str {
    const NAMES: [&str; 14] = [
        "custom",
        "type",
        "import",
        "function",
        "table",
        "memory",
        "global",
        "export",
        "start",
        "element",
        "code",
        "data",
        "data count",
        "tag",
    ];
    NAMES.get(usize::from(id)).copied().unwrap_or("unknown")
}

fn kind(ty: &ExternType) -> &'static str {
    match ty {
        ExternType::Func(_) => "function",
        ExternType::Global(_) => "global",
        ExternType::Table(_) => "table",
        ExternType::Memory(_) => "memory",
        ExternType::Tag(_) => "tag",
    }
}

/// A type, much as the text format has it.
fn shown(ty: &ExternType) -> String {
    match ty {
        ExternType::Func(ty) => function_type(ty),
        ExternType::Global(ty) => match ty.mutability() {
            Mutability::Const => ty.content().to_string(),
            Mutability::Var => format!("(mut {})", ty.content()),
        },
        ExternType::Table(ty) => {
            format!("{} {}", limits(ty.minimum().into(), ty.maximum().map(u64::from)), ty.element())
        }
        ExternType::Memory(ty) => {
            let wide = if ty.is_64() { "i64 " } else { "" };
            format!("{wide}{} pages", limits(ty.minimum(), ty.maximum()))
        }
        ExternType::Tag(ty) => function_type(ty.ty()),
    }
}

fn function_type(ty: &FuncType) -> String {
    let list = |types: Vec<String>| format!("({})", types.join(", "));
    let params = list(ty.params().map(|ty| ty.to_string()).collect());
    let results = list(ty.results().map(|ty| ty.to_string()).collect());
    format!("{params} -> {results}")
}

fn limits(minimum: u64, maximum: Option<u64>) -> String {
    match maximum {
        Some(maximum) => format!("{minimum}..={maximum}"),
        None => format!("{minimum}.."),
    }
}
