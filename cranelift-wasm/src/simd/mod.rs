//! Vectors.
//!
//! On the operand stack, in locals and between blocks every vector has the type I8X16, so that what
//! meets always agrees. An operator takes its operands as vectors of its own lanes, which makes no
//! code.
//!
//! - `access`: loads and stores
//! - `lanes`: constants, single lanes, shuffles
//! - `integer`, `float`: arithmetic, comparisons, conversions
//! - `relaxed`: the operators whose results the specification leaves to the machine

mod access;
mod float;
mod integer;
mod lanes;
mod relaxed;

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{I8X16, I32};
use cranelift_codegen::ir::{
    self, Endianness, InstBuilder, InstructionData, MemFlagsData, Opcode, Value,
};

use crate::FuncEnvironment;
use crate::numeric::{BinaryOp, ConvertOp, UnaryOp};
use crate::translation::Translation;

/// The type of all vectors between operators.
pub(crate) const VECTOR: ir::Type = I8X16;

impl<E: FuncEnvironment> Translation<'_, '_, E> {
    /// The same bits as lanes of type `ty`.
    fn view(&mut self, vector: Value, ty: ir::Type) -> Value {
        let dfg = &self.builder.func.dfg;
        if dfg.value_type(vector) == ty {
            return vector;
        }
        // The result of one operator is mostly an operand of another one of the same lanes.
        if let Some(inst) = dfg.value_def(vector).inst()
            && let InstructionData::LoadNoOffset { opcode: Opcode::Bitcast, arg, .. } =
                dfg.insts[inst]
            && dfg.value_type(arg) == ty
        {
            return arg;
        }
        // Lanes are numbered from the lowest byte.
        let flags = MemFlagsData::new().with_endianness(Endianness::Little);
        self.builder.ins().bitcast(ty, flags, vector)
    }

    /// Pops a vector as lanes of type `ty`.
    fn pop_vector(&mut self, ty: ir::Type) -> Value {
        let vector = self.stacks.pop();
        self.view(vector, ty)
    }

    /// Pops two vectors, the lower one first.
    fn pop_vectors(&mut self, ty: ir::Type) -> (Value, Value) {
        let (x, y) = self.stacks.pop2();
        (self.view(x, ty), self.view(y, ty))
    }

    /// Pushes a vector of any lanes.
    fn push_vector(&mut self, vector: Value) {
        let vector = self.view(vector, VECTOR);
        self.stacks.push(vector);
    }

    /// An operator that takes a vector of lanes `ty` and has a vector.
    fn vector_unary(&mut self, ty: ir::Type, op: UnaryOp) {
        let x = self.pop_vector(ty);
        let value = op(self.builder.ins(), x);
        self.push_vector(value);
    }

    /// An operator that takes two vectors of lanes `ty` and has a vector.
    fn vector_binary(&mut self, ty: ir::Type, op: BinaryOp) {
        let (x, y) = self.pop_vectors(ty);
        let value = op(self.builder.ins(), x, y);
        self.push_vector(value);
    }

    /// An operator that makes lanes of type `to` of those of type `from`.
    fn vector_convert(&mut self, from: ir::Type, to: ir::Type, op: ConvertOp) {
        let x = self.pop_vector(from);
        let value = op(self.builder.ins(), to, x);
        self.push_vector(value);
    }

    /// A shift of each lane by the same number of bits, modulo the lane's width.
    fn vector_shift(&mut self, ty: ir::Type, op: BinaryOp) {
        let count = self.stacks.pop();
        let x = self.pop_vector(ty);
        let value = op(self.builder.ins(), x, count);
        self.push_vector(value);
    }

    /// A comparison of integers: all bits of a lane, or none.
    fn vector_icmp(&mut self, ty: ir::Type, cc: IntCC) {
        let (x, y) = self.pop_vectors(ty);
        let value = self.builder.ins().icmp(cc, x, y);
        self.push_vector(value);
    }

    /// A comparison of floats: all bits of a lane, or none.
    fn vector_fcmp(&mut self, ty: ir::Type, cc: FloatCC) {
        let (x, y) = self.pop_vectors(ty);
        let value = self.builder.ins().fcmp(cc, x, y);
        self.push_vector(value);
    }

    /// A question to a vector of lanes `ty`, whose answer is an i8.
    fn vector_test(&mut self, ty: ir::Type, op: UnaryOp) {
        let x = self.pop_vector(ty);
        let value = op(self.builder.ins(), x);
        let value = self.builder.ins().uextend(I32, value);
        self.stacks.push(value);
    }

    /// A vector of zeros.
    pub(crate) fn zero_vector(&mut self, ty: ir::Type) -> Value {
        let zero = self.builder.func.dfg.constants.insert([0; 16].as_slice().into());
        self.builder.ins().vconst(ty, zero)
    }
}
