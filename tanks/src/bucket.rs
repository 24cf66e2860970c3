//! What one tank holds, and what time adds to it.
//!
//! Times are nanoseconds since the tanks were made, so that this module needs no clock.

const SECOND: u128 = 1_000_000_000;

/// A level, a capacity, and a rate at which the level rises.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    level: u64,
    /// What was burned beyond what was drawn. What comes in pays for it first.
    debt: u64,
    capacity: u64,
    /// Units a second.
    rate: u64,
    /// Up to when the rate was credited, and what then was left of a unit, in units / `SECOND`.
    credited: u64,
    fraction: u128,
}

impl Bucket {
    pub(crate) fn new(capacity: u64) -> Self {
        Self { level: 0, debt: 0, capacity, rate: 0, credited: 0, fraction: 0 }
    }

    pub(crate) fn level(&self) -> u64 {
        self.level
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(crate) fn rate(&self) -> u64 {
        self.rate
    }

    /// Lets the level rise at another rate from now on. What was due at the old one must have been
    /// credited.
    pub(crate) fn set_rate(&mut self, rate: u64, now: u64) {
        (self.rate, self.credited, self.fraction) = (rate, now.max(self.credited), 0);
    }

    /// Pours fuel in, whatever the capacity; [`trim`](Self::trim) sees to that.
    ///
    /// Answers what went in: less than `fuel` where a level cannot be expressed.
    pub(crate) fn pour(&mut self, fuel: u64) -> u64 {
        let paid = fuel.min(self.debt);
        self.debt -= paid;
        let poured = (fuel - paid).min(u64::MAX - self.level);
        self.level += poured;
        paid + poured
    }

    /// Takes what was burned already, though it may not be there.
    pub(crate) fn owe(&mut self, fuel: u64) {
        let missing = fuel - self.take(fuel);
        self.debt = self.debt.saturating_add(missing);
    }

    pub(crate) fn debt(&self) -> u64 {
        self.debt
    }

    /// Pours in what the rate made since the last time. Answers how much that is.
    pub(crate) fn credit(&mut self, now: u64) -> u64 {
        let Some(elapsed) = now.checked_sub(self.credited) else { return 0 };
        if self.rate == 0 || elapsed == 0 {
            return 0;
        }
        self.credited = now;
        // Two 64-bit factors and less than a second's worth of fractions fit.
        let due = u128::from(self.rate) * u128::from(elapsed) + self.fraction;
        self.fraction = due % SECOND;
        self.pour(u64::try_from(due / SECOND).unwrap_or(u64::MAX))
    }

    /// Removes what exceeds the capacity, but no more than `poured`, what was poured in last: what
    /// guests gave back was in the tank before. Answers how much was removed.
    pub(crate) fn trim(&mut self, poured: u64) -> u64 {
        let excess = self.level.saturating_sub(self.capacity).min(poured);
        self.level -= excess;
        excess
    }

    /// Takes up to `most`.
    pub(crate) fn take(&mut self, most: u64) -> u64 {
        let taken = most.min(self.level);
        self.level -= taken;
        taken
    }

    /// Nanoseconds until the level will be `wanted`; `None` if it never will.
    pub(crate) fn time_until(&self, wanted: u64) -> Option<u64> {
        let missing = wanted.saturating_sub(self.level).saturating_add(self.debt);
        if missing == 0 {
            return Some(0);
        }
        if self.rate == 0 {
            return None;
        }
        let due = u128::from(missing) * SECOND - self.fraction;
        Some(u64::try_from(due.div_ceil(self.rate.into())).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debts_are_paid_first() {
        let mut bucket = Bucket::new(u64::MAX);
        bucket.pour(10);
        bucket.owe(25);
        assert_eq!((bucket.level(), bucket.debt()), (0, 15));
        bucket.set_rate(5, 0);
        assert_eq!(bucket.time_until(5), Some(4_000_000_000));
        assert_eq!((bucket.credit(2_000_000_000), bucket.level(), bucket.debt()), (10, 0, 5));
        assert_eq!((bucket.pour(7), bucket.level(), bucket.debt()), (7, 2, 0));
        bucket.owe(u64::MAX);
        bucket.owe(u64::MAX);
        assert_eq!((bucket.level(), bucket.debt()), (0, u64::MAX));
    }

    #[test]
    fn fractions_of_units_are_kept() {
        let mut bucket = Bucket::new(u64::MAX);
        bucket.set_rate(3, 0);
        // Credited often or at once, a second makes three units.
        for now in (0..=1_000_000_000).step_by(1_000_000) {
            bucket.credit(now);
        }
        assert_eq!(bucket.level(), 3);
        assert_eq!(bucket.time_until(5), Some(666_666_667));
        bucket.credit(1_666_666_666);
        assert_eq!(bucket.level(), 4);
        bucket.credit(1_666_666_667);
        assert_eq!(bucket.level(), 5);
    }

    #[test]
    fn levels_and_times_saturate() {
        let mut bucket = Bucket::new(u64::MAX);
        assert_eq!((bucket.pour(u64::MAX), bucket.pour(7)), (u64::MAX, 0));
        bucket.set_rate(u64::MAX, 0);
        assert_eq!(bucket.credit(u64::MAX), 0);
        assert_eq!(bucket.take(u64::MAX), u64::MAX);
        bucket.set_rate(1, u64::MAX);
        assert_eq!(bucket.time_until(u64::MAX), Some(u64::MAX));
        assert_eq!(bucket.credit(0), 0, "a clock that goes back makes nothing");
    }

    #[test]
    fn what_exceeds_the_capacity_is_removed_once() {
        let mut bucket = Bucket::new(10);
        let poured = bucket.pour(25);
        assert_eq!((bucket.trim(poured), bucket.level()), (15, 10));
        bucket.pour(5);
        assert_eq!((bucket.trim(0), bucket.level()), (0, 15), "it was given back");
        let poured = bucket.pour(3);
        assert_eq!((bucket.trim(poured), bucket.level()), (3, 15));
    }
}
