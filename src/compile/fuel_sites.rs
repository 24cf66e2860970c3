//! Finds where register allocation put the fuel counter, for each access to memory that may fault.
//!
//! Translation left a note of every access: the counter is this SSA value plus a constant. The
//! optimizer may replace sums by others, and the value may be dead at the access while another sum
//! of the same root is alive. So the optimized function is searched for all values that are a
//! wanted root plus a constant, each gets a label of its own, and Cranelift's debug information
//! tells after register allocation over which machine code each label lies in which register or
//! stack slot. A range covers an instruction if the value is there when the instruction starts,
//! which is the state that a fault shows.

use std::collections::{HashMap, HashSet};

use cranelift_codegen::ir::{
    DataFlowGraph, Function, InstructionData, Opcode, RelSourceLoc, TrapCode, Value, ValueDef,
    ValueLabel, ValueLabelAssignments, ValueLabelStart, types,
};
use cranelift_codegen::{LabelValueLoc, ValueLabelsRanges};

use super::env::Access;
use super::traps;
use crate::vm::layout::FuelAt;

/// The number of the pinned register, r15.
const PINNED: u8 = 15;

/// The frame pointer lies below the return address and the caller's frame pointer, which end at the
/// canonical frame address.
const FRAME_POINTER_TO_CFA: i64 = 16;

/// A machine instruction that may trap, as Cranelift tells of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Site {
    /// Its offset in the function.
    pub(super) pc: u32,
    /// The operator to which it is attributed; for an access that was merged into another
    /// instruction it may be another one.
    pub(super) operator: u32,
    pub(super) code: TrapCode,
}

/// Knows where the counter of a metered function is.
pub(super) struct FuelLocator {
    accesses: Vec<Access>,
    /// Positions in `accesses`, by operator and by trap code.
    operators: HashMap<u32, usize>,
    codes: HashMap<TrapCode, Vec<usize>>,
    /// By root: the labels of values made from it, and the constants these contain.
    labels: HashMap<Value, Vec<(ValueLabel, i64)>>,
    /// The codes of accesses in code that is moved out of line, of which nothing can be told.
    cold: HashSet<TrapCode>,
}

impl FuelLocator {
    /// From what translation left.
    pub(super) fn new(accesses: Vec<Access>) -> Self {
        let mut codes: HashMap<TrapCode, Vec<usize>> = HashMap::new();
        let mut operators = HashMap::with_capacity(accesses.len());
        for (index, access) in accesses.iter().enumerate() {
            let former = operators.insert(access.operator, index);
            debug_assert!(former.is_none(), "no operator that accesses memory is written twice");
            codes.entry(access.code).or_default().push(index);
        }
        Self { accesses, operators, codes, labels: HashMap::new(), cold: HashSet::new() }
    }

    /// Traces the counters to their roots, while aliases of values are still known.
    pub(super) fn resolve(&mut self, dfg: &DataFlowGraph) {
        for (value, constant) in
            self.accesses.iter_mut().filter_map(|access| access.counter.as_mut())
        {
            let (root, offset) = decompose(dfg, *value);
            *value = root;
            *constant += offset;
        }
    }

    /// Labels the values of the optimized function from which the counters can be computed.
    pub(super) fn label(&mut self, func: &mut Function) {
        let dfg = &func.dfg;
        let labels = &mut self.labels;
        let roots = self.accesses.iter().filter_map(|access| access.counter);
        labels.extend(roots.map(|(root, _)| (root, Vec::new())));
        let mut starts = Vec::new();
        let mut add = |value: Value| {
            let (root, offset) = decompose(dfg, value);
            if let Some(labels) = labels.get_mut(&root) {
                let label = ValueLabel::from_u32(starts.len() as u32);
                labels.push((label, offset));
                starts.push((value, label));
            }
        };
        for block in func.layout.blocks() {
            dfg.block_params(block).iter().copied().for_each(&mut add);
            let cold = func.is_effectively_cold(block);
            for inst in func.layout.block_insts(block) {
                dfg.inst_results(inst).iter().copied().for_each(&mut add);
                if cold && let Some(flags) = dfg.insts[inst].memflags() {
                    self.cold.extend(dfg.mem_flags[flags].trap_code());
                }
            }
        }
        let starts = starts.into_iter().map(|(value, label)| {
            let start = ValueLabelStart { from: RelSourceLoc::default(), label };
            (value, ValueLabelAssignments::Starts(vec![start]))
        });
        func.dfg.values_labels = Some(starts.collect());
    }

