//! A mapping that only says something to whoever watches which files a process maps.

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::ptr;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A page; the system maps no less.
const LEN: usize = 4096;

/// The first bytes of a file, mapped executable. Nothing is ever read or executed there.
#[derive(Debug)]
pub(crate) struct Marker {
    start: *mut c_void,
}

// SAFETY: nobody accesses what is mapped.
unsafe impl Send for Marker {}
// SAFETY: as above.
unsafe impl Sync for Marker {}

impl Marker {
    /// Maps the first page of a file.
    ///
    /// # Errors
    ///
    /// Fails if the system has no mapping left, or does not let files of this file system be
    /// executed.
    pub(crate) fn new(file: &File) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::EXEC;
        // SAFETY: the system picks addresses that nothing else uses.
        let start = unsafe { mmap(ptr::null_mut(), LEN, protection, MapFlags::PRIVATE, file, 0)? };
        Ok(Self { start })
    }
}

impl Drop for Marker {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nobody accesses it. Nothing is lost if it stays.
        let _ = unsafe { munmap(self.start, LEN) };
    }
}
