//! What the translator asks of the runtime about memories; what the methods do stands in `memory` and
//! `bulk`.

use cranelift_codegen::ir::Value;
use cranelift_frontend::FunctionBuilder;
use cranelift_wasm::{
    AtomicAddress, HeapAccess, HeapAddress, MemoryEnvironment, WaitWidth, WasmResult,
};

use super::{Env, memory};
use crate::vm::layout::Builtin;

impl MemoryEnvironment for Env<'_> {
    fn heap_address(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        memory: u32,
        index: Value,
        offset: u64,
        size: u8,
        _access: HeapAccess,
    ) -> WasmResult<HeapAddress> {
        Ok(self.address(builder, memory, index, offset, size))
    }

    fn atomic_address(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        at: AtomicAddress,
        size: u8,
        _access: HeapAccess,
    ) -> WasmResult<HeapAddress> {
        Ok(self.aligned_address(builder, at, size))
    }

    fn atomic_wait(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        at: AtomicAddress,
        width: WaitWidth,
        expected: Value,
        timeout: Value,
    ) -> WasmResult<Value> {
        let [index, offset] = self.waiting_address(builder, at);
        let builtin = match width {
            WaitWidth::W32 => Builtin::memory_wait32,
            WaitWidth::W64 => Builtin::memory_wait64,
        };
        let args = [index, offset, expected, timeout];
        let result = self.builtin_of(builder, builtin, &[at.memory], &args);
        Ok(memory::narrow(builder, result.expect("the builtin has a result"), false))
    }

    fn atomic_notify(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        at: AtomicAddress,
        count: Value,
    ) -> WasmResult<Value> {
        let [index, offset] = self.waiting_address(builder, at);
        let args = [index, offset, count];
        let woken = self.builtin_of(builder, Builtin::memory_notify, &[at.memory], &args);
        Ok(memory::narrow(builder, woken.expect("the builtin has a result"), false))
    }

    fn memory_size(&mut self, builder: &mut FunctionBuilder<'_>, memory: u32) -> WasmResult<Value> {
        Ok(self.pages(builder, memory))
    }

    fn memory_grow(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        memory: u32,
        delta: Value,
    ) -> WasmResult<Value> {
        let former = self.builtin_of(builder, Builtin::memory_grow, &[memory], &[delta]);
        let former = former.expect("the builtin has a result");
        Ok(memory::narrow(builder, former, self.is_64(memory)))
    }

    fn memory_fill(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        memory: u32,
        dst: Value,
        byte: Value,
        len: Value,
    ) -> WasmResult<()> {
        if !self.fill_inline(builder, memory, (dst, byte), len) {
            self.fill_of_any_length(builder, memory, (dst, byte), len);
        }
        Ok(())
    }

    fn memory_copy(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        memories: (u32, u32),
        dst: Value,
        src: Value,
        len: Value,
    ) -> WasmResult<()> {
        if !self.copy_inline(builder, memories, (dst, src), len) {
            self.copy_of_any_length(builder, memories, (dst, src), len);
        }
        Ok(())
    }

    fn memory_init(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        memory: u32,
        segment: u32,
        dst: Value,
        src: Value,
        len: Value,
    ) -> WasmResult<()> {
        let args = [dst, src, len];
        self.builtin_of(builder, Builtin::memory_init, &[memory, segment], &args);
        Ok(())
    }

    fn data_drop(&mut self, builder: &mut FunctionBuilder<'_>, segment: u32) -> WasmResult<()> {
        self.builtin_of(builder, Builtin::data_drop, &[segment], &[]);
        Ok(())
    }
}
