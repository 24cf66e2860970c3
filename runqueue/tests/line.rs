//! Tasks that never rest: what they leave for others, and who has which turn.

use std::collections::HashSet;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use lampwick_runqueue::{RunQueue, Yielder, wake_in_turn};
use tokio::runtime::{Builder, Runtime};

/// Nothing here takes that long, whatever else the machine does.
const LONG: Duration = Duration::from_secs(30);

fn on_one_thread() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

fn on_two_threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap()
}

async fn yield_in_turn() {
    yield_again(&mut Yielder::default()).await;
}

async fn yield_again(yielder: &mut Yielder) {
    let mut yielded = false;
    let poll = |context: &mut Context<'_>| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        yielder.wake_in_turn(context.waker());
        Poll::Pending
    };
    poll_fn(poll).await;
}

fn burn(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// Spawns a task that for ever takes turns of this length and counts them.
fn spin(turn: Duration) -> Arc<AtomicUsize> {
    let turns = Arc::new(AtomicUsize::new(0));
    let counter = turns.clone();
    tokio::spawn(async move {
        let mut yielder = Yielder::default();
        loop {
            burn(turn);
            counter.fetch_add(1, Ordering::SeqCst);
            yield_again(&mut yielder).await;
        }
    });
    turns
}

fn sum(turns: &[Arc<AtomicUsize>]) -> usize {
    turns.iter().map(|turns| turns.load(Ordering::SeqCst)).sum()
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Every task has had a turn, so that all are in line.
async fn settled(turns: &[Arc<AtomicUsize>]) {
    while turns.iter().any(|turns| turns.load(Ordering::SeqCst) < 2) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// How many turns others have between the time for which a timer is set and when it fires.
async fn turns_before_a_timer(turns: &[Arc<AtomicUsize>]) -> usize {
    settled(turns).await;
    let mut most = 0;
    for _ in 0..10 {
        let due = tokio::time::Instant::now() + Duration::from_millis(3);
        let before = {
            // A thread looks at the turns when the timer is due, and its tick of a millisecond over.
            let turns = turns.to_vec();
            let due = due.into_std() + Duration::from_millis(1);
            thread::spawn(move || {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                sum(&turns)
            })
        };
        tokio::time::sleep_until(due).await;
        let after = sum(turns);
        most = most.max(after.saturating_sub(before.join().unwrap()));
    }
    most
}

#[test]
fn a_timer_waits_for_few_of_those_who_never_rest() {
    const TASKS: usize = 100;
    for (workers, runtime) in [on_one_thread(), on_two_threads()].into_iter().enumerate() {
        let most = runtime.block_on(async {
            let turns: Vec<_> = (0..TASKS).map(|_| spin(Duration::from_millis(1))).collect();
            tokio::spawn(async move { turns_before_a_timer(&turns).await }).await.unwrap()
        });
        // In tokio's own line it would be all of them.
        assert!(most < TASKS / 4, "{most} turns with {} workers", workers + 1);
        runtime.shutdown_background();
    }
}

#[test]
fn what_is_known_of_a_task_does_not_hold_for_another() {
    for yields in 0..40 {
        let mut yielder = Yielder::default();
        let first = on_one_thread();
        let mut yielder = first.block_on(async {
            let task = tokio::spawn(async move {
                for _ in 0..yields {
                    yield_again(&mut yielder).await;
                }
                yielder
            });
            task.await.unwrap()
        });
        // In its line nobody goes on at once before a pump has had a round.
        let woken = on_one_thread().block_on(async {
            let task = tokio::spawn(async move {
                let flag = Arc::new(Flag::default());
                yielder.wake_in_turn(&Waker::from(flag.clone()));
                flag.0.load(Ordering::SeqCst)
            });
            task.await.unwrap()
        });
        assert!(!woken, "after {yields} yields");
    }
}

#[test]
fn turns_go_round() {
    let runtime = on_one_thread();
    for (tasks, turn) in [(3, 0), (50, 0), (50, 150)] {
        runtime.block_on(async {
            let turn = Duration::from_micros(turn);
            let turns: Vec<_> = (0..tasks).map(|_| spin(turn)).collect();
            settled(&turns).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            let each = turns.iter().map(|turns| turns.load(Ordering::SeqCst));
            let (least, most) = (each.clone().min().unwrap(), each.max().unwrap());
            assert!(most - least <= 1, "{least} to {most}");
        });
    }
}

#[test]
fn all_workers_work() {
    let runtime = on_two_threads();
    runtime.block_on(async {
        let threads = Arc::new(Mutex::new(HashSet::new()));
        // They begin on one worker, from which the other one takes them.
        let seen = threads.clone();
        tokio::spawn(async move {
            for _ in 0..3 {
                let seen = seen.clone();
                tokio::spawn(async move {
                    loop {
                        burn(Duration::from_micros(200));
                        seen.lock().unwrap().insert(thread::current().id());
                        yield_in_turn().await;
                    }
                });
            }
        });
        let end = Instant::now() + LONG;
        while threads.lock().unwrap().len() < 2 {
            assert!(Instant::now() < end, "one worker does it all");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    runtime.shutdown_background();
}

#[test]
fn who_is_gone_keeps_nobody_waiting() {
    for runtime in [on_one_thread(), on_two_threads()] {
        let watch = runtime.spawn(async {
            let turns: Vec<_> = (0..4).map(|_| spin(Duration::from_micros(20))).collect();
            settled(&turns).await;
            for _ in 0..100 {
                // One is dropped in line, one forgotten there.
                let dropped = tokio::spawn(async {
                    loop {
                        yield_in_turn().await;
                    }
                });
                let forgotten = async {
                    let mut yielding = Box::pin(yield_in_turn());
                    poll_fn(|context| {
                        assert!(yielding.as_mut().poll(context).is_pending());
                        Poll::Ready(())
                    })
                    .await;
                    std::mem::forget(yielding);
                };
                tokio::spawn(forgotten).await.unwrap();
                dropped.abort();
            }
            let before = sum(&turns);
            let end = Instant::now() + LONG;
            while sum(&turns) < before + 100 {
                assert!(Instant::now() < end, "the line stands still");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        runtime.block_on(watch).unwrap();
        runtime.shutdown_background();
    }
}

#[test]
fn elsewhere_a_wake_is_a_plain_one() {
    let woken = || {
        let flag = Arc::new(Flag::default());
        wake_in_turn(&Waker::from(flag.clone()));
        flag.0.load(Ordering::SeqCst)
    };
    assert!(woken() && RunQueue::current().is_none());
    // One worker, so that no other one can be quick enough to wake who has just come.
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        // Beside the workers, and on a thread that may block.
        assert!(woken() && RunQueue::current().is_none());
        assert!(tokio::task::spawn_blocking(woken).await.unwrap());
        assert!(!tokio::spawn(async move { woken() }).await.unwrap());
    });
    on_one_thread().block_on(async { assert!(!woken() && RunQueue::current().is_some()) });
}

#[test]
fn a_thread_may_work_for_one_runtime_after_the_other() {
    let runtimes = [on_one_thread(), on_one_thread()];
    for runtime in runtimes.iter().cycle().take(20) {
        runtime.block_on(async {
            (0..3).for_each(|_| drop(spin(Duration::ZERO)));
            let yields = async {
                for _ in 0..10 {
                    yield_in_turn().await;
                }
            };
            tokio::time::timeout(LONG, yields).await.unwrap();
        });
    }
}

#[test]
fn other_threads_may_push() {
    let runtime = on_two_threads();
    let queue = runtime.block_on(async {
        tokio::spawn(async {
            // The pump has nothing more to do.
            yield_in_turn().await;
            RunQueue::current().unwrap()
        })
        .await
        .unwrap()
    });
    for round in 0..200 {
        let (sender, woken) = tokio::sync::oneshot::channel();
        struct Send(Mutex<Option<tokio::sync::oneshot::Sender<()>>>);
        impl Wake for Send {
            fn wake(self: Arc<Self>) {
                self.0.lock().unwrap().take().unwrap().send(()).unwrap();
            }
        }
        queue.push(Waker::from(Arc::new(Send(Mutex::new(Some(sender))))));
        let waited = runtime.block_on(async { tokio::time::timeout(LONG, woken).await });
        waited.unwrap_or_else(|_| panic!("nobody was woken in round {round}")).unwrap();
    }
}

#[test]
fn the_end_of_a_runtime_wakes_who_waits_in_its_line() {
    let runtime = on_one_thread();
    let (flag, queue) = runtime.block_on(async {
        let flag = Arc::new(Flag::default());
        let mut yielding = pin!(yield_in_turn());
        let waker = Waker::from(flag.clone());
        assert!(yielding.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        (flag, RunQueue::current().unwrap())
    });
    assert!(!flag.0.load(Ordering::SeqCst));
    drop(runtime);
    assert!(flag.0.load(Ordering::SeqCst));
    let late = Arc::new(Flag::default());
    queue.push(Waker::from(late.clone()));
    assert!(late.0.load(Ordering::SeqCst));
}
