//! Lines of very many operators, which are divided.
//!
//! Each loop and each function begins with a check of the environment's, and between these code runs
//! forward only. But one function may have millions of operators: where too many come in a row
//! there is one more check.
//!
//! The optimizer moves what is computed from values alone to where it is wanted, over any number of
//! checks. So at larger intervals a number is made of all values that there are, and goes to a place
//! in the frame that nobody reads: by then they have to be there.

use cranelift_codegen::ir::{
    self, InstBuilder, MemFlagsData, StackSlot, StackSlotData, StackSlotKind, Value, types,
};
use wasmparser::Operator;

use crate::distance::Distance;
use crate::translation::Translation;
use crate::{FuncEnvironment, WasmResult};

/// The most operators between two checks, over in some microseconds.
const BETWEEN_CHECKS: u32 = 1_000;
/// The most operators, over in some ten microseconds, whose values may all be computed at once.
const UNSETTLED: u32 = 10_000;
/// Each local adds so many to these, so that the stores stay few beside them.
const UNSETTLED_PER_LOCAL: u32 = 10;

/// Where a function's lines are to be divided.
pub(crate) struct Lines {
    checks: Distance,
    settling: Distance,
    /// Which nobody reads.
    slot: Option<StackSlot>,
}

impl Lines {
    pub(crate) fn new() -> Self {
        let checks = Distance::new(BETWEEN_CHECKS, true);
        Self { checks, settling: Distance::new(UNSETTLED, false), slot: None }
    }
}

impl<E: FuncEnvironment> Translation<'_, '_, E> {
    /// Divides the line before an operator, if it is due.
    pub(crate) fn divide_line(
        &mut self,
        operator: &Operator<'_>,
        reachable: bool,
    ) -> WasmResult<()> {
        let Some(lines) = &mut self.lines else { return Ok(()) };
        let settle = lines.settling.pass(operator, reachable);
        let check = lines.checks.pass(operator, reachable);
        if settle {
            self.settle()?;
        }
        if check {
            self.env.long_line(&mut self.builder)?;
        }
        Ok(())
    }

    /// Has all values computed that are on the stack or in locals.
    fn settle(&mut self) -> WasmResult<()> {
        let Some(lines) = &mut self.lines else { return Ok(()) };
        let locals = self.locals.iter().filter(|local| local.in_use).map(|local| local.variable);
        let mut values = self.stacks.operands.clone();
        for local in locals {
            values.push(self.builder.use_var(local));
        }
        self.limits.work(values.len())?;
        let per_local = UNSETTLED_PER_LOCAL.saturating_mul(values.len() as u32);
        lines.settling.extend(per_local);
        let slot = *lines.slot.get_or_insert_with(|| {
            let data = StackSlotData::new(StackSlotKind::ExplicitSlot, 8, 3);
            self.builder.create_sized_stack_slot(data)
        });
        let mut sum = self.builder.ins().iconst(types::I64, 0);
        for value in values {
            let value = self.bits(value);
            // No two values cancel each other out, as they would without the rotation.
            let turned = self.builder.ins().rotl_imm_u(sum, 1);
            sum = self.builder.ins().bxor(turned, value);
        }
        let pointer = self.env.frontend_config().pointer_type();
        self.builder.ins().stack_store(pointer, sum, slot, 0);
        Ok(())
    }

    /// An i64 that takes the value to make.
    fn bits(&mut self, value: Value) -> Value {
        match self.builder.func.dfg.value_type(value) {
            types::I64 => value,
            types::I32 => self.builder.ins().uextend(types::I64, value),
            types::F32 => {
                let bits = self.builder.ins().bitcast(types::I32, MemFlagsData::new(), value);
                self.builder.ins().uextend(types::I64, bits)
            }
            ty if ty.bits() == 64 => {
                self.builder.ins().bitcast(types::I64, MemFlagsData::new(), value)
            }
            _ => {
                let flags = MemFlagsData::new().with_endianness(ir::Endianness::Little);
                let halves = self.builder.ins().bitcast(types::I64X2, flags, value);
                let low = self.builder.ins().extractlane(halves, 0);
                let high = self.builder.ins().extractlane(halves, 1);
                let turned = self.builder.ins().rotl_imm_u(high, 1);
                self.builder.ins().bxor(low, turned)
            }
        }
    }
}
