//! A store's fuel: what is left, what was consumed, what happens when a slice is gone.
//!
//! Machine code counts `VMStore::fuel` down, a signed number. Fuel that does not fit it waits in
//! `reserve`, and so does fuel of later slices where the guest is to yield behind each. What was
//! consumed is `base` plus what the counter lost since it was last filled. What else there may be,
//! tanks and handles, is a [`Supply`].

use std::num::NonZeroU64;

use super::supply::Supply;

/// The most that the counter holds at a time.
const COUNTER_MAX: u64 = (i64::MAX as u64) / 2;

/// What a refill came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Refill {
    /// The counter was filled from what the store had.
    Drawn,
    /// A new slice has begun, before which the guest has to yield.
    Yield,
    /// There is no fuel.
    Empty,
    /// The supply has to be asked.
    Supply,
}

/// What the counter holds at most where there is a handle, so that it is heard: some 10 us. Where a
/// span ends in the midst of a slice nobody but handles can tell; it takes 140 instructions.
const SPAN: u64 = 50_000;

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
    /// The size of the slices that the store's own fuel is cut into, if it is.
    interval: Option<NonZeroU64>,
    /// What the current one of these may still draw from `reserve`.
    room: u64,
    /// How many slices were given, each behind a yield or a wait.
    slices: u64,
    /// Where the store draws or parks, or has a handle.
    supply: Option<Box<Supply>>,
}

impl Fuel {
    /// All fuel consumed so far.
    pub(crate) fn consumed(&self, counter: i64) -> u64 {
        self.base.saturating_add_signed(self.filled - counter)
    }

    /// How many slices were given, each behind a yield or a wait.
    pub(crate) fn slices(&self) -> u64 {
        self.slices
    }

    /// What is left without further injections; negative when the last segment overdrew.
    pub(crate) fn remaining(&self, counter: i64) -> i128 {
        i128::from(self.reserve) + i128::from(counter)
    }

    /// What is left, as a number of units.
    pub(super) fn remaining_units(&self, counter: i64) -> u64 {
        u64::try_from(self.remaining(counter).max(0)).unwrap_or(u64::MAX)
    }

    /// Adds fuel.
    pub(crate) fn add(&mut self, counter: &mut i64, fuel: u64) {
        let remaining = self.remaining_units(*counter);
        if let Some(supply) = &mut self.supply {
            supply.burn_added_first(remaining);
        }
        self.reserve = self.reserve.saturating_add(fuel);
        self.fill(counter);
    }

    /// Replaces what remains.
    ///
    /// A slice goes on where it was: a guest does not escape its yields by calls of a host that
    /// sets fuel.
    pub(crate) fn set(&mut self, counter: &mut i64, fuel: u64) {
        self.give_back(counter);
        self.base = self.consumed(*counter);
        self.room = self.room.saturating_add_signed(*counter);
        (self.reserve, *counter, self.filled) = (fuel, 0, 0);
        self.fill(counter);
    }

