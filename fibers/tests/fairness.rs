//! Yields inside tokio: a fiber that only wakes itself must not hold up timers, sockets or tasks.

#![cfg(feature = "tokio")]

mod common;

use common::{Counter, pool, resident};
use lampwick_fibers::{Resident, Suspender};
use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};

/// A starved timer or socket shows as this many yields without an end.
const TOO_MANY: u64 = 50_000_000;

fn spin_until(suspender: &Suspender, flag: &AtomicBool) -> u64 {
    for yields in 1..TOO_MANY {
        suspender.yield_now().unwrap();
        if flag.load(Ordering::SeqCst) {
            return yields;
        }
    }
    panic!("starved for {TOO_MANY} yields");
}

/// Two spinning fibers, a timer, and a socket whose other end a thread writes when it hears of
/// them.
async fn beside_spinning_fibers() {
    let pool = pool();
    for kind in ["timer", "socket"] {
        let flag = Arc::new(AtomicBool::new(false));
        let (mut near, mut far) = tokio::net::UnixStream::pair().unwrap();
        let spinners: Vec<_> = (0..2)
            .map(|_| {
                let mut fiber = Resident::new(pool.take().unwrap());
                let flag = flag.clone();
                let job = move |suspender: &Suspender| spin_until(suspender, &flag);
                // SAFETY: the job holds an Arc and a number.
                tokio::spawn(async move { unsafe { fiber.run_send(job) }.await })
            })
            .collect();
        let waiter = tokio::spawn(async move {
            if kind == "timer" {
                tokio::time::sleep(Duration::from_millis(2)).await;
            } else {
                let mut byte = [0];
                near.read_exact(&mut byte).await.unwrap();
                assert_eq!(byte, [9]);
            }
            flag.store(true, Ordering::SeqCst);
        });
        far.write_all(&[9]).await.unwrap();
        waiter.await.unwrap();
        for spinner in spinners {
            assert!(spinner.await.unwrap() > 0);
        }
    }
    assert_eq!(pool.live(), 0);
}

fn on(mut builder: Builder) -> Runtime {
    builder.enable_all().build().unwrap()
}

#[test]
fn on_a_current_thread_runtime() {
    on(Builder::new_current_thread()).block_on(beside_spinning_fibers());
}

#[test]
fn on_one_worker() {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1);
    on(builder).block_on(beside_spinning_fibers());
}

#[test]
fn on_three_workers() {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(3);
    on(builder).block_on(beside_spinning_fibers());
}

/// The same job not as a task of its own but as the runtime's main future.
#[test]
fn as_the_main_future() {
    let runtime = on(Builder::new_current_thread());
    let flag = Arc::new(AtomicBool::new(false));
    runtime.block_on(async {
        let timer = flag.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(2)).await;
            timer.store(true, Ordering::SeqCst);
        });
        let mut fiber = resident();
        assert!(fiber.run(|suspender| spin_until(suspender, &flag)).await > 0);
    });
}

#[test]
fn fibers_take_turns() {
    let runtime = on(Builder::new_current_thread());
    let local = tokio::task::LocalSet::new();
    let turns: [Rc<Cell<u64>>; 3] = Default::default();
    for index in 0..3 {
        let turns = turns.clone();
        local.spawn_local(async move {
            let mut fiber = resident();
            let turns = &turns;
            let job = move |suspender: &Suspender| {
                for _ in 0..100 {
                    let mine = turns[index].get();
                    for other in turns {
                        assert!(other.get().abs_diff(mine) <= 1, "out of turn: {turns:?}");
                    }
                    turns[index].set(mine + 1);
                    suspender.yield_now().unwrap();
                }
            };
            fiber.run(job).await;
        });
    }
    runtime.block_on(local);
    assert!(turns.iter().all(|turn| turn.get() == 100));
}

/// Inside a runtime the wake comes after the poll, when the runtime has looked at its drivers.
#[test]
fn the_wake_is_deferred() {
    let runtime = on(Builder::new_current_thread());
    runtime.block_on(async {
        let mut fiber = resident();
        let counter = Arc::new(Counter::default());
        let waker = Waker::from(counter.clone());
        let mut run = pin!(fiber.run(|suspender| suspender.yield_now()));
        assert!(run.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!(counter.count(), 0);
        tokio::task::yield_now().await;
        assert_eq!(counter.count(), 1);
    });
}

/// The everyday way to cancel: a timeout around a job that would never end, and an aborted task.
#[test]
fn a_timeout_and_an_abort_cancel_a_job() {
    let runtime = on(Builder::new_current_thread());
    runtime.block_on(async {
        let pool = pool();
        let mut fiber = Resident::new(pool.take().unwrap());
        let forever = |suspender: &Suspender| while suspender.yield_now().is_ok() {};
        let timeout = tokio::time::timeout(Duration::from_millis(2), fiber.run(forever));
        assert!(timeout.await.is_err());
        assert_eq!(fiber.run_blocking(|_| 1), 1);

        // SAFETY: the job holds nothing.
        let task = tokio::spawn(async move { unsafe { fiber.run_send(forever) }.await });
        tokio::task::yield_now().await;
        assert_eq!(pool.live(), 1);
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!((pool.live(), pool.idle()), (0, 1));
    });
}
