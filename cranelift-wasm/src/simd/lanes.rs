//! Constants, bits, single lanes, shuffles.

use cranelift_codegen::ir::types::{F32X4, F64X2, I8, I8X16, I16, I16X8, I32, I32X4, I64X2};
use cranelift_codegen::ir::{self, InstBuilder};
use wasmparser::Operator;

use super::VECTOR;
use crate::translation::Translation;
use crate::{FuncEnvironment, WasmResult};

impl<E: FuncEnvironment> Translation<'_, '_, E> {
    /// Translates an operator that makes vectors, looks into them, or moves their bits.
    pub(super) fn lane_operator(&mut self, operator: &Operator<'_>) -> WasmResult<()> {
        use Operator as Op;
        match *operator {
            Op::V128Const { value } => self.v128_const(value.bytes()),

            // Bits.
            Op::V128Not => self.vector_unary(VECTOR, |ins, x| ins.bnot(x)),
            Op::V128And => self.vector_binary(VECTOR, |ins, x, y| ins.band(x, y)),
            Op::V128AndNot => self.v128_andnot(),
            Op::V128Or => self.vector_binary(VECTOR, |ins, x, y| ins.bor(x, y)),
            Op::V128Xor => self.vector_binary(VECTOR, |ins, x, y| ins.bxor(x, y)),
            Op::V128Bitselect => self.v128_bitselect(),
            Op::V128AnyTrue => self.vector_test(VECTOR, |ins, x| ins.vany_true(x)),
            Op::I8x16AllTrue => self.vector_test(I8X16, |ins, x| ins.vall_true(x)),
            Op::I16x8AllTrue => self.vector_test(I16X8, |ins, x| ins.vall_true(x)),
            Op::I32x4AllTrue => self.vector_test(I32X4, |ins, x| ins.vall_true(x)),
            Op::I64x2AllTrue => self.vector_test(I64X2, |ins, x| ins.vall_true(x)),
            Op::I8x16Bitmask => self.bitmask(I8X16),
            Op::I16x8Bitmask => self.bitmask(I16X8),
            Op::I32x4Bitmask => self.bitmask(I32X4),
            Op::I64x2Bitmask => self.bitmask(I64X2),

            // Lanes by number.
            Op::I8x16Shuffle { lanes } => self.i8x16_shuffle(lanes),
            Op::I8x16Swizzle => self.vector_binary(I8X16, |ins, x, y| ins.swizzle(x, y)),

            // All lanes the same.
            Op::I8x16Splat => self.splat_low(I8X16, I8),
            Op::I16x8Splat => self.splat_low(I16X8, I16),
            Op::I32x4Splat => self.splat(I32X4),
            Op::I64x2Splat => self.splat(I64X2),
            Op::F32x4Splat => self.splat(F32X4),
            Op::F64x2Splat => self.splat(F64X2),

            // One lane.
            Op::I8x16ExtractLaneS { lane } => self.extract_signed(I8X16, lane),
            Op::I8x16ExtractLaneU { lane } => self.extract_unsigned(I8X16, lane),
            Op::I16x8ExtractLaneS { lane } => self.extract_signed(I16X8, lane),
            Op::I16x8ExtractLaneU { lane } => self.extract_unsigned(I16X8, lane),
            Op::I32x4ExtractLane { lane } => self.extract(I32X4, lane),
            Op::I64x2ExtractLane { lane } => self.extract(I64X2, lane),
            Op::F32x4ExtractLane { lane } => self.extract(F32X4, lane),
            Op::F64x2ExtractLane { lane } => self.extract(F64X2, lane),
            Op::I8x16ReplaceLane { lane } => self.replace_low(I8X16, I8, lane),
            Op::I16x8ReplaceLane { lane } => self.replace_low(I16X8, I16, lane),
            Op::I32x4ReplaceLane { lane } => self.replace(I32X4, lane),
            Op::I64x2ReplaceLane { lane } => self.replace(I64X2, lane),
            Op::F32x4ReplaceLane { lane } => self.replace(F32X4, lane),
            Op::F64x2ReplaceLane { lane } => self.replace(F64X2, lane),
            _ => return self.vector_integer_operator(operator),
        }
        Ok(())
    }

    /// `v128.const`.
    fn v128_const(&mut self, bytes: &[u8; 16]) {
        let constant = self.builder.func.dfg.constants.insert(bytes.as_slice().into());
        let vector = self.builder.ins().vconst(VECTOR, constant);
        self.stacks.push(vector);
    }

    /// `v128.andnot`: the bits of the first operand that the second does not have.
    fn v128_andnot(&mut self) {
        let (x, y) = self.pop_vectors(VECTOR);
        let y = self.builder.ins().bnot(y);
        let value = self.builder.ins().band(x, y);
        self.stacks.push(value);
    }

    /// `v128.bitselect`.
    fn v128_bitselect(&mut self) {
        let (x, y, mask) = self.stacks.pop3();
        let value = self.builder.ins().bitselect(mask, x, y);
        self.stacks.push(value);
    }

    /// The highest bit of each lane.
    fn bitmask(&mut self, ty: ir::Type) {
        let x = self.pop_vector(ty);
        let value = self.builder.ins().vhigh_bits(I32, x);
        self.stacks.push(value);
    }

    /// `i8x16.shuffle`.
    fn i8x16_shuffle(&mut self, lanes: [u8; 16]) {
        let (x, y) = self.pop_vectors(I8X16);
        let mask = self.builder.func.dfg.immediates.push(lanes.as_slice().into());
        let value = self.builder.ins().shuffle(x, y, mask);
        self.push_vector(value);
    }

    /// Every lane becomes the operand.
    fn splat(&mut self, ty: ir::Type) {
        let lane = self.stacks.pop();
        let value = self.builder.ins().splat(ty, lane);
        self.push_vector(value);
    }

    /// Every lane becomes the low bits of the operand.
    fn splat_low(&mut self, ty: ir::Type, lane: ir::Type) {
        let value = self.stacks.pop();
        let low = self.builder.ins().ireduce(lane, value);
        self.stacks.push(low);
        self.splat(ty);
    }

    /// A lane.
    fn extract(&mut self, ty: ir::Type, lane: u8) {
        let x = self.pop_vector(ty);
        let value = self.builder.ins().extractlane(x, lane);
        self.stacks.push(value);
    }

    /// A lane, sign-extended to an i32.
    fn extract_signed(&mut self, ty: ir::Type, lane: u8) {
        self.extract(ty, lane);
        self.convert(I32, |ins, ty, x| ins.sextend(ty, x));
    }

    /// A lane, zero-extended to an i32.
    fn extract_unsigned(&mut self, ty: ir::Type, lane: u8) {
        self.extract(ty, lane);
        self.convert(I32, |ins, ty, x| ins.uextend(ty, x));
    }

    /// The vector with another lane.
    fn replace(&mut self, ty: ir::Type, lane: u8) {
        let value = self.stacks.pop();
        let x = self.pop_vector(ty);
        let value = self.builder.ins().insertlane(x, value, lane);
        self.push_vector(value);
    }

    /// The vector with the low bits of the operand as another lane.
    fn replace_low(&mut self, ty: ir::Type, low: ir::Type, lane: u8) {
        self.convert(low, |ins, ty, x| ins.ireduce(ty, x));
        self.replace(ty, lane);
    }
}
