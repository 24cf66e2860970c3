//! Linear memories: reservations of address space, of which the first part is accessible.

use std::io;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex};

use rustix::mm::{self, Advice, MapFlags, MprotectFlags, MremapFlags, ProtFlags};

use super::layout::{MAX_PAGES_32, MemoryStyle, VMMemory, WASM_PAGE_SIZE};

/// How an engine lays memories out, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemorySettings {
    pub(crate) static_maximum: u64,
    pub(crate) static_guard: u64,
    pub(crate) dynamic_guard: u64,
    pub(crate) dynamic_growth: u64,
    pub(crate) guard_before: bool,
}

impl MemorySettings {
    /// The style of a memory with this maximum in pages.
    pub(crate) fn style(&self, maximum: Option<u64>) -> MemoryStyle {
        MemoryStyle::of(maximum, self.static_maximum, self.static_guard)
    }
}

/// An inaccessible range of address space, of which a first part was made accessible.
#[derive(Debug)]
struct Reservation {
    start: NonNull<u8>,
    /// Bytes before the memory's first byte that always fault.
    before: usize,
    len: usize,
}

// SAFETY: the reservation owns its mapping; who may access it is up to the memory that owns it.
unsafe impl Send for Reservation {}
// SAFETY: as above.
unsafe impl Sync for Reservation {}

impl Reservation {
    fn new(before: usize, len: usize) -> io::Result<Self> {
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
        Ok(Self { start, before, len: total })
    }

    fn base(&self) -> *mut u8 {
        self.start.as_ptr().wrapping_add(self.before)
    }

    /// Makes `range` of the memory's bytes accessible or inaccessible.
    fn protect(&self, range: std::ops::Range<usize>, accessible: bool) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        assert!(self.before + range.end <= self.len, "within the reservation");
        let flags = if accessible {
            MprotectFlags::READ | MprotectFlags::WRITE
        } else {
            MprotectFlags::empty()
        };
        // SAFETY: the range belongs to this reservation, and no Rust reference into what becomes
        // inaccessible exists.
        unsafe { mm::mprotect(self.base().add(range.start).cast(), range.len(), flags) }?;
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nothing refers to it any more.
        let result = unsafe { mm::munmap(self.start.as_ptr().cast(), self.len) };
        debug_assert!(result.is_ok(), "munmap: {result:?}");
    }
}

/// A reservation that waits for its next memory. Its accessible bytes are zero.
#[derive(Debug)]
struct Idle {
    reservation: Reservation,
    accessible: usize,
}

/// Reservations of ended guests, kept for the next ones: a guest's start then costs no `mmap`.
#[derive(Debug)]
pub(crate) struct MemoryPool {
    settings: MemorySettings,
    idle: Mutex<Vec<Idle>>,
}

/// The most reservations that an engine keeps; each costs address space and one or two mappings.
const MAX_IDLE: usize = 1000;

/// A reservation's accessible bytes are kept up to this size; beyond it, giving pages back one
/// memory at a time costs more than it saves.
const MAX_KEPT_ACCESSIBLE: usize = 16 << 20;

impl MemoryPool {
    pub(crate) fn new(settings: MemorySettings) -> Arc<Self> {
        Arc::new(Self { settings, idle: Mutex::default() })
    }

    fn before(&self) -> usize {
        if self.settings.guard_before { self.settings.static_guard as usize } else { 0 }
    }

    /// A reservation of the size that all static memories share, with `accessible` zero bytes.
    fn take_static(&self, reserved: u64, guard: u64, accessible: usize) -> io::Result<Reservation> {
        let idle = self.idle.lock().unwrap_or_else(|e| e.into_inner()).pop();
        let (reservation, before) = match idle {
            Some(idle) => (idle.reservation, idle.accessible),
            None => (Reservation::new(self.before(), (reserved + guard) as usize)?, 0),
        };
        if before < accessible {
            reservation.protect(before..accessible, true)?;
        } else {
            reservation.protect(accessible..before, false)?;
        }
        Ok(reservation)
    }

