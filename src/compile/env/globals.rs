//! Globals.

use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value};
use cranelift_frontend::FunctionBuilder;

use super::{Env, Region, displacement};
use crate::compile::signature::{POINTER, clif_type};
use crate::types::Mutability;

impl Env<'_> {
    /// `global.get`.
    pub(super) fn read_global(&mut self, builder: &mut FunctionBuilder<'_>, global: u32) -> Value {
        let (base, offset) = self.global_address(builder, global);
        let ty = &self.module.info.globals[global as usize];
        let flags = match ty.mutability() {
            // It was initialized before the first function could run.
            Mutability::Const => MemFlagsData::trusted().with_readonly().with_can_move(),
            Mutability::Var => self.trusted(builder, Region::Context),
        };
        let value = builder.ins().load(clif_type(*ty.content()), flags, base, offset);
        self.declare(builder, *ty.content(), value);
        value
    }

    /// `global.set`.
    pub(super) fn write_global(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        global: u32,
        value: Value,
    ) {
        let (base, offset) = self.global_address(builder, global);
        let flags = self.trusted(builder, Region::Context);
        builder.ins().store(flags, value, base, offset);
    }

    fn global_address(&self, builder: &mut FunctionBuilder<'_>, global: u32) -> (Value, i32) {
        let layout = self.module.layout;
        match global.checked_sub(self.module.info.imported_globals) {
            Some(defined) => (self.context, displacement(layout.global(defined))),
            None => {
                let at = layout.imported_global(global);
                (self.load_constant(builder, POINTER, self.context, at), 0)
            }
        }
    }
}
