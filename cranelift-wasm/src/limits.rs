//! Bounds on the memory and time that one function can make translation take.
//!
//! The module's bytes bound the number of operators, but one operator may stand for thousands of
//! values (a call of a function with many results) or of branch arguments, and finding the values
//! of locals costs their number times that of the blocks. All of that is bounded here.

use cranelift_codegen::ir::DataFlowGraph;
use wasmparser::Operator;

use crate::{WasmError, WasmResult};

/// CLIF instructions or values of one function.
///
/// Cranelift itself gives up at 2^21 virtual registers.
const MAX_ENTITIES: usize = 1 << 22;
/// Values on the operand stack, reachable or not.
const MAX_OPERANDS: usize = 1 << 22;
/// Pairs of a local that is in use and a block: four bytes each in the frontend's tables.
const MAX_LOCALS_BY_BLOCKS: u64 = 1 << 27;
/// What finding the references for stack maps may take: references that can be alive, times blocks
/// and calls, times one more for each [`LOOPS_PER_PASS`] loops that are nested.
///
/// The frontend keeps a set of the live ones for each block, which takes 40 bytes for each, and goes
/// over the blocks of a nest again for each of its loops.
const MAX_STACK_MAP_WORK: u64 = 1 << 23;
const LOOPS_PER_PASS: u64 = 4;
/// Entries of all `br_table` operators together; the code generator takes 600 bytes for each.
const MAX_TABLE_ENTRIES: u64 = 1 << 18;
/// Arguments of all branches together, and other work that does not show in entities.
const MAX_WORK: u64 = 1 << 24;

// What compiling takes at the most, in bytes, all of Cranelift's passes together.
const BYTES_PER_INST: u64 = 800;
const BYTES_PER_VALUE: u64 = 700;
const BYTES_PER_LONG_SEQUENCE: u64 = 4000;
const BYTES_PER_BLOCK: u64 = 1500;
const BYTES_PER_LOCAL_AND_BLOCK: u64 = 8;
const BYTES_PER_TABLE_ENTRY: u64 = 1000;
const BYTES_PER_BRANCH_ARGUMENT: u64 = 200;
const BYTES_PER_STACK_MAP_WORK: u64 = 64;

/// What one function has used up.
#[derive(Default)]
pub(crate) struct Limits {
    locals_in_use: u64,
    /// Those of them that belong into stack maps.
    collected_in_use: u64,
    /// The most values that were on the operand stack.
    operands: u64,
    calls: u64,
    /// Operators of vectors that take many machine instructions.
    long_sequences: u64,
    /// How many loops are open, and the most that were.
    loops: u64,
    loop_depth: u64,
    table_entries: u64,
    direct_table_entries: u64,
    work: u64,
    /// The bound on [`Self::memory`], where there is one.
    memory: Option<u64>,
}

impl Limits {
    /// The limits of a function that may take this much memory.
    pub(crate) fn new(memory: Option<u64>) -> Self {
        Self { memory, ..Self::default() }
    }

    /// Checks the function's size after an operator. `declares` is whether the environment has
    /// declared references of its own for the stack maps.
    #[inline]
    pub(crate) fn check(
        &mut self,
        dfg: &DataFlowGraph,
        operands: usize,
        declares: bool,
    ) -> WasmResult<()> {
        if dfg.num_insts() > MAX_ENTITIES || dfg.num_values() > MAX_ENTITIES {
            return Err(WasmError::Limit("a function makes more than 2^22 instructions or values"));
        }
        if operands > MAX_OPERANDS {
            return Err(WasmError::Limit("more than 2^22 values on the operand stack"));
        }
        // Each block may hold a definition of each local, and each entry of a table that is not
        // gathered into edge blocks an argument.
        let edges = dfg.num_blocks() as u64 + self.direct_table_entries;
        if self.locals_in_use * edges > MAX_LOCALS_BY_BLOCKS {
            return Err(WasmError::Limit("the locals of a function times its blocks exceed 2^27"));
        }
        self.operands = self.operands.max(operands as u64);
        let references = declares || self.collected_in_use > 0;
        if references {
            self.check_stack_maps(edges)?;
        }
        match self.memory {
            Some(bound) if self.memory(dfg, edges, references) > bound => {
                Err(WasmError::Memory(bound))
            }
            _ => Ok(()),
        }
    }

