//! `poll_oneoff`, and guests that wait beside others.

use std::time::Duration;

use lampwick_wasi::WasiCtxBuilder;
use tempfile::tempdir;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};

use crate::support::*;

pub(crate) enum On {
    /// A clock, nanoseconds, and whether they are a moment of it.
    Clock(u32, i64, bool),
    Read(u32),
    Write(u32),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Event {
    userdata: u64,
    pub(crate) error: i32,
    kind: u8,
    bytes: u64,
    pub(crate) hangup: bool,
}

pub(crate) async fn poll(guest: &mut Guest, on: &[On]) -> Result<Vec<Event>, i32> {
    let mut list = Vec::new();
    for (i, on) in on.iter().enumerate() {
        let mut entry = [0; 48];
        entry[..8].copy_from_slice(&(100 + i as u64).to_le_bytes());
        match *on {
            On::Clock(id, time, absolute) => {
                entry[16..20].copy_from_slice(&id.to_le_bytes());
                entry[24..32].copy_from_slice(&time.to_le_bytes());
                entry[40] = absolute.into();
            }
            On::Read(fd) | On::Write(fd) => {
                entry[8] = if matches!(on, On::Read(_)) { 1 } else { 2 };
                entry[16..20].copy_from_slice(&fd.to_le_bytes());
            }
        }
        list.extend(entry);
    }
    let (subscriptions, events) = (guest.put(&list), guest.room(32 * on.len()));
    let out = guest.room(4);
    let args = [subscriptions, events, on.len() as i64, out];
    guest.run("poll_oneoff", &args).await?;
    let event = |i: i64| {
        let at = events + 32 * i;
        Event {
            userdata: guest.u64(at),
            error: i32::from(u16::from_le_bytes(guest.bytes(at + 8, 2).try_into().unwrap())),
            kind: guest.bytes(at + 10, 1)[0],
            bytes: guest.u64(at + 16),
            hangup: guest.bytes(at + 24, 1)[0] == 1,
        }
    };
    Ok((0..i64::from(guest.u32(out))).map(event).collect())
}

/// Sleeps on the monotonic clock; answers the number of events.
pub(crate) async fn sleep(guest: &mut Guest, time: i64, absolute: bool) -> Result<usize, i32> {
    Ok(poll(guest, &[On::Clock(1, time, absolute)]).await?.len())
}

fn ready(i: u64, kind: u8, bytes: u64, hangup: bool) -> Event {
    Event { userdata: 100 + i, error: 0, kind, bytes, hangup }
}

fn wrong(i: u64, kind: u8, error: i32) -> Event {
    Event { userdata: 100 + i, error, kind, bytes: 0, hangup: false }
}

const MS: i64 = 1_000_000;

#[tokio::test(start_paused = true)]
async fn a_guest_sleeps_for_as_long_as_it_wants() {
    let mut guest = Guest::new(&mut WasiCtxBuilder::new()).await;
    let begin = Instant::now();
    assert_eq!(sleep(&mut guest, 30_000 * MS, false).await, Ok(1));
    assert_eq!(begin.elapsed().as_secs(), 30);
    // Of several the shortest; those that end together come together.
    let clocks =
        [On::Clock(1, 80 * MS, false), On::Clock(0, 50 * MS, false), On::Clock(1, 50 * MS, false)];
    let events = poll(&mut guest, &clocks).await.unwrap();
    assert_eq!(events, [ready(1, 0, 0, false), ready(2, 0, 0, false)]);
    let slept = begin.elapsed();
    assert_eq!(sleep(&mut guest, 0, false).await, Ok(1));
    // A moment that has passed.
    assert_eq!(sleep(&mut guest, 0, true).await, Ok(1));
    assert_eq!(begin.elapsed(), slept);
    // For ever, as far as a host can tell.
    let long = timeout(Duration::from_secs(3600), sleep(&mut guest, -1, false)).await;
    assert!(long.is_err());
    assert_eq!(sleep(&mut guest, MS, false).await, Ok(1));
    let unknown = poll(&mut guest, &[On::Clock(2, 0, false)]).await.unwrap();
    assert_eq!(unknown, [wrong(0, 0, errno::INVAL)]);
    assert_eq!(poll(&mut guest, &[On::Clock(9, 0, false)]).await, Err(errno::INVAL));
    assert_eq!(poll(&mut guest, &[]).await, Err(errno::INVAL));
}

#[tokio::test]
async fn streams_and_files_are_waited_for() {
    let dir = tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "12345").unwrap();
    let (mut feed, stdin) = tokio::io::duplex(64);
    let mut builder = WasiCtxBuilder::new();
    let perms = (lampwick_wasi::DirPerms::all(), lampwick_wasi::FilePerms::all());
    builder.stdin(stdin).preopened_dir(dir.path(), "/", perms.0, perms.1).unwrap();
    let mut guest = Guest::new(&mut builder).await;
    let file = guest.open(3, "file", 0, ALL).await.unwrap() as u32;

