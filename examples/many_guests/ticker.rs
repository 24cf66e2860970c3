//! A ticker that shares the runtime with the guests: its delays show what they do to others.

use anyhow::Result;
use std::fmt;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const PERIOD: Duration = Duration::from_millis(1);

/// A task that ticks until it is stopped.
pub(crate) struct Ticker {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Delays>,
}

/// How late each tick was, from the shortest to the longest delay.
pub(crate) struct Delays(Vec<Duration>);

impl Ticker {
    pub(crate) fn start() -> Self {
        let (stop, stopped) = oneshot::channel();
        Ticker { stop, task: tokio::spawn(tick(stopped)) }
    }

    pub(crate) async fn stop(self) -> Result<Delays> {
        // It only fails where the task is gone, and then awaiting that tells why.
        let _ = self.stop.send(());
        Ok(self.task.await?)
    }
}

/// Notes how long after its due time each tick is seen. A tick that was missed counts as well: it
/// keeps its due time and is seen late.
async fn tick(mut stopped: oneshot::Receiver<()>) -> Delays {
    let mut delays = Vec::new();
    let mut interval = tokio::time::interval(PERIOD);
    loop {
        tokio::select! {
            due = interval.tick() => delays.push(due.elapsed()),
            _ = &mut stopped => break,
        }
    }
    delays.sort();
    Delays(delays)
}

impl fmt::Display for Delays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |percent: usize| {
            let at = (self.0.len() * percent / 100).min(self.0.len().saturating_sub(1));
            self.0.get(at).map_or(0.0, |delay| delay.as_secs_f64() * 1e3)
        };
        let (p50, p99, worst) = (ms(50), ms(99), ms(100));
        write!(
            f,
            "p50 {p50:.2} ms   p99 {p99:.2} ms   worst {worst:.2} ms   ({} ticks)",
            self.0.len()
        )
    }
}
