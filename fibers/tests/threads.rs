//! Fibers that change threads, and thousands of them.

mod common;

use common::{Pending, Random, pool, resident, text};
use lampwick_fibers::{Resident, Suspender};
use std::collections::HashSet;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::mpsc::{Sender, channel};
use std::task::{Context, Poll, Waker};
use std::thread::{self, ThreadId};

/// Never inlined, so that no address of a thread-local is kept across a switch.
#[inline(never)]
fn this_thread() -> ThreadId {
    thread::current().id()
}

type Job<'a> = Pin<Box<dyn Future<Output = u64> + Send + 'a>>;

/// Hands each job from thread to thread, polling it once on each, until all are done.
fn pass_around(jobs: Vec<Job<'_>>, threads: usize) -> (u64, HashSet<ThreadId>) {
    let total = jobs.len();
    let mut used = HashSet::new();
    let mut sum = 0;
    thread::scope(|scope| {
        let (done, results) = channel();
        let workers: Vec<Sender<Job<'_>>> = (0..threads)
            .map(|_| {
                let (send, receive) = channel::<Job<'_>>();
                let done = done.clone();
                scope.spawn(move || {
                    for mut job in receive {
                        let poll = job.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                        done.send((job, poll, this_thread())).unwrap();
                    }
                });
                send
            })
            .collect();
        let mut random = Random::new(5);
        for job in jobs {
            workers[random.below(threads)].send(job).unwrap();
        }
        let mut finished = 0;
        while finished < total {
            let (job, poll, thread) = results.recv().unwrap();
            used.insert(thread);
            match poll {
                Poll::Ready(value) => (sum, finished) = (sum + value, finished + 1),
                Poll::Pending => workers[random.below(threads)].send(job).unwrap(),
            }
        }
    });
    (sum, used)
}

#[test]
fn a_job_continues_on_other_threads() {
    let pool = pool();
    let mut fibers: Vec<_> = (0..20).map(|_| Resident::new(pool.take().unwrap())).collect();
    let job = |suspender: &Suspender| {
        let mut threads = HashSet::new();
        let mut sum = 0.0;
        for n in 0..100 {
            threads.insert(this_thread());
            sum += f64::from(n) * 0.5;
            match n % 3 {
                0 => suspender.yield_now().unwrap(),
                1 => suspender.block_on(Pending(2)).unwrap(),
                _ => {
                    let panic = catch_unwind(|| panic!("on {:?}", this_thread()));
                    assert!(text(&*panic.unwrap_err()).starts_with("on ThreadId"));
                }
            }
        }
        assert!(threads.len() > 1);
        sum as u64
    };
    let jobs = fibers
        .iter_mut()
        // SAFETY: the job holds a set of ids and numbers, and asks for its thread out of line.
        .map(|fiber| Box::pin(unsafe { fiber.run_send(job) }) as Job<'_>)
        .collect();
    let (sum, used) = pass_around(jobs, 4);
    assert_eq!(sum, 20 * 4950 / 2);
    assert_eq!(used.len(), 4);
    drop(fibers);
    assert_eq!(pool.live(), 0);
}

#[test]
fn a_job_is_cancelled_or_panics_on_another_thread() {
    let mut fiber = resident();
    for round in 0..20 {
        let job = |suspender: &Suspender| match suspender.yield_now() {
            Ok(()) => panic!("resumed"),
            Err(cancelled) => panic!("{cancelled}"),
        };
        // SAFETY: the job holds nothing.
        let mut run = Box::pin(unsafe { fiber.run_send(job) });
        let _: Poll<()> = run.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let panic = thread::scope(|scope| {
            let there = scope.spawn(|| {
                let panic = catch_unwind(AssertUnwindSafe(move || {
                    if round % 2 == 0 {
                        let _ = run.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                    }
                }));
                assert!(!thread::panicking());
                panic.unwrap_err()
            });
            there.join().unwrap()
        });
        let expected = if round % 2 == 0 { "resumed" } else { "the future that runs" };
        assert!(text(&*panic).starts_with(expected), "{}", text(&*panic));
        assert!(!thread::panicking());
    }
    assert_eq!(fiber.run_blocking(|_| 1), 1);
}

#[test]
fn an_idle_fiber_goes_anywhere() {
    let mut fiber = resident();
    for round in 0..10 {
        fiber = thread::spawn(move || {
            assert_eq!(fiber.run_blocking(|_| round), round);
            fiber
        })
        .join()
        .unwrap();
    }
}

#[test]
fn ten_thousand_live_fibers() {
    const FIBERS: usize = 10_000;
    let pool = pool();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).build().unwrap();
    let (go, gate) = tokio::sync::watch::channel(0_u64);
    let (started, mut all) = tokio::sync::mpsc::unbounded_channel();
    let sum: u64 = runtime.block_on(async {
        let tasks: Vec<_> = (0..FIBERS as u64)
            .map(|n| {
                let mut fiber = Resident::new(pool.take().unwrap());
                let (mut gate, started) = (gate.clone(), started.clone());
                let job = move |suspender: &Suspender| {
                    started.send(()).unwrap();
                    let value = *suspender.block_on(gate.wait_for(|&v| v > 0)).unwrap().unwrap();
                    for _ in 0..3 {
                        suspender.yield_now().unwrap();
                    }
                    n * value
                };
                // SAFETY: channels and numbers are Send; the guard of the watch is not held.
                tokio::spawn(async move { unsafe { fiber.run_send(job) }.await })
            })
            .collect();
        for _ in 0..FIBERS {
            all.recv().await.unwrap();
        }
        assert_eq!(pool.live(), FIBERS);
        go.send(2).unwrap();
        let mut sum = 0;
        for task in tasks {
            sum += task.await.unwrap();
        }
        sum
    });
    assert_eq!(sum, (0..FIBERS as u64).sum::<u64>() * 2);
    drop(runtime);
    assert_eq!(pool.live(), 0);
}
