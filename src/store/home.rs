//! Where a store lies: beside the fiber of its first call, or else in a box.
//!
//! A guest's stack is a page of the system's at the least, of which its fiber needs a part. The
//! store takes another part of that page, as its [`Annex`]. What happens to the fiber does not
//! matter to the store: stack and annex have a share in the page each.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};

use lampwick_fibers::{Annex, Resident, StackPool};

use super::StoreInner;

/// A store, owned. Like a box it is one word, and keeps the store where it is.
pub(super) struct Home<T> {
    /// In the annex, if it has one; else leaked by a box.
    place: NonNull<Housed<T>>,
    _owned: PhantomData<Housed<T>>,
}

struct Housed<T> {
    store: StoreInner<T>,
    /// What this lies in.
    annex: Option<Annex>,
}

// SAFETY: a home owns its store, as a box does; an annex is `Send`.
unsafe impl<T> Send for Home<T> where StoreInner<T>: Send {}
// SAFETY: a shared home gives a shared store and nothing else.
unsafe impl<T> Sync for Home<T> where StoreInner<T>: Sync {}

impl<T> Home<T> {
    /// A home for the store that `store` makes, which is given a fiber if one comes with the home.
    ///
    /// Where no stack is to be had, the store's first call will say so.
    pub(super) fn new(
        stacks: &StackPool,
        store: impl FnOnce(Option<Box<Resident>>) -> StoreInner<T>,
    ) -> Self {
        let fits = align_of::<Housed<T>>() <= 16;
        let stack = fits.then(|| stacks.take().ok()).flatten();
        let (stack, annex) = match stack.map(|stack| stack.with_annex(size_of::<Housed<T>>())) {
            Some(Ok((stack, annex))) => (Some(stack), Some(annex)),
            Some(Err(stack)) => (Some(stack), None),
            None => (None, None),
        };
        let start = annex.as_ref().map(Annex::as_ptr);
        let store = store(stack.map(|stack| Box::new(Resident::new(stack))));
        let housed = Housed { store, annex };
        let place = match start {
            None => NonNull::from(Box::leak(Box::new(housed))),
            Some(start) => {
                let place = NonNull::new(start).expect("not at address 0").cast();
                // SAFETY: the annex is ours, large enough, and aligned to 16 bytes.
                unsafe { place.write(housed) };
                place
            }
        };
        Self { place, _owned: PhantomData }
    }

    /// The store, out of its home.
    pub(super) fn into_inner(self) -> StoreInner<T> {
        let place = self.place.as_ptr();
        std::mem::forget(self);
        // SAFETY: `new` made the place in one of two ways, and what owned it is forgotten. The store
        // is taken once; the annex goes afterwards.
        unsafe {
            match (*place).annex.take() {
                None => Box::from_raw(place).store,
                Some(_annex) => ptr::read(&raw const (*place).store),
            }
        }
    }
}

impl<T> Deref for Home<T> {
    type Target = StoreInner<T>;

    #[inline]
    fn deref(&self) -> &StoreInner<T> {
        // SAFETY: the store lives as long as its home, which is borrowed.
        unsafe { &self.place.as_ref().store }
    }
}

impl<T> DerefMut for Home<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut StoreInner<T> {
        // SAFETY: as above; borrowed for this alone.
        unsafe { &mut self.place.as_mut().store }
    }
}

impl<T> Drop for Home<T> {
    fn drop(&mut self) {
        let place = self.place.as_ptr();
        // SAFETY: `new` made the place in one of two ways, and the store is dropped once, here. The
        // annex has its share of the page until this block ends, by whatever panic.
        unsafe {
            match (*place).annex.take() {
                None => drop(Box::from_raw(place)),
                Some(_annex) => ptr::drop_in_place(&raw mut (*place).store),
            }
        }
    }
}
