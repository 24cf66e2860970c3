//! Guards: addresses below a stack that fault when touched.

use std::io;

/// How the addresses below a stack are made to fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Guards {
    /// `MADV_GUARD_INSTALL` where the kernel has it (Linux 6.13), `mprotect` otherwise.
    ///
    /// A lightweight guard costs no mapping, so that a process can have a hundred thousand.
    #[default]
    Automatic,
    /// `mprotect` only: two mappings for each guard, of which Linux allows 65,530 in a process.
    Protected,
}

/// `MADV_GUARD_INSTALL`, which `libc` does not name yet.
#[cfg(target_os = "linux")]
const MADV_GUARD_INSTALL: libc::c_int = 102;

impl Guards {
    /// Makes `size` bytes at `start` fault. Remembers in `self` when only `mprotect` works here.
    ///
    /// # Safety
    ///
    /// The range consists of whole pages of a private anonymous mapping that is the caller's, and
    /// holds nothing that anybody will read.
    pub(super) unsafe fn install(&mut self, start: *mut u8, size: usize) -> io::Result<()> {
        if *self == Guards::Automatic {
            // SAFETY: passed on to the caller.
            match unsafe { install_lightweight(start, size) } {
                Ok(()) => return Ok(()),
                // Only "no memory" would also befall mprotect. All else says that this kernel, its
                // system call filter or a locked mapping refuses, and will refuse again.
                Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => return Err(error),
                Err(_) => *self = Guards::Protected,
            }
        }
        // SAFETY: the range is the caller's and unused, so that its protection is ours to change.
        match unsafe { libc::mprotect(start.cast(), size, libc::PROT_NONE) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// # Safety
///
/// As for [`Guards::install`].
#[cfg(target_os = "linux")]
unsafe fn install_lightweight(start: *mut u8, size: usize) -> io::Result<()> {
    // SAFETY: the advice discards the pages' contents, which nobody will read (the caller's
    // promise), and unknown advice is refused without an effect.
    match unsafe { libc::madvise(start.cast(), size, MADV_GUARD_INSTALL) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// # Safety
///
/// None: other systems have no such guards.
#[cfg(not(target_os = "linux"))]
unsafe fn install_lightweight(_start: *mut u8, _size: usize) -> io::Result<()> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}
