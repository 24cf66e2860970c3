//! `lampwick inspect`.

mod code;
mod summary;
mod text;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use lampwick::{Engine, FunctionCode, Module};

use crate::args::InspectArgs;
use crate::failure::Failure;
use crate::load::{self, Input};
use crate::{engine, print};

use code::Listing;
use summary::Summary;

/// A module to look into.
struct Subject {
    module: Module,
    /// Its binary format; an artifact does not have it.
    wasm: Option<Vec<u8>>,
    is_artifact: bool,
    /// The size of the file, in bytes.
    file: u64,
}

/// Shows a module or an artifact, or one of its functions.
pub fn inspect(args: &InspectArgs) -> Result<ExitCode, Failure> {
    let subject = Subject::read(&args.file, args.wasm.as_deref())?;
    let text = match &args.code {
        Some(name) => {
            let function = find(&subject.module, name)?;
            let listing = Listing::new(&subject, &function).map_err(Failure::other)?;
            if args.json { json(&listing)? } else { text::listing(&listing) }
        }
        None => {
            let summary = Summary::new(&subject, &args.file).map_err(Failure::other)?;
            if args.json { json(&summary)? } else { text::summary(&summary) }
        }
    };
    print(text.as_bytes())
}

impl Subject {
    /// The module in a file; of an artifact, with its `wasm`, if that is at hand.
    fn read(path: &Path, wasm: Option<&Path>) -> Result<Self, Failure> {
        // Only code that is made for debuggers knows its operators. The code is the same.
        let engine = Engine::new(engine::config().debug_info(true)).map_err(Failure::other)?;
        let (bytes, artifact) = match (load::read(path)?, wasm) {
            (Input::Wasm(bytes), None) => (bytes, None),
            (Input::Wasm(_), Some(_)) => {
                let error = anyhow!("`{}` is a module, and needs no `--wasm`", path.display());
                return Err(Failure::misuse(error));
            }
            (Input::Artifact, None) => {
                let module = load::artifact(&engine, path)?;
                return Ok(Self { module, wasm: None, is_artifact: true, file: size(path) });
            }
            (Input::Artifact, Some(wasm)) => {
                let Input::Wasm(bytes) = load::read(wasm)? else {
                    let error = anyhow!("`{}` is an artifact, not the module", wasm.display());
                    return Err(Failure::misuse(error));
                };
                (bytes, Some(load::artifact(&engine, path)?))
            }
        };
        let from = wasm.unwrap_or(path);
        let wasm = wat::parse_bytes(&bytes)
            .with_context(|| format!("cannot parse `{}`", from.display()))
            .map_err(Failure::misuse)?
            .into_owned();
        let module = load::compile(&engine, from, &wasm, None)?;
        if let Some(artifact) = &artifact {
            check_same(artifact, &module, path, from)?;
        }
        let file = if artifact.is_some() { size(path) } else { bytes.len() as u64 };
        Ok(Self { module, wasm: Some(wasm), is_artifact: artifact.is_some(), file })
    }
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Checks that an artifact was made of a module: this build makes the same machine code of it.
fn check_same(artifact: &Module, module: &Module, path: &Path, wasm: &Path) -> Result<(), Failure> {
    let (made, now) = (artifact.functions(), module.functions());
    let differs = || {
        let mut pairs = artifact.functions().zip(module.functions());
        let pair = pairs.find(|(made, now)| (made.index, made.code) != (now.index, now.code));
        pair.map(|(made, _)| format!("the code of function {} differs", made.index))
    };
    let difference = match (made.len(), now.len()) {
        (made, now) if made != now => Some(format!("it has {made} functions, the module {now}")),
        _ => differs(),
    };
    let Some(difference) = difference else { return Ok(()) };
    let (path, wasm) = (path.display(), wasm.display());
    Err(Failure::misuse(anyhow!("`{path}` was not made of `{wasm}`: {difference}")))
}

fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    let mut text = serde_json::to_string_pretty(value).map_err(Failure::other)?;
    text.push('\n');
    Ok(text)
}

/// The function that is meant by an index, its own name, or the name of an export.
fn find<'a>(module: &'a Module, name: &str) -> Result<FunctionCode<'a>, Failure> {
    let exported = module.functions().find(|function| function.exports.contains(&name));
    let named = || module.functions().find(|function| function.name == Some(name));
    let numbered = || {
        let index: u32 = name.parse().ok()?;
        module.functions().find(|function| function.index == index)
    };
    exported.or_else(named).or_else(numbered).ok_or_else(|| {
        let first = module.functions().next().map_or(0, |function| function.index);
        let error = anyhow!(
            "there is no function `{name}` with code: the module defines {} functions, from index {first}",
            module.functions().len()
        );
        Failure::misuse(error).hint("`lampwick inspect --json FILE` lists them all")
    })
}
