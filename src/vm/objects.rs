//! The structs and arrays of a store: how they are made, and what of them the host holds.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use super::activation::Unwind;
use super::heap::{Heap, MAX_BYTES, ObjectSettings, Place};
use super::layout::{FIELDS, ObjectLayout, TrapCode, VMType};
use super::limits::{Growth, Resource};
use super::pace::Pace;
use super::slab::Slab;
use super::store::Store;

/// Bytes of which cleaning a block takes as much as touching them first.
pub(super) const PER_BLOCK: usize = 4 << 10;

/// Objects, and what of them the host holds.
pub(crate) struct Objects {
    pub(super) heap: Heap,
    held: Arc<AllHeld>,
}

impl Objects {
    /// None.
    pub(crate) fn new(settings: ObjectSettings) -> std::io::Result<Self> {
        Ok(Self { heap: Heap::new(settings)?, held: Arc::default() })
    }

    /// Keeps an object as long as the answer is kept somewhere.
    fn hold(&self, bits: u32) -> Held {
        let mut all = self.held.lock();
        let place = all.vacant();
        all.insert(bits);
        Held { bits, place, all: self.held.clone() }
    }

    /// Begins to look through what the host holds: answers how many places there are.
    pub(super) fn begin_held(&self) -> usize {
        let mut all = self.held.lock();
        all.begin_sweep();
        all.len()
    }

    /// Calls `see` with what the host holds in some places. Ranges come backwards; the host may drop what it
    /// holds meanwhile.
    pub(super) fn for_each_held(&self, places: Range<usize>, mut see: impl FnMut(u32)) {
        let keep = |_, &bits: &u32| {
            see(bits);
            true
        };
        self.held.lock().sweep(places, keep, drop);
    }
}

/// All that the host holds of a store's objects, on whatever threads.
#[derive(Default)]
struct AllHeld(Mutex<Slab<u32>>);

impl AllHeld {
    fn lock(&self) -> MutexGuard<'_, Slab<u32>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// What the host holds of a store's objects: it stays as long as this does.
pub(crate) struct Held {
    bits: u32,
    place: usize,
    all: Arc<AllHeld>,
}

impl Held {
    /// The reference.
    pub(crate) fn bits(&self) -> u32 {
        self.bits
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.lock().remove(self.place);
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.bits)
    }
}

/// Why there is no object.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoObject {
    #[error("a struct or array is larger than a store's heap can be, which is {MAX_BYTES} bytes")]
    TooLarge,
    #[error("there is no room for a struct or array in the store's heap, which may not grow")]
    NoRoom,
    #[error("cancelled")]
    Cancelled,
}

impl Store {
    /// Lets the store have objects.
    pub(crate) fn prepare_objects(&mut self, settings: ObjectSettings) -> std::io::Result<()> {
        if self.objects.is_none() {
            let objects = Objects::new(settings)?;
            self.machine.heap = objects.heap.start();
            self.machine.cells = objects.heap.cells();
            self.objects = Some(Box::new(objects));
        }
        Ok(())
    }

    /// Keeps an object, to which this is a reference, as long as the answer is kept somewhere.
    pub(crate) fn hold(&self, bits: u32) -> Held {
        self.objects.as_ref().expect("there are objects").hold(bits)
    }

    /// The bytes of an object of a type, with so many elements if that is an array.
    pub(crate) fn size_of_object(layout: &ObjectLayout, len: u32) -> Option<usize> {
        let size = match layout {
            ObjectLayout::None => unreachable!("validated: functions are no objects"),
            ObjectLayout::Struct { size, .. } => *size as usize,
            ObjectLayout::Array { shift, .. } => FIELDS as usize + ((len as usize) << shift),
        };
        (size <= MAX_BYTES / 2).then_some(size)
    }

    /// Makes an object, whose fields are zero and null.
    ///
    /// # Safety
    ///
    /// As for [`Self::collect_at`]; the store must [have objects](Self::prepare_objects), and the type,
    /// which is not of functions, must live as long as it.
    ///
    /// # Errors
    ///
    /// When there is no room.
    ///
    /// # Panics
    ///
    /// As for [`Self::collect`].
    pub(crate) unsafe fn new_object(
        this: *mut Self,
        ty: *const VMType,
        len: u32,
        pace: &mut Pace<'_>,
        may_collect: bool,
    ) -> Result<u32, NoObject> {
        // SAFETY: by contract; no borrow is held when the pace may suspend.
        unsafe {
            let size = Self::size_of_object(&(*ty).layout, len).ok_or(NoObject::TooLarge)?;
            let place = Self::place(this, size, pace, may_collect)?;
            let heap = Self::heap(this);
            for block in 0..place.unclean {
                pace.spend(PER_BLOCK).map_err(|_| NoObject::Cancelled)?;
                (*heap).clean(place, block);
            }
            Ok((*heap).finish(place, ty, len))
        }
    }

    /// # Safety
    ///
    /// The store must be live, and have objects.
    unsafe fn heap(this: *mut Self) -> *mut Heap {
        // SAFETY: by contract.
        unsafe { &raw mut (*this).objects.as_deref_mut().expect("it has objects").heap }
    }

    /// # Safety
    ///
    /// As for [`Self::new_object`].
    unsafe fn place(
        this: *mut Self,
        size: usize,
        pace: &mut Pace<'_>,
        may_collect: bool,
    ) -> Result<Place, NoObject> {
        // SAFETY: by contract; no borrow is held when the pace or the limiter may suspend.
        unsafe {
            let heap = Self::heap(this);
            let mut collected = !may_collect;
            loop {
                if !collected && (*heap).is_full(size) {
                    Self::collect_at(this, pace).map_err(|_| NoObject::Cancelled)?;
                    collected = true;
                }
                if let Some(place) = (*heap).place(size) {
                    return Ok(place);
                }
                if Self::grow_heap(this, size, pace)? {
                    continue;
                }
                if collected {
                    return Err(NoObject::NoRoom);
                }
                Self::collect_at(this, pace).map_err(|_| NoObject::Cancelled)?;
                collected = true;
            }
        }
    }

    /// Lets the heap have room for an object of so many bytes, if it may.
    ///
    /// # Safety
    ///
    /// As for [`Self::new_object`].
    unsafe fn grow_heap(this: *mut Self, size: usize, pace: &Pace<'_>) -> Result<bool, NoObject> {
        // SAFETY: by contract; no borrow is held when the limiter is asked.
        unsafe {
            let heap = Self::heap(this);
            let (current, growth) = ((*heap).size(), (*heap).growth_for(size));
            if !(*heap).can_grow(growth) {
                return Ok(false);
            }
            if let Some(hooks) = (*this).limiter {
                let growth = Growth {
                    resource: Resource::Memory,
                    current,
                    desired: current + growth,
                    maximum: None,
                };
                let permits = (hooks.permits)(this, pace.suspender(), growth);
                if !permits.map_err(|_| NoObject::Cancelled)? {
                    return Ok(false);
                }
            }
            (*heap).grow(growth);
            Ok(true)
        }
    }
}

impl NoObject {
    /// What becomes of the guest.
    ///
    /// # Safety
    ///
    /// As for [`Store::trap`].
    pub(super) unsafe fn unwind(self, store: *mut Store) -> Box<Unwind> {
        match self {
            // SAFETY: by contract.
            Self::TooLarge => unsafe { Store::trap(store, TrapCode::AllocationTooLarge) },
            // SAFETY: by contract.
            Self::NoRoom => unsafe { Store::trap(store, TrapCode::HeapExhausted) },
            Self::Cancelled => Box::new(Unwind::Cancelled),
        }
    }
}
