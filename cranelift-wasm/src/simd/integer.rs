//! Arithmetic of integer lanes.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I8X16, I16X8, I32X4, I64X2};
use cranelift_codegen::ir::{self, InstBuilder};
use wasmparser::Operator;

use crate::numeric::UnaryOp;
use crate::translation::Translation;
use crate::{FuncEnvironment, WasmResult};

impl<E: FuncEnvironment> Translation<'_, '_, E> {
    /// Translates an operator that computes lanes of the same width.
    pub(super) fn vector_integer_operator(&mut self, operator: &Operator<'_>) -> WasmResult<()> {
        use Operator as Op;
        match operator {
            // Of each lane.
            Op::I8x16Abs => self.vector_unary(I8X16, |ins, x| ins.iabs(x)),
            Op::I8x16Neg => self.vector_unary(I8X16, |ins, x| ins.ineg(x)),
            Op::I16x8Abs => self.vector_unary(I16X8, |ins, x| ins.iabs(x)),
            Op::I16x8Neg => self.vector_unary(I16X8, |ins, x| ins.ineg(x)),
            Op::I32x4Abs => self.vector_unary(I32X4, |ins, x| ins.iabs(x)),
            Op::I32x4Neg => self.vector_unary(I32X4, |ins, x| ins.ineg(x)),
            Op::I64x2Abs => self.vector_unary(I64X2, |ins, x| ins.iabs(x)),
            Op::I64x2Neg => self.vector_unary(I64X2, |ins, x| ins.ineg(x)),
            Op::I8x16Popcnt => self.vector_unary(I8X16, |ins, x| ins.popcnt(x)),

            // Shifts.
            Op::I8x16Shl => self.vector_shift(I8X16, |ins, x, y| ins.ishl(x, y)),
            Op::I8x16ShrS => self.vector_shift(I8X16, |ins, x, y| ins.sshr(x, y)),
            Op::I8x16ShrU => self.vector_shift(I8X16, |ins, x, y| ins.ushr(x, y)),
            Op::I16x8Shl => self.vector_shift(I16X8, |ins, x, y| ins.ishl(x, y)),
            Op::I16x8ShrS => self.vector_shift(I16X8, |ins, x, y| ins.sshr(x, y)),
            Op::I16x8ShrU => self.vector_shift(I16X8, |ins, x, y| ins.ushr(x, y)),
            Op::I32x4Shl => self.vector_shift(I32X4, |ins, x, y| ins.ishl(x, y)),
            Op::I32x4ShrS => self.vector_shift(I32X4, |ins, x, y| ins.sshr(x, y)),
            Op::I32x4ShrU => self.vector_shift(I32X4, |ins, x, y| ins.ushr(x, y)),
            Op::I64x2Shl => self.vector_shift(I64X2, |ins, x, y| ins.ishl(x, y)),
            Op::I64x2ShrS => self.vector_shift(I64X2, |ins, x, y| ins.sshr(x, y)),
            Op::I64x2ShrU => self.vector_shift(I64X2, |ins, x, y| ins.ushr(x, y)),

            // Sums, differences, products.
            Op::I8x16Add => self.vector_binary(I8X16, |ins, x, y| ins.iadd(x, y)),
            Op::I8x16Sub => self.vector_binary(I8X16, |ins, x, y| ins.isub(x, y)),
            Op::I16x8Add => self.vector_binary(I16X8, |ins, x, y| ins.iadd(x, y)),
            Op::I16x8Sub => self.vector_binary(I16X8, |ins, x, y| ins.isub(x, y)),
            Op::I16x8Mul => self.vector_binary(I16X8, |ins, x, y| ins.imul(x, y)),
            Op::I32x4Add => self.vector_binary(I32X4, |ins, x, y| ins.iadd(x, y)),
            Op::I32x4Sub => self.vector_binary(I32X4, |ins, x, y| ins.isub(x, y)),
            Op::I32x4Mul => self.vector_binary(I32X4, |ins, x, y| ins.imul(x, y)),
            Op::I64x2Add => self.vector_binary(I64X2, |ins, x, y| ins.iadd(x, y)),
            Op::I64x2Sub => self.vector_binary(I64X2, |ins, x, y| ins.isub(x, y)),
            Op::I64x2Mul => self.vector_binary(I64X2, |ins, x, y| ins.imul(x, y)),

            // The same, saturating.
            Op::I8x16AddSatS => self.vector_binary(I8X16, |ins, x, y| ins.sadd_sat(x, y)),
            Op::I8x16AddSatU => self.vector_binary(I8X16, |ins, x, y| ins.uadd_sat(x, y)),
            Op::I8x16SubSatS => self.vector_binary(I8X16, |ins, x, y| ins.ssub_sat(x, y)),
            Op::I8x16SubSatU => self.vector_binary(I8X16, |ins, x, y| ins.usub_sat(x, y)),
            Op::I16x8AddSatS => self.vector_binary(I16X8, |ins, x, y| ins.sadd_sat(x, y)),
            Op::I16x8AddSatU => self.vector_binary(I16X8, |ins, x, y| ins.uadd_sat(x, y)),
            Op::I16x8SubSatS => self.vector_binary(I16X8, |ins, x, y| ins.ssub_sat(x, y)),
            Op::I16x8SubSatU => self.vector_binary(I16X8, |ins, x, y| ins.usub_sat(x, y)),
            Op::I16x8Q15MulrSatS => {
                self.vector_binary(I16X8, |ins, x, y| ins.sqmul_round_sat(x, y))
            }

            // The least, the greatest, the mean.
            Op::I8x16MinS => self.vector_binary(I8X16, |ins, x, y| ins.smin(x, y)),
            Op::I8x16MinU => self.vector_binary(I8X16, |ins, x, y| ins.umin(x, y)),
            Op::I8x16MaxS => self.vector_binary(I8X16, |ins, x, y| ins.smax(x, y)),
            Op::I8x16MaxU => self.vector_binary(I8X16, |ins, x, y| ins.umax(x, y)),
            Op::I8x16AvgrU => self.vector_binary(I8X16, |ins, x, y| ins.avg_round(x, y)),
            Op::I16x8MinS => self.vector_binary(I16X8, |ins, x, y| ins.smin(x, y)),
            Op::I16x8MinU => self.vector_binary(I16X8, |ins, x, y| ins.umin(x, y)),
            Op::I16x8MaxS => self.vector_binary(I16X8, |ins, x, y| ins.smax(x, y)),
            Op::I16x8MaxU => self.vector_binary(I16X8, |ins, x, y| ins.umax(x, y)),
            Op::I16x8AvgrU => self.vector_binary(I16X8, |ins, x, y| ins.avg_round(x, y)),
            Op::I32x4MinS => self.vector_binary(I32X4, |ins, x, y| ins.smin(x, y)),
            Op::I32x4MinU => self.vector_binary(I32X4, |ins, x, y| ins.umin(x, y)),
            Op::I32x4MaxS => self.vector_binary(I32X4, |ins, x, y| ins.smax(x, y)),
            Op::I32x4MaxU => self.vector_binary(I32X4, |ins, x, y| ins.umax(x, y)),
            _ => return self.vector_comparison_operator(operator),
        }
        Ok(())
    }

