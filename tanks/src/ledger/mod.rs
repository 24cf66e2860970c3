//! The state machine: tanks under tanks, those who draw from them, and whose turn it is.
//!
//! It has no lock, no clock and no wakers of its own: whoever calls brings the time and wakes whom
//! it names. All of a tree's tanks are in one ledger.
//!
//! # Whose turn it is
//!
//! Where fuel is short, every tank keeps a queue of those members, tanks or taps, below which
//! somebody waits. Each member has a *tag*: what it got so far, divided by its weight. The one with
//! the least tag is served first, and within equal tags the one that came first (start-time fair
//! queueing). Fuel is dealt out in portions for as long as there is any, so that two members that
//! wait at a time get portions in proportion to their weights, although one poll of a guest never
//! burns more than its slice: what exceeds the slice waits in the guest's tap.
//!
//! Where processors are short, those who have fuel wait to run in queues of the same kind
//! (`runnable`), with tags of their own: who is in front has the next turn.
//!
//! A member that was away is not owed for that: its tag is raised to the tank's *clock*, the tag of
//! who was served last. A tank's is raised to a bit less, because who burns what was just dealt to
//! it is not away.
//!
//! # Invariants
//!
//! * A tap is in its tank's queue exactly while it waits, for fuel or to run, never for both. A tank
//!   is in its parent's queue exactly while its own is not empty.
//! * Fuel is in one place: a level, or a tap's `granted`, or was handed out.
//! * Nobody is dealt anything while somebody with an earlier turn at the same fuel waits.

mod deal;
mod runnable;
#[cfg(test)]
mod tests;
mod turns;

use std::collections::BTreeMap;
use std::mem;
use std::ops::{Index, IndexMut};

use slab::Slab;

use crate::bucket::Bucket;

/// A tank's or tap's index.
pub(crate) type Id = usize;

/// Who is served first: those of weight zero are behind all others; then the least tag; then who
/// came first.
type Turn = (bool, u128, u64);

/// What members wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scarce {
    Fuel,
    /// Time to burn it in.
    Processor,
}

/// One value for each of these.
#[derive(Debug, Default)]
struct Each<T>([T; 2]);

impl<T> Index<Scarce> for Each<T> {
    type Output = T;

    fn index(&self, scarce: Scarce) -> &T {
        &self.0[scarce as usize]
    }
}

impl<T> IndexMut<Scarce> for Each<T> {
    fn index_mut(&mut self, scarce: Scarce) -> &mut T {
        &mut self.0[scarce as usize]
    }
}

/// A tank or tap, as a member of a tank.
#[derive(Debug)]
struct Member {
    weight: u32,
    standing: Each<Standing>,
}

#[derive(Debug, Default)]
struct Standing {
    tag: u128,
    /// Its place in the queue, if it has one.
    turn: Option<Turn>,
}

/// Members of a tank that wait for the same.
#[derive(Debug, Default)]
struct Line {
    queue: BTreeMap<Turn, Child>,
    clock: u128,
}

impl Member {
    /// A member that is owed nothing.
    fn new(weight: u32, of: Option<&Tank>) -> Self {
        let mut standing = Each::<Standing>::default();
        standing[Scarce::Processor].tag = of.map_or(0, |tank| tank.lines[Scarce::Processor].clock);
        Self { weight, standing }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Child {
    Tank(Id),
    Tap(Id),
}

#[derive(Debug)]
struct Tank {
    parent: Option<Id>,
    member: Member,
    bucket: Bucket,
    lines: Each<Line>,
    /// The largest slice that was asked for so far.
    slice: u64,
    closed: bool,
}

#[derive(Debug)]
struct Tap<W> {
    tank: Id,
    member: Member,
    slice: u64,
    granted: u64,
    /// The tank that `granted`, and what was handed out last, came from.
    payer: Id,
    /// What it may burn in the turn that it waits for.
    burst: u64,
    waker: Option<W>,
}

impl Tank {
    /// Those who wait for fuel.
    fn queue(&self) -> &BTreeMap<Turn, Child> {
        &self.lines[Scarce::Fuel].queue
    }
}

/// What became of an attempt to draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Drawn {
    Fuel(u64),
    Dry,
    Closed,
}

/// See the module's top. `W` is what a tap leaves behind to be woken by.
#[derive(Debug)]
pub(crate) struct Ledger<W> {
    tanks: Slab<Tank>,
    taps: Slab<Tap<W>>,
    root: Id,
    next_ticket: u64,
    /// How many taps wait for fuel.
    waiting: u64,
    /// What rates have made, less what did not fit.
    #[cfg(test)]
    pub(crate) credited: u128,
}

impl<W> Ledger<W> {
    /// One empty tank, without a parent, and its id.
    pub(crate) fn new(capacity: u64) -> (Self, Id) {
        let (tanks, taps) = (Slab::new(), Slab::new());
        let mut this = Self {
            tanks,
            taps,
            root: 0,
            next_ticket: 0,
            waiting: 0,
            #[cfg(test)]
            credited: 0,
        };
        this.root = this.insert(None, 1, capacity);
        let root = this.root;
        (this, root)
    }

