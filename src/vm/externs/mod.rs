//! The collected heap: values of the host that guests refer to by index.
//!
//! A value has one entry, however often it is passed, and the entry counts as one reference to it.
//! Entries are never moved. What no guest can reach any more goes at a collection
//! (`vm/collect/`), after which its index serves another value: an index means something only as
//! long as it is where a collection finds it. Between a conversion to an index and the moment that
//! wasm or a table has it, nothing may collect.

mod addresses;

use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use addresses::Addresses;
pub(crate) use addresses::ByAddress;

use super::layout::MAX_EXTERNS;
use super::slab::Slab;

/// A value of the host.
pub(crate) type Value = Arc<dyn Any + Send + Sync>;

/// Below so many entries there is no collection unless it is asked for.
const MIN_THRESHOLD: usize = 256;

/// How much a collection may have looked at, in words of tables, for each entry that may be made
/// before the next one.
///
/// A guest picks how large its tables are and how deep its stack is. So each new reference pays for
/// a bounded part of the next collection, whatever it picked.
const WORK_PER_ENTRY: usize = 64;

/// How many entries a guest makes before it lets others run. One takes 100 to 300 ns, its value and the
/// memory of both included, while the host call that it comes from may cost a unit of fuel.
const BATCH: usize = 64;

/// More values than references can tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the guests of a store hold {MAX_EXTERNS} references to values of the host, which is the limit"
)]
pub(crate) struct Full;

/// Values of the host by index; zero is null.
pub(crate) struct Externs {
    /// The value of index 1 comes first.
    values: Slab<Value>,
    /// How many entries may be in use before the next collection.
    threshold: usize,
    /// How many may be in use before the guest that makes them lets others run; `threshold` at the
    /// most, so that this is all that has to be looked at.
    pause: usize,
    /// The index of each value by its address.
    by_address: Addresses,
}

impl Default for Externs {
    fn default() -> Self {
        Self {
            values: Slab::default(),
            threshold: MIN_THRESHOLD,
            pause: BATCH,
            by_address: Addresses::default(),
        }
    }
}

impl Externs {
    /// The index of a value, which gets one if it has none.
    #[inline]
    pub(crate) fn index(&mut self, value: &Value) -> Result<u32, Full> {
        if let Some(index) = self.by_address.get(address(value)) {
            return Ok(index);
        }
        self.insert(value.clone())
    }

    fn insert(&mut self, value: Value) -> Result<u32, Full> {
        let index = u32::try_from(self.values.vacant() + 1).map_err(|_| Full)?;
        if index > MAX_EXTERNS {
            return Err(Full);
        }
        self.by_address.insert(address(&value), index);
        self.values.insert(value);
        Ok(index)
    }

    /// The value at an index; none at zero.
    ///
    /// # Panics
    ///
    /// Panics if the index has no value: no guest can come by such a one.
    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&Value> {
        let value = self.values.at((index as usize).checked_sub(1)?);
        Some(value.unwrap_or_else(|| panic!("internal error: reference {index} was collected")))
    }

    /// Whether there should be a collection before so many more values get an entry.
    #[inline]
    pub(crate) fn is_full(&self, more: usize) -> bool {
        self.values.used() + more > self.threshold
    }

    /// Whether a guest should let others run, or collect, before so many more values get an entry.
    #[inline]
    pub(super) fn is_busy(&self, more: usize) -> bool {
        self.values.used() + more > self.pause
    }

    /// Others have run.
    pub(super) fn begin_batch(&mut self) {
        self.pause = self.threshold.min(self.used() + BATCH);
    }

    /// How many values have an entry.
    pub(super) fn used(&self) -> usize {
        self.values.used()
    }

    /// Marks for a collection, none set.
    pub(super) fn marks(&self) -> Marks {
        Marks { bits: vec![0; self.values.len().div_ceil(64)], work: 0 }
    }

    /// How many entries there are, used or free.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Begins to free the entries that are not marked. All of them are then to be
    /// [swept](Self::sweep); until that is done there are fewer free entries than there could be.
    pub(super) fn begin_sweep(&mut self) {
        // Should it be cancelled there may be far fewer than there were.
        self.pause = 0;
        self.values.begin_sweep();
    }

    /// Frees the entries of a range that are not marked and answers their values. Ranges come backwards.
    pub(super) fn sweep(&mut self, marks: &Marks, range: Range<usize>) -> Garbage {
        let mut garbage = Vec::new();
        let Self { values, by_address, .. } = self;
        values.sweep(
            range,
            |place, _| marks.is_set(place),
            |value| {
                by_address.remove(address(&value));
                garbage.push(value);
            },
        );
        Garbage(garbage)
    }

    /// Decides when there is to be a collection again, after one that looked at so many words and
    /// entries.
    pub(super) fn end_sweep(&mut self, work: usize) {
        self.threshold = MIN_THRESHOLD.max(2 * self.used()).max(work / WORK_PER_ENTRY);
        self.begin_batch();
    }

    /// The parts of the table by address, each of which can be [made smaller](Self::shrink).
    pub(super) fn parts(&self) -> usize {
        self.by_address.parts()
    }

    /// Gives memory of a part back that it no longer needs.
    pub(super) fn shrink(&mut self, part: usize) {
        self.by_address.shrink(part);
    }

