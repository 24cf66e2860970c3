//! The line itself, and the tasks that serve it.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::runtime::{Handle, Id};

use crate::here;

/// Those who wait in a runtime. Its pumps own it.
#[derive(Debug)]
pub(crate) struct Line {
    runtime: Handle,
    id: Id,
    workers: usize,
    state: Mutex<State>,
}

/// While somebody waits a pump is active: it is scheduled, running, or on a worker's list of those
/// who yield.
#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Waker>,
    /// Pumps that have nothing to do.
    idle: Vec<Waker>,
    /// How many pumps there are, and how many of them are not idle.
    pumps: usize,
    active: usize,
}

/// Where somebody comes into the line.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    First,
    Last,
}

/// How a further pump begins to work.
enum Start {
    Wake(Waker),
    Spawn,
}

impl State {
    /// A further pump, if there may be one.
    fn activate(&mut self, most: usize) -> Option<Start> {
        if self.active >= most {
            return None;
        }
        self.active += 1;
        let start = self.idle.pop().map(Start::Wake);
        Some(start.unwrap_or_else(|| {
            self.pumps += 1;
            Start::Spawn
        }))
    }
}

impl Line {
    pub(crate) fn new(runtime: Handle) -> Arc<Self> {
        let (id, workers) = (runtime.id(), runtime.metrics().num_workers());
        Arc::new(Self { runtime, id, workers, state: Mutex::default() })
    }

    pub(crate) fn runtime(&self) -> Id {
        self.id
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn ensure_pump(self: &Arc<Self>) {
        let start = self.lock().activate(1);
        self.start(start);
    }

    /// Puts a waker into the line, and wakes the first one of the line if this is a worker whose
    /// round is not over.
    pub(crate) fn push(self: &Arc<Self>, waker: Waker, place: Place) {
        let chained = here::is_in_round(self);
        let mut state = self.lock();
        match place {
            Place::First => state.waiting.push_front(waker),
            Place::Last => state.waiting.push_back(waker),
        }
        let next = if chained { state.waiting.pop_front() } else { None };
        let start = if state.waiting.is_empty() { None } else { state.activate(1) };
        drop(state);
        self.start(start);
        if let Some(next) = next {
            next.wake();
        }
    }

    fn start(self: &Arc<Self>, start: Option<Start>) {
        match start {
            // Its round begins after a look at timers and sockets.
            Some(Start::Wake(pump)) => here::yield_with(&pump),
            Some(Start::Spawn) => {
                // Where the runtime is shutting down the pump is dropped, which wakes all.
                drop(self.runtime.spawn(Pump { line: self.clone(), is_idle: false }));
            }
            None => {}
        }
    }
}

/// A task that wakes one of the line in each of its rounds.
struct Pump {
    line: Arc<Line>,
    is_idle: bool,
}

impl Future for Pump {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        here::begin_round(&self.line);
        let waker = context.waker().clone();
        let line = self.line.clone();
        let mut state = line.lock();
        let next = state.waiting.pop_front();
        let is_last = state.waiting.is_empty();
        // Whose turn comes while this worker is busy goes to another one.
        let helper = if is_last { None } else { state.activate(line.workers) };
        self.is_idle = is_last;
        if is_last {
            state.active -= 1;
            state.idle.push(waker);
        }
        drop(state);
        if !is_last {
            here::yield_with(context.waker());
        }
        match helper {
            // At once, so that a worker that has nothing to do takes it.
            Some(Start::Wake(pump)) => pump.wake(),
            helper => line.start(helper),
        }
        if let Some(next) = next {
            next.wake();
        }
        Poll::Pending
    }
}

impl Drop for Pump {
    /// The runtime is shutting down. Who waits may belong to somebody else.
    fn drop(&mut self) {
        let mut state = self.line.lock();
        state.pumps -= 1;
        state.active -= usize::from(!self.is_idle);
        // One of them may be its own; the others are not missed.
        let idle = std::mem::take(&mut state.idle);
        let mut waiting = VecDeque::new();
        if state.pumps == 0 {
            state.active = 0;
            waiting = std::mem::take(&mut state.waiting);
        }
        drop(state);
        drop(idle);
        waiting.into_iter().for_each(Waker::wake);
    }
}
