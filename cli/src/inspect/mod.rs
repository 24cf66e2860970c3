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
    /// The size of the file, in bytes.
    file: u64,
}

/// Shows a module or an artifact, or one of its functions.
pub fn inspect(args: &InspectArgs) -> Result<ExitCode, Failure> {
    let subject = Subject::read(&args.file)?;
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
    fn read(path: &Path) -> Result<Self, Failure> {
        // Only code that is made for debuggers knows its operators. The code is the same.
        let engine = Engine::new(engine::config().debug_info(true)).map_err(Failure::other)?;
        let metadata = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let Input::Wasm(bytes) = load::read(path)? else {
            let module = load::artifact(&engine, path)?;
            return Ok(Self { module, wasm: None, file: metadata(path) });
        };
        let wasm = wat::parse_bytes(&bytes)
            .with_context(|| format!("cannot parse `{}`", path.display()))
            .map_err(Failure::misuse)?
            .into_owned();
        let module = load::compile(&engine, path, &wasm, None)?;
        Ok(Self { module, wasm: Some(wasm), file: bytes.len() as u64 })
    }
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
