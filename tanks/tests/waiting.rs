//! Waiting for a rate: in tokio, outside of it, beside those who are gone.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures::executor::block_on;
use lampwick_tanks::{FuelTank, TankClosed, Tap};

const RATE: u64 = 1_000_000;
/// Takes a millisecond.
const SLICE: u64 = 1_000;

async fn draw(tap: &mut Tap) -> Result<u64, TankClosed> {
    poll_fn(|context| tap.poll_draw(context, SLICE)).await
}

/// Draws this much, and gives back what it did not need.
async fn burn(tank: FuelTank, fuel: u64) {
    let mut tap = Tap::new(&tank);
    let mut burned = 0;
    while burned < fuel {
        burned += draw(&mut tap).await.unwrap();
    }
    tap.give_back(burned - fuel);
}

/// Polls once, with a waker that does nothing.
fn waits(tap: &mut Tap) {
    let mut drawing = pin!(draw(tap));
    assert!(drawing.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
}

fn timer_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let name = |task: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default()
    };
    tasks.map(name).filter(|name| name.trim() == "fuel-timer").count()
}

#[test]
fn outside_of_a_runtime_a_thread_ticks_while_somebody_waits() {
    let tank = FuelTank::with_rate(RATE, RATE);
    let start = Instant::now();
    block_on(burn(tank.clone(), 20 * SLICE));
    let elapsed = start.elapsed();
    assert!(elapsed >= Duration::from_millis(19), "{elapsed:?}");
    assert!(elapsed <= Duration::from_secs(5), "{elapsed:?}");
    // It ends by itself, with this tree's last tick; others' may be there.
    let end = Instant::now() + Duration::from_secs(20);
    while timer_threads() > 0 {
        assert!(Instant::now() < end, "a timer, though nobody waits");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn in_a_runtime_its_clock_counts() {
    let tank = FuelTank::with_rate(RATE, RATE);
    let start = tokio::time::Instant::now();
    burn(tank.clone(), 20 * SLICE).await;
    assert_eq!(start.elapsed(), Duration::from_millis(20));
    // A stopped clock makes nothing.
    tokio::task::yield_now().await;
    assert_eq!(tank.level(), 0);
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn there_is_a_timer_only_while_somebody_waits() {
    // The runtime's line has a task of its own, which stays.
    assert!(lampwick_runqueue::RunQueue::current().is_some());
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks() - 1;
    let tank = FuelTank::with_rate(RATE, RATE);
    let mut taps: Vec<_> = (0..100).map(|_| Tap::new(&tank)).collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(tank.drain(), RATE);
    assert_eq!(tasks(), 0);
    taps.iter_mut().for_each(waits);
    assert_eq!(tasks(), 1, "one for all");
    for tap in &mut taps {
        assert_eq!(draw(tap).await, Ok(SLICE));
        tap.give_back(0);
    }
    // It notices with its next tick.
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(tasks(), 0);
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn the_rate_can_change_while_somebody_waits() {
    let tank = FuelTank::with_rate(0, RATE);
    let start = tokio::time::Instant::now();
    let burning = tokio::spawn(burn(tank.clone(), 20 * SLICE));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!burning.is_finished());
    tank.set_rate(10 * RATE);
    tokio::time::timeout(Duration::from_secs(1), burning).await.unwrap().unwrap();
    let elapsed = start.elapsed();
    // Ticks of the clock are a millisecond.
    assert!((1002..=1004).contains(&elapsed.as_millis()), "{elapsed:?}");
    let burning = tokio::spawn(burn(tank.clone(), 20 * SLICE));
    tokio::time::sleep(Duration::from_millis(1)).await;
    // What was due at the old rate is there.
    tank.set_rate(1);
    assert!(!burning.is_finished());
    tank.add(10 * SLICE);
    burning.await.unwrap();
}

#[test]
fn a_timer_outlives_the_runtime_that_it_ran_in() {
    let tank = FuelTank::with_rate(RATE, RATE);
    let mut taps = [Tap::new(&tank), Tap::new(&tank)];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { waits(&mut taps[0]) });
    // The timer is a task of that runtime, and there is no other.
    waits(&mut taps[1]);
    drop(runtime);
    let (done, served) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let drawn = taps.each_mut().map(|tap| block_on(draw(tap)));
        done.send(drawn).expect("somebody waits");
    });
    let served = served.recv_timeout(Duration::from_secs(20)).expect("they are served");
    assert_eq!(served, [Ok(SLICE), Ok(SLICE)]);
}

#[test]
fn who_is_never_polled_again_keeps_nobody_waiting() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let tank = FuelTank::with_rate(RATE, RATE);
        let mut forgotten: Vec<_> = (0..10).map(|_| Tap::new(&tank)).collect();
        forgotten.iter_mut().for_each(waits);
        burn(tank.clone(), 10 * SLICE).await;
        forgotten.into_iter().for_each(std::mem::forget);
        burn(tank, 10 * SLICE).await;
    });
}

