//! Arithmetic of float lanes, and conversions.

use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::types::{F32X4, F64X2, I32X4, I64X2};
use cranelift_codegen::ir::{self, InstBuilder};
use wasmparser::Operator;

use crate::numeric::UnaryOp;
use crate::translation::Translation;
use crate::{FuncEnvironment, WasmResult};

impl<E: FuncEnvironment> Translation<'_, '_, E> {
    /// Translates an operator that computes float lanes.
    pub(super) fn vector_float_operator(&mut self, operator: &Operator<'_>) -> WasmResult<()> {
        use Operator as Op;
        match operator {
            // Comparisons.
            Op::F32x4Eq => self.vector_fcmp(F32X4, FloatCC::Equal),
            Op::F32x4Ne => self.vector_fcmp(F32X4, FloatCC::NotEqual),
            Op::F32x4Lt => self.vector_fcmp(F32X4, FloatCC::LessThan),
            Op::F32x4Gt => self.vector_fcmp(F32X4, FloatCC::GreaterThan),
            Op::F32x4Le => self.vector_fcmp(F32X4, FloatCC::LessThanOrEqual),
            Op::F32x4Ge => self.vector_fcmp(F32X4, FloatCC::GreaterThanOrEqual),
            Op::F64x2Eq => self.vector_fcmp(F64X2, FloatCC::Equal),
            Op::F64x2Ne => self.vector_fcmp(F64X2, FloatCC::NotEqual),
            Op::F64x2Lt => self.vector_fcmp(F64X2, FloatCC::LessThan),
            Op::F64x2Gt => self.vector_fcmp(F64X2, FloatCC::GreaterThan),
            Op::F64x2Le => self.vector_fcmp(F64X2, FloatCC::LessThanOrEqual),
            Op::F64x2Ge => self.vector_fcmp(F64X2, FloatCC::GreaterThanOrEqual),

            // Of each lane.
            Op::F32x4Abs => self.vector_unary(F32X4, |ins, x| ins.fabs(x)),
            Op::F32x4Neg => self.vector_unary(F32X4, |ins, x| ins.fneg(x)),
            Op::F32x4Ceil => self.vector_unary(F32X4, |ins, x| ins.ceil(x)),
            Op::F32x4Floor => self.vector_unary(F32X4, |ins, x| ins.floor(x)),
            Op::F32x4Trunc => self.vector_unary(F32X4, |ins, x| ins.trunc(x)),
            Op::F32x4Nearest => self.vector_unary(F32X4, |ins, x| ins.nearest(x)),
            Op::F32x4Sqrt => self.vector_unary(F32X4, |ins, x| ins.sqrt(x)),
            Op::F64x2Abs => self.vector_unary(F64X2, |ins, x| ins.fabs(x)),
            Op::F64x2Neg => self.vector_unary(F64X2, |ins, x| ins.fneg(x)),
            Op::F64x2Ceil => self.vector_unary(F64X2, |ins, x| ins.ceil(x)),
            Op::F64x2Floor => self.vector_unary(F64X2, |ins, x| ins.floor(x)),
            Op::F64x2Trunc => self.vector_unary(F64X2, |ins, x| ins.trunc(x)),
            Op::F64x2Nearest => self.vector_unary(F64X2, |ins, x| ins.nearest(x)),
            Op::F64x2Sqrt => self.vector_unary(F64X2, |ins, x| ins.sqrt(x)),

            // Of two.
            Op::F32x4Add => self.vector_binary(F32X4, |ins, x, y| ins.fadd(x, y)),
            Op::F32x4Sub => self.vector_binary(F32X4, |ins, x, y| ins.fsub(x, y)),
            Op::F32x4Mul => self.vector_binary(F32X4, |ins, x, y| ins.fmul(x, y)),
            Op::F32x4Div => self.vector_binary(F32X4, |ins, x, y| ins.fdiv(x, y)),
            Op::F32x4Min => self.vector_binary(F32X4, |ins, x, y| ins.fmin(x, y)),
            Op::F32x4Max => self.vector_binary(F32X4, |ins, x, y| ins.fmax(x, y)),
            Op::F32x4PMin => self.pseudo_min(F32X4),
            Op::F32x4PMax => self.pseudo_max(F32X4),
            Op::F64x2Add => self.vector_binary(F64X2, |ins, x, y| ins.fadd(x, y)),
            Op::F64x2Sub => self.vector_binary(F64X2, |ins, x, y| ins.fsub(x, y)),
            Op::F64x2Mul => self.vector_binary(F64X2, |ins, x, y| ins.fmul(x, y)),
            Op::F64x2Div => self.vector_binary(F64X2, |ins, x, y| ins.fdiv(x, y)),
            Op::F64x2Min => self.vector_binary(F64X2, |ins, x, y| ins.fmin(x, y)),
            Op::F64x2Max => self.vector_binary(F64X2, |ins, x, y| ins.fmax(x, y)),
            Op::F64x2PMin => self.pseudo_min(F64X2),
            Op::F64x2PMax => self.pseudo_max(F64X2),
            _ => return self.vector_conversion_operator(operator),
        }
        Ok(())
    }