    /// Cuts the store's fuel into slices of this size, the first of which begins now; or no longer.
    pub(crate) fn yield_every(&mut self, counter: &mut i64, interval: Option<NonZeroU64>) {
        self.base = self.consumed(*counter);
        if *counter > 0 {
            self.reserve = self.reserve.saturating_add(*counter as u64);
            *counter = 0;
        }
        self.filled = *counter;
        self.interval = interval;
        self.begin_slice(*counter);
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

    /// Ends injections, draws and parking: when fuel is gone the guest traps.
    pub(crate) fn trap_when_gone(&mut self) {
        self.inject_when_gone(0, self.slice);
    }

    /// Injects `slice` when fuel is gone, up to `injections` times, and then lets the guest trap.
    pub(crate) fn inject_when_gone(&mut self, injections: u64, slice: u64) {
        self.injections = injections;
        self.slice = slice;
        if let Some(supply) = &mut self.supply {
            supply.end();
        }
    }

    /// The supply, which then decides what happens when fuel is gone.
    pub(super) fn make_supply(&mut self) -> &mut Supply {
        self.supply.get_or_insert_default()
    }

    /// Takes back from the counter what is more than a span: from now on there is a handle.
    pub(super) fn begin_to_hear(&mut self, counter: &mut i64) {
        self.base = self.consumed(*counter);
        if *counter > 0 {
            self.reserve = self.reserve.saturating_add(*counter as u64);
            if self.interval.is_some() {
                self.room = self.room.saturating_add(*counter as u64);
            }
            *counter = 0;
        }
        self.filled = *counter;
        self.fill(counter);
    }

    /// The supply, if the store has one.
    pub(super) fn supply(&mut self) -> Option<&mut Supply> {
        self.supply.as_deref_mut()
    }

    pub(super) fn supply_ref(&self) -> Option<&Supply> {
        self.supply.as_deref()
    }

    /// Gives back what was drawn and not burned, and a place among those who wait for more.
    pub(super) fn give_back(&mut self, counter: &mut i64) {
        let remaining = self.remaining_units(*counter);
        let Some(supply) = &mut self.supply else { return };
        let unused = supply.give_back(remaining);
        self.base = self.consumed(*counter);
        let from_reserve = unused.min(self.reserve);
        self.reserve -= from_reserve;
        // What the reserve does not hold is in the counter.
        *counter -= (unused - from_reserve) as i64;
        self.filled = *counter;
    }

    /// Has the tank pay for what was overdrawn, when there will be no fuel any more that could.
    pub(super) fn settle(&mut self, counter: i64) {
        let overdrawn = u64::try_from(-self.remaining(counter)).unwrap_or(0);
        if overdrawn > 0
            && let Some(supply) = &mut self.supply
        {
            supply.owe(overdrawn);
        }
    }

    /// Begins a slice with fuel from the tank.
    pub(super) fn begin_with(&mut self, counter: &mut i64, fuel: u64) {
        self.next_slice(*counter);
        self.add(counter, fuel);
        if let Some(supply) = &mut self.supply {
            supply.lend(fuel);
        }
    }

    /// Changes the size of slices, of whatever they are made. What is left of the present one is cut.
    pub(super) fn set_slice(&mut self, counter: &mut i64, slice: NonZeroU64) {
        self.slice = slice.get();
        match self.interval.replace(slice) {
            Some(_) => self.room = self.room.min(slice.get()),
            None => self.yield_every(counter, Some(slice)),
        }
    }

    /// Raises the counter that fell below zero.
    #[inline]
    pub(super) fn refill(&mut self, counter: &mut i64) -> Refill {
        match &self.supply {
            None => self.refill_own(counter),
            Some(supply) if supply.hears_nothing() && self.is_in_slice() => {
                self.fill(counter);
                self.publish(*counter);
                Refill::Drawn
            }
            Some(_) => Refill::Supply,
        }
    }

    /// Raises the counter that fell below zero where that begins a slice, and the store needs nothing
    /// but what it has.
    #[inline(always)]
    pub(super) fn begins_slice(&mut self, counter: &mut i64) -> bool {
        self.supply.is_none() && self.refill_own(counter) == Refill::Yield
    }

    /// Whether the slice goes on where the counter has ended.
    fn is_in_slice(&self) -> bool {
        self.reserve > 0 && (self.interval.is_none() || self.room > 0)
    }

    /// The same from what the store itself has.
    #[inline(always)]
    pub(super) fn refill_own(&mut self, counter: &mut i64) -> Refill {
        if self.reserve > 0 {
            let ended = self.interval.is_some() && self.room == 0;
            if ended {
                self.next_slice(*counter);
            }
            self.fill(counter);
            // Where the reserve did not even cover what was overdrawn there is no slice to yield
            // for.
            if ended && *counter >= 0 { Refill::Yield } else { Refill::Drawn }
        } else if self.injections > 0 {
            self.injections -= 1;
            self.next_slice(*counter);
            self.add(counter, self.slice);
            Refill::Yield
        } else {
            Refill::Empty
        }
    }

    fn next_slice(&mut self, counter: i64) {
        // One by one it never wraps.
        self.slices = self.slices.wrapping_add(1);
        self.begin_slice(counter);
    }

    /// Lets the next slice have a whole interval beyond what the last one overdrew.
    fn begin_slice(&mut self, counter: i64) {
        let overdrawn = counter.min(0).unsigned_abs();
        self.room = self.interval.map_or(0, |interval| interval.get().saturating_add(overdrawn));
    }

    /// Moves what fits from the reserve to the counter.
    fn fill(&mut self, counter: &mut i64) {
        self.base = self.consumed(*counter);
        let mut moved = COUNTER_MAX.saturating_add_signed(-*counter).min(self.reserve);
        if let Some(supply) = &self.supply
            && supply.control().is_some()
        {
            moved = moved.min(SPAN.saturating_sub((*counter).max(0) as u64));
        }
        if self.interval.is_some() {
            moved = moved.min(self.room);
            self.room -= moved;
        }
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
        assert_eq!((fuel.refill(&mut counter), counter), (Refill::Yield, 9));
        counter = -1;
        assert_eq!(fuel.refill(&mut counter), Refill::Yield);
        counter = -3;
        assert_eq!(fuel.refill(&mut counter), Refill::Empty);
        assert_eq!(fuel.consumed(counter), 23);
    }

    #[test]
    fn slices_are_cut_from_what_there_is() {
        let (mut fuel, mut counter) = (Fuel::default(), 0);
        fuel.add(&mut counter, 250);
        fuel.yield_every(&mut counter, NonZeroU64::new(100));
        assert_eq!((counter, fuel.remaining(counter)), (100, 250));
        counter = -7;
        assert_eq!((fuel.refill(&mut counter), counter), (Refill::Yield, 100));
        counter = 40;
        fuel.add(&mut counter, 1000);
        assert_eq!((counter, fuel.remaining(counter)), (40, 1083), "the slice is not prolonged");
        fuel.set(&mut counter, 90);
        assert_eq!((counter, fuel.remaining(counter)), (40, 90), "nor by setting");
        counter = -1;
        assert_eq!((fuel.refill(&mut counter), counter), (Refill::Yield, 49));
        counter = -2;
        assert_eq!(fuel.refill(&mut counter), Refill::Empty);
        fuel.add(&mut counter, 60);
        assert_eq!((counter, fuel.remaining(counter)), (49, 58), "what is left of the slice");
        fuel.yield_every(&mut counter, None);
        assert_eq!((counter, fuel.remaining(counter)), (58, 58));
        counter = -1;
        assert_eq!(fuel.refill(&mut counter), Refill::Empty);
        assert_eq!(fuel.consumed(counter), 107 + 60 + 41 + 51 + 59);
    }

    #[test]
    fn slices_beyond_the_counter_are_drawn_in_parts() {
        let (mut fuel, mut counter) = (Fuel::default(), 0);
        fuel.set(&mut counter, u64::MAX);
        fuel.yield_every(&mut counter, NonZeroU64::new(u64::MAX));
        counter = -1;
        assert_eq!(fuel.refill(&mut counter), Refill::Drawn);
        assert!(counter > 0);
    }
}
