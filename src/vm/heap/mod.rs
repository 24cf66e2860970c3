//! The heap of a store's structs and arrays.
//!
//! It is one range of addresses, in blocks. A block has cells of one size, of which each holds a small
//! object; large objects have blocks of their own. Objects never move. What no guest can reach any
//! more goes at a collection (`vm/collect.rs`): its cell is then free for another.
//!
//! What machine code has are distances from the start of the heap, which it trusts. The collector does
//! not: it looks up whether there is an object before it follows a reference, since what it finds
//! among arguments may be a number, and what nobody can reach may refer to what is gone.

mod marks;
mod space;
#[cfg(test)]
mod tests;

use std::io;
use std::ptr::{self, NonNull};

pub(super) use marks::Marks;

use super::layout::{
    CLASSES, MAX_CELL, OBJECT_ALIGN, VMHeap, VMObject, VMType, class_of, size_of_cell,
};
use space::Space;

/// The bytes of a block.
pub(super) const BLOCK: usize = 64 << 10;

/// What 32-bit references reach.
pub(crate) const MAX_BYTES: usize = 1 << 32;

/// How a store's heap is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ObjectSettings {
    /// The most bytes that objects take.
    pub(crate) maximum: u64,
    /// Whether each object is made behind a collection, for tests.
    pub(crate) stress: bool,
}

impl Default for ObjectSettings {
    fn default() -> Self {
        Self { maximum: MAX_BYTES as u64, stress: false }
    }
}

/// Below so many bytes of new objects there is no collection unless room is short.
const MIN_THRESHOLD: usize = 1 << 20;

/// Bytes of cells that are begun at a time: a page.
const BATCH: u32 = 4 << 10;

/// How many new bytes pay for a word of tables and frames that a collection looks at: a guest picks how
/// many of them there are.
const BYTES_PER_WORD: usize = 2;

/// What is in a block.
#[derive(Debug)]
enum Block {
    /// Nothing; what was there may still be, if it is `dirty`.
    Free {
        dirty: bool,
    },
    Cells(Cells),
    /// The first block of a large object.
    Large {
        blocks: u32,
    },
    /// The others.
    Rest,
}

/// A block of small objects.
#[derive(Debug)]
struct Cells {
    class: u8,
    /// How many cells were ever used.
    begun: u32,
    /// The first free one among these, or zero; each has the next one in its `len`. Those of the first
    /// block of a class are in the [`VMHeap`].
    free: u32,
    /// The next block of the class that has a free cell or room for one, or zero.
    next: u32,
}

/// The objects of a store.
#[derive(Debug)]
pub(crate) struct Heap {
    space: Space,
    /// The blocks that may be used. The first never is: its start would be null.
    blocks: Vec<Block>,
    /// How many blocks there may be.
    most: usize,
    /// The first block of each class that may have a free cell or room for one, or zero.
    partial: [u32; CLASSES],
    /// What machine code makes small objects from, as we do; it is ours.
    cells: NonNull<VMHeap>,
    /// From where on there may be free blocks.
    first_free: usize,
    /// Whether each object is made behind a collection, for tests.
    stress: bool,
}

/// A place for an object. Parts that are to be [cleaned](Heap::clean) first are whole blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The object's reference.
    pub(crate) at: u32,
    /// How many blocks are to be cleaned.
    pub(crate) unclean: usize,
}

impl Heap {
    /// An empty heap of so many bytes at the most, in which nothing can be made before it has [grown](Self::grow).
    pub(crate) fn new(settings: ObjectSettings) -> io::Result<Self> {
        let bytes = settings.maximum.clamp(BLOCK as u64, MAX_BYTES as u64) as usize;
        // The first block is never used.
        let blocks = (bytes / BLOCK + 1).min(MAX_BYTES / BLOCK);
        let space = Space::new(blocks * BLOCK)?;
        let budget = if settings.stress { 0 } else { MIN_THRESHOLD as u64 };
        let cells = Box::new(VMHeap { budget, free: [0; CLASSES] });
        Ok(Self {
            space,
            cells: NonNull::from(Box::leak(cells)),
            most: blocks,
            blocks: vec![Block::Rest],
            partial: [0; CLASSES],
            first_free: 1,
            stress: settings.stress,
        })
    }

