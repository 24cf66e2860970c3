//! Structs, arrays, small integers as references, and casts.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I32;
use cranelift_codegen::ir::{InstBuilder, Value};
use wasmparser::{HeapType, Operator, RefType};

use crate::object_environ::{ArrayRange, ArraySegment, Extension};
use crate::translation::Translation;
use crate::{FuncEnvironment, WasmError, WasmResult};

impl<E: FuncEnvironment> Translation<'_, '_, E> {
    /// An operator that makes or uses objects. Answers whether it is one.
    pub(crate) fn object_operator(&mut self, operator: &Operator<'_>) -> WasmResult<bool> {
        use Operator as Op;
        match *operator {
            Op::StructNew { struct_type_index: ty } => self.struct_new(ty, false)?,
            Op::StructNewDefault { struct_type_index: ty } => self.struct_new(ty, true)?,
            Op::StructGet { struct_type_index: ty, field_index } => {
                self.struct_get((ty, field_index), Extension::None)?
            }
            Op::StructGetS { struct_type_index: ty, field_index } => {
                self.struct_get((ty, field_index), Extension::Signed)?
            }
            Op::StructGetU { struct_type_index: ty, field_index } => {
                self.struct_get((ty, field_index), Extension::Unsigned)?
            }
            Op::StructSet { struct_type_index: ty, field_index } => {
                let (object, value) = self.stacks.pop2();
                self.env.struct_set(&mut self.builder, (ty, field_index), object, value)?;
            }
            Op::ArrayNew { array_type_index: ty } => self.array_new(ty, false)?,
            Op::ArrayNewDefault { array_type_index: ty } => self.array_new(ty, true)?,
            Op::ArrayNewFixed { array_type_index: ty, array_size } => {
                self.array_new_fixed(ty, array_size)?
            }
            Op::ArrayNewData { array_type_index: ty, array_data_index } => {
                self.array_new_segment(ty, ArraySegment::Data(array_data_index))?
            }
            Op::ArrayNewElem { array_type_index: ty, array_elem_index } => {
                self.array_new_segment(ty, ArraySegment::Elements(array_elem_index))?
            }
            Op::ArrayInitData { array_data_index, .. } => {
                self.array_init_segment(ArraySegment::Data(array_data_index))?
            }
            Op::ArrayInitElem { array_elem_index, .. } => {
                self.array_init_segment(ArraySegment::Elements(array_elem_index))?
            }
            Op::ArrayGet { array_type_index: ty } => self.array_get(ty, Extension::None)?,
            Op::ArrayGetS { array_type_index: ty } => self.array_get(ty, Extension::Signed)?,
            Op::ArrayGetU { array_type_index: ty } => self.array_get(ty, Extension::Unsigned)?,
            Op::ArraySet { array_type_index: ty } => {
                let (array, start, value) = self.stacks.pop3();
                let element = ArrayRange { array, start };
                self.env.array_set(&mut self.builder, ty, element, value)?;
            }
            Op::ArrayLen => {
                let array = self.stacks.pop();
                let len = self.env.array_len(&mut self.builder, array)?;
                self.stacks.push(len);
            }
            Op::ArrayFill { array_type_index: ty } => {
                let (start, value, len) = self.stacks.pop3();
                let dst = ArrayRange { array: self.stacks.pop(), start };
                self.env.array_fill(&mut self.builder, ty, dst, value, len)?;
            }
            Op::ArrayCopy { .. } => {
                let (array, start, len) = self.stacks.pop3();
                let src = ArrayRange { array, start };
                let (array, start) = self.stacks.pop2();
                let dst = ArrayRange { array, start };
                self.env.array_copy(&mut self.builder, dst, src, len)?;
            }
            _ => return self.reference_operator(operator),
        }
        Ok(true)
    }

