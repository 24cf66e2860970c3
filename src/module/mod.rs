//! Modules: compiled code that can be instantiated many times.

pub(crate) mod blueprint;
#[cfg(feature = "cache")]
mod cached;
mod functions;
mod serialize;
mod types;

use std::borrow::Cow;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use lampwick_fibers::Shared;

use crate::compile::{AddressMap, Artifact, Kind, ModuleInfo, kind};
use crate::engine::Engine;
use crate::symbols::Symbolizer;
use crate::tools::{self, Registration};
use crate::trap::FrameInfo;
use crate::types::{ExportType, ExternType, ImportType};
use crate::vm::backtrace::Frame;
use crate::vm::code::Code;
use crate::vm::instance::Blueprint;
use crate::vm::layout::{EnterTrampoline, VMType};
use types::ModuleTypes;

pub use functions::FunctionCode;

/// A compiled module.
///
/// Cloning is cheap and gives the same module. It can be instantiated in any store of its engine.
#[derive(Clone, Debug)]
pub struct Module(Shared<Inner>);

#[derive(Debug)]
struct Inner {
    engine: Engine,
    info: Arc<ModuleInfo>,
    code: Shared<Code>,
    /// The range of each defined function in the text.
    functions: Vec<std::ops::Range<u32>>,
    addresses: AddressMap,
    types: ModuleTypes,
    blueprint: Shared<Blueprint>,
    /// Where the engine wants details of frames and the module has them.
    symbolizer: Option<Arc<Symbolizer>>,
    /// Where the engine wants debuggers to know the module.
    _debugger: Option<Registration>,
}

impl Module {
    /// Compiles a module in the binary format, or, if it does not begin with that format's magic
    /// number, in the text format.
    ///
    /// # Errors
    ///
    /// Fails if the text cannot be parsed (with line and column), if the module is not valid (with
    /// the offset), if it needs what the engine does not support, or, with a
    /// [`PoolLimitError`](crate::PoolLimitError), if it exceeds a limit of the engine's pool. Artifacts
    /// (see [`Module::serialize`]) are refused.
    pub fn new(engine: &Engine, bytes: impl AsRef<[u8]>) -> Result<Self> {
        Self::from_binary(engine, &parse(bytes.as_ref())?)
    }

    /// As [`Module::new`], with a name for the module that replaces its own.
    ///
    /// # Errors
    ///
    /// As for [`Module::new`].
    pub fn new_with_name(engine: &Engine, bytes: impl AsRef<[u8]>, name: &str) -> Result<Self> {
        Self::compiled(engine, &parse(bytes.as_ref())?, Some(name))
    }

    /// As [`Module::new`], for the contents of a file.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read, and as [`Module::new`].
    pub fn from_file(engine: &Engine, file: impl AsRef<Path>) -> Result<Self> {
        let file = file.as_ref();
        let context = || format!("cannot make a module of `{}`", file.display());
        let bytes = fs::read(file).with_context(context)?;
        Self::new(engine, bytes).with_context(context)
    }

    /// Compiles a module in the binary format.
    ///
    /// # Errors
    ///
    /// As for [`Module::new`].
    pub fn from_binary(engine: &Engine, binary: &[u8]) -> Result<Self> {
        Self::compiled(engine, binary, None)
    }

    /// Compiles a module, unless the cache has it; with this name, or its own.
    fn compiled(engine: &Engine, binary: &[u8], name: Option<&str>) -> Result<Self> {
        refuse_artifact(binary)?;
        #[cfg(feature = "cache")]
        if let Some(cache) = engine.cache() {
            return Self::cached(engine, cache, binary, name);
        }
        Self::publish(engine, compile(engine, binary)?, name)
    }

    /// Makes a module of what was just compiled.
    fn publish(engine: &Engine, artifact: Artifact, name: Option<&str>) -> Result<Self> {
        let code = Code::publish(&artifact.text, artifact.sites.clone())?;
        Self::load(engine, artifact, code, name)
    }

    /// Checks that bytes are a valid module in the binary format that the engine supports.
    ///
    /// # Errors
    ///
    /// Fails if they are not, with the offset.
    pub fn validate(engine: &Engine, binary: &[u8]) -> Result<()> {
        refuse_artifact(binary)?;
        engine.compiler().validate(binary)
    }

