//! The standard output as shell users expect it.

use std::io::{self, IsTerminal as _};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use lampwick_wasi::WasiCtxBuilder;
use tokio::io::AsyncWrite;
use tokio::signal::unix::SignalKind;
use tokio::sync::Notify;

/// The exit code where the reader of the output is gone, as after the signal SIGPIPE.
pub(super) const BROKEN_PIPE: u8 = 128 + 13;

/// The exit code of what a signal ended.
pub(super) fn code_after(signal: SignalKind) -> u8 {
    128 + signal.as_raw_value() as u8
}

/// Tells that nobody reads what programs write.
#[derive(Clone, Debug, Default)]
pub(super) struct BrokenPipe(Arc<Notify>);

impl BrokenPipe {
    /// Waits until that is so.
    pub(super) async fn broken(&self) {
        self.0.notified().await;
    }
}

/// An output whose broken pipe ends the program, as the signal does that other programs get: the
/// write never returns, so that the program cannot complain.
struct Piped<W> {
    to: W,
    broken: BrokenPipe,
}

impl<W> Piped<W> {
    fn check<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match result {
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.broken.0.notify_one();
                Poll::Pending
            }
            result => result,
        }
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Piped<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.to).poll_write(context, bytes);
        self.check(result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.to).poll_flush(context);
        self.check(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.to).poll_shutdown(context);
        self.check(result)
    }
}

/// Gives a program the streams of this process. One program alone may have the input.
pub(super) fn give(ctx: &mut WasiCtxBuilder, input: bool, broken: &BrokenPipe) {
    if input {
        ctx.inherit_stdin();
    }
    // A terminal is given as it is, so that the program knows it for one.
    if io::stdout().is_terminal() {
        ctx.inherit_stdout();
    } else {
        ctx.stdout(Piped { to: tokio::io::stdout(), broken: broken.clone() });
    }
    ctx.inherit_stderr();
}
