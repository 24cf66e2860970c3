//! What a translator asks of the runtime about linear memories.

use cranelift_codegen::ir::{MemFlagsData, Value};
use cranelift_frontend::FunctionBuilder;

use crate::{WasmError, WasmResult};

/// Whether an access to linear memory reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeapAccess {
    /// A load operator.
    Load,
    /// A store operator.
    Store,
}

/// What an atomic operator accesses: an index and a constant offset into a memory.
#[derive(Clone, Copy, Debug)]
pub struct AtomicAddress {
    /// The index of the memory.
    pub memory: u32,
    /// The index into it, as wide as its addresses.
    pub index: Value,
    /// What is to be added, without wrapping around.
    pub offset: u64,
}

/// How many bits a wait compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitWidth {
    /// `memory.atomic.wait32`.
    W32,
    /// `memory.atomic.wait64`.
    W64,
}

/// Where a load or store goes: `base + offset`, with the flags to use.
#[derive(Clone, Copy, Debug)]
pub struct HeapAddress {
    /// The native address, to which `offset` is still to be added.
    pub base: Value,
    /// The displacement of the machine instruction.
    pub offset: i32,
    /// Flags of the access, its trap code among them.
    pub flags: MemFlagsData,
}

/// The part of a [`FuncEnvironment`](crate::FuncEnvironment) that makes code for memories.
///
/// The atomic operators need not be there: without them a function that has one is refused.
pub trait MemoryEnvironment {
    /// The address for an access of `size` bytes to `memory` at `index + offset`.
    ///
    /// The access that follows, with the flags that are answered, must trap where any byte lies
    /// outside of the memory; what the environment cannot leave to it, it checks here.
    fn heap_address(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        memory: u32,
        index: Value,
        offset: u64,
        size: u8,
        access: HeapAccess,
    ) -> WasmResult<HeapAddress>;

    /// As [`heap_address`](Self::heap_address), for an atomic access, which must trap as well where
    /// the address is no multiple of `size`.
    fn atomic_address(
        &mut self,
        _builder: &mut FunctionBuilder<'_>,
        _at: AtomicAddress,
        _size: u8,
        _access: HeapAccess,
    ) -> WasmResult<HeapAddress> {
        Err(without_threads())
    }

    /// `memory.atomic.wait32` or `memory.atomic.wait64`: an i32.
    fn atomic_wait(
        &mut self,
        _builder: &mut FunctionBuilder<'_>,
        _at: AtomicAddress,
        _width: WaitWidth,
        _expected: Value,
        _timeout: Value,
    ) -> WasmResult<Value> {
        Err(without_threads())
    }

    /// `memory.atomic.notify`: an i32, how many were woken.
    fn atomic_notify(
        &mut self,
        _builder: &mut FunctionBuilder<'_>,
        _at: AtomicAddress,
        _count: Value,
    ) -> WasmResult<Value> {
        Err(without_threads())
    }

    /// `memory.size`: pages.
    fn memory_size(&mut self, builder: &mut FunctionBuilder<'_>, memory: u32) -> WasmResult<Value>;

    /// `memory.grow`: the former size in pages, or -1.
    fn memory_grow(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        memory: u32,
        delta: Value,
    ) -> WasmResult<Value>;

    /// `memory.fill`.
    fn memory_fill(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        memory: u32,
        dst: Value,
        byte: Value,
        len: Value,
    ) -> WasmResult<()>;

    /// `memory.copy`; `memories` is the destination and the source.
    fn memory_copy(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        memories: (u32, u32),
        dst: Value,
        src: Value,
        len: Value,
    ) -> WasmResult<()>;

    /// `memory.init`.
    fn memory_init(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        memory: u32,
        segment: u32,
        dst: Value,
        src: Value,
        len: Value,
    ) -> WasmResult<()>;

    /// `data.drop`.
    fn data_drop(&mut self, builder: &mut FunctionBuilder<'_>, segment: u32) -> WasmResult<()>;
}

/// The answer of an environment that knows no threads.
fn without_threads() -> WasmError {
    WasmError::Limit("this environment has no atomic operators")
}
