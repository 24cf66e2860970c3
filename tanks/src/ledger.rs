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
//! A member that was away is not owed for that: its tag is raised to the tank's *clock*, the tag of
//! who was served last. A tank's is raised to a bit less, because who burns what was just dealt to
//! it is not away.
//!
//! # Invariants
//!
//! * A tap is in its tank's queue exactly while it waits. A tank is in its parent's queue exactly
//!   while its own is not empty.
//! * Fuel is in one place: a level, or a tap's `granted`, or was handed out.
//! * Nobody is dealt anything while somebody with an earlier turn at the same fuel waits.

use std::collections::BTreeMap;
use std::mem;

use slab::Slab;

use crate::bucket::Bucket;

/// A unit of fuel in tags, for a member of weight one.
const TAG_UNIT: u128 = 1 << 24;
/// How many slices a tap may hold that its guest has not begun.
const SLICES_AHEAD: u64 = 8;
/// The same as a share of what a rate makes in a second: 4 ms of it, a few ticks of coarse timers.
const RATE_AHEAD: u64 = 256;
/// Those who wait at a rate are served when there is a slice, or as much as this part of a second
/// makes.
const PATIENCE: u64 = 100;
/// Into how many portions a level is dealt, unless more wait or slices are larger: it bounds the
/// work.
const PORTIONS: u64 = 64;

/// A tank's or tap's index.
pub(crate) type Id = usize;

/// Who is served first: those of weight zero are behind all others; then the least tag; then who
/// came first.
type Turn = (bool, u128, u64);

