//! Constant expressions.

use anyhow::{Result, bail, ensure};
use wasmparser::Operator;

use super::Parsed;
use crate::compile::info::{ConstExpr, ConstOp, ConstWidth};

/// The most operators of an expression: what evaluates it does so at once.
const MAX_OPERATORS: usize = 10_000;

impl Parsed<'_> {
    /// A constant expression, which the validator has passed.
    pub(super) fn constant(&mut self, expr: &wasmparser::ConstExpr<'_>) -> Result<ConstExpr> {
        let mut operators = expr.get_operators_reader();
        let offset = operators.original_position();
        let mut ops = Vec::new();
        loop {
            match operators.read()? {
                Operator::End => break,
                operator => ops.push(self.const_op(&operator, offset)?),
            }
            ensure!(
                ops.len() <= MAX_OPERATORS,
                "the constant expression at offset {offset:#x} has more than {MAX_OPERATORS} \
                 operators"
            );
        }
        Ok(self.finish_constant(ops))
    }

    fn const_op(&mut self, operator: &Operator<'_>, offset: u64) -> Result<ConstOp> {
        let value = match *operator {
            Operator::I32Const { value } => ConstExpr::I32(value),
            Operator::I64Const { value } => ConstExpr::I64(value),
            Operator::F32Const { value } => ConstExpr::F32(value.bits()),
            Operator::F64Const { value } => ConstExpr::F64(value.bits()),
            Operator::V128Const { value } => ConstExpr::V128(u128::from_le_bytes(*value.bytes())),
            Operator::GlobalGet { global_index } => ConstExpr::GlobalGet(global_index),
            Operator::RefNull { .. } => ConstExpr::RefNull,
            Operator::RefFunc { function_index } => {
                self.escaping.add(function_index);
                ConstExpr::RefFunc(function_index)
            }
            Operator::I32Add => return Ok(ConstOp::Add(ConstWidth::I32)),
            Operator::I32Sub => return Ok(ConstOp::Sub(ConstWidth::I32)),
            Operator::I32Mul => return Ok(ConstOp::Mul(ConstWidth::I32)),
            Operator::I64Add => return Ok(ConstOp::Add(ConstWidth::I64)),
            Operator::I64Sub => return Ok(ConstOp::Sub(ConstWidth::I64)),
            Operator::I64Mul => return Ok(ConstOp::Mul(ConstWidth::I64)),
            ref other => {
                bail!("unsupported at offset {offset:#x}: {other:?} in a constant expression")
            }
        };
        Ok(ConstOp::Push(value))
    }

    /// The expression of these operators: a number, where it does not depend on globals.
    fn finish_constant(&mut self, ops: Vec<ConstOp>) -> ConstExpr {
        if let [ConstOp::Push(value)] = ops[..] {
            return value;
        }
        let depends = |op: &ConstOp| matches!(op, ConstOp::Push(ConstExpr::GlobalGet(_)));
        if ops.iter().any(depends) {
            self.info.arithmetic.push(ops.into());
            return ConstExpr::Arithmetic(self.info.arithmetic.len() as u32 - 1);
        }
        let value = ConstOp::evaluate(&ops, |value| match *value {
            ConstExpr::I32(value) => u64::from(value as u32),
            ConstExpr::I64(value) => value as u64,
            other => unreachable!("validated: {other:?} is no integer"),
        });
        match ops.last() {
            Some(
                ConstOp::Add(ConstWidth::I32)
                | ConstOp::Sub(ConstWidth::I32)
                | ConstOp::Mul(ConstWidth::I32),
            ) => ConstExpr::I32(value as i32),
            _ => ConstExpr::I64(value as i64),
        }
    }
}