    /// The operator that traps at a site, and where the counter then is.
    pub(super) fn locate(&self, ranges: &ValueLabelsRanges, site: Site) -> Option<(u32, FuelAt)> {
        let pinned = FuelAt::Register { register: PINNED, delta: 0 };
        if !traps::is_access(site.code) {
            return Some((site.operator, pinned));
        }
        let access = self.access(site)?;
        let fuel = match access.counter {
            None => pinned,
            Some(_) if self.cold.contains(&site.code) => return None,
            Some((root, constant)) => self.counter(ranges, site.pc, root, constant)?,
        };
        Some((access.operator, fuel))
    }

    /// The access that is made at a site.
    fn access(&self, site: Site) -> Option<&Access> {
        let attributed = self.operators.get(&site.operator).copied();
        let same = attributed.filter(|&index| self.accesses[index].code == site.code);
        let index = match (same, &self.codes.get(&site.code)?[..]) {
            (Some(index), _) => index,
            (None, &[only]) => only,
            // Where the counter is pinned only the answer to "which operator" can be wrong.
            (None, &[first, ..]) if self.accesses[first].counter.is_none() => {
                attributed.unwrap_or(first)
            }
            (None, _) => return None,
        };
        Some(&self.accesses[index])
    }

    /// Where `root + constant` can be computed from when the instruction at `pc` starts.
    fn counter(
        &self,
        ranges: &ValueLabelsRanges,
        pc: u32,
        root: Value,
        constant: i64,
    ) -> Option<FuelAt> {
        self.labels.get(&root)?.iter().find_map(|&(label, contained)| {
            let delta = i32::try_from(constant - contained).ok()?;
            let mut ranges = ranges.get(&label)?.iter();
            let range = ranges.find(|range| (range.start..range.end).contains(&pc))?;
            match range.loc {
                LabelValueLoc::Reg(register) => {
                    let register = register.to_real_reg()?.hw_enc();
                    Some(FuelAt::Register { register, delta })
                }
                LabelValueLoc::CFAOffset(offset) => {
                    let offset = i32::try_from(offset + FRAME_POINTER_TO_CFA).ok()?;
                    Some(FuelAt::Frame { offset, delta })
                }
            }
        })
    }
}

/// A value as another one plus a constant.
fn decompose(dfg: &DataFlowGraph, value: Value) -> (Value, i64) {
    let mut value = dfg.resolve_aliases(value);
    let mut offset = 0_i64;
    while let Some((base, constant)) = sum(dfg, value) {
        value = dfg.resolve_aliases(base);
        offset = offset.wrapping_add(constant);
    }
    (value, offset)
}

/// The operands of `value` if it is the sum of a value and a constant.
fn sum(dfg: &DataFlowGraph, value: Value) -> Option<(Value, i64)> {
    if dfg.value_type(value) != types::I64 {
        return None;
    }
    match instruction(dfg, value)? {
        InstructionData::Binary { opcode: Opcode::Iadd, args: [one, other] } => {
            match (constant(dfg, one), constant(dfg, other)) {
                (_, Some(constant)) => Some((one, constant)),
                (Some(constant), None) => Some((other, constant)),
                (None, None) => None,
            }
        }
        InstructionData::Binary { opcode: Opcode::Isub, args: [one, other] } => {
            Some((one, constant(dfg, other)?.checked_neg()?))
        }
        _ => None,
    }
}

fn constant(dfg: &DataFlowGraph, value: Value) -> Option<i64> {
    match instruction(dfg, dfg.resolve_aliases(value))? {
        InstructionData::UnaryImm { opcode: Opcode::Iconst, imm } => Some(imm.bits()),
        _ => None,
    }
}

fn instruction(dfg: &DataFlowGraph, value: Value) -> Option<InstructionData> {
    match dfg.value_def(value) {
        ValueDef::Result(inst, _) => Some(dfg.insts[inst]),
        ValueDef::Param(..) | ValueDef::Union(..) => None,
    }
}
