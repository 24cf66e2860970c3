//! A worker's own part of the line.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use smallvec::smallvec;

use crate::pump::{Batch, Entry};
use crate::queue::Place;

/// A worker's own part of the line, which belongs to the pump that was polled there last: those who
/// wait come back to the worker whose caches know them. It goes where the pump goes.
#[derive(Debug, Default)]
pub(crate) struct Home {
    part: Mutex<Part>,
    /// The part's thread while nobody waits in it, else zero. Changed under the lock, and read without
    /// it by that thread, which alone lets anybody in: at worst it sees somebody who has left.
    vacant_at: AtomicU64,
}

#[derive(Debug, Default)]
pub(crate) struct Part {
    /// On which the pump was polled last, while it is not idle.
    pub(crate) thread: u64,
    waiting: VecDeque<Entry>,
}

impl Home {
    /// Looks at the part or changes it.
    pub(crate) fn with<R>(&self, change: impl FnOnce(&mut Part) -> R) -> R {
        let mut part = self.part.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut part);
        let vacant_at = if part.waiting.is_empty() { part.thread } else { 0 };
        self.vacant_at.store(vacant_at, Ordering::Relaxed);
        result
    }

    pub(crate) fn is_at(&self, thread: u64) -> bool {
        self.with(|part| part.thread == thread)
    }

    pub(crate) fn is_vacant_at(&self, thread: u64) -> bool {
        self.vacant_at.load(Ordering::Relaxed) == thread
    }

    /// Puts somebody into the part, if it is this thread's, and hands out the first ones.
    pub(crate) fn exchange(&self, thread: u64, entry: Entry, count: u32) -> Result<Batch, Entry> {
        self.with(|part| {
            if part.thread != thread {
                return Err(entry);
            }
            if part.waiting.is_empty() && count > 0 {
                return Ok(smallvec![entry.waker]);
            }
            entry.enter(&mut part.waiting);
            Ok(part.take(count))
        })
    }

    /// Puts others behind those who are there, and hands out the first ones; and whether there are
    /// more.
    pub(crate) fn refill(&self, more: VecDeque<Entry>, count: u32) -> (Batch, bool) {
        self.with(|part| {
            part.waiting.extend(more);
            (part.take(count), !part.waiting.is_empty())
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.with(|part| part.waiting.is_empty())
    }

    /// The last half of those who wait, for another worker.
    pub(crate) fn split(&self) -> VecDeque<Entry> {
        self.with(|part| part.waiting.split_off(part.waiting.len() / 2))
    }

    /// Is no thread's any more. Hands out all.
    pub(crate) fn leave(&self) -> VecDeque<Entry> {
        self.with(std::mem::take).waiting
    }
}

impl Part {
    fn take(&mut self, count: u32) -> Batch {
        let count = self.waiting.len().min(count as usize);
        let first = self.waiting.iter().take(count);
        let count = match first.clone().position(|entry| entry.place != Place::Last) {
            Some(0) => 1,
            Some(alone) => alone,
            None => count,
        };
        self.waiting.drain(..count).map(|entry| entry.waker).collect()
    }
}
