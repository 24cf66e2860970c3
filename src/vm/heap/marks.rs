//! What a collection has found, and what it still has to look into.

use super::{BLOCK, Heap};
use crate::vm::layout::{FIELDS, OBJECT_ALIGN, ObjectLayout};

/// The objects that were found.
#[derive(Debug)]
pub(in crate::vm) struct Marks {
    bits: Vec<u64>,
    /// References, to be followed, of objects that are marked: the object, and for an array the
    /// element to go on with.
    todo: Vec<(u32, u32)>,
}

/// How many references of an array are followed at a time.
const PART: u32 = 1024;

impl Marks {
    /// None yet.
    pub(in crate::vm) fn new(heap: Option<&Heap>) -> Self {
        let places = heap.map_or(0, Heap::len) * BLOCK / OBJECT_ALIGN as usize;
        Self { bits: vec![0; places / 64], todo: Vec::new() }
    }

    /// Notes what may be a reference to an object, or anything else.
    #[inline]
    pub(in crate::vm) fn mark(&mut self, heap: &Heap, at: u32) {
        if heap.is_object(at) && !self.is_set(at) {
            let place = (at / OBJECT_ALIGN) as usize;
            self.bits[place / 64] |= 1 << (place % 64);
            self.todo.push((at, 0));
        }
    }

    #[inline]
    pub(super) fn is_set(&self, at: u32) -> bool {
        let place = (at / OBJECT_ALIGN) as usize;
        self.bits[place / 64] & (1 << (place % 64)) != 0
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