    fn insert(&mut self, parent: Option<Id>, weight: u32, capacity: u64) -> Id {
        let above = parent.map(|parent| &self.tanks[parent]);
        let tank = Tank {
            parent,
            member: Member::new(weight, above),
            bucket: Bucket::new(capacity),
            lines: Each::default(),
            slice: 0,
            closed: above.is_some_and(|parent| parent.closed),
        };
        self.tanks.insert(tank)
    }

    /// A tank under `parent`, closed if that is.
    pub(crate) fn add_child(&mut self, parent: Id, weight: u32) -> Id {
        self.insert(Some(parent), weight, u64::MAX)
    }

    /// Removes a tank that has no members. What it holds goes to its parent. Names whom to wake.
    pub(crate) fn remove_tank(&mut self, tank: Id, now: u64) -> Vec<W> {
        let mut woken = Vec::new();
        self.credit(tank, now, &mut woken);
        let removed = self.tanks.remove(tank);
        if let Some(parent) = removed.parent {
            self.tanks[parent].bucket.pour(removed.bucket.level());
            self.tanks[parent].bucket.owe(removed.bucket.debt());
            self.deal(parent, &mut woken);
        }
        woken
    }

    pub(crate) fn add_tap(&mut self, tank: Id) -> Id {
        let member = Member::new(1, Some(&self.tanks[tank]));
        let tap = Tap { tank, member, slice: 0, granted: 0, payer: tank, burst: 0, waker: None };
        self.taps.insert(tap)
    }

    /// Pours fuel in. Answers what did not fit once those who wait were served; names whom to wake.
    pub(crate) fn add(&mut self, tank: Id, fuel: u64, now: u64) -> (u64, Vec<W>) {
        let mut woken = Vec::new();
        if self.tanks[tank].closed {
            return (fuel, woken);
        }
        self.credit(tank, now, &mut woken);
        let poured = self.tanks[tank].bucket.pour(fuel);
        self.deal(tank, &mut woken);
        let excess = self.tanks[tank].bucket.trim(poured);
        (fuel - poured + excess, woken)
    }

    /// What a tank itself holds.
    pub(crate) fn level(&mut self, tank: Id, now: u64) -> (u64, Vec<W>) {
        let mut woken = Vec::new();
        self.credit(tank, now, &mut woken);
        (self.tanks[tank].bucket.level(), woken)
    }

    /// Takes all that a tank itself holds.
    pub(crate) fn drain(&mut self, tank: Id, now: u64) -> (u64, Vec<W>) {
        let mut woken = Vec::new();
        self.credit(tank, now, &mut woken);
        (self.tanks[tank].bucket.take(u64::MAX), woken)
    }

    /// Changes a tank's rate. Names all who wait below it: they have to find out anew how long.
    pub(crate) fn set_rate(&mut self, tank: Id, rate: u64, now: u64) -> Vec<W> {
        let mut woken = Vec::new();
        self.credit(tank, now, &mut woken);
        self.tanks[tank].bucket.set_rate(rate, now);
        self.deal(tank, &mut woken);
        self.take_wakers(|this, tap| this.is_below(tap.tank, tank), woken)
    }

    /// Closes a tank and all below it. Answers which were open, and names whom to wake.
    pub(crate) fn close(&mut self, tank: Id) -> (Vec<Id>, Vec<W>) {
        let below = |this: &Self, (id, _): (Id, &Tank)| this.is_below(id, tank).then_some(id);
        let ids: Vec<Id> = self
            .tanks
            .iter()
            .filter(|(_, tank)| !tank.closed)
            .filter_map(|t| below(self, t))
            .collect();
        for &id in &ids {
            self.tanks[id].closed = true;
        }
        (ids, self.take_wakers(|this, tap| this.is_below(tap.tank, tank), Vec::new()))
    }

    /// Everybody who waits.
    pub(crate) fn wake_all(&mut self) -> Vec<W> {
        self.take_wakers(|_, _| true, Vec::new())
    }

    fn take_wakers(&mut self, of: impl Fn(&Self, &Tap<W>) -> bool, mut woken: Vec<W>) -> Vec<W> {
        let ids: Vec<Id> =
            self.taps.iter().filter(|(_, tap)| of(self, tap)).map(|(id, _)| id).collect();
        woken.extend(ids.into_iter().filter_map(|id| self.taps[id].waker.take()));
        woken
    }