    /// From where references count.
    pub(crate) fn start(&self) -> *mut u8 {
        self.space.start()
    }

    /// What machine code makes small objects from, as long as the heap is there.
    pub(crate) fn cells(&self) -> *mut VMHeap {
        self.cells.as_ptr()
    }

    fn cells_mut(&mut self) -> &mut VMHeap {
        // SAFETY: it is ours, and machine code, which changes it, too, is not running.
        unsafe { self.cells.as_mut() }
    }

    /// How many bytes it may use.
    pub(crate) fn size(&self) -> usize {
        (self.blocks.len() - 1) * BLOCK
    }

    /// By how much it had best grow to have room for an object of so many bytes.
    pub(crate) fn growth_for(&self, size: usize) -> usize {
        let wanted = size.next_multiple_of(BLOCK);
        let most = (self.most - self.blocks.len()) * BLOCK;
        // Larger heaps grow by more at a time, but for the last piece of the way.
        wanted.max((self.size() / 4).next_multiple_of(BLOCK)).min(most.max(wanted))
    }

    /// Whether references reach so many bytes more.
    pub(crate) fn can_grow(&self, bytes: usize) -> bool {
        bytes / BLOCK <= self.most - self.blocks.len()
    }

    /// Lets it use so many bytes more, which are whole blocks.
    ///
    /// # Panics
    ///
    /// Panics if that is more than references reach.
    pub(crate) fn grow(&mut self, bytes: usize) {
        assert!(self.can_grow(bytes), "within reach");
        self.first_free = self.first_free.min(self.blocks.len());
        let blocks = self.blocks.len() + bytes / BLOCK;
        self.blocks.resize_with(blocks, || Block::Free { dirty: false });
    }

    /// Whether there should be a collection before an object of so many bytes is made.
    pub(crate) fn is_full(&self, size: usize) -> bool {
        // SAFETY: as for `cells_mut`.
        size as u64 > unsafe { self.cells.as_ref() }.budget
    }

    /// A place for an object of so many bytes, if there is one. Its bytes are zero when its blocks are
    /// cleaned; it is no object before it has a [head](Self::finish).
    pub(crate) fn place(&mut self, size: usize) -> Option<Place> {
        let place = if size <= MAX_CELL as usize {
            let class = class_of(size as u32);
            self.place_in_cell(class)?
        } else {
            self.place_in_blocks(size.div_ceil(BLOCK))?
        };
        let cells = self.cells_mut();
        cells.budget = cells.budget.saturating_sub(size as u64);
        Some(place)
    }

    fn place_in_cell(&mut self, class: usize) -> Option<Place> {
        while self.cells_mut().free[class] == 0 {
            self.find_free_cells(class)?;
        }
        let at = self.cells_mut().free[class];
        // SAFETY: the cell is in the heap, and nobody else's.
        let next = unsafe {
            let cell = self.object(at);
            let next = (*cell).len;
            cell.cast::<u8>().write_bytes(0, size_of_cell(class) as usize);
            next
        };
        self.cells_mut().free[class] = next;
        Some(Place { at, unclean: 0 })
    }

