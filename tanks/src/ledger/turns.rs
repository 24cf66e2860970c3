//! Queues and tags: whose turn it is.

use super::{Child, Id, Ledger, Member, Tank};

/// A unit of fuel in tags, for a member of weight one.
const TAG_UNIT: u128 = 1 << 24;

impl<W> Ledger<W> {
    /// The tap whose turn it is in a tank's queue, which is not empty.
    pub(super) fn head(&self, mut tank: Id) -> Id {
        loop {
            let (_, &child) = self.tanks[tank].queue.first_key_value().expect("somebody waits");
            match child {
                Child::Tap(tap) => return tap,
                Child::Tank(child) => tank = child,
            }
        }
    }

    /// Whether the tap whose turn it is in a tank's queue is the only one there.
    pub(super) fn is_alone(&self, mut tank: Id) -> bool {
        loop {
            let queue = &self.tanks[tank].queue;
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

    /// Puts a tap, and the tanks that it is in, into the queues where they are not yet.
    pub(super) fn enqueue(&mut self, tap: Id) {
        let mut child = Child::Tap(tap);
        let mut at = Some(self.taps[tap].tank);
        while let Some(tank) = at {
            if self.member(child).turn.is_some() {
                break;
            }
            self.waiting += u64::from(matches!(child, Child::Tap(_)));
            self.raise_tag(tank, child);
            self.push(tank, child);
            (child, at) = (Child::Tank(tank), self.tanks[tank].parent);
        }
    }

    fn push(&mut self, tank: Id, child: Child) {
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        let member = self.member(child);
        let turn = (member.weight == 0, member.tag, ticket);
        member.turn = Some(turn);
        self.tanks[tank].queue.insert(turn, child);
    }

    /// Takes a tap out of its queue, and the tanks whose queues are then empty.
    pub(super) fn dequeue(&mut self, tap: Id) {
        let mut child = Child::Tap(tap);
        let mut at = Some(self.taps[tap].tank);
        while let Some(tank) = at {
            if let Some(turn) = self.member(child).turn.take() {
                self.tanks[tank].queue.remove(&turn);
                self.waiting -= u64::from(matches!(child, Child::Tap(_)));
            }
            if !self.tanks[tank].queue.is_empty() {
                break;
            }
            (child, at) = (Child::Tank(tank), self.tanks[tank].parent);
        }
    }

    /// Forgets what a member is owed for the time that it was away.
    fn raise_tag(&mut self, tank: Id, child: Child) {
        let Tank { clock, slice, .. } = self.tanks[tank];
        let ahead = match child {
            Child::Tap(_) => 0,
            Child::Tank(_) => self.most_ahead(tank, slice),
        };
        let member = self.member(child);
        member.tag = member.tag.max(clock.saturating_sub(tag_of(ahead, member.weight)));
    }

    /// Counts what a tap got from `payer`, or gave back, in all tags between them.
    pub(super) fn charge(&mut self, tap: Id, payer: Id, fuel: i128) {
        let mut child = Child::Tap(tap);
        let mut at = Some(self.taps[tap].tank);
        while let Some(tank) = at {
            self.raise_tag(tank, child);
            let member = self.member(child);
            let start = member.tag;
            let change = tag_of(fuel.unsigned_abs() as u64, member.weight);
            member.tag = match fuel < 0 {
                true => start.saturating_sub(change),
                false => start.saturating_add(change),
            };
            let moves_clock = member.weight > 0 && fuel > 0;
            if let Some(turn) = member.turn.take() {
                self.tanks[tank].queue.remove(&turn);
                self.push(tank, child);
            }
            if moves_clock {
                let clock = &mut self.tanks[tank].clock;
                *clock = start.max(*clock);
            }
            if tank == payer {
                break;
            }
            (child, at) = (Child::Tank(tank), self.tanks[tank].parent);
        }
    }
}

fn tag_of(fuel: u64, weight: u32) -> u128 {
    u128::from(fuel) * TAG_UNIT / u128::from(weight.max(1))
}
