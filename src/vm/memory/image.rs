//! The initial bytes of a module's memory as a file, which memories map instead of copying them.
//!
//! A page of the file costs a memory nothing until it is touched, and no copy until it is written
//! to; the copy is the memory's own.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use lampwick_fibers::{Cancelled, Shared};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use super::idles::Idles;
use crate::vm::layout::WASM_PAGE_SIZE;
use crate::vm::mapping::Mapping;
use crate::vm::pace::Pace;

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
        IMAGES.fetch_update(Relaxed, Relaxed, one_more).ok().map(|_| Self)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        IMAGES.fetch_sub(1, Relaxed);
    }
}

/// Tells images apart. Never used twice in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ImageId(u64);

impl ImageId {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Relaxed))
    }
}

/// The bytes with which memories of a module start, those between its data segments included.
#[derive(Debug)]
pub(crate) struct MemoryImage {
    pub(super) id: ImageId,
    pub(super) file: File,
    /// The file, to be read.
    bytes: Mapping,
    /// Those among which some may have the image mapped.
    idles: Shared<Idles>,
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
    /// [`Cancelled`] from the pace. Inside, it fails if there are as many images as there may be, if the process may not have another file,
    /// or if the system has no memory.
    pub(super) fn new<'a>(
        idles: &Shared<Idles>,
        parts: impl Iterator<Item = (usize, &'a [u8])> + Clone,
        pace: &mut Pace<'_>,
    ) -> Result<io::Result<Self>, Cancelled> {
        let begun = match Self::begin(parts.clone()) {
            Ok(begun) => begun,
            Err(error) => return Ok(Err(error)),
        };
        for (start, bytes) in parts {
            let mut written = Ok(());
            pace.parts(bytes.len(), 1, |from, len| {
                let at = (start - begun.range.start + from) as u64;
                let piece = &bytes[from..from + len];
                written = std::mem::replace(&mut written, Ok(()))
                    .and_then(|()| begun.file.write_all_at(piece, at));
            })?;
            if let Err(error) = written {
                return Ok(Err(error));
            }
        }
        Ok(begun.finish(idles))
    }

    fn begin<'a>(parts: impl Iterator<Item = (usize, &'a [u8])> + Clone) -> io::Result<Begun> {
        let permit = Permit::take().ok_or(io::ErrorKind::QuotaExceeded)?;
        let ends = parts.map(|(start, bytes)| (start, start + bytes.len()));
        let (start, end) = ends.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))).unwrap_or_default();
        let range = start / PAGE * PAGE..end.next_multiple_of(PAGE);
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = File::from(memfd_create("lampwick-memory", flags)?);
        file.set_len(range.len() as u64)?;
        Ok(Begun { file, range, permit })
    }

    /// The bytes of the image.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

/// An image whose bytes are being written.
struct Begun {
    file: File,
    range: Range<usize>,
    permit: Permit,
}

impl Begun {
    fn finish(self, idles: &Shared<Idles>) -> io::Result<MemoryImage> {
        let Self { file, range, permit } = self;
        // Nobody can change what other guests start with.
        fcntl_add_seals(
            &file,
            SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
        )?;
        // SAFETY: the file is sealed.
        let bytes = unsafe { Mapping::file(&file) }?;
        let (id, idles) = (ImageId::next(), idles.clone());
        Ok(MemoryImage { id, file, bytes, idles, range, _permit: permit })
    }
}

impl Drop for MemoryImage {
    fn drop(&mut self) {
        self.idles.forget(self.id);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use super::*;
    use crate::vm::memory::tests::settings;

    /// Tests that make images must not run beside the one that takes all.
    pub(crate) fn alone() -> MutexGuard<'static, ()> {
        static ALONE: Mutex<()> = Mutex::new(());
        ALONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[test]
    fn images_are_bounded() {
        let _alone = alone();
        let idles = Shared::new(Idles::new(settings(1 << 20)));
        let image = || {
            let parts = [(5, &b"bytes"[..])].into_iter();
            MemoryImage::new(&idles, parts, &mut Pace::straight()).expect("nobody cancels")
        };
        let mut images = Vec::new();
        let error = loop {
            match image() {
                Ok(image) => images.push(image),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
        assert!(images.len() <= MAX_IMAGES);
        for _ in 0..5 {
            assert!(image().is_err(), "a refusal changes nothing");
        }
        images.pop();
        assert_eq!(image().unwrap().range, 0..PAGE);
    }
}
