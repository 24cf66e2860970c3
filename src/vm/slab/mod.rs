//! Things by number, which stay where they are.

mod pieces;

use std::ops::Range;

pub(super) use pieces::Pieces;

enum Entry<T> {
    Used(T),
    /// One more than the place of the next free entry, or zero.
    Free(u32),
}

/// A list with gaps, which are filled first. A [sweep](Self::sweep) empties places, and gives the end of the
/// list back if that is empty.
pub(super) struct Slab<T> {
    entries: Pieces<Entry<T>>,
    /// One more than the place of the first free entry, or zero.
    free: u32,
    used: usize,
    /// Places below are still to be swept, which finds those that are free.
    unswept: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { entries: Pieces::default(), free: 0, used: 0, unswept: 0 }
    }
}

impl<T> Slab<T> {
    /// How many entries there are, used or free.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many are used.
    #[inline]
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// The place that what is [inserted](Self::insert) next will have.
    #[inline]
    pub(super) fn vacant(&self) -> usize {
        match self.free {
            0 => self.entries.len(),
            free => free as usize - 1,
        }
    }

    /// Puts something into the [vacant](Self::vacant) place, which must be less than `u32::MAX`.
    pub(super) fn insert(&mut self, value: T) {
        self.used += 1;
        if self.free == 0 {
            return self.entries.push(Entry::Used(value));
        }
        let entry = self.entries.at_mut(self.free as usize - 1);
        let Entry::Free(next) = *entry else { unreachable!("the list is of free entries") };
        self.free = next;
        *entry = Entry::Used(value);
    }

    /// What is in a place, if that is used.
    ///
    /// # Panics
    ///
    /// Panics if there never was such a place.
    #[inline]
    pub(super) fn at(&self, place: usize) -> Option<&T> {
        match self.entries.at(place) {
            Entry::Used(value) => Some(value),
            Entry::Free(_) => None,
        }
    }

    /// Empties a place.
    ///
    /// # Panics
    ///
    /// As for [`Self::at`].
    pub(super) fn remove(&mut self, place: usize) -> Option<T> {
        let entry = self.entries.at_mut(place);
        if matches!(entry, Entry::Free(_)) {
            return None;
        }
        let former = std::mem::replace(entry, Entry::Free(self.free));
        if place >= self.unswept {
            self.free = place as u32 + 1;
        }
        self.used -= 1;
        match former {
            Entry::Used(value) => Some(value),
            Entry::Free(_) => unreachable!("it was used"),
        }
    }

    /// Begins to look at all places anew, each of which is then to be [swept](Self::sweep); until that
    /// is done there are fewer free entries than there could be.
    pub(super) fn begin_sweep(&mut self) {
        self.free = 0;
        self.unswept = self.len();
    }

    /// Empties the places of a range that nobody wants to keep, and hands `gone` what was there. What is
    /// left of the range by earlier sweeps comes backwards, so that low places are used first and the
    /// end can be given back.
    pub(super) fn sweep(
        &mut self,
        range: Range<usize>,
        mut keep: impl FnMut(usize, &T) -> bool,
        mut gone: impl FnMut(T),
    ) {
        self.unswept = range.start;
        for place in range.rev() {
            if matches!(self.entries.at(place), Entry::Used(value) if keep(place, value)) {
                continue;
            }
            let is_last = place + 1 == self.entries.len();
            let former = std::mem::replace(self.entries.at_mut(place), Entry::Free(self.free));
            if let Entry::Used(value) = former {
                self.used -= 1;
                gone(value);
            }
            if is_last {
                self.entries.pop();
            } else {
                self.free = place as u32 + 1;
            }
        }
    }

    /// All that is there, at once.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = T> {
        (self.free, self.used, self.unswept) = (0, 0, 0);
        self.entries.drain().filter_map(|entry| match entry {
            Entry::Used(value) => Some(value),
            Entry::Free(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(slab: &mut Slab<usize>, value: usize) -> usize {
        let place = slab.vacant();
        slab.insert(value);
        assert_eq!(slab.at(place), Some(&value));
        place
    }

    #[test]
    fn places_are_used_again() {
        let mut slab = Slab::default();
        assert_eq!([5, 6, 7].map(|value| insert(&mut slab, value)), [0, 1, 2]);
        assert_eq!((slab.remove(1), slab.remove(1), slab.at(1)), (Some(6), None, None));
        assert_eq!((slab.len(), slab.used()), (3, 2));
        assert_eq!([8, 9].map(|value| insert(&mut slab, value)), [1, 3]);
        assert_eq!(slab.drain().collect::<Vec<_>>(), [5, 8, 7, 9]);
        assert_eq!((slab.len(), slab.used(), insert(&mut slab, 1)), (0, 0, 0));
    }

    #[test]
    fn places_may_be_emptied_in_the_midst_of_a_sweep() {
        let mut slab = Slab::default();
        (0..3_000).for_each(|value| slab.insert(value));
        slab.begin_sweep();
        slab.sweep(2_000..3_000, |_, _| true, drop);
        assert_eq!([5, 2_500, 2_999].map(|place| slab.remove(place).is_some()), [true; 3]);
        slab.sweep(0..2_000, |_, _| true, drop);
        let places = [(); 4].map(|()| insert(&mut slab, 1));
        assert_eq!(places, [5, 2_999, 2_500, 3_000]);
    }

    #[test]
    fn a_sweep_takes_what_is_not_kept_and_the_end() {
        let mut slab = Slab::default();
        (0..5_000).for_each(|value| slab.insert(value));
        slab.remove(20);
        slab.begin_sweep();
        let mut gone = Vec::new();
        for range in [3_000..5_000, 0..3_000] {
            slab.sweep(range, |place, _| place < 10 || place == 30, |value| gone.push(value));
        }
        gone.sort_unstable();
        let expected: Vec<_> = (10..5_000).filter(|value| ![20, 30].contains(value)).collect();
        assert_eq!((gone, slab.len(), slab.used()), (expected, 31, 11));
        assert_eq!([(); 3].map(|()| insert(&mut slab, 1)), [10, 11, 12], "low places first");
    }
}
