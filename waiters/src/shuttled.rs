//! The queue under `shuttle`, which picks the interleaving of threads, and calls a deadlock what is a
//! lost wake-up.

use std::future::poll_fn;
use std::task::{Context, Waker};

use shuttle::future::block_on;
use shuttle::sync::atomic::{AtomicBool, Ordering::SeqCst};
use shuttle::thread::{self, JoinHandle};
use shuttle::{check_pct, check_random};

use crate::sync::Arc;
use crate::{Waiter, Waiters};

const ADDRESS: u64 = 64;

fn check(scenario: impl Fn() + Send + Sync + Copy + 'static) {
    check_random(scenario, 2000);
    check_pct(scenario, 2000, 3);
}

fn join(waiters: &Arc<Waiters>) -> Waiter {
    Waiter::join(waiters, ADDRESS, || true).expect("the value is as expected")
}

fn wait(waiter: &mut Waiter) {
    block_on(poll_fn(|context| waiter.poll(context)));
}

/// A thread that waits until it is notified.
fn patient(mut waiter: Waiter) -> JoinHandle<()> {
    thread::spawn(move || wait(&mut waiter))
}

/// A thread that looks once, and then leaves, as one whose time is over; answers whether it had been
/// notified.
fn timed_out(mut waiter: Waiter) -> JoinHandle<bool> {
    thread::spawn(move || {
        let polled = waiter.poll(&mut Context::from_waker(Waker::noop()));
        polled.is_ready() || waiter.leave()
    })
}

fn notifier(waiters: &Arc<Waiters>, count: u64) -> JoinHandle<u64> {
    let waiters = waiters.clone();
    thread::spawn(move || waiters.notify(ADDRESS, count, waiters.mark()))
}

/// A waiter compares, joins, and sleeps, while the value is changed and all are notified.
#[test]
fn nobody_sleeps_past_a_change() {
    check(|| {
        let (waiters, changed) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let threads: Vec<JoinHandle<bool>> = (0..3)
            .map(|_| {
                let (waiters, changed) = (Arc::clone(&waiters), changed.clone());
                thread::spawn(move || {
                    let waiter = Waiter::join(&waiters, ADDRESS, || !changed.load(SeqCst));
                    waiter.map(|mut waiter| wait(&mut waiter)).is_some()
                })
            })
            .collect();
        changed.store(true, SeqCst);
        let woken = waiters.notify(ADDRESS, u64::MAX, waiters.mark());
        let waited = threads.into_iter().map(|thread| u64::from(thread.join().unwrap()));
        assert_eq!(waited.sum::<u64>(), woken);
        assert_eq!(waiters.count(), 0);
    });
}

/// Several notify one each, and as many are woken, which none of them counts a second time.
#[test]
fn each_notification_wakes_one() {
    check(|| {
        let waiters = Arc::default();
        let patients = [(); 3].map(|()| patient(join(&waiters)));
        let notifiers = [1, 1, 1].map(|count| notifier(&waiters, count));
        for notifier in notifiers {
            assert_eq!(notifier.join().unwrap(), 1);
        }
        patients.into_iter().for_each(|patient| patient.join().unwrap());
        assert_eq!(waiters.notify(ADDRESS, 1, waiters.mark()), 0);
    });
}

/// Who times out either was notified and says so, or left, and the notification was another one's.
#[test]
fn a_timeout_and_a_notification_agree_on_who_won() {
    check(|| {
        let waiters = Arc::default();
        let (first, mut second) = (timed_out(join(&waiters)), join(&waiters));
        assert_eq!(notifier(&waiters, 1).join().unwrap(), 1);
        let first = first.join().unwrap();
        assert_ne!(first, second.leave(), "one of them was notified");
        assert_eq!(waiters.count(), 0);
    });
}

#[test]
fn notified_are_as_many_as_were_counted_whoever_times_out() {
    check(|| {
        let waiters = Arc::default();
        let impatient = [(); 3].map(|()| timed_out(join(&waiters)));
        let notifiers = [2, 1].map(|count| notifier(&waiters, count));
        let counted: u64 = notifiers.into_iter().map(|notifier| notifier.join().unwrap()).sum();
        let notified = impatient.into_iter().map(|waiter| u64::from(waiter.join().unwrap()));
        assert_eq!(notified.sum::<u64>(), counted);
        assert_eq!(waiters.count(), 0);
    });
}

/// Who is dropped may have been notified already: then the next one is, which would sleep for ever
/// otherwise.
#[test]
fn a_notification_survives_who_is_dropped() {
    check(|| {
        let waiters = Arc::default();
        let [first, second, third] = [(); 3].map(|()| join(&waiters));
        let droppers = [first, second].map(|mut waiter| {
            assert!(waiter.poll(&mut Context::from_waker(Waker::noop())).is_pending());
            thread::spawn(move || drop(waiter))
        });
        let third = patient(third);
        assert_eq!(notifier(&waiters, 1).join().unwrap(), 1);
        droppers.into_iter().for_each(|dropper| dropper.join().unwrap());
        third.join().unwrap();
        assert_eq!(waiters.count(), 0);
    });
}

/// A future may be polled by another task than before: only the waker of the last poll counts.
#[test]
fn the_last_waker_is_woken() {
    check(|| {
        let waiters = Arc::default();
        let mut waiter = join(&waiters);
        let notifier = notifier(&waiters, 1);
        let polled = waiter.poll(&mut Context::from_waker(Waker::noop()));
        if polled.is_pending() {
            patient(waiter).join().unwrap();
        }
        assert_eq!(notifier.join().unwrap(), 1);
    });
}
