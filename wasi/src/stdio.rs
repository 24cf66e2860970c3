//! Streams from and to the host.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

use crate::bindings::types::Errno;
use crate::errno::Result;

pub(crate) type Reader = Box<dyn AsyncRead + Send + Sync + Unpin>;
pub(crate) type Writer = Box<dyn AsyncWrite + Send + Sync + Unpin>;

/// A stream that the program reads, with what was read ahead of it.
pub(crate) struct Input {
    reader: BufReader<Reader>,
    is_terminal: bool,
}

impl Input {
    pub(crate) fn new(reader: Reader, is_terminal: bool, buffer: usize) -> Self {
        Self { reader: BufReader::with_capacity(buffer.max(1), reader), is_terminal }
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Some bytes, at most `len`; none at the end.
    pub(crate) async fn read(&mut self, len: usize, nonblocking: bool) -> Result<Bytes> {
        if nonblocking {
            let available = std::future::poll_fn(|cx| Poll::Ready(self.poll_available(cx))).await;
            if available.is_pending() {
                return Err(Errno::Again.into());
            }
        }
        let mut bytes = BytesMut::zeroed(len);
        let n = self.reader.read(&mut bytes).await?;
        bytes.truncate(n);
        Ok(bytes.freeze())
    }

    /// Ready when a read would not wait, with how many bytes it would find; 0 at the end.
    pub(crate) fn poll_available(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.reader).poll_fill_buf(cx).map_ok(|buffer| buffer.len())
    }
}

/// A stream that the program writes. What was written has been flushed.
pub(crate) struct Output {
    writer: Writer,
    is_terminal: bool,
}

impl Output {
    pub(crate) fn new(writer: Writer, is_terminal: bool) -> Self {
        Self { writer, is_terminal }
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Writes some of the bytes, waiting until there is room for any.
    pub(crate) async fn write(&mut self, mut bytes: Bytes, nonblocking: bool) -> Result<usize> {
        let len = bytes.len();
        if nonblocking {
            let n = self.write_now(&bytes).await?;
            bytes.advance(n);
        } else {
            while bytes.has_remaining() {
                match self.writer.write(&bytes).await {
                    Ok(0) => return Err(Errno::Pipe.into()),
                    Ok(n) => bytes.advance(n),
                    Err(error) if bytes.len() == len => return Err(error.into()),
                    Err(_) => break,
                }
            }
            self.writer.flush().await?;
        }
        Ok(len - bytes.len())
    }

    async fn write_now(&mut self, bytes: &[u8]) -> Result<usize> {
        let written = std::future::poll_fn(|cx| {
            Poll::Ready(Pin::new(&mut self.writer).poll_write(cx, bytes))
        });
        match written.await {
            Poll::Pending => Err(Errno::Again.into()),
            Poll::Ready(n) => {
                let n = n?;
                self.writer.flush().await?;
                Ok(n)
            }
        }
    }

    /// Ready when nothing that was written is still on its way.
    pub(crate) fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(cx)
    }
}
