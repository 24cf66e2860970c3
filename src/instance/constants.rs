//! Constant expressions: plain values, and those that make structs and arrays.

use super::func_record;
use crate::compile::{ConstExpr, ConstOp, ModuleInfo};
use crate::module::Module;
use crate::types::composite::{CompositeType, FieldType};
use crate::vm::instance::Instance;
use crate::vm::layout::{self, FIELDS, Reference, ValRaw};
use crate::vm::objects::NoObject;
use crate::vm::pace::Pace;
use crate::vm::store::Store;

/// Evaluates constant expressions for an instance that is being made. Nothing is collected meanwhile:
/// what an expression has made so far nobody refers to.
pub(super) struct Constants<'a> {
    pub(super) store: &'a mut Store,
    pub(super) instance: &'a Instance,
    pub(super) module: &'a Module,
    pub(super) info: &'a ModuleInfo,
}

impl Constants<'_> {
    /// The value of an expression.
    ///
    /// # Errors
    ///
    /// When there is no room for an object.
    pub(super) fn value(
        &mut self,
        expr: &ConstExpr,
        pace: &mut Pace<'_>,
    ) -> Result<ValRaw, NoObject> {
        let info = self.info;
        match *expr {
            ConstExpr::Arithmetic(index) => self.run(&info.arithmetic[index as usize], pace),
            _ => Ok(evaluate(self.store, self.instance, info, expr)),
        }
    }

    fn run(&mut self, ops: &[ConstOp], pace: &mut Pace<'_>) -> Result<ValRaw, NoObject> {
        let mut stack = Vec::new();
        for op in ops {
            let result = match *op {
                ConstOp::Push(ref value) => evaluate(self.store, self.instance, self.info, value),
                ConstOp::Struct(ty) => {
                    let values = stack.split_off(stack.len() - self.fields(ty).len());
                    let object = self.object(ty, 0, pace)?;
                    let fields = self.fields(ty);
                    for ((field, offset), value) in
                        fields.iter().zip(layout::offsets(fields)).zip(values)
                    {
                        self.write(object, field, offset as usize, value);
                    }
                    object
                }
                ConstOp::StructDefault(ty) => self.object(ty, 0, pace)?,
                ConstOp::Array(ty) => {
                    let (len, value) = (pop(&mut stack).to_u64() as u32, pop(&mut stack));
                    self.array(ty, len, pace, |_| value)?
                }
                ConstOp::ArrayDefault(ty) => {
                    let len = pop(&mut stack).to_u64() as u32;
                    self.object(ty, len, pace)?
                }
                ConstOp::ArrayOf(ty, len) => {
                    let values = stack.split_off(stack.len() - len as usize);
                    self.array(ty, len, pace, |index| values[index])?
                }
                ConstOp::I31 => {
                    let value = pop(&mut stack).to_u64() as i32;
                    ValRaw::from_u64(Reference::I31(value).bits().into())
                }
                ConstOp::Add(width) | ConstOp::Sub(width) | ConstOp::Mul(width) => {
                    let (right, left) = (pop(&mut stack).to_u64(), pop(&mut stack).to_u64());
                    ValRaw::from_u64(op.compute(width, left, right))
                }
            };
            stack.push(result);
        }
        Ok(pop(&mut stack))
    }

    fn composite(&self, ty: u32) -> &CompositeType {
        &self.info.types[ty as usize].composite
    }

    fn fields(&self, ty: u32) -> &[FieldType] {
        match self.composite(ty) {
            CompositeType::Struct(fields) => fields,
            _ => unreachable!("validated: a struct"),
        }
    }

    fn object(&mut self, ty: u32, len: u32, pace: &mut Pace<'_>) -> Result<ValRaw, NoObject> {
        let record = self.module.type_record(ty);
        // SAFETY: the store is ours, and is going to keep the module. If it does not come to that,
        // nothing refers to the object.
        let object = unsafe { Store::new_object(self.store, record, len, pace, false)? };
        Ok(ValRaw::from_u64(object.into()))
    }

    fn array(
        &mut self,
        ty: u32,
        len: u32,
        pace: &mut Pace<'_>,
        value: impl Fn(usize) -> ValRaw,
    ) -> Result<ValRaw, NoObject> {
        let array = self.object(ty, len, pace)?;
        let &CompositeType::Array(element) = self.composite(ty) else {
            unreachable!("validated: an array")
        };
        let shift = layout::shift(&element);
        pace.parts(len as usize, 1 << shift, |start, len| {
            for index in start..start + len {
                self.write(array, &element, FIELDS as usize + (index << shift), value(index));
            }
        })
        .map_err(|_cancelled| NoObject::Cancelled)?;
        Ok(array)
    }

    fn write(&self, object: ValRaw, field: &FieldType, offset: usize, value: ValRaw) {
        let at = self.store.machine.heap.wrapping_add(object.to_u64() as usize + offset);
        // SAFETY: the object was just made, of a type that has this field there.
        unsafe { at.copy_from_nonoverlapping(value.0.as_ptr(), 1 << layout::shift(field)) };
    }
}

/// The value of an expression that makes nothing.
pub(super) fn evaluate(
    store: &Store,
    instance: &Instance,
    info: &ModuleInfo,
    expr: &ConstExpr,
) -> ValRaw {
    match *expr {
        ConstExpr::I32(value) => ValRaw::from_u64((value as u32).into()),
        ConstExpr::I64(value) => ValRaw::from_u64(value as u64),
        ConstExpr::F32(bits) => ValRaw::from_u64(bits.into()),
        ConstExpr::F64(bits) => ValRaw::from_u64(bits),
        ConstExpr::V128(value) => ValRaw(value.to_le_bytes()),
        ConstExpr::Arithmetic(index) => {
            let ops = &info.arithmetic[index as usize];
            let read = |value: &_| evaluate(store, instance, info, value).to_u64();
            ValRaw::from_u64(ConstOp::evaluate(ops, read))
        }
        ConstExpr::RefNull => ValRaw::ZERO,
        ConstExpr::RefFunc(function) => {
            ValRaw::from_u64(func_record(instance, info, function).as_ptr() as u64)
        }
        ConstExpr::GlobalGet(index) => {
            let id = instance.globals[index as usize];
            // SAFETY: definitions are live with the store.
            ValRaw(unsafe { store.globals[id as usize].definition.read() }.0)
        }
    }
}

fn pop(stack: &mut Vec<ValRaw>) -> ValRaw {
    stack.pop().expect("validated: there is an operand")
}
