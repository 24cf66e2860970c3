//! The clocks that tell what a program took of a processor.

use std::time::{Duration, Instant};

use lampwick::{Config, Engine};
use lampwick_wasi::{HostMonotonicClock, WasiCtxBuilder};

use crate::support::*;

const PROCESS: i64 = 2;
const THREAD: i64 = 3;

async fn time(guest: &mut Guest, id: i64) -> Duration {
    let out = guest.room(8);
    guest.run("clock_time_get", &[id, 0, out]).await.unwrap();
    Duration::from_nanos(guest.u64(out))
}

fn accounted() -> Engine {
    Engine::new(Config::new().async_support(true).accounts(true)).unwrap()
}

/// Each tick is a microsecond, and it always says the same.
struct Stopped(u64);

impl HostMonotonicClock for Stopped {
    fn resolution(&self) -> u64 {
        1000
    }

    fn now(&self) -> u64 {
        self.0
    }
}

#[tokio::test]
async fn with_accounts_only_work_takes_time() {
    let mut guest = Guest::with_engine(&accounted(), &mut WasiCtxBuilder::new(), 4).await;
    let began = Instant::now();
    let first = time(&mut guest, PROCESS).await;
    crate::poll::sleep(&mut guest, 200_000_000, false).await.unwrap();
    let slept = time(&mut guest, THREAD).await;
    assert!(began.elapsed() >= Duration::from_millis(200));
    // What the calls themselves took; the sleep is not in it.
    assert!(first < slept && slept < Duration::from_millis(200), "{first:?}, {slept:?}");
    // The host works for it: 30 MB of random numbers.
    for _ in 0..150 {
        guest.run("random_get", &[2048, 200_000]).await.unwrap();
    }
    let worked = time(&mut guest, PROCESS).await;
    assert!(worked - slept > Duration::from_millis(2), "{slept:?}, {worked:?}");
    let out = guest.room(8);
    for id in [PROCESS, THREAD] {
        guest.run("clock_res_get", &[id, out]).await.unwrap();
        assert_eq!(guest.u64(out), 1);
    }
}

#[tokio::test]
async fn without_accounts_it_is_the_time_that_went_by() {
    let mut guest = Guest::new(&mut WasiCtxBuilder::new()).await;
    let before = time(&mut guest, 1).await;
    let processor = time(&mut guest, PROCESS).await;
    let after = time(&mut guest, 1).await;
    assert!(before <= processor && processor <= after, "{before:?}, {processor:?}, {after:?}");
    let end = 4 * 65_536;
    assert_eq!(guest.run("clock_time_get", &[PROCESS, 0, end]).await, Err(errno::FAULT));
    assert_eq!(guest.run("clock_res_get", &[THREAD, end - 4]).await, Err(errno::FAULT));
}

/// A run with clocks of its own must not see through any of them what the machine does.
#[tokio::test]
async fn they_are_the_hosts_choice() {
    let engine = accounted();
    let mut builder = WasiCtxBuilder::new();
    builder.monotonic_clock(Stopped(5_000));
    let mut guest = Guest::with_engine(&engine, &mut builder, 4).await;
    assert_eq!(time(&mut guest, PROCESS).await, Duration::from_micros(5));
    builder.monotonic_clock(Stopped(5_000)).cpu_clock(Stopped(7_000));
    let mut guest = Guest::with_engine(&engine, &mut builder, 4).await;
    for id in [PROCESS, THREAD] {
        assert_eq!(time(&mut guest, id).await, Duration::from_micros(7));
        let out = guest.room(8);
        guest.run("clock_res_get", &[id, out]).await.unwrap();
        assert_eq!(guest.u64(out), 1000);
    }
    assert_eq!(time(&mut guest, 1).await, Duration::from_micros(5));
}
