//! Every function, by one table: what it does for good numbers it does not do for a descriptor that
//! there is not, nor for an address outside of the memory.

use lampwick_wasi::{DirPerms, FilePerms, WasiCtxBuilder};
use tempfile::tempdir;
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};

use crate::support::*;

/// The first address that is none.
const END: i64 = 4 * 65_536;

const IOVS: i64 = 64;
const OUT: i64 = 512;
const FILE: (i64, i64) = (128, 4);
const LINK: (i64, i64) = (144, 4);
const NEW: (i64, i64) = (160, 3);
const SOFT: (i64, i64) = (176, 4);
const HARD: (i64, i64) = (192, 4);

/// Descriptors.
const DIR: i64 = 3;
const LISTENER: i64 = 4;
const STREAM: i64 = 5;
const OPEN: i64 = 6;
const OTHER: i64 = 7;
const THIRD: i64 = 8;

/// A function, good arguments, and which of these are descriptors and addresses.
type Row = (&'static str, Vec<i64>, &'static [usize], &'static [usize]);

/// All functions but those three that have neither. What is made by one is removed by another.
fn rows() -> Vec<Row> {
    vec![
        ("args_get", vec![OUT, 1024], &[], &[0, 1]),
        ("args_sizes_get", vec![OUT, OUT + 4], &[], &[0, 1]),
        ("environ_get", vec![OUT, 1024], &[], &[0, 1]),
        ("environ_sizes_get", vec![OUT, OUT + 4], &[], &[0, 1]),
        ("clock_res_get", vec![0, OUT], &[], &[1]),
        ("clock_time_get", vec![0, 0, OUT], &[], &[2]),
        ("fd_advise", vec![OPEN, 0, 0, 0], &[0], &[]),
        ("fd_allocate", vec![OPEN, 0, 99], &[0], &[]),
        ("fd_datasync", vec![OPEN], &[0], &[]),
        ("fd_fdstat_get", vec![OPEN, OUT], &[0], &[1]),
        ("fd_fdstat_set_flags", vec![OPEN, 0], &[0], &[]),
        ("fd_filestat_get", vec![OPEN, OUT], &[0], &[1]),
        ("fd_filestat_set_size", vec![OPEN, 99], &[0], &[]),
        ("fd_filestat_set_times", vec![OPEN, 1, 1, 5], &[0], &[]),
        ("fd_pread", vec![OPEN, IOVS, 1, 0, OUT], &[0], &[1, 4]),
        ("fd_prestat_get", vec![DIR, OUT], &[0], &[1]),
        ("fd_prestat_dir_name", vec![DIR, OUT, 9], &[0], &[1]),
        ("fd_pwrite", vec![OPEN, IOVS, 1, 0, OUT], &[0], &[1, 4]),
        ("fd_read", vec![OPEN, IOVS, 1, OUT], &[0], &[1, 3]),
        ("fd_readdir", vec![DIR, 1024, 64, 0, OUT], &[0], &[1, 4]),
        ("fd_seek", vec![OPEN, 0, 0, OUT], &[0], &[3]),
        ("fd_sync", vec![OPEN], &[0], &[]),
        ("fd_tell", vec![OPEN, OUT], &[0], &[1]),
        ("fd_write", vec![OPEN, IOVS, 1, OUT], &[0], &[1, 3]),
        ("fd_fdstat_set_rights", vec![OTHER, 0, 0], &[0], &[]),
        ("fd_renumber", vec![OTHER, THIRD], &[0, 1], &[]),
        ("fd_close", vec![THIRD], &[0], &[]),
        ("path_create_directory", vec![DIR, NEW.0, NEW.1], &[0], &[1]),
        ("path_remove_directory", vec![DIR, NEW.0, NEW.1], &[0], &[1]),
        ("path_filestat_get", vec![DIR, 1, FILE.0, FILE.1, OUT], &[0], &[2, 4]),
        ("path_filestat_set_times", vec![DIR, 1, FILE.0, FILE.1, 1, 1, 5], &[0], &[2]),
        ("path_link", vec![DIR, 0, FILE.0, FILE.1, DIR, HARD.0, HARD.1], &[0, 4], &[2, 5]),
        ("path_rename", vec![DIR, HARD.0, HARD.1, DIR, NEW.0, NEW.1], &[0, 3], &[1, 4]),
        ("path_unlink_file", vec![DIR, NEW.0, NEW.1], &[0], &[1]),
        ("path_symlink", vec![FILE.0, FILE.1, DIR, SOFT.0, SOFT.1], &[2], &[0, 3]),
        ("path_readlink", vec![DIR, LINK.0, LINK.1, OUT, 99, OUT + 100], &[0], &[1, 3, 5]),
        ("path_open", vec![DIR, 1, FILE.0, FILE.1, 0, READ, 0, 0, OUT], &[0], &[2, 8]),
        ("poll_oneoff", vec![2048, 4096, 1, OUT], &[], &[0, 1, 3]),
        ("random_get", vec![OUT, 8], &[], &[0]),
        ("sock_accept", vec![LISTENER, 0, OUT], &[0], &[2]),
        ("sock_recv", vec![STREAM, IOVS, 1, 0, OUT, OUT + 4], &[0], &[1, 4, 5]),
        ("sock_send", vec![STREAM, IOVS, 1, 0, OUT], &[0], &[1, 4]),
        ("sock_shutdown", vec![STREAM, 3], &[0], &[]),
    ]
}

#[tokio::test]
async fn descriptors_and_addresses_that_there_are_not_are_errors() {
    let dir = tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "contents").unwrap();
    std::os::unix::fs::symlink("file", dir.path().join("link")).unwrap();
    let socket = dir.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let (stream, mut other) = UnixStream::pair().unwrap();
    other.write_all(&[b'x'; 999]).await.unwrap();
    let mut builder = WasiCtxBuilder::new();
    builder.arg("a").env("B", "c");
    builder.preopened_dir(dir.path(), "/", DirPerms::all(), FilePerms::all()).unwrap();
    let builder = builder.preopened_unix_listener(listener).preopened_unix_stream(stream);
    let mut guest = Guest::new(builder).await;
    for fd in [OPEN, OTHER, THIRD] {
        assert_eq!(guest.open(DIR, "file", 0, ALL).await, Ok(fd));
    }
    // A connection for each call that may take one before it fails.
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(UnixStream::connect(&socket).await.unwrap());
    }
    for ((at, len), name) in
        [(FILE, "file"), (LINK, "link"), (NEW, "new"), (SOFT, "soft"), (HARD, "hard")]
    {
        assert_eq!(len, name.len() as i64);
        guest.write_at(at, name.as_bytes());
    }
    guest.write_at(IOVS, &[0, 4, 0, 0, 16, 0, 0, 0]);
    let rows = rows();
    assert_eq!(rows.len() + 3, FUNCTIONS.len());
    for (name, args, descriptors, addresses) in rows {
        let but = |at: usize, value: i64| {
            let mut args = args.clone();
            args[at] = value;
            args
        };
        for &at in descriptors {
            for bad in [99, -1, i64::from(i32::MIN)] {
                let answer = guest.run(name, &but(at, bad)).await;
                assert_eq!(answer, Err(errno::BADF), "{name}: argument {at} is {bad}");
            }
        }
        for &at in addresses {
            for bad in [END, -8] {
                let answer = guest.run(name, &but(at, bad)).await;
                assert_eq!(answer, Err(errno::FAULT), "{name}: argument {at} is {bad:#x}");
            }
        }
        assert_eq!(guest.run(name, &args).await, Ok(()), "{name}");
    }
}
