//! Which runtime the current thread works for.
//!
//! Threads remember it, since every yield asks; what they remember holds for one runtime, which is
//! compared each time, because a thread may work for one after the other.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use tokio::runtime::{Handle, Id};
use tokio::task;

use crate::home::Home;
use crate::pump::{Batch, Entry, Line};
use crate::{BATCH, MOST_IN_BATCH, ROUND};

struct Here {
    runtime: Id,
    /// Where the thread is a worker.
    line: Option<Arc<Line>>,
    /// Tells threads apart; not zero.
    thread: u64,
    /// The pump that was polled here last. It is still at home here if its `Home` says so.
    pump: Option<Arc<Home>>,
    /// When a pump had its last round on this thread.
    round: Option<Instant>,
    /// When a batch began, how many of it were woken, and how many more may be.
    batch: Option<Instant>,
    woken: u32,
    credit: u32,
    /// How many of those who were woken have not come back, and whether somebody has since the last
    /// round.
    missing: u32,
    came: bool,
}

impl Here {
    fn new(runtime: Id, line: Option<Arc<Line>>) -> Self {
        static THREADS: AtomicU64 = AtomicU64::new(1);
        let thread = THREADS.fetch_add(1, Ordering::Relaxed);
        Self {
            runtime,
            line,
            thread,
            pump: None,
            round: None,
            batch: None,
            woken: 0,
            credit: 0,
            missing: 0,
            came: false,
        }
    }

    /// The pump that is at home on this thread.
    fn pump(&self) -> Option<&Arc<Home>> {
        self.pump.as_ref().filter(|home| home.is_at(self.thread))
    }

    /// How many to wake: as many as were done in [`BATCH`], judging by the last ones.
    fn begin_batch(&mut self, now: Instant) -> u32 {
        let done = self.woken.saturating_sub(self.missing).max(1);
        let most = self.batch.replace(now).map_or(1, |batch| {
            let each = (now - batch) / done;
            (BATCH.as_nanos() / each.as_nanos().max(1)).clamp(1, MOST_IN_BATCH) as u32
        });
        // Those who are quick for once do not let all in.
        self.credit = most.min(2 * done);
        self.woken = 0;
        self.credit
    }

    /// How many to wake when somebody has come back. The clock is not looked at for each.
    fn go_on(&mut self) -> u32 {
        if self.missing > 0 || self.credit > 0 {
            return if self.missing > 0 { 0 } else { self.credit };
        }
        let Some(round) = self.round else { return 0 };
        let now = Instant::now();
        if now - round < ROUND { self.begin_batch(now) } else { 0 }
    }

    /// Somebody has come to the line of this thread, which is a worker, and may go on at once: nobody
    /// waits here, nobody is still to come, and the batch is not over. What [`Self::arrive`] would
    /// find, without a lock.
    #[inline]
    fn goes_on(&mut self) -> bool {
        let is_vacant = |home: &Arc<Home>| home.is_vacant_at(self.thread);
        let goes_on =
            self.missing <= 1 && self.credit > 0 && self.pump.as_ref().is_some_and(is_vacant);
        if goes_on {
            self.came = true;
            (self.missing, self.woken, self.credit) = (1, self.woken + 1, self.credit - 1);
        }
        goes_on
    }

    /// Somebody has come to the line of this thread, which is a worker. Counts no references, which
    /// would cost those who are alone as much as all the rest.
    fn arrive(&mut self, entry: Entry) -> Arrival {
        self.missing = self.missing.saturating_sub(1);
        self.came = true;
        let count = if self.pump.is_some() { self.go_on() } else { 0 };
        let Some(home) = &self.pump else { return Arrival::LacksPump(entry) };
        match home.exchange(self.thread, entry, count) {
            Ok(batch) => {
                if !batch.is_empty() {
                    self.woke(&batch);
                }
                Arrival::Here(batch)
            }
            Err(entry) => Arrival::LacksPump(entry),
        }
    }

    /// These were woken.
    fn woke(&mut self, batch: &Batch) {
        self.missing = batch.len() as u32;
        self.woken += self.missing;
        self.credit = self.credit.saturating_sub(self.missing);
    }
}

thread_local!(static HERE: RefCell<Option<Here>> = const { RefCell::new(None) });

static LINES: LazyLock<Mutex<HashMap<Id, Weak<Line>>>> = LazyLock::new(Mutex::default);

/// A task, and the runtime that it belongs to. To remember it spares those who yield time and again
/// the handle of the runtime, whose references all of its workers count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    task: task::Id,
    runtime: Id,
}

impl Known {
    /// Of the task that is polled on this thread.
    pub(crate) fn new(runtime: Id) -> Option<Self> {
        task::try_id().map(|task| Self { task, runtime })
    }

    /// The runtime, if this thread polls the task.
    pub(crate) fn runtime(self) -> Option<Id> {
        (task::try_id() == Some(self.task)).then_some(self.runtime)
    }
}

