//! Sockets, with the other end in the test.

use lampwick_wasi::WasiCtxBuilder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::poll::{On, poll};
use crate::support::*;

/// A guest with a listener as descriptor 3, and a client that will be its first connection.
async fn server() -> (Guest, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (Guest::new(WasiCtxBuilder::new().preopened_listener(listener)).await, address)
}

pub(crate) async fn accept(guest: &mut Guest, flags: i32) -> Result<i64, i32> {
    let out = guest.room(4);
    guest.run("sock_accept", &[3, flags.into(), out]).await?;
    Ok(guest.u32(out).into())
}

pub(crate) async fn receive(
    guest: &mut Guest,
    fd: i64,
    len: usize,
    flags: i64,
) -> Result<Vec<u8>, i32> {
    let at = guest.room(len);
    let (iovs, out) = (guest.iovs(&[(at, len)]), guest.room(8));
    guest.run("sock_recv", &[fd, iovs, 1, flags, out, out + 4]).await?;
    Ok(guest.bytes(at, guest.u32(out) as usize))
}

pub(crate) async fn send(guest: &mut Guest, fd: i64, bytes: &[u8]) -> Result<usize, i32> {
    let at = guest.put(bytes);
    let (iovs, out) = (guest.iovs(&[(at, bytes.len())]), guest.room(4));
    guest.run("sock_send", &[fd, iovs, 1, 0, out]).await?;
    Ok(guest.u32(out) as usize)
}

#[tokio::test]
async fn a_guest_serves_a_connection() {
    let (mut guest, address) = server().await;
    guest.run("fd_fdstat_set_flags", &[3, i64::from(NONBLOCK)]).await.unwrap();
    assert_eq!(accept(&mut guest, 0).await, Err(errno::AGAIN));
    guest.run("fd_fdstat_set_flags", &[3, 0]).await.unwrap();
    let (fd, client) = tokio::join!(accept(&mut guest, 0), TcpStream::connect(address));
    let (fd, mut client) = (fd.unwrap(), client.unwrap());
    assert_eq!(fd, 4);

    client.write_all(b"request").await.unwrap();
    // Looking takes nothing away.
    assert_eq!(receive(&mut guest, fd, 3, 1).await.unwrap(), b"req");
    assert_eq!(receive(&mut guest, fd, 3, 0).await.unwrap(), b"req");
    let on = [On::Read(fd as u32), On::Write(fd as u32)];
    assert_eq!(poll(&mut guest, &on).await.unwrap().len(), 2);
    assert_eq!(guest.read(fd, 2).await.unwrap(), b"ue");
    let (all, _) = tokio::join!(receive(&mut guest, fd, 8, 2), async {
        tokio::task::yield_now().await;
        client.write_all(b"_whole").await.unwrap();
    });
    assert_eq!(all.unwrap(), b"st_whole");

    assert_eq!(send(&mut guest, fd, b"answer").await, Ok(6));
    assert_eq!(guest.write(fd, b"!").await, Ok(1));
    guest.run("sock_shutdown", &[fd, 2]).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "answer!");
    assert_eq!(send(&mut guest, fd, b"x").await, Err(errno::PIPE));
    drop(client);
    assert_eq!(receive(&mut guest, fd, 8, 0).await.unwrap(), b"");
    guest.close(fd).await.unwrap();
    assert_eq!(receive(&mut guest, fd, 8, 0).await, Err(errno::BADF));
}

#[tokio::test]
async fn a_connection_that_is_waited_for_is_not_lost() {
    let (mut guest, address) = server().await;
    let mut client = TcpStream::connect(address).await.unwrap();
    let events = poll(&mut guest, &[On::Read(3)]).await.unwrap();
    assert_eq!(events.len(), 1);
    let fd = accept(&mut guest, NONBLOCK).await.unwrap();
    assert_eq!(guest.read(fd, 9).await, Err(errno::AGAIN));
    client.write_all(b"hi").await.unwrap();
    poll(&mut guest, &[On::Read(fd as u32)]).await.unwrap();
    assert_eq!(guest.read(fd, 9).await.unwrap(), b"hi");
    assert_eq!(guest.read(fd, 9).await, Err(errno::AGAIN));
    assert_eq!(receive(&mut guest, fd, 9, 1).await, Err(errno::AGAIN));
}

