//! References and tables.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value};
use wasmparser::{HeapType, RefType};

use crate::translation::Translation;
use crate::{FuncEnvironment, WasmError, WasmResult};

impl<E: FuncEnvironment> Translation<'_, '_, E> {
    /// `ref.null`.
    pub(crate) fn ref_null(&mut self, ty: HeapType) -> WasmResult<()> {
        let ty = RefType::new(true, ty)
            .ok_or(WasmError::Limit("the index of a reference's type exceeds 2^20"))?;
        let value = self.env.ref_null(&mut self.builder, ty)?;
        self.stacks.push(value);
        Ok(())
    }

    /// `ref.is_null`.
    pub(crate) fn ref_is_null(&mut self) -> WasmResult<()> {
        let value = self.stacks.pop();
        let value = self.env.ref_is_null(&mut self.builder, value)?;
        self.stacks.push(value);
        Ok(())
    }

    /// `ref.as_non_null`.
    pub(crate) fn ref_as_non_null(&mut self) -> WasmResult<()> {
        let value = self.stacks.pop();
        self.env.ref_as_non_null(&mut self.builder, value)?;
        self.stacks.push(value);
        Ok(())
    }

    /// `br_on_null`: where the branch is taken the reference goes.
    pub(crate) fn br_on_null(&mut self, depth: u32) -> WasmResult<()> {
        let value = self.stacks.pop();
        let is_null = self.is_null(value)?;
        self.branch_if(is_null, depth)?;
        self.stacks.push(value);
        Ok(())
    }

    /// `br_on_non_null`: where the branch is not taken the reference goes.
    pub(crate) fn br_on_non_null(&mut self, depth: u32) -> WasmResult<()> {
        let value = self.stacks.peek(1)[0];
        let is_null = self.is_null(value)?;
        let ty = self.builder.func.dfg.value_type(is_null);
        let zero = self.builder.ins().iconst(ty, 0);
        let is_not = self.builder.ins().icmp(IntCC::Equal, is_null, zero);
        self.branch_if(is_not, depth)?;
        self.stacks.pop();
        Ok(())
    }

    /// Whether a reference is null, as a condition.
    fn is_null(&mut self, value: Value) -> WasmResult<Value> {
        let is_null = self.env.ref_is_null(&mut self.builder, value)?;
        Ok(self.comparison_behind(is_null).unwrap_or(is_null))
    }

    /// `call_ref`.
    pub(crate) fn call_ref(&mut self, ty: u32) -> WasmResult<()> {
        let callee = self.stacks.pop();
        let params = self.env.type_at(ty).params().len();
        let args = self.stacks.peek(params);
        let results = self.env.call_ref(&mut self.builder, ty, callee, args)?;
        self.stacks.drop(params);
        self.stacks.operands.extend(results);
        Ok(())
    }

    /// `ref.func`.
    pub(crate) fn ref_func(&mut self, function: u32) -> WasmResult<()> {
        let value = self.env.ref_func(&mut self.builder, function)?;
        self.stacks.push(value);
        Ok(())
    }

    /// `table.get`.
    pub(crate) fn table_get(&mut self, table: u32) -> WasmResult<()> {
        let index = self.stacks.pop();
        let value = self.env.table_get(&mut self.builder, table, index)?;
        self.stacks.push(value);
        Ok(())
    }

    /// `table.set`.
    pub(crate) fn table_set(&mut self, table: u32) -> WasmResult<()> {
        let (index, value) = self.stacks.pop2();
        self.env.table_set(&mut self.builder, table, index, value)
    }

    /// `table.size`.
    pub(crate) fn table_size(&mut self, table: u32) -> WasmResult<()> {
        let elements = self.env.table_size(&mut self.builder, table)?;
        self.stacks.push(elements);
        Ok(())
    }

    /// `table.grow`.
    pub(crate) fn table_grow(&mut self, table: u32) -> WasmResult<()> {
        let (init, delta) = self.stacks.pop2();
        let elements = self.env.table_grow(&mut self.builder, table, init, delta)?;
        self.stacks.push(elements);
        Ok(())
    }

    /// `table.fill`.
    pub(crate) fn table_fill(&mut self, table: u32) -> WasmResult<()> {
        let (dst, value, len) = self.stacks.pop3();
        self.env.table_fill(&mut self.builder, table, dst, value, len)
    }

    /// `table.copy`.
    pub(crate) fn table_copy(&mut self, dst_table: u32, src_table: u32) -> WasmResult<()> {
        let (dst, src, len) = self.stacks.pop3();
        let tables = (dst_table, src_table);
        self.env.table_copy(&mut self.builder, tables, dst, src, len)
    }

    /// `table.init`.
    pub(crate) fn table_init(&mut self, table: u32, segment: u32) -> WasmResult<()> {
        let (dst, src, len) = self.stacks.pop3();
        self.env.table_init(&mut self.builder, table, segment, dst, src, len)
    }

    /// `elem.drop`.
    pub(crate) fn elem_drop(&mut self, segment: u32) -> WasmResult<()> {
        self.env.elem_drop(&mut self.builder, segment)
    }
}
