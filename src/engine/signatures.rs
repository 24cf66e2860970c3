//! The function types that an engine's modules and host functions use, each with a small id.
//!
//! `call_indirect` compares ids. An id is given out again only after everything that uses its type
//! is gone, so that modules which come and go, each with types of its own, leave nothing behind.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};

use anyhow::Result;

use super::Engine;
use crate::compile::TrampolineCode;
use crate::tools::{self, Registration};
use crate::types::FuncType;
use crate::vm::code::Code;
use crate::vm::layout::EnterTrampoline;

/// A function type in use.
pub(crate) struct Signature {
    ty: FuncType,
    id: u32,
    trampolines: OnceLock<Trampolines>,
    registry: Arc<Registry>,
}

/// How the host and wasm call each other with a function type.
pub(crate) struct Trampolines {
    /// Enters wasm.
    pub(crate) enter: EnterTrampoline,
    /// The entry point of host functions.
    pub(crate) exit: *const u8,
    _debugger: Option<Registration>,
    /// Keeps both.
    _code: Code,
}

// SAFETY: the pointers are to code that is kept beside them.
unsafe impl Send for Trampolines {}
// SAFETY: as above.
unsafe impl Sync for Trampolines {}

/// The types in use.
#[derive(Default)]
pub(crate) struct Registry(Mutex<Types>);

#[derive(Default)]
struct Types {
    by_type: HashMap<FuncType, u32>,
    /// The signature of each id. One that cannot be upgraded is being dropped.
    by_id: Vec<Weak<Signature>>,
    free: Vec<u32>,
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Types> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The entry of a type.
    pub(crate) fn signature(self: &Arc<Self>, ty: &FuncType) -> Arc<Signature> {
        let mut types = self.lock();
        let known = types.by_type.get(ty).and_then(|&id| types.by_id[id as usize].upgrade());
        if let Some(signature) = known {
            return signature;
        }
        let id = types.free.pop().unwrap_or_else(|| {
            types.by_id.push(Weak::new());
            u32::try_from(types.by_id.len() - 1).expect("fewer than 2^32 types in use")
        });
        let signature = Arc::new(Signature {
            ty: ty.clone(),
            id,
            trampolines: OnceLock::new(),
            registry: self.clone(),
        });
        types.by_id[id as usize] = Arc::downgrade(&signature);
        types.by_type.insert(ty.clone(), id);
        signature
    }
}

impl Signature {
    /// The type.
    pub(crate) fn ty(&self) -> &FuncType {
        &self.ty
    }

    /// What tells the type from the others that are in use.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// The ways in and out, which are compiled when they are asked for first.
    pub(crate) fn trampolines(&self, engine: &Engine) -> Result<&Trampolines> {
        if let Some(trampolines) = self.trampolines.get() {
            return Ok(trampolines);
        }
        self.publish(engine, &engine.compiler().compile_trampolines(&self.ty)?)
    }

    /// The ways in and out, which are these if there were none.
    pub(crate) fn publish(
        &self,
        engine: &Engine,
        compiled: &TrampolineCode,
    ) -> Result<&Trampolines> {
        if let Some(trampolines) = self.trampolines.get() {
            return Ok(trampolines);
        }
        let code = Code::publish(&compiled.text, Default::default())?;
        // SAFETY: a compiler with our settings made a function of this type at this offset.
        let enter =
            unsafe { std::mem::transmute::<*const u8, EnterTrampoline>(code.at(compiled.enter)) };
        let exit = code.at(compiled.exit);
        // Another thread may have been faster; its code then stays.
        let debugger = tools::tell_of_trampolines(engine, &self.ty, &code, compiled.exit)?;
        let new = Trampolines { enter, exit, _debugger: debugger, _code: code };
        Ok(self.trampolines.get_or_init(|| new))
    }
}

impl Drop for Signature {
    fn drop(&mut self) {
        let mut types = self.registry.lock();
        // The type may have come back under another id meanwhile.
        if types.by_type.get(&self.ty) == Some(&self.id) {
            types.by_type.remove(&self.ty);
        }
        types.free.push(self.id);
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} {}", self.id, self.ty)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The lock is given back before an entry, which might be the last of its kind, is dropped.
        let entries: Vec<_> = self.lock().by_id.iter().filter_map(Weak::upgrade).collect();
        f.debug_list().entries(entries).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ValType;

    #[test]
    fn ids_are_shared_while_in_use_and_reused_after() {
        let registry = Arc::new(Registry::default());
        let types = [ValType::I32, ValType::I64].map(|ty| FuncType::new([ty], []));
        let first = registry.signature(&types[0]);
        assert_eq!(first.id(), registry.signature(&types[0]).id());
        let second = registry.signature(&types[1]);
        assert_ne!(first.id(), second.id());
        let id = first.id();
        drop(first);
        assert_eq!(registry.signature(&FuncType::new([], [])).id(), id);
    }
}
