//! Blocks, branches and calls.

use cranelift_codegen::ir::{Block, BlockArg, InstBuilder, JumpTableData, Value};
use smallvec::SmallVec;
use wasmparser::{BlockType, BrTable, ValType};

use crate::stack::{Frame, FrameKind};
use crate::translation::Translation;
use crate::{FuncEnvironment, WasmResult};

/// The longest `br_table` whose entries lead straight to their targets.
///
/// Each entry carries its own list of arguments for the locals that differ at the target. In a
/// longer table all entries of one target share an edge block, whose jump carries them once.
const DIRECT_TABLE: u32 = 256;

/// Which of a block type's lists.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    Params,
    Results,
}

impl<E: FuncEnvironment> Translation<'_, '_, E> {
    /// `block`.
    pub(crate) fn block(&mut self, ty: BlockType) {
        self.push_frame(FrameKind::Block, ty);
    }

    /// `loop`.
    pub(crate) fn loop_(&mut self, ty: BlockType) -> WasmResult<()> {
        let header = self.enter_loop(ty)?;
        self.push_frame(FrameKind::Loop { header }, ty);
        self.env.loop_header(&mut self.builder)
    }

    /// Goes on in the header of a loop, which is answered.
    pub(crate) fn enter_loop(&mut self, ty: BlockType) -> WasmResult<Block> {
        let header = self.builder.create_block();
        self.append_params(header, ty, Side::Params)?;
        let params = self.builder.block_params(header).len();
        self.jump(header, params)?;
        self.stacks.drop(params);
        self.enter(header);
        self.limits.enter_loop();
        Ok(header)
    }

    /// `if`.
    ///
    /// The construct's parameters stay on the stack twice: below the frame's height they wait for
    /// the second arm.
    pub(crate) fn if_(&mut self, ty: BlockType) {
        let condition = self.pop_condition();
        let then = self.builder.create_block();
        let otherwise = self.builder.create_block();
        self.builder.ins().brif(condition, then, &[], otherwise, &[]);
        self.builder.seal_block(then);
        self.builder.switch_to_block(then);
        let (params, _) = self.arity(ty);
        let first = self.stacks.operands.len() - params;
        self.stacks.operands.extend_from_within(first..);
        self.push_frame(FrameKind::If { otherwise }, ty);
    }

    /// `else`.
    pub(crate) fn else_(&mut self) -> WasmResult<()> {
        let frame = self.stacks.label(0);
        let FrameKind::If { otherwise } = frame.kind else {
            unreachable!("validated: an else belongs to an if");
        };
        let results = frame.results;
        frame.kind = FrameKind::Else;
        if self.stacks.reachable {
            let exit = self.label_block(0)?;
            self.jump(exit, results)?;
        }
        let frame = self.stacks.label(0);
        let height = frame.height;
        frame.height -= frame.params;
        self.stacks.operands.truncate(height);
        self.builder.switch_to_block(otherwise);
        self.builder.seal_block(otherwise);
        self.stacks.reachable = true;
        Ok(())
    }

    /// `end`.
    pub(crate) fn end(&mut self) -> WasmResult<()> {
        let frame = self.stacks.label(0);
        match frame.kind {
            FrameKind::Loop { header } => {
                self.limits.leave_loop();
                self.builder.seal_block(header);
            }
            FrameKind::If { otherwise } => {
                if frame.results == 0 && frame.exit.is_none() {
                    // Nothing branches out of the only arm: the way around it is the exit.
                    frame.exit = Some(otherwise);
                } else {
                    self.else_()?;
                }
            }
            FrameKind::Round { .. } => unreachable!("the end of a round is not translated as one"),
            FrameKind::Block | FrameKind::Else => {}
        }
        let frame = self.stacks.control.pop().expect("validated: an open frame");
        if let Some(exit) = frame.exit {
            if self.stacks.reachable {
                self.jump(exit, frame.results)?;
            }
            self.builder.seal_block(exit);
            self.stacks.operands.truncate(frame.height);
            self.enter(exit);
            self.stacks.reachable = true;
        } else if !self.stacks.reachable {
            self.stacks.operands.truncate(frame.height);
        }
        if self.stacks.control.is_empty() && self.stacks.reachable {
            self.leave(frame.results)?;
        }
        Ok(())
    }

