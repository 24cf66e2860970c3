//! The bare switch: registers, words, and random schedules against a model.

mod common;

use common::{Pending, Random, poll, pool};
use lampwick_fibers::switch::{Fiber, Parent, Word};
use lampwick_fibers::{Cancelled, Resident, Suspender};
use std::cell::Cell;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::task::Poll;

/// Suspends with each word that it is resumed with.
unsafe extern "C" fn echo(parent: Parent, first: Word) {
    let mut word = first;
    while !word.is_null() {
        // SAFETY: this is the fiber whose parent it is.
        word = unsafe { parent.suspend(word) };
    }
}

#[test]
fn a_word_travels_each_way() {
    let pool = pool();
    let stack = pool.take().unwrap();
    for words in [0, 1, 1000] {
        // SAFETY: the stack is ours and outlives the fiber; `echo` returns when given null.
        unsafe {
            let mut fiber = Fiber::new(stack.bottom(), stack.top(), echo);
            for word in (1..=words).map(ptr::without_provenance_mut) {
                assert_eq!(fiber.resume(word), word);
            }
            fiber.close();
        }
    }
}

/// Keeps many integers and floats alive across `switch`; the answer depends on all of them.
#[inline(always)]
fn many_live_values(seed: u64, rounds: usize, mut switch: impl FnMut()) -> (u64, f64) {
    let mut ints: [u64; 14] = std::array::from_fn(|n| black_box(seed + n as u64));
    let mut floats: [f64; 14] = std::array::from_fn(|n| black_box((seed + n as u64) as f64));
    for _ in 0..rounds {
        switch();
        for n in 0..14 {
            ints[n] = ints[n].rotate_left(7) ^ ints[(n + 5) % 14];
            floats[n] = floats[n] * 0.5 + floats[(n + 3) % 14];
        }
    }
    (ints.iter().fold(0, |sum, n| sum ^ n), floats.iter().sum())
}

#[test]
fn registers_survive_on_both_sides() {
    let pool = pool();
    let expected: Vec<_> = (0..2).map(|side| many_live_values(side, 100, || ())).collect();
    let mut fiber = Resident::new(pool.take().unwrap());
    let inside = Cell::new((0, 0.0));
    let mut run = Box::pin(fiber.run(|suspender| {
        inside.set(many_live_values(1, 100, || suspender.yield_now().unwrap()));
    }));
    let outside = many_live_values(0, 100, || assert!(poll(run.as_mut()).is_pending()));
    assert!(poll(run.as_mut()).is_ready());
    assert_eq!((outside, inside.get()), (expected[0], expected[1]));
}

#[test]
fn frames_are_aligned() {
    #[inline(never)]
    fn address(value: &u128) -> usize {
        ptr::from_ref(black_box(value)).addr()
    }
    let mut fiber = Resident::new(pool().take().unwrap());
    let answer = fiber.run_blocking(|_| {
        // Formatting floats and large moves use aligned vector instructions.
        let text = format!("{:.3} {:?}", black_box(1.5_f64), black_box([1_u128; 8]));
        (address(&black_box(7_u128)) % 16, text.len())
    });
    assert_eq!(answer, (0, "1.500 ".len() + "[1, 1, 1, 1, 1, 1, 1, 1]".len()));
}

/// What one fiber of the random schedule does, chosen by its own generator.
fn wander(suspender: &Suspender, seed: u64, steps: &Cell<u64>) -> Result<u64, Cancelled> {
    let mut random = Random::new(seed);
    let check = black_box(random.next());
    let result = match random.below(6) {
        0 => suspender.block_on(Pending(random.below(3))),
        1 => {
            let nested = random.next();
            wander(suspender, nested, steps).map(drop)
        }
        2 if random.below(4) == 0 => panic!("planned"),
        _ => suspender.yield_now(),
    };
    steps.set(steps.get() + 1);
    assert_eq!(black_box(check), Random::new(seed).next(), "a value changed across a switch");
    result?;
    if random.below(8) == 0 {
        return Ok(check);
    }
    let next = random.next();
    wander(suspender, next, steps)
}

/// The number of polls and the ending that `wander` must need: the same walk without a fiber.
fn model(seed: u64, polls: &mut usize) -> Result<u64, ()> {
    let mut random = Random::new(seed);
    let check = random.next();
    match random.below(6) {
        0 => *polls += random.below(3),
        1 => {
            let nested = random.next();
            model(nested, polls)?;
        }
        2 if random.below(4) == 0 => return Err(()),
        _ => *polls += 1,
    }
    if random.below(8) == 0 {
        return Ok(check);
    }
    let next = random.next();
    model(next, polls)
}

/// Runs a job to a random point, and answers whether it ended as the model says.
fn one_job(fiber: &mut Resident, random: &mut Random, polls_left: &mut usize) {
    let seed = random.next();
    let steps = Cell::new(0);
    let mut needed = 0;
    let ending = model(seed, &mut needed);
    let patience = if random.below(3) == 0 { random.below(needed + 2) } else { usize::MAX };
    let mut run = Box::pin(fiber.run(|suspender| wander(suspender, seed, &steps)));
    for polls in 0..patience {
        *polls_left = polls_left.saturating_sub(1);
        match catch_unwind(AssertUnwindSafe(|| poll(run.as_mut()))) {
            Ok(Poll::Pending) => assert!(polls < needed, "pending after {polls} of {needed}"),
            Ok(Poll::Ready(result)) => {
                assert_eq!((polls, result.map_err(drop)), (needed, ending));
                return;
            }
            Err(panic) => {
                assert_eq!(common::text(&*panic), "planned");
                assert_eq!((polls, Err(())), (needed, ending));
                return;
            }
        }
    }
    drop(run); // cancelled somewhere on its way
}

#[test]
fn random_schedules_follow_the_model() {
    let seed = std::env::var("LAMPWICK_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        now.as_nanos() as u64
    });
    println!("LAMPWICK_SEED={seed}");
    std::panic::set_hook(Box::new(|info| {
        if info.payload().downcast_ref::<&str>() != Some(&"planned") {
            eprintln!("{info}");
        }
    }));
    let mut random = Random::new(seed);
    let pool = lampwick_fibers::StackPoolConfig::new().stack_size(1 << 20).build().unwrap();
    let mut fibers: Vec<_> = (0..20).map(|_| Resident::new(pool.take().unwrap())).collect();
    let mut polls_left = 20_000;
    while polls_left > 0 {
        let index = random.below(fibers.len());
        one_job(&mut fibers[index], &mut random, &mut polls_left);
        if random.below(10) == 0 {
            // As a new fiber on the same stack, or on another.
            let old = fibers.swap_remove(index);
            fibers.push(Resident::new(old.into_stack()));
        }
    }
    fibers.clear();
    assert_eq!((pool.live(), pool.idle()), (0, 20));
}
