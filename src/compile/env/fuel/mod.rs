//! Fuel: what operators cost (by the tables of `compile::costs`), when the counter is charged, and when it is checked.
//!
//! Between functions the counter is in the pinned register; inside of one it is an SSA value, so
//! that it costs no memory access and no fixed register. Costs are gathered in `pending` and
//! charged at once before control goes elsewhere. The counter is checked at the function's entry,
//! at loop heads, and within a line of very many operators; below zero, the slice is gone.
//!
//! After a trap the counter must be known exactly. Checks of ours trap in a cold block which first
//! puts the counter into the pinned register; divisions and conversions have it put there before
//! they start. Loads and stores are too many for that: for them a record of the SSA value and
//! what was pending is kept, and after register allocation `compile::fuel_sites` finds out where
//! the value lives ([`Tracking::Located`]). Where that fails the function is compiled again with
//! the counter put into the pinned register before each of them ([`Tracking::WriteThrough`]).

mod at_traps;

use std::collections::HashMap;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, InstBuilder, TrapCode, Value, types};
use cranelift_frontend::{FunctionBuilder, Variable};
use wasmparser::Operator;

use super::Env;
use super::bulk::go_if;
use crate::compile::costs::{OperatorClass, OperatorCosts, class_of, is_idle};
use crate::vm::layout::{BYTES_PER_FUEL, Builtin};

/// How the counter is found when an access to memory faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::compile) enum Tracking {
    /// Fuel is not counted.
    Off,
    /// By a record of the SSA value.
    Located,
    /// In the pinned register.
    WriteThrough,
}

/// An access to memory in a metered function. At all other traps the counter is in the pinned
/// register.
#[derive(Clone, Copy, Debug)]
pub(in crate::compile) struct Access {
    /// The offset of the operator in the module.
    pub(in crate::compile) operator: u32,
    pub(in crate::compile) code: TrapCode,
    /// Where the counter is, if it is not in the pinned register: a value that was not made from
    /// another one here, and the constant to add.
    pub(in crate::compile) counter: Option<(Value, i64)>,
}

/// Of so many operators in a row one is not free.
const MAX_FREE: u32 = 64;

/// The state of a function's fuel during translation.
pub(super) struct Fuel {
    tracking: Tracking,
    /// The counter, less than `pending` has not been taken from yet.
    counter: Option<Variable>,
    pending: i64,
    /// How many operators before the current one are free, of those that do work.
    pub(super) free: u32,
    /// How many there were where the loop began that is written in rounds.
    free_before_rounds: u32,
    /// Whether the counter is in the pinned register, all charged.
    handed_over: bool,
    /// Values made here, as another value plus a constant.
    derived: HashMap<Value, (Value, i64)>,
    accesses: Vec<Access>,
}

impl Fuel {
    pub(super) fn new(tracking: Tracking) -> Self {
        Self {
            tracking,
            counter: None,
            pending: 0,
            free: 0,
            free_before_rounds: 0,
            handed_over: false,
            derived: HashMap::new(),
            accesses: Vec::new(),
        }
    }

    pub(super) fn finish(self) -> Vec<Access> {
        self.accesses
    }

    /// Notes that a loop which is written in rounds is about to begin. Answers how many operators
    /// before it are free.
    pub(super) fn begin_rounds(&mut self) -> u32 {
        self.free_before_rounds = self.free;
        self.free
    }

    /// An operator costs the same in each of the rounds in which it is written.
    pub(super) fn begin_round(&mut self) {
        self.free = self.free_before_rounds;
    }

    /// What an operator costs, beside the work that is charged by size.
    ///
    /// Each of these costs something after so many that are free, so that no guest computes for
    /// nothing. Where they stand decides, not which way the guest takes: a way around one begins with
    /// a branch, which costs something, too.
    pub(super) fn price(&mut self, costs: &OperatorCosts, operator: &Operator<'_>) -> i64 {
        let units = match class_of(operator) {
            Some(class) => costs.cost(class),
            None if is_idle(operator) => return 0,
            None => 1,
        };
        self.free = if units == 0 { self.free + 1 } else { 0 };
        if self.free < MAX_FREE {
            return units.into();
        }
        self.free = 0;
        1
    }
}

