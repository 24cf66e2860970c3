//! Guests that lie about addresses and lengths, ask for too much, or are dropped in the midst.

use std::sync::mpsc;
use std::time::Duration;

use lampwick::{Linker, Module, Store};
use lampwick_wasi::{
    DirPerms, FilePerms, I32Exit, WasiCtx, WasiCtxBuilder, WasiLimits, add_to_linker,
};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use tempfile::{TempDir, tempdir};

use crate::support::*;

const MEMORY: i64 = 4 * 65_536;

async fn guest_with_file(dir: &TempDir) -> (Guest, i64) {
    std::fs::write(dir.path().join("file"), "contents").unwrap();
    let mut guest = Guest::in_dir(dir).await;
    let fd = guest.open(3, "file", 0, ALL).await.unwrap();
    (guest, fd)
}

#[tokio::test]
async fn lists_are_bounded_and_checked_before_anything_is_read() {
    let dir = tempdir().unwrap();
    let (mut guest, fd) = guest_with_file(&dir).await;
    let list: Vec<u8> = [64, 0, 0, 0, 0, 0, 0, 0].repeat(1025);
    let iovs = 65_536;
    guest.write_at(iovs, &list);
    for (name, out) in [("fd_read", 1000), ("fd_write", 1000)] {
        assert_eq!(guest.run(name, &[fd, iovs, 1024, out]).await, Ok(()));
        assert_eq!(guest.run(name, &[fd, iovs, 1025, out]).await, Err(errno::INVAL));
        assert_eq!(guest.run(name, &[fd, iovs, -1, out]).await, Err(errno::INVAL));
        assert_eq!(guest.run(name, &[fd, MEMORY - 8, 2, out]).await, Err(errno::FAULT));
        assert_eq!(guest.run(name, &[fd, -8, 1, out]).await, Err(errno::FAULT));
        assert_eq!(guest.run(name, &[fd, iovs + 1, 1, out]).await, Err(errno::INVAL));
        for bad in [(MEMORY - 1, 2), (64, u32::MAX as usize), (-1, 1), (-1, 2)] {
            let iovs = guest.iovs(&[(64, 4), bad]);
            assert_eq!(guest.run(name, &[fd, iovs, 2, out]).await, Err(errno::FAULT), "{bad:?}");
        }
        assert_eq!(guest.run(name, &[fd, iovs, 0, MEMORY]).await, Err(errno::FAULT));
    }
    // Nothing was read, moved or written by any of it.
    assert_eq!(guest.tell(fd).await, Ok(0));
    assert_eq!(guest.bytes(64, 8), [0; 8]);
    assert_eq!(std::fs::read(dir.path().join("file")).unwrap(), b"contents");
    assert_eq!(guest.run("poll_oneoff", &[1024, 2048, 1025, 1000]).await, Err(errno::INVAL));
    assert_eq!(guest.run("poll_oneoff", &[1024, 2048, -1, 1000]).await, Err(errno::INVAL));
    assert_eq!(guest.run("poll_oneoff", &[1024, MEMORY - 31, 1, 1000]).await, Err(errno::FAULT));
    assert_eq!(guest.run("poll_oneoff", &[MEMORY - 40, 2048, 1, 1000]).await, Err(errno::FAULT));
}

#[tokio::test]
async fn lengths_whose_sum_overflows_are_refused() {
    let dir = tempdir().unwrap();
    let mut builder = WasiCtxBuilder::new();
    builder.preopened_dir(dir.path(), "/", DirPerms::all(), FilePerms::all()).unwrap();
    let mut guest = Guest::with_pages(&mut builder, 65).await;
    let fd = guest.open(3, "file", CREAT, ALL).await.unwrap();
    let iovs = guest.iovs(&vec![(0, 65 * 65_536); 1024]);
    assert_eq!(guest.run("fd_write", &[fd, iovs, 1024, 1000]).await, Err(errno::INVAL));
    assert_eq!(guest.fstat(fd).await.unwrap().size, 0);
}