    /// Translates a comparison.
    fn vector_comparison_operator(&mut self, operator: &Operator<'_>) -> WasmResult<()> {
        use Operator as Op;
        match operator {
            Op::I8x16Eq => self.vector_icmp(I8X16, IntCC::Equal),
            Op::I8x16Ne => self.vector_icmp(I8X16, IntCC::NotEqual),
            Op::I8x16LtS => self.vector_icmp(I8X16, IntCC::SignedLessThan),
            Op::I8x16LtU => self.vector_icmp(I8X16, IntCC::UnsignedLessThan),
            Op::I8x16GtS => self.vector_icmp(I8X16, IntCC::SignedGreaterThan),
            Op::I8x16GtU => self.vector_icmp(I8X16, IntCC::UnsignedGreaterThan),
            Op::I8x16LeS => self.vector_icmp(I8X16, IntCC::SignedLessThanOrEqual),
            Op::I8x16LeU => self.vector_icmp(I8X16, IntCC::UnsignedLessThanOrEqual),
            Op::I8x16GeS => self.vector_icmp(I8X16, IntCC::SignedGreaterThanOrEqual),
            Op::I8x16GeU => self.vector_icmp(I8X16, IntCC::UnsignedGreaterThanOrEqual),
            Op::I16x8Eq => self.vector_icmp(I16X8, IntCC::Equal),
            Op::I16x8Ne => self.vector_icmp(I16X8, IntCC::NotEqual),
            Op::I16x8LtS => self.vector_icmp(I16X8, IntCC::SignedLessThan),
            Op::I16x8LtU => self.vector_icmp(I16X8, IntCC::UnsignedLessThan),
            Op::I16x8GtS => self.vector_icmp(I16X8, IntCC::SignedGreaterThan),
            Op::I16x8GtU => self.vector_icmp(I16X8, IntCC::UnsignedGreaterThan),
            Op::I16x8LeS => self.vector_icmp(I16X8, IntCC::SignedLessThanOrEqual),
            Op::I16x8LeU => self.vector_icmp(I16X8, IntCC::UnsignedLessThanOrEqual),
            Op::I16x8GeS => self.vector_icmp(I16X8, IntCC::SignedGreaterThanOrEqual),
            Op::I16x8GeU => self.vector_icmp(I16X8, IntCC::UnsignedGreaterThanOrEqual),
            Op::I32x4Eq => self.vector_icmp(I32X4, IntCC::Equal),
            Op::I32x4Ne => self.vector_icmp(I32X4, IntCC::NotEqual),
            Op::I32x4LtS => self.vector_icmp(I32X4, IntCC::SignedLessThan),
            Op::I32x4LtU => self.vector_icmp(I32X4, IntCC::UnsignedLessThan),
            Op::I32x4GtS => self.vector_icmp(I32X4, IntCC::SignedGreaterThan),
            Op::I32x4GtU => self.vector_icmp(I32X4, IntCC::UnsignedGreaterThan),
            Op::I32x4LeS => self.vector_icmp(I32X4, IntCC::SignedLessThanOrEqual),
            Op::I32x4LeU => self.vector_icmp(I32X4, IntCC::UnsignedLessThanOrEqual),
            Op::I32x4GeS => self.vector_icmp(I32X4, IntCC::SignedGreaterThanOrEqual),
            Op::I32x4GeU => self.vector_icmp(I32X4, IntCC::UnsignedGreaterThanOrEqual),
            Op::I64x2Eq => self.vector_icmp(I64X2, IntCC::Equal),
            Op::I64x2Ne => self.vector_icmp(I64X2, IntCC::NotEqual),
            Op::I64x2LtS => self.vector_icmp(I64X2, IntCC::SignedLessThan),
            Op::I64x2GtS => self.vector_icmp(I64X2, IntCC::SignedGreaterThan),
            Op::I64x2LeS => self.vector_icmp(I64X2, IntCC::SignedLessThanOrEqual),
            Op::I64x2GeS => self.vector_icmp(I64X2, IntCC::SignedGreaterThanOrEqual),
            _ => return self.vector_width_operator(operator),
        }
        Ok(())
    }

