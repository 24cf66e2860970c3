//! Shared memories: stores on many threads use one at a time.
//!
//! All that one may grow to is reserved from the start, so that its base never moves. Its size is
//! loaded atomically, by machine code, too, and only grows; who grows it holds a lock. The last
//! store or handle that has it gives the reservation back to the system: no other memory gets it.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};

use lampwick_waiters::Waiters;

use super::error::GrowError;
use super::idles::Idles;
use super::reservation::Reservation;
use super::{accessible, initial_len, maximum};
use crate::pooling::PoolLimitError;
use crate::types::MemoryType;
use crate::vm::layout::{MemoryStyle, VMMemory, WASM_PAGE_SIZE};

/// The most bytes that a shared memory may reserve, which is its maximum.
pub(super) const MAX_RESERVED: u64 = 16 << 30;

/// A shared memory.
#[derive(Debug)]
pub(crate) struct SharedMemory {
    reservation: Reservation,
    ty: MemoryType,
    /// The greatest size in pages of 64 KiB that the pool allows, if there is one.
    limit: u64,
    /// The size in bytes.
    len: AtomicUsize,
    growing: Mutex<()>,
    pub(crate) waiters: Arc<Waiters>,
}

impl SharedMemory {
    pub(super) fn new(idles: &Idles, ty: &MemoryType, limit: u64) -> Result<Self, GrowError> {
        let (len, maximum) = (initial_len(ty)?, ty.maximum_bytes());
        PoolLimitError::check("memory_pages", (len as u64).div_ceil(WASM_PAGE_SIZE), limit)?;
        let settings = idles.settings();
        let reserved = match settings.style(ty) {
            MemoryStyle::Static { reserved, guard } => (reserved + guard) as usize,
            MemoryStyle::Dynamic if maximum > MAX_RESERVED => {
                return Err(GrowError::Reserved { maximum, bound: MAX_RESERVED });
            }
            MemoryStyle::Dynamic => accessible(maximum as usize) + settings.dynamic_guard as usize,
        };
        let system = |error| GrowError::system(error, reserved);
        let reservation = Reservation::new(settings.before(), reserved).map_err(system)?;
        let reservation = reservation.counted_in(idles.mapped());
        reservation.protect(0..accessible(len), true).map_err(system)?;
        Ok(Self {
            reservation,
            ty: ty.clone(),
            limit,
            len: len.into(),
            growing: Mutex::default(),
            waiters: Arc::default(),
        })
    }

    pub(crate) fn base(&self) -> *mut u8 {
        self.reservation.base()
    }

    /// The size in bytes; it may have grown since.
    pub(crate) fn len(&self) -> usize {
        self.len.load(SeqCst)
    }

    /// The size in pages; it may have grown since.
    pub(crate) fn pages(&self) -> u64 {
        self.len() as u64 >> self.ty.page_log2()
    }

    /// The type of the memory; its minimum is the current size.
    pub(crate) fn ty(&self) -> MemoryType {
        self.ty.with_limits(self.pages(), self.ty.maximum())
    }

    /// What machine code needs to know, which never changes.
    pub(super) fn definition(&self) -> VMMemory {
        VMMemory { base: self.base(), len: self.len.as_ptr().addr() }
    }

    /// Grows by `delta` pages. Answers the former size in pages.
    ///
    /// # Errors
    ///
    /// As for [`Memory::grow`](super::Memory::grow).
    pub(crate) fn grow(&self, delta: u64) -> Result<u64, GrowError> {
        let _growing = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        let (old, maximum) = (self.pages(), maximum(&self.ty));
        let new = old.checked_add(delta).filter(|&new| new <= maximum);
        let new = new.ok_or(GrowError::Maximum { pages: old, delta, maximum })?;
        let len = (new << self.ty.page_log2()) as usize;
        PoolLimitError::check("memory_pages", (len as u64).div_ceil(WASM_PAGE_SIZE), self.limit)?;
        let range = accessible(self.len())..accessible(len);
        let grown = self.reservation.protect(range, true);
        grown.map_err(|error| GrowError::system(error, len))?;
        // Behind the pages: who sees the size may access them.
        self.len.store(len, SeqCst);
        Ok(old)
    }

    /// The place of an access of `size` bytes, if it is inside.
    pub(crate) fn at(&self, address: u64, size: u64) -> Option<*mut u8> {
        let end = address.checked_add(size)?;
        (end <= self.len() as u64).then(|| self.base().wrapping_add(address as usize))
    }
}