    let on = [On::Read(0), On::Clock(1, 5 * MS, false)];
    assert_eq!(poll(&mut guest, &on).await.unwrap(), [ready(1, 0, 0, false)]);
    let (events, _) =
        tokio::join!(poll(&mut guest, &[On::Read(0), On::Clock(1, 60_000 * MS, false)]), async {
            tokio::task::yield_now().await;
            feed.write_all(b"abc").await.unwrap();
        });
    assert_eq!(events.unwrap(), [ready(0, 1, 3, false)]);
    // Asking takes nothing away.
    assert_eq!(guest.read(0, 9).await.unwrap(), b"abc");
    let on = [On::Write(1), On::Read(file), On::Write(file), On::Read(0)];
    let events = poll(&mut guest, &on).await.unwrap();
    assert_eq!(events, [ready(0, 2, 0, false), ready(1, 1, 5, false), ready(2, 2, 0, false)]);
    drop(feed);
    assert_eq!(poll(&mut guest, &[On::Read(0)]).await.unwrap(), [ready(0, 1, 0, true)]);
    let on = [On::Read(99), On::Write(0), On::Read(1), On::Read(3)];
    let events = poll(&mut guest, &on).await.unwrap();
    let badf = errno::BADF;
    assert_eq!(
        events,
        [wrong(0, 1, badf), wrong(1, 2, badf), wrong(2, 1, badf), wrong(3, 1, errno::NOTCAPABLE)]
    );
}

#[tokio::test]
async fn a_named_pipe_is_waited_for() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    let mut guest = Guest::in_dir(&dir).await;
    // Without a writer it opens at once, and is at its end.
    let fd = guest.open(3, "fifo", 0, ALL & !(WRITE | ALLOCATE | SET_SIZE)).await.unwrap();
    assert_eq!(guest.read(fd, 9).await.unwrap(), b"");
    let mut writer = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let on = [On::Read(fd as u32), On::Clock(1, 5 * MS, false)];
    assert_eq!(poll(&mut guest, &on).await.unwrap(), [ready(1, 0, 0, false)]);
    let (read, _) = tokio::join!(guest.read(fd, 9), async {
        tokio::task::yield_now().await;
        std::io::Write::write_all(&mut writer, b"piped").unwrap();
    });
    assert_eq!(read.unwrap(), b"piped");
    assert_eq!(guest.seek(fd, 0, 0).await, Err(errno::SPIPE));
    std::io::Write::write_all(&mut writer, b"more").unwrap();
    let events = poll(&mut guest, &[On::Read(fd as u32)]).await.unwrap();
    assert_eq!((events.len(), events[0].error), (1, 0));
    assert_eq!(guest.read(fd, 9).await.unwrap(), b"more");
}

/// What would open a pipe for another reason than to read or write it could wait for ever.
#[tokio::test]
async fn a_named_pipe_is_looked_at_without_its_other_end() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    let mut guest = Guest::in_dir(&dir).await;
    let all = timeout(Duration::from_secs(20), async {
        for lookup in [0, 1] {
            assert_eq!(guest.set_times(3, "fifo", (7, 7, 5), lookup).await, Ok(()));
            assert_eq!(guest.stat(3, "fifo", lookup == 1).await.unwrap().modified, 7);
        }
        // To write, there must be a reader.
        guest.open(3, "fifo", 0, WRITE).await
    })
    .await;
    // Lets go of what waits after all.
    drop(std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap());
    assert_eq!(all, Ok(Err(errno::NXIO)));
}

/// Two guests wait on the only worker there is; a timer beside them is as punctual as ever, and both
/// go on when their input comes.
#[tokio::test(flavor = "current_thread")]
async fn guests_that_wait_hold_no_worker() {
    let mut guests = Vec::new();
    let mut feeds = Vec::new();
    for _ in 0..2 {
        let (feed, stdin) = tokio::io::duplex(64);
        let mut guest = Guest::new(WasiCtxBuilder::new().stdin(stdin)).await;
        feeds.push(feed);
        guests.push(tokio::spawn(async move {
            poll(&mut guest, &[On::Read(0), On::Clock(1, i64::MAX, false)]).await.unwrap()
        }));
    }
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    for _ in 0..20 {
        ticks.tick().await;
        assert!(guests.iter().all(|guest| !guest.is_finished()));
    }
    for feed in &mut feeds {
        feed.write_all(b"x").await.unwrap();
    }
    for guest in guests {
        assert_eq!(guest.await.unwrap(), [ready(0, 1, 1, false)]);
    }
}
