//! Relaxed operators, of whose results the specification lets the machine choose some.
//!
//! What may be chosen is a result where a lane's operand is no usual one: an index that is out of
//! range, a number that does not fit, a NaN. [`RelaxedSimd`](crate::RelaxedSimd) says who chooses.

use cranelift_codegen::ir::types::{F32X4, F64X2, I8X16, I16X8, I32X4, I64X2};
use cranelift_codegen::ir::{self, InstBuilder, Value};
use wasmparser::Operator;

use crate::translation::Translation;
use crate::{FuncEnvironment, WasmResult};

impl<E: FuncEnvironment> Translation<'_, '_, E> {
    /// Translates a relaxed operator.
    pub(super) fn relaxed_operator(&mut self, operator: &Operator<'_>) -> WasmResult<()> {
        use Operator as Op;
        match operator {
            Op::I8x16RelaxedSwizzle => self.relaxed_swizzle(),
            Op::I32x4RelaxedTruncF32x4S => self.relaxed_truncate(),
            Op::I32x4RelaxedTruncF32x4U => {
                self.vector_convert(F32X4, I32X4, |ins, ty, x| ins.fcvt_to_uint_sat(ty, x));
            }
            Op::I32x4RelaxedTruncF64x2SZero => self.relaxed_truncate_zero(),
            Op::I32x4RelaxedTruncF64x2UZero => self.truncate_sat_u_zero(),
            Op::F32x4RelaxedMadd => self.relaxed_madd(F32X4, false),
            Op::F32x4RelaxedNmadd => self.relaxed_madd(F32X4, true),
            Op::F64x2RelaxedMadd => self.relaxed_madd(F64X2, false),
            Op::F64x2RelaxedNmadd => self.relaxed_madd(F64X2, true),
            Op::I8x16RelaxedLaneselect => self.relaxed_laneselect(I8X16),
            Op::I16x8RelaxedLaneselect => self.relaxed_laneselect(I16X8),
            Op::I32x4RelaxedLaneselect => self.relaxed_laneselect(I32X4),
            Op::I64x2RelaxedLaneselect => self.relaxed_laneselect(I64X2),
            Op::F32x4RelaxedMin => self.relaxed_min(F32X4),
            Op::F32x4RelaxedMax => self.relaxed_max(F32X4),
            Op::F64x2RelaxedMin => self.relaxed_min(F64X2),
            Op::F64x2RelaxedMax => self.relaxed_max(F64X2),
            Op::I16x8RelaxedQ15mulrS => self.relaxed_q15mulr(),
            Op::I16x8RelaxedDotI8x16I7x16S => {
                let (x, y) = self.pop_vectors(I8X16);
                let value = self.relaxed_dot(x, y);
                self.push_vector(value);
            }
            Op::I32x4RelaxedDotI8x16I7x16AddS => self.relaxed_dot_add(),
            // The last of the tables asks those for all that is left.
            _ if self.atomic_operator(operator)? => {}
            _ => return Err(self.unsupported(operator)),
        }
        Ok(())
    }

    /// Whether the instructions of x86-64 may choose.
    fn x86_chooses(&self) -> bool {
        self.env.relaxed_simd().x86
    }

    fn relaxed_swizzle(&mut self) {
        if self.x86_chooses() {
            self.vector_binary(I8X16, |ins, x, y| ins.x86_pshufb(x, y));
        } else {
            self.vector_binary(I8X16, |ins, x, y| ins.swizzle(x, y));
        }
    }

    fn relaxed_truncate(&mut self) {
        if self.x86_chooses() {
            self.vector_convert(F32X4, I32X4, |ins, ty, x| ins.x86_cvtt2dq(ty, x));
        } else {
            self.vector_convert(F32X4, I32X4, |ins, ty, x| ins.fcvt_to_sint_sat(ty, x));
        }
    }

    fn relaxed_truncate_zero(&mut self) {
        if !self.x86_chooses() {
            return self.truncate_sat_s_zero();
        }
        let x = self.pop_vector(F64X2);
        let wide = self.builder.ins().x86_cvtt2dq(I64X2, x);
        let zero = self.zero_vector(I64X2);
        let value = self.builder.ins().snarrow(wide, zero);
        self.push_vector(value);
    }

    /// A product, negated or not, and a sum.
    fn relaxed_madd(&mut self, ty: ir::Type, negated: bool) {
        let z = self.pop_vector(ty);
        let (x, y) = self.pop_vectors(ty);
        let x = if negated { self.builder.ins().fneg(x) } else { x };
        let value = if self.env.relaxed_simd().fused {
            self.builder.ins().fma(x, y, z)
        } else {
            let product = self.builder.ins().fmul(x, y);
            self.builder.ins().fadd(product, z)
        };
        self.push_vector(value);
    }

    fn relaxed_laneselect(&mut self, ty: ir::Type) {
        let mask = self.pop_vector(ty);
        let (x, y) = self.pop_vectors(ty);
        // There is no instruction that looks at one bit of each lane of 16.
        let value = if self.x86_chooses() && ty != I16X8 {
            self.builder.ins().blendv(mask, x, y)
        } else {
            self.builder.ins().bitselect(mask, x, y)
        };
        self.push_vector(value);
    }

    fn relaxed_min(&mut self, ty: ir::Type) {
        if self.x86_chooses() {
            self.pseudo_min(ty);
        } else {
            self.vector_binary(ty, |ins, x, y| ins.fmin(x, y));
        }
    }

    fn relaxed_max(&mut self, ty: ir::Type) {
        if self.x86_chooses() {
            self.pseudo_max(ty);
        } else {
            self.vector_binary(ty, |ins, x, y| ins.fmax(x, y));
        }
    }

    fn relaxed_q15mulr(&mut self) {
        if self.x86_chooses() {
            self.vector_binary(I16X8, |ins, x, y| ins.x86_pmulhrsw(x, y));
        } else {
            self.vector_binary(I16X8, |ins, x, y| ins.sqmul_round_sat(x, y));
        }
    }

    /// The sums of the products of two lanes beside each other, as i16x8. The lanes of `y` are meant
    /// to have seven bits; with eight, they are signed or not.
    fn relaxed_dot(&mut self, x: Value, y: Value) -> Value {
        if self.x86_chooses() {
            return self.builder.ins().x86_pmaddubsw(x, y);
        }
        let x_low = self.builder.ins().swiden_low(x);
        let y_low = self.builder.ins().swiden_low(y);
        let low = self.builder.ins().imul(x_low, y_low);
        let x_high = self.builder.ins().swiden_high(x);
        let y_high = self.builder.ins().swiden_high(y);
        let high = self.builder.ins().imul(x_high, y_high);
        self.builder.ins().iadd_pairwise(low, high)
    }

    /// `i32x4.relaxed_dot_i8x16_i7x16_add_s`.
    fn relaxed_dot_add(&mut self) {
        let sum = self.pop_vector(I32X4);
        let (x, y) = self.pop_vectors(I8X16);
        let dot = self.relaxed_dot(x, y);
        let low = self.builder.ins().swiden_low(dot);
        let high = self.builder.ins().swiden_high(dot);
        let dot = self.builder.ins().iadd_pairwise(low, high);
        let value = self.builder.ins().iadd(dot, sum);
        self.push_vector(value);
    }
}
