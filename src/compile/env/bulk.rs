//! `memory.copy` and `memory.fill`, of which guests make very many, most of them short.
//!
//! Where the length is a small constant, as compilers make them to copy and clear structures, the
//! work is done in line: a call would cost more than it. Else code checks the ranges, the length and
//! the fuel itself, and if one look at each is enough a function does the work that does nothing
//! else; the rest is for the builtins, which trap, take chunks, and yield between them.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::immediates::Offset32;
use cranelift_codegen::ir::{Block, InstBuilder, MemFlagsData, Type, Value, ValueDef, types};
use cranelift_frontend::FunctionBuilder;
use smallvec::SmallVec;

use super::memory::widen;
use super::{Env, Region, alias_region};
use crate::compile::traps;
use crate::vm::layout::{BYTES_PER_CHUNK, BYTES_PER_FUEL, Builtin, MemoryStyle};

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

    /// Does `memory.copy`.
    pub(super) fn copy_of_any_length(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        (dst_memory, src_memory): (u32, u32),
        (dst, src): (Value, Value),
        len: Value,
    ) {
        let ranges = [(dst_memory, dst), (src_memory, src)];
        let short = self.begin_short(builder, &ranges, len);
        if let Some(Short { addresses, len, .. }) = &short {
            self.call_plain(builder, Builtin::move_bytes, &[addresses[0], addresses[1], *len]);
        }
        self.end_short(builder, short, |env, builder| {
            let memories = [dst_memory, src_memory];
            env.builtin_of(builder, Builtin::memory_copy, &memories, &[dst, src, len]);
        });
    }

    /// Does `memory.fill`.
    pub(super) fn fill_of_any_length(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        memory: u32,
        (dst, byte): (Value, Value),
        len: Value,
    ) {
        let short = self.begin_short(builder, &[(memory, dst)], len);
        if let Some(Short { addresses, len, .. }) = &short {
            self.call_plain(builder, Builtin::set_bytes, &[addresses[0], byte, *len]);
        }
        self.end_short(builder, short, |env, builder| {
            env.builtin_of(builder, Builtin::memory_fill, &[memory], &[dst, byte, len]);
        });
    }

    /// Begins the code for work on `len` bytes of each range (a memory and a start) that one look at
    /// ranges and fuel is enough for, and charges for it; unless the memories do not suit.
    fn begin_short(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        ranges: &[(u32, Value)],
        len: Value,
    ) -> Option<Short> {
        let memories: SmallVec<[u32; 2]> = ranges.iter().map(|&(memory, _)| memory).collect();
        if !self.reserve(&memories, BYTES_PER_CHUNK) {
            return None;
        }
        // Both ways then begin with the same counter.
        self.flush(builder);
        let otherwise = builder.create_block();
        builder.set_cold_block(otherwise);
        let len = widen(builder, len);
        let most = builder.ins().iconst(types::I64, BYTES_PER_CHUNK as i64);
        let long = builder.ins().icmp(IntCC::UnsignedGreaterThan, len, most);
        go_if(builder, long, otherwise);
        let mut addresses = SmallVec::new();
        for &(memory, start) in ranges {
            let start = widen(builder, start);
            let end = builder.ins().iadd(start, len);
            let outside = self.beyond_size(builder, memory, end, 0);
            go_if(builder, outside, otherwise);
            let base = self.memory_base(builder, memory, self.memory_style(memory));
            addresses.push(builder.ins().iadd(base, start));
        }
        let bytes_per_fuel = i64::from(BYTES_PER_FUEL.trailing_zeros());
        self.charge_unless(builder, otherwise, |builder| {
            let shift = builder.ins().iconst(types::I64, bytes_per_fuel);
            builder.ins().ushr(len, shift)
        });
        Some(Short { addresses, len, otherwise })
    }

    /// Ends that code, and makes `otherwise` do what it does not.
    fn end_short(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        short: Option<Short>,
        otherwise: impl FnOnce(&mut Self, &mut FunctionBuilder<'_>),
    ) {
        let Some(short) = short else { return otherwise(self, builder) };
        let done = builder.create_block();
        builder.ins().jump(done, &[]);
        builder.switch_to_block(short.otherwise);
        builder.seal_block(short.otherwise);
        otherwise(self, builder);
        builder.ins().jump(done, &[]);
        builder.switch_to_block(done);
        builder.seal_block(done);
    }

    /// The length, if it is a small constant and the memories suit.
    fn inline_len(
        &self,
        builder: &FunctionBuilder<'_>,
        len: Value,
        memories: &[u32],
    ) -> Option<u64> {
        let len = constant(builder, len).filter(|&len| len <= MAX_INLINE)?;
        self.reserve(memories, MAX_INLINE).then_some(len)
    }

    /// Whether ranges of `len` bytes that start at an address of 32 bits are always in reservation
    /// or guard of these memories, so that no processor gets anywhere which runs past a check.
    fn reserve(&self, memories: &[u32], len: u64) -> bool {
        memories.iter().all(|&memory| match self.memory_style(memory) {
            MemoryStyle::Static { reserved, guard } => {
                reserved > u64::from(u32::MAX) && guard >= len && !self.is_64(memory)
            }
            MemoryStyle::Dynamic => false,
        })
    }

    /// The address of `len` bytes at `start`, which trap here unless all of them are inside.
    fn range(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        memory: u32,
        start: Value,
        len: u64,
    ) -> Value {
        let start = widen(builder, start);
        let outside = self.beyond_size(builder, memory, start, len);
        self.trap_if(builder, outside, traps::MEMORY_OUT_OF_BOUNDS);
        let base = self.memory_base(builder, memory, self.memory_style(memory));
        builder.ins().iadd(base, start)
    }
}

/// Work of which code is being made that is done at once.
struct Short {
    /// Where each range starts.
    addresses: SmallVec<[Value; 2]>,
    /// How long the ranges are, an i64.
    len: Value,
    /// What is to do the work where it cannot be done at once.
    otherwise: Block,
}

/// Goes to `target` where `condition` is not zero.
pub(super) fn go_if(builder: &mut FunctionBuilder<'_>, condition: Value, target: Block) {
    let go_on = builder.create_block();
    builder.ins().brif(condition, target, &[], go_on, &[]);
    builder.switch_to_block(go_on);
    builder.seal_block(go_on);
}

/// Flags of accesses that were checked.
fn heap(builder: &mut FunctionBuilder<'_>) -> MemFlagsData {
    let region = alias_region(builder, Region::Heap);
    MemFlagsData::new().with_notrap().with_alias_region(Some(region))
}

/// The value, where it is an `i32.const` or `i64.const`.
fn constant(builder: &FunctionBuilder<'_>, value: Value) -> Option<u64> {
    let dfg = &builder.func.dfg;
    let ValueDef::Result(inst, _) = dfg.value_def(dfg.resolve_aliases(value)) else { return None };
    let imm = match dfg.insts[inst] {
        cranelift_codegen::ir::InstructionData::UnaryImm { imm, .. } => imm.bits(),
        _ => return None,
    };
    Some(if dfg.value_type(value) == types::I64 { imm as u64 } else { u64::from(imm as u32) })
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
