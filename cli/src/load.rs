//! Files that users name as modules or artifacts.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use anyhow::{Context as _, anyhow};
use lampwick::{Engine, Module};
use wasmparser::{Import, Parser, Payload, TypeRef};

use crate::failure::Failure;

/// How names of artifacts end.
pub const ARTIFACT: &str = "lampwick";

/// A file's contents, by what they are.
pub enum Input {
    /// A module in the binary or the text format.
    Wasm(Vec<u8>),
    /// An artifact, which is not read but mapped.
    Artifact,
}

/// Reads a file, and tells what it is.
pub fn read(path: &Path) -> Result<Input, Failure> {
    let shown = path.display();
    let open = || -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = open().map_err(|error| {
        let missing = error.kind() == ErrorKind::NotFound;
        let failure = Failure::misuse(anyhow!(error).context(format!("cannot read `{shown}`")));
        match (missing, path.extension()) {
            (true, None) => failure.hint(format!("is it `{shown}.wasm`?")),
            _ => failure,
        }
    })?;
    let text = bytes.trim_ascii_start();
    if bytes.starts_with(b"\0asm") || text.starts_with(b"(") || text.starts_with(b";;") {
        return Ok(Input::Wasm(bytes));
    }
    if !bytes.starts_with(b"\x7fELF") {
        let begin = String::from_utf8_lossy(&bytes[..bytes.len().min(8)]).into_owned();
        let error = anyhow!("`{shown}` is no WebAssembly: it begins with {begin:?}");
        return Err(Failure::misuse(error).hint(
            "modules begin with `\\0asm`, or with `(` in the text format; `lampwick compile` makes \
             artifacts of them",
        ));
    }
    refuse_wasm_name(path)?;
    Ok(Input::Artifact)
}

/// Refuses a name for an artifact that says that it is a module.
///
/// Artifacts run with all rights of their user, modules with none: who passes on a module that is not
/// trusted must be able to rely on its name.
pub fn refuse_wasm_name(path: &Path) -> Result<(), Failure> {
    let wasm = path.extension().is_some_and(|extension| {
        ["wasm", "wat", "wast"].iter().any(|name| extension.eq_ignore_ascii_case(name))
    });
    if !wasm {
        return Ok(());
    }
    let error =
        anyhow!("`{}` is named as a module, but an artifact is machine code", path.display());
    Err(Failure::misuse(error).hint(format!(
        "artifacts run with all of your rights: if you trust it, give it a name that ends in \
         .{ARTIFACT}"
    )))
}

/// Refuses, by name, what compilers make for WASI that is no program of preview 1: modules of several
/// threads, and components.
pub fn refuse_others(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let shown = path.display();
    let target = "compile it for `wasm32-wasip1`";
    // The version behind the magic number tells modules from components.
    if bytes.starts_with(b"\0asm") && !bytes.starts_with(b"\0asm\x01\0\0\0") {
        let error = anyhow!("`{shown}` is no module: it is a component, or of another version");
        return Err(Failure::misuse(error).hint(target));
    }
    let Ok(wasm) = wat::parse_bytes(bytes) else { return Ok(()) };
    let imports = Parser::new(0).parse_all(&wasm).find_map(|payload| match payload {
        Ok(Payload::ImportSection(imports)) => Some(imports),
        _ => None,
    });
    let imports = imports.into_iter().flat_map(|it| it.into_imports()).filter_map(Result::ok);
    for Import { module, name, ty } in imports {
        let what = match ty {
            TypeRef::Memory(memory) if memory.shared => "a shared memory",
            _ if module == "wasi" && name.starts_with("thread-spawn") => "a way to begin threads",
            _ => continue,
        };
        let (module, name) = (module.escape_debug(), name.escape_debug());
        let error = anyhow!(
            "`{shown}` is a program of several threads, which preview 1 does not have: it imports \
             {what}, `{module}::{name}`"
        );
        return Err(Failure::misuse(error).hint(format!("{target}, without threads")));
    }
    Ok(())
}

/// A module of a file, which may be an artifact.
pub fn module(engine: &Engine, path: &Path) -> Result<Module, Failure> {
    match read(path)? {
        Input::Wasm(bytes) => {
            let name = path.file_stem().map(|name| name.to_string_lossy());
            compile(engine, path, &bytes, name.as_deref())
        }
        Input::Artifact => artifact(engine, path),
    }
}

/// Compiles a module; one without a name gets this one.
pub fn compile(
    engine: &Engine,
    path: &Path,
    bytes: &[u8],
    name: Option<&str>,
) -> Result<Module, Failure> {
    refuse_others(path, bytes)?;
    let module = Module::new(engine, bytes).and_then(|module| match (module.name(), name) {
        (None, Some(name)) => Module::new_with_name(engine, bytes, name),
        _ => Ok(module),
    });
    let context = || format!("cannot compile `{}`", path.display());
    module.with_context(context).map_err(Failure::misuse)
}

/// The module in an artifact.
#[expect(unsafe_code, reason = "artifacts are trusted: whoever names one has made it")]
pub fn artifact(engine: &Engine, path: &Path) -> Result<Module, Failure> {
    // SAFETY: the user, whose rights this process has, names the file as an artifact; the runtime
    // checks version, settings and a checksum against accidents. `compile` replaces artifacts by
    // renaming, so that one that is mapped does not change.
    let module = unsafe { Module::deserialize_file(engine, path) };
    module.map_err(|error| {
        let other = format!("{error:#}").contains("does not fit the engine");
        let failure = Failure::misuse(error);
        if !other {
            return failure;
        }
        failure.hint("it is from another build or machine: compile the module again with this one")
    })
}