/// A tank or tap, as a member of a tank.
#[derive(Debug)]
struct Member {
    weight: u32,
    tag: u128,
    /// Its place in the queue, if it has one.
    turn: Option<Turn>,
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
    queue: BTreeMap<Turn, Child>,
    clock: u128,
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
    waker: Option<W>,
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
    next_ticket: u64,
    /// How many taps wait.
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
            next_ticket: 0,
            waiting: 0,
            #[cfg(test)]
            credited: 0,
        };
        let root = this.insert(None, 1, capacity);
        (this, root)
    }

    fn insert(&mut self, parent: Option<Id>, weight: u32, capacity: u64) -> Id {
        self.tanks.insert(Tank {
            parent,
            member: Member { weight, tag: 0, turn: None },
            bucket: Bucket::new(capacity),
            queue: BTreeMap::new(),
            clock: 0,
            slice: 0,
            closed: parent.is_some_and(|parent| self.tanks[parent].closed),
        })
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
            self.deal(parent, &mut woken);
        }
        woken
    }

    pub(crate) fn add_tap(&mut self, tank: Id) -> Id {
        let member = Member { weight: 1, tag: 0, turn: None };
        self.taps.insert(Tap { tank, member, slice: 0, granted: 0, payer: tank, waker: None })
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
            self.dequeue(tap);
            self.deal_above(tap, woken);
            return Drawn::Closed;
        }
        self.taps[tap].slice = slice;
        let mut at = Some(self.taps[tap].tank);
        let mut free = true;
        while let Some(tank) = at {
            self.credit(tank, now, woken);
            self.tanks[tank].slice = self.tanks[tank].slice.max(slice);
            free &= self.tanks[tank].queue.is_empty();
            let enough = self.tanks[tank].bucket.level() >= self.wanted(tank, tap);
            if free && enough && self.taps[tap].granted == 0 {
                self.serve_at_once(tank, tap);
            }
            at = self.tanks[tank].parent;
        }
        if self.taps[tap].granted == 0 {
            self.enqueue(tap);
            self.deal_above(tap, woken);
        }
        match mem::take(&mut self.taps[tap].granted) {
            0 => Drawn::Dry,
            fuel => {
                self.dequeue(tap);
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
        self.dequeue(tap);
        let Tap { payer, ref mut granted, ref mut waker, .. } = self.taps[tap];
        let (unused, waker) = (mem::take(granted).saturating_add(unused), waker.take());
        if unused > 0 {
            self.tanks[payer].bucket.pour(unused);
            self.charge(tap, payer, -i128::from(unused));
        }
        // Who waited behind it may be content with less.
        self.deal_above(tap, &mut woken);
        (waker, woken)
    }

    /// Removes a tap that has left.
    pub(crate) fn remove_tap(&mut self, tap: Id) {
        debug_assert!(self.taps[tap].member.turn.is_none() && self.taps[tap].granted == 0);
        self.taps.remove(tap);
    }

    /// Serves whom rates have made fuel for. Answers in how many nanoseconds there will be more for
    /// somebody who waits, if ever.
    pub(crate) fn tick(&mut self, now: u64, woken: &mut Vec<W>) -> Option<u64> {
        let waited_for = |(id, tank): (Id, &Tank)| (!tank.queue.is_empty()).then_some(id);
        let ids: Vec<Id> = self.tanks.iter().filter_map(waited_for).collect();
        let mut next: Option<u64> = None;
        for id in ids {
            self.credit(id, now, woken);
            let tank = &self.tanks[id];
            if tank.bucket.rate() == 0 || tank.queue.is_empty() {
                continue;
            }
            let wanted = self.wanted(id, self.head(id));
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
            if tank.bucket.rate() > 0 && !tank.queue.is_empty() {
                let time = tank.bucket.time_until(self.wanted(id, self.head(id)));
                next = next.into_iter().chain(time).min();
            }
            at = tank.parent;
        }
        next
    }

    /// Pours in what a tank's rate made, and deals it out.
    fn credit(&mut self, tank: Id, now: u64, woken: &mut Vec<W>) {
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
    fn wanted(&self, tank: Id, tap: Id) -> u64 {
        let bucket = &self.tanks[tank].bucket;
        if bucket.rate() == 0 {
            return 1;
        }
        self.taps[tap].slice.min(bucket.rate() / PATIENCE).min(bucket.capacity()).max(1)
    }

    /// How much a tap may hold.
    fn most_ahead(&self, tank: Id, slice: u64) -> u64 {
        (self.tanks[tank].bucket.rate() / RATE_AHEAD).max(slice.saturating_mul(SLICES_AHEAD))
    }

    /// The tap whose turn it is in a tank's queue, which is not empty.
    fn head(&self, mut tank: Id) -> Id {
        loop {
            let (_, &child) = self.tanks[tank].queue.first_key_value().expect("somebody waits");
            match child {
                Child::Tap(tap) => return tap,
                Child::Tank(child) => tank = child,
            }
        }
    }

    /// Whether the tap whose turn it is in a tank's queue is the only one there.
    fn is_alone(&self, mut tank: Id) -> bool {
        loop {
            let queue = &self.tanks[tank].queue;
            match queue.first_key_value() {
                Some((_, &Child::Tank(child))) if queue.len() == 1 => tank = child,
                _ => return queue.len() == 1,
            }
        }
    }

    /// Grants from a tank's level to a tap before which nobody waits.
    ///
    /// Where there is plenty it gets some slices ahead, which saves it the way here, but never so
    /// many that all taps together could take more than half of the level.
    fn serve_at_once(&mut self, tank: Id, tap: Id) {
        let slice = self.taps[tap].slice;
        let level = self.tanks[tank].bucket.level();
        let plenty = level / (2 * self.taps.len() as u64);
        self.grant(tank, tap, plenty.min(slice.saturating_mul(SLICES_AHEAD)).max(slice));
    }

    fn grant(&mut self, tank: Id, tap: Id, most: u64) {
        let fuel = self.tanks[tank].bucket.take(most);
        self.taps[tap].granted += fuel;
        self.taps[tap].payer = tank;
        self.charge(tap, tank, fuel.into());
    }

    /// Deals from all tanks above a tap.
    fn deal_above(&mut self, tap: Id, woken: &mut Vec<W>) {
        let mut at = Some(self.taps[tap].tank);
        while let Some(tank) = at {
            self.deal(tank, woken);
            at = self.tanks[tank].parent;
        }
    }

    /// Deals a tank's level out to those who wait below it, as the module's top says. Who got
    /// something waits no longer.
    fn deal(&mut self, tank: Id, woken: &mut Vec<W>) {
        // Who is then in front may be content with less.
        while !self.deal_round(tank, woken) {}
    }

    /// Answers whether nobody could be served.
    fn deal_round(&mut self, tank: Id, woken: &mut Vec<W>) -> bool {
        let portion = self.tanks[tank].bucket.level() / PORTIONS.max(self.waiting);
        let mut served = Vec::new();
        while !self.tanks[tank].queue.is_empty() {
            let tap = self.head(tank);
            let (slice, granted) = (self.taps[tap].slice, self.taps[tap].granted);
            let bucket = &self.tanks[tank].bucket;
            if bucket.level() < self.wanted(tank, tap) {
                break;
            }
            // What does not fit the tank would be lost: somebody may have it sooner.
            let plenty = granted > 0 && self.is_alone(tank) && bucket.level() <= bucket.capacity();
            let ahead = self.most_ahead(tank, slice);
            if plenty || granted >= ahead {
                self.dequeue(tap);
                continue;
            }
            if granted == 0 {
                served.push(tap);
            }
            self.grant(tank, tap, slice.max(portion).min(ahead - granted));
        }
        for &tap in &served {
            self.dequeue(tap);
            woken.extend(self.taps[tap].waker.take());
        }
        served.is_empty()
    }

    fn member(&mut self, child: Child) -> &mut Member {
        match child {
            Child::Tank(tank) => &mut self.tanks[tank].member,
            Child::Tap(tap) => &mut self.taps[tap].member,
        }
    }

    /// Puts a tap, and the tanks that it is in, into the queues where they are not yet.
    fn enqueue(&mut self, tap: Id) {
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
    fn dequeue(&mut self, tap: Id) {
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
    fn charge(&mut self, tap: Id, payer: Id, fuel: i128) {
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

#[cfg(test)]
impl<W> Ledger<W> {
    /// All fuel that is in tanks, or granted and not yet handed out.
    pub(crate) fn held(&self) -> u128 {
        let levels = self.tanks.iter().map(|(_, tank)| u128::from(tank.bucket.level()));
        levels.chain(self.taps.iter().map(|(_, tap)| tap.granted.into())).sum()
    }

    /// The invariants of the module's top.
    pub(crate) fn check(&self) {
        let mut queued = 0;
        for (id, tank) in &self.tanks {
            for (turn, child) in &tank.queue {
                let (parent, member) = match *child {
                    Child::Tank(child) => (self.tanks[child].parent, &self.tanks[child].member),
                    Child::Tap(tap) => (Some(self.taps[tap].tank), &self.taps[tap].member),
                };
                assert_eq!((parent, member.turn), (Some(id), Some(*turn)));
                queued += 1;
            }
            let in_parents = tank.member.turn.is_some();
            assert_eq!(in_parents, tank.parent.is_some() && !tank.queue.is_empty(), "tank {id}");
            // At a rate the next tick sees to it.
            if !tank.queue.is_empty() && tank.bucket.rate() == 0 {
                assert_eq!(tank.bucket.level(), 0, "somebody waits at tank {id}");
            }
        }
        let waiting = self.taps.iter().filter(|(_, tap)| tap.member.turn.is_some()).count();
        let tanks = self.tanks.iter().filter(|(_, tank)| tank.member.turn.is_some()).count();
        assert_eq!((queued, self.waiting), (waiting + tanks, waiting as u64));
        for (id, tap) in &self.taps {
            assert!(tap.granted == 0 || tap.member.turn.is_none(), "tap {id} waits for nothing");
            assert!(tap.granted == 0 || tap.waker.is_none(), "tap {id} was not woken");
        }
    }
}
