//! Linear memories: a size, limits, and bytes that come from one of several places.

mod error;
mod host;
mod idles;
mod image;
mod moving;
mod on_demand;
pub(crate) mod racy;
mod reservation;
mod scarcity;
mod settings;
mod shared;
mod slots;
mod touched;
mod written;

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use lampwick_fibers::{Cancelled, Shared};

use super::layout::{MemoryStyle, VMMemory, WASM_PAGE_SIZE};
use super::pace::Pace;
use crate::pooling::PoolLimitError;
use crate::types::{MemoryType, most_pages};

pub(crate) use error::GrowError;
pub(crate) use host::HostMemories;
pub use host::{LinearMemory, MemoryCreator};
pub(crate) use image::MemoryImage;
pub(super) use reservation::Reservation;
pub(crate) use settings::MemorySettings;
pub(crate) use shared::SharedMemory;
pub(crate) use slots::MemorySlots;

use host::HostBytes;
use idles::Idles;
use moving::MovingBytes;
use on_demand::StaticBytes;
use slots::SlotBytes;

/// Accessible bytes that any memory may leave to the next one. Page tables stay with them: one page
/// for each 2 MiB that were touched.
const MAX_KEPT_ACCESSIBLE: usize = 16 << 20;

/// Where an engine's memories come from.
#[derive(Debug)]
pub(crate) struct MemorySource {
    settings: MemorySettings,
    idles: Shared<Idles>,
    pool: Option<PooledMemories>,
    host: Option<HostMemories>,
}

/// What a pooling engine's instances have their memories in.
#[derive(Debug)]
pub(crate) struct PooledMemories {
    pub(crate) slots: Arc<MemorySlots>,
    /// The most pages of each memory.
    pub(crate) pages: u64,
}

impl MemorySource {
    pub(crate) fn new(
        settings: MemorySettings,
        pool: Option<PooledMemories>,
        host: Option<HostMemories>,
    ) -> Self {
        Self { settings, idles: Shared::new(Idles::new(settings)), pool, host }
    }

    /// How many reservations there are for memories outside of any pool, and how many of them wait
    /// for their next memory.
    pub(crate) fn reservations(&self) -> (usize, usize) {
        let idle = self.idles.count();
        // One that is made meanwhile is in neither number, or in the first.
        (self.idles.mapped().load(Relaxed).max(idle), idle)
    }

    /// A memory of the host.
    ///
    /// # Errors
    ///
    /// Fails if the type contradicts itself, or if the system or the embedder has no memory to
    /// give.
    pub(crate) fn memory(&self, ty: &MemoryType) -> Result<Memory, GrowError> {
        self.on_demand(ty, None)
    }

    /// A shared memory of the host.
    ///
    /// # Errors
    ///
    /// As for [`Self::memory`].
    pub(crate) fn shared(&self, ty: &MemoryType) -> Result<Arc<SharedMemory>, GrowError> {
        self.shared_up_to(ty, u64::MAX)
    }

    /// A shared memory of at most so many pages of 64 KiB. It lies in no slot of a pool and is none
    /// of the embedder's, since it may outlive its instance.
    fn shared_up_to(&self, ty: &MemoryType, limit: u64) -> Result<Arc<SharedMemory>, GrowError> {
        SharedMemory::new(&self.idles, ty, limit).map(Arc::new)
    }

    /// A memory outside of any pool, which starts with the image, if it can.
    fn on_demand(
        &self,
        ty: &MemoryType,
        image: Option<&Shared<MemoryImage>>,
    ) -> Result<Memory, GrowError> {
        let len = initial_len(ty)?;
        let bytes = match (&self.host, self.settings.style(ty)) {
            (Some(host), _) => {
                let bytes = HostBytes::new(&*host.0, &self.settings, ty);
                Bytes::Host(bytes.map_err(GrowError::Host)?)
            }
            (None, MemoryStyle::Static { .. }) => {
                let bytes = StaticBytes::new(&self.idles, len, image);
                Bytes::Static(bytes.map_err(|error| {
                    GrowError::system(error, self.idles.settings().static_reservation())
                })?)
            }
            (None, MemoryStyle::Dynamic) => {
                let bytes = MovingBytes::new(&self.idles, accessible(len));
                Bytes::Moving(bytes.map_err(|error| GrowError::system(error, len))?)
            }
        };
        Ok(Memory::new(bytes, len, ty, u64::MAX))
    }

