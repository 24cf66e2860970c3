//! What a guest asks for at once takes no longer in one poll than what it asks for bit by bit:
//! everything that it sizes is cut into parts, between which it suspends.
//!
//! Time is for `benches/polls.rs`; here is counted what one poll does.

use std::time::Duration;

use lampwick::{Func, Store, Val};
use rustix::time::{ClockId, clock_gettime};

use crate::support::{async_metered, instantiate_async, poll};

/// The most that operators between two checks cost, and what follows from their rounding.
const SEGMENT: u64 = 1010;

/// Polls a guest's `run` so often, and answers what each poll burned.
fn burned(store: &mut Store<()>, run: &Func, slice: u64, polls: usize) -> Vec<u64> {
    store.out_of_fuel_async_yield(u64::MAX, slice);
    let handle = store.fuel_handle().unwrap();
    let mut call = Box::pin(run.call_async(store, &[]));
    let mut before = handle.consumed();
    let mut burn = || {
        assert!(poll(call.as_mut()).is_pending());
        let consumed = handle.consumed();
        consumed - std::mem::replace(&mut before, consumed)
    };
    (0..polls).map(|_| burn()).collect()
}

#[test]
fn a_straight_line_is_checked_like_a_loop() {
    const SLICE: u64 = 2_000;
    let line = "i32.const 1 i32.add ".repeat(20_000);
    let arms = "(if (result i32) (i32.eqz (local.get 0)) (then (i32.const 5)) (else (i32.const 1)))
        i32.add "
        .repeat(5_000);
    for body in [line, arms] {
        let wat = format!("(module (func (export \"run\") (local i32) i32.const 0 {body} drop))");
        let (mut store, instance) = instantiate_async(&async_metered(), &wat);
        let run = instance.get_func(&mut store, "run").unwrap();
        for burned in burned(&mut store, &run, SLICE, 12) {
            assert!(burned <= SLICE + SEGMENT, "{burned} in one poll");
        }
    }
}

/// What this thread has used of its processor.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// An optimizer that puts off what is wanted last would do all of it in the last poll.
#[test]
fn what_is_computed_in_a_line_is_not_put_off() {
    let line = "f64.sqrt ".repeat(150_000);
    let wat =
        format!("(module (func (export \"run\") (param f64) (result f64) local.get 0 {line}))");
    let (mut store, instance) = instantiate_async(&async_metered(), &wat);
    store.out_of_fuel_async_yield(u64::MAX, 5_000);
    let run = instance.get_func(&mut store, "run").unwrap();
    let args = [Val::F64(2.5f64.to_bits())];
    let mut call = Box::pin(run.call_async(&mut store, &args));
    let mut times = Vec::new();
    loop {
        let start = processor_time();
        let poll = poll(call.as_mut());
        times.push(processor_time() - start);
        if poll.is_ready() {
            break;
        }
    }
    let (longest, sum) = (times.iter().max().unwrap(), times.iter().sum::<Duration>());
    assert!(times.len() >= 30 && *longest < sum / 3, "{longest:?} of {sum:?}");
}
