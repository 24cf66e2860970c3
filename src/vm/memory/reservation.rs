//! Ranges of address space, parts of which are made accessible.

use std::io;
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rustix::mm::{self, Advice, MapFlags, MprotectFlags, ProtFlags};

use super::image::MemoryImage;
use super::touched::Used;
use super::written::Pages;

/// A range of address space of which nothing is accessible at first. Offsets count from
/// [`base`](Self::base).
#[derive(Debug)]
pub(in crate::vm) struct Reservation {
    start: NonNull<u8>,
    /// Bytes before the base that always fault.
    before: usize,
    len: usize,
    _counted: Option<Counted>,
}

/// One of those that are counted; no longer when it is dropped.
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

// SAFETY: the reservation owns its mapping; who may access it is up to the memory that owns it.
unsafe impl Send for Reservation {}
// SAFETY: as above.
unsafe impl Sync for Reservation {}

/// What [`Reservation::give_back`] left of a range, whose bytes are zero when next accessible, but
/// for those of an image that stayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Cleared {
    /// It is as accessible as before.
    Kept,
    /// It is inaccessible.
    Replaced,
}

impl Reservation {
    /// `before` bytes that always fault, and `len` from the base on.
    pub(in crate::vm) fn new(before: usize, len: usize) -> io::Result<Self> {
        let total = before.checked_add(len).ok_or(io::ErrorKind::OutOfMemory)?.max(1);
        // SAFETY: a fresh anonymous mapping overlaps nothing.
        let start = unsafe {
            mm::mmap_anonymous(
                ptr::null_mut(),
                total,
                ProtFlags::empty(),
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }?;
        let start = NonNull::new(start.cast()).expect("mmap answers no null");
        Ok(Self { start, before, len: total, _counted: None })
    }

    /// The same, counted until it is dropped.
    pub(super) fn counted_in(mut self, count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Relaxed);
        self._counted = Some(Counted(count.clone()));
        self
    }

    /// The same with a base that is a multiple of `alignment`, a power of two.
    pub(super) fn aligned(before: usize, len: usize, alignment: usize) -> io::Result<Self> {
        let padded = before.checked_add(alignment).ok_or(io::ErrorKind::OutOfMemory)?;
        let mut this = Self::new(padded, len)?;
        let base = this.base().addr();
        // What is too much lies before the base, or is not used, behind the end.
        this.before -= base & (alignment - 1);
        Ok(this)
    }

    pub(in crate::vm) fn base(&self) -> *mut u8 {
        self.start.as_ptr().wrapping_add(self.before)
    }

    /// The bytes from the base to the end.
    pub(in crate::vm) fn len(&self) -> usize {
        self.len - self.before
    }

    /// The address of a range of this reservation.
    ///
    /// # Panics
    ///
    /// Panics if the range is not within it: what lies there is somebody else's.
    fn address(&self, range: &Range<usize>) -> *mut u8 {
        assert!(range.start <= range.end && range.end <= self.len(), "within the reservation");
        self.base().wrapping_add(range.start)
    }

