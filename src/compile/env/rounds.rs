//! Short loops in metered code: which of them do several rounds for one look at the counter.
//!
//! Each round is charged and each look that is left out would have found fuel, since what
//! the rounds cost at the most is there before they begin. So what a guest consumes, and where its
//! slices end, do not depend on how a loop is written.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, InstBuilder, types};
use cranelift_frontend::FunctionBuilder;
use cranelift_wasm::Rounds;
use wasmparser::Operator;

use super::Env;
use crate::compile::costs::{OperatorClass, class_of, is_idle};
use crate::compile::settings::OptLevel;

/// How many rounds of a short loop follow one another. With more of them compiling takes longer, and
/// little is won.
const ROUNDS: u32 = 3;

impl Env<'_> {
    /// Whether there are such loops. Interrupts and deadlines are looked for in each round.
    pub(super) fn has_rounds(&self) -> bool {
        let settings = self.module.settings;
        let only_fuel = self.counts_fuel() && !settings.interruptable && !settings.epochs;
        only_fuel && settings.opt_level != OptLevel::None
    }

    /// How a loop of these operators is written, if all of them are quick.
    pub(super) fn rounds_of<'o>(
        &mut self,
        body: impl Iterator<Item = &'o Operator<'o>>,
    ) -> Option<Rounds> {
        let start = self.fuel.begin_rounds();
        let mut cost = 0;
        for operator in body {
            if !is_quick(operator) {
                return None;
            }
            cost += self.fuel.price(&self.module.settings.costs, operator);
        }
        self.fuel.free = start;
        Some(Rounds { count: ROUNDS, cost: cost * i64::from(ROUNDS - 1) })
    }

    /// Goes to `many` where the counter has enough for the rounds.
    pub(super) fn divide_loop(
        &self,
        builder: &mut FunctionBuilder<'_>,
        rounds: Rounds,
        many: Block,
        one: Block,
    ) {
        let Some(value) = self.fuel_counter(builder) else {
            builder.ins().jump(one, &[]);
            return;
        };
        let bound = builder.ins().iconst(types::I64, rounds.cost);
        let enough = builder.ins().icmp(IntCC::SignedGreaterThanOrEqual, value, bound);
        builder.ins().brif(enough, many, &[], one, &[]);
    }
}

/// Whether an operator costs the same each time, and takes no longer than looking at the counter.
///
/// Most short loops of real programs access memory. A look costs them 5 to 10 %, but each further
/// copy of them costs compiling as much as the loop itself.
fn is_quick(operator: &Operator<'_>) -> bool {
    use OperatorClass as Class;
    match class_of(operator) {
        Some(class) => matches!(
            class,
            Class::Constant
                | Class::Local
                | Class::Select
                | Class::Integer
                | Class::Multiplication
                | Class::Float
                | Class::Conversion
                | Class::Vector
                | Class::VectorMultiplication
                | Class::VectorFloat
                | Class::Branch
        ),
        None => is_idle(operator),
    }
}
