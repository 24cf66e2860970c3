//! Constants, arithmetic, comparisons and conversions.
//!
//! CLIF's instructions have the semantics of wasm: shift counts are taken modulo the width, `fmin`
//! and `fmax` propagate NaN and order the zeros, `srem` of the least value by -1 is 0, and the
//! conversions to integers trap or saturate.

use cranelift_codegen::ir::condcodes::{CondCode, FloatCC, IntCC};
use cranelift_codegen::ir::immediates::{Ieee32, Ieee64};
use cranelift_codegen::ir::{self, InstBuilder, InstructionData, TrapCode, Value, types};
use cranelift_frontend::FuncInstBuilder;

use crate::FuncEnvironment;
use crate::translation::Translation;

/// Makes the instruction of an operator that takes one value.
pub(crate) type UnaryOp = fn(FuncInstBuilder<'_, '_>, Value) -> Value;
/// Makes the instruction of an operator that takes two values.
pub(crate) type BinaryOp = fn(FuncInstBuilder<'_, '_>, Value, Value) -> Value;
/// Makes the instruction of an operator that converts a value to another type.
pub(crate) type ConvertOp = fn(FuncInstBuilder<'_, '_>, ir::Type, Value) -> Value;

/// The divisions and remainders.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Division {
    DivS,
    DivU,
    RemS,
    RemU,
}

impl<E: FuncEnvironment> Translation<'_, '_, E> {
    /// `i32.const`.
    pub(crate) fn i32_const(&mut self, value: i32) {
        let value = self.builder.ins().iconst(types::I32, i64::from(value));
        self.stacks.push(value);
    }

    /// `i64.const`.
    pub(crate) fn i64_const(&mut self, value: i64) {
        let value = self.builder.ins().iconst(types::I64, value);
        self.stacks.push(value);
    }

    /// `f32.const`.
    pub(crate) fn f32_const(&mut self, value: wasmparser::Ieee32) {
        let value = Ieee32::with_bits(value.bits());
        let value = self.builder.ins().f32const(value);
        self.stacks.push(value);
    }

    /// `f64.const`.
    pub(crate) fn f64_const(&mut self, value: wasmparser::Ieee64) {
        let value = Ieee64::with_bits(value.bits());
        let value = self.builder.ins().f64const(value);
        self.stacks.push(value);
    }

    /// An operator that takes one value and has one of the same type.
    pub(crate) fn unary(&mut self, op: UnaryOp) {
        let value = self.stacks.pop();
        let value = op(self.builder.ins(), value);
        self.stacks.push(value);
    }

    /// An operator that takes two values and has one of the same type.
    pub(crate) fn binary(&mut self, op: BinaryOp) {
        let (x, y) = self.stacks.pop2();
        let value = op(self.builder.ins(), x, y);
        self.stacks.push(value);
    }

    /// An operator that makes of a value one of type `to`.
    pub(crate) fn convert(&mut self, to: ir::Type, op: ConvertOp) {
        let value = self.stacks.pop();
        let value = op(self.builder.ins(), to, value);
        self.stacks.push(value);
    }

    /// `extend8_s` and its like: the low bits of `from`, sign-extended to the value's own type.
    pub(crate) fn extend_low(&mut self, from: ir::Type) {
        let value = self.stacks.pop();
        let ty = self.builder.func.dfg.value_type(value);
        let low = self.builder.ins().ireduce(from, value);
        let value = self.builder.ins().sextend(ty, low);
        self.stacks.push(value);
    }

    /// A comparison of integers.
    pub(crate) fn icmp(&mut self, cc: IntCC) {
        let (x, y) = self.stacks.pop2();
        let value = self.builder.ins().icmp(cc, x, y);
        self.push_comparison(value);
    }

    /// A comparison of floats.
    pub(crate) fn fcmp(&mut self, cc: FloatCC) {
        let (x, y) = self.stacks.pop2();
        let value = self.builder.ins().fcmp(cc, x, y);
        self.push_comparison(value);
    }

    /// `eqz`.
    ///
    /// Of a comparison it makes the opposite comparison, which a branch can use directly.
    pub(crate) fn eqz(&mut self) {
        let value = self.stacks.pop();
        let comparison = self.comparison_behind(value);
        let dfg = &self.builder.func.dfg;
        let data =
            comparison.and_then(|value| dfg.value_def(value).inst()).map(|inst| dfg.insts[inst]);
        let value = match data {
            Some(InstructionData::IntCompare { cond, args, .. }) => {
                let cond = cond.complement();
                self.builder.ins().icmp(cond, args[0], args[1])
            }
            Some(InstructionData::FloatCompare { cond, args, .. }) => {
                let cond = cond.complement();
                self.builder.ins().fcmp(cond, args[0], args[1])
            }
            _ => self.builder.ins().icmp_imm_u(IntCC::Equal, value, 0),
        };
        self.push_comparison(value);
    }

    /// A division or remainder.
    pub(crate) fn divide(&mut self, division: Division) {
        let (x, y) = self.stacks.pop2();
        if self.env.explicit_division_traps() {
            self.check_division(division, x, y);
        }
        let ins = self.builder.ins();
        let value = match division {
            Division::DivS => ins.sdiv(x, y),
            Division::DivU => ins.udiv(x, y),
            Division::RemS => ins.srem(x, y),
            Division::RemU => ins.urem(x, y),
        };
        self.stacks.push(value);
    }

    /// Traps where `x` cannot be divided by `y`.
    fn check_division(&mut self, division: Division, x: Value, y: Value) {
        let known = self.known_integer(y);
        if known.is_none_or(|y| y == 0) {
            let zero = self.builder.ins().icmp_imm_u(IntCC::Equal, y, 0);
            self.env.trapnz(&mut self.builder, zero, TrapCode::INTEGER_DIVISION_BY_ZERO);
        }
        if division == Division::DivS && known.is_none_or(|y| y == -1) {
            let ty = self.builder.func.dfg.value_type(x);
            let least = i64::MIN >> (64 - ty.bits());
            let least = self.builder.ins().icmp_imm_s(IntCC::Equal, x, least);
            let overflow = if known.is_some() {
                least
            } else {
                let negates = self.builder.ins().icmp_imm_s(IntCC::Equal, y, -1);
                self.builder.ins().band(least, negates)
            };
            self.env.trapnz(&mut self.builder, overflow, TrapCode::INTEGER_OVERFLOW);
        }
    }

    /// Pushes a comparison's i8 as an i32.
    fn push_comparison(&mut self, value: Value) {
        let value = self.builder.ins().uextend(types::I32, value);
        self.stacks.push(value);
    }
}
