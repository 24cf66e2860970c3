//! A slab: one mapping that holds many stacks, each above its guard.
//!
//! ```text
//! base                                                                    base + bytes
//! │ guard │ usable ...          │ guard │ usable ...          │ ...             │
//!         ▲                     ▲
//!         bottom of slot 0      top of slot 0
//! ```
//!
//! The mapping is readable and writable and costs nothing until it is touched. The guard of a slot
//! is installed when the slot is first lent, so that a slab that is never filled costs one system
//! call for each stack that was needed, not for each that might have been.

use super::StackError;
use std::io;
use std::ptr::{self, NonNull};

/// Sizes shared by all slabs of a pool, in bytes; multiples of the page size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) guard: usize,
    pub(super) usable: usize,
    pub(super) stacks: u32,
}

impl Layout {
    fn stride(&self) -> usize {
        self.guard + self.usable
    }

    /// Bytes of a slab.
    pub(super) fn bytes(&self) -> Result<usize, StackError> {
        self.guard
            .checked_add(self.usable)
            .and_then(|stride| stride.checked_mul(self.stacks as usize))
            .filter(|&bytes| isize::try_from(bytes).is_ok())
            .ok_or(StackError::TooLarge { size: self.usable, stacks: self.stacks as usize })
    }
}

/// One mapping of many stacks. Dropping it unmaps it.
#[derive(Debug)]
pub(super) struct Slab {
    base: NonNull<u8>,
    layout: Layout,
    bytes: usize,
    /// Slots below this one have their guard.
    pub(super) guarded: u32,
    /// Slots that are lent.
    pub(super) live: u32,
}

// SAFETY: a slab is an address range that it owns; no thread is special to it.
unsafe impl Send for Slab {}

impl Slab {
    pub(super) fn map(layout: Layout) -> Result<Self, StackError> {
        let bytes = layout.bytes()?;
        // MAP_STACK and MADV_NOHUGEPAGE: with huge pages one touched stack would cost 2 MiB.
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | MAP_STACK;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new anonymous mapping at an address of the system's choice disturbs nobody.
        let base = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(StackError::Map { bytes, source: io::Error::last_os_error() });
        }
        #[cfg(target_os = "linux")]
        // SAFETY: the range is the new mapping. The advice is only that: its refusal costs memory.
        unsafe {
            libc::madvise(base, bytes, libc::MADV_NOHUGEPAGE);
        }
        let base = NonNull::new(base.cast()).expect("the system maps nothing at address 0");
        Ok(Self { base, layout, bytes, guarded: 0, live: 0 })
    }

    /// Where the guard of `slot` starts.
    pub(super) fn guard(&self, slot: u32) -> NonNull<u8> {
        assert!(slot < self.layout.stacks, "slot {slot} of {}", self.layout.stacks);
        // SAFETY: the slot lies within the mapping, as was just checked.
        unsafe { self.base.add(slot as usize * self.layout.stride()) }
    }

    /// The lowest usable address of `slot`.
    pub(super) fn bottom(&self, slot: u32) -> NonNull<u8> {
        // SAFETY: each slot is its guard and then its usable bytes, all within the mapping.
        unsafe { self.guard(slot).add(self.layout.guard) }
    }

    /// Whether every slot has been lent at least once.
    pub(super) fn is_guarded(&self) -> bool {
        self.guarded == self.layout.stacks
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        // SAFETY: the slab owns this mapping, and the pool drops a slab only when none of its
        // stacks is lent.
        let answer = unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
        debug_assert_eq!(answer, 0, "munmap: {}", io::Error::last_os_error());
    }
}

/// Gives the pages of an idle stack back to the system; the next touch finds zeroes.
///
/// # Safety
///
/// The range consists of whole pages of a slab that is alive, and nobody uses them.
pub(super) unsafe fn discard(bottom: NonNull<u8>, usable: usize) {
    // SAFETY: nobody uses the range (the caller's promise). A refusal leaves the pages in place,
    // which costs memory and nothing else.
    unsafe {
        libc::madvise(bottom.as_ptr().cast(), usable, libc::MADV_DONTNEED);
    }
}

#[cfg(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "netbsd"
))]
const MAP_STACK: libc::c_int = libc::MAP_STACK;
#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "netbsd"
)))]
const MAP_STACK: libc::c_int = 0;
