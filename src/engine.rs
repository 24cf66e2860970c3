//! Engines: a compiler, and what the stores of a process share.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, RwLock};

use anyhow::{Context, Result};
use lampwick_fibers::StackPool;

use crate::compile::Compiler;
use crate::config::Config;
use crate::types::FuncType;
use crate::vm::code::Code;
use crate::vm::layout::EnterTrampoline;
use crate::vm::memory::MemoryPool;
use crate::vm::signals;

/// A compiler with its configuration, and the stacks, memories and types that stores share.
///
/// Cloning is cheap and gives the same engine. What belongs to one engine cannot be used with another.
///
/// Stacks and reservations of address space that guests no longer use stay with the engine, for the next
/// ones.
#[derive(Clone, Debug)]
pub struct Engine(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    compiler: Compiler,
    stacks: StackPool,
    memories: Arc<MemoryPool>,
    signatures: RwLock<Signatures>,
}

/// The function types that the engine has met; a type's place is its id.
#[derive(Debug, Default)]
struct Signatures {
    ids: HashMap<FuncType, u32>,
    list: Vec<Signature>,
}

/// A function type, and how the host and wasm call each other with it.
#[derive(Clone)]
pub(crate) struct Signature {
    pub(crate) id: u32,
    pub(crate) ty: FuncType,
    /// Enters wasm.
    pub(crate) enter: EnterTrampoline,
    /// The entry point of host functions.
    pub(crate) exit: *const u8,
    /// Keeps both.
    _code: Arc<Code>,
}

// SAFETY: the pointers are to code that the signature keeps.
unsafe impl Send for Signature {}
// SAFETY: as above.
unsafe impl Sync for Signature {}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} {}", self.id, self.ty)
    }
}

impl Default for Engine {
    /// An engine with the default configuration.
    ///
    /// # Panics
    ///
    /// Panics where [`Engine::new`] fails.
    fn default() -> Self {
        Self::new(&Config::default()).expect("the default configuration suits this machine")
    }
}

impl Engine {
    /// An engine with a copy of this configuration.
    ///
    /// The first engine of a process installs handlers for the signals by which the machine reports
    /// a guest's faults (`SIGSEGV`, `SIGBUS`, `SIGILL`, `SIGFPE`). They pass on what is none.
    ///
    /// # Errors
    ///
    /// Fails if the settings contradict each other, if a Cranelift setting is unknown, or if this machine
    /// lacks what generated code needs.
    pub fn new(config: &Config) -> Result<Self> {
        let compiler = Compiler::new(config.compiler_settings())?;
        let stacks = config.stacks()?.build().context("cannot make stacks of this size")?;
        signals::install();
        Ok(Self(Arc::new(Inner {
            compiler,
            stacks,
            memories: MemoryPool::new(config.memory),
            signatures: RwLock::default(),
            config: config.clone(),
        })))
    }

    /// The configuration that the engine was made with.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Whether these are the same engine, and not just two with the same configuration.
    pub fn same(a: &Self, b: &Self) -> bool {
        Arc::ptr_eq(&a.0, &b.0)
    }

    pub(crate) fn compiler(&self) -> &Compiler {
        &self.0.compiler
    }

    pub(crate) fn stacks(&self) -> &StackPool {
        &self.0.stacks
    }

    pub(crate) fn memories(&self) -> &Arc<MemoryPool> {
        &self.0.memories
    }

    pub(crate) fn metered(&self) -> bool {
        self.0.config.compiler.metered
    }

    pub(crate) fn is_async(&self) -> bool {
        self.0.config.async_support
    }

    /// The engine's entry for a function type, whose trampolines are compiled when it is met first.
    pub(crate) fn signature(&self, ty: &FuncType) -> Result<Signature> {
        let signatures = self.0.signatures.read().unwrap_or_else(|e| e.into_inner());
        if let Some(&id) = signatures.ids.get(ty) {
            return Ok(signatures.list[id as usize].clone());
        }
        drop(signatures);
        let code = self.0.compiler.compile_trampolines(ty)?;
        let published = Arc::new(Code::publish(&code.text, Default::default())?);
        let mut signatures = self.0.signatures.write().unwrap_or_else(|e| e.into_inner());
        let Signatures { ids, list } = &mut *signatures;
        // Another thread may have been faster; its entry then stays.
        let id = *ids.entry(ty.clone()).or_insert_with(|| {
            let id = u32::try_from(list.len()).expect("fewer than 2^32 types");
            // SAFETY: the compiler made a function of this type at this offset.
            let enter = unsafe {
                std::mem::transmute::<*const u8, EnterTrampoline>(published.at(code.enter))
            };
            let exit = published.at(code.exit);
            list.push(Signature { id, ty: ty.clone(), enter, exit, _code: published });
            id
        });
        Ok(list[id as usize].clone())
    }

    /// The entry with this id, which the engine gave out.
    pub(crate) fn signature_by_id(&self, id: u32) -> Signature {
        let signatures = self.0.signatures.read().unwrap_or_else(|e| e.into_inner());
        signatures.list[id as usize].clone()
    }
}