#[test]
fn without_timers_tokio_says_so() {
    let tank = FuelTank::with_rate(1, RATE);
    let mut tap = Tap::new(&tank);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        runtime.block_on(async { draw(&mut tap).await })
    }));
    let panic = waited.unwrap_err();
    let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap();
    assert!(text.contains("timers are disabled"), "{text}");
    drop(runtime);
    // That harmed nobody.
    drop(tap);
    tank.set_rate(RATE);
    block_on(burn(tank, SLICE));
}

#[test]
fn looking_again_keeps_the_place_in_line() {
    let tank = FuelTank::new(u64::MAX);
    let mut taps: Vec<_> = (0..3).map(|_| Tap::new(&tank)).collect();
    (0..3).for_each(|_| taps.iter_mut().for_each(waits));
    waits(&mut taps[0]);
    for index in 0..3 {
        taps[index..].iter_mut().for_each(waits);
        tank.add(SLICE);
        let polled = pin!(draw(&mut taps[index])).poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(polled, Poll::Ready(Ok(SLICE)));
    }
}

#[test]
fn what_was_drawn_ahead_ends_with_its_tank() {
    let machine = FuelTank::new(u64::MAX);
    machine.add(1_000 * SLICE);
    let tank = machine.child(1);
    let (mut above, mut tap) = (Tap::new(&machine), Tap::new(&tank));
    assert_eq!(tap.try_draw(SLICE), Ok(Some(SLICE)));
    assert!(machine.level() < 999 * SLICE, "it drew ahead");
    tank.close();
    assert_eq!(tap.try_draw(SLICE), Err(TankClosed));
    assert_eq!(above.try_draw(SLICE), Ok(Some(SLICE)));
    above.give_back(SLICE);
    tap.give_back(SLICE);
    assert_eq!(machine.level(), 1_000 * SLICE);
}

#[test]
fn levels_do_not_overflow() {
    let tank = FuelTank::new(u64::MAX);
    assert_eq!(tank.add(u64::MAX), 0);
    assert_eq!(tank.add(u64::MAX), u64::MAX);
    let child = tank.child(u32::MAX);
    child.add(u64::MAX);
    let mut tap = Tap::new(&child);
    assert_eq!(tap.try_draw(u64::MAX), Ok(Some(u64::MAX)));
    assert_eq!(tap.try_draw(u64::MAX), Ok(Some(u64::MAX)));
    assert_eq!(tap.try_draw(u64::MAX), Ok(None));
    tap.give_back(u64::MAX);
    assert_eq!(tank.drain(), u64::MAX);
    let bucket = FuelTank::with_rate(u64::MAX, u64::MAX);
    std::thread::sleep(Duration::from_millis(1));
    assert!(bucket.level() > 0);
}

#[test]
fn deep_trees_are_dropped_one_by_one() {
    let root = FuelTank::new(u64::MAX);
    let mut leaf = root.child(1);
    for _ in 0..100_000 {
        leaf = leaf.child(1);
    }
    leaf.add(5);
    drop(leaf);
    assert_eq!(root.level(), 5);
}

#[test]
fn random_threads_lose_no_unit() {
    let seed = match std::env::var("LAMPWICK_SEED") {
        Ok(seed) => seed.parse().expect("LAMPWICK_SEED is a number"),
        Err(_) => std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64,
    };
    println!("random_threads_lose_no_unit: LAMPWICK_SEED={seed}");
    let machine = FuelTank::new(u64::MAX);
    let work = |number: u64| {
        let mut state = seed ^ (number << 32) | 1;
        let mut below = move |bound: u64| {
            // Xorshift.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % bound
        };
        let (mut added, mut gone) = (0, 0);
        let tenant = machine.child(number as u32);
        let mut tap = Tap::new(&tenant);
        for _ in 0..20_000 {
            match below(10) {
                0 => {
                    let fuel = below(100 * SLICE);
                    added += fuel - [&machine, &tenant][below(2) as usize].add(fuel);
                }
                1 => gone += tenant.drain(),
                2 => tap = Tap::new([&machine, &tenant][below(2) as usize]),
                3 => {
                    if let Ok(Some(fuel)) = tap.try_draw(SLICE) {
                        tap.give_back(fuel);
                    }
                }
                4 => drop(tenant.child(below(3) as u32).add(0)),
                _ => {
                    let mut context = Context::from_waker(Waker::noop());
                    if let Poll::Ready(fuel) = tap.poll_draw(&mut context, SLICE) {
                        gone += fuel.unwrap();
                    }
                }
            }
        }
        (added, gone)
    };
    let sums = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|number| scope.spawn(move || work(number))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .fold((0, 0), |sum, next| (sum.0 + next.0, sum.1 + next.1))
    });
    assert_eq!(sums.0, sums.1 + machine.level());
}
