//! Static memories that are reserved when they are needed.

use std::io;

use lampwick_fibers::Shared;

use super::idles::{Idle, Idles, Wanted};
use super::image::MemoryImage;
use super::reservation::{Cleared, Reservation};
use super::written::Written;

/// Memories with more accessible bytes than this are unmapped with their guest: what page tables
/// such a one leaves behind, and the search for its pages, would cost more than is saved.
const MAX_KEPT: usize = 256 << 20;

/// The bytes of a static memory.
#[derive(Debug)]
pub(super) struct StaticBytes {
    /// `None` only while it is dropped.
    reservation: Option<Reservation>,
    accessible: usize,
    /// The image that is mapped.
    image: Option<Shared<MemoryImage>>,
    /// Whether a guest with as many bytes left its pages here.
    is_warm: bool,
    written: Written,
    idles: Shared<Idles>,
}

impl StaticBytes {
    /// `accessible` bytes, which start with the image, where there is one that can be mapped, and
    /// else with zeros.
    pub(super) fn new(
        idles: &Shared<Idles>,
        accessible: usize,
        image: Option<&Shared<MemoryImage>>,
    ) -> io::Result<Self> {
        let image = image.filter(|image| image.range.end <= accessible);
        let wanted = Wanted { accessible, image: image.map(|image| image.id) };
        let idle = match idles.take(wanted) {
            Some(idle) => idle,
            None => reserve(idles)?,
        };
        let idle = fit(idle, accessible, image)?;
        Ok(Self {
            reservation: Some(idle.reservation),
            accessible,
            image: image.filter(|_| idle.image.is_some()).map(Shared::local),
            is_warm: idle.is_warm,
            written: Written::default(),
            idles: idles.local(),
        })
    }

    /// What was written, as far as it is known.
    pub(super) fn written(&self) -> &Written {
        &self.written
    }

    fn reservation(&self) -> &Reservation {
        self.reservation.as_ref().expect("present until the memory is dropped")
    }

    pub(super) fn base(&self) -> *mut u8 {
        self.reservation().base()
    }

    /// Whether the memory started with an image.
    pub(super) fn has_image(&self) -> bool {
        self.image.is_some()
    }

    /// Makes the bytes up to `len` accessible.
    pub(super) fn grow_to(&mut self, len: usize) -> io::Result<()> {
        self.reservation().protect(self.accessible..len, true)?;
        self.accessible = len;
        self.is_warm = false;
        Ok(())
    }

    /// Makes the bytes what they were at first, and answers the reservation for the next memory.
    ///
    /// # Errors
    ///
    /// After an error a page may have kept its bytes; the reservation is given up.
    ///
    /// # Safety
    ///
    /// Nobody may be using the bytes any more.
    unsafe fn clear(&self, reservation: Reservation) -> io::Result<Idle> {
        let all = 0..self.accessible;
        let image = self.image.as_deref();
        // A memory of which all pages stay is kept where there are few.
        let fills = self.is_warm && self.idles.has_room_here();
        if let Some(pages) = self.written.pages().filter(|_| fills || !self.is_warm) {
            // SAFETY: by contract; what was written is accessible, and the image is mapped.
            unsafe { reservation.restore_pages(all, image, pages) };
            let (accessible, image) = (self.accessible, image.map(|image| image.id));
            return Ok(Idle { reservation, accessible, image, is_warm: self.is_warm });
        }
        // SAFETY: by contract; so many bytes are accessible, and the image is mapped.
        let is_warm = unsafe { reservation.restore(all.clone(), image, fills) };
        let cleared = if is_warm { Cleared::Kept } else { reservation.give_back(all)? };
        let (accessible, image) = match cleared {
            Cleared::Kept => (self.accessible, image.map(|image| image.id)),
            Cleared::Replaced => (0, None),
        };
        Ok(Idle { reservation, accessible, image, is_warm })
    }
}

/// A new reservation.
fn reserve(idles: &Idles) -> io::Result<Idle> {
    let settings = idles.settings();
    let len = (settings.static_maximum + settings.static_guard) as usize;
    let reservation = Reservation::new(settings.before(), len)?.counted_in(idles.mapped());
    Ok(Idle { reservation, accessible: 0, image: None, is_warm: false })
}

/// Makes a reservation have so many accessible bytes, and this image mapped, if it can be; else
/// none.
fn fit(idle: Idle, accessible: usize, image: Option<&Shared<MemoryImage>>) -> io::Result<Idle> {
    let Idle { reservation, accessible: mut before, image: mut mapped, mut is_warm } = idle;
    let wanted = image.map(|image| image.id);
    if mapped.is_some() && mapped != wanted {
        reservation.replace(0..before)?;
        (before, mapped) = (0, None);
    }
    is_warm &= before == accessible;
    if before < accessible {
        reservation.protect(before..accessible, true)?;
    } else {
        reservation.withdraw(accessible..before)?;
    }
    if let Some(image) = image.filter(|_| mapped.is_none()) {
        mapped = reservation.map(0, image).is_ok().then_some(image.id);
    }
    Ok(Idle { reservation, accessible, image: mapped, is_warm })
}

impl Drop for StaticBytes {
    fn drop(&mut self) {
        let Some(reservation) = self.reservation.take() else { return };
        if self.accessible > MAX_KEPT {
            return;
        }
        // SAFETY: the memory is dropped.
        if let Ok(idle) = unsafe { self.clear(reservation) } {
            self.idles.put(idle);
        }
    }
}
