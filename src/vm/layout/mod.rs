//! What machine code addresses: the one thing that `compile` and `vm` share.
//!
//! Every wasm function takes two hidden arguments, the context of its own instance (the
//! *callee's*) and the context of its caller. A context is a [`VMContext`] header followed by
//! arrays whose places [`ContextLayout`] computes from a module's counts:
//!
//! ```text
//!   VMContext            header: store, builtins, types, deadline, instance
//!   imported functions   [VMFunctionImport]
//!   imported tables      [*mut VMTable]
//!   imported memories    [*mut VMMemory]
//!   imported globals     [*mut VMGlobal]
//!   tables               [VMTable]          defined by the module
//!   memories             [VMMemory]         defined by the module
//!   globals              [VMGlobal]         defined by the module
//!   function references  [VMFuncRef]        for each escaping function
//! ```

mod builtins;
mod classes;
mod handlers;
mod objects;
mod records;
mod saves;
mod sites;
mod stack_maps;
mod types;

use std::sync::atomic::AtomicU64;

use crate::types::MemoryType;

pub(crate) use builtins::{
    BYTES_PER_CHUNK, BYTES_PER_FUEL, Builtin, BuiltinType, ELEMENTS_PER_FUEL, for_each_builtin,
};
pub(crate) use classes::{CLASSES, MAX_CELL, VMHeap, class_of, size_of_cell};
pub(crate) use handlers::{Clause, ContextAt, Handler};
pub(crate) use objects::{
    FIELDS, MAX_EXTERNS, OBJECT_ALIGN, ObjectKind, ObjectLayout, Reference, VMObject, offsets,
    shift,
};
pub(crate) use saves::{PRESERVED, SavedRegisters};
pub use sites::TrapCode;
pub(crate) use sites::{FuelAt, SiteTable, TrapSite};
pub(crate) use stack_maps::StackMaps;
pub(crate) use types::VMType;

/// The size of a page of linear memory, in bytes (core specification, 4.2.8).
pub(crate) const WASM_PAGE_SIZE: u64 = 1 << 16;

/// The most pages that a 32-bit memory can have.
pub(crate) const MAX_PAGES_32: u64 = 1 << 16;

/// The part of a store that machine code reads and writes.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct VMStore {
    /// A wasm function whose frame would end below this address traps in its prologue.
    pub(crate) stack_limit: usize,
    /// What is left of the current slice of fuel; below zero when it is gone. Up to date while
    /// the host runs; while wasm runs the counter is in registers.
    pub(crate) fuel: i64,
    /// The frame pointer of the innermost wasm frame, written when wasm calls the host.
    pub(crate) exit_fp: usize,
    /// The address in that frame to which the host returns.
    pub(crate) exit_pc: usize,
    /// The start of the store's heap of structs and arrays, from which references count; null before
    /// there is a module with such types.
    pub(crate) heap: *mut u8,
    /// From which small objects are made; null as long as `heap` is.
    pub(crate) cells: *mut VMHeap,
}

/// The head of every context, an instance's or a host function's.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct VMContext {
    /// The store that the context belongs to.
    pub(crate) store: *mut VMStore,
    /// The entry points of [`Builtin`]s, in their order.
    pub(crate) builtins: *const *const u8,
    /// The engine's record of each of the module's types.
    pub(crate) types: *const *const VMType,
    /// When the guest is to stop; null where code does not look at it.
    pub(crate) deadline: *const VMDeadline,
    /// The place of the instance in its store, plus one; zero for a host function. Machine code
    /// leaves it alone.
    pub(crate) instance: usize,
}

/// When a store's guests are to stop: when the epoch has reached the deadline.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct VMDeadline {
    /// The first epoch that is too late, or zero. Any thread may change it at any time.
    pub(crate) word: AtomicU64,
    /// Where the engine's epoch is, which any thread may change; null where there is none, and the
    /// epoch is zero.
    pub(crate) epoch: *const AtomicU64,
}

