//! `lampwick compile`.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};

use crate::args::CompileArgs;
use crate::engine;
use crate::failure::Failure;
use crate::load::{self, ARTIFACT, Input};

/// Writes the artifact of a module.
pub fn compile(args: &CompileArgs) -> Result<ExitCode, Failure> {
    let output = args.output.clone().unwrap_or_else(|| args.module.with_extension(ARTIFACT));
    load::refuse_wasm_name(&output)?;
    let Input::Wasm(bytes) = load::read(&args.module)? else {
        let shown = args.module.display();
        return Err(Failure::misuse(anyhow!("`{shown}` is an artifact: it is compiled already")));
    };
    load::refuse_others(&args.module, &bytes)?;
    let engine = engine::engine().map_err(Failure::other)?;
    let artifact = engine
        .precompile_module(&bytes)
        .with_context(|| format!("cannot compile `{}`", args.module.display()))
        .map_err(Failure::misuse)?;
    write(&output, &artifact)
        .with_context(|| format!("cannot write `{}`", output.display()))
        .map_err(Failure::misuse)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes a file beside its place and renames it, since others may have the old one mapped.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    let mut file = tempfile::NamedTempFile::new_in(directory.unwrap_or(Path::new(".")))?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}
