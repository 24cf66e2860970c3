//! What is done under a tree's lock, alone, for benches: nothing else can tell how many workers it
//! bears.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::ledger::{Drawn, Ledger};

/// How many slices a guest burns in a turn, and how long one takes the ledger where `guests` of as many tenants' tanks draw `slice`
/// units at a time, all of whom wait to run: the draws, its place in line, and its turn.
///
/// # Panics
///
/// If there are less than two guests.
pub fn ledger_time(guests: usize, tenants: usize, slice: u64, turns: u32) -> (u64, Duration) {
    assert!(guests > 1, "one guest waits for nobody: {guests}");
    let (mut ledger, root) = Ledger::new(u64::MAX);
    let _all = ledger.add(root, u64::MAX, 0);
    let weights = (1..=100).cycle().take(tenants.max(1));
    let tanks: Vec<_> = weights.map(|weight| ledger.add_child(root, weight)).collect();
    let taps: Vec<_> = (0..guests).map(|at| ledger.add_tap(tanks[at % tanks.len()])).collect();
    let burst = ledger.burst(slice);
    let mut woken = Vec::new();
    let mut turn = |ledger: &mut Ledger<usize>, tap, now| {
        let mut drawn = 0;
        while drawn < burst {
            match ledger.draw(tap, slice, now, &mut woken) {
                Drawn::Fuel(fuel) => drawn += fuel,
                Drawn::Dry | Drawn::Closed => unreachable!("there is plenty"),
            }
        }
        black_box(ledger.wait_to_run(tap, burst, tap)).expect("others wait, too");
    };
    for &tap in &taps {
        turn(&mut ledger, tap, 0);
    }
    let start = Instant::now();
    for now in 0..turns {
        let tap = ledger.run_next().flatten().expect("all wait, asleep");
        turn(&mut ledger, tap, now.into());
    }
    (burst / slice.max(1), start.elapsed() / turns)
}
