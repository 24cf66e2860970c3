//! The line itself, and the tasks that serve it.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use smallvec::SmallVec;
use tokio::runtime::{Handle, Id};

use crate::here::{self, Arrival, Known};
use crate::home::Home;
use crate::queue::Place;

/// Those who wait in a runtime.
#[derive(Debug)]
pub(crate) struct Line {
    id: Id,
    workers: usize,
    state: Mutex<State>,
    /// Whether the runtime is gone.
    closed: AtomicBool,
}

/// While somebody waits a pump is active: it is scheduled, running, or on a worker's list of those
/// who yield.
#[derive(Debug, Default)]
struct State {
    /// Those who are in no pump's part.
    waiting: VecDeque<Entry>,
    /// Until it is gone; nobody keeps it alive.
    runtime: Option<Handle>,
    /// The pumps' parts of the line.
    homes: Vec<Arc<Home>>,
    /// Pumps that have nothing to do.
    idle: Vec<Waker>,
    /// How many pumps there are, and how many of them are not idle.
    pumps: usize,
    active: usize,
}

/// Those who are woken at a time.
pub(crate) type Batch = SmallVec<[Waker; 4]>;

/// Somebody who waits.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) waker: Waker,
    pub(crate) place: Place,
}

impl Entry {
    pub(crate) fn enter(self, line: &mut VecDeque<Self>) {
        match self.place {
            Place::First => line.push_front(self),
            Place::Last | Place::LastAlone => line.push_back(self),
        }
    }
}

/// How a further pump begins to work.
enum Start {
    Wake(Waker),
    Spawn(Handle),
}

impl State {
    /// What a pump takes into its own part: its share of those who are in nobody's, or, where it
    /// would have nobody, half of another's.
    fn share(&mut self, home: &Arc<Home>) -> VecDeque<Entry> {
        let share = self.waiting.len().div_ceil(self.active.max(1));
        let mut share: VecDeque<Entry> = self.waiting.drain(..share).collect();
        if share.is_empty() && home.is_empty() {
            let others = self.homes.iter().filter(|other| !Arc::ptr_eq(other, home));
            share =
                others.map(|other| other.split()).find(|part| !part.is_empty()).unwrap_or_default();
        }
        share
    }

    /// A further pump, if there may be one.
    fn activate(&mut self, most: usize) -> Option<Start> {
        if self.active >= most {
            return None;
        }
        let start = match self.idle.pop() {
            Some(pump) => Start::Wake(pump),
            None => {
                let runtime = self.runtime.clone()?;
                self.pumps += 1;
                Start::Spawn(runtime)
            }
        };
        self.active += 1;
        Some(start)
    }
}

