//! The address space of a heap.

use std::io;
use std::ops::Range;
use std::ptr::{self, NonNull};

use rustix::mm::{self, Advice, MapFlags, ProtFlags};

/// Pages of zeros that take no memory before they are touched.
#[derive(Debug)]
pub(super) struct Space {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the pages belong to the space.
unsafe impl Send for Space {}
// SAFETY: as above.
unsafe impl Sync for Space {}

impl Space {
    /// So many bytes, which are not zero and a multiple of the size of pages.
    pub(super) fn new(len: usize) -> io::Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a fresh anonymous mapping overlaps nothing.
        let start = unsafe { mm::mmap_anonymous(ptr::null_mut(), len, access, flags) }?;
        let start = NonNull::new(start.cast()).expect("mmap answers no null");
        Ok(Self { start, len })
    }

    /// The first byte.
    pub(super) fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Makes whole pages zero again, and gives their memory back.
    ///
    /// # Errors
    ///
    /// When the system refuses it, as for memory that is locked.
    pub(super) fn discard(&mut self, range: Range<usize>) -> io::Result<()> {
        assert!(range.start <= range.end && range.end <= self.len, "within the space");
        // SAFETY: the pages are ours, and nobody has a reference into them while we have `self`.
        unsafe {
            let start = self.start().add(range.start).cast();
            Ok(mm::madvise(start, range.len(), Advice::LinuxDontNeed)?)
        }
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        // SAFETY: the pages are ours, and nothing refers to them any more.
        let result = unsafe { mm::munmap(self.start.as_ptr().cast(), self.len) };
        debug_assert!(result.is_ok(), "munmap: {result:?}");
    }
}