    /// An operator that compares, converts or casts references. Answers whether it is one.
    fn reference_operator(&mut self, operator: &Operator<'_>) -> WasmResult<bool> {
        use Operator as Op;
        match *operator {
            Op::RefEq => {
                let (left, right) = self.stacks.pop2();
                let equal = self.builder.ins().icmp(IntCC::Equal, left, right);
                let equal = self.builder.ins().uextend(I32, equal);
                self.stacks.push(equal);
            }
            Op::RefI31 => {
                let value = self.stacks.pop();
                let reference = self.env.ref_i31(&mut self.builder, value)?;
                self.stacks.push(reference);
            }
            Op::I31GetS => self.i31_get(Extension::Signed)?,
            Op::I31GetU => self.i31_get(Extension::Unsigned)?,
            // The environment has them as one.
            Op::AnyConvertExtern | Op::ExternConvertAny => {}
            Op::RefTestNonNull { hty } => self.ref_test(false, hty)?,
            Op::RefTestNullable { hty } => self.ref_test(true, hty)?,
            Op::RefCastNonNull { hty } => self.ref_cast(false, hty)?,
            Op::RefCastNullable { hty } => self.ref_cast(true, hty)?,
            Op::BrOnCast { relative_depth, to_ref_type, .. } => {
                let is = self.is_of(to_ref_type)?;
                self.branch_if(is, relative_depth)?;
            }
            Op::BrOnCastFail { relative_depth, to_ref_type, .. } => {
                let is = self.is_of(to_ref_type)?;
                let ty = self.builder.func.dfg.value_type(is);
                let zero = self.builder.ins().iconst(ty, 0);
                let is_not = self.builder.ins().icmp(IntCC::Equal, is, zero);
                self.branch_if(is_not, relative_depth)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn struct_new(&mut self, ty: u32, default: bool) -> WasmResult<()> {
        let count = if default { 0 } else { self.env.fields(ty) };
        self.limits.work(count)?;
        let fields = self.stacks.peek(count);
        let object = self.env.struct_new(&mut self.builder, ty, (!default).then_some(fields))?;
        self.stacks.drop(count);
        self.stacks.push(object);
        Ok(())
    }

    fn struct_get(&mut self, field: (u32, u32), extension: Extension) -> WasmResult<()> {
        let object = self.stacks.pop();
        let value = self.env.struct_get(&mut self.builder, field, extension, object)?;
        self.stacks.push(value);
        Ok(())
    }

    fn array_new(&mut self, ty: u32, default: bool) -> WasmResult<()> {
        let len = self.stacks.pop();
        let value = (!default).then(|| self.stacks.pop());
        let array = self.env.array_new(&mut self.builder, ty, value, len)?;
        self.stacks.push(array);
        Ok(())
    }

    fn array_new_fixed(&mut self, ty: u32, len: u32) -> WasmResult<()> {
        self.limits.work(len as usize)?;
        let values = self.stacks.peek(len as usize);
        let array = self.env.array_new_fixed(&mut self.builder, ty, values)?;
        self.stacks.drop(len as usize);
        self.stacks.push(array);
        Ok(())
    }

    fn array_new_segment(&mut self, ty: u32, segment: ArraySegment) -> WasmResult<()> {
        let (start, len) = self.stacks.pop2();
        let array = self.env.array_new_segment(&mut self.builder, ty, segment, start, len)?;
        self.stacks.push(array);
        Ok(())
    }

    fn array_init_segment(&mut self, segment: ArraySegment) -> WasmResult<()> {
        let (first, start, len) = self.stacks.pop3();
        let dst = ArrayRange { array: self.stacks.pop(), start: first };
        self.env.array_init_segment(&mut self.builder, dst, segment, start, len)
    }

    fn array_get(&mut self, ty: u32, extension: Extension) -> WasmResult<()> {
        let (array, start) = self.stacks.pop2();
        let element = ArrayRange { array, start };
        let value = self.env.array_get(&mut self.builder, ty, extension, element)?;
        self.stacks.push(value);
        Ok(())
    }

    fn i31_get(&mut self, extension: Extension) -> WasmResult<()> {
        let value = self.stacks.pop();
        let value = self.env.i31_get(&mut self.builder, extension, value)?;
        self.stacks.push(value);
        Ok(())
    }

    fn ref_test(&mut self, nullable: bool, ty: HeapType) -> WasmResult<()> {
        let value = self.stacks.pop();
        let is = self.env.ref_test(&mut self.builder, reference(nullable, ty)?, value)?;
        let is = if self.builder.func.dfg.value_type(is) == I32 {
            is
        } else {
            self.builder.ins().uextend(I32, is)
        };
        self.stacks.push(is);
        Ok(())
    }

    fn ref_cast(&mut self, nullable: bool, ty: HeapType) -> WasmResult<()> {
        let value = self.stacks.peek(1)[0];
        self.env.ref_cast(&mut self.builder, reference(nullable, ty)?, value)
    }

    /// Whether the reference on top of the stack is of a type.
    fn is_of(&mut self, ty: RefType) -> WasmResult<Value> {
        let value = self.stacks.peek(1)[0];
        self.env.ref_test(&mut self.builder, ty, value)
    }
}

/// The type of a reference, as the operator names it.
fn reference(nullable: bool, ty: HeapType) -> WasmResult<RefType> {
    RefType::new(nullable, ty)
        .ok_or(WasmError::Limit("the index of a reference's type exceeds 2^20"))
}