#[tokio::test]
async fn what_is_no_socket_is_told_so() {
    let (mut guest, _) = server().await;
    assert_eq!(receive(&mut guest, 0, 1, 0).await, Err(errno::NOTSOCK));
    assert_eq!(send(&mut guest, 1, b"x").await, Err(errno::NOTSOCK));
    assert_eq!(guest.run("sock_shutdown", &[1, 3]).await, Err(errno::NOTSOCK));
    assert_eq!(guest.run("sock_accept", &[1, 0, 1024]).await, Err(errno::NOTSOCK));
    for fd in [9, -1] {
        assert_eq!(receive(&mut guest, fd, 1, 0).await, Err(errno::BADF));
        assert_eq!(send(&mut guest, fd, b"x").await, Err(errno::BADF));
        assert_eq!(guest.run("sock_shutdown", &[fd, 3]).await, Err(errno::BADF));
        assert_eq!(guest.run("sock_accept", &[fd, 0, 1024]).await, Err(errno::BADF));
    }
    // A listener is no connection.
    assert_eq!(receive(&mut guest, 3, 1, 0).await, Err(errno::NOTSOCK));
    assert_eq!(guest.read(3, 1).await, Err(errno::NOTCAPABLE));
    assert_eq!(accept(&mut guest, APPEND).await, Err(errno::INVAL));
}

#[tokio::test]
async fn a_connection_from_the_host_is_one_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut other, _) = listener.accept().await.unwrap();
    let mut guest = Guest::new(WasiCtxBuilder::new().preopened_stream(client)).await;
    assert_eq!(guest.write(3, b"hello").await, Ok(5));
    let mut bytes = [0; 5];
    other.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"hello");
    assert_eq!(guest.run("sock_shutdown", &[3, 0]).await, Err(errno::INVAL));
    assert_eq!(guest.run("sock_shutdown", &[3, 4]).await, Err(errno::INVAL));
    let out = guest.room(24);
    guest.run("fd_fdstat_get", &[3, out]).await.unwrap();
    assert_eq!(guest.bytes(out, 1), [6]);
}

/// Drops a call that waits, after it had every chance to be done.
async fn dropped<T: std::fmt::Debug>(call: impl Future<Output = T>) {
    let mut call = std::pin::pin!(call);
    for _ in 0..10 {
        assert!(futures::poll!(&mut call).is_pending());
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_comes_after_a_wait_was_dropped_is_not_lost() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (mut feed, stdin) = tokio::io::duplex(64);
    let mut builder = WasiCtxBuilder::new();
    let mut guest = Guest::new(builder.preopened_listener(listener).stdin(stdin)).await;
    dropped(accept(&mut guest, 0)).await;
    dropped(poll(&mut guest, &[On::Read(3), On::Read(0)])).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    let fd = accept(&mut guest, 0).await.unwrap();
    dropped(guest.read(fd, 9)).await;
    dropped(receive(&mut guest, fd, 9, 1)).await;
    dropped(poll(&mut guest, &[On::Read(fd as u32)])).await;
    client.write_all(b"whole").await.unwrap();
    assert_eq!(guest.read(fd, 9).await.unwrap(), b"whole");
    dropped(guest.read(0, 9)).await;
    feed.write_all(b"input").await.unwrap();
    assert_eq!(guest.read(0, 9).await.unwrap(), b"input");
    // A peer that does not read: what was taken before the call was dropped arrives once.
    let bytes = vec![b'x'; 100_000];
    guest.run("fd_fdstat_set_flags", &[fd, i64::from(NONBLOCK)]).await.unwrap();
    let mut sent = 0;
    while let Ok(n) = guest.write(fd, &bytes).await {
        sent += n;
    }
    guest.run("fd_fdstat_set_flags", &[fd, 0]).await.unwrap();
    dropped(guest.write(fd, b"y")).await;
    guest.close(fd).await.unwrap();
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.unwrap();
    assert_eq!(got.len(), sent);
}

#[tokio::test]
async fn connections_beyond_the_limit_stay_with_the_host() {
    use lampwick_wasi::WasiLimits;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut builder = WasiCtxBuilder::new();
    builder.limits(WasiLimits { open_files: 5, ..WasiLimits::default() });
    let mut guest = Guest::new(builder.preopened_listener(listener)).await;
    let clients = [TcpStream::connect(address).await, TcpStream::connect(address).await];
    let [_first, mut second] = clients.map(Result::unwrap);
    let fd = accept(&mut guest, 0).await.unwrap();
    assert_eq!(accept(&mut guest, 0).await, Err(errno::MFILE));
    guest.close(fd).await.unwrap();
    let fd = accept(&mut guest, 0).await.unwrap();
    assert_eq!(guest.write(fd, b"hi").await, Ok(2));
    let mut bytes = [0; 2];
    second.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"hi");
}
