//! Dealing: how much of a level goes to whom.

use super::{Id, Ledger, Scarce};

/// How many slices a tap may hold that its guest has not begun.
pub(super) const SLICES_AHEAD: u64 = 8;
/// The same as a share of what a rate makes in a second: 4 ms of it, a few ticks of coarse timers.
const RATE_AHEAD: u64 = 256;
/// Those who wait at a rate are served when there is a slice, or as much as this part of a second
/// makes.
const PATIENCE: u64 = 100;
/// Into how many portions a level is dealt, unless more wait or slices are larger: it bounds the
/// work.
const PORTIONS: u64 = 64;

impl<W> Ledger<W> {
    /// Pours in what a tank's rate made, and deals it out.
    pub(super) fn credit(&mut self, tank: Id, now: u64, woken: &mut Vec<W>) {
        let poured = self.tanks[tank].bucket.credit(now);
        if poured > 0 {
            self.deal(tank, woken);
            let _lost = self.tanks[tank].bucket.trim(poured);
            #[cfg(test)]
            {
                self.credited += u128::from(poured - _lost);
            }
        }
    }

    /// How much fuel a tank must hold before it serves the tap: at a rate it is not worth waking a
    /// guest for less than a slice, unless that would take long.
    pub(super) fn wanted(&self, tank: Id, tap: Id) -> u64 {
        let bucket = &self.tanks[tank].bucket;
        if bucket.rate() == 0 {
            return 1;
        }
        self.taps[tap].slice.min(bucket.rate() / PATIENCE).min(bucket.capacity()).max(1)
    }

    /// How much a tap may hold.
    pub(super) fn most_ahead(&self, tank: Id, slice: u64) -> u64 {
        (self.tanks[tank].bucket.rate() / RATE_AHEAD).max(slice.saturating_mul(SLICES_AHEAD))
    }

    /// Grants from a tank's level to a tap before which nobody waits.
    ///
    /// Where there is plenty it gets those of a turn ahead, or some, which saves it the way here, but
    /// never so many that all taps together could take more than half of the level.
    pub(super) fn serve_at_once(&mut self, tank: Id, tap: Id) {
        let slice = self.taps[tap].slice;
        let ahead = slice.saturating_mul(SLICES_AHEAD).max(self.burst(slice));
        let level = self.tanks[tank].bucket.level();
        let plenty = level / (2 * self.taps.len() as u64);
        // In whole slices: what is left of one costs a poll, too.
        let plenty = plenty - plenty % slice.max(1);
        self.grant(tank, tap, plenty.min(ahead).max(slice));
    }

    fn grant(&mut self, tank: Id, tap: Id, most: u64) {
        let fuel = self.tanks[tank].bucket.take(most);
        self.taps[tap].granted += fuel;
        self.taps[tap].payer = tank;
        self.charge(Scarce::Fuel, tap, tank, fuel.into());
    }

    /// Deals from all tanks above a tap.
    pub(super) fn deal_above(&mut self, tap: Id, woken: &mut Vec<W>) {
        let mut at = Some(self.taps[tap].tank);
        while let Some(tank) = at {
            self.deal(tank, woken);
            at = self.tanks[tank].parent;
        }
    }

    /// Deals a tank's level out to those who wait below it, as the module's top says. Who got
    /// something waits no longer.
    pub(super) fn deal(&mut self, tank: Id, woken: &mut Vec<W>) {
        // Who is then in front may be content with less.
        while !self.deal_round(tank, woken) {}
    }

    /// Answers whether nobody could be served.
    fn deal_round(&mut self, tank: Id, woken: &mut Vec<W>) -> bool {
        let portion = self.tanks[tank].bucket.level() / PORTIONS.max(self.waiting);
        let mut served = Vec::new();
        while !self.tanks[tank].queue().is_empty() {
            let tap = self.head(Scarce::Fuel, tank);
            let (slice, granted) = (self.taps[tap].slice, self.taps[tap].granted);
            let bucket = &self.tanks[tank].bucket;
            if bucket.level() < self.wanted(tank, tap) {
                break;
            }
            // What does not fit the tank would be lost: somebody may have it sooner.
            let plenty = granted > 0 && self.is_alone(tank) && bucket.level() <= bucket.capacity();
            let ahead = self.most_ahead(tank, slice);
            if plenty || granted >= ahead {
                self.dequeue(Scarce::Fuel, tap);
                continue;
            }
            if granted == 0 {
                served.push(tap);
            }
            self.grant(tank, tap, slice.max(portion).min(ahead - granted));
        }
        for &tap in &served {
            self.dequeue(Scarce::Fuel, tap);
            woken.extend(self.taps[tap].waker.take());
        }
        served.is_empty()
    }
}