    /// Translates a conversion from or to float lanes.
    fn vector_conversion_operator(&mut self, operator: &Operator<'_>) -> WasmResult<()> {
        use Operator as Op;
        match operator {
            Op::I32x4TruncSatF32x4S => {
                self.vector_convert(F32X4, I32X4, |ins, ty, x| ins.fcvt_to_sint_sat(ty, x));
            }
            Op::I32x4TruncSatF32x4U => {
                self.vector_convert(F32X4, I32X4, |ins, ty, x| ins.fcvt_to_uint_sat(ty, x));
            }
            Op::F32x4ConvertI32x4S => {
                self.vector_convert(I32X4, F32X4, |ins, ty, x| ins.fcvt_from_sint(ty, x));
            }
            Op::F32x4ConvertI32x4U => {
                self.vector_convert(I32X4, F32X4, |ins, ty, x| ins.fcvt_from_uint(ty, x));
            }
            Op::I32x4TruncSatF64x2SZero => self.truncate_sat_s_zero(),
            Op::I32x4TruncSatF64x2UZero => self.truncate_sat_u_zero(),
            Op::F64x2ConvertLowI32x4S => {
                self.convert_low(|ins, x| ins.swiden_low(x), |ins, x| ins.fcvt_from_sint(F64X2, x));
            }
            Op::F64x2ConvertLowI32x4U => {
                self.convert_low(|ins, x| ins.uwiden_low(x), |ins, x| ins.fcvt_from_uint(F64X2, x));
            }
            Op::F32x4DemoteF64x2Zero => self.vector_unary(F64X2, |ins, x| ins.fvdemote(x)),
            Op::F64x2PromoteLowF32x4 => self.vector_unary(F32X4, |ins, x| ins.fvpromote_low(x)),
            _ => return self.relaxed_operator(operator),
        }
        Ok(())
    }

    /// `pmin`: the second operand where it is less, else the first, whatever they are.
    pub(super) fn pseudo_min(&mut self, ty: ir::Type) {
        let (x, y) = self.pop_vectors(ty);
        self.second_where(FloatCC::LessThan, y, x, (x, y), ty);
    }

    /// `pmax`: the second operand where the first is less, else the first, whatever they are.
    pub(super) fn pseudo_max(&mut self, ty: ir::Type) {
        let (x, y) = self.pop_vectors(ty);
        self.second_where(FloatCC::LessThan, x, y, (x, y), ty);
    }

    /// Pushes the second value where `a` compares so with `b`, and the first elsewhere.
    fn second_where(
        &mut self,
        cc: FloatCC,
        a: ir::Value,
        b: ir::Value,
        (first, second): (ir::Value, ir::Value),
        ty: ir::Type,
    ) {
        let mask = self.builder.ins().fcmp(cc, a, b);
        let mask = self.view(mask, ty);
        let value = self.builder.ins().bitselect(mask, second, first);
        self.push_vector(value);
    }

    /// Doubles from the two low lanes of a vector of i32.
    fn convert_low(&mut self, widen: UnaryOp, convert: UnaryOp) {
        let x = self.pop_vector(I32X4);
        let wide = widen(self.builder.ins(), x);
        let value = convert(self.builder.ins(), wide);
        self.push_vector(value);
    }

    /// `i32x4.trunc_sat_f64x2_s_zero`.
    pub(super) fn truncate_sat_s_zero(&mut self) {
        let x = self.pop_vector(F64X2);
        let wide = self.builder.ins().fcvt_to_sint_sat(I64X2, x);
        let zero = self.zero_vector(I64X2);
        let value = self.builder.ins().snarrow(wide, zero);
        self.push_vector(value);
    }

    /// `i32x4.trunc_sat_f64x2_u_zero`.
    pub(super) fn truncate_sat_u_zero(&mut self) {
        let x = self.pop_vector(F64X2);
        let wide = self.builder.ins().fcvt_to_uint_sat(I64X2, x);
        let zero = self.zero_vector(I64X2);
        let value = self.builder.ins().uunarrow(wide, zero);
        self.push_vector(value);
    }
}
