//! Arguments, environment, clocks, random numbers, streams, and the end of a program.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lampwick_wasi::{
    HostMonotonicClock, HostWallClock, I32Exit, MemoryOutputPipe, WasiCtxBuilder, WasiLimits,
};
use rand::SeedableRng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::*;

async fn strings(guest: &mut Guest, sizes: &str, get: &str) -> Vec<String> {
    let out = guest.room(8);
    guest.run(sizes, &[out, out + 4]).await.unwrap();
    let (count, size) = (guest.u32(out) as usize, guest.u32(out + 4) as usize);
    let (list, buffer) = (guest.room(count * 4), guest.room(size));
    guest.run(get, &[list, buffer]).await.unwrap();
    let texts = guest.bytes(buffer, size);
    let begins = (0..count).map(|i| i64::from(guest.u32(list + 4 * i as i64)) - buffer);
    let text = |at: i64| {
        let text = texts[at as usize..].split(|&byte| byte == 0).next().unwrap();
        String::from_utf8(text.to_vec()).unwrap()
    };
    begins.map(text).collect()
}

#[tokio::test]
async fn arguments_and_environment_are_what_was_given() {
    let mut builder = WasiCtxBuilder::new();
    builder.args(&["prog", "", "zwei Wörter"]).env("A", "1").envs(&[("B", ""), ("C", "x=y")]);
    let mut guest = Guest::new(&mut builder).await;
    let args = strings(&mut guest, "args_sizes_get", "args_get").await;
    assert_eq!(args, ["prog", "", "zwei Wörter"]);
    let env = strings(&mut guest, "environ_sizes_get", "environ_get").await;
    assert_eq!(env, ["A=1", "B=", "C=x=y"]);
    let end = 4 * 65_536;
    for (get, sizes) in [("args_get", "args_sizes_get"), ("environ_get", "environ_sizes_get")] {
        assert_eq!(guest.run(get, &[end - 4, 1024]).await, Err(errno::FAULT));
        assert_eq!(guest.run(get, &[1024, end - 1]).await, Err(errno::FAULT));
        assert_eq!(guest.run(get, &[-4, 1024]).await, Err(errno::FAULT));
        assert_eq!(guest.run(get, &[1026, 1024]).await, Err(errno::INVAL));
        assert_eq!(guest.run(sizes, &[end, 1024]).await, Err(errno::FAULT));
    }
    // The builder has none of it any more.
    let mut guest = Guest::new(&mut builder).await;
    assert!(strings(&mut guest, "args_sizes_get", "args_get").await.is_empty());
}

/// A clock that passes as the program waits, and not otherwise.
#[derive(Clone, Default)]
struct Stepped(Arc<AtomicU64>);

impl HostMonotonicClock for Stepped {
    fn resolution(&self) -> u64 {
        1000
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn sleep(&self, duration: Duration) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        let clock = self.clone();
        Box::pin(async move {
            clock.0.fetch_add(duration.as_nanos() as u64, Ordering::Relaxed);
        })
    }
}

impl HostWallClock for Stepped {
    fn resolution(&self) -> Duration {
        Duration::from_micros(1)
    }

