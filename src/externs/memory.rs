//! Linear memories.

use anyhow::{Context, Result};

use super::{OtherStore, Stored};
use crate::store::{AsContext, AsContextMut, Counts, StoreContext, StoreContextMut, StoreInner};
use crate::types::MemoryType;
use crate::vm;
use crate::vm::layout::VMMemory;
use crate::vm::limits::{Growth, Resource};
use crate::vm::memory::GrowError;
use crate::vm::store::{Owned, Store};

/// Why a memory cannot be read or written: a range of bytes does not lie within it, or it belongs
/// to another store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct MemoryAccessError(#[from] Refusal);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("out of bounds memory access: {len} bytes at {offset:#x} of a memory of {size} bytes")]
    OutOfBounds { offset: usize, len: usize, size: usize },
    #[error(transparent)]
    OtherStore(#[from] OtherStore),
}

/// A linear memory of a store. A handle: small, copied freely, valid with the store that it came
/// from.
///
/// Sizes are in [pages](MemoryType::page_size), of 64 KiB unless its type says otherwise, where a
/// method says `pages`, else in bytes.
///
/// ```
/// # fn main() -> anyhow::Result<()> {
/// use lampwick::{Memory, MemoryType, Store};
///
/// let mut store = Store::<Vec<u8>>::default();
/// let memory = Memory::new(&mut store, MemoryType::new(1, Some(2)))?;
/// memory.write(&mut store, 100, b"wick")?;
/// let mut copy = [0; 4];
/// memory.read(&store, 100, &mut copy)?;
/// assert_eq!(&copy, b"wick");
/// // Without a copy, and together with the host's data.
/// assert_eq!(&memory.data(&store)[100..104], b"wick");
/// let (bytes, host) = memory.data_and_store_mut(&mut store);
/// host.extend_from_slice(&bytes[100..104]);
/// bytes[100..104].fill(0);
/// assert_eq!(store.data(), b"wick");
///
/// assert_eq!((memory.size(&store), memory.data_size(&store)), (1, 65536));
/// assert_eq!(memory.grow(&mut store, 1)?, 1);
/// assert!(memory.grow(&mut store, 1).is_err());
/// assert!(memory.read(&store, 2 * 65536 - 3, &mut copy).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Memory(pub(crate) Stored);

impl Memory {
    /// A memory of the host with this type, all zeros.
    ///
    /// # Errors
    ///
    /// Fails if the type contradicts itself, if the store may not have another memory or its
    /// [limiter](crate::Store::limiter) refuses one of this size, or if the system has no address
    /// space or memory left.
    ///
    /// # Panics
    ///
    /// Panics if the store's limiter is async.
    pub fn new(mut store: impl AsContextMut, ty: MemoryType) -> Result<Self> {
        let store = store.as_context_mut().0;
        store.check_counts(ANOTHER)?;
        store.permit(Growth::to_new_memory(&ty), "Memory::new")?;
        Self::make(store, &ty)
    }

    /// As [`Memory::new`], for stores whose limiter is async. It works with every store.
    ///
    /// # Errors
    ///
    /// As for [`Memory::new`].
    pub async fn new_async<T: Send>(
        mut store: impl AsContextMut<Data = T>,
        ty: MemoryType,
    ) -> Result<Self> {
        let store = store.as_context_mut().0;
        store.check_counts(ANOTHER)?;
        store.permit_async(Growth::to_new_memory(&ty)).await?;
        Self::make(store, &ty)
    }

    /// Makes a memory that was permitted.
    fn make<T>(store: &mut StoreInner<T>, ty: &MemoryType) -> Result<Self> {
        let memory = store.engine.memories().memory(ty);
        let memory = memory
            .map_err(GrowError::report)
            .with_context(|| format!("cannot make a {ty}"))
            .inspect_err(|error| store.grow_failed(Resource::Memory, error))?;
        let definition = memory.definition();
        let index = store.vm.memories.len();
        store.vm.memories.push(Owned::boxed(memory, definition));
        Ok(Self(Stored::new(&store.vm, index)))
    }