impl Line {
    pub(crate) fn new(runtime: Handle) -> Arc<Self> {
        let (id, workers) = (runtime.id(), runtime.metrics().num_workers());
        let state = State { runtime: Some(runtime), ..State::default() };
        Arc::new(Self { id, workers, state: Mutex::new(state), closed: false.into() })
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
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

    /// Puts a waker into the line, and wakes the first ones if this is a worker whose round is not over.
    pub(crate) fn push(self: &Arc<Self>, waker: Waker, place: Place) {
        match here::arrive(self, Entry { waker, place }) {
            Arrival::Here(batch) => batch.into_iter().for_each(Waker::wake),
            // A worker that has none gets one; else one is enough.
            Arrival::LacksPump(entry) => self.push_for_all(entry, self.workers),
            Arrival::Stranger(entry) => self.push_for_all(entry, 1),
        }
    }

    /// Puts somebody where any pump may find it, of which there are to be so many at most.
    fn push_for_all(self: &Arc<Self>, entry: Entry, most: usize) {
        let mut state = self.lock();
        if self.is_closed() {
            drop(state);
            return entry.waker.wake();
        }
        entry.enter(&mut state.waiting);
        let start = state.activate(most);
        drop(state);
        self.start(start);
    }

    fn start(self: &Arc<Self>, start: Option<Start>) {
        match start {
            // Its round begins after a look at timers and sockets.
            Some(Start::Wake(pump)) => here::yield_with(&pump),
            Some(Start::Spawn(runtime)) => {
                // Where the runtime is shutting down the pump is dropped, which wakes all.
                drop(runtime.spawn(Pump::new(self.clone())));
            }
            None => {}
        }
    }
}

/// Puts a task that yields into the line of the runtime for which this thread works. Answers whether
/// there is one. `known` is what is known of the task from before.
#[inline]
pub(crate) fn yield_in_turn(waker: &Waker, known: &mut Option<Known>) -> bool {
    if let Some(runtime) = known.and_then(Known::runtime)
        && here::goes_on(runtime)
    {
        waker.wake_by_ref();
        return true;
    }
    Handle::try_current().is_ok_and(|runtime| enter_in_turn(waker, runtime, known))
}

/// The same where it may have to wait.
#[inline(never)]
fn enter_in_turn(waker: &Waker, runtime: Handle, known: &mut Option<Known>) -> bool {
    *known = Known::new(runtime.id());
    let entry = Entry { waker: waker.clone(), place: Place::Last };
    match here::arrive_in(runtime.id(), entry) {
        Arrival::Here(batch) => batch.into_iter().for_each(Waker::wake),
        Arrival::LacksPump(entry) => match here::line_of(runtime) {
            Some(line) => line.push_for_all(entry, line.workers),
            None => entry.waker.wake(),
        },
        Arrival::Stranger(entry) => match here::line_of(runtime) {
            Some(line) => line.push(entry.waker, Place::Last),
            None => return false,
        },
    }
    true
}

/// A task that wakes one of the line in each of its rounds.
struct Pump {
    line: Arc<Line>,
    home: Arc<Home>,
    is_listed: bool,
    is_idle: bool,
}

impl Pump {
    fn new(line: Arc<Line>) -> Self {
        Self { line, home: Arc::default(), is_listed: false, is_idle: false }
    }
}

impl Future for Pump {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let count = here::begin_round(&self.line, &self.home);
        let waker = context.waker().clone();
        let line = self.line.clone();
        let mut state = line.lock();
        if !self.is_listed {
            self.is_listed = true;
            state.homes.push(self.home.clone());
        }
        let more = if count.is_some() { state.share(&self.home) } else { VecDeque::new() };
        let (next, has_more) = self.home.refill(more, count.unwrap_or(0));
        // Who was woken comes back; only when nobody did is there nothing to do.
        self.is_idle = next.is_empty() && count != Some(0);
        // Whose turn comes while this worker is busy goes to another one.
        let helper = if has_more { state.activate(line.workers) } else { None };
        if self.is_idle {
            // Where it left another worker, somebody may be there.
            state.waiting.extend(self.home.leave());
            state.active -= 1;
            state.idle.push(waker);
        }
        drop(state);
        if !self.is_idle {
            if !next.is_empty() {
                here::woke(&next);
            }
            here::yield_with(context.waker());
        }
        match helper {
            // At once, so that a worker that has nothing to do takes it.
            Some(Start::Wake(pump)) => pump.wake(),
            helper => line.start(helper),
        }
        next.into_iter().for_each(Waker::wake);
        Poll::Pending
    }
}

impl Drop for Pump {
    /// The runtime is shutting down. Who waits may belong to somebody else.
    fn drop(&mut self) {
        let kept = self.home.leave();
        let mut state = self.line.lock();
        state.homes.retain(|home| !Arc::ptr_eq(home, &self.home));
        state.pumps -= 1;
        state.active -= usize::from(!self.is_idle);
        // One of them may be its own; the others are not missed.
        let idle = std::mem::take(&mut state.idle);
        let (mut waiting, mut runtime) = (VecDeque::new(), None);
        if state.pumps == 0 {
            state.active = 0;
            waiting = std::mem::take(&mut state.waiting);
            runtime = state.runtime.take();
            self.line.closed.store(true, Ordering::Release);
        }
        drop(state);
        drop((idle, runtime));
        waiting.into_iter().chain(kept).for_each(|entry| entry.waker.wake());
    }
}
