//! Growth that an embedder's limiter may refuse.
//!
//! A limiter needs the embedder's data, which this module knows nothing of: what asks it is a pair
//! of functions made for the data's type, which find it by the store's address.

use std::fmt;
use std::time::Instant;

use lampwick_fibers::{Cancelled, Suspender};

use super::activation::Unwind;
use super::pace::Pace;
use super::store::Store;
use super::table::RawRef;
use crate::types::{MemoryType, TableType};

/// What can grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    /// Sizes are in bytes.
    Memory,
    /// Sizes are in elements.
    Table,
}

/// A growth that is wanted. The making of a thing is a growth from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Growth {
    pub(crate) resource: Resource,
    pub(crate) current: usize,
    pub(crate) desired: usize,
    /// What the type allows, if it says so.
    pub(crate) maximum: Option<usize>,
}

impl Growth {
    /// From `current` pages.
    fn of_memory(ty: &MemoryType, current: u64, desired: u64) -> Self {
        let bytes = |pages: u64| usize::try_from(ty.bytes(pages)).unwrap_or(usize::MAX);
        Self {
            resource: Resource::Memory,
            current: bytes(current),
            desired: bytes(desired),
            maximum: ty.maximum().map(bytes),
        }
    }

    /// From `current` elements. A limiter sees the sizes of tables as 32-bit numbers.
    fn of_table(current: u64, desired: u64, maximum: Option<u64>) -> Self {
        let elements = |count: u64| count.min(u32::MAX.into()) as usize;
        Self {
            resource: Resource::Table,
            current: elements(current),
            desired: elements(desired),
            maximum: maximum.map(elements),
        }
    }

    /// The making of a memory.
    pub(crate) fn to_new_memory(ty: &MemoryType) -> Self {
        Self::of_memory(ty, 0, ty.minimum())
    }

    /// The making of a table.
    pub(crate) fn to_new_table(ty: &TableType) -> Self {
        Self::of_table(0, ty.minimum64(), ty.maximum64())
    }
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { current, desired, .. } = self;
        match self.resource {
            Resource::Memory => write!(f, "a memory from {current} to {desired} bytes"),
            Resource::Table => write!(f, "a table from {current} to {desired} elements"),
        }
    }
}

/// How a store's limiter is asked.
#[derive(Clone, Copy)]
pub(crate) struct LimiterHooks {
    /// Whether a growth may be; may suspend the fiber.
    ///
    /// Called on the fiber of the suspender, with nothing of the store borrowed.
    pub(crate) permits: unsafe fn(*mut Store, &Suspender, Growth) -> Result<bool, Cancelled>,
    /// Tells that a growth failed that was permitted. Called with nothing of the store borrowed.
    pub(crate) failed: unsafe fn(*mut Store, Resource, &anyhow::Error),
}

/// Bytes that an element takes at the most.
const ELEMENT: usize = size_of::<RawRef>();

/// What `memory.grow` and `table.grow` answer when they fail.
const FAILED: u64 = u64::MAX;

impl Store {
    /// The growth of a memory by `delta` pages, from what it is now.
    pub(crate) fn memory_growth(&self, index: u32, delta: u64) -> Growth {
        let memory = &self.memories[index as usize].value;
        let desired = memory.pages().saturating_add(delta);
        Growth::of_memory(&memory.ty(), memory.pages(), desired)
    }

    /// The growth of a table by `delta` elements, from what it is now.
    pub(crate) fn table_growth(&self, index: u32, delta: u64) -> Growth {
        let table = &self.tables[index as usize].value;
        let len = table.len() as u64;
        Growth::of_table(len, len.saturating_add(delta), table.ty().maximum64())
    }

    /// A guest's `memory.grow`.
    ///
    /// # Safety
    ///
    /// As for [`Self::permit`].
    pub(super) unsafe fn guest_grows_memory(
        this: *mut Self,
        index: u32,
        delta: u64,
    ) -> Result<u64, Box<Unwind>> {
        // SAFETY: by contract; no borrow of the store is held when the limiter is asked or told.
        unsafe {
            // Before the limiter is asked: what it permits is done at once.
            Self::took(this, 0)?;
            if (&(*this).memories)[index as usize].value.moves_much(delta) {
                // In a poll of its own, but for what the guest computed.
                Self::rest(this)?;
            }
            if delta > 0 && !Self::permit(this, |store| store.memory_growth(index, delta))? {
                return Ok(FAILED);
            }
            Self::timed(this, || match (*this).grow_memory(index, delta) {
                Ok(old) => Ok(old),
                Err(error) => Ok(Self::grow_failed(this, Resource::Memory, || error.report())),
            })
        }
    }