    fn is_below(&self, mut tank: Id, ancestor: Id) -> bool {
        while tank != ancestor {
            let Some(parent) = self.tanks[tank].parent else { return false };
            tank = parent;
        }
        true
    }

    /// Draws up to a slice, or more where there is plenty: what exceeds the slice is for the next
    /// ones. Where the answer is [`Drawn::Dry`] the tap is in the queue.
    pub(crate) fn draw(&mut self, tap: Id, slice: u64, now: u64, woken: &mut Vec<W>) -> Drawn {
        if self.tanks[self.taps[tap].tank].closed {
            self.dequeue(Scarce::Fuel, tap);
            self.deal_above(tap, woken);
            return Drawn::Closed;
        }
        self.taps[tap].slice = slice;
        let mut at = Some(self.taps[tap].tank);
        let mut free = true;
        while let Some(tank) = at {
            self.credit(tank, now, woken);
            self.tanks[tank].slice = self.tanks[tank].slice.max(slice);
            free &= self.tanks[tank].queue().is_empty();
            let enough = self.tanks[tank].bucket.level() >= self.wanted(tank, tap);
            if free && enough && self.taps[tap].granted == 0 {
                self.serve_at_once(tank, tap);
            }
            at = self.tanks[tank].parent;
        }
        if self.taps[tap].granted == 0 {
            self.enqueue(Scarce::Fuel, tap);
            self.deal_above(tap, woken);
        }
        match mem::take(&mut self.taps[tap].granted) {
            0 => Drawn::Dry,
            fuel => {
                self.dequeue(Scarce::Fuel, tap);
                Drawn::Fuel(fuel)
            }
        }
    }

    /// Who is woken once there is something for the tap. Answers the former one.
    pub(crate) fn set_waker(&mut self, tap: Id, waker: W) -> Option<W> {
        self.taps[tap].waker.replace(waker)
    }

    /// Ends a tap's waiting, and takes `unused` back, which was handed out to it. Answers its waker,
    /// and names whom to wake instead.
    pub(crate) fn leave(&mut self, tap: Id, unused: u64) -> (Option<W>, Vec<W>) {
        let mut woken = Vec::new();
        self.dequeue(Scarce::Fuel, tap);
        self.dequeue(Scarce::Processor, tap);
        let Tap { payer, ref mut granted, ref mut waker, .. } = self.taps[tap];
        let (unused, waker) = (mem::take(granted).saturating_add(unused), waker.take());
        if unused > 0 {
            self.tanks[payer].bucket.pour(unused);
            self.charge(Scarce::Fuel, tap, payer, -i128::from(unused));
        }
        // Who waited behind it may be content with less.
        self.deal_above(tap, &mut woken);
        (waker, woken)
    }

    /// Takes what a tap burned beyond what it drew from the tank that it drew from last.
    pub(crate) fn owe(&mut self, tap: Id, fuel: u64) {
        let payer = self.taps[tap].payer;
        self.tanks[payer].bucket.owe(fuel);
        self.charge(Scarce::Fuel, tap, payer, fuel.into());
    }

    /// Removes a tap that has left.
    pub(crate) fn remove_tap(&mut self, tap: Id) {
        let removed = self.taps.remove(tap);
        debug_assert!(removed.granted == 0);
        debug_assert!(removed.member.standing.0.iter().all(|standing| standing.turn.is_none()));
    }

    /// Serves whom rates have made fuel for. Answers in how many nanoseconds there will be more for
    /// somebody who waits, if ever.
    pub(crate) fn tick(&mut self, now: u64, woken: &mut Vec<W>) -> Option<u64> {
        let waited_for = |(id, tank): (Id, &Tank)| (!tank.queue().is_empty()).then_some(id);
        let ids: Vec<Id> = self.tanks.iter().filter_map(waited_for).collect();
        let mut next: Option<u64> = None;
        for id in ids {
            self.credit(id, now, woken);
            let tank = &self.tanks[id];
            if tank.bucket.rate() == 0 || tank.queue().is_empty() {
                continue;
            }
            let wanted = self.wanted(id, self.head(Scarce::Fuel, id));
            let time = tank.bucket.time_until(wanted).unwrap_or(u64::MAX);
            next = Some(next.map_or(time, |next| next.min(time)));
        }
        next
    }

    /// In how many nanoseconds a tank above a tap will have fuel by its rate, if ever.
    pub(crate) fn time_to_serve(&self, tap: Id) -> Option<u64> {
        let mut at = Some(self.taps[tap].tank);
        let mut next = None;
        while let Some(id) = at {
            let tank = &self.tanks[id];
            if tank.bucket.rate() > 0 && !tank.queue().is_empty() {
                let time = tank.bucket.time_until(self.wanted(id, self.head(Scarce::Fuel, id)));
                next = next.into_iter().chain(time).min();
            }
            at = tank.parent;
        }
        next
    }
}
