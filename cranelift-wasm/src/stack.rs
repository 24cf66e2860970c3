//! The operand stack and the control stack.

use cranelift_codegen::ir::{Block, Value};
use wasmparser::BlockType;

/// What opened a frame of the control stack.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FrameKind {
    /// The function's body or a `block`.
    Block,
    /// A `loop`, whose label is its header.
    Loop {
        /// Sealed at the `end`.
        header: Block,
    },
    /// One of the rounds in which a short loop is written.
    Round {
        /// Where the loop's label leads, which is further down.
        next: Block,
    },
    /// The first arm of an `if`.
    If {
        /// Where the condition leads when it is zero.
        otherwise: Block,
    },
    /// The second arm of an `if`.
    Else,
}

/// A construct that is open, and was reachable where it was opened.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: FrameKind,
    pub(crate) ty: BlockType,
    /// How many values the construct takes.
    pub(crate) params: usize,
    /// How many values the construct leaves.
    pub(crate) results: usize,
    /// The operand stack's height below the construct's own values.
    pub(crate) height: usize,
    /// The block after `end`. Made by the first branch to it: without one, the code simply goes on
    /// in the block that falls into the `end`.
    pub(crate) exit: Option<Block>,
    /// The block through which a `br_table` in progress reaches this frame's label.
    pub(crate) edge: Option<Block>,
}

impl Frame {
    /// How many values a branch to this frame's label takes.
    pub(crate) fn label_arity(&self) -> usize {
        match self.kind {
            FrameKind::Loop { .. } | FrameKind::Round { .. } => self.params,
            _ => self.results,
        }
    }
}

/// The stacks of the abstract machine, as far as they are known at an operator.
#[derive(Default)]
pub(crate) struct Stacks {
    pub(crate) operands: Vec<Value>,
    /// The frames that were reachable where they were opened; the first is the function's body.
    pub(crate) control: Vec<Frame>,
    /// How many constructs are open that were opened in unreachable code.
    ///
    /// Of those nothing else need be known: no code is made for anything in them.
    pub(crate) dead_depth: u32,
    /// Whether code is made for the next operator.
    pub(crate) reachable: bool,
}

impl Stacks {
    /// Empties the stacks, and keeps their allocations.
    pub(crate) fn clear(&mut self) {
        self.operands.clear();
        self.control.clear();
        self.dead_depth = 0;
        self.reachable = true;
    }

    pub(crate) fn push(&mut self, value: Value) {
        self.operands.push(value);
    }

    /// The top value.
    ///
    /// # Panics
    ///
    /// When the stack is empty, which validation excludes in reachable code.
    pub(crate) fn pop(&mut self) -> Value {
        self.operands.pop().expect("validated: an operand")
    }

    /// The two top values, the lower one first.
    pub(crate) fn pop2(&mut self) -> (Value, Value) {
        let second = self.pop();
        (self.pop(), second)
    }

    /// The three top values, the lowest first.
    pub(crate) fn pop3(&mut self) -> (Value, Value, Value) {
        let third = self.pop();
        let (first, second) = self.pop2();
        (first, second, third)
    }

    /// The `count` top values, which stay on the stack.
    pub(crate) fn peek(&self, count: usize) -> &[Value] {
        &self.operands[self.operands.len() - count..]
    }

    /// Drops the `count` top values.
    pub(crate) fn drop(&mut self, count: usize) {
        self.operands.truncate(self.operands.len() - count);
    }

    /// The frame that `depth` names, counted from the innermost.
    ///
    /// # Panics
    ///
    /// When there is no such frame, which validation excludes in reachable code.
    pub(crate) fn label(&mut self, depth: u32) -> &mut Frame {
        let index = self.control.len() - 1 - depth as usize;
        &mut self.control[index]
    }

    /// Whether `depth` names the function's own label.
    pub(crate) fn is_outermost(&self, depth: u32) -> bool {
        depth as usize + 1 == self.control.len()
    }
}
