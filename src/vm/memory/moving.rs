//! Dynamic memories: they reserve what they need and some room, and move when that is used up.

use std::io;

use lampwick_fibers::Shared;
use rustix::mm::{self, MremapFlags};

use super::idles::Idles;
use super::reservation::Reservation;
use super::settings::MemorySettings;
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
        let reservation = reserve(idles.settings(), accessible, 0)?;
        Ok(Self { reservation, accessible, idles: idles.local() })
    }

    pub(super) fn base(&self) -> *mut u8 {
        self.reservation.base()
    }

    /// Grows in place while the reservation has room, else moves the pages to a larger one.
    pub(super) fn grow_to(&mut self, len: usize) -> io::Result<()> {
        let old = &self.reservation;
        if len <= old.len() - self.idles.settings().dynamic_guard as usize {
            old.protect(self.accessible..len, true)?;
        } else {
            // What moves is as much as has come since the last time, however often a guest grows.
            let new = reserve(self.idles.settings(), len, len)?;
            self.move_to(&new)?;
            self.reservation = new;
        }
        self.accessible = len;
        Ok(())
    }

    fn move_to(&self, new: &Reservation) -> io::Result<()> {
        if self.accessible == 0 {
            return Ok(());
        }
        // SAFETY: both ranges are ours; the page tables of the old one move to the start of the
        // new one. The old range stays mapped, and so stays ours until it is dropped: in a hole
        // another thread's mapping could be, which the drop would take away.
        unsafe {
            mm::mremap_fixed(
                self.reservation.base().cast(),
                self.accessible,
                self.accessible,
                MremapFlags::MAYMOVE | MremapFlags::DONTUNMAP,
                new.base().cast(),
            )
        }?;
        Ok(())
    }
}

/// Memories of which a page table can be moved as a whole, with all the pages that it leads to, lie
/// so that it can, which takes half the time.
const PAGE_TABLE: usize = 2 << 20;

/// A reservation of which so many bytes are accessible, with room for `more` at the least.
fn reserve(settings: &MemorySettings, accessible: usize, more: usize) -> io::Result<Reservation> {
    let growth = (settings.dynamic_growth as usize).max(more);
    let slack = growth + settings.dynamic_guard as usize;
    let len = accessible + slack.next_multiple_of(WASM_PAGE_SIZE as usize);
    let reservation = if len < PAGE_TABLE {
        Reservation::new(settings.before(), len)?
    } else {
        Reservation::aligned(settings.before(), len, PAGE_TABLE)?
    };
    reservation.protect(0..accessible, true)?;
    Ok(reservation)
}