    /// Makes a range accessible or inaccessible.
    pub(in crate::vm) fn protect(&self, range: Range<usize>, accessible: bool) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let flags = if accessible {
            MprotectFlags::READ | MprotectFlags::WRITE
        } else {
            MprotectFlags::empty()
        };
        // SAFETY: the range belongs to this reservation, and no Rust reference into what becomes
        // inaccessible exists.
        unsafe { mm::mprotect(self.address(&range).cast(), range.len(), flags) }?;
        Ok(())
    }

    /// Makes a memory in this range what it was at first, if few of its pages were touched; they
    /// stay. Answers whether it did. `fills` is whether all pages of a small memory may stay.
    ///
    /// # Safety
    ///
    /// The range must be accessible, with the image mapped where there is one, and nobody may be
    /// using it.
    pub(super) unsafe fn restore(
        &self,
        range: Range<usize>,
        image: Option<&MemoryImage>,
        fills: bool,
    ) -> bool {
        let used = Used { base: self.address(&range), len: range.len(), image };
        // SAFETY: all mappings of a reservation are private; the rest is the caller's.
        unsafe { used.restore(fills) }
    }

    /// Makes these pages of a memory in this range what they were at first; they stay.
    ///
    /// # Safety
    ///
    /// As for [`Self::restore`], and the range must hold the pages.
    pub(super) unsafe fn restore_pages(
        &self,
        range: Range<usize>,
        image: Option<&MemoryImage>,
        pages: Pages,
    ) {
        let used = Used { base: self.address(&range), len: range.len(), image };
        // SAFETY: as above.
        pages.ranges().for_each(|page| unsafe { used.fill(page) });
    }

    /// Gives the pages of a range back, which nobody may be using any more.
    ///
    /// # Errors
    ///
    /// After an error its bytes may still be what they were.
    pub(super) fn give_back(&self, range: Range<usize>) -> io::Result<Cleared> {
        if range.is_empty() {
            return Ok(Cleared::Kept);
        }
        let address = self.address(&range).cast();
        // SAFETY: the range is private to us; its pages are zero, or the image's, when next touched.
        if unsafe { mm::madvise(address, range.len(), Advice::LinuxDontNeed) }.is_ok() {
            return Ok(Cleared::Kept);
        }
        // The process may have locked its memory, whose pages can only be unmapped.
        self.replace(range)?;
        Ok(Cleared::Replaced)
    }

    /// Makes a range what it was at first, whatever was mapped there. Nobody may be using it any
    /// more.
    ///
    /// # Errors
    ///
    /// After an error its bytes may still be what they were.
    pub(super) fn replace(&self, range: Range<usize>) -> io::Result<()> {
        // SAFETY: the range is ours, and what is mapped there is no longer used.
        unsafe {
            mm::mmap_anonymous(
                self.address(&range).cast(),
                range.len(),
                ProtFlags::empty(),
                MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED,
            )
        }?;
        Ok(())
    }

    /// Maps an image over its range, counted from `start`, where nobody has been yet. What is
    /// written there later stays here. Only [`replace`](Self::replace) removes it.
    ///
    /// # Errors
    ///
    /// After an error nothing has changed.
    pub(super) fn map(&self, start: usize, image: &MemoryImage) -> io::Result<()> {
        let range = start + image.range.start..start + image.range.end;
        // SAFETY: the range is ours and unused; the file is sealed, so that nothing changes or
        // truncates it, and mapped privately.
        unsafe {
            mm::mmap(
                self.address(&range).cast(),
                range.len(),
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED,
                &image.file,
                0,
            )
        }?;
        Ok(())
    }

    /// Makes a range inaccessible and gives its pages back. Nobody may be using it any more.
    ///
    /// # Errors
    ///
    /// After an error its bytes may still be what they were.
    pub(super) fn withdraw(&self, range: Range<usize>) -> io::Result<()> {
        match self.give_back(range.clone())? {
            Cleared::Kept => self.protect(range, false),
            Cleared::Replaced => Ok(()),
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nothing refers to it any more.
        let result = unsafe { mm::munmap(self.start.as_ptr().cast(), self.len) };
        debug_assert!(result.is_ok(), "munmap: {result:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 4096;

    #[test]
    fn locked_pages_are_cleared_too() {
        let reservation = Reservation::new(PAGE, 4 * PAGE).unwrap();
        reservation.protect(0..2 * PAGE, true).unwrap();
        // SAFETY: both pages are accessible and ours.
        unsafe { reservation.base().write_bytes(0xaa, 2 * PAGE) };
        // SAFETY: as above.
        unsafe { mm::mlock(reservation.base().add(PAGE).cast(), PAGE) }.unwrap();
        assert_eq!(reservation.give_back(0..PAGE).unwrap(), Cleared::Kept);
        assert_eq!(reservation.give_back(PAGE..2 * PAGE).unwrap(), Cleared::Replaced);
        reservation.protect(PAGE..2 * PAGE, true).unwrap();
        // SAFETY: as above.
        let bytes = unsafe { std::slice::from_raw_parts(reservation.base(), 2 * PAGE) };
        assert!(bytes.iter().all(|&byte| byte == 0));
    }

    #[test]
    #[should_panic(expected = "within the reservation")]
    fn ranges_beyond_the_end_are_refused() {
        let reservation = Reservation::new(PAGE, 2 * PAGE).unwrap();
        let _ = reservation.protect(PAGE..3 * PAGE, true);
    }
}