    /// Translates an operator that makes lanes of another width.
    fn vector_width_operator(&mut self, operator: &Operator<'_>) -> WasmResult<()> {
        use Operator as Op;
        match operator {
            // Narrower lanes, of two vectors.
            Op::I8x16NarrowI16x8S => self.vector_binary(I16X8, |ins, x, y| ins.snarrow(x, y)),
            Op::I8x16NarrowI16x8U => self.vector_binary(I16X8, |ins, x, y| ins.unarrow(x, y)),
            Op::I16x8NarrowI32x4S => self.vector_binary(I32X4, |ins, x, y| ins.snarrow(x, y)),
            Op::I16x8NarrowI32x4U => self.vector_binary(I32X4, |ins, x, y| ins.unarrow(x, y)),

            // Wider lanes, of half a vector.
            Op::I16x8ExtendLowI8x16S => self.vector_unary(I8X16, |ins, x| ins.swiden_low(x)),
            Op::I16x8ExtendHighI8x16S => self.vector_unary(I8X16, |ins, x| ins.swiden_high(x)),
            Op::I16x8ExtendLowI8x16U => self.vector_unary(I8X16, |ins, x| ins.uwiden_low(x)),
            Op::I16x8ExtendHighI8x16U => self.vector_unary(I8X16, |ins, x| ins.uwiden_high(x)),
            Op::I32x4ExtendLowI16x8S => self.vector_unary(I16X8, |ins, x| ins.swiden_low(x)),
            Op::I32x4ExtendHighI16x8S => self.vector_unary(I16X8, |ins, x| ins.swiden_high(x)),
            Op::I32x4ExtendLowI16x8U => self.vector_unary(I16X8, |ins, x| ins.uwiden_low(x)),
            Op::I32x4ExtendHighI16x8U => self.vector_unary(I16X8, |ins, x| ins.uwiden_high(x)),
            Op::I64x2ExtendLowI32x4S => self.vector_unary(I32X4, |ins, x| ins.swiden_low(x)),
            Op::I64x2ExtendHighI32x4S => self.vector_unary(I32X4, |ins, x| ins.swiden_high(x)),
            Op::I64x2ExtendLowI32x4U => self.vector_unary(I32X4, |ins, x| ins.uwiden_low(x)),
            Op::I64x2ExtendHighI32x4U => self.vector_unary(I32X4, |ins, x| ins.uwiden_high(x)),

            // Products in wider lanes.
            Op::I16x8ExtMulLowI8x16S => self.extended_product(I8X16, |ins, x| ins.swiden_low(x)),
            Op::I16x8ExtMulHighI8x16S => self.extended_product(I8X16, |ins, x| ins.swiden_high(x)),
            Op::I16x8ExtMulLowI8x16U => self.extended_product(I8X16, |ins, x| ins.uwiden_low(x)),
            Op::I16x8ExtMulHighI8x16U => self.extended_product(I8X16, |ins, x| ins.uwiden_high(x)),
            Op::I32x4ExtMulLowI16x8S => self.extended_product(I16X8, |ins, x| ins.swiden_low(x)),
            Op::I32x4ExtMulHighI16x8S => self.extended_product(I16X8, |ins, x| ins.swiden_high(x)),
            Op::I32x4ExtMulLowI16x8U => self.extended_product(I16X8, |ins, x| ins.uwiden_low(x)),
            Op::I32x4ExtMulHighI16x8U => self.extended_product(I16X8, |ins, x| ins.uwiden_high(x)),
            Op::I64x2ExtMulLowI32x4S => self.extended_product(I32X4, |ins, x| ins.swiden_low(x)),
            Op::I64x2ExtMulHighI32x4S => self.extended_product(I32X4, |ins, x| ins.swiden_high(x)),
            Op::I64x2ExtMulLowI32x4U => self.extended_product(I32X4, |ins, x| ins.uwiden_low(x)),
            Op::I64x2ExtMulHighI32x4U => self.extended_product(I32X4, |ins, x| ins.uwiden_high(x)),
            Op::I32x4DotI16x8S => self.i32x4_dot_i16x8_s(),

            // Sums of neighbours in wider lanes.
            Op::I16x8ExtAddPairwiseI8x16S => {
                self.pairwise_sum(I8X16, |ins, x| ins.swiden_low(x), |ins, x| ins.swiden_high(x))
            }
            Op::I16x8ExtAddPairwiseI8x16U => {
                self.pairwise_sum(I8X16, |ins, x| ins.uwiden_low(x), |ins, x| ins.uwiden_high(x))
            }
            Op::I32x4ExtAddPairwiseI16x8S => {
                self.pairwise_sum(I16X8, |ins, x| ins.swiden_low(x), |ins, x| ins.swiden_high(x))
            }
            Op::I32x4ExtAddPairwiseI16x8U => {
                self.pairwise_sum(I16X8, |ins, x| ins.uwiden_low(x), |ins, x| ins.uwiden_high(x))
            }
            _ => return self.vector_float_operator(operator),
        }
        Ok(())
    }

