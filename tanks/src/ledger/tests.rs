//! The state machine on its own: turns, shares, and random histories in which no unit is lost.

use super::{Child, Drawn, Id, Ledger, Scarce};

const MS: u64 = 1_000_000;

fn draw(ledger: &mut Ledger<Id>, tap: Id, slice: u64, now: u64) -> Option<u64> {
    let drawn = ledger.draw(tap, slice, now, &mut Vec::new());
    match drawn {
        Drawn::Fuel(fuel) => Some(fuel),
        Drawn::Dry => {
            ledger.set_waker(tap, tap);
            None
        }
        Drawn::Closed => panic!("nobody closed it"),
    }
}

#[test]
fn first_come_first_served() {
    let (mut ledger, tank) = Ledger::new(u64::MAX);
    let taps: Vec<Id> = (0..100).map(|_| ledger.add_tap(tank)).collect();
    for &tap in taps.iter().rev() {
        assert_eq!(draw(&mut ledger, tap, 10, 0), None);
    }
    for &tap in taps.iter().rev() {
        assert_eq!(ledger.add(tank, 10, 0), (0, vec![tap]));
        assert_eq!(draw(&mut ledger, tap, 10, 0), Some(10));
    }
}

#[test]
fn nobody_overtakes_who_waits() {
    let (mut ledger, tank) = Ledger::new(u64::MAX);
    let (one, two) = (ledger.add_tap(tank), ledger.add_tap(tank));
    assert_eq!(draw(&mut ledger, one, 10, 0), None);
    assert_eq!(ledger.add(tank, 10, 0).1, [one]);
    // What is there is the other's, although that has not come for it.
    assert_eq!(draw(&mut ledger, two, 10, 0), None);
    assert_eq!(draw(&mut ledger, one, 10, 0), Some(10));
}

#[test]
fn who_wants_little_does_not_overtake_who_waits_for_much() {
    let (mut ledger, tank) = Ledger::new(1_000_000);
    let (much, little) = (ledger.add_tap(tank), ledger.add_tap(tank));
    let _ = ledger.set_rate(tank, 1_000_000, 0);
    assert_eq!(draw(&mut ledger, much, 5_000, 0), None);
    assert_eq!(draw(&mut ledger, little, 1_000, 3 * MS), None);
    assert_eq!(draw(&mut ledger, much, 5_000, 5 * MS), Some(5_000));
    assert_eq!(draw(&mut ledger, little, 1_000, 6 * MS), Some(1_000));
}

/// Lets guests burn all that they get, and wait; adds `fuel` in each of `rounds`. Answers what each
/// got.
fn shares(weights: &[u32], slices: &[u64], fuel: u64, rounds: u64) -> Vec<u64> {
    let (mut ledger, machine) = Ledger::new(u64::MAX);
    let tanks: Vec<Id> = weights.iter().map(|&w| ledger.add_child(machine, w)).collect();
    let taps: Vec<Id> = tanks.iter().map(|&tank| ledger.add_tap(tank)).collect();
    let mut got = vec![0; taps.len()];
    for _ in 0..rounds {
        for (index, &tap) in taps.iter().enumerate() {
            while let Some(fuel) = draw(&mut ledger, tap, slices[index], 0) {
                got[index] += fuel;
            }
        }
        let _ = ledger.add(machine, fuel, 0);
        ledger.check();
    }
    got
}

#[test]
fn those_who_wait_share_by_weight() {
    for (fuel, slice) in [(1000, 100), (100_000, 20_000), (7, 1), (64, 1000)] {
        let got = shares(&[3, 1, 2], &[slice; 3], fuel, 1000);
        let all: u64 = got.iter().sum();
        for (share, weight) in got.iter().zip([3, 1, 2]) {
            let due = all * weight / 6;
            assert!(share.abs_diff(due) <= all / 100, "{got:?} of {fuel} in slices of {slice}");
        }
    }
}

