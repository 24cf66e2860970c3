//! References: what they are in machine code, and the types of functions.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value, types};
use cranelift_frontend::FunctionBuilder;
use wasmparser::{AbstractHeapType, CompositeInnerType, HeapType, RefType};

use super::Env;
use crate::compile::signature::POINTER;
use crate::compile::traps;
use crate::vm::layout::{VMContext, VMFuncRef, VMType};

impl Env<'_> {
    /// Whether references of this type are to functions: their addresses, and nobody collects them.
    pub(super) fn is_func_ref(&self, ty: RefType) -> bool {
        match ty.heap_type() {
            HeapType::Abstract { ty, .. } => {
                matches!(ty, AbstractHeapType::Func | AbstractHeapType::NoFunc)
            }
            HeapType::Concrete(index) | HeapType::Exact(index) => {
                let index = index.as_module_index().expect("code names types by their index");
                let ty = &self.module.types[index as usize].composite_type;
                matches!(ty.inner, CompositeInnerType::Func(_))
            }
        }
    }

    /// Traps unless `func_ref`, which may be null, is a function of type `ty` or one below it. The
    /// fuel counter must have been handed over.
    pub(super) fn check_callee(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        func_ref: Value,
        ty: u32,
    ) {
        self.locate(builder);
        // Null faults here: the first page of the address space is never mapped.
        let flags =
            MemFlagsData::new().with_aligned().with_trap_code(Some(traps::INDIRECT_CALL_TO_NULL));
        let offset = std::mem::offset_of!(VMFuncRef, ty) as i32;
        let actual = builder.ins().load(POINTER, flags, func_ref, offset);
        let expected = self.type_record(builder, ty);
        let differs = builder.ins().icmp(IntCC::NotEqual, actual, expected);
        if self.module.info.types[ty as usize].is_final {
            self.trap_if(builder, differs, traps::BAD_SIGNATURE);
            return;
        }
        let (below, go_on) = (builder.create_block(), builder.create_block());
        builder.ins().brif(differs, below, &[], go_on, &[]);
        builder.switch_to_block(below);
        builder.seal_block(below);
        self.check_above(builder, actual, (expected, ty));
        builder.ins().jump(go_on, &[]);
        builder.switch_to_block(go_on);
        builder.seal_block(go_on);
    }

    /// Traps unless the type whose record is `expected` is among those above `actual`.
    fn check_above(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        actual: Value,
        (expected, ty): (Value, u32),
    ) {
        // Each type's place among those above it is known, since no type has two supertypes.
        let place = self.depth(ty);
        let depth = std::mem::offset_of!(VMType, depth) as u32;
        let depth = self.load_constant(builder, types::I32, actual, depth);
        let place_of_it = builder.ins().iconst(types::I32, i64::from(place));
        let too_high = builder.ins().icmp(IntCC::UnsignedLessThanOrEqual, depth, place_of_it);
        self.trap_if(builder, too_high, traps::BAD_SIGNATURE);
        let supers = std::mem::offset_of!(VMType, supers) as u32;
        let flags = MemFlagsData::trusted().with_readonly();
        let supers = builder.ins().load(POINTER, flags, actual, supers as i32);
        let offset = place * size_of::<*const VMType>() as u32;
        let above = builder.ins().load(POINTER, flags, supers, offset as i32);
        let differs = builder.ins().icmp(IntCC::NotEqual, above, expected);
        self.trap_if(builder, differs, traps::BAD_SIGNATURE);
    }

    /// How many types are above one of the module's; validation bounds it by 63.
    fn depth(&self, ty: u32) -> u32 {
        let above = |ty: u32| {
            let supertype = self.module.info.types[ty as usize].supertype;
            supertype.map(|ty| ty.index().expect("a module names types by their index"))
        };
        std::iter::successors(above(ty), |&ty| above(ty)).count() as u32
    }

    /// The engine's record of a type of the module.
    fn type_record(&mut self, builder: &mut FunctionBuilder<'_>, ty: u32) -> Value {
        let records = std::mem::offset_of!(VMContext, types) as u32;
        let records = self.load_constant(builder, POINTER, self.context, records);
        let offset = ty * size_of::<*const VMType>() as u32;
        self.load_constant(builder, POINTER, records, offset)
    }
}
