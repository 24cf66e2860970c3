//! Queues and tags: whose turn it is.

use super::deal::SLICES_AHEAD;
use super::{Child, Id, Ledger, Member, Scarce, Standing};

/// Who runs is away, too, and maybe on a worker that the system takes its time from: it is owed what
/// a processor burns in a millisecond or two.
const OWED: u64 = 1 << 22;

/// A unit of fuel in tags, for a member of weight one.
const TAG_UNIT: u128 = 1 << 24;

impl<W> Ledger<W> {
    /// The tap whose turn it is in a tank's queue, which is not empty.
    pub(super) fn head(&self, scarce: Scarce, mut tank: Id) -> Id {
        loop {
            let queue = &self.tanks[tank].lines[scarce].queue;
            let (_, &child) = queue.first_key_value().expect("somebody waits");
            match child {
                Child::Tap(tap) => return tap,
                Child::Tank(child) => tank = child,
            }
        }
    }

    /// Whether the tap whose turn it is in a tank's queue is the only one there.
    pub(super) fn is_alone(&self, mut tank: Id) -> bool {
        loop {
            let queue = self.tanks[tank].queue();
            match queue.first_key_value() {
                Some((_, &Child::Tank(child))) if queue.len() == 1 => tank = child,
                _ => return queue.len() == 1,
            }
        }
    }

    fn member(&mut self, child: Child) -> &mut Member {
        match child {
            Child::Tank(tank) => &mut self.tanks[tank].member,
            Child::Tap(tap) => &mut self.taps[tap].member,
        }
    }

    fn standing(&mut self, scarce: Scarce, child: Child) -> &mut Standing {
        &mut self.member(child).standing[scarce]
    }

    /// Puts a tap, and the tanks that it is in, into the queues where they are not yet.
    pub(super) fn enqueue(&mut self, scarce: Scarce, tap: Id) {
        let mut child = Child::Tap(tap);
        let mut at = Some(self.taps[tap].tank);
        while let Some(tank) = at {
            if self.standing(scarce, child).turn.is_some() {
                break;
            }
            self.waiting += counts(scarce, child);
            self.raise_tag(scarce, tank, child);
            self.push(scarce, tank, child);
            (child, at) = (Child::Tank(tank), self.tanks[tank].parent);
        }
    }

    fn push(&mut self, scarce: Scarce, tank: Id, child: Child) {
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        let Member { weight, standing } = self.member(child);
        let turn = (*weight == 0, standing[scarce].tag, ticket);
        standing[scarce].turn = Some(turn);
        self.tanks[tank].lines[scarce].queue.insert(turn, child);
    }

    /// Takes a tap out of its queue, and the tanks whose queues are then empty.
    pub(super) fn dequeue(&mut self, scarce: Scarce, tap: Id) {
        let mut child = Child::Tap(tap);
        let mut at = Some(self.taps[tap].tank);
        while let Some(tank) = at {
            if let Some(turn) = self.standing(scarce, child).turn.take() {
                self.tanks[tank].lines[scarce].queue.remove(&turn);
                self.waiting -= counts(scarce, child);
            }
            if !self.tanks[tank].lines[scarce].queue.is_empty() {
                break;
            }
            (child, at) = (Child::Tank(tank), self.tanks[tank].parent);
        }
    }

    /// Forgets what a member is owed for the time that it was away.
    fn raise_tag(&mut self, scarce: Scarce, tank: Id, child: Child) {
        let slice = self.tanks[tank].slice;
        let ahead = match (scarce, child) {
            (Scarce::Fuel, Child::Tap(_)) => 0,
            (Scarce::Fuel, Child::Tank(_)) => self.most_ahead(tank, slice),
            (Scarce::Processor, _) => slice.saturating_mul(SLICES_AHEAD).max(OWED),
        };
        let clock = self.tanks[tank].lines[scarce].clock;
        let Member { weight, standing } = self.member(child);
        let tag = &mut standing[scarce].tag;
        *tag = (*tag).max(clock.saturating_sub(tag_of(ahead, *weight)));
    }

    /// Counts what a tap got, or gave back, in all tags up to those of `payer`'s members.
    pub(super) fn charge(&mut self, scarce: Scarce, tap: Id, payer: Id, fuel: i128) {
        let mut child = Child::Tap(tap);
        let mut at = Some(self.taps[tap].tank);
        while let Some(tank) = at {
            self.raise_tag(scarce, tank, child);
            let Member { weight, standing } = self.member(child);
            let standing = &mut standing[scarce];
            let start = standing.tag;
            let change = tag_of(fuel.unsigned_abs() as u64, *weight);
            standing.tag = match fuel < 0 {
                true => start.saturating_sub(change),
                false => start.saturating_add(change),
            };
            let moves_clock = *weight > 0 && fuel > 0;
            if let Some(turn) = standing.turn.take() {
                self.tanks[tank].lines[scarce].queue.remove(&turn);
                self.push(scarce, tank, child);
            }
            if moves_clock {
                let clock = &mut self.tanks[tank].lines[scarce].clock;
                *clock = start.max(*clock);
            }
            if tank == payer {
                break;
            }
            (child, at) = (Child::Tank(tank), self.tanks[tank].parent);
        }
    }
}

/// What `Ledger::waiting` counts: those who wait for fuel.
fn counts(scarce: Scarce, child: Child) -> u64 {
    (scarce == Scarce::Fuel && matches!(child, Child::Tap(_))).into()
}

fn tag_of(fuel: u64, weight: u32) -> u128 {
    u128::from(fuel) * TAG_UNIT / u128::from(weight.max(1))
}
