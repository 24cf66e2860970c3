//! Memories and tables of the runtime to translate against.

use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value, types};
use cranelift_frontend::FunctionBuilder;
use cranelift_wasm::{HeapAccess, HeapAddress, MemoryEnvironment, TableEnvironment, WasmResult};

use super::{Env, MEMORY, TABLES};

impl MemoryEnvironment for Env {
    fn heap_address(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        _: u32,
        index: Value,
        offset: u64,
        _: u8,
        _: HeapAccess,
    ) -> WasmResult<HeapAddress> {
        let base = Self::read(builder, types::I64, MEMORY);
        let index = builder.ins().uextend(types::I64, index);
        let base = builder.ins().iadd(base, index);
        let base = builder.ins().iadd_imm_u(base, offset as i64);
        let flags = MemFlagsData::new();
        Ok(HeapAddress { base, offset: 0, flags })
    }

    fn memory_size(&mut self, builder: &mut FunctionBuilder<'_>, _: u32) -> WasmResult<Value> {
        Self::index(builder, types::I32, 1)
    }

    fn memory_grow(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        _: u32,
        _: Value,
    ) -> WasmResult<Value> {
        Self::index(builder, types::I32, -1)
    }

    fn memory_fill(
        &mut self,
        _: &mut FunctionBuilder<'_>,
        _: u32,
        _: Value,
        _: Value,
        _: Value,
    ) -> WasmResult<()> {
        Ok(())
    }

    fn memory_copy(
        &mut self,
        _: &mut FunctionBuilder<'_>,
        _: (u32, u32),
        _: Value,
        _: Value,
        _: Value,
    ) -> WasmResult<()> {
        Ok(())
    }

    fn memory_init(
        &mut self,
        _: &mut FunctionBuilder<'_>,
        _: u32,
        _: u32,
        _: Value,
        _: Value,
        _: Value,
    ) -> WasmResult<()> {
        Ok(())
    }

    fn data_drop(&mut self, _: &mut FunctionBuilder<'_>, _: u32) -> WasmResult<()> {
        Ok(())
    }
}

impl TableEnvironment for Env {
    fn table_get(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        _: u32,
        index: Value,
    ) -> WasmResult<Value> {
        let element = Self::element(builder, index);
        let flags = MemFlagsData::trusted();
        Ok(builder.ins().load(types::I64, flags, element, TABLES))
    }

    fn table_set(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        _: u32,
        index: Value,
        value: Value,
    ) -> WasmResult<()> {
        let element = Self::element(builder, index);
        let flags = MemFlagsData::trusted();
        builder.ins().store(flags, value, element, TABLES);
        Ok(())
    }

    fn table_size(&mut self, builder: &mut FunctionBuilder<'_>, _: u32) -> WasmResult<Value> {
        Self::index(builder, types::I32, 10)
    }

    fn table_grow(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        _: u32,
        _: Value,
        _: Value,
    ) -> WasmResult<Value> {
        Self::index(builder, types::I32, -1)
    }

    fn table_fill(
        &mut self,
        _: &mut FunctionBuilder<'_>,
        _: u32,
        _: Value,
        _: Value,
        _: Value,
    ) -> WasmResult<()> {
        Ok(())
    }

    fn table_copy(
        &mut self,
        _: &mut FunctionBuilder<'_>,
        _: (u32, u32),
        _: Value,
        _: Value,
        _: Value,
    ) -> WasmResult<()> {
        Ok(())
    }

    fn table_init(
        &mut self,
        _: &mut FunctionBuilder<'_>,
        _: u32,
        _: u32,
        _: Value,
        _: Value,
        _: Value,
    ) -> WasmResult<()> {
        Ok(())
    }

    fn elem_drop(&mut self, _: &mut FunctionBuilder<'_>, _: u32) -> WasmResult<()> {
        Ok(())
    }
}