    /// Looks for free cells of a class, of which the [`VMHeap`] has none, in the next place where they
    /// may be, and gives them to that. There may be none in it.
    fn find_free_cells(&mut self, class: usize) -> Option<()> {
        let block = match self.partial[class] {
            0 => {
                let block = self.free_blocks(1)?;
                let class = class as u8;
                self.blocks[block] = Block::Cells(Cells { class, begun: 0, free: 0, next: 0 });
                block as u32
            }
            block => block,
        };
        self.partial[class] = block;
        let size = size_of_cell(class);
        let Block::Cells(cells) = &mut self.blocks[block as usize] else {
            unreachable!("the list is of blocks with cells")
        };
        let room = BLOCK as u32 / size - cells.begun;
        if cells.free == 0 && room > 0 {
            let first = cells.begun;
            cells.begun += room.min((BATCH / size).max(1));
            for cell in (first..cells.begun).rev() {
                let at = block * BLOCK as u32 + cell * size;
                // SAFETY: the cell is in the heap, and was nobody's.
                unsafe {
                    let object = self.space.start().add(at as usize).cast::<VMObject>();
                    object.write(VMObject { ty: ptr::null(), len: cells.free });
                }
                cells.free = at;
            }
        }
        let (free, next) = (std::mem::take(&mut cells.free), cells.next);
        if free == 0 {
            self.partial[class] = next;
        }
        self.cells_mut().free[class] = free;
        Some(())
    }

    fn place_in_blocks(&mut self, blocks: usize) -> Option<Place> {
        let first = self.free_blocks(blocks)?;
        let dirty = |block: &Block| matches!(block, Block::Free { dirty: true });
        let unclean = self.blocks[first..first + blocks].iter().rposition(dirty);
        self.blocks[first] = Block::Large { blocks: blocks as u32 };
        self.blocks[first + 1..first + blocks].fill_with(|| Block::Rest);
        let at = (first * BLOCK) as u32;
        // What was there before is no object.
        // SAFETY: the block is in the heap, and nobody else's.
        unsafe { self.object(at).write(VMObject { ty: ptr::null(), len: 0 }) };
        Some(Place { at, unclean: unclean.map_or(0, |last| last + 1) })
    }

    /// The first of so many free blocks in a row.
    fn free_blocks(&mut self, count: usize) -> Option<usize> {
        let is_free = |block: &Block| matches!(block, Block::Free { .. });
        let from = self.first_free;
        self.first_free = from + self.blocks[from..].iter().position(is_free)?;
        let mut run = 0;
        for (index, block) in self.blocks.iter().enumerate().skip(self.first_free) {
            run = if is_free(block) { run + 1 } else { 0 };
            if run == count {
                return Some(index + 1 - count);
            }
        }
        None
    }

    /// Makes a block of a place zero.
    pub(crate) fn clean(&mut self, place: Place, block: usize) {
        let start = place.at as usize + block * BLOCK;
        if self.space.discard(start..start + BLOCK).is_err() {
            // SAFETY: the block is in the heap, and no object's.
            unsafe { self.space.start().add(start).write_bytes(0, BLOCK) };
        }
    }

    /// Makes a clean place an object.
    ///
    /// # Safety
    ///
    /// The place must have been made for an object of this type and length, which is not used
    /// otherwise. The type must live as long as the heap.
    pub(crate) unsafe fn finish(&mut self, place: Place, ty: *const VMType, len: u32) -> u32 {
        // SAFETY: the place is in the heap, aligned, and has room for more than a head.
        unsafe { self.object(place.at).write(VMObject { ty, len }) };
        place.at
    }

    /// Where an object is.
    pub(crate) fn object(&self, at: u32) -> *mut VMObject {
        self.space.start().wrapping_add(at as usize).cast()
    }

    /// Whether an object begins there.
    fn is_object(&self, at: u32) -> bool {
        if !at.is_multiple_of(OBJECT_ALIGN) {
            return false;
        }
        let (block, inside) = (at as usize / BLOCK, at % BLOCK as u32);
        let is_start = match self.blocks.get(block) {
            Some(Block::Cells(cells)) => {
                let size = size_of_cell(cells.class.into());
                inside.is_multiple_of(size) && inside / size < cells.begun
            }
            Some(Block::Large { .. }) => inside == 0,
            _ => false,
        };
        // SAFETY: this is the start of a cell or large object, which has a head or zeros.
        is_start && unsafe { !(*self.object(at)).ty.is_null() }
    }

    /// How many blocks there are.
    pub(super) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Begins to free the objects that are not marked. All blocks are then to be
    /// [swept](Self::sweep); until that is done there are fewer free cells than there could be.
    pub(super) fn begin_sweep(&mut self) {
        self.partial = [0; CLASSES];
        self.cells_mut().free = [0; CLASSES];
        self.first_free = 1;
    }

