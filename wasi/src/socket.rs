//! Sockets that the host hands in, and connections accepted from them.

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use rustix::io::ioctl_fionread;
use rustix::net::{RecvFlags, SendFlags, Shutdown};
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream, UdpSocket, UnixListener, UnixStream};

use crate::bindings::types::{Errno, Fdflags, Sdflags};
use crate::errno::Result;

/// A socket that others connect to.
pub(crate) struct Listener {
    listener: Listening,
    /// A connection that `poll_oneoff` found.
    next: Option<Socket>,
}

pub(crate) enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    pub(crate) fn new(listener: Listening) -> Self {
        Self { listener, next: None }
    }

    /// Ready when there is a connection to accept.
    pub(crate) fn poll_available(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.next.is_none() {
            let accepted = match &self.listener {
                Listening::Tcp(tcp) => Socket::Tcp(ready!(tcp.poll_accept(cx))?.0),
                Listening::Unix(unix) => Socket::Unix(ready!(unix.poll_accept(cx))?.0),
            };
            self.next = Some(accepted);
        }
        Poll::Ready(Ok(()))
    }

    pub(crate) async fn accept(&mut self, nonblocking: bool) -> Result<Stream> {
        poll_fn(|cx| match self.poll_available(cx) {
            Poll::Pending if nonblocking => Poll::Ready(Err(io::ErrorKind::WouldBlock.into())),
            other => other,
        })
        .await?;
        let socket = self.next.take().expect("the poll found one");
        Ok(Stream { socket })
    }
}

/// What a connection is made of. All of them are used alike.
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// With one other end, to which it is connected.
    Udp(UdpSocket),
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(tcp) => tcp.as_fd(),
            Self::Unix(unix) => unix.as_fd(),
            Self::Udp(udp) => udp.as_fd(),
        }
    }
}

impl Socket {
    /// Does something that would block where the socket is not ready.
    fn try_io<R>(&self, interest: Interest, work: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        match self {
            Self::Tcp(tcp) => tcp.try_io(interest, work),
            Self::Unix(unix) => unix.try_io(interest, work),
            Self::Udp(udp) => udp.try_io(interest, work),
        }
    }

    async fn ready(&self, interest: Interest) -> io::Result<()> {
        let ready = match self {
            Self::Tcp(tcp) => tcp.ready(interest).await,
            Self::Unix(unix) => unix.ready(interest).await,
            Self::Udp(udp) => udp.ready(interest).await,
        };
        ready.map(drop)
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(tcp) => tcp.poll_read_ready(cx),
            Self::Unix(unix) => unix.poll_read_ready(cx),
            Self::Udp(udp) => udp.poll_recv_ready(cx),
        }
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(tcp) => tcp.poll_write_ready(cx),
            Self::Unix(unix) => unix.poll_write_ready(cx),
            Self::Udp(udp) => udp.poll_send_ready(cx),
        }
    }

    /// What says that there is something to receive. That nobody is at the other end of datagrams
    /// comes as an error alone.
    fn incoming(&self) -> Interest {
        match self {
            Self::Udp(_) => Interest::READABLE | Interest::ERROR,
            _ => Interest::READABLE,
        }
    }

    fn is_datagrams(&self) -> bool {
        matches!(self, Self::Udp(_))
    }

    /// Receives what there is into `bytes`; answers how much that is, which for a datagram may be
    /// more than fits.
    fn try_receive(&self, bytes: &mut [u8], peek: bool) -> io::Result<usize> {
        let mut flags = RecvFlags::DONTWAIT;
        flags.set(RecvFlags::PEEK, peek);
        // A stream has nothing that could be cut, and would throw bytes away by this flag.
        flags.set(RecvFlags::TRUNC, self.is_datagrams());
        let mut receive = || Ok(rustix::net::recv(self, &mut *bytes, flags)?.1);
        match self.try_io(Interest::READABLE, &mut receive) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && self.is_datagrams() => {
                self.try_io(Interest::ERROR, receive)
            }
            received => received,
        }
    }
}

/// A connection.
pub(crate) struct Stream {
    socket: Socket,
}

/// What a connection received.
pub(crate) struct Received {
    pub(crate) bytes: Bytes,
    /// Whether there was more of the datagram, which is lost.
    pub(crate) is_cut: bool,
}

impl Stream {
    pub(crate) fn new(socket: Socket) -> Self {
        Self { socket }
    }

    /// Whether it carries messages, which are received and sent as a whole.
    pub(crate) fn is_datagrams(&self) -> bool {
        self.socket.is_datagrams()
    }

    /// Some bytes, at most `len`, or a datagram; no bytes at the end of a stream.
    pub(crate) async fn read(&self, len: usize, flags: Fdflags, peek: bool) -> Result<Received> {
        let mut bytes = vec![0; len];
        let n = loop {
            match self.socket.try_receive(&mut bytes, peek) {
                Err(error) if would_wait(&error, flags) => {
                    self.socket.ready(self.socket.incoming()).await?;
                }
                n => break n?,
            }
        };
        bytes.truncate(n);
        Ok(Received { bytes: bytes.into(), is_cut: n > len })
    }

    /// Writes some of the bytes; of a datagram all.
    pub(crate) async fn write(&self, bytes: &[u8], flags: Fdflags) -> Result<usize> {
        // Who writes to a closed connection is told so by an error, not by a signal to the host.
        let how = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        loop {
            let work = || Ok(rustix::net::send(&self.socket, bytes, how)?);
            match self.socket.try_io(Interest::WRITABLE, work) {
                Err(error) if would_wait(&error, flags) => {
                    self.socket.ready(Interest::WRITABLE).await?;
                }
                n => return Ok(n?),
            }
        }
    }

    /// Ready when a read would not wait, with how many bytes it would find and whether that is the
    /// end of a stream.
    pub(crate) fn poll_available(&self, cx: &mut Context<'_>) -> Poll<io::Result<(u64, bool)>> {
        loop {
            ready!(self.socket.poll_readable(cx))?;
            match self.socket.try_receive(&mut [0], true) {
                // What was ready was taken meanwhile, or never was: the next look waits.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) => return Poll::Ready(Ok((0, !self.is_datagrams()))),
                Ok(_) => return Poll::Ready(Ok((ioctl_fionread(&self.socket)?, false))),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    pub(crate) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_writable(cx)
    }

    pub(crate) fn shutdown(&self, how: Sdflags) -> Result<()> {
        let how = match (how.contains(Sdflags::RD), how.contains(Sdflags::WR)) {
            (true, true) => Shutdown::Both,
            (true, false) => Shutdown::Read,
            (false, true) => Shutdown::Write,
            (false, false) => return Err(Errno::Inval.into()),
        };
        Ok(rustix::net::shutdown(&self.socket, how)?)
    }
}

/// Whether an error says that there is nothing to do yet, and the guest wants to wait for it.
fn would_wait(error: &io::Error, flags: Fdflags) -> bool {
    error.kind() == io::ErrorKind::WouldBlock && !flags.contains(Fdflags::NONBLOCK)
}
