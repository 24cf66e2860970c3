//! A store's fuel: what is left, what was consumed, what happens when a slice is gone.
//!
//! Machine code counts `VMStore::fuel` down, a signed number. Fuel that does not fit it waits in
//! `reserve`. What was consumed is `base` plus what the counter lost since it was last filled.

/// The most that the counter holds at a time.
const COUNTER_MAX: u64 = (i64::MAX as u64) / 2;

/// What a refill came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Refill {
    /// The counter was filled from what the store had.
    Drawn,
    /// A slice was injected, before which the guest has to yield.
    Injected,
    /// There is no fuel.
    Empty,
}

/// The part of a store's fuel that machine code does not touch.
#[derive(Debug, Default)]
pub(crate) struct Fuel {
    /// Fuel that waits to enter the counter.
    reserve: u64,
    /// Fuel consumed up to the last time that `filled` was set.
    base: u64,
    /// What the counter was set to then.
    filled: i64,
    /// How many slices are still to be injected, each behind a yield.
    injections: u64,
    /// The size of each.
    slice: u64,
}

impl Fuel {
    /// All fuel consumed so far.
    pub(crate) fn consumed(&self, counter: i64) -> u64 {
        self.base.saturating_add_signed(self.filled - counter)
    }

    /// What is left without further injections; negative when the last segment overdrew.
    pub(crate) fn remaining(&self, counter: i64) -> i128 {
        i128::from(self.reserve) + i128::from(counter)
    }

    /// Adds fuel.
    pub(crate) fn add(&mut self, counter: &mut i64, fuel: u64) {
        self.reserve = self.reserve.saturating_add(fuel);
        self.fill(counter);
    }

    /// Takes fuel as if the guest had burned it, if less than what remains is asked for. Answers
    /// what then remains.
    pub(crate) fn take(&mut self, counter: &mut i64, fuel: u64) -> Option<u64> {
        let remaining = self.remaining(*counter);
        if i128::from(fuel) >= remaining {
            return None;
        }
        self.base = self.consumed(*counter).saturating_add(fuel);
        let from_reserve = fuel.min(self.reserve);
        self.reserve -= from_reserve;
        // What the reserve does not hold is less than what the counter does.
        *counter -= (fuel - from_reserve) as i64;
        self.filled = *counter;
        Some(u64::try_from(remaining - i128::from(fuel)).unwrap_or(u64::MAX))
    }

    /// Ends injections: when fuel is gone the guest traps.
    pub(crate) fn trap_when_gone(&mut self) {
        self.injections = 0;
    }

    /// Injects `slice` when fuel is gone, up to `injections` times.
    pub(crate) fn inject_when_gone(&mut self, injections: u64, slice: u64) {
        self.injections = injections;
        self.slice = slice;
    }

    /// Raises the counter that fell below zero.
    pub(super) fn refill(&mut self, counter: &mut i64) -> Refill {
        if self.reserve > 0 {
            self.fill(counter);
            Refill::Drawn
        } else if self.injections > 0 {
            self.injections -= 1;
            self.add(counter, self.slice);
            Refill::Injected
        } else {
            Refill::Empty
        }
    }

    /// Moves what fits from the reserve to the counter.
    fn fill(&mut self, counter: &mut i64) {
        self.base = self.consumed(*counter);
        let room = COUNTER_MAX.saturating_add_signed(-*counter);
        let moved = room.min(self.reserve);
        self.reserve -= moved;
        *counter += moved as i64;
        self.filled = *counter;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_fuel_is_accounted_for() {
        let (mut fuel, mut counter) = (Fuel::default(), 0);
        fuel.add(&mut counter, 100);
        counter -= 30;
        assert_eq!((fuel.consumed(counter), fuel.remaining(counter)), (30, 70));
        assert_eq!(fuel.take(&mut counter, 70), None);
        assert_eq!(fuel.take(&mut counter, 69), Some(1));
        assert_eq!(fuel.consumed(counter), 99);
        counter -= 5;
        assert_eq!((fuel.consumed(counter), fuel.remaining(counter)), (104, -4));
        fuel.add(&mut counter, 10);
        assert_eq!((fuel.consumed(counter), fuel.remaining(counter)), (104, 6));
    }

    #[test]
    fn the_counter_never_overflows() {
        let (mut fuel, mut counter) = (Fuel::default(), 0);
        fuel.add(&mut counter, u64::MAX);
        fuel.add(&mut counter, u64::MAX);
        assert!(counter > 0 && fuel.remaining(counter) > i128::from(u64::MAX / 2));
        assert_eq!(fuel.consumed(counter), 0);
        counter = -7;
        assert_eq!(fuel.refill(&mut counter), Refill::Drawn);
        assert!(counter > 0);
        assert_eq!(fuel.consumed(counter), COUNTER_MAX + 7);
    }

    #[test]
    fn injections_are_counted() {
        let (mut fuel, mut counter) = (Fuel::default(), -1);
        fuel.inject_when_gone(2, 10);
        assert_eq!((fuel.refill(&mut counter), counter), (Refill::Injected, 9));
        counter = -1;
        assert_eq!(fuel.refill(&mut counter), Refill::Injected);
        counter = -3;
        assert_eq!(fuel.refill(&mut counter), Refill::Empty);
        assert_eq!(fuel.consumed(counter), 23);
    }
}
