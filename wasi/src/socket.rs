//! Sockets that the host hands in, and connections accepted from them.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use rustix::io::ioctl_fionread;
use rustix::net::Shutdown;
use tokio::io::ReadBuf;
use tokio::net::{TcpListener, TcpStream};

use crate::bindings::types::{Errno, Fdflags, Sdflags};
use crate::errno::Result;

/// A socket that others connect to.
pub(crate) struct Listener {
    listener: TcpListener,
    /// A connection that `poll_oneoff` found.
    next: Option<TcpStream>,
}

impl Listener {
    pub(crate) fn new(listener: TcpListener) -> Self {
        Self { listener, next: None }
    }

    /// Ready when there is a connection to accept.
    pub(crate) fn poll_available(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.next.is_none() {
            self.next = Some(ready!(self.listener.poll_accept(cx))?.0);
        }
        Poll::Ready(Ok(()))
    }

    pub(crate) async fn accept(&mut self, nonblocking: bool) -> Result<Stream> {
        poll_fn(|cx| match self.poll_available(cx) {
            Poll::Pending if nonblocking => Poll::Ready(Err(io::ErrorKind::WouldBlock.into())),
            other => other,
        })
        .await?;
        let stream = self.next.take().expect("the poll found one");
        Ok(Stream { stream })
    }
}

/// A connection.
pub(crate) struct Stream {
    stream: TcpStream,
}

impl Stream {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream }
    }

    /// Some bytes, at most `len`; none at the end.
    pub(crate) async fn read(&self, len: usize, flags: Fdflags, peek: bool) -> Result<Bytes> {
        let mut bytes = vec![0; len];
        let n = loop {
            let received = if peek {
                // Peeking has no form that only tries.
                self.peek_now(&mut bytes).await
            } else {
                self.stream.try_read(&mut bytes)
            };
            match received {
                Err(error)
                    if error.kind() == io::ErrorKind::WouldBlock
                        && !flags.contains(Fdflags::NONBLOCK) =>
                {
                    self.stream.readable().await?;
                }
                n => break n?,
            }
        };
        bytes.truncate(n);
        Ok(bytes.into())
    }

    async fn peek_now(&self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(bytes);
        poll_fn(|cx| {
            Poll::Ready(match self.stream.poll_peek(cx, &mut buffer) {
                Poll::Ready(n) => n,
                Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
            })
        })
        .await
    }

    /// Writes some of the bytes.
    pub(crate) async fn write(&self, bytes: &[u8], flags: Fdflags) -> Result<usize> {
        loop {
            match self.stream.try_write(bytes) {
                Err(error)
                    if error.kind() == io::ErrorKind::WouldBlock
                        && !flags.contains(Fdflags::NONBLOCK) =>
                {
                    self.stream.writable().await?;
                }
                n => return Ok(n?),
            }
        }
    }

    /// Ready when a read would not wait, with how many bytes it would find; 0 at the end.
    pub(crate) fn poll_available(&self, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        let mut byte = [0];
        let n = ready!(self.stream.poll_peek(cx, &mut ReadBuf::new(&mut byte)))?;
        Poll::Ready(if n == 0 { Ok(0) } else { Ok(ioctl_fionread(&self.stream)?) })
    }

    pub(crate) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_write_ready(cx)
    }

    pub(crate) fn shutdown(&self, how: Sdflags) -> Result<()> {
        let how = match (how.contains(Sdflags::RD), how.contains(Sdflags::WR)) {
            (true, true) => Shutdown::Both,
            (true, false) => Shutdown::Read,
            (false, true) => Shutdown::Write,
            (false, false) => return Err(Errno::Inval.into()),
        };
        Ok(rustix::net::shutdown(&self.stream, how)?)
    }
}
