//! How many operators lie between two of certain places on any way through a function.

use wasmparser::{Catch, Operator};

use crate::exceptions::may_throw;

/// What is known of a construct that is open.
struct Frame {
    /// The distance where it begins, for its second arm.
    entry: u32,
    /// The longest at the branches to its end; none if there are none.
    exit: Option<u32>,
    kind: Kind,
    /// How many clauses there are of the `try_table` constructs around it.
    clauses: usize,
}

/// A clause of a `try_table` that is open.
enum Clause {
    /// It leads to the end of this construct.
    To(usize),
    /// It leads to the end of the function.
    Away,
    /// Clauses before this one catch nothing: one behind it catches all.
    Barrier,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Block,
    Loop,
    /// An `if` before its `else`.
    If,
}

/// How many operators may have run since the last of these places, on the longest way to the current
/// operator. They are put where there would be more than `max`.
pub(crate) struct Distance {
    max: u32,
    /// Whether the head of each loop is such a place, too.
    loops: bool,
    operators: u32,
    frames: Vec<Frame>,
    clauses: Vec<Clause>,
}

impl Distance {
    pub(crate) fn new(max: u32, loops: bool) -> Self {
        Self { max, loops, operators: 0, frames: Vec::new(), clauses: Vec::new() }
    }

    /// Lets more operators be between two places, but not fewer.
    pub(crate) fn extend(&mut self, max: u32) {
        self.max = self.max.max(max);
    }

    /// Takes note of an operator, which is about to be translated. Answers whether it is to have a
    /// place before it.
    pub(crate) fn pass(&mut self, operator: &Operator<'_>, reachable: bool) -> bool {
        match operator {
            Operator::Block { .. } => self.enter(Kind::Block),
            Operator::If { .. } => self.enter(Kind::If),
            Operator::TryTable { try_table } => self.enter_try(&try_table.catches),
            Operator::Loop { .. } => {
                if self.loops {
                    self.operators = 0;
                }
                self.enter(Kind::Loop);
            }
            Operator::Else => self.begin_second_arm(reachable),
            Operator::End => self.leave(reachable),
            _ if reachable => return self.count(operator),
            _ => {}
        }
        false
    }

    fn count(&mut self, operator: &Operator<'_>) -> bool {
        let due = self.operators >= self.max;
        self.operators = if due { 1 } else { self.operators + 1 };
        match operator {
            Operator::Br { relative_depth }
            | Operator::BrIf { relative_depth }
            | Operator::BrOnNull { relative_depth }
            | Operator::BrOnNonNull { relative_depth }
            | Operator::BrOnCast { relative_depth, .. }
            | Operator::BrOnCastFail { relative_depth, .. } => self.branch(*relative_depth),
            Operator::BrTable { targets } => {
                // What is malformed the validator refuses.
                targets.targets().flatten().for_each(|depth| self.branch(depth));
                self.branch(targets.default());
            }
            _ if may_throw(operator) => self.throw(),
            _ => {}
        }
        due
    }

    fn enter(&mut self, kind: Kind) {
        let (entry, clauses) = (self.operators, self.clauses.len());
        self.frames.push(Frame { entry, exit: None, kind, clauses });
    }

    fn enter_try(&mut self, catches: &[Catch]) {
        let clauses = self.clauses.len();
        if catches.iter().any(|catch| matches!(catch, Catch::All { .. } | Catch::AllRef { .. })) {
            self.clauses.push(Clause::Barrier);
        }
        for catch in catches {
            let (Catch::One { label, .. }
            | Catch::OneRef { label, .. }
            | Catch::All { label }
            | Catch::AllRef { label }) = *catch;
            // The outermost label is the function's, behind whose end there is nothing.
            let target = self.frames.len().checked_sub(1 + label as usize);
            self.clauses.push(target.map_or(Clause::Away, Clause::To));
        }
        let entry = self.operators;
        self.frames.push(Frame { entry, exit: None, kind: Kind::Block, clauses });
    }

    /// Takes note of an operator that may go on in a clause of any construct around it.
    fn throw(&mut self) {
        for index in (0..self.clauses.len()).rev() {
            match self.clauses[index] {
                Clause::To(target) => self.branch_to(target),
                Clause::Away => {}
                Clause::Barrier => break,
            }
        }
    }

    fn branch(&mut self, depth: u32) {
        if let Some(target) = self.frames.len().checked_sub(1 + depth as usize) {
            self.branch_to(target);
        }
    }

