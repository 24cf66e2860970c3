//! Linear memories: loads, stores, size and growth, bulk operators.

use cranelift_codegen::ir::{self, Value};
use cranelift_frontend::FuncInstBuilder;
use wasmparser::{MemArg, MemArgTarget};

use crate::memory_environ::{HeapAccess, HeapAddress};
use crate::translation::Translation;
use crate::{FuncEnvironment, WasmError, WasmResult};

/// Makes the instruction of a load of the given type.
pub(crate) type LoadOp = fn(FuncInstBuilder<'_, '_>, ir::Type, HeapAddress) -> Value;
/// Makes the instruction of a store.
pub(crate) type StoreOp = fn(FuncInstBuilder<'_, '_>, Value, HeapAddress);

impl<E: FuncEnvironment> Translation<'_, '_, E> {
    /// A load of `size` bytes as a value of type `ty`.
    pub(crate) fn load(
        &mut self,
        memarg: &MemArg,
        size: u8,
        ty: ir::Type,
        op: LoadOp,
    ) -> WasmResult<()> {
        let index = self.stacks.pop();
        let address = self.address(memarg, index, size, HeapAccess::Load)?;
        let value = op(self.builder.ins(), ty, address);
        self.stacks.push(value);
        Ok(())
    }

    /// A store of `size` bytes.
    pub(crate) fn store(&mut self, memarg: &MemArg, size: u8, op: StoreOp) -> WasmResult<()> {
        let (index, value) = self.stacks.pop2();
        let address = self.address(memarg, index, size, HeapAccess::Store)?;
        op(self.builder.ins(), value, address);
        Ok(())
    }

    /// Where an access at `index` goes.
    fn address(
        &mut self,
        memarg: &MemArg,
        index: Value,
        size: u8,
        access: HeapAccess,
    ) -> WasmResult<HeapAddress> {
        let MemArgTarget::Memory(memory) = memarg.target else {
            return Err(WasmError::Unsupported {
                offset: self.offset,
                what: "a load or store of an array".to_owned(),
            });
        };
        self.env.heap_address(&mut self.builder, memory, index, memarg.offset, size, access)
    }

    /// `memory.size`.
    pub(crate) fn memory_size(&mut self, memory: u32) -> WasmResult<()> {
        let pages = self.env.memory_size(&mut self.builder, memory)?;
        self.stacks.push(pages);
        Ok(())
    }

    /// `memory.grow`.
    pub(crate) fn memory_grow(&mut self, memory: u32) -> WasmResult<()> {
        let delta = self.stacks.pop();
        let pages = self.env.memory_grow(&mut self.builder, memory, delta)?;
        self.stacks.push(pages);
        Ok(())
    }

    /// `memory.fill`.
    pub(crate) fn memory_fill(&mut self, memory: u32) -> WasmResult<()> {
        let (dst, byte, len) = self.stacks.pop3();
        self.env.memory_fill(&mut self.builder, memory, dst, byte, len)
    }

    /// `memory.copy`.
    pub(crate) fn memory_copy(&mut self, dst_memory: u32, src_memory: u32) -> WasmResult<()> {
        let (dst, src, len) = self.stacks.pop3();
        let memories = (dst_memory, src_memory);
        self.env.memory_copy(&mut self.builder, memories, dst, src, len)
    }

    /// `memory.init`.
    pub(crate) fn memory_init(&mut self, memory: u32, segment: u32) -> WasmResult<()> {
        let (dst, src, len) = self.stacks.pop3();
        self.env.memory_init(&mut self.builder, memory, segment, dst, src, len)
    }

    /// `data.drop`.
    pub(crate) fn data_drop(&mut self, segment: u32) -> WasmResult<()> {
        self.env.data_drop(&mut self.builder, segment)
    }
}
