//! The locks under `shuttle`, which picks the interleaving of threads, and calls a deadlock what is
//! a lost wake-up.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use shuttle::future::block_on;
use shuttle::{check_pct, check_random, thread};

use crate::{FuelTank, TankClosed, Tap};

const SLICE: u64 = 10;

fn check(scenario: impl Fn() + Send + Sync + Copy + 'static) {
    check_random(scenario, 2000);
    check_pct(scenario, 2000, 3);
}

async fn draw(tap: &mut Tap) -> Result<u64, TankClosed> {
    poll_fn(|context| tap.poll_draw(context, SLICE)).await
}

/// Draws a slice as a future that one task polls once, and then another to its end: that one is
/// who must be woken.
fn draw_elsewhere(tap: &mut Tap) -> Result<u64, TankClosed> {
    match tap.poll_draw(&mut Context::from_waker(Waker::noop()), SLICE) {
        Poll::Ready(drawn) => drawn,
        Poll::Pending => block_on(draw(tap)),
    }
}

/// Draws this many slices, waiting for each.
fn drawer(tank: &FuelTank, slices: u64) -> thread::JoinHandle<u64> {
    let mut tap = Tap::new(tank);
    thread::spawn(move || {
        let mut burned = 0;
        while burned < slices * SLICE {
            burned += draw_elsewhere(&mut tap).expect("nobody closes it");
        }
        burned
    })
}

/// Draws as [`drawer`], and waits for its turn before each slice.
fn runner(tank: &FuelTank, slices: u64) -> thread::JoinHandle<u64> {
    let mut tap = Tap::new(tank);
    thread::spawn(move || {
        let mut burned = 0;
        while burned < slices * SLICE {
            let Ok(fuel) = draw_elsewhere(&mut tap) else { break };
            let waits = tap.poll_turn(&mut Context::from_waker(Waker::noop()), fuel);
            if waits.is_pending() {
                block_on(poll_fn(|context| tap.poll_turn(context, fuel)));
            }
            burned += fuel;
        }
        burned
    })
}

/// Adds this many slices, one by one.
fn fill(tank: &FuelTank, slices: u64) -> thread::JoinHandle<()> {
    let tank = tank.clone();
    thread::spawn(move || {
        for _ in 0..slices {
            tank.add(SLICE);
        }
    })
}

#[test]
fn everybody_is_served_in_the_end() {
    check(|| {
        let machine = FuelTank::new(u64::MAX);
        let (one, two) = (machine.child(3), machine.child(1));
        let drawers = [drawer(&one, 2), drawer(&one, 2), drawer(&two, 2)];
        let filler = fill(&machine, 6);
        let burned: u64 = drawers.into_iter().map(|drawer| drawer.join().unwrap()).sum();
        filler.join().unwrap();
        drop((one, two));
        assert_eq!(burned + machine.level(), 6 * SLICE);
    });
}

#[test]
fn who_leaves_the_line_takes_nothing_along() {
    check(|| {
        let tank = FuelTank::new(u64::MAX);
        let (mut tried, mut impatient) = (Tap::new(&tank), Tap::new(&tank));
        // Does not wait, and is there to the end.
        assert_eq!(tried.try_draw(SLICE), Ok(None));
        // In line before the other one, and gone at some time.
        let polled = {
            let mut waiting = pin!(draw(&mut impatient));
            waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        };
        assert!(polled.is_pending());
        let leaver = thread::spawn(move || drop(impatient));
        let patient = drawer(&tank, 2);
        let filler = fill(&tank, 2);
        leaver.join().unwrap();
        filler.join().unwrap();
        assert_eq!(patient.join().unwrap() + tank.level(), 2 * SLICE);
    });
}

#[test]
fn closing_reaches_who_draws_and_who_waits() {
    check(|| {
        let machine = FuelTank::new(u64::MAX);
        let tank = machine.child(1);
        machine.add(2 * SLICE);
        let drawers: Vec<_> = (0..2)
            .map(|_| {
                let mut tap = Tap::new(&tank);
                thread::spawn(move || {
                    let mut burned = 0;
                    while let Ok(fuel) = block_on(draw(&mut tap)) {
                        burned += fuel;
                    }
                    burned
                })
            })
            .collect();
        let late = [&machine, &tank].map(|parent| {
            let parent = parent.clone();
            thread::spawn(move || parent.child(1))
        });
        let closer = thread::spawn(move || tank.close());
        let burned: u64 = drawers.into_iter().map(|drawer| drawer.join().unwrap()).sum();
        closer.join().unwrap();
        let [open, closed] = late.map(|late| late.join().unwrap());
        assert!(!open.is_closed(), "only the child was closed");
        assert!(closed.is_closed());
        assert_eq!(Tap::new(&closed).try_draw(SLICE), Err(TankClosed));
        drop(closed);
        assert_eq!(burned + machine.level(), 2 * SLICE);
    });
}

#[test]
fn what_a_tank_held_is_its_parents_when_it_goes() {
    check(|| {
        let machine = FuelTank::new(u64::MAX);
        let child = machine.child(1);
        child.add(3 * SLICE);
        let waiter = drawer(&machine, 3);
        let drawer = drawer(&child, 0);
        let dropper = thread::spawn(move || drop(child));
        drawer.join().unwrap();
        dropper.join().unwrap();
        assert_eq!(waiter.join().unwrap() + machine.level(), 3 * SLICE);
    });
}

#[test]
fn everybody_has_a_turn_whoever_leaves_the_line() {
    check(|| {
        let machine = FuelTank::new(u64::MAX);
        machine.add(100 * SLICE);
        let (one, two) = (machine.child(3), machine.child(1));
        let mut leaver = Tap::new(&one);
        let runners = [runner(&one, 2), runner(&two, 2)];
        let leaver = thread::spawn(move || {
            let waker = Waker::noop();
            let fuel = leaver.try_draw(SLICE).unwrap().unwrap();
            let _ = leaver.poll_turn(&mut Context::from_waker(waker), fuel);
            fuel
        });
        let burned: u64 = runners.into_iter().map(|runner| runner.join().unwrap()).sum();
        let burned = burned + leaver.join().unwrap();
        drop((one, two));
        assert_eq!(burned + machine.level(), 100 * SLICE);
    });
}

#[test]
fn closing_reaches_who_waits_for_a_turn() {
    check(|| {
        let machine = FuelTank::new(u64::MAX);
        machine.add(100 * SLICE);
        let tank = machine.child(1);
        let runners = [runner(&tank, 3), runner(&tank, 3), runner(&machine, 2)];
        let closer = thread::spawn(move || tank.close());
        let burned: u64 = runners.into_iter().map(|runner| runner.join().unwrap()).sum();
        closer.join().unwrap();
        assert_eq!(burned + machine.level(), 100 * SLICE);
    });
}