/// Calls every function with numbers that are at an edge or random, on a memory of random bytes.
/// Each call has an answer; none traps or panics.
#[tokio::test(start_paused = true)]
async fn no_argument_is_more_than_an_error() {
    let seed = rand::random::<u64>();
    println!("seed {seed}");
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let dir = tempdir().unwrap();
    let mut builder = WasiCtxBuilder::new();
    builder.preopened_dir(dir.path(), "/", DirPerms::all(), FilePerms::all()).unwrap();
    builder.limits(WasiLimits { open_files: 20, ..WasiLimits::default() });
    let mut guest = Guest::new(&mut builder).await;
    let mut names = FUNCTIONS.map(|(name, params)| (name, params.len()));
    for round in 0..40 {
        // Files must not become so large that they are of note.
        let mut bytes = vec![0; 4096];
        if round % 2 == 0 {
            random.fill(&mut bytes[..]);
        }
        guest.write_at(random.random_range(0..1024) * 8, &bytes);
        names.shuffle(&mut random);
        for (name, params) in names {
            if name == "fd_allocate" || name == "fd_filestat_set_size" {
                continue;
            }
            let mut args = Vec::new();
            for _ in 0..params {
                args.push(match random.random_range(0..10) {
                    0..4 => random.random_range(0..8),
                    4 => -1,
                    5 => MEMORY - random.random_range(0..9),
                    6 => i64::from(i32::MIN),
                    7 => random.random(),
                    _ => random.random_range(0..MEMORY / 8) * 8,
                });
            }
            match guest.try_call(name, &args).await {
                Ok(errno) => assert!((0..=76).contains(&errno), "{name} {args:?}: {errno}"),
                Err(trap) => assert!(I32Exit::of(&trap).is_some(), "{name} {args:?}: {trap}"),
            }
        }
    }
}

#[tokio::test]
async fn a_guest_without_a_memory_to_speak_of_is_told_so() {
    let engine = engine();
    for memory in ["", "(memory 1)", r#"(func (export "memory"))"#] {
        let text = format!(
            r#"(module
                (import "wasi_snapshot_preview1" "sched_yield" (func $f (result i32)))
                {memory} (func (export "run") (drop (call $f))))"#
        );
        let module = Module::new(&engine, text).unwrap();
        let mut linker = Linker::new(&engine);
        add_to_linker(&mut linker, |ctx: &mut WasiCtx| ctx).unwrap();
        let mut store = Store::new(&engine, WasiCtxBuilder::new().build());
        let instance = linker.instantiate_async(&mut store, &module).await.unwrap();
        let run = instance.get_typed_func::<(), (), _>(&mut store, "run").unwrap();
        let trap = run.call_async(&mut store, ()).await.unwrap_err().to_string();
        assert!(trap.contains("no memory named `memory` called `sched_yield`"), "{trap}");
    }
}

#[tokio::test]
async fn a_guest_has_as_many_files_as_it_may() {
    let dir = tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "contents").unwrap();
    let mut builder = WasiCtxBuilder::new();
    builder.preopened_dir(dir.path(), "/", DirPerms::all(), FilePerms::all()).unwrap();
    builder.limits(WasiLimits { open_files: 64, ..WasiLimits::default() });
    let mut guest = Guest::new(&mut builder).await;
    // Three streams and the directory are open.
    for fd in 4..64 {
        assert_eq!(guest.open(3, "file", 0, READ).await, Ok(fd));
    }
    assert_eq!(guest.open(3, "file", 0, READ).await, Err(errno::MFILE));
    // It is refused before the file would be made.
    assert_eq!(guest.open(3, "new", CREAT, ALL).await, Err(errno::MFILE));
    assert!(!dir.path().join("new").exists());
    guest.close(50).await.unwrap();
    assert_eq!(guest.open(3, "file", 0, READ).await, Ok(50));
}

#[test]
fn ten_thousand_open_files_cost_their_guest_only() {
    let test = "hostile::ten_thousand_files";
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"]);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "the test was not found\n{text}");
}

