//! Structs are made by code itself where there is a free cell of their size, and there may be one more
//! before the next collection: it takes the first one of the list. All else is a builtin's.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::FunctionBuilder;

use super::bulk::go_if;
use super::{Env, Region};
use crate::compile::signature::POINTER;
use crate::vm::layout::{
    Builtin, FIELDS, MAX_CELL, VMContext, VMHeap, VMObject, VMStore, class_of,
};

/// The largest structs that code makes zero itself.
const MAX_ZEROED: u32 = 128;

impl Env<'_> {
    /// Makes a struct of a type that takes `size` bytes. Its fields are zero if `zeroed`; else they are
    /// anything and to be written at once.
    pub(super) fn allocate_struct(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        ty: u32,
        size: u32,
        zeroed: bool,
    ) -> Value {
        if size > if zeroed { MAX_ZEROED } else { MAX_CELL } {
            return self.allocate_by_builtin(builder, ty);
        }
        // Both ways then begin with the same counter.
        self.flush(builder);
        let [otherwise, done] = [0; 2].map(|_| builder.create_block());
        builder.set_cold_block(otherwise);
        let object = builder.append_block_param(done, types::I32);

        let cell = self.take_cell(builder, size, otherwise);
        let address = self.address_of(builder, cell);
        let object_flags = self.trusted(builder, Region::Object);
        let record = self.type_record(builder, ty);
        let zero = builder.ins().iconst(types::I32, 0);
        let [ty_at, len_at] =
            [std::mem::offset_of!(VMObject, ty), std::mem::offset_of!(VMObject, len)];
        builder.ins().store(object_flags, record, address, ty_at as i32);
        builder.ins().store(object_flags, zero, address, len_at as i32);
        if zeroed {
            let zero = builder.ins().iconst(types::I64, 0);
            // Cells are multiples of the words.
            for offset in (FIELDS..size).step_by(8) {
                builder.ins().store(object_flags, zero, address, offset as i32);
            }
        }
        builder.ins().jump(done, &[cell.into()]);

        builder.switch_to_block(otherwise);
        builder.seal_block(otherwise);
        let made = self.allocate_by_builtin(builder, ty);
        builder.ins().jump(done, &[made.into()]);
        builder.switch_to_block(done);
        builder.seal_block(done);
        object
    }

    fn allocate_by_builtin(&mut self, builder: &mut FunctionBuilder<'_>, ty: u32) -> Value {
        let made = self.builtin_of(builder, Builtin::struct_new, &[ty], &[]);
        builder.ins().ireduce(types::I32, made.expect("the builtin has a result"))
    }

    /// Takes a free cell for an object of `size` bytes, which is nothing yet, and pays for it out of the
    /// budget; goes to `otherwise` without, if there is none or too little.
    fn take_cell(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        size: u32,
        otherwise: cranelift_codegen::ir::Block,
    ) -> Value {
        let store = std::mem::offset_of!(VMContext, store) as u32;
        let store = self.load_constant(builder, POINTER, self.context, store);
        // As for the heap's start: another module may be the first one that has objects.
        let cells = std::mem::offset_of!(VMStore, cells) as u32;
        let cells = self.load_field(builder, POINTER, store, cells);
        let budget_at = std::mem::offset_of!(VMHeap, budget);
        let free_at = std::mem::offset_of!(VMHeap, free) + class_of(size) * size_of::<u32>();

        let budget = self.load_field(builder, types::I64, cells, budget_at as u32);
        let bytes = builder.ins().iconst(types::I64, i64::from(size));
        let short = builder.ins().icmp(IntCC::UnsignedLessThan, budget, bytes);
        go_if(builder, short, otherwise);
        let cell = self.load_field(builder, types::I32, cells, free_at as u32);
        let none = builder.ins().iconst(types::I32, 0);
        let is_none = builder.ins().icmp(IntCC::Equal, cell, none);
        go_if(builder, is_none, otherwise);

        let rest = builder.ins().isub(budget, bytes);
        let address = self.address_of(builder, cell);
        let next = self.load_len(builder, address);
        let flags = self.trusted(builder, Region::Context);
        builder.ins().store(flags, rest, cells, budget_at as i32);
        builder.ins().store(flags, next, cells, free_at as i32);
        cell
    }
}
