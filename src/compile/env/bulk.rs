//! Bulk memory operators whose length is a small constant, as compilers make them to copy and
//! clear structures: done in line, where a call would cost more than the work.

use cranelift_codegen::ir::immediates::Offset32;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Type, Value, ValueDef, types};
use cranelift_frontend::FunctionBuilder;

use super::{Env, Region, alias_region};
use crate::compile::traps;
use crate::vm::layout::MemoryStyle;

/// The most bytes that are copied in line: eight loads, all of which are made before the first
/// store.
const MAX_INLINE: u64 = 128;

impl Env<'_> {
    /// Does `memory.copy` in line, if it suits. Answers whether it did.
    pub(super) fn copy_inline(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        (dst_memory, src_memory): (u32, u32),
        (dst, src): (Value, Value),
        len: Value,
    ) -> bool {
        let Some(len) = self.inline_len(builder, len, &[dst_memory, src_memory]) else {
            return false;
        };
        self.charge_bytes(len);
        let to = self.range(builder, dst_memory, dst, len);
        let from = self.range(builder, src_memory, src, len);
        let flags = heap(builder);
        // The ranges may overlap.
        let parts: Vec<_> = parts(len)
            .map(|(offset, ty)| (offset, builder.ins().load(ty, flags, from, offset)))
            .collect();
        for (offset, part) in parts {
            builder.ins().store(flags, part, to, offset);
        }
        true
    }

    /// Does `memory.fill` in line, if it suits. Answers whether it did.
    pub(super) fn fill_inline(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        memory: u32,
        (dst, byte): (Value, Value),
        len: Value,
    ) -> bool {
        let Some(len) = self.inline_len(builder, len, &[memory]) else { return false };
        self.charge_bytes(len);
        let to = self.range(builder, memory, dst, len);
        let flags = heap(builder);
        let byte = builder.ins().ireduce(types::I8, byte);
        // The byte in each place of the widest part; narrower ones are its low bytes.
        let ones = builder.ins().iconst(types::I64, 0x0101_0101_0101_0101);
        let wide = builder.ins().uextend(types::I64, byte);
        let wide = builder.ins().imul(wide, ones);
        let vector = builder.ins().splat(types::I8X16, byte);
        for (offset, ty) in parts(len) {
            let part = match ty {
                types::I8X16 => vector,
                types::I64 => wide,
                narrow => builder.ins().ireduce(narrow, wide),
            };
            builder.ins().store(flags, part, to, offset);
        }
        true
    }

    /// The length, if it is a small constant and the memories are such that a check by comparison
    /// is one that the processor cannot run past: an address of 32 bits always lies in
    /// reservation or guard.
    fn inline_len(
        &self,
        builder: &FunctionBuilder<'_>,
        len: Value,
        memories: &[u32],
    ) -> Option<u64> {
        let len = constant(builder, len).filter(|&len| len <= MAX_INLINE)?;
        let reserved = |&memory: &u32| match self.memory_style(memory) {
            MemoryStyle::Static { reserved, guard } => {
                reserved > u64::from(u32::MAX) && guard >= MAX_INLINE
            }
            MemoryStyle::Dynamic => false,
        };
        memories.iter().all(reserved).then_some(len)
    }

    /// The address of `len` bytes at `start`, which trap here unless all of them are inside.
    fn range(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        memory: u32,
        start: Value,
        len: u64,
    ) -> Value {
        let start = builder.ins().uextend(types::I64, start);
        let outside = self.beyond_size(builder, memory, start, len);
        self.trap_if(builder, outside, traps::MEMORY_OUT_OF_BOUNDS);
        let base = self.memory_base(builder, memory, self.memory_style(memory));
        builder.ins().iadd(base, start)
    }
}

/// Flags of accesses that were checked.
fn heap(builder: &mut FunctionBuilder<'_>) -> MemFlagsData {
    let region = alias_region(builder, Region::Heap);
    MemFlagsData::new().with_notrap().with_alias_region(Some(region))
}

/// The value, where it is an `i32.const`.
fn constant(builder: &FunctionBuilder<'_>, value: Value) -> Option<u64> {
    let dfg = &builder.func.dfg;
    let ValueDef::Result(inst, _) = dfg.value_def(dfg.resolve_aliases(value)) else { return None };
    let imm = match dfg.insts[inst] {
        cranelift_codegen::ir::InstructionData::UnaryImm { imm, .. } => imm.bits(),
        _ => return None,
    };
    Some(u64::from(imm as u32))
}

/// The parts in which `len` bytes are moved, as offsets and types: the widest first.
fn parts(len: u64) -> impl Iterator<Item = (Offset32, Type)> {
    const TYPES: [Type; 5] = [types::I8X16, types::I64, types::I32, types::I16, types::I8];
    let mut done = 0;
    std::iter::from_fn(move || {
        let ty = TYPES.into_iter().find(|ty| u64::from(ty.bytes()) <= len - done)?;
        let offset = Offset32::new(done as i32);
        done += u64::from(ty.bytes());
        Some((offset, ty))
    })
}