    /// `br`.
    pub(crate) fn br(&mut self, depth: u32) -> WasmResult<()> {
        if self.stacks.is_outermost(depth) {
            return self.return_();
        }
        let arity = self.stacks.label(depth).label_arity();
        let target = self.label_block(depth)?;
        self.jump(target, arity)?;
        self.stacks.reachable = false;
        Ok(())
    }

    /// `br_if`.
    pub(crate) fn br_if(&mut self, depth: u32) -> WasmResult<()> {
        let condition = self.pop_condition();
        self.branch_if(condition, depth)
    }

    /// Branches to `depth`, with the values on top of the stack, where `condition` is not zero.
    pub(crate) fn branch_if(&mut self, condition: Value, depth: u32) -> WasmResult<()> {
        let arity = self.stacks.label(depth).label_arity();
        let target = self.label_block(depth)?;
        let backward = matches!(self.stacks.label(depth).kind, FrameKind::Loop { .. });
        let next = self.builder.create_block();
        if self.env.conditional_branch(&mut self.builder, backward) {
            let edge = self.builder.create_block();
            self.builder.ins().brif(condition, edge, &[], next, &[]);
            self.builder.switch_to_block(edge);
            self.builder.seal_block(edge);
            self.env.branch_taken(&mut self.builder);
            self.jump(target, arity)?;
        } else {
            self.gather_args(arity)?;
            self.builder.ins().brif(condition, target, self.args.iter(), next, &[]);
        }
        self.builder.seal_block(next);
        self.builder.switch_to_block(next);
        Ok(())
    }

    /// `br_table`.
    pub(crate) fn br_table(&mut self, table: &BrTable<'_>) -> WasmResult<()> {
        let index = self.stacks.pop();
        if table.is_empty() {
            return self.br(table.default());
        }
        // The frontend looks for duplicate targets with a set that has a bit for each block.
        self.limits.work(self.builder.func.dfg.num_blocks() / 64)?;
        let arity = self.stacks.label(table.default()).label_arity();
        let direct = arity == 0 && table.len() <= DIRECT_TABLE;
        if direct {
            self.limits.direct_table(table.len());
        }
        let mut edges = SmallVec::<[u32; 16]>::new();
        let mut calls = Vec::with_capacity(table.len() as usize + 1);
        for depth in table.targets().chain([Ok(table.default())]) {
            let depth = depth?;
            let block =
                if direct { self.label_block(depth)? } else { self.edge_block(depth, &mut edges) };
            calls.push(self.builder.func.dfg.block_call(block, &[]));
        }
        let default = calls.pop().expect("the default was pushed last");
        let table = self.builder.create_jump_table(JumpTableData::new(default, &calls));
        self.builder.ins().br_table(index, table);
        self.fill_edges(&edges, arity)?;
        self.stacks.reachable = false;
        Ok(())
    }

    /// The block through which the current `br_table` goes to `depth`; a new one is noted in
    /// `edges`.
    fn edge_block(&mut self, depth: u32, edges: &mut SmallVec<[u32; 16]>) -> Block {
        let frame = self.stacks.label(depth);
        *frame.edge.get_or_insert_with(|| {
            edges.push(depth);
            self.builder.create_block()
        })
    }

    /// Lets each edge block jump to its label with the `arity` top values.
    fn fill_edges(&mut self, edges: &[u32], arity: usize) -> WasmResult<()> {
        for &depth in edges {
            let edge = self.stacks.label(depth).edge.take();
            let edge = edge.expect("each depth is noted with its edge block");
            let target = self.label_block(depth)?;
            self.builder.switch_to_block(edge);
            self.builder.seal_block(edge);
            self.jump(target, arity)?;
        }
        Ok(())
    }

    /// `return`.
    pub(crate) fn return_(&mut self) -> WasmResult<()> {
        let results = self.stacks.control[0].results;
        self.leave(results)
    }

    /// `unreachable`.
    pub(crate) fn unreachable(&mut self) -> WasmResult<()> {
        self.env.unreachable(&mut self.builder)?;
        self.stacks.reachable = false;
        Ok(())
    }

    /// `call`.
    pub(crate) fn call(&mut self, function: u32) -> WasmResult<()> {
        let params = self.env.type_of_function(function).params().len();
        let args = self.stacks.peek(params);
        let results = self.env.call(&mut self.builder, function, args)?;
        self.stacks.drop(params);
        self.stacks.operands.extend(results);
        Ok(())
    }