/// The context of a host function: what the exit trampoline calls.
#[repr(C)]
pub(crate) struct VMHostContext {
    /// The common head.
    pub(crate) head: VMContext,
    /// Takes this context, the caller's context, and the arguments, which it overwrites with the
    /// results. It returns only if the function did; a trap unwinds to the entry of wasm.
    pub(crate) call: unsafe extern "C" fn(*mut VMHostContext, *mut VMContext, *mut ValRaw),
}

/// A function reference is the address of such a record; null is zero.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct VMFuncRef {
    /// The entry point, in the convention of wasm functions.
    pub(crate) code: *const u8,
    /// The callee's context.
    pub(crate) context: *mut VMContext,
    /// The engine's trampoline from the host for this signature.
    pub(crate) enter: EnterTrampoline,
    /// The function's type.
    pub(crate) ty: *const VMType,
}

/// Enters wasm from the host: callee's context, caller's context, entry point, and arguments,
/// which are overwritten with the results.
pub(crate) type EnterTrampoline =
    unsafe extern "C" fn(*mut VMContext, *mut VMContext, *const u8, *mut ValRaw);

/// An imported function, as a direct call needs it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct VMFunctionImport {
    /// The entry point.
    pub(crate) code: *const u8,
    /// The callee's context.
    pub(crate) context: *mut VMContext,
    /// The function as a reference.
    pub(crate) func_ref: *mut VMFuncRef,
}

/// A table: function references take 8 bytes each, other references 4.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct VMTable {
    /// The first element.
    pub(crate) base: *mut u8,
    /// The number of elements.
    pub(crate) len: usize,
}

/// A linear memory.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct VMMemory {
    /// The first byte. It never changes for a memory whose whole range is reserved.
    pub(crate) base: *mut u8,
    /// The size in bytes; of a shared memory, where its size is, which other threads change.
    pub(crate) len: usize,
}

/// A global: a value of any type, at its start.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct VMGlobal(pub(crate) [u8; 16]);

/// A value on its way between host and wasm, little-endian at its start, the rest zero or
/// unspecified.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug)]
pub struct ValRaw(pub(crate) [u8; 16]);

impl ValRaw {
    /// All bytes zero: zero of each number type, null of each reference type.
    pub(crate) const ZERO: Self = Self([0; 16]);
}

/// How machine code checks an access to a memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemoryStyle {
    /// `reserved` bytes are set aside from the start and the base never changes; behind them lie
    /// `guard` bytes that fault. Pages beyond the current size fault, too.
    Static {
        /// Bytes of address space, at least the memory's maximum.
        reserved: u64,
        /// Bytes behind them.
        guard: u64,
    },
    /// The base may change when the memory grows; every access compares with the current size.
    Dynamic,
}

impl MemoryStyle {
    /// The style of a memory of this type, under the engine's settings (in bytes).
    ///
    /// A memory passed for an import has at most the maximum that the import declares, so that
    /// code which relies on `Static` only ever meets such memories; code for `Dynamic` works on
    /// both. Where pages are bytes a memory may end within a page of the system's.
    pub(crate) fn of(ty: &MemoryType, static_maximum: u64, static_guard: u64) -> Self {
        if ty.page_size() == WASM_PAGE_SIZE && ty.maximum_bytes() <= static_maximum {
            Self::Static { reserved: static_maximum, guard: static_guard }
        } else {
            Self::Dynamic
        }
    }
}

/// How many of each thing a context holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ContextCounts {
    pub(crate) imported_functions: u32,
    pub(crate) imported_tables: u32,
    pub(crate) imported_memories: u32,
    pub(crate) imported_globals: u32,
    pub(crate) tables: u32,
    pub(crate) memories: u32,
    pub(crate) globals: u32,
    pub(crate) func_refs: u32,
}