    /// Frees the objects of a block that are not marked, and forgets the marks. Answers the bytes that are
    /// left.
    pub(super) fn sweep(&mut self, marks: &mut Marks, block: usize) -> usize {
        let left = self.sweep_marked(marks, block);
        marks.forget(block);
        left
    }

    fn sweep_marked(&mut self, marks: &Marks, block: usize) -> usize {
        let start = (block * BLOCK) as u32;
        match &mut self.blocks[block] {
            Block::Cells(_) => self.sweep_cells(marks, block as u32),
            &mut Block::Large { blocks } if !marks.is_set(start) => {
                let freed = block..block + blocks as usize;
                self.blocks[freed].fill_with(|| Block::Free { dirty: true });
                0
            }
            &mut Block::Large { blocks } => blocks as usize * BLOCK,
            Block::Free { .. } | Block::Rest => 0,
        }
    }

    fn sweep_cells(&mut self, marks: &Marks, block: u32) -> usize {
        let (heap, start) = (self.space.start(), block * BLOCK as u32);
        let Block::Cells(cells) = &mut self.blocks[block as usize] else {
            unreachable!("the block has cells")
        };
        let class = usize::from(cells.class);
        let size = size_of_cell(class);
        let (mut used, mut free) = (0, 0);
        for cell in (0..cells.begun).rev() {
            let at = start + cell * size;
            if marks.is_set(at) {
                used += 1;
            } else {
                // SAFETY: the cell is in the heap, and nobody refers to it.
                unsafe {
                    let object = heap.add(at as usize).cast::<VMObject>();
                    object.write(VMObject { ty: ptr::null(), len: free });
                }
                free = at;
            }
        }
        if used == 0 {
            self.blocks[block as usize] = Block::Free { dirty: true };
            return 0;
        }
        cells.free = free;
        if free != 0 || (cells.begun + 1) * size <= BLOCK as u32 {
            cells.next = self.partial[class];
            self.partial[class] = block;
        }
        used * size as usize
    }

    /// Decides when there is to be a collection again, after one that left so many bytes and looked at so
    /// many words elsewhere. Answers how many free blocks to keep until then.
    pub(super) fn end_sweep(&mut self, left: usize, work: usize) -> usize {
        let new = left.max(MIN_THRESHOLD);
        let budget = if self.stress { 0 } else { new.max(work.saturating_mul(BYTES_PER_WORD)) };
        self.cells_mut().budget = budget as u64;
        new / BLOCK
    }

    /// Whether a block is free and has memory: `keep` counts those that may have.
    pub(super) fn is_spare(&self, block: usize, keep: &mut usize) -> bool {
        let is_dirty = matches!(self.blocks[block], Block::Free { dirty: true });
        let is_spare = is_dirty && *keep == 0;
        *keep -= usize::from(is_dirty && !is_spare);
        is_spare
    }

    /// Gives the memory of a free block back. What the heap may use stays as it is: it is not to be asked
    /// for again.
    ///
    /// # Errors
    ///
    /// When the system keeps it, as it does where memory is locked.
    pub(super) fn give_back(&mut self, block: usize) -> io::Result<()> {
        let start = block * BLOCK;
        self.space.discard(start..start + BLOCK)?;
        self.blocks[block] = Block::Free { dirty: false };
        Ok(())
    }

    /// How many bytes of it may be in memory.
    #[cfg(test)]
    pub(crate) fn touched(&self) -> usize {
        let is_clean = |block: &&Block| matches!(block, Block::Free { dirty: false });
        (self.blocks.len() - 1 - self.blocks.iter().filter(is_clean).count()) * BLOCK
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        // SAFETY: `new` leaked this box, and machine code no longer runs.
        drop(unsafe { Box::from_raw(self.cells.as_ptr()) });
    }
}

// SAFETY: what `cells` points to belongs to the heap.
unsafe impl Send for Heap {}
// SAFETY: as above.
unsafe impl Sync for Heap {}