    /// Takes back what [`Self::take_static`] gave.
    fn put_static(&self, reservation: Reservation, accessible: usize) {
        if accessible > MAX_KEPT_ACCESSIBLE {
            return;
        }
        if accessible > 0 {
            // SAFETY: the range is accessible and private to us; its pages are zero when next
            // touched.
            let dropped = unsafe {
                mm::madvise(reservation.base().cast(), accessible, Advice::LinuxDontNeed)
            };
            // A page that keeps its bytes must never reach another guest.
            if dropped.is_err() {
                return;
            }
        }
        let mut idle = self.idle.lock().unwrap_or_else(|e| e.into_inner());
        if idle.len() < MAX_IDLE {
            idle.push(Idle { reservation, accessible });
        }
    }
}

/// A linear memory.
#[derive(Debug)]
pub(crate) struct Memory {
    /// `None` only while it is dropped.
    reservation: Option<Reservation>,
    pool: Arc<MemoryPool>,
    style: MemoryStyle,
    /// The size in bytes.
    len: usize,
    /// The greatest size in pages that the memory's type allows.
    declared_maximum: Option<u64>,
}

impl Memory {
    /// A memory of `minimum` pages of zeros that may grow to `maximum`.
    ///
    /// # Errors
    ///
    /// Fails if the system has no address space, mapping or memory left.
    pub(crate) fn new(
        pool: &Arc<MemoryPool>,
        minimum: u64,
        maximum: Option<u64>,
    ) -> io::Result<Self> {
        let style = pool.settings.style(maximum);
        if minimum > maximum.unwrap_or(MAX_PAGES_32).min(MAX_PAGES_32) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let len = (minimum * WASM_PAGE_SIZE) as usize;
        let reservation = match style {
            MemoryStyle::Static { reserved, guard } => pool.take_static(reserved, guard, len)?,
            MemoryStyle::Dynamic => Self::reserve_dynamic(pool, len)?,
        };
        Ok(Self {
            reservation: Some(reservation),
            pool: pool.clone(),
            style,
            len,
            declared_maximum: maximum,
        })
    }

    fn reserve_dynamic(pool: &MemoryPool, len: usize) -> io::Result<Reservation> {
        let settings = &pool.settings;
        let slack = (settings.dynamic_growth + settings.dynamic_guard) as usize;
        let slack = slack.next_multiple_of(WASM_PAGE_SIZE as usize);
        let reservation = Reservation::new(pool.before(), len + slack)?;
        reservation.protect(0..len, true)?;
        Ok(reservation)
    }

    fn reservation(&self) -> &Reservation {
        self.reservation.as_ref().expect("present until the memory is dropped")
    }

    /// What machine code needs to know. It changes when the memory grows.
    pub(crate) fn definition(&self) -> VMMemory {
        VMMemory { base: self.reservation().base(), len: self.len }
    }

    /// The size in pages.
    pub(crate) fn pages(&self) -> u64 {
        self.len as u64 / WASM_PAGE_SIZE
    }

    /// The maximum in pages of the memory's type.
    pub(crate) fn declared_maximum(&self) -> Option<u64> {
        self.declared_maximum
    }

    fn maximum(&self) -> u64 {
        self.declared_maximum.unwrap_or(MAX_PAGES_32).min(MAX_PAGES_32)
    }

    /// Grows by `delta` pages. Answers the former size in pages.
    ///
    /// # Errors
    ///
    /// Fails beyond the maximum, or if the system has no memory; the memory is then as before.
    pub(crate) fn grow(&mut self, delta: u64) -> Result<u64, GrowError> {
        let old = self.pages();
        let new = old.checked_add(delta).filter(|&new| new <= self.maximum());
        let new = new.ok_or(GrowError::Maximum { pages: old, delta, maximum: self.maximum() })?;
        let len = (new * WASM_PAGE_SIZE) as usize;
        match self.style {
            MemoryStyle::Static { .. } => self.reservation().protect(self.len..len, true)?,
            MemoryStyle::Dynamic => self.grow_dynamic(len)?,
        }
        self.len = len;
        Ok(old)
    }

