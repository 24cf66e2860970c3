//! What a reference is to: integers of 31 bits, tests and casts.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, BlockArg, InstBuilder, MemFlagsData, Type, Value, types};
use cranelift_frontend::FunctionBuilder;
use cranelift_wasm::Extension;
use wasmparser::{AbstractHeapType, HeapType, RefType};

use super::{Env, Region};
use crate::compile::signature::POINTER;
use crate::compile::traps;
use crate::types::CompositeKind;
use crate::vm::layout::{ObjectKind, VMFuncRef, VMObject, VMType};

/// What is asked of a reference that is not null.
enum Question {
    /// It always is.
    Always,
    Never,
    I31,
    /// A value of the host is not.
    I31OrObject,
    /// An object of this kind.
    Kind(ObjectKind),
    /// An object or function of this type of the module, or one below it.
    Type(u32),
}

impl Env<'_> {
    /// A reference to the low 31 bits of an i32.
    pub(super) fn make_i31(&self, builder: &mut FunctionBuilder<'_>, value: Value) -> Value {
        let doubled = builder.ins().iadd(value, value);
        let one = builder.ins().iconst(types::I32, 1);
        builder.ins().bor(doubled, one)
    }

    /// The integer of a reference to one.
    pub(super) fn read_i31(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        extension: Extension,
        value: Value,
    ) -> Value {
        self.require(builder, value, traps::NULL_I31_REFERENCE);
        let one = builder.ins().iconst(types::I32, 1);
        match extension {
            Extension::Signed => builder.ins().sshr(value, one),
            _ => builder.ins().ushr(value, one),
        }
    }

    /// Traps unless a reference is of a type.
    pub(super) fn cast(&mut self, builder: &mut FunctionBuilder<'_>, ty: RefType, value: Value) {
        let is = self.test(builder, ty, value);
        let zero = builder.ins().iconst(types::I8, 0);
        let is_not = builder.ins().icmp(IntCC::Equal, is, zero);
        self.trap_if(builder, is_not, traps::CAST_FAILURE);
    }

    /// Whether a reference is of a type, as an i8.
    pub(super) fn test(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        ty: RefType,
        value: Value,
    ) -> Value {
        let width = builder.func.dfg.value_type(value);
        let zero = builder.ins().iconst(width, 0);
        let null = i64::from(ty.is_nullable());
        match self.question(ty) {
            Question::Always if ty.is_nullable() => builder.ins().iconst(types::I8, 1),
            Question::Always => builder.ins().icmp(IntCC::NotEqual, value, zero),
            Question::Never if !ty.is_nullable() => builder.ins().iconst(types::I8, 0),
            Question::Never => builder.ins().icmp(IntCC::Equal, value, zero),
            question => {
                let done = builder.create_block();
                let answer = builder.append_block_param(done, types::I8);
                let not_null = builder.create_block();
                let null = builder.ins().iconst(types::I8, null);
                builder.ins().brif(value, not_null, &[], done, &[BlockArg::Value(null)]);
                builder.switch_to_block(not_null);
                builder.seal_block(not_null);
                let is = self.ask(builder, question, value, done);
                builder.ins().jump(done, &[BlockArg::Value(is)]);
                builder.switch_to_block(done);
                builder.seal_block(done);
                answer
            }
        }
    }

    fn question(&self, ty: RefType) -> Question {
        match ty.heap_type() {
            HeapType::Abstract { ty, .. } => match ty {
                AbstractHeapType::Eq => Question::I31OrObject,
                AbstractHeapType::I31 => Question::I31,
                AbstractHeapType::Struct => Question::Kind(ObjectKind::Struct),
                AbstractHeapType::Array => Question::Kind(ObjectKind::Array),
                AbstractHeapType::None
                | AbstractHeapType::NoFunc
                | AbstractHeapType::NoExtern
                | AbstractHeapType::NoExn => Question::Never,
                _ => Question::Always,
            },
            HeapType::Concrete(index) | HeapType::Exact(index) => {
                Question::Type(index.as_module_index().expect("code names types by their index"))
            }
        }
    }

    /// The answer for a reference that is not null; it may go to `done` with it.
    fn ask(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        question: Question,
        value: Value,
        done: Block,
    ) -> Value {
        let no = builder.ins().iconst(types::I8, 0);
        match question {
            Question::Always | Question::Never => unreachable!("it was answered"),
            Question::I31 => {
                let one = builder.ins().iconst(types::I32, 1);
                let bit = builder.ins().band(value, one);
                builder.ins().icmp(IntCC::Equal, bit, one)
            }
            Question::I31OrObject => {
                let three = builder.ins().iconst(types::I32, 3);
                let low = builder.ins().band(value, three);
                let two = builder.ins().iconst(types::I32, 2);
                builder.ins().icmp(IntCC::NotEqual, low, two)
            }
            Question::Kind(kind) => {
                let record = self.record_of_object(builder, value, no, done);
                let offset = std::mem::offset_of!(VMType, kind) as u32;
                let found = load(builder, types::I32, record, offset);
                let kind = builder.ins().iconst(types::I32, kind as i64);
                builder.ins().icmp(IntCC::Equal, found, kind)
            }
            Question::Type(ty) => {
                let of_module = &self.module.info.types[ty as usize];
                let record = if of_module.kind() == CompositeKind::Func {
                    let offset = std::mem::offset_of!(VMFuncRef, ty) as u32;
                    load(builder, POINTER, value, offset)
                } else {
                    self.record_of_object(builder, value, no, done)
                };
                self.is_of_type(builder, record, ty, done)
            }
        }
    }

    /// The type's record of an object; goes to `done` with `no` if the reference is to none.
    fn record_of_object(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        value: Value,
        no: Value,
        done: Block,
    ) -> Value {
        let three = builder.ins().iconst(types::I32, 3);
        let low = builder.ins().band(value, three);
        let object = builder.create_block();
        builder.ins().brif(low, done, &[BlockArg::Value(no)], object, &[]);
        builder.switch_to_block(object);
        builder.seal_block(object);
        let address = self.address_of(builder, value);
        let flags = self.trusted(builder, Region::Object);
        let offset = std::mem::offset_of!(VMObject, ty) as i32;
        builder.ins().load(POINTER, flags, address, offset)
    }

    /// Whether a record is that of a type of the module, or of one below it.
    fn is_of_type(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        record: Value,
        ty: u32,
        done: Block,
    ) -> Value {
        let expected = self.type_record(builder, ty);
        let same = builder.ins().icmp(IntCC::Equal, record, expected);
        if self.module.info.types[ty as usize].is_final {
            return same;
        }
        let (other, below) = (builder.create_block(), builder.create_block());
        builder.ins().brif(same, done, &[BlockArg::Value(same)], other, &[]);
        builder.switch_to_block(other);
        builder.seal_block(other);
        // Each type's place among those above it is known, since no type has two supertypes.
        let place = self.depth(ty);
        let depth = std::mem::offset_of!(VMType, depth) as u32;
        let depth = load(builder, types::I32, record, depth);
        let place_of_it = builder.ins().iconst(types::I32, i64::from(place));
        let deeper = builder.ins().icmp(IntCC::UnsignedGreaterThan, depth, place_of_it);
        builder.ins().brif(deeper, below, &[], done, &[BlockArg::Value(deeper)]);
        builder.switch_to_block(below);
        builder.seal_block(below);
        let supers = std::mem::offset_of!(VMType, supers) as u32;
        let supers = load(builder, POINTER, record, supers);
        let above = load(builder, POINTER, supers, place * size_of::<*const VMType>() as u32);
        builder.ins().icmp(IntCC::Equal, above, expected)
    }
}

/// Loads what never changes, from where it is only behind the checks that were made.
fn load(builder: &mut FunctionBuilder<'_>, ty: Type, base: Value, offset: u32) -> Value {
    builder.ins().load(ty, MemFlagsData::trusted().with_readonly(), base, offset as i32)
}
