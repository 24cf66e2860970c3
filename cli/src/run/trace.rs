//! When each program ran, on which worker, in the format of Chrome's traces, which Perfetto opens.

use std::cell::Cell;
use std::fs::File;
use std::future::Future;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde_json::json;

/// Workers have numbers, which are the rows of the trace.
static WORKERS: AtomicU32 = AtomicU32::new(1);

thread_local! {
    /// The number of this worker, once it has one.
    static WORKER: Cell<u32> = const { Cell::new(0) };
}

/// The name of a worker.
pub(super) fn worker_name() -> String {
    "worker".to_owned()
}

/// A trace that is being written. Clones write to the same.
#[derive(Clone)]
pub(super) struct Trace(Arc<Shared>);

struct Shared {
    began: Instant,
    path: String,
    file: Mutex<Output>,
}

struct Output {
    file: BufWriter<File>,
    /// The workers whose rows have names.
    named: Vec<u32>,
    /// What went wrong first; nothing is written after it.
    error: Option<std::io::Error>,
    events: u64,
}

impl Trace {
    /// Begins a trace in a new file.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        let file = File::create(path).with_context(|| format!("cannot create `{shown}`"))?;
        let output =
            Output { file: BufWriter::new(file), named: Vec::new(), error: None, events: 0 };
        Ok(Self(Arc::new(Shared { began: Instant::now(), path: shown, file: Mutex::new(output) })))
    }

    /// The same future, each poll of which is written as a slice with this name.
    pub(super) async fn follow<F: Future>(
        trace: Option<Self>,
        future: F,
        name: String,
    ) -> F::Output {
        let future = pin!(future);
        match trace {
            None => future.await,
            Some(trace) => Followed { trace, future, name }.await,
        }
    }

    fn slice(&self, name: &str, from: Instant, to: Instant) {
        let worker = worker();
        let micros = |at: Instant| at.duration_since(self.0.began).as_nanos() as f64 / 1e3;
        let (ts, dur) = (micros(from), micros(to) - micros(from));
        let mut output = self.0.file.lock().unwrap_or_else(PoisonError::into_inner);
        if !output.named.contains(&worker) {
            output.named.push(worker);
            output.write(&json!({
                "ph": "M", "name": "thread_name", "pid": 1, "tid": worker,
                "args": { "name": format!("worker {worker}") },
            }));
        }
        output.write(&json!({
            "ph": "X", "name": name, "cat": "guest", "pid": 1, "tid": worker, "ts": ts, "dur": dur,
        }));
    }

    /// Ends the trace.
    pub(super) fn finish(self) -> Result<()> {
        let mut output = self.0.file.lock().unwrap_or_else(PoisonError::into_inner);
        let end = if output.events == 0 { "[]\n" } else { "\n]\n" };
        let written = match output.error.take() {
            Some(error) => Err(error),
            None => output.file.write_all(end.as_bytes()).and_then(|()| output.file.flush()),
        };
        written.with_context(|| format!("cannot write `{}`", self.0.path))
    }
}

impl Output {
    fn write(&mut self, event: &serde_json::Value) {
        if self.error.is_some() {
            return;
        }
        let before = if self.events == 0 { "[\n" } else { ",\n" };
        self.events += 1;
        self.error = write!(self.file, "{before}{event}").err();
    }
}

fn worker() -> u32 {
    WORKER.with(|worker| {
        if worker.get() == 0 {
            worker.set(WORKERS.fetch_add(1, Ordering::Relaxed));
        }
        worker.get()
    })
}

/// A future whose polls are written down.
struct Followed<'a, F> {
    trace: Trace,
    future: Pin<&'a mut F>,
    name: String,
}

impl<F: Future> Future for Followed<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let from = Instant::now();
        let result = self.future.as_mut().poll(context);
        self.trace.slice(&self.name, from, Instant::now());
        result
    }
}
