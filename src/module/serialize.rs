//! Modules to artifacts and back.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;

use super::Module;
use crate::compile::Parts;
use crate::engine::Engine;
use crate::vm::code::Code;
use crate::vm::mapping::Mapping;

impl Module {
    /// The module as an *artifact*: bytes from which [`Module::deserialize`] and
    /// [`Module::deserialize_file`] make it again, without compiling.
    ///
    /// The bytes are always the same for the same module, configuration and version of Lampwick. They
    /// are an ELF file; `objdump -d` shows the machine code.
    ///
    /// # Errors
    ///
    /// Fails if the module is larger than an ELF file can be.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> anyhow::Result<()> {
    /// use lampwick::{Engine, Instance, Module, Store};
    ///
    /// let engine = Engine::default();
    /// let text = r#"(module (func (export "answer") (result i32) i32.const 42))"#;
    /// let artifact = Module::new(&engine, text)?.serialize()?;
    ///
    /// // SAFETY: these are the bytes that `serialize` gave us.
    /// let module = unsafe { Module::deserialize(&engine, &artifact)? };
    /// let mut store = Store::new(&engine, ());
    /// let instance = Instance::new(&mut store, &module, &[])?;
    /// let answer = instance.get_typed_func::<(), i32, _>(&mut store, "answer")?;
    /// assert_eq!(answer.call(&mut store, ())?, 42);
    /// # Ok(())
    /// # }
    /// ```
    pub fn serialize(&self) -> Result<Vec<u8>> {
        let inner = &*self.0;
        let declared = inner.types.as_declared(&inner.info);
        inner.engine.compiler().write_artifact(Parts {
            key: &[],
            info: declared.as_ref().unwrap_or(&inner.info),
            functions: &inner.functions,
            addresses: &inner.addresses,
            sites: inner.code.sites(),
            data: &inner.blueprint.bytes,
            text: inner.code.text(),
        })
    }

    /// The module in an artifact that [`Module::serialize`] or [`Engine::precompile_module`] made.
    /// The bytes are copied; [`Module::deserialize_file`] does without.
    ///
    /// An artifact is used only by engines that would have made the same: of the same version (see
    /// [`Config::module_version`](crate::Config::module_version)), with the same settings, on a
    /// machine that has the processor features for which it was made.
    ///
    /// # Safety
    ///
    /// The bytes must be what one of those two functions answered, or have been damaged by accident
    /// since. A checksum finds such damage; it does not protect against malice. Machine code
    /// from an artifact runs with all rights of the process, and what the artifact says of it is
    /// believed.
    ///
    /// # Errors
    ///
    /// Fails if the bytes are no artifact, damaged, or do not fit the engine; the error then names the
    /// difference. Fails if the system has no memory for it.
    pub unsafe fn deserialize(engine: &Engine, bytes: impl AsRef<[u8]>) -> Result<Self> {
        let pages = Mapping::copy(bytes.as_ref()).context("cannot copy the artifact")?;
        Self::from_mapping(engine, &pages, None, None)
            .context("cannot make a module of an artifact")
    }

    /// As [`Module::deserialize`], for an artifact in a file, which is mapped: its pages are shared
    /// with every process that maps it, too, and the file may be deleted or renamed, but not be
    /// changed.
    ///
    /// Where the file system forbids to execute what is in it (`noexec`), the code is copied.
    ///
    /// # Safety
    ///
    /// As for [`Module::deserialize`]. Moreover the file must not be changed or cut as long as the
    /// module, its clones, or stores with instances of it exist. To replace it, write another file and
    /// rename that.
    ///
    /// # Errors
    ///
    /// As for [`Module::deserialize`], and if the file cannot be read.
    pub unsafe fn deserialize_file(engine: &Engine, file: impl AsRef<Path>) -> Result<Self> {
        let path = file.as_ref();
        let map = || -> Result<Self> {
            let file = File::open(path)?;
            // SAFETY: the caller answers for it.
            unsafe { Self::from_artifact_file(engine, &file, None, None) }
        };
        map().with_context(|| format!("cannot make a module of the artifact `{}`", path.display()))
    }

    /// The module in an artifact in an open file, which is to be this entry of a cache; with this
    /// name, or its own.
    ///
    /// # Safety
    ///
    /// As for [`Module::deserialize_file`].
    pub(super) unsafe fn from_artifact_file(
        engine: &Engine,
        file: &File,
        key: Option<&[u8]>,
        name: Option<&str>,
    ) -> Result<Self> {
        let metadata = file.metadata()?;
        ensure!(metadata.is_file(), "it is not a regular file");
        ensure!(metadata.len() > 0, "the file is empty");
        // SAFETY: the caller answers for it.
        let pages = unsafe { Mapping::file(file) }.context("cannot map the file")?;
        Self::from_mapping(engine, &pages, key, name)
    }

    fn from_mapping(
        engine: &Engine,
        pages: &Mapping,
        key: Option<&[u8]>,
        name: Option<&str>,
    ) -> Result<Self> {
        let artifact = engine.compiler().read_artifact(&Bytes::from_owner(pages.clone()))?;
        ensure!(key.is_none_or(|key| key == artifact.key), "it is another entry of a cache");
        let code = Code::publish_in(pages, &artifact.text, artifact.sites.clone())?;
        Self::load(engine, artifact, code, name)
    }
}

impl Engine {
    /// Compiles a module, in the binary or the text format, to an artifact: the same bytes as
    /// [`Module::new`] and [`Module::serialize`] give, without making the module. A cache is not
    /// asked.
    ///
    /// # Errors
    ///
    /// As for [`Module::new`] and [`Module::serialize`].
    pub fn precompile_module(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        let artifact = super::compile(self, &super::parse(bytes)?)?;
        self.compiler().write_artifact(artifact.parts())
    }
}
