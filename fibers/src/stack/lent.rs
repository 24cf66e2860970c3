//! A stack in the hands of whoever it was lent to.

use super::StackPool;
use super::pool::Slot;
use std::fmt;
use std::ptr::NonNull;

/// A stack, lent by a [`StackPool`]. Dropping it returns it.
pub struct Stack {
    bottom: NonNull<u8>,
    slab: u32,
    /// Bytes at the top that are an [`Annex`](super::Annex)'s; zero if there is none.
    annex: u32,
    pool: StackPool,
}

impl Stack {
    #[inline]
    pub(super) fn new(slot: Slot, pool: StackPool) -> Self {
        let Slot { bottom, slab } = slot;
        Self { bottom, slab, annex: 0, pool }
    }

    /// The lowest usable address. Below it lies the guard.
    #[inline]
    #[must_use]
    pub fn bottom(&self) -> *mut u8 {
        self.bottom.as_ptr()
    }

    /// The address after the highest usable one, aligned to 16 bytes.
    #[inline]
    #[must_use]
    pub fn top(&self) -> *mut u8 {
        self.bottom().wrapping_add(self.size())
    }

    /// Usable bytes, without an [`Annex`](super::Annex)'s.
    #[inline]
    #[must_use]
    pub fn size(&self) -> usize {
        self.pool.stack_size() - self.annex as usize
    }

    /// The pool that it returns to.
    #[must_use]
    pub fn pool(&self) -> &StackPool {
        &self.pool
    }

    /// The address after the slot.
    pub(super) fn end(&self) -> *mut u8 {
        self.bottom().wrapping_add(self.pool.stack_size())
    }

    /// Whether an [`Annex`](super::Annex) was cut off.
    pub(super) fn has_annex(&self) -> bool {
        self.annex != 0
    }

    /// The same stack once more, both without so many bytes at the top, where their shares are
    /// counted. It is given back when both are dropped.
    pub(super) fn split(mut self, bytes: u32) -> (Self, Self) {
        self.annex = bytes;
        let Self { bottom, slab, .. } = self;
        let other = Self { bottom, slab, annex: bytes, pool: self.pool.clone() };
        (self, other)
    }
}

// SAFETY: a stack is an address range that its holder has for itself, or shares with an annex
// without overlap; no thread is special to it.
unsafe impl Send for Stack {}
// SAFETY: a shared stack gives nothing but numbers and an address.
unsafe impl Sync for Stack {}

impl Drop for Stack {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: we have not given our share up.
        if self.annex == 0 || unsafe { self.give_share_up() } {
            self.pool.put(Slot { bottom: self.bottom, slab: self.slab });
        }
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack")
            .field("bottom", &self.bottom())
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}