/// What taps of two tanks get of processors, where `busy` of them run at a time and nobody is short
/// of fuel.
fn turns(weights: [u32; 2], taps: [usize; 2], slices: [u64; 2], busy: usize) -> [u64; 2] {
    let (mut ledger, machine) = Ledger::new(u64::MAX);
    let mut guests = Vec::new();
    for tenant in 0..2 {
        let tank = ledger.add_child(machine, weights[tenant]);
        guests.extend((0..taps[tenant]).map(|_| (ledger.add_tap(tank), tenant)));
    }
    let mut got = [0; 2];
    let tenant_of = |tap| guests.iter().find(|guest| guest.0 == tap).unwrap().1;
    let mut running: std::collections::VecDeque<Id> = Default::default();
    for &(tap, tenant) in &guests {
        ledger.wait_to_run(tap, slices[tenant], tap).unwrap();
    }
    for _ in 0..10_000 {
        while running.len() < busy {
            running.extend(ledger.run_next().flatten());
        }
        let done = running.pop_front().unwrap();
        let tenant = tenant_of(done);
        got[tenant] += slices[tenant];
        ledger.wait_to_run(done, slices[tenant], done).unwrap();
        ledger.check();
    }
    got
}

#[test]
fn those_who_wait_to_run_have_turns_by_weight() {
    for (taps, slices, busy) in [
        ([4, 6], [100, 100], 1),
        ([4, 6], [100, 100], 3),
        ([1, 50], [100, 100], 1),
        ([3, 3], [500, 10], 2),
        ([3, 3], [10, 500], 2),
    ] {
        let got = turns([3, 1], taps, slices, busy);
        assert!(got[0].abs_diff(3 * got[1]) <= got[0] / 50, "{got:?} with {busy} busy");
    }
    let got = turns([0, 1], [3, 3], [10, 10], 2);
    assert_eq!(got[0], 0, "weight zero has what others leave: {got:?}");
}

#[test]
fn the_size_of_a_slice_gives_no_advantage() {
    let got = shares(&[1, 1], &[10, 1000], 3000, 1000);
    assert!(got[0].abs_diff(got[1]) <= 3000 * 1000 / 100, "{got:?}");
}

#[test]
fn weight_zero_has_what_others_leave() {
    let got = shares(&[0, 1], &[10, 10], 50, 100);
    assert_eq!(got[0], 0, "{got:?}");
    let got = shares(&[0], &[10], 50, 100);
    assert_eq!(got[0], 50 * 99);
}

#[test]
fn who_was_away_is_not_owed() {
    let (mut ledger, machine) = Ledger::new(u64::MAX);
    let tanks = [ledger.add_child(machine, 1), ledger.add_child(machine, 1)];
    let [busy, late] = tanks.map(|tank| ledger.add_tap(tank));
    for _ in 0..1000 {
        assert_eq!(draw(&mut ledger, busy, 10, 0), None);
        let _ = ledger.add(machine, 10, 0);
        assert_eq!(draw(&mut ledger, busy, 10, 0), Some(10));
    }
    let mut got = [0, 0];
    for _ in 0..100 {
        for (index, tap) in [busy, late].into_iter().enumerate() {
            while let Some(fuel) = draw(&mut ledger, tap, 10, 0) {
                got[index] += fuel;
            }
        }
        let _ = ledger.add(machine, 10, 0);
    }
    // The later one is let in front by what it could have been dealt ahead, 8 slices.
    assert!(got[1].abs_diff(got[0]) <= 2 * 80, "{got:?}");
}

#[test]
fn a_rate_serves_whole_slices() {
    let (mut ledger, tank) = Ledger::new(1_000_000);
    let tap = ledger.add_tap(tank);
    let _ = ledger.set_rate(tank, 1_000_000, 0);
    assert_eq!(draw(&mut ledger, tap, 5_000, 0), None);
    assert_eq!(ledger.time_to_serve(tap), Some(5 * MS));
    let mut woken = Vec::new();
    assert_eq!(ledger.tick(4 * MS, &mut woken), Some(MS));
    assert_eq!(woken, []);
    assert_eq!(draw(&mut ledger, tap, 5_000, 4 * MS), None, "an early look gains nothing");
    assert_eq!(ledger.tick(5 * MS, &mut woken), None);
    assert_eq!(woken, [tap]);
    assert_eq!(draw(&mut ledger, tap, 5_000, 5 * MS), Some(5_000));
    // Nobody waits longer than 10 ms for what there is by then.
    assert_eq!(draw(&mut ledger, tap, 500_000, 5 * MS), None);
    assert_eq!(ledger.tick(15 * MS, &mut woken), None);
    assert_eq!(draw(&mut ledger, tap, 500_000, 15 * MS), Some(10_000));
}