    /// A guest's `table.grow`.
    ///
    /// # Safety
    ///
    /// As for [`Self::permit`].
    pub(super) unsafe fn guest_grows_table(
        this: *mut Self,
        index: u32,
        delta: u64,
        init: RawRef,
    ) -> Result<u64, Box<Unwind>> {
        // SAFETY: as above.
        unsafe {
            Self::took(this, 0)?;
            if delta > 0 && !Self::permit(this, |store| store.table_growth(index, delta))? {
                return Ok(FAILED);
            }
            Self::timed(this, || Self::grow_table_in_parts(this, index, delta, init))
        }
    }

    /// # Safety
    ///
    /// As for [`Self::permit`].
    unsafe fn grow_table_in_parts(
        this: *mut Self,
        index: u32,
        delta: u64,
        init: RawRef,
    ) -> Result<u64, Box<Unwind>> {
        // SAFETY: by contract; each borrow ends before the pace suspends.
        unsafe {
            let old = match (*this).change_table(index, |table| table.begin_growth(delta)) {
                Ok(old) => old,
                Err(error) => {
                    return Ok(Self::grow_failed(this, Resource::Table, || error.report()));
                }
            };
            let suspender = &*(*(*this).activation).suspender;
            let unprepared = (&(*this).tables)[index as usize].value.unprepared(old, init, delta);
            let prepared = Pace::new(suspender).parts(unprepared, ELEMENT, |start, len| {
                let table = &mut (&mut (*this).tables)[index as usize].value;
                table.prepare(old + start as u64, init, len as u64);
            });
            if let Err(cancelled) = prepared {
                Self::grow_failed(this, Resource::Table, || cancelled.into());
                return Err(Box::new(Unwind::Cancelled));
            }
            (*this).change_table(index, |table| table.end_growth(delta));
            Ok(old)
        }
    }

    /// Asks the limiter, if there is one, for as long as the growth is another than it was asked
    /// about: what it permitted before a suspension must still be what is done after it.
    ///
    /// # Safety
    ///
    /// Must be called on a fiber, by a builtin that wasm called. The fiber may suspend: nothing of
    /// the store may be borrowed.
    unsafe fn permit(
        this: *mut Self,
        growth: impl Fn(&Self) -> Growth,
    ) -> Result<bool, Box<Unwind>> {
        // SAFETY: each borrow ends before the limiter is asked; the activation is live since its
        // wasm called us.
        unsafe {
            let Some(hooks) = (*this).limiter else { return Ok(true) };
            let suspender = &*(*(*this).activation).suspender;
            loop {
                let asked = growth(&*this);
                let answer = (hooks.permits)(this, suspender, asked);
                if !answer.map_err(|_cancelled| Box::new(Unwind::Cancelled))? {
                    return Ok(false);
                }
                if growth(&*this) == asked {
                    return Ok(true);
                }
            }
        }
    }

    /// Grows something, and takes note of how long that was: a guest pays for growth by its size, however
    /// often it asks for a little.
    ///
    /// # Safety
    ///
    /// As for [`Self::permit`].
    unsafe fn timed(
        this: *mut Self,
        grow: impl FnOnce() -> Result<u64, Box<Unwind>>,
    ) -> Result<u64, Box<Unwind>> {
        // SAFETY: by contract.
        unsafe {
            let start = Instant::now();
            let old = grow()?;
            let nanoseconds = u32::try_from(start.elapsed().as_nanos()).unwrap_or(u32::MAX);
            (*this).held = (*this).held.saturating_add(nanoseconds);
            Ok(old)
        }
    }

    /// # Safety
    ///
    /// Nothing of the store may be borrowed.
    unsafe fn grow_failed(
        this: *mut Self,
        resource: Resource,
        report: impl FnOnce() -> anyhow::Error,
    ) -> u64 {
        // SAFETY: by contract.
        unsafe {
            if let Some(hooks) = (*this).limiter {
                (hooks.failed)(this, resource, &report());
            }
        }
        FAILED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_saturate() {
        let growth = Growth::of_memory(&MemoryType::new64(0, Some(u64::MAX)), 1, u64::MAX);
        assert_eq!((growth.current, growth.desired), (1 << 16, usize::MAX));
        assert_eq!(growth.maximum, Some(usize::MAX));
        let growth = Growth::of_table(1, 1 << 40, None);
        assert_eq!((growth.current, growth.desired), (1, u32::MAX as usize));
    }
}