    /// Makes a module of what the compiler made, whose code is published, with this name or its own.
    fn load(engine: &Engine, artifact: Artifact, code: Code, name: Option<&str>) -> Result<Self> {
        let Artifact { mut info, layout, data, functions, addresses, trampolines, .. } = artifact;
        if let Some(pool) = engine.pool() {
            pool.limits.check(&info)?;
        }
        if let Some(name) = name {
            info.name = Some(name.to_owned());
        }
        let types = ModuleTypes::resolve(engine, &mut info)?;
        for (ty, trampolines) in &trampolines {
            types.get(*ty).publish(engine, trampolines)?;
        }
        // Only what escapes can be called by the host.
        for &function in &info.escaping {
            let ty = info.functions[function as usize];
            types.get(ty).trampolines(engine)?;
        }
        let blueprint = blueprint::of(&info, layout, data);
        let info = Arc::new(info);
        let symbolizer = engine.wants_symbols() && info.debug.present;
        let symbolizer = symbolizer.then(|| Arc::new(Symbolizer::new(&info)));
        let code = Shared::new(code);
        let debugger = tools::tell_of_module(engine, &info, &code, &functions, &addresses)?;
        Ok(Self(Shared::new(Inner {
            engine: engine.clone(),
            info,
            symbolizer,
            _debugger: debugger,
            code,
            addresses,
            functions,
            types,
            blueprint: Shared::new(blueprint),
        })))
    }

    /// The name of the module, from its name section or [`Module::new_with_name`].
    pub fn name(&self) -> Option<&str> {
        self.0.info.name.as_deref()
    }

    /// What the module imports, in order.
    pub fn imports(&self) -> impl ExactSizeIterator<Item = ImportType<'_>> {
        self.0.info.imports.iter().map(|import| ImportType {
            module: &import.module,
            name: &import.name,
            ty: self.0.info.entity_type(import.entity),
        })
    }

    /// What the module exports, in order.
    pub fn exports(&self) -> impl ExactSizeIterator<Item = ExportType<'_>> {
        self.0.info.exports.iter().map(|export| ExportType {
            name: &export.name,
            ty: self.0.info.entity_type(export.entity),
        })
    }

    /// The type of what the module exports under this name.
    pub fn get_export(&self, name: &str) -> Option<ExternType> {
        self.exports().find(|export| export.name() == name).map(|export| export.ty())
    }

    /// The engine that compiled the module.
    pub fn engine(&self) -> &Engine {
        &self.0.engine
    }

    /// The same module for a store of this thread's: stores that others make count elsewhere.
    pub(crate) fn local(&self) -> Self {
        Self(self.0.local())
    }

    pub(crate) fn info(&self) -> &ModuleInfo {
        &self.0.info
    }

    pub(crate) fn code(&self) -> &Shared<Code> {
        &self.0.code
    }

    /// The record of the type at this index of the type section.
    pub(crate) fn type_record(&self, index: u32) -> *const VMType {
        self.0.types.record(index)
    }

    /// The records of all types, in order.
    pub(crate) fn type_records(&self) -> *const *const VMType {
        self.0.types.records()
    }

    pub(crate) fn blueprint(&self) -> &Shared<Blueprint> {
        &self.0.blueprint
    }

    /// The entry point of an escaping function that the module defines, and the trampoline to it.
    pub(crate) fn function(&self, index: u32) -> Result<(*const u8, EnterTrampoline)> {
        let defined = index - self.0.info.imported_functions;
        let code = self.0.code.at(self.0.functions[defined as usize].start);
        let ty = self.0.types.get(self.0.info.functions[index as usize]);
        Ok((code, ty.trampolines(&self.0.engine)?.enter))
    }

    /// What is known of a frame, if it is one of this module's.
    pub(crate) fn frame(&self, frame: &Frame) -> Option<FrameInfo> {
        let text = self.0.code.range();
        if !text.contains(&frame.pc) {
            return None;
        }
        let offset = (frame.pc - text.start) as u32;
        let sites = self.0.code.sites();
        let module_offset =
            if frame.exact { sites.trap(offset).map(|site| site.wasm) } else { sites.call(offset) };
        // A return address may be the first one behind its function.
        let inside = if frame.exact { offset } else { offset - 1 };
        let defined = self.0.functions.partition_point(|range| range.end <= inside);
        self.0.functions.get(defined).filter(|range| range.contains(&inside))?;
        let module_offset = module_offset.unwrap_or_default() as usize;
        let Inner { info, symbolizer, .. } = &*self.0;
        Some(FrameInfo::new(info.clone(), defined, module_offset, symbolizer.clone()))
    }
}

/// A module in the binary format, from either.
fn parse(bytes: &[u8]) -> Result<Cow<'_, [u8]>> {
    refuse_artifact(bytes)?;
    wat::parse_bytes(bytes).context("cannot parse the text of the module")
}

/// Compiles a module, if the engine's pool could have it.
fn compile(engine: &Engine, binary: &[u8]) -> Result<Artifact> {
    if let Some(pool) = engine.pool() {
        // Before it costs a compilation.
        pool.limits.check(&engine.compiler().declarations(binary)?)?;
    }
    engine.compiling(|| engine.compiler().compile(binary))
}

/// What is compiled already is no input for the compiler.
fn refuse_artifact(bytes: &[u8]) -> Result<()> {
    if kind(bytes) == Kind::Artifact {
        bail!(
            "this is an artifact, a module that is compiled already: use `Module::deserialize` or \
             `Module::deserialize_file`"
        );
    }
    Ok(())
}
