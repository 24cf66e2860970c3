//! References: what they are in machine code, and the types of functions.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, TrapCode, Value, types};
use cranelift_frontend::FunctionBuilder;
use cranelift_wasm::Values;
use wasmparser::{AbstractHeapType, CompositeInnerType, HeapType, RefType};

use super::Env;
use super::calls::{Callee, Code};
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

    /// `call_ref`.
    pub(super) fn call_reference(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        ty: u32,
        func_ref: Value,
        args: &[Value],
    ) -> Values {
        let callee = self.reference_to_call(builder, func_ref);
        self.call_and_take_back(builder, callee, ty, args)
    }

    /// What is called by a reference of its type, which may be null; hands the fuel counter over.
    pub(super) fn reference_to_call(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        func_ref: Value,
    ) -> Callee {
        // Before the fault of a null reference, which then needs no code of its own for it.
        self.hand_over_fuel(builder);
        self.locate(builder);
        self.record_to_call(builder, func_ref, Some(traps::NULL_FUNCTION_REFERENCE))
    }

    /// What is called by its record. Where that may be null, it traps with the code. The fuel counter
    /// must have been handed over.
    pub(super) fn record_to_call(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        func_ref: Value,
        null: Option<TrapCode>,
    ) -> Callee {
        // Either load may become part of the call, so that the other one meets null first.
        let flags = match null {
            Some(_) => faulting(null),
            None => MemFlagsData::trusted().with_readonly(),
        };
        let code = std::mem::offset_of!(VMFuncRef, code) as i32;
        let code = builder.ins().load(POINTER, flags, func_ref, code);
        let context = std::mem::offset_of!(VMFuncRef, context) as i32;
        let context = builder.ins().load(POINTER, flags, func_ref, context);
        Callee { context, code: Code::Loaded(code) }
    }

    /// Traps where a reference is null. A test touches no memory, which a fault would have to.
    pub(super) fn check_non_null(&mut self, builder: &mut FunctionBuilder<'_>, value: Value) {
        let ty = builder.func.dfg.value_type(value);
        let zero = builder.ins().iconst(ty, 0);
        let is_null = builder.ins().icmp(IntCC::Equal, value, zero);
        self.trap_if(builder, is_null, traps::NULL_REFERENCE);
    }

    /// Whether by its type a table holds nothing but functions of type `ty`, or of types below it, and
    /// null.
    pub(super) fn elements_are(&self, table: u32, ty: u32) -> bool {
        let element = self.module.info.tables[table as usize].element().concrete();
        let element = element.map(|ty| ty.index().expect("a module names types by their index"));
        std::iter::successors(element, |&element| self.above(element)).any(|above| above == ty)
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
        let flags = faulting(Some(traps::INDIRECT_CALL_TO_NULL));
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
        std::iter::successors(self.above(ty), |&ty| self.above(ty)).count() as u32
    }

    /// The type that one of the module's extends.
    fn above(&self, ty: u32) -> Option<u32> {
        let supertype = self.module.info.types[ty as usize].supertype?;
        Some(supertype.index().expect("a module names types by their index"))
    }

    /// The engine's record of a type of the module.
    fn type_record(&mut self, builder: &mut FunctionBuilder<'_>, ty: u32) -> Value {
        let records = std::mem::offset_of!(VMContext, types) as u32;
        let records = self.load_constant(builder, POINTER, self.context, records);
        let offset = ty * size_of::<*const VMType>() as u32;
        self.load_constant(builder, POINTER, records, offset)
    }
}

/// Flags of a load from a record that may be null: it faults there, since the first page of the
/// address space is never mapped.
fn faulting(code: Option<TrapCode>) -> MemFlagsData {
    MemFlagsData::new().with_aligned().with_trap_code(code)
}
