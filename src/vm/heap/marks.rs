//! What a collection has found, and what it still has to look into.
//!
//! A guest picks how much that is; so it is in pieces, of which none is copied to grow, and none is large
//! when it goes.

use super::{BLOCK, Heap};
use crate::vm::layout::{FIELDS, OBJECT_ALIGN, ObjectLayout};
use crate::vm::slab::Pieces;

/// The places of a block at which objects may begin, a bit each.
type Bits = [u64; BLOCK / OBJECT_ALIGN as usize / 64];

/// The objects that were found.
pub(in crate::vm) struct Marks {
    /// Those of each block, where there are any.
    blocks: Vec<Option<Box<Bits>>>,
    /// References, to be followed, of objects that are marked: the object, and for an array the
    /// element to go on with.
    todo: Pieces<(u32, u32)>,
}

/// How many references of an array are followed at a time.
const PART: u32 = 1024;

/// The block of an object, and its bit there: a word and a bit of that.
fn place(at: u32) -> (usize, usize, u64) {
    let (block, place) = (at as usize / BLOCK, at as usize % BLOCK / OBJECT_ALIGN as usize);
    (block, place / 64, 1 << (place % 64))
}

impl Marks {
    /// None yet.
    pub(in crate::vm) fn new(heap: Option<&Heap>) -> Self {
        Self { blocks: vec![None; heap.map_or(0, Heap::len)], todo: Pieces::default() }
    }

    /// Notes what may be a reference to an object, or anything else.
    #[inline]
    pub(in crate::vm) fn mark(&mut self, heap: &Heap, at: u32) {
        if heap.is_object(at) {
            let (block, word, bit) = place(at);
            let bits = self.blocks[block].get_or_insert_with(|| Box::new([0; _]));
            if bits[word] & bit == 0 {
                bits[word] |= bit;
                self.todo.push((at, 0));
            }
        }
    }

    #[inline]
    pub(super) fn is_set(&self, at: u32) -> bool {
        let (block, word, bit) = place(at);
        self.blocks[block].as_ref().is_some_and(|bits| bits[word] & bit != 0)
    }

    /// Forgets what was found in a block.
    pub(super) fn forget(&mut self, block: usize) {
        self.blocks[block] = None;
    }

    /// Calls `see` with each of the references in a part of an object that is marked. Answers how many
    /// there were, or `None` when all has been looked into.
    pub(in crate::vm) fn follow(
        &mut self,
        heap: &Heap,
        mut see: impl FnMut(&mut Self, u32),
    ) -> Option<usize> {
        let (at, start) = self.todo.pop()?;
        let object = heap.object(at);
        // SAFETY: this is an object, whose type lives as long as the heap, and whose references are
        // where the type says; machine code is not running.
        unsafe {
            let fields = object.cast::<u8>();
            let read = |offset: usize| fields.add(offset).cast::<u32>().read();
            match &(*(*object).ty).layout {
                ObjectLayout::Struct { references, .. } => {
                    references.iter().for_each(|&offset| see(self, read(offset as usize)));
                    Some(references.len())
                }
                ObjectLayout::Array { references: true, .. } => {
                    let end = (*object).len.min(start.saturating_add(PART));
                    if end < (*object).len {
                        self.todo.push((at, end));
                    }
                    let offset = |index: u32| FIELDS as usize + 4 * index as usize;
                    (start..end).for_each(|index| see(self, read(offset(index))));
                    Some((end - start) as usize)
                }
                ObjectLayout::Array { .. } | ObjectLayout::None => Some(0),
            }
        }
    }
}
