//! Exceptions of guests: what they are, and which of them a store has.
//!
//! Each has an entry in its store from the moment at which it is thrown (`raise.rs`), and an `exnref` is
//! the number of that. It refers to what its values are by their references, as an object does, and
//! a collection follows them as it follows an object's. Until a guest gets an `exnref` nobody but
//! the thrower has it, and its entry goes when it has landed; later it goes at a collection, if no guest
//! can reach it and the host does not hold it, which is when nobody shares it with the entry.

mod raise;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(super) use raise::{throw, throw_ref};

use super::layout::{Reference, ValRaw};
use super::slab::{Pieces, Slab};
use super::store::{Store, StoreId};
use crate::types::{FuncType, ValType};

/// The most bytes that the exceptions of a store may take when a collection is over: guests make them,
/// and keep them. Before the next one they are twice as many at the most.
const MAX_BYTES: usize = 16 << 20;

/// Below so many bytes of exceptions nothing is collected for their sake.
const MIN_THRESHOLD: usize = 1 << 20;

/// The guests of a store hold more exceptions than they may.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the exceptions of a store's guests take more than {MAX_BYTES} bytes, which is the limit")]
pub(super) struct TooMany;

/// An exception.
#[derive(Debug)]
pub(crate) struct Thrown {
    store: StoreId,
    /// The place of its tag in the store.
    tag: u32,
    /// The place of its entry, which it has as long as the store and somebody else have it.
    entry: u32,
    /// Whether guests may have references to it.
    is_named: AtomicBool,
    values: Box<[ValRaw]>,
}

impl Thrown {
    /// The store, and the place of the tag in it.
    pub(crate) fn tag(&self) -> (StoreId, u32) {
        (self.store, self.tag)
    }

    /// Its values with their types; `ty` is the type of the tag. They are the store's, as it is now.
    pub(crate) fn values<'v>(
        &'v self,
        ty: &'v FuncType,
    ) -> impl Iterator<Item = (ValType, ValRaw)> + 'v {
        ty.params().zip(self.values.iter().copied())
    }

    /// The reference to it that guests of its store have. From now on its entry waits for a collection.
    pub(crate) fn reference(&self) -> Reference {
        // Who looks at it has the store.
        self.is_named.store(true, Ordering::Relaxed);
        Reference::Exception(self.entry)
    }

    fn bytes(&self) -> usize {
        // The allocator's share and the entry take about as much as the rest.
        2 * size_of::<Self>() + size_of_val(&*self.values)
    }
}

/// The tags and exceptions of a store.
#[derive(Default)]
pub(crate) struct Exceptions {
    /// The type of each tag; its parameters are the values of its exceptions.
    pub(crate) tags: Vec<Arc<FuncType>>,
    /// What landing blocks take their values from, before anything else happens.
    landing: Vec<ValRaw>,
    thrown: Slab<Arc<Thrown>>,
    /// What they take.
    bytes: usize,
    /// At how many bytes there is a collection.
    threshold: usize,
}

impl Exceptions {
    /// A new exception.
    fn add(&mut self, store: StoreId, tag: u32, values: Box<[ValRaw]>) -> Arc<Thrown> {
        let entry = self.thrown.vacant() as u32;
        let is_named = AtomicBool::new(false);
        let thrown = Arc::new(Thrown { store, tag, entry, is_named, values });
        self.bytes += thrown.bytes();
        self.thrown.insert(thrown.clone());
        thrown
    }

    /// The exception of a guest's reference.
    pub(crate) fn get(&self, entry: u32) -> Arc<Thrown> {
        let thrown = self.thrown.at(entry as usize);
        thrown.expect("no guest has a reference to what was collected").clone()
    }

    /// Lets go of an exception that was under way, and is over if no guest has a reference to it.
    pub(crate) fn let_go(&mut self, thrown: Arc<Thrown>) {
        if !thrown.is_named.load(Ordering::Relaxed) {
            self.thrown.remove(thrown.entry as usize);
            self.bytes -= thrown.bytes();
        }
    }

    /// Whether there should be a collection before a guest gets a reference to one more.
    fn is_due(&self) -> bool {
        self.bytes > self.threshold.max(MIN_THRESHOLD)
    }

    /// How many entries there are, used or free.
    pub(super) fn len(&self) -> usize {
        self.thrown.len()
    }

    /// How many there are.
    pub(super) fn used(&self) -> usize {
        self.thrown.used()
    }

    /// Marks for a collection, none set.
    pub(super) fn marks(&self) -> Marks {
        Marks { bits: vec![0; self.len().div_ceil(64)], todo: Pieces::default() }
    }

    /// Marks those of a range that somebody has who is no guest.
    pub(super) fn mark_held(&self, marks: &mut Marks, range: Range<usize>) {
        for place in range {
            let is_held = self.thrown.at(place).is_some_and(|it| Arc::strong_count(it) > 1);
            if is_held {
                marks.mark(self, place as u32);
            }
        }
    }

    /// As for [`Slab::begin_sweep`].
    pub(super) fn begin_sweep(&mut self) {
        self.thrown.begin_sweep();
    }

    /// Drops those of a range that are not marked. Ranges come backwards.
    pub(super) fn sweep(&mut self, marks: &Marks, range: Range<usize>) {
        let Self { thrown, bytes, .. } = self;
        thrown.sweep(range, |place, _| marks.is_set(place), |gone| *bytes -= gone.bytes());
    }

    /// Decides when there is to be a collection again, after one that looked at so many words: a guest
    /// picks how large its tables are, and makes as many bytes before they are looked at again.
    pub(super) fn end_sweep(&mut self, work: usize) {
        self.threshold = (2 * self.bytes).max(work.min(MAX_BYTES));
    }
}

/// What a collection has found of a store's exceptions, and what it still has to look into.
#[derive(Default)]
pub(super) struct Marks {
    bits: Vec<u64>,
    todo: Pieces<u32>,
}

impl Marks {
    /// Notes what may be the entry of an exception, or anything else.
    pub(super) fn mark(&mut self, exceptions: &Exceptions, entry: u32) {
        let place = entry as usize;
        let is_one = place < exceptions.len() && exceptions.thrown.at(place).is_some();
        if is_one && !self.is_set(place) {
            self.bits[place / 64] |= 1 << (place % 64);
            self.todo.push(entry);
        }
    }

    /// Calls `see` with each reference of an exception that is marked. Answers how many values it has, or
    /// `None` when all have been looked into.
    pub(super) fn follow(
        &mut self,
        exceptions: &Exceptions,
        mut see: impl FnMut(&mut Self, u32),
    ) -> Option<usize> {
        let thrown = exceptions.thrown.at(self.todo.pop()? as usize).expect("it is marked");
        for (ty, value) in thrown.values(&exceptions.tags[thrown.tag as usize]) {
            if ty.is_collected() {
                see(self, value.to_u64() as u32);
            }
        }
        Some(thrown.values.len())
    }

    fn is_set(&self, place: usize) -> bool {
        self.bits[place / 64] & (1 << (place % 64)) != 0
    }
}

impl Store {
    /// A new tag for exceptions with values as the parameters of `ty`.
    pub(crate) fn add_tag(&mut self, ty: Arc<FuncType>) -> usize {
        let tags = &mut self.exceptions.get_or_insert_default().tags;
        tags.push(ty);
        tags.len() - 1
    }
}
