//! What is known of the fuel counter where a guest traps; see [`super`].

use cranelift_codegen::ir::{InstBuilder, TrapCode, Value};
use cranelift_frontend::FunctionBuilder;
use wasmparser::Operator;

use super::super::Env;
use super::{Access, Tracking};
use crate::compile::costs::{OperatorClass, class_of};
use crate::compile::traps;

impl Env<'_> {
    /// Traps; terminates the current block.
    pub(in crate::compile::env) fn trap(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        code: TrapCode,
    ) {
        // Cranelift moves a block that ends in a trap out of line, and does not tell of such blocks
        // where values are: there must be no accesses to memory in it.
        let block = builder.create_block();
        builder.ins().jump(block, &[]);
        builder.switch_to_block(block);
        builder.seal_block(block);
        builder.set_cold_block(block);
        self.locate(builder);
        self.return_fuel(builder);
        if self.fuel.tracking == Tracking::Off {
            // Keeps Cranelift from merging the trap into the branch, with the branch's location.
            builder.ins().sequence_point();
        }
        builder.ins().trap(code);
    }

    /// Traps where `condition` is not zero.
    pub(in crate::compile::env) fn trap_if(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        condition: Value,
        code: TrapCode,
    ) {
        self.locate(builder);
        let counter = match self.fuel.counter {
            Some(counter) if !self.fuel.handed_over => counter,
            _ => {
                builder.ins().trapnz(condition, code);
                return;
            }
        };
        let (trap, go_on) = (builder.create_block(), builder.create_block());
        builder.set_cold_block(trap);
        builder.ins().brif(condition, trap, &[], go_on, &[]);
        builder.switch_to_block(trap);
        builder.seal_block(trap);
        let value = builder.use_var(counter);
        let charged = self.plus(builder, value, -self.fuel.pending);
        builder.ins().set_pinned_reg(charged);
        builder.ins().trap(code);
        builder.switch_to_block(go_on);
        builder.seal_block(go_on);
    }

    /// Prepares for an access to memory, which may fault with the code that is answered.
    pub(in crate::compile::env) fn prepare_access(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
    ) -> TrapCode {
        let code = traps::access(self.fuel.accesses.len() as u32);
        let Some(counter) = self.fuel.counter else { return code };
        let counter = if self.fuel.tracking == Tracking::Located {
            let (root, offset) = self.root(builder.use_var(counter));
            Some((root, offset - self.fuel.pending))
        } else {
            self.pin_fuel(builder);
            None
        };
        self.fuel.accesses.push(Access { operator: self.offset, code, counter });
        code
    }

    /// Puts what the counter is after the current operator into the pinned register, and goes on
    /// with the counter as it was.
    pub(in crate::compile::env) fn pin_fuel(&mut self, builder: &mut FunctionBuilder<'_>) {
        let Some(counter) = self.fuel.counter else { return };
        let value = builder.use_var(counter);
        let charged = self.plus(builder, value, -self.fuel.pending);
        builder.ins().set_pinned_reg(charged);
    }

    /// Prepares for the arithmetic operators that trap by themselves.
    ///
    /// They are slow and rare, and some trap out of line, so that the counter is pinned before
    /// each.
    pub(super) fn prepare_arithmetic(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        operator: &Operator<'_>,
    ) {
        let constant = self.constant.take();
        match operator {
            Operator::I32Const { value } => self.constant = Some(i64::from(*value)),
            Operator::I64Const { value } => self.constant = Some(*value),
            // A constant divisor other than these two cannot trap.
            _ if is_division(operator) && !matches!(constant, None | Some(0 | -1)) => {}
            _ if is_division(operator) || is_trapping_conversion(operator) => {
                self.locate(builder);
                self.pin_fuel(builder);
            }
            _ => {}
        }
    }
}

fn is_division(operator: &Operator<'_>) -> bool {
    class_of(operator) == Some(OperatorClass::Division)
}

fn is_trapping_conversion(operator: &Operator<'_>) -> bool {
    matches!(
        operator,
        Operator::I32TruncF32S
            | Operator::I32TruncF32U
            | Operator::I32TruncF64S
            | Operator::I32TruncF64U
            | Operator::I64TruncF32S
            | Operator::I64TruncF32U
            | Operator::I64TruncF64S
            | Operator::I64TruncF64U
    )
}
