//! Which runtime the current thread works for.
//!
//! Threads remember it, since every yield asks; what they remember holds for one runtime, which is
//! compared each time, because a thread may work for one after the other.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use tokio::runtime::{Handle, Id};

use crate::ROUND;
use crate::pump::Line;

struct Here {
    runtime: Id,
    /// Dangling where the thread is no worker.
    line: Weak<Line>,
    is_worker: bool,
    /// When a pump had its last round on this thread.
    round: Option<Instant>,
}

thread_local!(static HERE: RefCell<Option<Here>> = const { RefCell::new(None) });

static LINES: LazyLock<Mutex<HashMap<Id, Weak<Line>>>> = LazyLock::new(Mutex::default);

/// The line of the runtime for which this thread works, if it does.
pub(crate) fn line() -> Option<Arc<Line>> {
    let runtime = Handle::try_current().ok()?;
    let known = HERE.with_borrow(|here| {
        let here = here.as_ref().filter(|here| here.runtime == runtime.id())?;
        if here.is_worker { here.line.upgrade().map(Some) } else { Some(None) }
    });
    known.unwrap_or_else(|| find(runtime))
}

/// The same for a thread that does not know yet.
#[cold]
fn find(runtime: Handle) -> Option<Arc<Line>> {
    let (id, is_worker) = (runtime.id(), is_worker());
    let line = is_worker.then(|| {
        let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
        lines.retain(|_, line| line.strong_count() > 0);
        lines.get(&id).and_then(Weak::upgrade).unwrap_or_else(|| {
            let line = Line::new(runtime);
            lines.insert(id, Arc::downgrade(&line));
            line
        })
    });
    let weak = line.as_ref().map(Arc::downgrade).unwrap_or_default();
    HERE.set(Some(Here { runtime: id, line: weak, is_worker, round: None }));
    // Somebody must have it, and the pump does.
    if let Some(line) = &line {
        line.ensure_pump();
    }
    line
}

/// Whether the thread is a worker. Only workers have the list of those who yield; elsewhere tokio
/// wakes them on the spot.
fn is_worker() -> bool {
    #[derive(Default)]
    struct Probe(AtomicBool);
    impl Wake for Probe {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let probe = Arc::new(Probe::default());
    yield_with(&Waker::from(probe.clone()));
    !probe.0.load(Ordering::Relaxed)
}

/// Has `waker` woken after this worker has looked at timers and sockets.
pub(crate) fn yield_with(waker: &Waker) {
    // The future may go at once: the list holds the waker, not the future.
    let yielded = pin!(tokio::task::yield_now()).poll(&mut Context::from_waker(waker));
    if let Poll::Ready(()) = yielded {
        waker.wake_by_ref();
    }
}

/// A pump begins a round on this thread, which is therefore a worker.
pub(crate) fn begin_round(line: &Arc<Line>) {
    let now = Some(Instant::now());
    HERE.with_borrow_mut(|here| match here {
        Some(here) if here.is_worker && here.runtime == line.runtime() => here.round = now,
        _ => {
            let (runtime, line) = (line.runtime(), Arc::downgrade(line));
            *here = Some(Here { runtime, line, is_worker: true, round: now });
        }
    });
}

/// Whether this thread is a worker of the runtime and its round is not over, so that those in line
/// may wake one another.
pub(crate) fn is_in_round(line: &Line) -> bool {
    HERE.with_borrow(|here| {
        let here = here.as_ref().filter(|here| here.runtime == line.runtime());
        here.and_then(|here| here.round).is_some_and(|round| round.elapsed() < ROUND)
    })
}