#[test]
fn what_a_small_burst_cannot_hold_goes_to_those_who_wait() {
    let (mut ledger, tank) = Ledger::new(1_000);
    let tap = ledger.add_tap(tank);
    let _ = ledger.set_rate(tank, 10_000_000, 0);
    assert_eq!(draw(&mut ledger, tap, 1_000, 0), None);
    let _ = ledger.tick(MS, &mut Vec::new());
    assert_eq!(draw(&mut ledger, tap, 1_000, MS), Some(9_000));
    assert_eq!(ledger.level(tank, MS).0, 1_000);
}

#[test]
fn closing_wakes_those_below_and_nobody_else() {
    let (mut ledger, machine) = Ledger::new(u64::MAX);
    let (one, two) = (ledger.add_child(machine, 1), ledger.add_child(machine, 1));
    let below = ledger.add_child(one, 1);
    let taps = [one, below, two].map(|tank| ledger.add_tap(tank));
    taps.iter().for_each(|&tap| assert_eq!(draw(&mut ledger, tap, 1, 0), None));
    let (mut closed, mut woken) = ledger.close(one);
    closed.sort_unstable();
    woken.sort_unstable();
    assert_eq!((closed, woken), (vec![one, below], taps[..2].to_vec()));
    assert_eq!(ledger.draw(taps[1], 1, 0, &mut Vec::new()), Drawn::Closed);
    assert_eq!(ledger.add(one, 5, 0).0, 5);
    assert_eq!(ledger.add(machine, 5, 0).1, [taps[2]]);
}

struct Rng(u64);

impl Rng {
    /// SplitMix64.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

impl<W> Ledger<W> {
    /// All fuel that is in tanks, or granted and not yet handed out.
    fn held(&self) -> u128 {
        let levels = self.tanks.iter().map(|(_, tank)| u128::from(tank.bucket.level()));
        levels.chain(self.taps.iter().map(|(_, tap)| tap.granted.into())).sum()
    }

    /// The invariants of the module's top.
    fn check(&self) {
        self.check_line(Scarce::Fuel);
        self.check_line(Scarce::Processor);
        for (id, tank) in &self.tanks {
            // At a rate the next tick sees to it.
            if !tank.queue().is_empty() && tank.bucket.rate() == 0 {
                assert_eq!(tank.bucket.level(), 0, "somebody waits at tank {id}");
            }
        }
        let turn = |tap: &super::Tap<W>, of: Scarce| tap.member.standing[of].turn;
        let waiting = self.taps.iter().filter(|(_, tap)| turn(tap, Scarce::Fuel).is_some());
        assert_eq!(self.waiting, waiting.count() as u64);
        for (id, tap) in &self.taps {
            let [fuel, processor] = [Scarce::Fuel, Scarce::Processor].map(|of| turn(tap, of));
            assert!(fuel.is_none() || processor.is_none(), "tap {id} waits twice");
            assert!(tap.granted == 0 || fuel.is_none(), "tap {id} waits for nothing");
            assert!(tap.granted == 0 || tap.waker.is_none(), "tap {id} was not woken");
        }
    }

    fn check_line(&self, scarce: Scarce) {
        let mut queued = 0;
        for (id, tank) in &self.tanks {
            let queue = &tank.lines[scarce].queue;
            for (turn, child) in queue {
                let (parent, member) = match *child {
                    Child::Tank(child) => (self.tanks[child].parent, &self.tanks[child].member),
                    Child::Tap(tap) => (Some(self.taps[tap].tank), &self.taps[tap].member),
                };
                assert_eq!((parent, member.standing[scarce].turn), (Some(id), Some(*turn)));
                queued += 1;
            }
            let in_parents = tank.member.standing[scarce].turn.is_some();
            assert_eq!(in_parents, tank.parent.is_some() && !queue.is_empty(), "tank {id}");
        }
        let members = self.taps.iter().map(|(_, tap)| &tap.member);
        let members = members.chain(self.tanks.iter().map(|(_, tank)| &tank.member));
        let turns = members.filter(|member| member.standing[scarce].turn.is_some());
        assert_eq!(queued, turns.count());
    }
}

/// A random history, and where each unit is.
struct History {
    rng: Rng,
    ledger: Ledger<Id>,
    tanks: Vec<Id>,
    /// Those that have no members.
    taps: Vec<(Id, Id, u64)>,
    parents: Vec<(Id, Id)>,
    now: u64,
    added: u128,
    gone: u128,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut rng = Rng(seed);
        let (ledger, root) = Ledger::new(rng.pick(&[0, 1, 5_000, 1_000_000, u64::MAX]));
        let (taps, parents) = (Vec::new(), Vec::new());
        Self { rng, ledger, tanks: vec![root], taps, parents, now: 0, added: 0, gone: 0 }
    }

