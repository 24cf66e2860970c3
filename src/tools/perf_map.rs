//! `/tmp/perf-<pid>.map`: a line for each function, with address, size and name. The format is
//! that of Linux, `tools/perf/Documentation/jit-interface.txt`.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

use anyhow::{Context, Result};

use super::{Function, file};

/// The file of the process with this id; a fork has another.
static MAP: Mutex<Option<(u32, File)>> = Mutex::new(None);

/// Creates the file, unless that was done.
pub(super) fn open() -> Result<()> {
    lock().map(drop)
}

/// Adds functions.
pub(super) fn write(functions: &[Function<'_>]) -> Result<()> {
    let mut text = String::new();
    for Function { name, address, code, .. } in functions {
        let _ = writeln!(text, "{address:x} {:x} {name}", code.len());
    }
    let mut map = lock()?;
    let (_, file) = map.as_mut().expect("opened by `lock`");
    Ok(file.write_all(text.as_bytes())?)
}

fn lock() -> Result<MutexGuard<'static, Option<(u32, File)>>> {
    let mut map = MAP.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let pid = std::process::id();
    if map.as_ref().is_none_or(|(owner, _)| *owner != pid) {
        let path = PathBuf::from(format!("/tmp/perf-{pid}.map"));
        let file = file::create(&path);
        let file = file.with_context(|| format!("cannot create `{}`", path.display()))?;
        *map = Some((pid, file));
    }
    Ok(map)
}
