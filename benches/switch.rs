//! What does it cost to enter and leave a fiber, to make one, and to keep thousands?
//!
//! Compare interleaved runs only; with `--features portable-switch` the same for `wasmtime-fiber`.

use criterion::{Bencher, Criterion, criterion_group, criterion_main};
use lampwick_fibers::switch::{self, Parent, Word};
use lampwick_fibers::{Resident, StackPool, StackPoolConfig};
use std::future::{Future, poll_fn};
use std::hint::black_box;
use std::pin::pin;
use std::ptr;
use std::task::{Context, Poll, Waker};

const LIVE: usize = 10_000;

fn pool() -> StackPool {
    StackPoolConfig::new().stack_size(64 << 10).max_warm(LIVE).build().unwrap()
}

fn resident() -> Resident {
    Resident::new(pool().take().unwrap())
}

/// Suspends with each word that it is resumed with.
unsafe extern "C" fn echo(parent: Parent, first: Word) {
    let mut word = first;
    while !word.is_null() {
        // SAFETY: this is the fiber whose parent it is.
        word = unsafe { parent.suspend(word) };
    }
}

/// The bare switch, there and back.
fn resume_suspend(bencher: &mut Bencher<'_>) {
    let pool = pool();
    let stack = pool.take().unwrap();
    // SAFETY: the stack is ours and outlives the fiber; `echo` returns when given null.
    unsafe {
        let mut fiber = switch::Fiber::new(stack.bottom(), stack.top(), echo);
        let word = ptr::without_provenance_mut(8);
        bencher.iter(|| fiber.resume(black_box(word)));
        fiber.close();
    }
}

/// A poll of a job that waits for a future that stays pending.
fn poll_pending(bencher: &mut Bencher<'_>) {
    let mut fiber = resident();
    let mut run = pin!(fiber.run(|suspender| suspender.block_on(poll_fn(|_| Poll::<()>::Pending))));
    let mut context = Context::from_waker(Waker::noop());
    bencher.iter(|| run.as_mut().poll(&mut context).is_pending());
}

/// A poll of a job that yields, outside of a runtime.
fn poll_yield(bencher: &mut Bencher<'_>) {
    let mut fiber = resident();
    let mut run = pin!(fiber.run(|suspender| while suspender.yield_now().is_ok() {}));
    let mut context = Context::from_waker(Waker::noop());
    bencher.iter(|| run.as_mut().poll(&mut context).is_pending());
}

/// A call on a fiber that is there.
fn empty_job(bencher: &mut Bencher<'_>) {
    let mut fiber = resident();
    bencher.iter(|| fiber.run_blocking(|_| black_box(1)));
}

/// The same as a future.
fn empty_future(bencher: &mut Bencher<'_>) {
    let mut fiber = resident();
    let mut context = Context::from_waker(Waker::noop());
    bencher.iter(|| pin!(fiber.run(|_| black_box(1))).poll(&mut context));
}

/// A fiber for one job on a stack that is at hand.
fn create_run_finish(bencher: &mut Bencher<'_>) {
    let mut stack = Some(pool().take().unwrap());
    bencher.iter(|| {
        let mut fiber = Resident::new(stack.take().unwrap());
        let answer = fiber.run_blocking(|_| black_box(1));
        stack = Some(fiber.into_stack());
        answer
    });
}

/// The same on a stack from the pool.
fn take_create_run_return(bencher: &mut Bencher<'_>) {
    let pool = pool();
    bencher.iter(|| Resident::new(pool.take().unwrap()).run_blocking(|_| black_box(1)));
}

fn take_return(bencher: &mut Bencher<'_>) {
    let pool = pool();
    bencher.iter(|| pool.take().unwrap());
}

/// One poll each of ten thousand fibers: divide by that many.
fn round_robin(bencher: &mut Bencher<'_>) {
    let pool = pool();
    let mut fibers: Vec<_> = (0..LIVE).map(|_| Resident::new(pool.take().unwrap())).collect();
    let job = |suspender: &lampwick_fibers::Suspender| while suspender.yield_now().is_ok() {};
    let mut runs: Vec<_> = fibers.iter_mut().map(|fiber| Box::pin(fiber.run(job))).collect();
    let mut context = Context::from_waker(Waker::noop());
    bencher.iter(|| {
        for run in &mut runs {
            assert!(run.as_mut().poll(&mut context).is_pending());
        }
    });
}

fn switches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group(switch::NAME);
    group.bench_function("resume and suspend", resume_suspend);
    group.bench_function("poll a job that waits", poll_pending);
    group.bench_function("poll a job that yields", poll_yield);
    group.bench_function("empty job on a resident", empty_job);
    group.bench_function("empty future on a resident", empty_future);
    group.bench_function("create, run, finish on a reused stack", create_run_finish);
    group.bench_function("take, create, run, return", take_create_run_return);
    group.bench_function("take and return a stack", take_return);
    group.bench_function("round robin over 10,000", round_robin);
    group.finish();
}

criterion_group!(benches, switches);
criterion_main!(benches);
