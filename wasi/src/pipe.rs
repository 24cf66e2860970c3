//! Output that is kept in memory.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;

/// Keeps what a program writes, up to a number of bytes. Clones share it.
///
/// A write beyond that fails with `ENOSPC` as soon as there is no room for any of it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
/// use lampwick_wasi::MemoryOutputPipe;
/// use tokio::io::AsyncWriteExt;
///
/// let mut pipe = MemoryOutputPipe::new(4);
/// pipe.clone().write_all(b"wick").await?;
/// assert_eq!(pipe.contents(), "wick");
/// assert!(pipe.write_all(b"s").await.is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct MemoryOutputPipe {
    bytes: Arc<Mutex<Vec<u8>>>,
    capacity: usize,
}

impl MemoryOutputPipe {
    /// An empty one that takes `capacity` bytes.
    pub fn new(capacity: usize) -> Self {
        Self { bytes: Arc::default(), capacity }
    }

    /// A copy of what was written so far.
    pub fn contents(&self) -> Bytes {
        Bytes::copy_from_slice(&self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl AsyncWrite for MemoryOutputPipe {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        new: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let n = new.len().min(self.capacity - bytes.len());
        if n == 0 && !new.is_empty() {
            let full = format!("the pipe holds {} bytes, which is its capacity", self.capacity);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::StorageFull, full)));
        }
        bytes.extend_from_slice(&new[..n]);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
