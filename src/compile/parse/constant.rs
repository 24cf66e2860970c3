//! Constant expressions.

use anyhow::{Result, bail};
use wasmparser::Operator;

use super::Parsed;
use crate::compile::info::ConstExpr;

impl Parsed<'_> {
    /// A constant expression, which the validator has passed.
    pub(super) fn constant(&mut self, expr: &wasmparser::ConstExpr<'_>) -> Result<ConstExpr> {
        let mut operators = expr.get_operators_reader();
        let offset = operators.original_position();
        let value = match operators.read()? {
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
            other => bail!("unsupported at offset {offset:#x}: {other:?} in a constant expression"),
        };
        match operators.read()? {
            Operator::End => Ok(value),
            other => bail!("unsupported at offset {offset:#x}: {other:?} in a constant expression"),
        }
    }
}