    /// `call_indirect`.
    pub(crate) fn call_indirect(&mut self, ty: u32, table: u32) -> WasmResult<()> {
        let callee = self.stacks.pop();
        let params = self.env.type_at(ty).params().len();
        let args = self.stacks.peek(params);
        let results = self.env.call_indirect(&mut self.builder, table, ty, callee, args)?;
        self.stacks.drop(params);
        self.stacks.operands.extend(results);
        Ok(())
    }

    /// Opens the frame of the function's body.
    pub(crate) fn push_body(&mut self, ty: BlockType) {
        let (_, results) = self.arity(ty);
        self.stacks.control.push(Frame {
            kind: FrameKind::Block,
            ty,
            params: 0,
            results,
            height: 0,
            exit: None,
            edge: None,
        });
    }

    /// Opens a frame whose parameters are on top of the stack.
    pub(crate) fn push_frame(&mut self, kind: FrameKind, ty: BlockType) {
        let (params, results) = self.arity(ty);
        self.stacks.control.push(Frame {
            kind,
            ty,
            params,
            results,
            height: self.stacks.operands.len() - params,
            exit: None,
            edge: None,
        });
    }

    /// The block that a branch to `depth` goes to; makes it where it is still missing.
    fn label_block(&mut self, depth: u32) -> WasmResult<Block> {
        let frame = self.stacks.label(depth);
        if let FrameKind::Loop { header: label } | FrameKind::Round { next: label } = frame.kind {
            return Ok(label);
        }
        if let Some(exit) = frame.exit {
            return Ok(exit);
        }
        let ty = frame.ty;
        let exit = self.builder.create_block();
        self.append_params(exit, ty, Side::Results)?;
        self.stacks.label(depth).exit = Some(exit);
        Ok(exit)
    }

    /// Returns the `results` top values from the function.
    fn leave(&mut self, results: usize) -> WasmResult<()> {
        let values = self.stacks.peek(results);
        self.env.return_(&mut self.builder, values)?;
        self.stacks.reachable = false;
        Ok(())
    }

    /// Goes on in `block`, whose parameters are pushed.
    pub(crate) fn enter(&mut self, block: Block) {
        self.builder.switch_to_block(block);
        let params: &[Value] = self.builder.block_params(block);
        self.stacks.operands.extend_from_slice(params);
    }

    /// Jumps to `target` with the `count` top values.
    pub(crate) fn jump(&mut self, target: Block, count: usize) -> WasmResult<()> {
        self.gather_args(count)?;
        self.builder.ins().jump(target, self.args.iter());
        Ok(())
    }

    /// Makes branch arguments of the `count` top values.
    fn gather_args(&mut self, count: usize) -> WasmResult<()> {
        self.limits.work(count)?;
        self.args.clear();
        let values = self.stacks.peek(count);
        self.args.extend(values.iter().copied().map(BlockArg::Value));
        Ok(())
    }

    /// How many values a construct of type `ty` takes and leaves.
    pub(crate) fn arity(&self, ty: BlockType) -> (usize, usize) {
        match ty {
            BlockType::Empty => (0, 0),
            BlockType::Type(_) => (0, 1),
            BlockType::FuncType(index) => {
                let ty = self.env.type_at(index);
                (ty.params().len(), ty.results().len())
            }
        }
    }

    /// Appends a parameter to `block` for each value on one side of `ty`.
    pub(crate) fn append_params(
        &mut self,
        block: Block,
        ty: BlockType,
        side: Side,
    ) -> WasmResult<()> {
        let single;
        let types: &[ValType] = match (ty, side) {
            (BlockType::Empty, _) | (BlockType::Type(_), Side::Params) => &[],
            (BlockType::Type(ty), Side::Results) => {
                single = [ty];
                &single
            }
            (BlockType::FuncType(index), Side::Params) => self.env.type_at(index).params(),
            (BlockType::FuncType(index), Side::Results) => self.env.type_at(index).results(),
        };
        for &ty in types {
            let clif = crate::translation::value_type(self.env, ty);
            let value = self.builder.append_block_param(block, clif);
            if crate::translation::is_collected(self.env, ty) {
                self.builder.declare_value_needs_stack_map(value);
            }
        }
        Ok(())
    }
}
