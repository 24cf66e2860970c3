//! Static memories that are reserved when they are needed.
//!
//! Ended guests' reservations are kept for the next ones: a guest's start then costs no `mmap`.

use std::io;
use std::sync::{Arc, Mutex};

use super::MAX_KEPT_ACCESSIBLE;
use super::image::MemoryImage;
use super::reservation::{Cleared, Reservation};
use super::settings::MemorySettings;

/// A reservation that waits for its next memory. Its accessible bytes are zero.
#[derive(Debug)]
struct Idle {
    reservation: Reservation,
    accessible: usize,
}

/// The reservations that an engine keeps. All are of the size that its static memories share.
#[derive(Debug)]
pub(super) struct Idles {
    settings: MemorySettings,
    idle: Mutex<Vec<Idle>>,
}

/// The most reservations that an engine keeps; each costs address space and one or two mappings.
const MAX_IDLE: usize = 1000;

impl Idles {
    pub(super) fn new(settings: MemorySettings) -> Arc<Self> {
        Arc::new(Self { settings, idle: Mutex::default() })
    }

    /// How the engine lays memories out.
    pub(super) fn settings(&self) -> &MemorySettings {
        &self.settings
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// How many reservations wait.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }
}

/// The bytes of a static memory.
#[derive(Debug)]
pub(super) struct StaticBytes {
    /// `None` only while it is dropped.
    reservation: Option<Reservation>,
    accessible: usize,
    /// Whether an image is mapped.
    has_image: bool,
    idles: Arc<Idles>,
}

impl StaticBytes {
    /// `accessible` zero bytes.
    pub(super) fn new(idles: &Arc<Idles>, accessible: usize) -> io::Result<Self> {
        let idle = idles.lock().pop();
        let (reservation, before) = match idle {
            Some(idle) => (idle.reservation, idle.accessible),
            None => {
                let MemorySettings { static_maximum, static_guard, .. } = idles.settings;
                let len = (static_maximum + static_guard) as usize;
                (Reservation::new(idles.settings.before(), len)?, 0)
            }
        };
        if before < accessible {
            reservation.protect(before..accessible, true)?;
        } else {
            reservation.withdraw(accessible..before)?;
        }
        Ok(Self {
            reservation: Some(reservation),
            accessible,
            has_image: false,
            idles: idles.clone(),
        })
    }

    fn reservation(&self) -> &Reservation {
        self.reservation.as_ref().expect("present until the memory is dropped")
    }

    pub(super) fn base(&self) -> *mut u8 {
        self.reservation().base()
    }

    /// Maps the image, which must lie within what is accessible and unused.
    pub(super) fn start_with(&mut self, image: &MemoryImage) -> io::Result<()> {
        self.reservation().map(0, image)?;
        self.has_image = true;
        Ok(())
    }

    /// Makes the bytes up to `len` accessible.
    pub(super) fn grow_to(&mut self, len: usize) -> io::Result<()> {
        self.reservation().protect(self.accessible..len, true)?;
        self.accessible = len;
        Ok(())
    }
}

impl Drop for StaticBytes {
    fn drop(&mut self) {
        let Some(reservation) = self.reservation.take() else { return };
        if self.accessible > MAX_KEPT_ACCESSIBLE {
            return;
        }
        let all = 0..self.accessible;
        let accessible = if self.has_image {
            reservation.replace(all).map(|()| 0)
        // SAFETY: the memory is dropped, and its bytes up to here are accessible.
        } else if unsafe { reservation.zero(all.clone()) } {
            Ok(self.accessible)
        } else {
            reservation.give_back(all).map(|cleared| match cleared {
                Cleared::Kept => self.accessible,
                Cleared::Replaced => 0,
            })
        };
        // A page that keeps its bytes must never reach another guest.
        let Ok(accessible) = accessible else { return };
        let mut idle = self.idles.lock();
        if idle.len() < MAX_IDLE {
            idle.push(Idle { reservation, accessible });
        }
    }
}