    /// The products of half of the lanes, each as wide as two.
    fn extended_product(&mut self, ty: ir::Type, widen: UnaryOp) {
        let (x, y) = self.pop_vectors(ty);
        let x = widen(self.builder.ins(), x);
        let y = widen(self.builder.ins(), y);
        let value = self.builder.ins().imul(x, y);
        self.push_vector(value);
    }

    /// The sums of two lanes beside each other, as wide as these together.
    fn pairwise_sum(&mut self, ty: ir::Type, widen_low: UnaryOp, widen_high: UnaryOp) {
        let x = self.pop_vector(ty);
        let low = widen_low(self.builder.ins(), x);
        let high = widen_high(self.builder.ins(), x);
        let value = self.builder.ins().iadd_pairwise(low, high);
        self.push_vector(value);
    }

    /// `i32x4.dot_i16x8_s`: the sums of the products of two lanes beside each other.
    fn i32x4_dot_i16x8_s(&mut self) {
        let (x, y) = self.pop_vectors(I16X8);
        let x_low = self.builder.ins().swiden_low(x);
        let y_low = self.builder.ins().swiden_low(y);
        let low = self.builder.ins().imul(x_low, y_low);
        let x_high = self.builder.ins().swiden_high(x);
        let y_high = self.builder.ins().swiden_high(y);
        let high = self.builder.ins().imul(x_high, y_high);
        let value = self.builder.ins().iadd_pairwise(low, high);
        self.push_vector(value);
    }
}