/// Whether control may leave the straight line at an operator. Calls and conditional branches are
/// seen to where they are made.
fn transfers_control(operator: &Operator<'_>) -> bool {
    matches!(
        operator,
        Operator::Loop { .. }
            | Operator::If { .. }
            | Operator::Else
            | Operator::End
            | Operator::Br { .. }
            | Operator::BrTable { .. }
            | Operator::Return
            | Operator::TryTable { .. }
    )
}

impl Env<'_> {
    /// Takes the counter over from the caller and checks it.
    pub(super) fn enter_fuel(&mut self, builder: &mut FunctionBuilder<'_>) {
        if self.fuel.tracking == Tracking::Off {
            return;
        }
        let counter = builder.declare_var(types::I64);
        self.fuel.counter = Some(counter);
        let value = builder.ins().get_pinned_reg(types::I64);
        builder.def_var(counter, value);
        // Entering is charged with the first segment; the check counts it in.
        self.fuel.pending = self.module.settings.costs.cost(OperatorClass::FunctionEntry).into();
        self.check_fuel(builder);
    }

    /// Whether fuel is counted.
    pub(super) fn counts_fuel(&self) -> bool {
        self.fuel.tracking != Tracking::Off
    }

    /// The counter, if there is one and nothing is pending.
    pub(super) fn fuel_counter(&self, builder: &mut FunctionBuilder<'_>) -> Option<Value> {
        debug_assert_eq!(self.fuel.pending, 0);
        self.fuel.counter.map(|counter| builder.use_var(counter))
    }

    /// Charges all, and checks the counter.
    pub(super) fn check_fuel_in_line(&mut self, builder: &mut FunctionBuilder<'_>) {
        self.flush(builder);
        self.check_fuel(builder);
    }

    /// Calls the host if the slice is gone.
    fn check_fuel(&mut self, builder: &mut FunctionBuilder<'_>) {
        let Some(counter) = self.fuel.counter else { return };
        let pending = self.fuel.pending;
        let value = builder.use_var(counter);
        let bound = builder.ins().iconst(types::I64, pending);
        let gone = builder.ins().icmp(IntCC::SignedLessThan, value, bound);
        let (refill, go_on) = (builder.create_block(), builder.create_block());
        builder.set_cold_block(refill);
        builder.ins().brif(gone, refill, &[], go_on, &[]);

        builder.switch_to_block(refill);
        builder.seal_block(refill);
        self.locate(builder);
        let charged = self.plus(builder, value, -pending);
        builder.ins().set_pinned_reg(charged);
        let stub = self.stub(builder, Builtin::out_of_fuel);
        builder.ins().call(stub, &[self.context]);
        let refilled = builder.ins().get_pinned_reg(types::I64);
        let refilled = self.plus(builder, refilled, pending);
        builder.def_var(counter, refilled);
        builder.ins().jump(go_on, &[]);

        builder.switch_to_block(go_on);
        builder.seal_block(go_on);
    }

    /// Counts an operator, which is about to be executed.
    pub(super) fn charge(&mut self, builder: &mut FunctionBuilder<'_>, operator: &Operator<'_>) {
        if self.fuel.tracking != Tracking::Off {
            self.fuel.pending += self.fuel.price(&self.module.settings.costs, operator);
            if transfers_control(operator) {
                self.flush(builder);
            }
        }
        self.prepare_arithmetic(builder, operator);
    }

    /// Counts the bytes that an operator moves in line, as its builtin would.
    pub(super) fn charge_bytes(&mut self, len: u64) {
        if self.fuel.tracking != Tracking::Off {
            self.fuel.pending += (len / BYTES_PER_FUEL) as i64;
        }
    }

    /// Takes `cost`, which is made if it is wanted, from the counter; goes to `otherwise` without, if
    /// there is not enough. Nothing may be pending.
    pub(super) fn charge_unless(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        otherwise: Block,
        cost: impl FnOnce(&mut FunctionBuilder<'_>) -> Value,
    ) {
        debug_assert_eq!(self.fuel.pending, 0);
        let Some(counter) = self.fuel.counter else { return };
        let value = builder.use_var(counter);
        let cost = cost(builder);
        let rest = builder.ins().isub(value, cost);
        let zero = builder.ins().iconst(types::I64, 0);
        let gone = builder.ins().icmp(IntCC::SignedLessThan, rest, zero);
        go_if(builder, gone, otherwise);
        builder.def_var(counter, rest);
    }

    /// Takes what is pending from the counter.
    pub(super) fn flush(&mut self, builder: &mut FunctionBuilder<'_>) -> Option<Value> {
        let counter = self.fuel.counter?;
        let value = builder.use_var(counter);
        let pending = std::mem::take(&mut self.fuel.pending);
        if pending == 0 {
            return Some(value);
        }
        let value = self.plus(builder, value, -pending);
        builder.def_var(counter, value);
        Some(value)
    }

    /// Sees to what is pending before a `br_if`. Answers whether the way to the label is to be charged
    /// by [`Self::charge_edge`].
    ///
    /// What most branches do is to skip something, or to leave for a rare case: the way that goes
    /// straight on need not charge yet. A loop goes around, and is charged before the branch.
    pub(super) fn charge_branch(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        backward: bool,
    ) -> bool {
        if self.fuel.tracking == Tracking::Off || !backward {
            return self.fuel.pending > 0;
        }
        self.flush(builder);
        self.anchor(builder);
        false
    }

    /// Charges what is pending on one way of a branch; on the other it stays pending.
    pub(super) fn charge_edge(&mut self, builder: &mut FunctionBuilder<'_>) {
        let Some(counter) = self.fuel.counter else { return };
        let value = builder.use_var(counter);
        let value = self.plus(builder, value, -self.fuel.pending);
        builder.def_var(counter, value);
    }

    /// Lets what follows count from the counter as it is, which both ways of a branch take.
    ///
    /// The optimizer would let the way that goes straight on count from an earlier value. Then
    /// there are two of them across the branch, each in a register of its own, which costs two
    /// moves for each round of a loop. It does not see through a pair, which makes no code.
    fn anchor(&mut self, builder: &mut FunctionBuilder<'_>) {
        let Some(counter) = self.fuel.counter else { return };
        let value = builder.use_var(counter);
        let pair = builder.ins().iconcat(value, value);
        let (value, _) = builder.ins().isplit(pair);
        builder.def_var(counter, value);
    }

    /// Charges all and puts the counter where callees, callers and the host expect it. From here
    /// to [`Self::take_back_fuel`] traps find it there.
    pub(super) fn hand_over_fuel(&mut self, builder: &mut FunctionBuilder<'_>) {
        self.return_fuel(builder);
        self.fuel.handed_over = true;
    }

    /// Charges all and puts the counter where the caller expects it.
    pub(super) fn return_fuel(&mut self, builder: &mut FunctionBuilder<'_>) {
        if let Some(value) = self.flush(builder) {
            builder.ins().set_pinned_reg(value);
        }
    }

    /// Takes the counter back after a call.
    pub(super) fn take_back_fuel(&mut self, builder: &mut FunctionBuilder<'_>) {
        if let Some(counter) = self.fuel.counter {
            let value = builder.ins().get_pinned_reg(types::I64);
            builder.def_var(counter, value);
        }
        self.fuel.handed_over = false;
    }

    /// Goes on with other blocks after a call that does not come back.
    pub(super) fn keep_fuel(&mut self) {
        self.fuel.handed_over = false;
    }

    /// `value + amount`, made from the root so that no chain of sums arises.
    fn plus(&mut self, builder: &mut FunctionBuilder<'_>, value: Value, amount: i64) -> Value {
        let (root, offset) = self.root(value);
        let offset = offset + amount;
        if offset == 0 {
            return root;
        }
        // A subtraction has a shorter encoding than the sum that it equals.
        let constant = builder.ins().iconst(types::I64, -offset);
        let sum = builder.ins().isub(root, constant);
        self.fuel.derived.insert(sum, (root, offset));
        sum
    }

    fn root(&self, value: Value) -> (Value, i64) {
        self.fuel.derived.get(&value).copied().unwrap_or((value, 0))
    }
}
