//! The machine code of one function, as it is kept.

use anyhow::{Context as _, Result, anyhow, bail};
use cranelift_codegen::binemit::CodeOffset;
use cranelift_codegen::ir::{ExternalName, Function};
use cranelift_codegen::isa::unwind::UnwindInst;
use cranelift_codegen::{
    CompiledCode, ExceptionContextLoc, FinalizedMachCallSite, FinalizedMachExceptionHandler,
    FinalizedMachReloc, FinalizedRelocTarget, MachSrcLoc,
};
use regalloc2::RegClass;

use super::fuel_sites::Site;
use super::link::{Relocation, Symbol};
use super::placement::Placement;
use super::traps;
use crate::vm::layout::{
    ContextAt, FuelAt, Handler, PRESERVED, SavedRegisters, StackMaps, TrapSite,
};

/// The machine code of a function, and what is known of it. Offsets are from its start.
#[derive(Debug, Default)]
pub(super) struct Code {
    pub(super) bytes: Vec<u8>,
    /// Where in a text it may start.
    pub(super) placement: Placement,
    pub(super) relocations: Vec<Relocation>,
    pub(super) traps: Vec<TrapSite>,
    /// Return addresses with the operators that call.
    pub(super) calls: Vec<(u32, u32)>,
    /// Where instructions begin that belong to another operator than those before, or to none
    /// (`u32::MAX`).
    pub(super) addresses: Vec<(u32, u32)>,
    /// Where the frame holds references to values of the host, for each such call.
    pub(super) stack_maps: StackMaps,
    /// Where calls that throw go on.
    pub(super) handlers: Vec<Handler>,
    /// The registers that the frame holds for the caller, if they lie as those who unwind expect.
    pub(super) saved: Option<SavedRegisters>,
    /// A bit for each builtin that it calls.
    pub(super) builtins: u64,
    /// Whether the fuel counter could not be located everywhere, so that it is written through.
    pub(super) fell_back: bool,
}

/// Why a function has no code.
pub(super) enum Failure {
    /// There is a trap site whose fuel cannot be located.
    NotLocated,
    /// It takes more memory than it was granted.
    Memory,
    Error(anyhow::Error),
}

