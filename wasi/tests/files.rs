//! Functions on open files.

use tempfile::tempdir;

use crate::support::*;

const SET: i64 = 0;
const CUR: i64 = 1;
const END: i64 = 2;

#[tokio::test]
async fn a_file_is_written_read_and_sought() {
    let dir = tempdir().unwrap();
    let mut guest = Guest::in_dir(&dir).await;
    let fd = guest.open(3, "file", CREAT | EXCL, ALL).await.unwrap();
    assert_eq!(fd, 4);
    assert_eq!(guest.write(fd, b"hello, world").await, Ok(12));
    assert_eq!(std::fs::read(dir.path().join("file")).unwrap(), b"hello, world");
    assert_eq!(guest.tell(fd).await, Ok(12));
    assert_eq!(guest.seek(fd, -5, CUR).await, Ok(7));
    assert_eq!(guest.read(fd, 100).await.unwrap(), b"world");
    assert_eq!(guest.read(fd, 100).await.unwrap(), b"");
    assert_eq!(guest.seek(fd, -12, END).await, Ok(0));
    assert_eq!(guest.pread(fd, 5, 7).await.unwrap(), b"world");
    assert_eq!(guest.pwrite(fd, b"J", 0).await, Ok(1));
    assert_eq!(guest.tell(fd).await, Ok(0));
    assert_eq!(guest.read(fd, 5).await.unwrap(), b"Jello");
    // Behind the end there is nothing, until something is written there.
    assert_eq!(guest.seek(fd, 20, SET).await, Ok(20));
    assert_eq!(guest.read(fd, 1).await.unwrap(), b"");
    assert_eq!(guest.write(fd, b"!").await, Ok(1));
    assert_eq!(guest.fstat(fd).await.unwrap().size, 21);

    assert_eq!(guest.seek(fd, -1, SET).await, Err(errno::INVAL));
    assert_eq!(guest.seek(fd, i64::MAX, END).await, Err(errno::INVAL));
    assert_eq!(guest.seek(fd, 0, 3).await, Err(errno::INVAL));
    assert_eq!(guest.tell(fd).await, Ok(21));
    assert_eq!(guest.pread(fd, 5, -1).await, Err(errno::INVAL));
    assert!(guest.pwrite(fd, b"x", i64::MAX).await.is_err());
    assert_eq!(guest.close(fd).await, Ok(()));
    assert_eq!(guest.close(fd).await, Err(errno::BADF));
    assert_eq!(guest.read(fd, 1).await, Err(errno::BADF));
    assert_eq!(guest.write(fd, b"x").await, Err(errno::BADF));
    assert_eq!(guest.open(3, "file", CREAT | EXCL, ALL).await, Err(errno::EXIST));
}

#[tokio::test]
async fn many_buffers_are_one_read_and_one_write() {
    let dir = tempdir().unwrap();
    let mut guest = Guest::in_dir(&dir).await;
    let fd = guest.open(3, "file", CREAT, ALL).await.unwrap();
    let (a, b) = (guest.put(b"one"), guest.put(b"two"));
    let (iovs, out) = (guest.iovs(&[(a, 3), (a, 0), (b, 3), (a, 1)]), guest.room(4));
    guest.run("fd_write", &[fd, iovs, 4, out]).await.unwrap();
    assert_eq!(guest.u32(out), 7);
    assert_eq!(guest.pread(fd, 100, 0).await.unwrap(), b"onetwoo");
    // Where buffers overlap, the later one wins.
    let a = guest.room(8);
    let (iovs, out) = (guest.iovs(&[(a, 4), (a + 2, 3)]), guest.room(4));
    guest.run("fd_pread", &[fd, iovs, 2, 0, out]).await.unwrap();
    assert_eq!((guest.u32(out), guest.bytes(a, 5)), (7, b"onwoo".to_vec()));
}

#[tokio::test]
async fn reads_and_writes_longer_than_the_hosts_buffer_are_whole() {
    use lampwick_wasi::{DirPerms, FilePerms, WasiCtxBuilder, WasiLimits};
    let dir = tempdir().unwrap();
    let bytes: Vec<u8> = (0..10_000_u32).map(|i| (i % 251) as u8).collect();
    let mut builder = WasiCtxBuilder::new();
    builder.preopened_dir(dir.path(), "/", DirPerms::all(), FilePerms::all()).unwrap();
    builder.limits(WasiLimits { buffered_bytes: 7, ..WasiLimits::default() });
    let mut guest = Guest::new(&mut builder).await;
    let fd = guest.open(3, "file", CREAT, ALL).await.unwrap();
    assert_eq!(guest.write(fd, &bytes).await, Ok(10_000));
    assert_eq!(std::fs::read(dir.path().join("file")).unwrap(), bytes);
    assert_eq!(guest.pread(fd, 20_000, 0).await.unwrap(), bytes);
    assert_eq!(guest.pread(fd, 20_000, 9_990).await.unwrap(), bytes[9_990..]);
}