/// The line of the runtime for which this thread works, if it does.
pub(crate) fn line() -> Option<Arc<Line>> {
    line_of(Handle::try_current().ok()?)
}

/// The line of a runtime, if this thread works for it.
pub(crate) fn line_of(runtime: Handle) -> Option<Arc<Line>> {
    let known = HERE.with_borrow(|here| {
        let here = here.as_ref().filter(|here| here.runtime == runtime.id())?;
        match &here.line {
            Some(line) if line.is_closed() => None,
            line => Some(line.clone()),
        }
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
        let known = lines.get(&id).and_then(Weak::upgrade);
        known.filter(|line| !line.is_closed()).unwrap_or_else(|| {
            let line = Line::new(runtime);
            lines.insert(id, Arc::downgrade(&line));
            line
        })
    });
    HERE.set(Some(Here::new(id, line.clone())));
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

/// A pump begins a round on this thread, which is therefore a worker. Answers how many of the line to
/// wake, none if others are still to come; `None` where another pump is at home, and this one should leave it the worker.
pub(crate) fn begin_round(line: &Arc<Line>, pump: &Arc<Home>) -> Option<u32> {
    let now = Instant::now();
    HERE.with_borrow_mut(|here| {
        let is_known = here
            .as_ref()
            .is_some_and(|here| here.line.as_ref().is_some_and(|known| Arc::ptr_eq(known, line)));
        if !is_known {
            *here = None;
        }
        let here = here.get_or_insert_with(|| Here::new(line.runtime(), Some(line.clone())));
        match here.pump() {
            Some(other) if !Arc::ptr_eq(other, pump) => return None,
            Some(_) => {}
            None => {
                pump.with(|part| part.thread = here.thread);
                here.pump = Some(pump.clone());
            }
        }
        here.round = Some(now);
        // Workers also look at timers in the midst of a batch. Those who are still to come need not be
        // more; where nobody comes any more, they are elsewhere or gone.
        if std::mem::take(&mut here.came) && here.missing > 0 {
            return Some(0);
        }
        here.missing = 0;
        Some(here.begin_batch(now))
    })
}

/// The pump of this thread wakes these.
pub(crate) fn woke(batch: &Batch) {
    HERE.with_borrow_mut(|here| {
        if let Some(here) = here {
            here.woke(batch);
        }
    });
}

/// What became of somebody who came to a line.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// It is in this worker's part. These are to be woken: none where others were woken here and are
    /// still to come, or where the round is over.
    Here(Batch),
    /// This is a worker, but it has no pump.
    LacksPump(Entry),
    /// This is no worker of the runtime.
    Stranger(Entry),
}

pub(crate) fn arrive(line: &Line, entry: Entry) -> Arrival {
    HERE.with_borrow_mut(|here| {
        let is_worker = |here: &&mut Here| here.runtime == line.runtime() && here.line.is_some();
        match here.as_mut().filter(is_worker) {
            Some(here) => here.arrive(entry),
            None => Arrival::Stranger(entry),
        }
    })
}

/// Whether somebody who yields on this thread, in a task of this runtime, may be woken at once.
#[inline]
pub(crate) fn goes_on(runtime: Id) -> bool {
    HERE.with_borrow_mut(|here| {
        here.as_mut().is_some_and(|here| here.runtime == runtime && here.goes_on())
    })
}

/// As [`arrive`], at the line of the thread's runtime. A stranger is also who is on a worker that does
/// not know its line yet.
pub(crate) fn arrive_in(runtime: Id, entry: Entry) -> Arrival {
    HERE.with_borrow_mut(|here| {
        let here = here.as_mut().filter(|here| here.runtime == runtime);
        match here {
            Some(here) if here.line.as_ref().is_some_and(|line| !line.is_closed()) => {
                here.arrive(entry)
            }
            _ => Arrival::Stranger(entry),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::queue::Place;

    #[test]
    fn who_is_alone_goes_on_until_the_batch_is_over() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut here = Here::new(runtime.handle().id(), None);
        let home = Arc::new(Home::default());
        (here.pump, here.credit) = (Some(home.clone()), 3);
        assert!(!here.goes_on(), "the pump is on another thread");
        home.with(|part| part.thread = here.thread);
        assert!(here.goes_on());
        let entry = Entry { waker: Waker::noop().clone(), place: Place::Last };
        let _none = home.refill(VecDeque::from([entry]), 0);
        assert!(!here.goes_on(), "somebody waits");
        assert_eq!(home.refill(VecDeque::new(), 1).0.len(), 1);
        assert!(here.goes_on());
        here.missing = 2;
        assert!(!here.goes_on(), "others are still to come");
        here.missing = 1;
        assert_eq!((here.goes_on(), here.goes_on()), (true, false), "the batch is over");
        assert_eq!((here.woken, here.missing), (3, 1));
        (here.credit, here.missing) = (1, 0);
        home.leave();
        assert!(!here.goes_on(), "the pump is gone");
    }
}