impl Failure {
    /// The failure where counters are not located but pinned.
    pub(super) fn into_error(self) -> anyhow::Error {
        match self {
            Self::NotLocated => anyhow!("internal error: a trap without fuel"),
            Self::Memory => anyhow!("internal error: out of memory without a bound"),
            Self::Error(error) => error,
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

impl Code {
    /// Takes what is kept out of what Cranelift made of `func`; `examine` completes a trap site.
    pub(super) fn collect(
        func: &Function,
        compiled: &CompiledCode,
        examine: impl Fn(Site) -> Option<(u32, FuelAt)>,
    ) -> Result<Self, Failure> {
        let buffer = &compiled.buffer;
        let locations = buffer.get_srclocs_sorted();
        let mut code = Self { bytes: buffer.data().to_vec(), ..Self::default() };
        for trap in buffer.traps() {
            let Some(meaning) = traps::wasm_trap(trap.code) else {
                return Err(anyhow!("internal error: unexpected trap {}", trap.code).into());
            };
            let (pc, operator) = (trap.offset, operator_at(locations, trap.offset));
            let site = Site { pc, operator, code: trap.code };
            let (wasm, fuel) = examine(site).ok_or(Failure::NotLocated)?;
            code.traps.push(TrapSite { pc, code: meaning, wasm, fuel });
        }
        code.addresses = address_map(locations);
        code.saved = saved_registers(&buffer.unwind_info);
        for call in buffer.call_sites() {
            code.calls.push((call.ret_addr, operator_at(locations, call.ret_addr - 1)));
            code.handlers.extend(handlers(&call)?);
        }
        code.placement = Placement::of(&code.bytes, &code.calls, buffer.alignment);
        for (return_address, frame_size, map) in buffer.user_stack_maps() {
            // Cranelift counts from the end of the frame.
            let distances: Vec<u32> = map.entries().map(|(_, at)| frame_size - at).collect();
            if !code.stack_maps.push(*return_address, &distances) {
                return Err(anyhow!("internal error: references at {distances:?}").into());
            }
        }
        for reloc in buffer.relocs() {
            code.relocations.push(relocation(func, reloc)?);
        }
        Ok(code)
    }

    /// Attributes what belongs to no operator, such as the prologue, to the start of the body.
    pub(super) fn attribute_rest(&mut self, start: u32) {
        let traps = self.traps.iter_mut().map(|site| &mut site.wasm);
        let calls = self.calls.iter_mut().map(|(_, operator)| operator);
        traps.chain(calls).filter(|operator| **operator == u32::MAX).for_each(|it| *it = start);
    }
}

/// The operator to which the instruction at `offset` is attributed, or `u32::MAX`.
fn operator_at(locations: &[MachSrcLoc<cranelift_codegen::Final>], offset: u32) -> u32 {
    let after = locations.partition_point(|location| location.start <= offset);
    let location = after.checked_sub(1).map(|index| &locations[index]);
    let location = location.filter(|location| offset < location.end);
    location.map_or(u32::MAX, |location| location.loc.bits())
}

/// The handlers of a call; where there are any, the first item tells where the context is.
fn handlers(call: &FinalizedMachCallSite<'_>) -> Result<Vec<Handler>> {
    let Some((context, clauses)) = call.exception_handlers.split_first() else {
        return Ok(Vec::new());
    };
    let FinalizedMachExceptionHandler::Context(context) = context else {
        bail!("internal error: the context of a frame is {context:?}");
    };
    let context = context_at(context)
        .with_context(|| format!("internal error: a frame's context is in {context:?}"))?
        .number();
    let frame_size = call.frame_offset.context("internal error: a frame of no known size")?;
    let handler = |clause: &FinalizedMachExceptionHandler| match *clause {
        FinalizedMachExceptionHandler::Tag(tag, landing) => Ok(Handler {
            return_address: call.ret_addr,
            clause: tag.as_u32(),
            landing,
            frame_size,
            context,
        }),
        _ => bail!("internal error: a clause is {clause:?}"),
    };
    clauses.iter().map(handler).collect()
}

/// Where the context of a frame is at a call, if the call leaves it there.
fn context_at(location: &ExceptionContextLoc) -> Option<ContextAt> {
    match *location {
        ExceptionContextLoc::SPOffset(offset) => {
            offset.is_multiple_of(8).then_some(ContextAt::Stack(offset))
        }
        ExceptionContextLoc::GPR(register) => {
            let index = PRESERVED.iter().position(|&known| known == register)?;
            Some(ContextAt::Register(index as u8))
        }
    }
}

/// The registers that a prologue saves, if those who know the set know where each is.
fn saved_registers(prologue: &[(CodeOffset, UnwindInst)]) -> Option<SavedRegisters> {
    let (mut area, mut found) = (None, Vec::new());
    for (_, instruction) in prologue {
        match *instruction {
            UnwindInst::PushFrameRegs { .. } => {}
            UnwindInst::DefineNewFrame { offset_downward_to_clobbers, .. } => {
                area = Some(offset_downward_to_clobbers);
            }
            UnwindInst::SaveReg { clobber_offset, reg } if reg.class() == RegClass::Int => {
                found.push((reg.hw_enc(), area?.checked_sub(clobber_offset)?));
            }
            _ => return None,
        }
    }
    let saved = SavedRegisters::of(found.iter().map(|&(register, _)| register))?;
    let places = saved.places().map(|(index, distance)| (PRESERVED[index], distance));
    (area? == saved.size() && places.eq(found)).then_some(saved)
}

fn address_map(locations: &[MachSrcLoc<cranelift_codegen::Final>]) -> Vec<(u32, u32)> {
    let mut addresses: Vec<(u32, u32)> = Vec::new();
    let mut end = 0;
    let gap_after = |end| MachSrcLoc { start: end, end, loc: Default::default() };
    for location in locations.iter().filter(|location| location.start < location.end) {
        let gap = (location.start > end).then(|| gap_after(end));
        for MachSrcLoc { start, loc, .. } in gap.iter().chain([location]) {
            if addresses.last().is_none_or(|&(_, operator)| operator != loc.bits()) {
                addresses.push((*start, loc.bits()));
            }
        }
        end = location.end;
    }
    addresses.push((end, u32::MAX));
    addresses
}

fn relocation(func: &Function, reloc: &FinalizedMachReloc) -> Result<Relocation> {
    let target = match &reloc.target {
        FinalizedRelocTarget::ExternalName(ExternalName::User(name)) => {
            let name = &func.params.user_named_funcs()[*name];
            Symbol::from_parts(name.namespace, name.index)
        }
        _ => None,
    };
    let Some(target) = target else {
        bail!("internal error: code refers to {:?}, which it must not", reloc.target);
    };
    Ok(Relocation { offset: reloc.offset, kind: reloc.kind, target, addend: reloc.addend })
}