#[tokio::test]
async fn a_file_that_is_appended_to_grows_at_its_end() {
    let dir = tempdir().unwrap();
    std::fs::write(dir.path().join("log"), "one ").unwrap();
    let mut guest = Guest::in_dir(&dir).await;
    let fd = guest.open_with(3, "log", 0, ALL, APPEND, 1).await.unwrap();
    assert_eq!(guest.write(fd, b"two ").await, Ok(4));
    assert_eq!(guest.tell(fd).await, Ok(8));
    guest.seek(fd, 0, SET).await.unwrap();
    assert_eq!(guest.write(fd, b"three").await, Ok(5));
    assert_eq!(std::fs::read_to_string(dir.path().join("log")).unwrap(), "one two three");
    // Off, and on again.
    guest.run("fd_fdstat_set_flags", &[fd, 0]).await.unwrap();
    guest.seek(fd, 0, SET).await.unwrap();
    assert_eq!(guest.write(fd, b"ONE").await, Ok(3));
    guest.run("fd_fdstat_set_flags", &[fd, i64::from(APPEND)]).await.unwrap();
    assert_eq!(guest.write(fd, b"!").await, Ok(1));
    assert_eq!(std::fs::read_to_string(dir.path().join("log")).unwrap(), "ONE two three!");
    // That writes wait for the disk is settled when a file is opened.
    assert_eq!(guest.run("fd_fdstat_set_flags", &[fd, 16]).await, Err(errno::NOTSUP));
    assert_eq!(guest.run("fd_fdstat_set_flags", &[fd, 1 << 9]).await, Err(errno::INVAL));
    assert_eq!(guest.run("fd_fdstat_set_flags", &[9, 0]).await, Err(errno::BADF));
}

#[tokio::test]
async fn sizes_and_times_are_set() {
    let dir = tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "0123456789").unwrap();
    let mut guest = Guest::in_dir(&dir).await;
    let fd = guest.open(3, "file", 0, ALL).await.unwrap();
    guest.run("fd_filestat_set_size", &[fd, 4]).await.unwrap();
    guest.run("fd_allocate", &[fd, 2, 6]).await.unwrap();
    assert_eq!(guest.pread(fd, 100, 0).await.unwrap(), b"0123\0\0\0\0");
    assert_eq!(guest.run("fd_filestat_set_size", &[fd, -1]).await, Err(errno::INVAL));
    assert_eq!(guest.run("fd_allocate", &[fd, 0, 0]).await, Err(errno::INVAL));
    assert_eq!(guest.run("fd_allocate", &[fd, -1, 1]).await, Err(errno::INVAL));
    assert_eq!(guest.run("fd_allocate", &[3, 0, 1]).await, Err(errno::BADF));
    assert_eq!(guest.run("fd_filestat_set_size", &[1, 1]).await, Err(errno::BADF));

    let (atim, mtim) = (1, 4);
    guest.run("fd_filestat_set_times", &[fd, 1_000_000_007, 5, atim | mtim]).await.unwrap();
    let stat = guest.fstat(fd).await.unwrap();
    assert_eq!((stat.filetype, stat.links, stat.size), (4, 1, 8));
    assert_eq!((stat.accessed, stat.modified), (1_000_000_007, 5));
    // What is not named stays.
    guest.run("fd_filestat_set_times", &[fd, 9, 9, mtim]).await.unwrap();
    let stat = guest.fstat(fd).await.unwrap();
    assert_eq!((stat.accessed, stat.modified), (1_000_000_007, 9));
    guest.run("fd_filestat_set_times", &[fd, 0, 0, 2 | 8]).await.unwrap();
    assert!(guest.fstat(fd).await.unwrap().accessed > 1_600_000_000_000_000_000);
    assert_eq!(guest.run("fd_filestat_set_times", &[fd, 0, 0, 3]).await, Err(errno::INVAL));
    assert_eq!(guest.run("fd_filestat_set_times", &[1, 0, 0, 1]).await, Err(errno::BADF));
    guest.run("fd_filestat_set_times", &[3, 8, 8, atim | mtim]).await.unwrap();
    assert_eq!(guest.fstat(3).await.unwrap().modified, 8);
    assert_eq!(guest.fstat(1).await.unwrap().size, 0);
    assert_eq!(guest.fstat(77).await, Err(errno::BADF));
}

