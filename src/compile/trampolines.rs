//! The ways in and out of wasm for a function type, as code of their own.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::Compiler;
use super::function::Worker;
use super::stubs;
use crate::types::FuncType;

/// The trampolines of a function type; the code can lie at any address.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TrampolineCode {
    /// Machine code.
    pub(crate) text: Vec<u8>,
    /// The offset of the way in, an [`EnterTrampoline`](crate::vm::layout::EnterTrampoline).
    pub(crate) enter: u32,
    /// The offset of the way out: the entry point, in the convention of wasm functions, of every
    /// host function of the type. Its callee's context is a
    /// [`VMHostContext`](crate::vm::layout::VMHostContext).
    pub(crate) exit: u32,
}

impl Compiler {
    /// Makes the trampolines of a function type.
    ///
    /// # Errors
    ///
    /// When the type has more parameters or results than the code generator can pass.
    pub(crate) fn compile_trampolines(&self, ty: &FuncType) -> Result<TrampolineCode> {
        let metered = self.settings.metered;
        let mut worker = Worker::default();
        let mut text = Vec::new();
        let mut place = |func| -> Result<u32> {
            let code = worker.compile_clif(&*self.targets.normal, func)?;
            ensure!(
                code.relocations.is_empty(),
                "internal error: a trampoline refers to other code"
            );
            text.resize(text.len().next_multiple_of(32), 0xcc);
            let start = text.len() as u32;
            text.extend_from_slice(&code.bytes);
            Ok(start)
        };
        let enter = place(stubs::enter(ty, metered))?;
        let exit = place(stubs::exit(ty, metered))?;
        Ok(TrampolineCode { text, enter, exit })
    }
}
