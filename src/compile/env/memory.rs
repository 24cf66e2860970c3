//! Linear memories: the address of an access, and how it is kept inside.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value, types};
use cranelift_frontend::FunctionBuilder;
use cranelift_wasm::HeapAddress;

use super::{Env, Region, alias_region};
use crate::compile::signature::POINTER;
use crate::vm::layout::{MemoryStyle, VMMemory, WASM_PAGE_SIZE};

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
        let index = builder.ins().uextend(types::I64, index);
        let outside = match style {
            MemoryStyle::Static { reserved, guard } => {
                beyond_reservation(builder, index, offset + u64::from(size), reserved, guard)
            }
            MemoryStyle::Dynamic => {
                Some(self.beyond_size(builder, memory, index, offset + u64::from(size)))
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

    /// `memory.size`: an i32.
    pub(super) fn pages(&mut self, builder: &mut FunctionBuilder<'_>, memory: u32) -> Value {
        let len = self.memory_len(builder, memory);
        let shift = builder.ins().iconst(types::I64, i64::from(WASM_PAGE_SIZE.trailing_zeros()));
        let pages = builder.ins().ushr(len, shift);
        builder.ins().ireduce(types::I32, pages)
    }

    /// Whether an access that ends `end` bytes behind `index` leaves the memory's current size.
    pub(super) fn beyond_size(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        memory: u32,
        index: Value,
        end: u64,
    ) -> Value {
        let len = self.memory_len(builder, memory);
        // Both terms fit 33 bits, so that the sum cannot wrap.
        let end = add(builder, index, end);
        builder.ins().icmp(IntCC::UnsignedGreaterThan, end, len)
    }

    pub(super) fn memory_style(&self, memory: u32) -> MemoryStyle {
        let settings = self.module.settings;
        MemoryStyle::of(
            self.module.info.memories[memory as usize].maximum(),
            settings.static_memory_maximum,
            settings.static_memory_guard,
        )
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

/// Whether an access that ends `end` bytes behind `index` may leave reservation and guard, if it
/// can.
fn beyond_reservation(
    builder: &mut FunctionBuilder<'_>,
    index: Value,
    end: u64,
    reserved: u64,
    guard: u64,
) -> Option<Value> {
    // Where the guard covers offset and size, all accesses share one comparison.
    let last = if end <= guard { Some(reserved) } else { (reserved + guard).checked_sub(end) };
    match last {
        Some(last) if last >= u64::from(u32::MAX) => None,
        Some(last) => {
            let last = builder.ins().iconst(types::I64, last as i64);
            Some(builder.ins().icmp(IntCC::UnsignedGreaterThan, index, last))
        }
        None => Some(builder.ins().iconst(types::I8, 1)),
    }
}

/// `value + constant`.
fn add(builder: &mut FunctionBuilder<'_>, value: Value, constant: u64) -> Value {
    let constant = builder.ins().iconst(types::I64, constant as i64);
    builder.ins().iadd(value, constant)
}