    /// Grows in place while the reservation has room, else moves the pages to a larger one.
    fn grow_dynamic(&mut self, len: usize) -> io::Result<()> {
        let old = self.reservation();
        let room = old.len - old.before - self.pool.settings.dynamic_guard as usize;
        if len <= room {
            return old.protect(self.len..len, true);
        }
        let new = Self::reserve_dynamic(&self.pool, len)?;
        if self.len > 0 {
            // SAFETY: both ranges are ours; the page tables of the old one move to the start of the
            // new one. The old range stays mapped, and so stays ours until it is
            // dropped: in a hole another thread's mapping could be, which the drop
            // would take away.
            unsafe {
                mm::mremap_fixed(
                    old.base().cast(),
                    self.len,
                    self.len,
                    MremapFlags::MAYMOVE | MremapFlags::DONTUNMAP,
                    new.base().cast(),
                )
            }?;
        }
        self.reservation = Some(new);
        Ok(())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let Some(reservation) = self.reservation.take() else { return };
        if let MemoryStyle::Static { .. } = self.style {
            self.pool.put_static(reservation, self.len);
        }
    }
}

/// Why a memory did not grow.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GrowError {
    /// It may not be that large.
    #[error("a memory of {pages} pages cannot grow by {delta}: its maximum is {maximum}")]
    Maximum { pages: u64, delta: u64, maximum: u64 },
    /// The system refused.
    #[error("the system has no memory to grow into: {0}")]
    System(#[from] io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(static_maximum: u64) -> Arc<MemoryPool> {
        MemoryPool::new(MemorySettings {
            static_maximum,
            static_guard: 1 << 16,
            dynamic_guard: 1 << 16,
            dynamic_growth: 1 << 16,
            guard_before: true,
        })
    }

    fn bytes(memory: &mut Memory) -> &mut [u8] {
        let VMMemory { base, len } = memory.definition();
        // SAFETY: the memory is borrowed for as long as the slice.
        unsafe { std::slice::from_raw_parts_mut(base, len) }
    }

    #[test]
    fn the_next_guest_sees_zeros() {
        for (minimum, next) in [(2, 1), (1, 2), (3, 3)] {
            let pool = pool(4 << 16);
            let mut memory = Memory::new(&pool, minimum, Some(4)).unwrap();
            memory.grow(1).unwrap();
            bytes(&mut memory).fill(0xaa);
            drop(memory);
            assert_eq!(pool.idle.lock().unwrap().len(), 1);
            let mut memory = Memory::new(&pool, next, Some(4)).unwrap();
            assert!(bytes(&mut memory).iter().all(|&byte| byte == 0));
            assert!(pool.idle.lock().unwrap().is_empty(), "the reservation was used again");
        }
    }

    #[test]
    fn a_dynamic_memory_keeps_its_bytes_when_it_moves() {
        let pool = pool(0);
        let mut memory = Memory::new(&pool, 1, None).unwrap();
        assert_eq!(memory.style, MemoryStyle::Dynamic);
        bytes(&mut memory).fill(7);
        let before = memory.definition().base;
        assert_eq!(memory.grow(1).unwrap(), 1);
        assert_eq!(memory.definition().base, before, "within the reserve for growth");
        assert_eq!(memory.grow(100).unwrap(), 2);
        let (old, new) = bytes(&mut memory).split_at(1 << 16);
        assert!(old.iter().all(|&byte| byte == 7) && new.iter().all(|&byte| byte == 0));
        assert_eq!(memory.pages(), 102);
    }

    #[test]
    fn growth_ends_at_the_maximum() {
        let mut memory = Memory::new(&pool(1 << 20), 1, Some(2)).unwrap();
        assert_eq!(memory.grow(1).unwrap(), 1);
        let error = memory.grow(1).unwrap_err().to_string();
        assert_eq!(error, "a memory of 2 pages cannot grow by 1: its maximum is 2");
        assert!(memory.grow(u64::MAX).is_err());
        assert_eq!(memory.pages(), 2);
    }

    #[test]
    fn memories_that_move_stay_apart() {
        // A hole that one thread leaves behind is where another thread's mapping comes to lie.
        let pool = pool(0);
        std::thread::scope(|scope| {
            for byte in 1..=4 {
                let pool = &pool;
                scope.spawn(move || {
                    for _ in 0..200 {
                        let mut memory = Memory::new(pool, 1, None).unwrap();
                        for _ in 0..8 {
                            bytes(&mut memory).fill(byte);
                            let (old, len) = (memory.grow(2).unwrap() as usize, 1 << 16);
                            let (kept, new) = bytes(&mut memory).split_at(old * len);
                            assert!(kept.iter().step_by(4096).all(|&found| found == byte));
                            assert!(new.iter().step_by(4096).all(|&found| found == 0));
                        }
                    }
                });
            }
        });
    }
}
