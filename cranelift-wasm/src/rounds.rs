//! Short loops, several rounds of which are written in a row.
//!
//! A round of a short loop takes hardly longer than looking whether the next one may begin. Where the
//! environment can tell for several rounds at once, the loop is written so:
//!
//! ```text
//! header   may so many rounds run?  no → one
//! many     round, round, round → header
//! one      may one round run? round → header
//! ```
//!
//! and each round leaves the loop where it wants to. Only loops without calls and other loops are
//! short, and a function grows by no more than a quarter and 32 operators.

use std::collections::VecDeque;

use cranelift_codegen::ir::{Block, InstBuilder, Value};
use smallvec::SmallVec;
use wasmparser::{BlockType, FuncValidator, Operator, OperatorsReader, WasmModuleResources};

use crate::control::Side;
use crate::environ::Rounds;
use crate::func::Read;
use crate::stack::FrameKind;
use crate::translation::Translation;
use crate::{FuncEnvironment, WasmResult};

/// The longest loop that is short, in operators, its `end` included.
const MAX_OPERATORS: usize = 24;

/// How many operators a function of any size may grow by.
const MIN_GROWTH: usize = 32;

/// The operators that were read, and not translated yet.
pub(crate) struct Ahead<'b> {
    reads: VecDeque<Read<'b>>,
    /// How many operators may still be written again.
    growth: usize,
}

impl<'b> Ahead<'b> {
    /// Of a body of so many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        // An operator has two bytes, or more: a quarter at the most.
        Self { reads: VecDeque::new(), growth: MIN_GROWTH + bytes / 8 }
    }

    /// The next operator of the function, if there is one.
    pub(crate) fn next<E: FuncEnvironment>(
        &mut self,
        translation: &mut Translation<'_, '_, E>,
        validator: &mut FuncValidator<impl WasmModuleResources>,
        operators: &mut OperatorsReader<'b>,
    ) -> WasmResult<Option<Read<'b>>> {
        match self.reads.pop_front() {
            None if operators.eof() => Ok(None),
            None => translation.read(validator, operators).map(Some),
            next => Ok(next),
        }
    }

    /// Looks at the loop whose operator is the one before these. Answers how many operators it has with
    /// its `end`, if it is a short one.
    fn short_loop<E: FuncEnvironment>(
        &mut self,
        translation: &mut Translation<'_, '_, E>,
        validator: &mut FuncValidator<impl WasmModuleResources>,
        operators: &mut OperatorsReader<'b>,
    ) -> WasmResult<Option<usize>> {
        let mut open = 1;
        let mut repeats = false;
        for index in 0..MAX_OPERATORS {
            if index == self.reads.len() {
                if operators.eof() {
                    return Ok(None);
                }
                let read = translation.read(validator, operators)?;
                self.reads.push_back(read);
            }
            match self.reads[index].operator {
                Operator::Block { .. } | Operator::If { .. } => open += 1,
                Operator::End => open -= 1,
                Operator::Br { relative_depth } | Operator::BrIf { relative_depth } => {
                    repeats |= relative_depth + 1 == open;
                }
                Operator::Loop { .. } | Operator::BrTable { .. } => return Ok(None),
                _ => {}
            }
            if open == 0 {
                return Ok(repeats.then_some(index + 1));
            }
        }
        Ok(None)
    }
}

impl<E: FuncEnvironment> Translation<'_, '_, E> {
    /// Translates the whole loop that begins with an operator, in several rounds, if it begins a short
    /// one; else does nothing and answers false.
    pub(crate) fn short_loop<'b>(
        &mut self,
        read: &Read<'b>,
        ahead: &mut Ahead<'b>,
        validator: &mut FuncValidator<impl WasmModuleResources>,
        operators: &mut OperatorsReader<'b>,
    ) -> WasmResult<bool> {
        let Operator::Loop { blockty } = read.operator else { return Ok(false) };
        if !self.stacks.reachable || !self.env.divides_loops() {
            return Ok(false);
        }
        let Some(len) = ahead.short_loop(self, validator, operators)? else { return Ok(false) };
        let body = &ahead.reads.make_contiguous()[..len];
        let Some(rounds) = self.env.rounds(body.iter().map(|read| &read.operator)) else {
            return Ok(false);
        };
        let growth = len * rounds.count as usize;
        if growth > ahead.growth {
            return Ok(false);
        }
        ahead.growth -= growth;
        self.rounds(read, blockty, body, rounds)?;
        ahead.reads.drain(..len);
        Ok(true)
    }

    fn rounds(
        &mut self,
        loop_: &Read<'_>,
        ty: BlockType,
        body: &[Read<'_>],
        rounds: Rounds,
    ) -> WasmResult<()> {
        self.offset = loop_.offset;
        self.env.before_operator(&mut self.builder, &loop_.operator, self.offset, true)?;
        let header = self.enter_loop(ty)?;
        let (params, _) = self.arity(ty);
        let first = self.stacks.operands.len() - params;
        let params: SmallVec<[Value; 2]> = self.stacks.operands[first..].into();
        let (many, one) = (self.builder.create_block(), self.builder.create_block());
        self.env.rounds_header(&mut self.builder, rounds, many, one);
        self.builder.seal_block(many);
        self.builder.seal_block(one);

        let mut exit = None;
        self.builder.switch_to_block(many);
        for _ in 1..rounds.count {
            let next = self.builder.create_block();
            self.append_params(next, ty, Side::Params)?;
            self.round(loop_, ty, body, FrameKind::Round { next }, &mut exit)?;
            self.builder.seal_block(next);
            self.enter(next);
        }
        self.round(loop_, ty, body, FrameKind::Loop { header }, &mut exit)?;

        self.builder.switch_to_block(one);
        self.stacks.operands.extend(params);
        self.env.begin_round(loop_.offset);
        self.env.loop_header(&mut self.builder)?;
        self.round(loop_, ty, body, FrameKind::Loop { header }, &mut exit)?;
        self.builder.seal_block(header);
        self.limits.leave_loop();

        if let Some(exit) = exit {
            self.builder.seal_block(exit);
            self.enter(exit);
        }
        self.stacks.reachable = exit.is_some();
        Ok(())
    }

    /// One round, in the current block. Leaves the stack without the loop's own values.
    fn round(
        &mut self,
        loop_: &Read<'_>,
        ty: BlockType,
        body: &[Read<'_>],
        kind: FrameKind,
        exit: &mut Option<Block>,
    ) -> WasmResult<()> {
        let (end, inner) = body.split_last().expect("a loop has an end");
        self.stacks.reachable = true;
        self.divide_line(&loop_.operator, true)?;
        self.env.begin_round(loop_.offset);
        self.push_frame(kind, ty);
        for read in inner {
            self.step(read)?;
        }
        self.before(end)?;
        let frame = self.stacks.control.pop().expect("the frame of the round");
        if self.stacks.reachable {
            if let FrameKind::Round { .. } = frame.kind {
                self.leave_line();
            }
            let exit = match *exit {
                Some(exit) => exit,
                None => {
                    let block = self.builder.create_block();
                    self.append_params(block, ty, Side::Results)?;
                    *exit.insert(block)
                }
            };
            self.jump(exit, frame.results)?;
        }
        self.stacks.operands.truncate(frame.height);
        Ok(())
    }

    /// Goes on out of line: behind all rounds but the last most loops go on.
    fn leave_line(&mut self) {
        let block = self.builder.create_block();
        self.builder.ins().jump(block, &[]);
        self.builder.switch_to_block(block);
        self.builder.seal_block(block);
        self.builder.set_cold_block(block);
    }
}
