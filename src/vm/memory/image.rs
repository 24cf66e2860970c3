//! The initial bytes of a module's memory as a file, which memories map instead of copying them.
//!
//! A page of the file costs a memory nothing until it is touched, and no copy until it is written
//! to; the copy is the memory's own.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use crate::vm::layout::WASM_PAGE_SIZE;

const PAGE: usize = WASM_PAGE_SIZE as usize;

/// The most images of a process, each of which takes a file descriptor: whoever may bring modules
/// must not be able to take all.
const MAX_IMAGES: usize = 200;

/// How many there are.
static IMAGES: AtomicUsize = AtomicUsize::new(0);

/// One of the images that there may be.
#[derive(Debug)]
struct Permit;

impl Permit {
    fn take() -> Option<Self> {
        let one_more = |images| (images < MAX_IMAGES).then_some(images + 1);
        IMAGES.fetch_update(Relaxed, Relaxed, one_more).is_ok().then_some(Self)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        IMAGES.fetch_sub(1, Relaxed);
    }
}

/// The bytes with which memories of a module start, those between its data segments included.
#[derive(Debug)]
pub(crate) struct MemoryImage {
    pub(super) file: File,
    /// The part of the memory that the file is, in bytes from the memory's start; whole pages
    /// of wasm, and so of the system.
    pub(super) range: Range<usize>,
    _permit: Permit,
}

impl MemoryImage {
    /// The image of a memory of which these parts are set in turn.
    ///
    /// # Errors
    ///
    /// Fails if there are as many images as there may be, if the process may not have another file,
    /// or if the system has no memory.
    pub(crate) fn new<'a>(
        parts: impl Iterator<Item = (usize, &'a [u8])> + Clone,
    ) -> io::Result<Self> {
        let permit = Permit::take().ok_or(io::ErrorKind::QuotaExceeded)?;
        let ends = parts.clone().map(|(start, bytes)| (start, start + bytes.len()));
        let (start, end) = ends.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))).unwrap_or_default();
        let range = start / PAGE * PAGE..end.next_multiple_of(PAGE);
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = File::from(memfd_create("lampwick-memory", flags)?);
        file.set_len(range.len() as u64)?;
        for (start, bytes) in parts {
            file.write_all_at(bytes, (start - range.start) as u64)?;
        }
        // Nobody can change what other guests start with.
        fcntl_add_seals(
            &file,
            SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
        )?;
        Ok(Self { file, range, _permit: permit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_bounded() {
        let image = || MemoryImage::new([(5, &b"bytes"[..])].into_iter());
        let mut images = Vec::new();
        let error = loop {
            match image() {
                Ok(image) => images.push(image),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
        assert!(images.len() <= MAX_IMAGES);
        images.pop();
        assert_eq!(image().unwrap().range, 0..PAGE);
    }
}