    /// A memory of an instance; in a pooling engine in this slot, which must be the instance's. It
    /// starts with the image, if it can: see [`Memory::has_image`].
    ///
    /// # Errors
    ///
    /// As for [`Self::memory`], and beyond the pool's limit.
    pub(crate) fn memory_of_instance(
        &self,
        ty: &MemoryType,
        slot: usize,
        image: Option<&Shared<MemoryImage>>,
    ) -> Result<Memory, GrowError> {
        if ty.is_shared() {
            let limit = self.pool.as_ref().map_or(u64::MAX, |pool| pool.pages);
            return self.shared_up_to(ty, limit).map(Memory::of_shared);
        }
        let Some(pool) = &self.pool else { return self.on_demand(ty, image) };
        let pages = ty.minimum_bytes().div_ceil(WASM_PAGE_SIZE);
        PoolLimitError::check("memory_pages", pages, pool.pages)?;
        let len = initial_len(ty)?;
        let bytes = SlotBytes::new(&pool.slots, slot, accessible(len), image.map(|image| &**image));
        let bytes = Bytes::Slot(bytes.map_err(|error| GrowError::system(error, len))?);
        Ok(Memory::new(bytes, len, ty, pool.pages))
    }
}

impl MemorySource {
    /// Whether memories of instances with this type can start with an image.
    pub(crate) fn maps_images(&self, ty: &MemoryType) -> bool {
        let style = self.settings.style(ty);
        let maps = self.pool.is_some() || self.host.is_none() && style != MemoryStyle::Dynamic;
        maps && !ty.is_shared()
    }

    /// The image of a memory of which these parts are set in turn.
    ///
    /// # Errors
    ///
    /// As for [`MemoryImage::new`].
    pub(crate) fn image<'a>(
        &self,
        parts: impl Iterator<Item = (usize, &'a [u8])> + Clone,
        pace: &mut Pace<'_>,
    ) -> Result<io::Result<Shared<MemoryImage>>, Cancelled> {
        let image = MemoryImage::new(&self.idles, parts, pace)?;
        Ok(image.map(Shared::new))
    }
}

/// The size in bytes that a memory of this type starts with, if there can be one.
fn initial_len(ty: &MemoryType) -> Result<usize, GrowError> {
    let maximum = maximum(ty);
    if ty.minimum() > maximum {
        return Err(GrowError::Maximum { pages: 0, delta: ty.minimum(), maximum });
    }
    Ok(ty.minimum_bytes() as usize)
}

/// The most pages of a memory of this type.
fn maximum(ty: &MemoryType) -> u64 {
    let most = most_pages(ty.is_64(), ty.page_log2());
    ty.maximum().map_or(most, |maximum| maximum.min(most))
}

/// What has to be accessible for so many bytes: whole pages of the system's. Behind the end of a
/// memory whose pages are bytes, code finds the end by comparing.
fn accessible(len: usize) -> usize {
    len.next_multiple_of(WASM_PAGE_SIZE as usize)
}

/// Where the bytes of a memory are.
#[derive(Debug)]
enum Bytes {
    Static(StaticBytes),
    Moving(MovingBytes),
    Slot(SlotBytes),
    Host(HostBytes),
    Shared(Arc<SharedMemory>),
}

/// A linear memory.
#[derive(Debug)]
pub(crate) struct Memory {
    bytes: Bytes,
    /// The size in bytes.
    len: usize,
    /// The greatest size in pages that the memory's type allows.
    declared_maximum: Option<u64>,
    /// The greatest size in pages of 64 KiB that the pool allows, if there is one.
    limit: u64,
    is_64: bool,
    page_log2: u8,
}

impl Memory {
    fn new(bytes: Bytes, len: usize, ty: &MemoryType, limit: u64) -> Self {
        let declared_maximum = ty.maximum();
        Self { bytes, len, declared_maximum, limit, is_64: ty.is_64(), page_log2: ty.page_log2() }
    }

    /// A shared memory, as one of a store.
    pub(crate) fn of_shared(memory: Arc<SharedMemory>) -> Self {
        let ty = memory.ty();
        Self::new(Bytes::Shared(memory), 0, &ty, u64::MAX)
    }

    /// The shared memory, if it is one.
    pub(crate) fn as_shared(&self) -> Option<&Arc<SharedMemory>> {
        match &self.bytes {
            Bytes::Shared(memory) => Some(memory),
            _ => None,
        }
    }