    /// Gives the table's own memory back when all its parts [have](Self::shrink) and there are no values.
    pub(super) fn end_shrinking(&mut self) {
        if self.used() == 0 {
            self.by_address.clear();
        }
    }
}

impl Drop for Externs {
    fn drop(&mut self) {
        drop(Garbage(self.values.drain().collect()));
    }
}

/// What tells values apart.
fn address(value: &Value) -> usize {
    Arc::as_ptr(value).cast::<()>() as usize
}

/// What a collection has found.
#[derive(Default)]
pub(super) struct Marks {
    bits: Vec<u64>,
    work: usize,
}

impl Marks {
    /// Notes a root: an index, or zero for null.
    #[inline]
    pub(super) fn mark(&mut self, index: u32) {
        if let Some(place) = (index as usize).checked_sub(1) {
            self.bits[place / 64] |= 1 << (place % 64);
        }
    }

    /// Notes what may be a root, or anything else.
    pub(super) fn mark_if_any(&mut self, index: u32) {
        if (index as usize).div_ceil(64) <= self.bits.len() {
            self.mark(index);
        }
    }

    /// Notes what looking for roots took, in words of tables.
    pub(super) fn count(&mut self, words: usize) {
        self.work += words;
    }

    pub(super) fn work(&self) -> usize {
        self.work
    }

    fn is_set(&self, place: usize) -> bool {
        self.bits[place / 64] & (1 << (place % 64)) != 0
    }
}

/// Values that nobody refers to any more.
///
/// Their drop code is the embedder's: it may do anything, and all of it runs even where some of it
/// panics. The first panic goes on afterwards.
#[must_use = "dropping it runs code of the embedder's"]
pub(super) struct Garbage(Vec<Value>);

impl Drop for Garbage {
    fn drop(&mut self) {
        let mut first = None;
        for value in self.0.drain(..) {
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
                // A payload may panic when it is dropped, too.
                match first {
                    None => first = Some(payload),
                    Some(_) => std::mem::forget(payload),
                }
            }
        }
        if let Some(payload) = first
            && !std::thread::panicking()
        {
            resume_unwind(payload);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sweep(externs: &mut Externs, marks: &Marks) {
        let len = externs.len();
        externs.begin_sweep();
        for start in (0..len).step_by(100).rev() {
            drop(externs.sweep(marks, start..(start + 100).min(len)));
        }
        externs.end_sweep(marks.work() + len);
        (0..externs.parts()).for_each(|part| externs.shrink(part));
        externs.end_shrinking();
    }

    fn value(number: u32) -> Value {
        Arc::new(number)
    }

    #[test]
    fn a_value_has_one_entry_until_it_is_collected() {
        let mut externs = Externs::default();
        let (one, two) = (value(1), value(2));
        assert_eq!((externs.index(&one), externs.index(&two)), (Ok(1), Ok(2)));
        assert_eq!((externs.index(&one), Arc::strong_count(&one)), (Ok(1), 2));
        let mut marks = externs.marks();
        marks.mark(2);
        marks.mark(0);
        sweep(&mut externs, &marks);
        assert_eq!((Arc::strong_count(&one), Arc::strong_count(&two)), (1, 2));
        assert_eq!(externs.used(), 1);
        let three = value(3);
        assert_eq!(externs.index(&three), Ok(1), "free indexes are used again");
        assert_eq!((externs.index(&one), externs.index(&two)), (Ok(3), Ok(2)));
        assert!(Arc::ptr_eq(externs.get(1).unwrap(), &three));
        assert!(externs.get(0).is_none());
    }

    #[test]
    fn the_end_is_given_back() {
        let mut externs = Externs::default();
        for number in 0..100_000 {
            externs.index(&value(number)).unwrap();
        }
        let mut marks = externs.marks();
        marks.mark(7);
        sweep(&mut externs, &marks);
        assert_eq!((externs.len(), externs.used()), (7, 1));
        assert!(externs.by_address.capacity() <= 8 * externs.threshold);
        let indexes: Vec<_> = (0..7).map(|_| externs.index(&value(0)).unwrap()).collect();
        assert_eq!(indexes, [1, 2, 3, 4, 5, 6, 8], "low indexes first");
    }

    #[test]
    fn the_threshold_follows_what_is_live_and_what_was_looked_at() {
        let mut externs = Externs::default();
        assert!(!externs.is_full(MIN_THRESHOLD) && externs.is_full(MIN_THRESHOLD + 1));
        let mut marks = externs.marks();
        marks.count(1_000_000);
        sweep(&mut externs, &marks);
        assert_eq!(externs.threshold, 1_000_000 / WORK_PER_ENTRY);
        let values: Vec<_> = (0..1000).map(value).collect();
        let indexes: Vec<_> = values.iter().map(|value| externs.index(value).unwrap()).collect();
        let mut marks = externs.marks();
        indexes.iter().for_each(|&index| marks.mark(index));
        sweep(&mut externs, &marks);
        assert_eq!(externs.threshold, 2000);
        let marks = externs.marks();
        sweep(&mut externs, &marks);
        assert_eq!((externs.threshold, externs.used()), (MIN_THRESHOLD, 0));
    }
}