    fn now(&self) -> Duration {
        Duration::from_secs(1_000_000_000) + Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

#[tokio::test]
async fn clocks_are_the_hosts_choice() {
    let clock = Stepped::default();
    let mut builder = WasiCtxBuilder::new();
    builder.monotonic_clock(clock.clone()).wall_clock(clock.clone());
    let mut guest = Guest::new(&mut builder).await;
    let out = guest.room(8);
    for (id, resolution, now) in [(0, 1000, 1_000_000_000_000_000_005), (1, 1000, 5)] {
        guest.run("clock_res_get", &[id, out]).await.unwrap();
        assert_eq!(guest.u64(out), resolution);
        clock.0.store(5, Ordering::Relaxed);
        guest.run("clock_time_get", &[id, 0, out]).await.unwrap();
        assert_eq!(guest.u64(out), now);
    }
    // A year passes at once.
    let year = 365 * 24 * 3600 * 1_000_000_000;
    assert_eq!(crate::poll::sleep(&mut guest, year, false).await, Ok(1));
    guest.run("clock_time_get", &[1, 0, out]).await.unwrap();
    assert_eq!(guest.u64(out), 5 + year as u64);
    for id in [4, -1] {
        assert_eq!(guest.run("clock_res_get", &[id, out]).await, Err(errno::INVAL));
        assert_eq!(guest.run("clock_time_get", &[id, 0, out]).await, Err(errno::INVAL));
    }
    assert_eq!(guest.run("clock_time_get", &[0, 0, 4 * 65_536]).await, Err(errno::FAULT));
    assert_eq!(guest.run("clock_time_get", &[0, 0, 1025]).await, Err(errno::INVAL));

    let mut guest = Guest::new(&mut WasiCtxBuilder::new()).await;
    let mut time = async |id| {
        guest.run("clock_time_get", &[id, 0, out]).await.unwrap();
        guest.u64(out)
    };
    let (first, then) = (time(1).await, time(1).await);
    assert!(first <= then && then < 3_600_000_000_000, "{then} ns since the program began");
    assert!(time(0).await > 1_600_000_000_000_000_000);
}

#[tokio::test]
async fn random_numbers_are_the_hosts_choice() {
    let seeded = || {
        let mut builder = WasiCtxBuilder::new();
        builder.secure_random(rand::rngs::StdRng::seed_from_u64(7));
        builder
    };
    let mut drawn = Vec::new();
    for _ in 0..2 {
        let mut guest = Guest::new(&mut seeded()).await;
        guest.run("random_get", &[2048, 100_000]).await.unwrap();
        drawn.push(guest.bytes(2048, 100_000));
        assert_eq!(guest.bytes(2048 + 100_000, 8), [0; 8]);
    }
    assert_eq!(drawn[0], drawn[1]);
    let mut guest = Guest::new(&mut WasiCtxBuilder::new()).await;
    guest.run("random_get", &[2048, 100_000]).await.unwrap();
    let other = guest.bytes(2048, 100_000);
    assert_ne!(other, drawn[0]);
    // Each byte is 0 for one of 256 times: the parts are all filled.
    assert!(other.chunks(5_000).all(|part| part.iter().filter(|&&byte| byte == 0).count() < 200));
    assert_eq!(guest.run("random_get", &[2048, 0]).await, Ok(()));
    assert_eq!(guest.run("random_get", &[2048, -1]).await, Err(errno::FAULT));
    assert_eq!(guest.run("random_get", &[4 * 65_536 - 1, 2]).await, Err(errno::FAULT));
}

#[tokio::test]
async fn streams_go_to_the_host() {
    let (out, err) = (MemoryOutputPipe::new(10), MemoryOutputPipe::new(100));
    let (mut feed, stdin) = tokio::io::duplex(64);
    let mut builder = WasiCtxBuilder::new();
    builder.stdin(stdin).stdout(out.clone()).stderr(err.clone());
    let mut guest = Guest::new(&mut builder).await;
    assert_eq!(guest.write(1, b"out").await, Ok(3));
    assert_eq!(guest.write(2, b"err").await, Ok(3));
    assert_eq!((&out.contents()[..], &err.contents()[..]), (&b"out"[..], &b"err"[..]));
    // What still fits is written, and counted.
    assert_eq!(guest.write(1, b"12345678").await, Ok(7));
    assert_eq!(guest.write(1, b"8").await, Err(errno::NOSPC));
    assert_eq!(out.contents(), "out1234567");

    guest.run("fd_fdstat_set_flags", &[0, i64::from(NONBLOCK)]).await.unwrap();
    assert_eq!(guest.read(0, 10).await, Err(errno::AGAIN));
    feed.write_all(b"hello").await.unwrap();
    assert_eq!(guest.read(0, 2).await.unwrap(), b"he");
    assert_eq!(guest.read(0, 99).await.unwrap(), b"llo");
    guest.run("fd_fdstat_set_flags", &[0, 0]).await.unwrap();
    let (read, _) = tokio::join!(guest.read(0, 99), async {
        tokio::task::yield_now().await;
        feed.write_all(b"later").await.unwrap();
    });
    assert_eq!(read.unwrap(), b"later");
    drop(feed);
    assert_eq!(guest.read(0, 99).await.unwrap(), b"");
}

#[tokio::test]
async fn a_reader_that_is_gone_is_a_broken_pipe() {
    let (stdout, other) = tokio::io::duplex(4);
    let mut builder = WasiCtxBuilder::new();
    builder.stdout(stdout);
    let mut guest = Guest::new(&mut builder).await;
    let mut other = Some(other);
    // More than the pipe holds waits for the reader.
    let (written, read) = tokio::join!(guest.write(1, b"0123456789"), async {
        let mut bytes = [0; 10];
        other.as_mut().unwrap().read_exact(&mut bytes).await.unwrap();
        bytes
    });
    assert_eq!((written, &read), (Ok(10), b"0123456789"));
    guest.run("fd_fdstat_set_flags", &[1, i64::from(NONBLOCK)]).await.unwrap();
    assert_eq!(guest.write(1, b"0123456789").await, Ok(4));
    assert_eq!(guest.write(1, b"0").await, Err(errno::AGAIN));
    other = None;
    assert!(other.is_none());
    assert_eq!(guest.write(1, b"0").await, Err(errno::PIPE));
}

#[tokio::test]
async fn a_program_ends_with_its_status() {
    let mut guest = Guest::new(&mut WasiCtxBuilder::new()).await;
    for status in [0, 1, 255, -1] {
        let trap = guest.try_call("proc_exit", &[status]).await.unwrap_err();
        assert_eq!(I32Exit::of(&trap).unwrap().0, status as i32);
        assert_eq!(trap.i32_exit_status(), Some(status as i32));
    }
    let trap = guest.try_call("proc_raise", &[6]).await.unwrap_err();
    assert_eq!(I32Exit::of(&trap).unwrap().0, 134);
    for ignored in [0, 16, 17, 22, 27] {
        assert_eq!(guest.run("proc_raise", &[ignored]).await, Ok(()));
    }
    assert_eq!(guest.run("proc_raise", &[18]).await, Err(errno::NOTSUP));
    assert_eq!(guest.run("proc_raise", &[31]).await, Err(errno::INVAL));
    assert_eq!(guest.run("sched_yield", &[]).await, Ok(()));
}

#[tokio::test]
async fn a_stream_that_is_closed_is_replaced_by_the_next_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut guest = Guest::in_dir(&dir).await;
    guest.close(1).await.unwrap();
    assert_eq!(guest.open(3, "log", CREAT, ALL).await, Ok(1));
    assert_eq!(guest.write(1, b"printed").await, Ok(7));
    assert_eq!(std::fs::read(dir.path().join("log")).unwrap(), b"printed");
}

/// Gives bytes without end, and keeps the most that it was asked for.
struct Greedy(Arc<AtomicU64>);

impl tokio::io::AsyncRead for Greedy {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        self.0.fetch_max(buffer.remaining() as u64, Ordering::Relaxed);
        buffer.put_slice(&vec![b'x'; buffer.remaining()]);
        std::task::Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn what_the_host_holds_for_a_call_is_bounded() {
    let most = Arc::new(AtomicU64::new(0));
    let mut builder = WasiCtxBuilder::new();
    builder.stdin(Greedy(most.clone()));
    builder.limits(WasiLimits { buffered_bytes: 100, ..WasiLimits::default() });
    let mut guest = Guest::new(&mut builder).await;
    // A stream gives what there is, which is less than was asked for.
    assert_eq!(guest.read(0, 10_000).await.unwrap(), [b'x'; 100]);
    assert_eq!(most.load(Ordering::Relaxed), 100);
}

#[tokio::test]
async fn paths_are_as_long_as_they_may_be() {
    let dir = tempfile::tempdir().unwrap();
    let mut builder = WasiCtxBuilder::new();
    let perms = (lampwick_wasi::DirPerms::all(), lampwick_wasi::FilePerms::all());
    builder.preopened_dir(dir.path(), "/", perms.0, perms.1).unwrap();
    builder.limits(WasiLimits { path_length: 4, ..WasiLimits::default() });
    let mut guest = Guest::new(&mut builder).await;
    let long = Err(errno::NAMETOOLONG);
    assert!(guest.open(3, "1234", CREAT, ALL).await.is_ok());
    assert_eq!(guest.open(3, "12345", CREAT, ALL).await, long.map(|()| 0));
    assert_eq!(guest.at("path_create_directory", 3, "12345").await, long);
    assert_eq!(guest.symlink("12345", 3, "1").await, long);
    assert_eq!(guest.rename((3, "1234"), (3, "12345")).await, long);
    assert!(!dir.path().join("12345").exists());
}

#[tokio::test]
#[should_panic(expected = "more is open from the start than 2 files")]
async fn a_limit_below_what_is_open_from_the_start_is_misuse() {
    WasiCtxBuilder::new().limits(WasiLimits { open_files: 2, ..WasiLimits::default() }).build();
}