/// The offsets, in bytes from the start of a context, of its arrays.
///
/// A module's counts are bounded by validation (1,000,000 functions and so on), so that every
/// offset fits the 32-bit displacement of a machine instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ContextLayout {
    pub(crate) counts: ContextCounts,
    imported_functions: u32,
    imported_tables: u32,
    imported_memories: u32,
    imported_globals: u32,
    tables: u32,
    memories: u32,
    globals: u32,
    func_refs: u32,
    size: u32,
}

impl ContextLayout {
    /// Lays the arrays out.
    pub(crate) fn new(counts: ContextCounts) -> Self {
        fn place<T>(end: &mut u32, count: u32) -> u32 {
            let start = end.next_multiple_of(align_of::<T>() as u32);
            *end = start + count * size_of::<T>() as u32;
            start
        }
        let mut end = size_of::<VMContext>() as u32;
        let imported_functions = place::<VMFunctionImport>(&mut end, counts.imported_functions);
        let imported_tables = place::<*mut VMTable>(&mut end, counts.imported_tables);
        let imported_memories = place::<*mut VMMemory>(&mut end, counts.imported_memories);
        let imported_globals = place::<*mut VMGlobal>(&mut end, counts.imported_globals);
        let tables = place::<VMTable>(&mut end, counts.tables);
        let memories = place::<VMMemory>(&mut end, counts.memories);
        let globals = place::<VMGlobal>(&mut end, counts.globals);
        let func_refs = place::<VMFuncRef>(&mut end, counts.func_refs);
        let size = end.next_multiple_of(16);
        Self {
            counts,
            imported_functions,
            imported_tables,
            imported_memories,
            imported_globals,
            tables,
            memories,
            globals,
            func_refs,
            size,
        }
    }

    /// The size of a whole context in bytes, a multiple of 16.
    pub(crate) fn size(&self) -> usize {
        self.size as usize
    }

    /// The [`VMFunctionImport`] of imported function `index`.
    pub(crate) fn imported_function(&self, index: u32) -> u32 {
        debug_assert!(index < self.counts.imported_functions);
        self.imported_functions + index * size_of::<VMFunctionImport>() as u32
    }

    /// The `*mut VMTable` of imported table `index`.
    pub(crate) fn imported_table(&self, index: u32) -> u32 {
        debug_assert!(index < self.counts.imported_tables);
        self.imported_tables + index * size_of::<*mut VMTable>() as u32
    }

    /// The `*mut VMMemory` of imported memory `index`.
    pub(crate) fn imported_memory(&self, index: u32) -> u32 {
        debug_assert!(index < self.counts.imported_memories);
        self.imported_memories + index * size_of::<*mut VMMemory>() as u32
    }

    /// The `*mut VMGlobal` of imported global `index`.
    pub(crate) fn imported_global(&self, index: u32) -> u32 {
        debug_assert!(index < self.counts.imported_globals);
        self.imported_globals + index * size_of::<*mut VMGlobal>() as u32
    }

    /// The [`VMTable`] of defined table `index` (counted without imports).
    pub(crate) fn table(&self, index: u32) -> u32 {
        debug_assert!(index < self.counts.tables);
        self.tables + index * size_of::<VMTable>() as u32
    }

    /// The [`VMMemory`] of defined memory `index` (counted without imports).
    pub(crate) fn memory(&self, index: u32) -> u32 {
        debug_assert!(index < self.counts.memories);
        self.memories + index * size_of::<VMMemory>() as u32
    }

    /// The [`VMGlobal`] of defined global `index` (counted without imports).
    pub(crate) fn global(&self, index: u32) -> u32 {
        debug_assert!(index < self.counts.globals);
        self.globals + index * size_of::<VMGlobal>() as u32
    }

    /// The [`VMFuncRef`] in `slot`, the position among the module's escaping functions.
    pub(crate) fn func_ref(&self, slot: u32) -> u32 {
        debug_assert!(slot < self.counts.func_refs);
        self.func_refs + slot * size_of::<VMFuncRef>() as u32
    }
}
