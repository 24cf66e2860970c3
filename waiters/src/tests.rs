//! One step after another, and real threads.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;

use futures::executor::block_on;

use super::*;

fn is_notified(waiter: &mut Waiter) -> bool {
    waiter.poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

#[test]
fn the_first_to_come_are_woken_at_their_address() {
    let waiters = Arc::default();
    let join = |address| Waiter::join(&waiters, address, || true).unwrap();
    let [mut a, mut b, mut c, mut other] = [join(8), join(8), join(8), join(16)];
    assert!(Waiter::join(&waiters, 8, || false).is_none());
    let mark = waiters.mark();
    let mut late = join(8);
    assert_eq!(waiters.notify(8, 2, mark), 2);
    assert_eq!([&mut a, &mut b, &mut c].map(is_notified), [true, true, false]);
    assert_eq!(waiters.notify(8, 9, mark), 1);
    assert_eq!([&mut c, &mut late, &mut other].map(is_notified), [true, false, false]);
    assert!(!late.leave());
    drop(other);
    assert_eq!(waiters.count(), 0);
}

#[test]
fn a_notification_of_who_is_dropped_is_handed_on() {
    let waiters = Arc::default();
    let join = || Waiter::join(&waiters, 0, || true).unwrap();
    let [a, b, mut c] = [join(), join(), join()];
    assert_eq!(waiters.notify(0, 1, u64::MAX), 1);
    drop(b);
    assert!(!is_notified(&mut c));
    drop(a);
    assert!(is_notified(&mut c));
    drop(c);
    assert_eq!(waiters.count(), 0, "who took notice hands nothing on");
}

/// Each of the threads waits for all numbers in turn; one that slept past a notification would
/// hang.
#[test]
fn nobody_sleeps_past_a_notification() {
    const ROUNDS: u64 = 2_000;
    let (waiters, value) = (Arc::default(), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for round in 0..ROUNDS {
                    while value.load(SeqCst) == round {
                        let waiter = Waiter::join(&waiters, 0, || value.load(SeqCst) == round);
                        if let Some(mut waiter) = waiter {
                            block_on(poll_fn(|context| waiter.poll(context)));
                        }
                    }
                }
            });
        }
        for round in 1..=ROUNDS {
            value.store(round, SeqCst);
            waiters.notify(0, u64::MAX, u64::MAX);
            if round % 7 == 0 {
                thread::yield_now();
            }
        }
    });
    assert_eq!(waiters.count(), 0);
}