    fn branch_to(&mut self, target: usize) {
        let operators = self.operators;
        let target = &mut self.frames[target];
        if target.kind != Kind::Loop {
            target.exit = target.exit.max(Some(operators));
        }
    }

    fn begin_second_arm(&mut self, reachable: bool) {
        if reachable {
            self.branch(0);
        }
        if let Some(frame) = self.frames.last_mut() {
            frame.kind = Kind::Block;
            self.operators = frame.entry;
        }
    }

    fn leave(&mut self, reachable: bool) {
        // The last `end` of the function is none of a construct.
        let Some(frame) = self.frames.pop() else { return };
        self.clauses.truncate(frame.clauses);
        let around = (frame.kind == Kind::If).then_some(frame.entry);
        let through = reachable.then_some(self.operators);
        if let Some(operators) = frame.exit.max(around).max(through) {
            self.operators = operators;
        }
    }
}

#[cfg(test)]
mod tests {
    use wasmparser::{BinaryReader, BlockType, OperatorsReader};

    use super::*;

    const EMPTY: BlockType = BlockType::Empty;
    const BLOCK: Operator<'_> = Operator::Block { blockty: EMPTY };
    const LOOP: Operator<'_> = Operator::Loop { blockty: EMPTY };
    const IF: Operator<'_> = Operator::If { blockty: EMPTY };

    fn branch(relative_depth: u32) -> Operator<'static> {
        Operator::Br { relative_depth }
    }

    /// Passes a list of operators, all reachable, and answers where there are places.
    fn due(operators: &[(usize, Operator<'_>)]) -> Vec<usize> {
        let mut distance = Distance::new(1000, true);
        let all =
            operators.iter().flat_map(|(count, operator)| std::iter::repeat_n(operator, *count));
        let passed = all.enumerate().filter(|(_, operator)| distance.pass(operator, true));
        passed.map(|(place, _)| place).collect()
    }

    #[test]
    fn a_straight_line_is_divided() {
        assert_eq!(due(&[(3500, Operator::I32Add)]), [1000, 2000, 3000]);
        let line = [(999, Operator::I32Add), (1, LOOP), (1000, Operator::I32Add)];
        assert_eq!(due(&line), []);
        let mut distance = Distance::new(1000, false);
        let operators =
            line.iter().flat_map(|(count, operator)| std::iter::repeat_n(operator, *count));
        let places = operators.filter(|operator| distance.pass(operator, true));
        assert_eq!(places.count(), 1, "where loops do not count");
    }

    #[test]
    fn the_longer_arm_counts() {
        let arms = |first, second| {
            let arms = [
                (10, Operator::I32Add),
                (1, IF),
                (first, Operator::I32Add),
                (1, Operator::Else),
                (second, Operator::I32Add),
                (1, Operator::End),
                (500, Operator::I32Add),
            ];
            due(&arms).len()
        };
        assert_eq!((arms(489, 489), arms(491, 0), arms(0, 491), arms(400, 400)), (0, 1, 1, 0));
        // A place in one arm is none on the other way.
        assert_eq!((arms(1000, 480), arms(1000, 495)), (1, 2));
        let around =
            [(600, Operator::I32Add), (1, IF), (401, Operator::I32Add), (1, Operator::End)];
        assert_eq!(due(&around), [1001]);
        let behind = [&around[..], &[(399, Operator::I32Add)], &[(2, Operator::I32Add)]].concat();
        assert_eq!(due(&behind), [1001, 1403]);
    }

    #[test]
    fn what_a_switch_skips_does_not_count() {
        const HANDLERS: u8 = 50;
        let mut table = vec![0x0e, HANDLERS];
        table.extend(0..=HANDLERS);
        let table = OperatorsReader::new(BinaryReader::new(&table, 0)).read().unwrap();
        let mut distance = Distance::new(1000, true);
        let mut pass = |operator: &Operator<'_>, reachable| {
            assert!(!distance.pass(operator, reachable));
            distance.operators
        };
        pass(&LOOP, true);
        for _ in 0..=HANDLERS {
            pass(&BLOCK, true);
        }
        pass(&table, true);
        for handler in 0..HANDLERS {
            assert_eq!(pass(&Operator::End, false), 1);
            for _ in 0..100 {
                pass(&Operator::I32Add, true);
            }
            // Half of them go around the loop, the others to the outermost block.
            let depth = HANDLERS - handler - handler % 2;
            pass(&branch(depth.into()), true);
        }
        assert_eq!(pass(&Operator::End, false), 102);
    }
}