/// In a process of its own, as it may take all descriptors that there are.
#[tokio::test]
#[ignore = "run by `ten_thousand_open_files_cost_their_guest_only`"]
async fn ten_thousand_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let dir = tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "contents").unwrap();
    let mut builder = WasiCtxBuilder::new();
    builder.preopened_dir(dir.path(), "/", DirPerms::READ, FilePerms::READ).unwrap();
    builder.limits(WasiLimits { open_files: 10_000, ..WasiLimits::default() });
    let mut guest = Guest::new(&mut builder).await;
    let mut last = 3;
    let end = loop {
        match guest.open(3, "file", 0, READ).await {
            Ok(fd) => last = fd,
            Err(errno) => break errno,
        }
    };
    assert_eq!(end, errno::MFILE);
    if maximum.is_none_or(|maximum| maximum > 10_100) {
        assert_eq!(last, 9_999);
    }
    assert_eq!(guest.read(last, 9).await.unwrap(), b"contents");
    drop(guest);
    // All are closed again.
    let mut other = Guest::in_dir(&dir).await;
    assert_eq!(other.open(3, "file", 0, READ).await, Ok(4));
    assert!(std::fs::read_dir("/proc/self/fd").unwrap().count() < 100);
}

/// A runtime with one thread for blocking work.
fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.max_blocking_threads(1).enable_all().build().unwrap()
}

/// Holds the runtime's thread for blocking work until something is sent.
fn hold(runtime: &tokio::runtime::Runtime) -> mpsc::Sender<()> {
    let (release, wait) = mpsc::channel();
    runtime.spawn_blocking(move || wait.recv());
    release
}

/// A path, a buffer, and a list with it, where no later call puts anything.
fn arguments(guest: &mut Guest) -> (i64, i64, i64) {
    let [path, buffer, iovs] = [65_536, 65_600, 65_800];
    guest.write_at(path, b"file");
    guest.write_at(iovs, &[(buffer as u32).to_le_bytes(), 8_u32.to_le_bytes()].concat());
    (path, buffer, iovs)
}

/// Calls a function, which has to wait for the pool, and drops it there.
async fn call_and_drop(guest: &mut Guest, name: &str, args: &[i64]) {
    let call = guest.try_call(name, args);
    let dropped = tokio::time::timeout(Duration::from_millis(1), call).await;
    assert!(dropped.is_err(), "{name} did not wait");
}

#[test]
fn calls_that_are_dropped_on_the_pool_change_nothing_for_the_guest() {
    let runtime = runtime();
    let dir = tempdir().unwrap();
    let (mut guest, fd) = runtime.block_on(guest_with_file(&dir));
    let (path, buffer, iovs) = arguments(&mut guest);
    let calls = [
        ("fd_read", vec![fd, iovs, 1, 1000]),
        ("fd_pread", vec![fd, iovs, 1, 2, 1000]),
        ("fd_seek", vec![fd, 0, 2, 1000]),
        ("fd_filestat_get", vec![fd, buffer]),
        ("fd_sync", vec![fd]),
        ("fd_readdir", vec![3, buffer, 100, 0, 1000]),
        ("path_open", vec![3, 1, path, 4, 0, READ, 0, 0, 1000]),
        ("path_filestat_get", vec![3, 1, path, 4, buffer]),
    ];
    for (name, args) in &calls {
        let release = hold(&runtime);
        runtime.block_on(call_and_drop(&mut guest, name, args));
        release.send(()).unwrap();
        // What the pool still did is behind this, which waits for it in turn.
        runtime.block_on(async { tokio::task::spawn_blocking(|| ()).await.unwrap() });
        assert_eq!(guest.bytes(buffer, 100), [0; 100], "{name}");
        assert_eq!(guest.bytes(1000, 8), [0; 8], "{name}");
        assert_eq!(runtime.block_on(guest.tell(fd)), Ok(0), "{name}");
    }
    // The file that was opened for nobody is closed, and its number free.
    assert_eq!(runtime.block_on(guest.open(3, "file", 0, READ)), Ok(fd + 1));
    assert_eq!(runtime.block_on(guest.read(fd, 99)).unwrap(), b"contents");
    let open = std::fs::read_dir("/proc/self/fd").unwrap().filter(|entry| {
        let link = entry.as_ref().ok().and_then(|entry| entry.path().read_link().ok());
        link.is_some_and(|link| link == dir.path().join("file"))
    });
    assert_eq!(open.count(), 2);
}

