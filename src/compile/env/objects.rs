//! Structs and arrays: where their fields are, and how they are made.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, TrapCode, Type, Value, types};
use cranelift_frontend::FunctionBuilder;
use cranelift_wasm::{ArrayRange, ArraySegment, Extension};

use super::{Env, Region};
use crate::compile::signature::{self, POINTER};
use crate::compile::traps;
use crate::types::ValType;
use crate::types::composite::{CompositeType, FieldType, StorageType};
use crate::vm::layout::{self, Builtin, FIELDS, ObjectLayout, VMContext, VMObject, VMStore};

impl Env<'_> {
    /// The fields of a struct type of the module.
    pub(super) fn struct_fields(&self, ty: u32) -> &[FieldType] {
        match &self.module.info.types[ty as usize].composite {
            CompositeType::Struct(fields) => fields,
            _ => unreachable!("validated: a struct"),
        }
    }

    /// The elements of an array type of the module.
    fn array_element(&self, ty: u32) -> FieldType {
        match self.module.info.types[ty as usize].composite {
            CompositeType::Array(element) => element,
            _ => unreachable!("validated: an array"),
        }
    }

    /// Makes a struct with these values, or with zeros.
    pub(super) fn new_struct(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        ty: u32,
        values: Option<&[Value]>,
    ) -> Value {
        let ObjectLayout::Struct { size, .. } =
            ObjectLayout::of(&self.module.info.types[ty as usize].composite)
        else {
            unreachable!("validated: a struct")
        };
        let object = self.allocate_struct(builder, ty, size, values.is_none());
        self.declare_object(builder, object);
        if let Some(values) = values {
            let fields: Vec<_> = self.struct_fields(ty).to_vec();
            let address = self.address_of(builder, object);
            for ((field, offset), &value) in fields.iter().zip(layout::offsets(&fields)).zip(values)
            {
                self.write_field(builder, *field, address, offset, value);
            }
        }
        object
    }

    /// Reads a field of a struct.
    pub(super) fn read_struct(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        (ty, index): (u32, u32),
        extension: Extension,
        object: Value,
    ) -> Value {
        let (field, offset) = self.struct_field(ty, index);
        self.require(builder, object, traps::NULL_STRUCT_REFERENCE);
        let address = self.address_of(builder, object);
        self.read_field(builder, field, extension, address, offset)
    }

    /// Writes a field of a struct.
    pub(super) fn write_struct(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        (ty, index): (u32, u32),
        object: Value,
        value: Value,
    ) {
        let (field, offset) = self.struct_field(ty, index);
        self.require(builder, object, traps::NULL_STRUCT_REFERENCE);
        let address = self.address_of(builder, object);
        self.write_field(builder, field, address, offset, value);
    }

    fn struct_field(&self, ty: u32, index: u32) -> (FieldType, u32) {
        let fields = self.struct_fields(ty);
        let offset = layout::offsets(fields).nth(index as usize);
        (fields[index as usize], offset.expect("validated: the struct has the field"))
    }

    /// Makes an array of one value, or of zeros.
    pub(super) fn new_array(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        ty: u32,
        value: Option<Value>,
        len: Value,
    ) -> Value {
        let made = self.builtin_of(builder, Builtin::array_new, &[ty], &[len]);
        let array = self.made(builder, made);
        if let Some(value) = value {
            let (low, high) = self.halves(builder, value);
            self.builtin_of(builder, Builtin::array_begin, &[], &[array, low, high]);
        }
        array
    }

    /// Makes an array of these values.
    pub(super) fn new_array_of(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        ty: u32,
        values: &[Value],
    ) -> Value {
        let len = builder.ins().iconst(types::I32, values.len() as i64);
        let array = self.new_array(builder, ty, None, len);
        let element = self.array_element(ty);
        let size = 1 << layout::shift(&element);
        let address = self.address_of(builder, array);
        for (index, &value) in values.iter().enumerate() {
            let offset = FIELDS + index as u32 * size;
            self.write_field(builder, element, address, offset, value);
        }
        array
    }

    /// Makes an array of a part of a segment.
    pub(super) fn new_array_from(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        ty: u32,
        segment: ArraySegment,
        (start, len): (Value, Value),
    ) -> Value {
        let (builtin, segment) = match segment {
            ArraySegment::Data(segment) => (Builtin::array_new_data, segment),
            ArraySegment::Elements(segment) => (Builtin::array_new_elem, segment),
        };
        let made = self.builtin_of(builder, builtin, &[ty, segment], &[start, len]);
        self.made(builder, made)
    }

    /// Copies a part of a segment into an array.
    pub(super) fn init_array(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        dst: ArrayRange,
        segment: ArraySegment,
        (start, len): (Value, Value),
    ) {
        self.require(builder, dst.array, traps::NULL_ARRAY_REFERENCE);
        let (builtin, segment) = match segment {
            ArraySegment::Data(segment) => (Builtin::array_init_data, segment),
            ArraySegment::Elements(segment) => (Builtin::array_init_elem, segment),
        };
        let operands = [dst.array, dst.start, start, len];
        self.builtin_of(builder, builtin, &[segment], &operands);
    }

    /// Sets elements of an array to one value.
    pub(super) fn fill_array(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        dst: ArrayRange,
        value: Value,
        len: Value,
    ) {
        self.require(builder, dst.array, traps::NULL_ARRAY_REFERENCE);
        let (low, high) = self.halves(builder, value);
        let operands = [dst.array, dst.start, low, high, len];
        self.builtin_of(builder, Builtin::array_fill, &[], &operands);
    }

    /// Copies elements between arrays, or within one.
    pub(super) fn copy_array(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        dst: ArrayRange,
        src: ArrayRange,
        len: Value,
    ) {
        self.require(builder, dst.array, traps::NULL_ARRAY_REFERENCE);
        self.require(builder, src.array, traps::NULL_ARRAY_REFERENCE);
        let operands = [dst.array, dst.start, src.array, src.start, len];
        self.builtin_of(builder, Builtin::array_copy, &[], &operands);
    }

    /// The number of an array's elements.
    pub(super) fn len_of_array(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        array: Value,
    ) -> Value {
        self.require(builder, array, traps::NULL_ARRAY_REFERENCE);
        let address = self.address_of(builder, array);
        self.load_len(builder, address)
    }

    /// Reads an element.
    pub(super) fn read_array(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        ty: u32,
        extension: Extension,
        element: ArrayRange,
    ) -> Value {
        let address = self.element_address(builder, ty, element);
        self.read_field(builder, self.array_element(ty), extension, address, FIELDS)
    }

    /// Writes an element.
    pub(super) fn write_array(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        ty: u32,
        element: ArrayRange,
        value: Value,
    ) {
        let address = self.element_address(builder, ty, element);
        self.write_field(builder, self.array_element(ty), address, FIELDS, value);
    }

    /// Where an element is, but for the array's head.
    fn element_address(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        ty: u32,
        ArrayRange { array, start }: ArrayRange,
    ) -> Value {
        self.require(builder, array, traps::NULL_ARRAY_REFERENCE);
        let address = self.address_of(builder, array);
        let len = self.load_len(builder, address);
        let outside = builder.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, start, len);
        self.trap_if(builder, outside, traps::ARRAY_OUT_OF_BOUNDS);
        let index = builder.ins().uextend(POINTER, start);
        let shift =
            builder.ins().iconst(types::I8, i64::from(layout::shift(&self.array_element(ty))));
        let offset = builder.ins().ishl(index, shift);
        builder.ins().iadd(address, offset)
    }

    pub(super) fn load_len(&self, builder: &mut FunctionBuilder<'_>, address: Value) -> Value {
        // An object at this address may be gone, and another one there, behind any call.
        let flags = self.trusted(builder, Region::Object);
        let offset = std::mem::offset_of!(VMObject, len) as i32;
        builder.ins().load(types::I32, flags, address, offset)
    }

    /// Traps where a reference is null.
    pub(super) fn require(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        reference: Value,
        code: TrapCode,
    ) {
        let zero = builder.ins().iconst(types::I32, 0);
        let is_null = builder.ins().icmp(IntCC::Equal, reference, zero);
        self.trap_if(builder, is_null, code);
    }

    /// Where the object of a reference is that is not null.
    pub(super) fn address_of(&self, builder: &mut FunctionBuilder<'_>, object: Value) -> Value {
        let store = std::mem::offset_of!(VMContext, store) as u32;
        let store = self.load_constant(builder, POINTER, self.context, store);
        // Another module may be the first of the store that has objects, while this one runs.
        let heap = std::mem::offset_of!(VMStore, heap) as u32;
        let heap = self.load_field(builder, POINTER, store, heap);
        let distance = builder.ins().uextend(POINTER, object);
        builder.ins().iadd(heap, distance)
    }

    /// The reference that a builtin answered.
    fn made(&mut self, builder: &mut FunctionBuilder<'_>, made: Option<Value>) -> Value {
        let made = made.expect("the builtin has a result");
        let object = builder.ins().ireduce(types::I32, made);
        self.declare_object(builder, object);
        object
    }

    fn declare_object(&mut self, builder: &mut FunctionBuilder<'_>, object: Value) {
        self.declares_references = true;
        builder.declare_value_needs_stack_map(object);
    }

    fn read_field(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        field: FieldType,
        extension: Extension,
        address: Value,
        offset: u32,
    ) -> Value {
        let flags = self.trusted(builder, Region::Object);
        let offset = offset as i32;
        let signed = extension == Extension::Signed;
        match field.storage {
            StorageType::I8 if signed => builder.ins().sload8(types::I32, flags, address, offset),
            StorageType::I8 => builder.ins().uload8(types::I32, flags, address, offset),
            StorageType::I16 if signed => builder.ins().sload16(types::I32, flags, address, offset),
            StorageType::I16 => builder.ins().uload16(types::I32, flags, address, offset),
            StorageType::Val(ty) => {
                let value = builder.ins().load(clif(ty), flags, address, offset);
                self.declare(builder, ty, value);
                value
            }
        }
    }

    fn write_field(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        field: FieldType,
        address: Value,
        offset: u32,
        value: Value,
    ) {
        let flags: MemFlagsData = self.trusted(builder, Region::Object);
        let offset = offset as i32;
        match field.storage {
            StorageType::I8 => builder.ins().istore8(flags, value, address, offset),
            StorageType::I16 => builder.ins().istore16(flags, value, address, offset),
            StorageType::Val(_) => builder.ins().store(flags, value, address, offset),
        };
    }

    /// A value of any type as two integers of 64 bits, the low one first.
    fn halves(&self, builder: &mut FunctionBuilder<'_>, value: Value) -> (Value, Value) {
        let zero = builder.ins().iconst(types::I64, 0);
        let ty = builder.func.dfg.value_type(value);
        if ty.is_vector() {
            let flags =
                MemFlagsData::new().with_endianness(cranelift_codegen::ir::Endianness::Little);
            let value = builder.ins().bitcast(types::I64X2, flags, value);
            let low = builder.ins().extractlane(value, 0);
            let high = builder.ins().extractlane(value, 1);
            return (low, high);
        }
        let bits = match ty {
            types::F32 => builder.ins().bitcast(types::I32, MemFlagsData::new(), value),
            types::F64 => builder.ins().bitcast(types::I64, MemFlagsData::new(), value),
            _ => value,
        };
        let narrow = builder.func.dfg.value_type(bits) == types::I32;
        let low = if narrow { builder.ins().uextend(types::I64, bits) } else { bits };
        (low, zero)
    }
}

/// The CLIF type of values of a field.
fn clif(ty: ValType) -> Type {
    signature::clif_type(ty)
}