    /// The bytes that compiling the function may take, as far as it is translated.
    fn memory(&self, dfg: &DataFlowGraph, edges: u64, references: bool) -> u64 {
        let stack_maps = if references { self.stack_map_work(edges) } else { 0 };
        dfg.num_insts() as u64 * BYTES_PER_INST
            + dfg.num_values() as u64 * BYTES_PER_VALUE
            + self.long_sequences * BYTES_PER_LONG_SEQUENCE
            + dfg.num_blocks() as u64 * BYTES_PER_BLOCK
            + self.locals_in_use * edges * BYTES_PER_LOCAL_AND_BLOCK
            + self.table_entries * BYTES_PER_TABLE_ENTRY
            + self.work * BYTES_PER_BRANCH_ARGUMENT
            + stack_maps * BYTES_PER_STACK_MAP_WORK
    }

    fn check_stack_maps(&self, edges: u64) -> WasmResult<()> {
        if self.stack_map_work(edges) > MAX_STACK_MAP_WORK {
            return Err(WasmError::Limit(
                "the references in a function times its blocks and calls exceed 2^23",
            ));
        }
        Ok(())
    }

    fn stack_map_work(&self, edges: u64) -> u64 {
        let alive = self.collected_in_use + self.operands;
        let passes = 1 + self.loop_depth / LOOPS_PER_PASS;
        alive * (edges + self.calls) * passes
    }

    /// Notes that one more local is read or written, and whether it belongs into stack maps.
    pub(crate) fn use_local(&mut self, is_collected: bool) {
        self.locals_in_use += 1;
        self.collected_in_use += u64::from(is_collected);
    }

    /// Notes an operator that is translated.
    #[inline]
    pub(crate) fn operator(&mut self, operator: &Operator<'_>) {
        self.calls += u64::from(may_call(operator));
        self.long_sequences += u64::from(is_long_sequence(operator));
    }

    /// Notes that a loop begins.
    pub(crate) fn enter_loop(&mut self) {
        self.loops += 1;
        self.loop_depth = self.loop_depth.max(self.loops);
    }

    /// Notes that a loop ends.
    pub(crate) fn leave_loop(&mut self) {
        self.loops -= 1;
    }

    /// Notes `amount` of work: a branch argument each.
    #[inline]
    pub(crate) fn work(&mut self, amount: usize) -> WasmResult<()> {
        self.work += amount as u64;
        if self.work > MAX_WORK {
            return Err(WasmError::Limit(
                "the branches of a function take more than 2^24 arguments",
            ));
        }
        Ok(())
    }

    /// Notes a `br_table` of `entries`, whose targets pass `arity` values each.
    ///
    /// Called before the operator is validated, since that already takes their product.
    pub(crate) fn table(&mut self, entries: u32, arity: usize) -> WasmResult<()> {
        self.table_entries += u64::from(entries);
        if self.table_entries > MAX_TABLE_ENTRIES {
            return Err(WasmError::Limit(
                "the br_table operators of a function have more than 2^18 entries",
            ));
        }
        self.work((entries as usize).saturating_mul(arity))
    }

    /// Notes `entries` of a table that go to their targets without edge blocks.
    pub(crate) fn direct_table(&mut self, entries: u32) {
        self.direct_table_entries += u64::from(entries);
    }
}

/// Whether an operator becomes many machine instructions, with temporaries of their own: what there is
/// no instruction for, and what has to saturate.
fn is_long_sequence(operator: &Operator<'_>) -> bool {
    matches!(
        operator,
        Operator::I8x16Shl
            | Operator::I8x16ShrS
            | Operator::I8x16ShrU
            | Operator::I64x2ShrS
            | Operator::I8x16Popcnt
            | Operator::I64x2Mul
            | Operator::I32x4TruncSatF32x4S
            | Operator::I32x4TruncSatF32x4U
            | Operator::I32x4TruncSatF64x2SZero
            | Operator::I32x4TruncSatF64x2UZero
            | Operator::I32x4RelaxedTruncF32x4S
            | Operator::I32x4RelaxedTruncF32x4U
            | Operator::I32x4RelaxedTruncF64x2SZero
            | Operator::I32x4RelaxedTruncF64x2UZero
    )
}

/// Whether an operator may become a call, of a function or of the runtime.
fn may_call(operator: &Operator<'_>) -> bool {
    matches!(
        operator,
        Operator::Call { .. }
            | Operator::CallIndirect { .. }
            | Operator::CallRef { .. }
            | Operator::MemoryGrow { .. }
            | Operator::MemoryFill { .. }
            | Operator::MemoryCopy { .. }
            | Operator::MemoryInit { .. }
            | Operator::DataDrop { .. }
            | Operator::TableGrow { .. }
            | Operator::TableFill { .. }
            | Operator::TableCopy { .. }
            | Operator::TableInit { .. }
            | Operator::ElemDrop { .. }
    )
}
