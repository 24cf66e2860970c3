//! Memories of a pool: one mapping with a slot of fixed size for each.
//!
//! Who may use which slot is decided outside (`pooling/slots.rs`): a slot belongs to one instance at
//! a time, and is handed on by the lock of the pool's queue, which orders all that is done here.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::MAX_KEPT_ACCESSIBLE;
use super::image::MemoryImage;
use super::reservation::{Cleared, Reservation};
use super::settings::MemorySettings;
use crate::vm::layout::WASM_PAGE_SIZE;

/// The slots of a pool.
#[derive(Debug)]
pub(crate) struct MemorySlots {
    reservation: Reservation,
    /// Bytes from one slot to the next.
    stride: usize,
    /// For each slot how many bytes its last memory left accessible, all zero, and perhaps
    /// [`WARM`]; or [`UNCLEAN`].
    left: Box<[AtomicUsize]>,
    /// How many free slots are warm.
    warm: AtomicUsize,
}

/// A bit beside a number of bytes, which is one of pages: the slot has pages of the system's.
const WARM: usize = 1;

/// No more free slots than this keep pages; about as many as are ever taken in turn.
const MAX_WARM: usize = 1000;

/// The slot's bytes could not be cleared. They must be before the next memory has them.
const UNCLEAN: usize = usize::MAX;

impl MemorySlots {
    /// The bytes from one slot to the next, for memories of at most `pages`, if they can be
    /// counted.
    ///
    /// A static memory finds behind its first byte what its machine code relies on. A dynamic one
    /// does not move here, since its slot has room for the largest.
    pub(crate) fn stride(settings: &MemorySettings, pages: u64) -> Option<u64> {
        let fixed = settings.static_maximum.checked_add(settings.static_guard)?;
        let dynamic = pages.checked_mul(WASM_PAGE_SIZE)?.checked_add(settings.dynamic_guard)?;
        Some(fixed.max(dynamic))
    }

    /// The address space that so many slots take, in bytes.
    pub(crate) fn total(settings: &MemorySettings, stride: u64, count: u64) -> Option<u64> {
        stride.checked_mul(count)?.checked_add(settings.before() as u64)
    }

    /// Reserves `count` slots.
    ///
    /// # Errors
    ///
    /// Fails if the system does not have the address space.
    pub(crate) fn new(settings: &MemorySettings, stride: u64, count: usize) -> io::Result<Self> {
        let stride = stride as usize;
        let len = stride.checked_mul(count).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self {
            // The guard behind each slot lies before the next one.
            reservation: Reservation::new(settings.before(), len)?,
            stride,
            warm: AtomicUsize::new(0),
            left: std::iter::repeat_with(AtomicUsize::default).take(count).collect(),
        })
    }

    /// A part of a slot, as offsets in the reservation.
    fn range(&self, slot: usize, part: Range<usize>) -> Range<usize> {
        assert!(part.end <= self.stride, "within the slot");
        let start = slot * self.stride;
        start + part.start..start + part.end
    }

    fn protect(&self, slot: usize, part: Range<usize>, accessible: bool) -> io::Result<()> {
        self.reservation.protect(self.range(slot, part), accessible)
    }

    /// Clears the bytes that a slot has accessible, and answers what it is to leave. Many that
    /// are accessible would be cleared again and again.
    ///
    /// # Safety
    ///
    /// So many must be accessible, and nobody may be using them.
    unsafe fn clear(&self, slot: usize, accessible: usize) -> usize {
        let range = self.range(slot, 0..accessible);
        if accessible <= MAX_KEPT_ACCESSIBLE && self.warm.load(Relaxed) < MAX_WARM {
            // SAFETY: by contract.
            if unsafe { self.reservation.restore(range.clone(), None, false) } {
                self.warm.fetch_add(1, Relaxed);
                return accessible | WARM;
            }
        }
        match self.reservation.give_back(range) {
            Ok(Cleared::Replaced) => 0,
            Ok(Cleared::Kept) if accessible <= MAX_KEPT_ACCESSIBLE => accessible,
            Ok(Cleared::Kept) => match self.protect(slot, 0..accessible, false) {
                Ok(()) => 0,
                Err(_) => accessible,
            },
            Err(_) => UNCLEAN,
        }
    }

    /// How many bytes of a slot are accessible before it is used, all of them zero.
    fn prepare(&self, slot: usize) -> io::Result<usize> {
        let left = self.left[slot].load(Relaxed);
        if left != UNCLEAN {
            if left & WARM != 0 {
                self.warm.fetch_sub(1, Relaxed);
            }
            self.left[slot].store(left & !WARM, Relaxed);
            return Ok(left & !WARM);
        }
        self.reservation.replace(self.range(slot, 0..self.stride))?;
        self.left[slot].store(0, Relaxed);
        Ok(0)
    }
}

