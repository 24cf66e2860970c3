//! The signals that end the command, but leave time for what remains to be done.

use anyhow::{Context as _, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals that end a command: what Ctrl-C sends, what `kill` sends, and the end of a terminal.
///
/// Those that were ignored when the process began stay so, as after `nohup`.
pub struct Signals(Vec<(SignalKind, Signal)>);

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    ///
    /// Fails if the system cannot tell of signals.
    pub fn new() -> Result<Self> {
        let ignored = ignored();
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let heard = kinds.into_iter().filter(|kind| !is_in(ignored, *kind));
        let listen = |kind| Ok((kind, signal(kind).context("cannot listen for signals")?));
        Ok(Self(heard.map(listen).collect::<Result<_>>()?))
    }

    /// Waits for one.
    pub async fn next(&mut self) -> SignalKind {
        std::future::poll_fn(|context| {
            for (kind, signal) in &mut self.0 {
                if signal.poll_recv(context).is_ready() {
                    return std::task::Poll::Ready(*kind);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

/// The signals that whoever began this process had it ignore, a bit for each; none, if the system
/// does not say.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

fn is_in(mask: u64, kind: SignalKind) -> bool {
    mask >> (kind.as_raw_value() - 1) & 1 == 1
}
