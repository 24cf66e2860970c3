//! What a draw costs: nanoseconds for each slice, with one tap and with 10,000 of them, on one
//! thread and on several, where there is plenty; and for each guest that waits and is served.

use std::hint::black_box;
use std::task::{Context, Waker};
use std::time::Instant;

use lampwick_tanks::measure::ledger_time;
use lampwick_tanks::{FuelTank, Tap};

const SLICE: u64 = 1000;
const DRAWS: u64 = 2_000_000;

/// Nanoseconds of a thread for each draw, where all threads draw at a time, each with its part of
/// the taps in turn.
fn plenty(threads: usize, taps: usize) -> f64 {
    let machine = FuelTank::new(u64::MAX);
    machine.add(u64::MAX);
    let tenants: Vec<_> = (1..=10).map(|weight| machine.child(weight)).collect();
    let part = |_| -> Vec<_> {
        (0..taps.div_ceil(threads)).map(|index| Tap::new(&tenants[index % 10])).collect()
    };
    let parts: Vec<Vec<Tap>> = (0..threads).map(part).collect();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for mut part in parts {
            scope.spawn(move || {
                for index in 0..DRAWS as usize {
                    let count = part.len();
                    black_box(part[index % count].try_draw(SLICE)).expect("it is open");
                }
                part
            });
        }
    });
    start.elapsed().as_nanos() as f64 / DRAWS as f64
}

/// Nanoseconds for each guest that waits, is served in turn, and waits again.
fn dry(taps: usize) -> f64 {
    let tank = FuelTank::new(u64::MAX);
    let mut taps: Vec<_> = (0..taps).map(|_| Tap::new(&tank)).collect();
    let mut context = Context::from_waker(Waker::noop());
    let rounds = DRAWS as usize / 10 / taps.len();
    let start = Instant::now();
    for _ in 0..rounds {
        for tap in &mut taps {
            let _ = black_box(tap.poll_draw(&mut context, SLICE));
        }
        tank.add(SLICE * taps.len() as u64);
        for tap in &mut taps {
            assert!(tap.poll_draw(&mut context, SLICE).is_ready());
        }
    }
    start.elapsed().as_nanos() as f64 / (rounds * taps.len()) as f64
}

fn main() {
    println!("ns for which a turn keeps the lock of its tree, where all want to run");
    for guests in [10, 100, 1_000, 10_000] {
        let time = || ledger_time(guests, 100.min(guests / 10), 10 * SLICE, 200_000);
        let (slices, best) = (0..9).map(|_| time()).min().expect("there are some");
        println!("  {guests:>6} guests, {slices:>3} slices: {:>7}", best.as_nanos());
    }
    println!("ns for each slice, where there is plenty");
    for taps in [1, 100, 10_000] {
        for threads in [1, 2, 4] {
            println!("  {taps:>6} taps on {threads} threads: {:>7.1}", plenty(threads, taps));
        }
    }
    println!("ns for each guest that waits and is served");
    for taps in [1, 100, 10_000] {
        println!("  {taps:>6} taps: {:>7.1}", dry(taps));
    }
}