    /// The size in bytes; a shared memory may have grown since.
    pub(crate) fn len(&self) -> usize {
        self.as_shared().map_or(self.len, |memory| memory.len())
    }

    pub(crate) fn base(&self) -> *mut u8 {
        match &self.bytes {
            Bytes::Shared(memory) => memory.base(),
            Bytes::Static(bytes) => bytes.base(),
            Bytes::Moving(bytes) => bytes.base(),
            Bytes::Slot(bytes) => bytes.base(),
            Bytes::Host(bytes) => bytes.base(),
        }
    }

    /// What machine code needs to know. It changes when the memory grows.
    pub(crate) fn definition(&self) -> VMMemory {
        match &self.bytes {
            Bytes::Shared(memory) => memory.definition(),
            _ => VMMemory { base: self.base(), len: self.len },
        }
    }

    /// The size in pages.
    pub(crate) fn pages(&self) -> u64 {
        self.len() as u64 >> self.page_log2
    }

    /// The size in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.len() as u64
    }

    /// The size of a page as a power of two.
    pub(crate) fn page_log2(&self) -> u32 {
        self.page_log2.into()
    }

    /// The type of the memory; its minimum is the current size.
    pub(crate) fn ty(&self) -> MemoryType {
        let ty = if self.is_64 { MemoryType::new64(0, None) } else { MemoryType::new(0, None) };
        let ty = ty.with_page_size(1 << self.page_log2).expect("the size was one of a type's");
        let ty = ty.into_shared(self.as_shared().is_some());
        ty.with_limits(self.pages(), self.declared_maximum)
    }

    /// Grows by `delta` pages. Answers the former size in pages.
    ///
    /// # Errors
    ///
    /// Fails beyond the maximum or the pool's limit, or if the system or the embedder has no
    /// memory; the memory is then as before.
    pub(crate) fn grow(&mut self, delta: u64) -> Result<u64, GrowError> {
        if let Bytes::Shared(memory) = &self.bytes {
            return memory.grow(delta);
        }
        let (old, maximum) = (self.pages(), maximum(&self.ty()));
        let new = old.checked_add(delta).filter(|&new| new <= maximum);
        let new = new.ok_or(GrowError::Maximum { pages: old, delta, maximum })?;
        let len = new << self.page_log2;
        PoolLimitError::check("memory_pages", len.div_ceil(WASM_PAGE_SIZE), self.limit)?;
        if delta > 0 {
            self.grow_to(len as usize)?;
        }
        Ok(old)
    }

    /// Whether growing by so many pages takes long for one call of the system, since all pages move.
    pub(crate) fn moves_much(&self, delta: u64) -> bool {
        let Bytes::Moving(bytes) = &self.bytes else { return false };
        let new = self.pages().saturating_add(delta);
        new <= maximum(&self.ty()) && bytes.moves_much(accessible((new << self.page_log2) as usize))
    }

    /// Whether the memory started with the image that it was to start with, and not with zeros.
    pub(crate) fn has_image(&self) -> bool {
        match &self.bytes {
            Bytes::Static(bytes) => bytes.has_image(),
            Bytes::Slot(bytes) => bytes.has_image(),
            // The one moves as a single mapping, the other is not ours.
            Bytes::Moving(_) | Bytes::Host(_) | Bytes::Shared(_) => false,
        }
    }

    /// Notes bytes that instantiation writes.
    pub(crate) fn note_written(&self, bytes: Range<usize>) {
        if let Bytes::Static(memory) = &self.bytes {
            memory.written().note(bytes);
        }
    }

    /// Notes that from now on anybody may write, which is to be done before a guest runs, and before
    /// the host gets the address. Until then little of the memory has to be cleared in the end.
    pub(crate) fn note_exposed(&self) {
        if let Bytes::Static(memory) = &self.bytes {
            memory.written().note_any();
        }
    }

    fn grow_to(&mut self, len: usize) -> Result<(), GrowError> {
        let grown = match &mut self.bytes {
            Bytes::Static(bytes) => bytes.grow_to(len),
            Bytes::Moving(bytes) => bytes.grow_to(accessible(len)),
            Bytes::Slot(bytes) => bytes.grow_to(accessible(len)),
            Bytes::Host(bytes) => {
                bytes.grow_to(len).map_err(GrowError::Host)?;
                Ok(())
            }
            Bytes::Shared(_) => unreachable!("they grow by themselves"),
        };
        grown.map_err(|error| GrowError::system(error, len))?;
        self.len = len;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
