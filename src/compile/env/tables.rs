//! Tables: where an element is, and whether there is one.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::FunctionBuilder;

use super::memory::widen;
use super::{Env, Region};
use crate::compile::signature::{POINTER, clif_type};
use crate::compile::traps;
use crate::vm::layout::VMTable;

impl Env<'_> {
    /// `table.get`.
    pub(super) fn read_element(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        table: u32,
        index: Value,
    ) -> Value {
        let address = self.element(builder, table, index);
        let flags = self.trusted(builder, Region::Table);
        let ty = self.module.info.tables[table as usize].element();
        let value = builder.ins().load(clif_type(ty), flags, address, 0);
        self.declare(builder, ty, value);
        value
    }

    /// `table.set`.
    pub(super) fn write_element(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        table: u32,
        index: Value,
        value: Value,
    ) {
        let address = self.element(builder, table, index);
        let flags = self.trusted(builder, Region::Table);
        builder.ins().store(flags, value, address, 0);
    }

    /// The number of elements, an i64.
    pub(super) fn table_len(&mut self, builder: &mut FunctionBuilder<'_>, table: u32) -> Value {
        if let Some(len) = self.fixed_len(table) {
            return builder.ins().iconst(types::I64, len as i64);
        }
        let (record, offset) = self.table_record(builder, table);
        let len = offset + std::mem::offset_of!(VMTable, len) as u32;
        self.load_field(builder, types::I64, record, len)
    }

    /// The number of elements of a table that can neither grow nor, by the rules for imports, be
    /// larger than its type says. It never moves.
    fn fixed_len(&self, table: u32) -> Option<u64> {
        let ty = &self.module.info.tables[table as usize];
        ty.maximum64().filter(|&maximum| maximum == ty.minimum64())
    }

    /// Whether indices of a table have 64 bits.
    pub(super) fn is_table_64(&self, table: u32) -> bool {
        self.module.info.tables[table as usize].is_64()
    }

    /// The address of element `index`; traps if there is none.
    fn element(&mut self, builder: &mut FunctionBuilder<'_>, table: u32, index: Value) -> Value {
        let (record, offset) = self.table_record(builder, table);
        let len = self.table_len(builder, table);
        let index = widen(builder, index);
        let outside = builder.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, index, len);
        self.locate(builder);
        self.trap_if(builder, outside, traps::TABLE_OUT_OF_BOUNDS);

        let base = offset + std::mem::offset_of!(VMTable, base) as u32;
        let base = match self.fixed_len(table) {
            Some(_) => self.load_constant(builder, POINTER, record, base),
            None => self.load_field(builder, POINTER, record, base),
        };
        let ty = clif_type(self.module.info.tables[table as usize].element());
        let shift = builder.ins().iconst(types::I64, i64::from(ty.bytes().trailing_zeros()));
        let distance = builder.ins().ishl(index, shift);
        let address = builder.ins().iadd(base, distance);
        // A processor that runs ahead of the branch must not read behind the table.
        builder.ins().select_spectre_guard(outside, base, address)
    }

    /// Where the [`VMTable`] of a table is.
    fn table_record(&self, builder: &mut FunctionBuilder<'_>, table: u32) -> (Value, u32) {
        let layout = self.module.layout;
        match table.checked_sub(self.module.info.imported_tables) {
            Some(defined) => (self.context, layout.table(defined)),
            None => {
                let at = layout.imported_table(table);
                (self.load_constant(builder, POINTER, self.context, at), 0)
            }
        }
    }
}
