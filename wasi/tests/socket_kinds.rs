//! Sockets of other kinds than TCP: datagrams, and those of the same machine.

use lampwick_wasi::{WasiCtxBuilder, WasiLimits};
use tempfile::tempdir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UdpSocket, UnixListener, UnixStream};

use crate::poll::{On, poll};
use crate::sockets::{accept, receive, send};
use crate::support::*;

/// A guest with a socket for datagrams as descriptor 3, and its other end.
async fn datagrams(limits: WasiLimits) -> (Guest, UdpSocket) {
    let [ours, theirs] =
        [UdpSocket::bind("127.0.0.1:0").await, UdpSocket::bind("127.0.0.1:0").await];
    let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
    ours.connect(theirs.local_addr().unwrap()).await.unwrap();
    theirs.connect(ours.local_addr().unwrap()).await.unwrap();
    let mut builder = WasiCtxBuilder::new();
    (Guest::new(builder.limits(limits).preopened_datagrams(theirs)).await, ours)
}

/// What `sock_recv` says of what it received, besides the bytes.
async fn is_cut(guest: &mut Guest, len: usize, flags: i64) -> (usize, bool) {
    let at = guest.room(len);
    let (iovs, out) = (guest.iovs(&[(at, len)]), guest.room(8));
    guest.run("sock_recv", &[3, iovs, 1, flags, out, out + 4]).await.unwrap();
    (guest.u32(out) as usize, guest.bytes(out + 4, 1) == [1])
}

#[tokio::test]
async fn datagrams_are_sent_and_received_whole() {
    let (mut guest, ours) = datagrams(WasiLimits::default()).await;
    let out = guest.room(24);
    guest.run("fd_fdstat_get", &[3, out]).await.unwrap();
    assert_eq!(guest.bytes(out, 1), [5]);
    for words in [&b"one"[..], b"two and more", b""] {
        ours.send(words).await.unwrap();
    }
    for on in [On::Read(3), On::Write(3)] {
        let events = poll(&mut guest, &[on]).await.unwrap();
        assert!(!events[0].hangup && events[0].error == 0);
    }
    // Looking takes nothing away, and to wait for all of many bytes does not join messages.
    assert_eq!(receive(&mut guest, 3, 99, 1).await.unwrap(), b"one");
    assert_eq!(receive(&mut guest, 3, 99, 2).await.unwrap(), b"one");
    assert_eq!(is_cut(&mut guest, 3, 1).await, (3, true));
    assert_eq!(is_cut(&mut guest, 12, 1).await, (12, false));
    assert_eq!(guest.read(3, 3).await.unwrap(), b"two");
    // The rest of it is lost; what comes next is a message without bytes, and no end.
    let events = poll(&mut guest, &[On::Read(3)]).await.unwrap();
    assert!(!events[0].hangup && events[0].error == 0);
    assert_eq!(receive(&mut guest, 3, 9, 0).await.unwrap(), b"");
    guest.run("fd_fdstat_set_flags", &[3, i64::from(NONBLOCK)]).await.unwrap();
    assert_eq!(receive(&mut guest, 3, 9, 0).await, Err(errno::AGAIN));

    // Several buffers are one message, and so is none.
    let (at, out) = (guest.put(b"abcdef"), guest.room(4));
    let iovs = guest.iovs(&[(at + 3, 3), (at, 3)]);
    guest.run("sock_send", &[3, iovs, 2, 0, out]).await.unwrap();
    assert_eq!(send(&mut guest, 3, b"").await, Ok(0));
    assert_eq!(guest.write(3, b"last").await, Ok(4));
    let mut bytes = [0; 99];
    for words in [&b"defabc"[..], b"", b"last"] {
        let len = ours.recv(&mut bytes).await.unwrap();
        assert_eq!(&bytes[..len], words);
    }
    assert_eq!(guest.run("sock_accept", &[3, 0, 1024]).await, Err(errno::NOTSOCK));
}

#[tokio::test]
async fn datagrams_that_are_too_long_are_not_sent_in_parts() {
    let limits = WasiLimits { buffered_bytes: 10, ..WasiLimits::default() };
    let (mut guest, ours) = datagrams(limits).await;
    assert_eq!(send(&mut guest, 3, b"eleven long").await, Err(errno::MSGSIZE));
    assert_eq!(send(&mut guest, 3, b"ten of ten").await, Ok(10));
    let mut bytes = [0; 99];
    assert_eq!(ours.recv(&mut bytes).await.unwrap(), 10);
    // A longer one than is held for a call is cut, and said to be.
    ours.send(b"eleven long").await.unwrap();
    assert_eq!(is_cut(&mut guest, 99, 0).await, (10, true));
    // More than the system's protocol carries.
    let limits = WasiLimits { buffered_bytes: 100_000, ..WasiLimits::default() };
    let (mut guest, _ours) = datagrams(limits).await;
    assert_eq!(send(&mut guest, 3, &[b'x'; 70_000]).await, Err(errno::MSGSIZE));
}

#[tokio::test]
async fn datagrams_without_another_end_are_errors() {
    let alone = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut guest = Guest::new(WasiCtxBuilder::new().preopened_datagrams(alone)).await;
    assert_eq!(send(&mut guest, 3, b"x").await, Err(errno::DESTADDRREQ));
    let (mut guest, ours) = datagrams(WasiLimits::default()).await;
    drop(ours);
    // That nobody is there is known when the answer to the first one has come.
    assert_eq!(send(&mut guest, 3, b"x").await, Ok(1));
    assert_eq!(receive(&mut guest, 3, 9, 0).await, Err(errno::CONNREFUSED));
}

#[tokio::test]
async fn sockets_of_the_same_machine_are_as_others() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let (stream, mut other) = UnixStream::pair().unwrap();
    let mut builder = WasiCtxBuilder::new();
    let builder = builder.preopened_unix_listener(listener).preopened_unix_stream(stream);
    let mut guest = Guest::new(builder).await;
    assert_eq!(guest.write(4, b"hello").await, Ok(5));
    let mut bytes = [0; 5];
    other.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"hello");

    guest.run("fd_fdstat_set_flags", &[3, i64::from(NONBLOCK)]).await.unwrap();
    assert_eq!(accept(&mut guest, 0).await, Err(errno::AGAIN));
    let mut client = UnixStream::connect(&path).await.unwrap();
    assert_eq!(poll(&mut guest, &[On::Read(3)]).await.unwrap().len(), 1);
    let fd = accept(&mut guest, 0).await.unwrap();
    client.write_all(b"request").await.unwrap();
    assert_eq!(receive(&mut guest, fd, 3, 1).await.unwrap(), b"req");
    assert_eq!(receive(&mut guest, fd, 99, 0).await.unwrap(), b"request");
    assert_eq!(send(&mut guest, fd, b"answer").await, Ok(6));
    guest.run("sock_shutdown", &[fd, 2]).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "answer");
    // A peer that is gone is an error of the call, and no signal to the host.
    assert_eq!(send(&mut guest, fd, b"x").await, Err(errno::PIPE));
    drop(client);
    let events = poll(&mut guest, &[On::Read(fd as u32)]).await.unwrap();
    assert!(events[0].hangup);
}
