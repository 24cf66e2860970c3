//! What a translator asks of the runtime about tables.

use cranelift_codegen::ir::Value;
use cranelift_frontend::FunctionBuilder;

use crate::WasmResult;

/// The part of a [`FuncEnvironment`](crate::FuncEnvironment) that makes code for tables.
pub trait TableEnvironment {
    /// `table.get`.
    fn table_get(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        table: u32,
        index: Value,
    ) -> WasmResult<Value>;

    /// `table.set`.
    fn table_set(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        table: u32,
        index: Value,
        value: Value,
    ) -> WasmResult<()>;

    /// `table.size`: elements.
    fn table_size(&mut self, builder: &mut FunctionBuilder<'_>, table: u32) -> WasmResult<Value>;

    /// `table.grow`: the former size in elements, or -1.
    fn table_grow(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        table: u32,
        init: Value,
        delta: Value,
    ) -> WasmResult<Value>;

    /// `table.fill`.
    fn table_fill(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        table: u32,
        dst: Value,
        value: Value,
        len: Value,
    ) -> WasmResult<()>;

    /// `table.copy`; `tables` is the destination and the source.
    fn table_copy(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        tables: (u32, u32),
        dst: Value,
        src: Value,
        len: Value,
    ) -> WasmResult<()>;

    /// `table.init`.
    fn table_init(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        table: u32,
        segment: u32,
        dst: Value,
        src: Value,
        len: Value,
    ) -> WasmResult<()>;

    /// `elem.drop`.
    fn elem_drop(&mut self, builder: &mut FunctionBuilder<'_>, segment: u32) -> WasmResult<()>;
}
