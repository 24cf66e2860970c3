//! What the translator asks of the runtime about tables; what the methods do stands in `tables`.

use cranelift_codegen::ir::Value;
use cranelift_frontend::FunctionBuilder;
use cranelift_wasm::{TableEnvironment, WasmResult};

use super::{Env, memory};
use crate::vm::layout::Builtin;

impl TableEnvironment for Env<'_> {
    fn table_get(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        table: u32,
        index: Value,
    ) -> WasmResult<Value> {
        Ok(self.read_element(builder, table, index))
    }

    fn table_set(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        table: u32,
        index: Value,
        value: Value,
    ) -> WasmResult<()> {
        self.write_element(builder, table, index, value);
        Ok(())
    }

    fn table_size(&mut self, builder: &mut FunctionBuilder<'_>, table: u32) -> WasmResult<Value> {
        let elements = self.table_len(builder, table);
        Ok(memory::narrow(builder, elements, self.is_table_64(table)))
    }

    fn table_grow(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        table: u32,
        init: Value,
        delta: Value,
    ) -> WasmResult<Value> {
        let former = self.builtin_of(builder, Builtin::table_grow, &[table], &[init, delta]);
        let former = former.expect("the builtin has a result");
        Ok(memory::narrow(builder, former, self.is_table_64(table)))
    }

    fn table_fill(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        table: u32,
        dst: Value,
        value: Value,
        len: Value,
    ) -> WasmResult<()> {
        self.builtin_of(builder, Builtin::table_fill, &[table], &[dst, value, len]);
        Ok(())
    }

    fn table_copy(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        tables: (u32, u32),
        dst: Value,
        src: Value,
        len: Value,
    ) -> WasmResult<()> {
        let tables = [tables.0, tables.1];
        self.builtin_of(builder, Builtin::table_copy, &tables, &[dst, src, len]);
        Ok(())
    }

    fn table_init(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        table: u32,
        segment: u32,
        dst: Value,
        src: Value,
        len: Value,
    ) -> WasmResult<()> {
        let args = [dst, src, len];
        self.builtin_of(builder, Builtin::table_init, &[table, segment], &args);
        Ok(())
    }

    fn elem_drop(&mut self, builder: &mut FunctionBuilder<'_>, segment: u32) -> WasmResult<()> {
        self.builtin_of(builder, Builtin::elem_drop, &[segment], &[]);
        Ok(())
    }
}
