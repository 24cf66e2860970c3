//! One type: its record, and for functions the ways between host and wasm.

use std::fmt;
use std::ops::Deref;
use std::ptr;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result};

use super::{Group, Registry};
use crate::compile::TrampolineCode;
use crate::engine::Engine;
use crate::tools::{self, Registration};
use crate::types::composite::SubType;
use crate::types::{ConcreteType, FuncType};
use crate::vm::code::Code;
use crate::vm::layout::{EnterTrampoline, ObjectLayout, VMType};

/// A type in use.
#[repr(C)]
pub(crate) struct DefinedType {
    /// First, so that a pointer to it is a pointer to the type.
    record: VMType,
    /// With handles for all declared types in it.
    ty: SubType,
    handle: ConcreteType,
    trampolines: OnceLock<Trampolines>,
    /// Where the record has the types above it.
    _supers: Box<[*const VMType]>,
}

// SAFETY: the pointers are to types that this one's group keeps, which are such themselves.
unsafe impl Send for DefinedType {}
// SAFETY: as above.
unsafe impl Sync for DefinedType {}

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

impl DefinedType {
    /// A type below those of `supers`, which its group keeps.
    pub(super) fn new(ty: SubType, handle: ConcreteType, supers: Box<[*const VMType]>) -> Self {
        let layout = ObjectLayout::of(&ty.composite);
        let record = VMType::new(handle.id, handle.stamp, &supers, layout);
        Self { record, ty, handle, trampolines: OnceLock::new(), _supers: supers }
    }

    /// What is above those that extend this type, whose place is `at`.
    pub(super) fn above_subtypes(&self, at: *const Self) -> Box<[*const VMType]> {
        self._supers.iter().copied().chain([at.cast()]).collect()
    }

    /// The type that a record is part of.
    ///
    /// # Safety
    ///
    /// The record must be one of [`Self::record`], and its type must be kept for as long as the
    /// answer is used.
    pub(crate) unsafe fn of<'a>(record: *const VMType) -> &'a Self {
        // SAFETY: by contract it is the first field of a type, made from a pointer to all of that.
        unsafe { &*record.cast() }
    }

    /// The type as machine code compares it. It stays where it is as long as the type is kept.
    pub(crate) fn record(&self) -> *const VMType {
        ptr::from_ref(self).cast()
    }

    /// The type as declared, with handles for the types that it names.
    pub(crate) fn ty(&self) -> &SubType {
        &self.ty
    }

    /// The type as others name it.
    pub(crate) fn handle(&self) -> ConcreteType {
        self.handle
    }

    /// The type of functions.
    ///
    /// # Panics
    ///
    /// When it is none.
    pub(crate) fn func(&self) -> &FuncType {
        self.ty.func().expect("validated: the type of a function")
    }

    /// The ways in and out, which are compiled when they are asked for first.
    pub(crate) fn trampolines(&self, engine: &Engine) -> Result<&Trampolines> {
        if let Some(trampolines) = self.trampolines.get() {
            return Ok(trampolines);
        }
        self.publish(engine, &engine.compiler().compile_trampolines(self.func())?)
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
        let debugger = tools::tell_of_trampolines(engine, self.func(), &code, compiled.exit)
            .context("cannot tell of a trampoline")?;
        let new = Trampolines { enter, exit, _debugger: debugger, _code: code };
        Ok(self.trampolines.get_or_init(|| new))
    }
}

/// A type in use, which is kept.
#[derive(Clone)]
pub(crate) struct TypeHandle {
    group: Arc<Group>,
    index: u32,
}

impl TypeHandle {
    /// The type at this place of a group.
    pub(crate) fn new(group: Arc<Group>, index: u32) -> Self {
        Self { group, index }
    }

    /// Whether the type is one of these.
    pub(crate) fn is_of(&self, registry: &Registry) -> bool {
        self.group.is_of(registry)
    }

    /// What keeps the type.
    pub(crate) fn into_group(self) -> Arc<Group> {
        self.group
    }
}

impl Deref for TypeHandle {
    type Target = DefinedType;

    fn deref(&self) -> &DefinedType {
        &self.group.types()[self.index as usize]
    }
}

impl fmt::Debug for TypeHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.handle, self.ty.composite)
    }
}