    fn step(&mut self) {
        let tank = self.rng.pick(&self.tanks);
        match self.rng.below(20) {
            0 if self.tanks.len() < 12 => {
                let weight = self.rng.pick(&[0, 1, 1, 3, 1000, u32::MAX]);
                let child = self.ledger.add_child(tank, weight);
                self.tanks.push(child);
                self.parents.push((child, tank));
            }
            1 => self.remove(tank),
            2..4 if self.taps.len() < 30 => self.taps.push((self.ledger.add_tap(tank), tank, 0)),
            4..7 => {
                let fuel = self.rng.pick(&[0, 1, 100, 5_000, 1 << 20, 1 << 50]);
                let (refused, _) = self.ledger.add(tank, fuel, self.now);
                self.added += u128::from(fuel - refused);
            }
            7 => self.gone += u128::from(self.ledger.drain(tank, self.now).0),
            8 => {
                let rate = self.rng.pick(&[0, 1, 1_000, 1_000_000, 1 << 40, u64::MAX / 1000]);
                let _ = self.ledger.set_rate(tank, rate, self.now);
            }
            9..12 => {
                self.now += self.rng.pick(&[0, 1, 1_000, MS, 30 * MS]);
                let _ = self.ledger.tick(self.now, &mut Vec::new());
            }
            12 => drop(self.ledger.level(tank, self.now)),
            14 => drop(self.ledger.run_next()),
            13 if self.rng.below(30) == 0 => drop(self.ledger.close(tank)),
            _ => self.guest(),
        }
    }

    fn remove(&mut self, tank: Id) {
        let has_members = self.taps.iter().any(|(_, of, _)| *of == tank)
            || self.parents.iter().any(|(_, parent)| *parent == tank);
        if tank != self.tanks[0] && !has_members {
            let _ = self.ledger.remove_tank(tank, self.now);
            self.tanks.retain(|&other| other != tank);
            self.parents.retain(|&(child, _)| child != tank);
        }
    }

    /// Something that a guest does, or that is done to it.
    fn guest(&mut self) {
        if self.taps.is_empty() {
            return;
        }
        let index = self.rng.below(self.taps.len() as u64) as usize;
        let (tap, _, unused) = &mut self.taps[index];
        match self.rng.below(8) {
            0..5 => {
                self.gone += u128::from(*unused);
                *unused = 0;
                let slice = self.rng.pick(&[1, 7, 100, 10_000, 1 << 40, u64::MAX]);
                // Who draws has had its turn.
                let _ = self.ledger.stop_waiting_to_run(*tap);
                match self.ledger.draw(*tap, slice, self.now, &mut Vec::new()) {
                    Drawn::Fuel(fuel) => {
                        *unused = fuel;
                        let _ = self.ledger.wait_to_run(*tap, fuel, *tap);
                    }
                    Drawn::Dry => drop(self.ledger.set_waker(*tap, *tap)),
                    Drawn::Closed => {}
                }
            }
            5..7 => drop(self.ledger.leave(*tap, std::mem::take(unused))),
            _ => {
                let (tap, _, unused) = self.taps.swap_remove(index);
                let _ = self.ledger.leave(tap, unused);
                self.ledger.remove_tap(tap);
            }
        }
    }

    fn check(&self) {
        self.ledger.check();
        let unused: u128 = self.taps.iter().map(|(_, _, unused)| u128::from(*unused)).sum();
        let came = self.added + self.ledger.credited;
        assert_eq!(came, self.gone + unused + self.ledger.held(), "fuel was lost or made");
    }
}

#[test]
fn no_unit_is_lost_or_made() {
    let seed = match std::env::var("LAMPWICK_SEED") {
        Ok(seed) => seed.parse().expect("LAMPWICK_SEED is a number"),
        Err(_) => std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64,
    };
    println!("no_unit_is_lost_or_made: LAMPWICK_SEED={seed}");
    for round in 0..300 {
        let mut history = History::new(seed ^ round);
        for _ in 0..500 {
            history.step();
            history.check();
        }
    }
}