#[tokio::test]
async fn files_are_synced_and_advised_about() {
    let dir = tempdir().unwrap();
    let mut guest = Guest::in_dir(&dir).await;
    let fd = guest.open(3, "file", CREAT, ALL).await.unwrap();
    for name in ["fd_sync", "fd_datasync"] {
        assert_eq!(guest.run(name, &[fd]).await, Ok(()));
        assert_eq!(guest.run(name, &[3]).await, Ok(()));
        assert_eq!(guest.run(name, &[9]).await, Err(errno::BADF));
        assert_eq!(guest.run(name, &[1]).await, Err(errno::NOTCAPABLE));
    }
    for advice in 0..6 {
        assert_eq!(guest.run("fd_advise", &[fd, 0, 0, advice]).await, Ok(()));
    }
    assert_eq!(guest.run("fd_advise", &[fd, 0, 0, 6]).await, Err(errno::INVAL));
    assert_eq!(guest.run("fd_advise", &[fd, -1, 1, 0]).await, Err(errno::INVAL));
    assert_eq!(guest.run("fd_advise", &[3, 0, 1, 0]).await, Err(errno::BADF));
}

#[tokio::test]
async fn descriptors_are_renumbered_and_lose_rights_but_win_none() {
    let dir = tempdir().unwrap();
    let mut guest = Guest::in_dir(&dir).await;
    let a = guest.open(3, "a", CREAT, ALL).await.unwrap();
    let b = guest.open(3, "b", CREAT, ALL).await.unwrap();
    guest.run("fd_renumber", &[a, b]).await.unwrap();
    assert_eq!(guest.write(b, b"into a").await, Ok(6));
    assert_eq!(std::fs::read(dir.path().join("a")).unwrap(), b"into a");
    assert_eq!(guest.write(a, b"x").await, Err(errno::BADF));
    assert_eq!(guest.run("fd_renumber", &[a, b]).await, Err(errno::BADF));
    assert_eq!(guest.run("fd_renumber", &[b, 1000]).await, Err(errno::BADF));
    assert_eq!(guest.run("fd_renumber", &[b, -1]).await, Err(errno::BADF));
    // The number that is free now is the next one.
    assert_eq!(guest.open(3, "b", 0, ALL).await, Ok(a));

    let out = guest.room(24);
    guest.run("fd_fdstat_get", &[b, out]).await.unwrap();
    let base = guest.u64(out + 8) as i64;
    assert_eq!(guest.bytes(out, 1), [4]);
    assert_eq!(base & (READ | WRITE | SEEK), READ | WRITE | SEEK);
    guest.run("fd_fdstat_set_rights", &[b, base & !WRITE, 0]).await.unwrap();
    assert_eq!(guest.write(b, b"x").await, Err(errno::NOTCAPABLE));
    assert_eq!(guest.run("fd_fdstat_set_rights", &[b, base, 0]).await, Err(errno::NOTCAPABLE));
    assert_eq!(guest.run("fd_fdstat_set_rights", &[b, 0, 0]).await, Ok(()));
    assert_eq!(guest.read(b, 1).await, Err(errno::NOTCAPABLE));
    assert_eq!(guest.run("fd_fdstat_get", &[99, 0]).await, Err(errno::BADF));
}

#[tokio::test]
async fn streams_and_directories_cannot_be_sought() {
    let dir = tempdir().unwrap();
    let mut guest = Guest::in_dir(&dir).await;
    for stream in 0..3 {
        assert_eq!(guest.seek(stream, 0, SET).await, Err(errno::SPIPE));
        assert_eq!(guest.tell(stream).await, Err(errno::SPIPE));
        assert_eq!(guest.pread(stream, 1, 0).await, Err(errno::SPIPE));
        assert_eq!(guest.pwrite(stream, b"x", 0).await, Err(errno::SPIPE));
    }
    assert_eq!(guest.seek(3, 0, SET).await, Err(errno::ISDIR));
    assert_eq!(guest.read(3, 1).await, Err(errno::ISDIR));
    assert_eq!(guest.write(3, b"x").await, Err(errno::ISDIR));
    assert_eq!(guest.read(1, 1).await, Err(errno::NOTCAPABLE));
    assert_eq!(guest.write(0, b"x").await, Err(errno::NOTCAPABLE));
    assert_eq!(guest.read(0, 1).await, Ok(vec![]));
}
