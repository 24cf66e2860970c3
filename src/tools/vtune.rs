//! Intel VTune, through Intel's own library.

use std::sync::Mutex;

use anyhow::Result;
use ittapi::jit::{Jit, MethodLoadBuilder};

use super::Function;

/// The library wants one caller at a time. Never dropped, since that would end the profile.
static JIT: Mutex<Option<Jit>> = Mutex::new(None);

/// Tells of functions. Without VTune this does nothing.
pub(super) fn load(functions: &[Function<'_>]) -> Result<()> {
    let mut jit = JIT.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let jit = jit.get_or_insert_default();
    for Function { name, address, code, lines, .. } in functions {
        let mut method = MethodLoadBuilder::new(name.clone(), *address as *const u8, code.len());
        if let Some((_, line)) = lines.first() {
            method = method.source_file_name(line.file.to_string());
        }
        jit.load_method(method)?;
    }
    Ok(())
}