/// The bytes of a memory in a slot.
#[derive(Debug)]
pub(super) struct SlotBytes {
    slots: Arc<MemorySlots>,
    slot: usize,
    accessible: usize,
    /// Whether an image is mapped.
    has_image: bool,
}

impl SlotBytes {
    /// `accessible` bytes in a slot that no other memory is in, which start with the image, where there
    /// is one that can be mapped, and else with zeros.
    pub(super) fn new(
        slots: &Arc<MemorySlots>,
        slot: usize,
        accessible: usize,
        image: Option<&MemoryImage>,
    ) -> io::Result<Self> {
        let before = slots.prepare(slot)?;
        if before < accessible {
            slots.protect(slot, before..accessible, true)?;
        } else {
            slots.reservation.withdraw(slots.range(slot, accessible..before))?;
        }
        let map = |image| slots.reservation.map(slot * slots.stride, image);
        let image = image.filter(|image| image.range.end <= accessible);
        let has_image = image.is_some_and(|image| map(image).is_ok());
        Ok(Self { slots: slots.clone(), slot, accessible, has_image })
    }

    pub(super) fn base(&self) -> *mut u8 {
        self.slots.reservation.base().wrapping_add(self.slot * self.slots.stride)
    }

    /// Whether the memory started with an image.
    pub(super) fn has_image(&self) -> bool {
        self.has_image
    }

    /// Makes the bytes up to `len` accessible.
    pub(super) fn grow_to(&mut self, len: usize) -> io::Result<()> {
        self.slots.protect(self.slot, self.accessible..len, true)?;
        self.accessible = len;
        Ok(())
    }
}

impl Drop for SlotBytes {
    fn drop(&mut self) {
        let left = if self.has_image {
            let all = self.slots.range(self.slot, 0..self.accessible);
            self.slots.reservation.replace(all).map_or(UNCLEAN, |()| 0)
        } else {
            // SAFETY: the memory is dropped, and its bytes up to here are accessible.
            unsafe { self.slots.clear(self.slot, self.accessible) }
        };
        self.slots.left[self.slot].store(left, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_stayed_unclean_is_cleared_before_it_is_used() {
        let settings = MemorySettings {
            static_maximum: 1 << 16,
            static_guard: 0,
            dynamic_guard: 0,
            dynamic_growth: 0,
            guard_before: false,
        };
        let slots = Arc::new(MemorySlots::new(&settings, 1 << 16, 1).unwrap());
        slots.protect(0, 0..4096, true).unwrap();
        // SAFETY: the page is accessible and nobody else's.
        unsafe { slots.reservation.base().write(0xaa) };
        slots.left[0].store(UNCLEAN, Relaxed);
        let bytes = SlotBytes::new(&slots, 0, 8192, None).unwrap();
        // SAFETY: both pages are accessible.
        let bytes = unsafe { std::slice::from_raw_parts(bytes.base(), 8192) };
        assert!(bytes.iter().all(|&byte| byte == 0));
    }
}
