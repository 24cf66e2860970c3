//! Instances: a context for machine code, and what the host must know beside it.

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::OnceLock;

use bytes::Bytes;
use lampwick_fibers::{Cancelled, Shared};
use smallvec::{SmallVec, smallvec};
use thin_vec::ThinVec;

use super::layout::{
    ContextLayout, VMContext, VMFuncRef, VMFunctionImport, VMGlobal, VMMemory, VMTable,
};
use super::memory::MemoryImage;
use super::pace::{self, Pace};
use super::segments::SegmentElement;

/// What the instances of a module share: how their contexts are laid out, and segments.
#[derive(Debug)]
pub(crate) struct Blueprint {
    pub(crate) layout: ContextLayout,
    pub(crate) bytes: Bytes,
    /// Of each data segment, among the bytes.
    pub(crate) ranges: Vec<Range<usize>>,
    /// The element segments, but for those that only declare functions, which are empty.
    pub(crate) elements: Vec<Box<[SegmentElement]>>,
    /// What making an instance takes, in the units of [`Pace`](super::pace::Pace).
    pub(crate) work: usize,
    /// What a memory of the module starts with, from the first instance on, where it is worth it.
    pub(crate) image: OnceLock<Option<Shared<MemoryImage>>>,
}

/// The memory of a context, zeroed at first.
#[derive(Debug)]
struct ContextMemory {
    start: NonNull<VMContext>,
    blueprint: Shared<Blueprint>,
}

impl ContextMemory {
    fn allocation(layout: &ContextLayout) -> Layout {
        Layout::from_size_align(layout.size(), 16).expect("fits, as its offsets fit 32 bits")
    }

    /// # Errors
    ///
    /// [`Cancelled`] from the pace.
    fn new(blueprint: Shared<Blueprint>, pace: &mut Pace<'_>) -> Result<Self, Cancelled> {
        let allocation = Self::allocation(&blueprint.layout);
        let is_long = pace::is_long(allocation.size());
        // SAFETY: a context is never empty, it has a header.
        let start = unsafe { if is_long { alloc(allocation) } else { alloc_zeroed(allocation) } };
        let Some(start) = NonNull::new(start.cast()) else { handle_alloc_error(allocation) };
        let this = Self { start, blueprint };
        if is_long {
            // An allocator that had it in use before would clear it at once.
            let bytes = start.as_ptr().cast::<u8>();
            pace.parts(allocation.size(), 1, |from, len| {
                // SAFETY: the part is one of the allocation.
                unsafe { bytes.add(from).write_bytes(0, len) }
            })?;
        }
        Ok(this)
    }
}

impl Drop for ContextMemory {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with the same layout.
        unsafe { dealloc(self.start.as_ptr().cast(), Self::allocation(&self.blueprint.layout)) };
    }
}

/// An instance. It lives as long as its store.
#[derive(Debug)]
pub(crate) struct Instance {
    context: ContextMemory,
    /// The store's index of each memory, table, global and tag of the module's index spaces. Few modules
    /// have more than one memory, or more than eight segments.
    pub(crate) memories: SmallVec<[u32; 2]>,
    pub(crate) tables: ThinVec<u32>,
    pub(crate) globals: ThinVec<u32>,
    pub(crate) tags: ThinVec<u32>,
    /// Of each data segment, then of each element segment, whether it was dropped.
    dropped: SmallVec<[bool; 8]>,
}

// SAFETY: the context is reached only through the store that owns the instance.
unsafe impl Send for Instance {}
// SAFETY: as above.
unsafe impl Sync for Instance {}

impl Instance {
    /// An instance whose context is zero but for its header, which gets everything but the back
    /// pointer.
    ///
    /// # Errors
    ///
    /// [`Cancelled`] from the pace.
    pub(crate) fn new(
        head: VMContext,
        blueprint: Shared<Blueprint>,
        pace: &mut Pace<'_>,
    ) -> Result<Self, Cancelled> {
        let dropped = smallvec![false; blueprint.ranges.len() + blueprint.elements.len()];
        let counts = blueprint.layout.counts;
        let exactly = |imported: u32, defined: u32| {
            ThinVec::with_capacity(imported as usize + defined as usize)
        };
        let context = ContextMemory::new(blueprint, pace)?;
        // SAFETY: the allocation begins with a header.
        unsafe { context.start.write(head) };
        Ok(Self {
            context,
            memories: SmallVec::with_capacity(
                counts.imported_memories as usize + counts.memories as usize,
            ),
            tables: exactly(counts.imported_tables, counts.tables),
            globals: exactly(counts.imported_globals, counts.globals),
            tags: ThinVec::new(),
            dropped,
        })
    }

    /// The context.
    pub(crate) fn context(&self) -> NonNull<VMContext> {
        self.context.start
    }

    /// The layout of the context.
    pub(crate) fn layout(&self) -> &ContextLayout {
        &self.context.blueprint.layout
    }

    fn field<T>(&self, offset: u32) -> NonNull<T> {
        debug_assert!(offset as usize + size_of::<T>() <= self.layout().size());
        // SAFETY: the offset is one of the layout's, so it lies within the allocation.
        unsafe { self.context.start.byte_add(offset as usize).cast() }
    }

    /// Place of an imported function.
    pub(crate) fn imported_function(&self, index: u32) -> NonNull<VMFunctionImport> {
        self.field(self.layout().imported_function(index))
    }

    /// Place of an imported table.
    pub(crate) fn imported_table(&self, index: u32) -> NonNull<*mut VMTable> {
        self.field(self.layout().imported_table(index))
    }

    /// Place of an imported memory.
    pub(crate) fn imported_memory(&self, index: u32) -> NonNull<*mut VMMemory> {
        self.field(self.layout().imported_memory(index))
    }

    /// Place of an imported global.
    pub(crate) fn imported_global(&self, index: u32) -> NonNull<*mut VMGlobal> {
        self.field(self.layout().imported_global(index))
    }

    /// Place of a defined table.
    pub(crate) fn table(&self, index: u32) -> NonNull<VMTable> {
        self.field(self.layout().table(index))
    }

    /// Place of a defined memory.
    pub(crate) fn memory(&self, index: u32) -> NonNull<VMMemory> {
        self.field(self.layout().memory(index))
    }

    /// Place of a defined global.
    pub(crate) fn global(&self, index: u32) -> NonNull<VMGlobal> {
        self.field(self.layout().global(index))
    }

    /// Place of an escaping function's record.
    pub(crate) fn func_ref(&self, slot: u32) -> NonNull<VMFuncRef> {
        self.field(self.layout().func_ref(slot))
    }

    /// The bytes of a data segment; none once it is dropped.
    pub(crate) fn data(&self, segment: u32) -> (Shared<Blueprint>, Range<usize>) {
        let (index, blueprint) = (segment as usize, &self.context.blueprint);
        let range = if self.dropped[index] { 0..0 } else { blueprint.ranges[index].clone() };
        (blueprint.clone(), range)
    }

    /// Drops a data segment.
    pub(crate) fn drop_data(&mut self, segment: u32) {
        self.dropped[segment as usize] = true;
    }

    /// The elements of a segment; none once it is dropped.
    pub(crate) fn elements(&self, segment: u32) -> &[SegmentElement] {
        let blueprint = &self.context.blueprint;
        if self.dropped[blueprint.ranges.len() + segment as usize] {
            return &[];
        }
        &blueprint.elements[segment as usize]
    }

    /// Drops an element segment.
    pub(crate) fn drop_elements(&mut self, segment: u32) {
        let segment = self.context.blueprint.ranges.len() + segment as usize;
        self.dropped[segment] = true;
    }
}
