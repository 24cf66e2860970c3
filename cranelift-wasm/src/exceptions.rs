//! Exceptions: throwing, and the clauses of `try_table`.
//!
//! Each clause has a *landing block*, into which control comes from the calls in its construct. It
//! takes two words, of which the environment makes the exception's values, and branches to the
//! clause's label with them. On the way that does not throw there is nothing.

use cranelift_codegen::ir::{Block, InstBuilder, types};
use wasmparser::{Catch, Operator, TryTable};

use crate::stack::FrameKind;
use crate::translation::Translation;
use crate::{FuncEnvironment, WasmResult};

/// A clause of a `try_table` that is open.
#[derive(Clone, Copy, Debug)]
pub struct Handler {
    /// The tag that it catches; `None` catches all.
    pub tag: Option<u32>,
    /// Whether it wants the exception itself.
    pub by_reference: bool,
    /// Where it goes on, with the two words that the environment leaves there.
    pub landing: Block,
}

/// A clause as the text has it.
struct Clause {
    tag: Option<u32>,
    label: u32,
    /// Whether the exception itself is passed on, behind its values.
    by_reference: bool,
}

impl From<&Catch> for Clause {
    fn from(catch: &Catch) -> Self {
        let (tag, label, by_reference) = match *catch {
            Catch::One { tag, label } => (Some(tag), label, false),
            Catch::OneRef { tag, label } => (Some(tag), label, true),
            Catch::All { label } => (None, label, false),
            Catch::AllRef { label } => (None, label, true),
        };
        Self { tag, label, by_reference }
    }
}

/// Whether an exception may come out of an operator.
pub(crate) fn may_throw(operator: &Operator<'_>) -> bool {
    matches!(
        operator,
        Operator::Call { .. }
            | Operator::CallIndirect { .. }
            | Operator::CallRef { .. }
            | Operator::Throw { .. }
            | Operator::ThrowRef
    )
}

impl<E: FuncEnvironment> Translation<'_, '_, E> {
    /// `try_table`.
    pub(crate) fn try_table(&mut self, table: &TryTable) -> WasmResult<()> {
        let body = self.builder.create_block();
        self.builder.ins().jump(body, &[]);
        let mut handlers = Vec::with_capacity(table.catches.len());
        for catch in &table.catches {
            let clause = Clause::from(catch);
            let landing = self.land(&clause)?;
            let Clause { tag, by_reference, .. } = clause;
            handlers.push(Handler { tag, by_reference, landing });
        }
        self.builder.switch_to_block(body);
        self.builder.seal_block(body);
        let kind = FrameKind::Try { landings: self.stacks.landings.len() };
        self.stacks.landings.extend(handlers.iter().map(|handler| handler.landing));
        self.env.enter_try(&handlers);
        self.push_frame(kind, table.ty);
        Ok(())
    }

    /// Makes the landing block of a clause, which is not sealed.
    fn land(&mut self, clause: &Clause) -> WasmResult<Block> {
        let landing = self.builder.create_block();
        let words = [(); 2].map(|()| self.builder.append_block_param(landing, types::I64));
        self.builder.set_cold_block(landing);
        self.builder.switch_to_block(landing);
        let &Clause { tag, label, by_reference } = clause;
        let values = self.env.caught(&mut self.builder, words, tag, by_reference)?;
        let height = self.stacks.operands.len();
        self.stacks.operands.extend(values);
        self.br(label)?;
        self.stacks.reachable = true;
        self.stacks.operands.truncate(height);
        Ok(landing)
    }

    /// Ends the clauses of a `try_table`, behind which are those from `first` on.
    pub(crate) fn end_try(&mut self, first: usize) {
        self.env.leave_try(self.stacks.landings.len() - first);
        for landing in self.stacks.landings.drain(first..) {
            self.builder.seal_block(landing);
        }
    }

    /// `throw`.
    pub(crate) fn throw(&mut self, tag: u32) -> WasmResult<()> {
        let params = self.env.type_of_tag(tag).params().len();
        self.limits.work(params)?;
        let args = self.stacks.peek(params);
        self.env.throw(&mut self.builder, tag, args)?;
        self.stacks.reachable = false;
        Ok(())
    }

    /// `throw_ref`.
    pub(crate) fn throw_ref(&mut self) -> WasmResult<()> {
        let exception = self.stacks.pop();
        self.env.throw_ref(&mut self.builder, exception)?;
        self.stacks.reachable = false;
        Ok(())
    }
}
