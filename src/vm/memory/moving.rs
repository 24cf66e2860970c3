//! Dynamic memories: they reserve what they need and some room, and move when that is used up.

use std::io;

use lampwick_fibers::Shared;
use rustix::mm::{self, MremapFlags};

use super::idles::Idles;
use super::reservation::Reservation;
use crate::vm::layout::WASM_PAGE_SIZE;

/// The bytes of a dynamic memory.
#[derive(Debug)]
pub(super) struct MovingBytes {
    reservation: Reservation,
    accessible: usize,
    /// The engine's, which has the settings.
    idles: Shared<Idles>,
}

impl MovingBytes {
    /// `accessible` zero bytes.
    pub(super) fn new(idles: &Shared<Idles>, accessible: usize) -> io::Result<Self> {
        let reservation = reserve(idles, accessible, 0)?;
        Ok(Self { reservation, accessible, idles: idles.local() })
    }

    pub(super) fn base(&self) -> *mut u8 {
        self.reservation.base()
    }

    /// Whether growing moves so many pages that it takes some time.
    pub(super) fn moves_much(&self, len: usize) -> bool {
        self.accessible >= MUCH && !self.has_room(len)
    }

    /// What lies behind the last whole directory is not used: it could not move with the others.
    fn has_room(&self, len: usize) -> bool {
        let reserved = self.reservation.len();
        let movable = if reserved < DIRECTORY { reserved } else { reserved - reserved % DIRECTORY };
        len <= movable - self.idles.settings().dynamic_guard as usize
    }

    /// Grows in place while the reservation has room, else moves the pages to a larger one.
    pub(super) fn grow_to(&mut self, len: usize) -> io::Result<()> {
        if self.has_room(len) {
            self.reservation.protect(self.accessible..len, true)?;
        } else {
            // What moves is as much as has come since the last time, however often a guest grows.
            let new = reserve(&self.idles, len, len)?;
            self.move_to(new, len)?;
        }
        self.accessible = len;
        Ok(())
    }

    /// Moves the pages to a reservation of which `len` bytes are to be accessible.
    fn move_to(&mut self, new: Reservation, len: usize) -> io::Result<()> {
        let old = &self.reservation;
        let whole = self.accessible.next_multiple_of(DIRECTORY);
        if self.accessible < LARGE || whole > old.len().min(new.len()) {
            move_pages(old, &new, self.accessible)?;
            self.reservation = new;
            return Ok(());
        }
        // Directories only move as wholes: for that long all that the last one leads to is accessible.
        // The guest waits for us meanwhile. Where the system refuses to end this, the guest reaches
        // some zeros of its own.
        old.protect(self.accessible..whole, true)?;
        if let Err(error) = move_pages(old, &new, whole) {
            old.protect(self.accessible..whole, false)?;
            return Err(error);
        }
        // The pages are there, whatever comes of the rest.
        self.reservation = new;
        self.reservation.protect(len.min(whole)..whole, false)
    }
}

/// Moves so many bytes from the base of one reservation to that of another, where all of them are
/// accessible.
fn move_pages(old: &Reservation, new: &Reservation, len: usize) -> io::Result<()> {
    if len == 0 {
        return Ok(());
    }
    assert!(len <= old.len().min(new.len()), "what lies behind is somebody else's");
    // SAFETY: both ranges are ours; the page tables of the old one move to the start of the
    // new one. The old range stays mapped, and so stays ours until it is dropped: in a hole
    // another thread's mapping could be, which the drop would take away.
    unsafe {
        mm::mremap_fixed(
            old.base().cast(),
            len,
            len,
            MremapFlags::MAYMOVE | MremapFlags::DONTUNMAP,
            new.base().cast(),
        )
    }?;
    Ok(())
}

/// Memories of which a page table can be moved as a whole, with all the pages that it leads to, lie
/// so that it can: some 0.2 us for each MiB, and 3 or more page by page.
const PAGE_TABLE: usize = 2 << 20;

/// From this size on it is directories of page tables that are moved, in 15 us for each GiB.
pub(super) const LARGE: usize = 128 << 20;

/// From this size on moving takes longer than a few system calls.
const MUCH: usize = 8 << 20;
const DIRECTORY: usize = 1 << 30;

/// A reservation of which so many bytes are accessible, with room for `more` at the least.
fn reserve(idles: &Idles, accessible: usize, more: usize) -> io::Result<Reservation> {
    let settings = idles.settings();
    let growth = (settings.dynamic_growth as usize).max(more);
    let slack = growth + settings.dynamic_guard as usize;
    let len = accessible + slack.next_multiple_of(WASM_PAGE_SIZE as usize);
    let reservation = match len {
        ..PAGE_TABLE => Reservation::new(settings.before(), len)?,
        PAGE_TABLE..LARGE => Reservation::aligned(settings.before(), len, PAGE_TABLE)?,
        LARGE.. => {
            let len = len.checked_next_multiple_of(DIRECTORY).ok_or(io::ErrorKind::OutOfMemory)?;
            Reservation::aligned(settings.before(), len, DIRECTORY)?
        }
    };
    let reservation = reservation.counted_in(idles.mapped());
    reservation.protect(0..accessible, true)?;
    Ok(reservation)
}

#[cfg(test)]
mod tests {
    use super::super::tests::settings;
    use super::*;

    #[test]
    fn a_memory_ends_where_directories_do() {
        // Where the system puts a reservation decides how much more there is than was asked for.
        let idles = Shared::new(Idles::new(settings(0)));
        let bytes: Vec<MovingBytes> =
            (0..8).map(|_| MovingBytes::new(&idles, LARGE).unwrap()).collect();
        for bytes in &bytes {
            assert!(bytes.has_room(DIRECTORY - (1 << 16)), "{bytes:?}");
            assert!(!bytes.has_room(DIRECTORY), "{bytes:?}");
        }
    }
}
