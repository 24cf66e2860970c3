//! Linear memories: the address of an access, and how it is kept inside.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value, types};
use cranelift_frontend::FunctionBuilder;
use cranelift_wasm::HeapAddress;

use super::{Env, Region, alias_region};
use crate::compile::signature::POINTER;
use crate::types::MemoryType;
use crate::vm::layout::{MemoryStyle, VMMemory};

impl Env<'_> {
    /// The address of an access of `size` bytes at `index + offset`.
    ///
    /// An access outside of the memory faults: in the reservation behind the memory's end, in the
    /// guard behind that, or, where a comparison found it, at address zero. The comparison selects
    /// the address instead of branching, so that no processor can run ahead with a wrong one.
    pub(super) fn address(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        memory: u32,
        index: Value,
        offset: u64,
        size: u8,
    ) -> HeapAddress {
        let style = self.memory_style(memory);
        let base = self.memory_base(builder, memory, style);
        let range = if self.is_64(memory) { u64::MAX } else { u32::MAX.into() };
        let index = widen(builder, index);
        let outside = match (offset.checked_add(size.into()), style) {
            (None, _) => Some(builder.ins().iconst(types::I8, 1)),
            (Some(end), MemoryStyle::Static { reserved, guard }) => {
                beyond_reservation(builder, (index, range), end, reserved, guard)
            }
            (Some(end), MemoryStyle::Dynamic) => {
                Some(self.beyond_size(builder, memory, index, end))
            }
        };
        let address = builder.ins().iadd(base, index);
        let (base, offset) = match (outside, i32::try_from(offset)) {
            (None, Ok(offset)) => (address, offset),
            (None, Err(_)) => (add(builder, address, offset), 0),
            (Some(outside), _) => {
                let address = add(builder, address, offset);
                let null = builder.ins().iconst(POINTER, 0);
                (builder.ins().select_spectre_guard(outside, null, address), 0)
            }
        };
        self.locate(builder);
        let code = self.prepare_access(builder);
        let region = alias_region(builder, Region::Heap);
        let flags = MemFlagsData::new().with_trap_code(Some(code)).with_alias_region(Some(region));
        HeapAddress { base, offset, flags }
    }

    /// `memory.size`, as wide as the memory's addresses.
    pub(super) fn pages(&mut self, builder: &mut FunctionBuilder<'_>, memory: u32) -> Value {
        let len = self.memory_len(builder, memory);
        let page_log2 = self.memory_type(memory).page_log2();
        let shift = builder.ins().iconst(types::I64, i64::from(page_log2));
        let pages = builder.ins().ushr(len, shift);
        narrow(builder, pages, self.is_64(memory))
    }

    fn memory_type(&self, memory: u32) -> &MemoryType {
        &self.module.info.memories[memory as usize]
    }

    /// Whether addresses of a memory have 64 bits.
    pub(super) fn is_64(&self, memory: u32) -> bool {
        self.memory_type(memory).is_64()
    }

    /// Whether an access that ends `end` bytes behind `index`, an i64, leaves the memory's current
    /// size.
    pub(super) fn beyond_size(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        memory: u32,
        index: Value,
        end: u64,
    ) -> Value {
        let len = self.memory_len(builder, memory);
        let sum = add(builder, index, end);
        let outside = builder.ins().icmp(IntCC::UnsignedGreaterThan, sum, len);
        if !self.is_64(memory) || end == 0 {
            // Both terms fit 33 bits, so that the sum cannot wrap.
            return outside;
        }
        let wrapped = builder.ins().icmp(IntCC::UnsignedLessThan, sum, index);
        builder.ins().bor(outside, wrapped)
    }

    pub(super) fn memory_style(&self, memory: u32) -> MemoryStyle {
        let settings = self.module.settings;
        let ty = self.memory_type(memory);
        MemoryStyle::of(ty, settings.static_memory_maximum, settings.static_memory_guard)
    }

    pub(super) fn memory_base(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        memory: u32,
        style: MemoryStyle,
    ) -> Value {
        let (record, offset) = self.memory_record(builder, memory);
        let base = offset + std::mem::offset_of!(VMMemory, base) as u32;
        match style {
            MemoryStyle::Static { .. } => self.load_constant(builder, POINTER, record, base),
            MemoryStyle::Dynamic => self.load_field(builder, POINTER, record, base),
        }
    }

    /// The size in bytes, an i64.
    fn memory_len(&mut self, builder: &mut FunctionBuilder<'_>, memory: u32) -> Value {
        let (record, offset) = self.memory_record(builder, memory);
        let len = offset + std::mem::offset_of!(VMMemory, len) as u32;
        self.load_field(builder, types::I64, record, len)
    }

    /// Where the [`VMMemory`] of a memory is.
    fn memory_record(&self, builder: &mut FunctionBuilder<'_>, memory: u32) -> (Value, u32) {
        let layout = self.module.layout;
        match memory.checked_sub(self.module.info.imported_memories) {
            Some(defined) => (self.context, layout.memory(defined)),
            None => {
                let at = layout.imported_memory(memory);
                (self.load_constant(builder, POINTER, self.context, at), 0)
            }
        }
    }
}

/// Whether an access that ends `end` bytes behind `index`, which is at most `range`, may leave
/// reservation and guard, if it can.
fn beyond_reservation(
    builder: &mut FunctionBuilder<'_>,
    (index, range): (Value, u64),
    end: u64,
    reserved: u64,
    guard: u64,
) -> Option<Value> {
    // Where the guard covers offset and size, all accesses share one comparison.
    let last = if end <= guard { Some(reserved) } else { (reserved + guard).checked_sub(end) };
    match last {
        Some(last) if last >= range => None,
        Some(last) => {
            let last = builder.ins().iconst(types::I64, last as i64);
            Some(builder.ins().icmp(IntCC::UnsignedGreaterThan, index, last))
        }
        None => Some(builder.ins().iconst(types::I8, 1)),
    }
}

/// An address, index or length as an i64.
pub(super) fn widen(builder: &mut FunctionBuilder<'_>, value: Value) -> Value {
    match builder.func.dfg.value_type(value) {
        types::I64 => value,
        _ => builder.ins().uextend(types::I64, value),
    }
}

/// An i64 as an operator answers it for memories and tables with 64-bit addresses or others; -1
/// stays -1.
pub(super) fn narrow(builder: &mut FunctionBuilder<'_>, value: Value, is_64: bool) -> Value {
    if is_64 { value } else { builder.ins().ireduce(types::I32, value) }
}

/// `value + constant`.
fn add(builder: &mut FunctionBuilder<'_>, value: Value, constant: u64) -> Value {
    let constant = builder.ins().iconst(types::I64, constant as i64);
    builder.ins().iadd(value, constant)
}
