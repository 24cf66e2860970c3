//! Logs: of the server, and of what guests write to their standard error.

use std::io::{self, IsTerminal as _};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use tracing::Span;
use tracing::level_filters::LevelFilter;

use crate::args::serve::Level;

/// The longest line of a guest's that is logged, in bytes; what is longer is cut into several.
const LINE: usize = 1024;

/// The most lines of one guest that are logged.
const LINES: usize = 100;

/// Begins to log on the standard error.
pub(super) fn init(level: Level) {
    let level = match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
    };
    // Only a second one could fail, and a process has one server.
    let _ = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .try_init();
}

/// Logs what is written, line by line, in the span in which it was made.
pub(super) struct Lines {
    span: Span,
    line: Vec<u8>,
    left: usize,
}

impl Default for Lines {
    fn default() -> Self {
        Self { span: Span::current(), line: Vec::new(), left: LINES }
    }
}

impl Lines {
    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let Some(left) = self.left.checked_sub(1) else { return };
        self.left = left;
        let _span = self.span.enter();
        // As a debug text, in which control characters are visible.
        tracing::info!(stderr = ?String::from_utf8_lossy(&line), "the guest says");
        if left == 0 {
            tracing::info!("it said {LINES} lines; no more of them are logged");
        }
    }
}

impl AsyncWrite for Lines {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        for &byte in bytes {
            if self.left == 0 {
                break;
            }
            if byte != b'\n' {
                self.line.push(byte);
            }
            if byte == b'\n' || self.line.len() == LINE {
                self.end_line();
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        if !self.line.is_empty() {
            self.end_line();
        }
    }
}
