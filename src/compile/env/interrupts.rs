//! The check for interrupts and deadlines, at function entries and loop heads.
//!
//! `vm::interrupts` says what is compared and who writes it. Any thread may do so at any time, so
//! that the values are loaded anew by each check; only where they lie is constant. No load of one
//! check can serve the next one: the slow path between them is a call, which may change everything.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value, types};
use cranelift_frontend::FunctionBuilder;

use super::Env;
use crate::compile::signature::POINTER;
use crate::vm::layout::{Builtin, VMContext, VMDeadline};

impl Env<'_> {
    /// Calls the host if the store was interrupted, or its deadline has come.
    pub(super) fn check_interrupts(&mut self, builder: &mut FunctionBuilder<'_>) {
        let settings = self.module.settings;
        if !settings.interruptable && !settings.epochs {
            return;
        }
        let place = offset_of!(VMContext, deadline) as u32;
        let place = self.load_constant(builder, POINTER, self.context, place);
        let due = if settings.epochs {
            let epoch = offset_of!(VMDeadline, epoch) as u32;
            let epoch = self.load_constant(builder, POINTER, place, epoch);
            let epoch = load_shared(builder, epoch, 0);
            let deadline = load_shared(builder, place, offset_of!(VMDeadline, word));
            builder.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, epoch, deadline)
        } else {
            // The epoch is always zero.
            let deadline = load_shared(builder, place, offset_of!(VMDeadline, word));
            let zero = builder.ins().iconst(types::I64, 0);
            builder.ins().icmp(IntCC::Equal, deadline, zero)
        };
        let (attend, go_on) = (builder.create_block(), builder.create_block());
        builder.set_cold_block(attend);
        builder.ins().brif(due, attend, &[], go_on, &[]);

        builder.switch_to_block(attend);
        builder.seal_block(attend);
        self.locate(builder);
        // The host neither burns nor adds fuel there: the counter is not taken back.
        self.pin_fuel(builder);
        let stub = self.stub(builder, Builtin::interrupted);
        builder.ins().call(stub, &[self.context]);
        builder.ins().jump(go_on, &[]);

        builder.switch_to_block(go_on);
        builder.seal_block(go_on);
    }
}

/// Loads what other threads change.
fn load_shared(builder: &mut FunctionBuilder<'_>, base: Value, offset: usize) -> Value {
    builder.ins().load(types::I64, MemFlagsData::trusted(), base, offset as i32)
}
