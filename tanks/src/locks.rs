//! How often guests meet at the lock of their tree: a draw from what a tap has ahead takes none.

use std::future::poll_fn;
use std::sync::atomic::Ordering;

use crate::{FuelTank, Tap};

const GUESTS: u64 = 50;
const SLICES: u64 = 800;

/// Where there is plenty and all want to run, how often a guest takes the lock for each of its slices; in its
/// turns, and in draws alone.
async fn locks_for_a_slice(slice: u64, in_turns: bool) -> f64 {
    let machine = FuelTank::new(u64::MAX);
    machine.add(u64::MAX);
    let tenants: Vec<_> = (1..=10).map(|weight| machine.child(weight)).collect();
    let taps: Vec<_> = (0..GUESTS).map(|at| Tap::new(&tenants[at as usize % 10])).collect();
    let locks = || machine.place().tree().locks.load(Ordering::Relaxed);
    let before = locks();
    let guests = taps.into_iter().map(|mut tap| {
        tokio::spawn(async move {
            for _ in 0..SLICES {
                assert_eq!(tap.try_draw(slice), Ok(Some(slice)));
                if in_turns {
                    poll_fn(|context| tap.poll_turn(context, slice)).await;
                }
            }
            tap
        })
    });
    let guests: Vec<_> = guests.collect();
    let mut taps = Vec::new();
    for guest in guests {
        taps.push(guest.await.unwrap());
    }
    (locks() - before) as f64 / (GUESTS * SLICES) as f64
}

#[tokio::test]
async fn a_slice_that_was_drawn_ahead_takes_no_lock() {
    // Eight slices at a time, or a turn's.
    for (slice, most) in [(1_000, 0.01), (10_000, 1.0 / 16.0), (100_000, 0.125), (1 << 30, 0.125)] {
        let locks = locks_for_a_slice(slice, false).await;
        assert!(locks <= most, "{locks} locks for each draw of {slice}");
    }
}

/// Three more for each turn: to get in line, to be called, to see that it is one's turn.
#[tokio::test]
async fn a_turn_takes_the_lock_three_times() {
    for (slice, slices_in_turn) in [(1_000, 100.0), (10_000, 16.0), (100_000, 1.0), (1 << 30, 1.0)]
    {
        let draws = 1.0 / f64::max(8.0, slices_in_turn);
        let locks = locks_for_a_slice(slice, true).await;
        let most = draws + 3.0 / slices_in_turn + 0.01;
        assert!(locks <= most, "{locks} locks for each slice of {slice}, where {most} would do");
    }
}
