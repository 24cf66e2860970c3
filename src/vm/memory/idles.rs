//! The reservations that an engine keeps between guests: a start then costs no `mmap`.
//!
//! Each group of threads has a few of its own, so that workers which start and end guests do not
//! wait for each other; the others are everybody's. One that has the image of a module mapped goes
//! to the next guest of that module, if it can.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

use lampwick_fibers::PerWorker;

use super::MAX_KEPT_ACCESSIBLE;
use super::image::ImageId;
use super::reservation::Reservation;
use super::settings::MemorySettings;

/// A reservation that waits for its next memory.
#[derive(Debug)]
pub(super) struct Idle {
    pub(super) reservation: Reservation,
    /// So many bytes are accessible: as the image says, where it says something, and else zero.
    pub(super) accessible: usize,
    /// The image that is mapped.
    pub(super) image: Option<ImageId>,
    /// Whether the pages that its last guest touched are still there.
    pub(super) is_warm: bool,
}

/// What a memory is to start with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) accessible: usize,
    pub(super) image: Option<ImageId>,
}

impl Wanted {
    /// One of a list's last that is what is wanted.
    fn take_fitting(self, list: &mut Vec<Idle>) -> Option<Idle> {
        let fits = |idle: &Idle| (idle.accessible, idle.image) == (self.accessible, self.image);
        take_last(list, fits)
    }

    /// One of a list's last that at least has the image mapped; or none, if none is wanted.
    fn take(self, list: &mut Vec<Idle>) -> Option<Idle> {
        take_last(list, |idle| idle.image == self.image)
    }
}

fn take_last(list: &mut Vec<Idle>, fits: impl Fn(&Idle) -> bool) -> Option<Idle> {
    let start = list.len().saturating_sub(SEARCHED);
    let at = list[start..].iter().rposition(fits)?;
    Some(list.remove(start + at))
}

/// The reservations that an engine keeps. All are of the size that its static memories share.
#[derive(Debug)]
pub(super) struct Idles {
    settings: MemorySettings,
    /// Each group's, the last used at the end: its pages are in the caches.
    workers: PerWorker<Mutex<Vec<Idle>>>,
    others: Mutex<Vec<Idle>>,
    /// Accessible bytes of those that have more than [`MAX_KEPT_ACCESSIBLE`].
    large: AtomicUsize,
    /// How many reservations there are, those of live memories among them.
    mapped: Arc<AtomicUsize>,
}

/// The most reservations that each group of threads keeps.
const MAX_PER_WORKER: usize = 8;

/// The most that are kept beside those; each costs address space and one to three mappings.
const MAX_IDLE: usize = 1000;

/// How many of the last are looked at.
const SEARCHED: usize = 16;

/// The most accessible bytes of large reservations together: page tables stay, one page for each
/// 2 MiB that were touched.
const MAX_LARGE: usize = 1 << 30;

fn lock(list: &Mutex<Vec<Idle>>) -> MutexGuard<'_, Vec<Idle>> {
    list.lock().unwrap_or_else(|e| e.into_inner())
}

impl Idles {
    pub(super) fn new(settings: MemorySettings) -> Self {
        Self {
            settings,
            workers: PerWorker::new(Mutex::default),
            others: Mutex::default(),
            large: AtomicUsize::new(0),
            mapped: Arc::default(),
        }
    }

    /// How the engine lays memories out.
    pub(super) fn settings(&self) -> &MemorySettings {
        &self.settings
    }

    /// Where reservations for the engine's memories are counted.
    pub(super) fn mapped(&self) -> &Arc<AtomicUsize> {
        &self.mapped
    }

    /// A reservation, of those at hand the one that needs the least to become what is wanted.
    pub(super) fn take(&self, wanted: Wanted) -> Option<Idle> {
        let near = [self.workers.mine(), &self.others];
        let fitting = near.iter().find_map(|list| wanted.take_fitting(&mut lock(list)));
        let idle = fitting
            .or_else(|| near.iter().find_map(|list| wanted.take(&mut lock(list))))
            .or_else(|| near.iter().find_map(|list| lock(list).pop()))
            .or_else(|| self.workers.iter().find_map(|list| lock(list).pop()))?;
        self.is_gone(&idle);
        Some(idle)
    }

    /// Whether this thread's group has room for one more. It may be gone before that is put there.
    pub(super) fn has_room_here(&self) -> bool {
        lock(self.workers.mine()).len() < MAX_PER_WORKER
    }

    /// Keeps a reservation, if there is room.
    pub(super) fn put(&self, idle: Idle) {
        if !self.has_come(&idle) {
            return;
        }
        let lists = [(self.workers.mine(), MAX_PER_WORKER), (&self.others, MAX_IDLE)];
        for (list, most) in lists {
            let mut list = lock(list);
            if list.len() < most {
                list.push(idle);
                return;
            }
        }
        self.is_gone(&idle);
    }

    /// Drops the reservations with an image whose module is gone: they hold its bytes.
    pub(super) fn forget(&self, image: ImageId) {
        for list in self.workers.iter().chain([&self.others]) {
            let with_it = |idle: &mut Idle| idle.image == Some(image);
            let gone: Vec<_> = lock(list).extract_if(.., with_it).collect();
            gone.iter().for_each(|idle| self.is_gone(idle));
        }
    }

    /// Counts a reservation that is to be kept, unless it is one large one too many.
    fn has_come(&self, idle: &Idle) -> bool {
        let add = |large: usize| large.checked_add(idle.accessible).filter(|&sum| sum <= MAX_LARGE);
        idle.accessible <= MAX_KEPT_ACCESSIBLE
            || self.large.fetch_update(Relaxed, Relaxed, add).is_ok()
    }

    fn is_gone(&self, idle: &Idle) {
        if idle.accessible > MAX_KEPT_ACCESSIBLE {
            self.large.fetch_sub(idle.accessible, Relaxed);
        }
    }

    /// How many reservations wait.
    pub(super) fn count(&self) -> usize {
        self.workers.iter().chain([&self.others]).map(|list| lock(list).len()).sum()
    }
}