    fn slot<'s>(&self, store: &'s Store) -> &'s Owned<vm::memory::Memory, VMMemory> {
        &store.memories[self.0.index(store)]
    }

    /// The type of the memory; its minimum is the current size.
    ///
    /// # Panics
    ///
    /// Panics if it belongs to another store.
    pub fn ty(&self, store: impl AsContext) -> MemoryType {
        self.slot(&store.as_context().0.vm).value.ty()
    }

    /// Copies bytes out of the memory.
    ///
    /// # Errors
    ///
    /// Fails, with nothing copied, if they do not lie within the memory, or if it belongs to another
    /// store.
    pub fn read(
        &self,
        store: impl AsContext,
        offset: usize,
        buffer: &mut [u8],
    ) -> Result<(), MemoryAccessError> {
        let context = store.as_context();
        self.0.try_index(&context.0.vm).map_err(Refusal::from)?;
        let data = self.data(context);
        buffer.copy_from_slice(&data[checked(offset, buffer.len(), data.len())?]);
        Ok(())
    }

    /// Copies bytes into the memory.
    ///
    /// # Errors
    ///
    /// Fails, with nothing copied, if they do not lie within the memory, or if it belongs to another
    /// store.
    pub fn write(
        &self,
        mut store: impl AsContextMut,
        offset: usize,
        buffer: &[u8],
    ) -> Result<(), MemoryAccessError> {
        let context = store.as_context_mut();
        self.0.try_index(&context.0.vm).map_err(Refusal::from)?;
        let data = self.data_mut(context);
        let range = checked(offset, buffer.len(), data.len())?;
        data[range].copy_from_slice(buffer);
        Ok(())
    }

    /// All bytes of the memory.
    ///
    /// # Panics
    ///
    /// Panics if it belongs to another store.
    pub fn data<'a, T: 'a>(&self, store: impl Into<StoreContext<'a, T>>) -> &'a [u8] {
        let store = store.into().0;
        // SAFETY: the definition is up to date; wasm runs and the memory grows only with `&mut` of
        // the store.
        unsafe {
            let VMMemory { base, len } = self.slot(&store.vm).definition.read();
            std::slice::from_raw_parts(base, len)
        }
    }

    /// All bytes of the memory.
    ///
    /// # Panics
    ///
    /// Panics if it belongs to another store.
    pub fn data_mut<'a, T: 'a>(&self, store: impl Into<StoreContextMut<'a, T>>) -> &'a mut [u8] {
        self.data_and_store_mut(store).0
    }

    /// All bytes of the memory, and the host's data.
    ///
    /// # Panics
    ///
    /// Panics if the memory belongs to another store.
    pub fn data_and_store_mut<'a, T: 'a>(
        &self,
        store: impl Into<StoreContextMut<'a, T>>,
    ) -> (&'a mut [u8], &'a mut T) {
        let store = store.into().0;
        // SAFETY: as for `data`; nothing that `T` reaches refers to a guest's memory.
        let data = unsafe {
            let slot = self.slot(&store.vm);
            slot.value.note_exposed();
            let VMMemory { base, len } = slot.definition.read();
            std::slice::from_raw_parts_mut(base, len)
        };
        (data, &mut store.data)
    }

    /// The address of the first byte. It may change when the memory grows.
    ///
    /// # Panics
    ///
    /// Panics if the memory belongs to another store.
    pub fn data_ptr(&self, store: impl AsContext) -> *mut u8 {
        let context = store.as_context();
        let memory = &self.slot(&context.0.vm).value;
        memory.note_exposed();
        memory.definition().base
    }

    /// The size in bytes.
    ///
    /// # Panics
    ///
    /// Panics if the memory belongs to another store.
    pub fn data_size(&self, store: impl AsContext) -> usize {
        self.slot(&store.as_context().0.vm).value.definition().len
    }

    /// The size in pages.
    ///
    /// # Panics
    ///
    /// Panics if the memory belongs to another store.
    pub fn size(&self, store: impl AsContext) -> u64 {
        self.slot(&store.as_context().0.vm).value.pages()
    }

    /// Grows the memory by `delta` pages of zeros. Answers the former size in pages.
    ///
    /// # Errors
    ///
    /// Fails beyond the maximum, if the store's [limiter](crate::Store::limiter) refuses, if the
    /// system has no memory left, or if the memory belongs to another store; it is then as before.
    ///
    /// # Panics
    ///
    /// Panics if the store's limiter is async.
    pub fn grow(&self, mut store: impl AsContextMut, delta: u64) -> Result<u64> {
        let store = store.as_context_mut().0;
        let index = self.0.try_index(&store.vm)? as u32;
        if delta > 0 {
            store.permit(store.vm.memory_growth(index, delta), "Memory::grow")?;
        }
        grow(store, index, delta)
    }

    /// As [`Memory::grow`], for stores whose limiter is async. It works with every store.
    ///
    /// Nothing has grown where the future is dropped unfinished.
    ///
    /// # Errors
    ///
    /// As for [`Memory::grow`].
    pub async fn grow_async<T: Send>(
        &self,
        mut store: impl AsContextMut<Data = T>,
        delta: u64,
    ) -> Result<u64> {
        let store = store.as_context_mut().0;
        let index = self.0.try_index(&store.vm)? as u32;
        if delta > 0 {
            store.permit_async(store.vm.memory_growth(index, delta)).await?;
        }
        grow(store, index, delta)
    }
}

const ANOTHER: Counts = Counts { instances: 0, tables: 0, memories: 1 };

/// Grows a memory, which was permitted.
fn grow<T>(store: &mut StoreInner<T>, index: u32, delta: u64) -> Result<u64> {
    let result = store.vm.grow_memory(index, delta).map_err(GrowError::report);
    result.inspect_err(|error| store.grow_failed(Resource::Memory, error))
}

fn checked(
    offset: usize,
    len: usize,
    size: usize,
) -> Result<std::ops::Range<usize>, MemoryAccessError> {
    vm::table::checked_range(offset as u64, len as u64, size)
        .map_err(|_| MemoryAccessError(Refusal::OutOfBounds { offset, len, size }))
}
