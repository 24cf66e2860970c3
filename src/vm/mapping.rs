//! Bytes in pages of their own, of which a part may be machine code.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;

use rustix::mm::{self, MapFlags, MprotectFlags, ProtFlags};

/// Readable pages that nobody can write to. Clones are the same pages, which stay until the last is
/// dropped.
#[derive(Clone, Debug)]
pub(crate) struct Mapping(Arc<Pages>);

#[derive(Debug)]
struct Pages {
    start: NonNull<u8>,
    /// Not zero.
    len: usize,
}

// SAFETY: the pages belong to the mapping, and are only read and executed.
unsafe impl Send for Pages {}
// SAFETY: as above.
unsafe impl Sync for Pages {}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the pages are ours, and nothing refers to them any more.
        let result = unsafe { mm::munmap(self.start.as_ptr().cast(), self.len) };
        debug_assert!(result.is_ok(), "munmap: {result:?}");
    }
}

impl Mapping {
    /// A copy of these bytes; of one zero if there are none.
    pub(crate) fn copy(bytes: &[u8]) -> io::Result<Self> {
        let len = bytes.len().max(1);
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh anonymous mapping overlaps nothing.
        let start = unsafe { mm::mmap_anonymous(ptr::null_mut(), len, access, MapFlags::PRIVATE) }?;
        let start = NonNull::new(start.cast()).expect("mmap answers no null");
        let pages = Pages { start, len };
        // SAFETY: the pages are as long, and nobody else knows them; from here on they are never
        // writable again.
        unsafe {
            start.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            mm::mprotect(start.as_ptr().cast(), len, MprotectFlags::READ)?;
        }
        Ok(Self(Arc::new(pages)))
    }

    /// The contents of a file, which is not empty, as they are on disk: pages are loaded when they
    /// are touched, and shared with whoever else maps the file.
    ///
    /// # Safety
    ///
    /// Nobody may change or shorten the file as long as the mapping exists.
    pub(crate) unsafe fn file(file: &File) -> io::Result<Self> {
        let len = usize::try_from(file.metadata()?.len())
            .map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        // SAFETY: a fresh mapping overlaps nothing; private, so that what others write to the file
        // is all that could change it, which the caller excludes.
        let start =
            unsafe { mm::mmap(ptr::null_mut(), len, ProtFlags::READ, MapFlags::PRIVATE, file, 0) }?;
        let start = NonNull::new(start.cast()).expect("mmap answers no null");
        Ok(Self(Arc::new(Pages { start, len })))
    }

    /// Where these bytes, which must lie in the mapping, are in it.
    ///
    /// # Panics
    ///
    /// Panics if they do not lie in the mapping.
    pub(super) fn find(&self, bytes: &[u8]) -> Range<usize> {
        let start = (bytes.as_ptr().addr()).checked_sub(self.0.start.addr().get());
        let range = start.and_then(|start| Some(start..start.checked_add(bytes.len())?));
        range.filter(|range| range.end <= self.0.len).expect("the bytes lie in the mapping")
    }

    /// Makes the pages that hold this range executable, beside readable.
    ///
    /// # Errors
    ///
    /// Fails if the range does not start with a page, and where the system refuses it, as for files
    /// of a file system that is mounted so that nothing on it can be executed.
    pub(super) fn make_executable(&self, range: Range<usize>) -> io::Result<()> {
        assert!(range.start <= range.end && range.end <= self.0.len, "within the mapping");
        let access = MprotectFlags::READ | MprotectFlags::EXEC;
        // SAFETY: the range is ours; what could be read there still can.
        unsafe {
            let start = self.0.start.as_ptr().add(range.start);
            Ok(mm::mprotect(start.cast(), range.len(), access)?)
        }
    }
}

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: all pages are readable and nobody writes to them.
        unsafe { slice::from_raw_parts(self.0.start.as_ptr(), self.0.len) }
    }
}