/// Dropped after each number of polls in turn, until the call ends by itself.
#[tokio::test]
async fn calls_that_are_dropped_at_any_await_leave_the_guest_usable() {
    let dir = tempdir().unwrap();
    let (mut guest, fd) = guest_with_file(&dir).await;
    let (path, buffer, iovs) = arguments(&mut guest);
    let calls = [
        ("fd_pwrite", vec![fd, iovs, 1, 0, 1000]),
        ("fd_read", vec![fd, iovs, 1, 1000]),
        ("fd_readdir", vec![3, buffer, 100, 0, 1000]),
        ("path_open", vec![3, 1, path, 4, 0, READ, 0, 0, 1000]),
        ("path_create_directory", vec![3, path, 3]),
        ("random_get", vec![2048, 200_000]),
        ("poll_oneoff", vec![100_000, 150_000, 3, 1000]),
        ("sched_yield", vec![]),
        ("fd_close", vec![fd]),
    ];
    for (name, args) in &calls {
        for polls in 0.. {
            let mut call = Box::pin(guest.try_call(name, args));
            let mut ended = false;
            for _ in 0..polls {
                ended = futures::poll!(&mut call).is_ready();
                if ended {
                    break;
                }
                tokio::task::yield_now().await;
            }
            drop(call);
            assert!(guest.call("sched_yield", &[]).await == 0, "{name} after {polls} polls");
            if ended {
                break;
            }
        }
    }
    assert_eq!(guest.stat(3, "file", true).await.unwrap().size, 8);
}

/// How often a task with this program is polled until it ends.
async fn polls(body: &str) -> u64 {
    let engine = engine();
    let text = format!(
        r#"(module
            (import "wasi_snapshot_preview1" "clock_time_get"
                (func $clock (param i32 i64 i32) (result i32)))
            (import "wasi_snapshot_preview1" "random_get"
                (func $random (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_write"
                (func $write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 2)
            (data (i32.const 0) "\00\10\00\00\00\00\01\00")
            (func (export "run") (local $n i32)
                (loop $again
                    (br_if 1 {body})
                    (local.set $n (i32.add (local.get $n) (i32.const 1)))
                    (br_if $again (i32.lt_u (local.get $n) (i32.const 10000))))))"#
    );
    let module = Module::new(&engine, text).unwrap();
    let mut linker = Linker::new(&engine);
    add_to_linker(&mut linker, |ctx: &mut WasiCtx| ctx).unwrap();
    let mut store = Store::new(&engine, WasiCtxBuilder::new().build());
    let instance = linker.instantiate_async(&mut store, &module).await.unwrap();
    let run = instance.get_typed_func::<(), (), _>(&mut store, "run").unwrap();
    let task = tokio::spawn(async move {
        let mut call = std::pin::pin!(run.call_async(&mut store, ()));
        let mut polls = 0;
        let poll = std::future::poll_fn(|cx| {
            polls += 1;
            call.as_mut().poll(cx)
        });
        poll.await.unwrap();
        polls
    });
    task.await.unwrap()
}

/// A guest without fuel to account for, which calls the host ten thousand times.
#[tokio::test]
async fn no_poll_does_more_than_a_bounded_work_of_the_hosts() {
    // 128 calls, or 512 KiB, are all that a poll has.
    let calls = polls("(call $clock (i32.const 1) (i64.const 0) (i32.const 16))").await;
    assert!(calls >= 10_000 / 128, "{calls} polls");
    let random = polls("(call $random (i32.const 4096) (i32.const 16384))").await;
    assert!(random >= 10_000 / (512 / 16), "{random} polls");
    let writes = polls("(call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))");
    let writes = writes.await;
    assert!(writes >= 10_000 / (512 / 64), "{writes} polls");
}

/// Guests on two workers, each with files of its own in the same directory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guests_on_several_workers_do_not_meet() {
    let dir = std::sync::Arc::new(tempdir().unwrap());
    let guests: Vec<_> = (0..16)
        .map(|i| {
            let dir = dir.clone();
            tokio::spawn(async move {
                let mut guest = Guest::in_dir(&dir).await;
                let name = format!("file-{i}");
                let fd = guest.open(3, &name, CREAT | EXCL, ALL).await.unwrap();
                for round in 0..20_u8 {
                    guest.write(fd, &[i, round]).await.unwrap();
                }
                guest.seek(fd, 0, 0).await.unwrap();
                let expected: Vec<u8> = (0..20).flat_map(|round| [i, round]).collect();
                assert_eq!(guest.read(fd, 99).await.unwrap(), expected);
            })
        })
        .collect();
    for guest in guests {
        guest.await.unwrap();
    }
}
