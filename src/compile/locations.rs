//! Source locations after optimization.
//!
//! Code generation may merge a load into the instruction that uses its value, which is then the one
//! that faults and gives the machine instruction its location. So that this still names the load,
//! what computes with the value of a load is attributed to that load; it needs no location of its
//! own.

use cranelift_codegen::ir::{Function, Inst, Opcode, RelSourceLoc, Value};
use cranelift_entity::SecondaryMap;

/// A load that can fault: its place in the order of instructions, and its location.
type Load = (u32, RelSourceLoc);

/// Attributes what computes with the value of a load to the last load of the same block.
///
/// The last is the only one that can be merged in most cases; where it is not, the trap code tells.
pub(super) fn attribute_to_loads(func: &mut Function) {
    let mut loads: SecondaryMap<Value, Option<Load>> = SecondaryMap::new();
    let mut order = 0;
    let mut cursor = func.layout.entry_block();
    while let Some(block) = cursor {
        cursor = func.layout.next_block(block);
        let start = order;
        let mut next = func.layout.first_inst(block);
        while let Some(inst) = next {
            next = func.layout.next_inst(inst);
            order += 1;
            let load = if is_faulting_load(func, inst) {
                Some((order, func.srclocs[inst]))
            } else if has_own_location(func, inst) {
                None
            } else {
                let args = func.dfg.inst_args(inst).iter();
                let load = args.filter_map(|&arg| loads[arg]).max_by_key(|&(order, _)| order);
                load.filter(|&(order, _)| order > start)
            };
            let Some(load) = load else { continue };
            func.srclocs[inst] = load.1;
            for &result in func.dfg.inst_results(inst) {
                loads[result] = Some(load);
            }
        }
    }
}

fn is_faulting_load(func: &Function, inst: Inst) -> bool {
    let data = &func.dfg.insts[inst];
    let flags = data.memflags().map(|flags| func.dfg.mem_flags[flags]);
    data.opcode().can_load() && flags.is_some_and(|flags| !flags.notrap())
}

/// Whether an instruction traps or calls by itself.
fn has_own_location(func: &Function, inst: Inst) -> bool {
    let opcode = func.dfg.insts[inst].opcode();
    opcode.is_call()
        || opcode.can_store()
        || matches!(
            opcode,
            Opcode::Trap
                | Opcode::Trapz
                | Opcode::Trapnz
                | Opcode::Udiv
                | Opcode::Sdiv
                | Opcode::Urem
                | Opcode::Srem
                | Opcode::FcvtToSint
                | Opcode::FcvtToUint
        )
}
