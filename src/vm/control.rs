//! What a store shares with the handles through which others refuel, pause and stop its guests.
//!
//! Handles leave what they want, and wake the guest if it waits; the guest looks when its slice
//! ends, and each span of it. The flag `changed` says whether there is something new, so that a span
//! without costs one look at it. It is set after the wish is there and cleared before wishes are taken, both under the
//! lock, so that none is missed.

use std::future::Future;
use std::mem;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use super::interrupts::Deadline;
use super::supply::FuelPolicy;

/// What handles want that the store has not done yet; and whether its guests are paused, which
/// stays.
#[derive(Debug, Default)]
pub(crate) struct Commands {
    pub(crate) add: u64,
    pub(crate) policy: Option<FuelPolicy>,
    pub(crate) slice: Option<NonZeroU64>,
    pub(crate) paused: bool,
    pub(crate) stop: Option<anyhow::Error>,
}

/// See the module's top.
#[derive(Debug)]
pub(crate) struct Control {
    /// As of the last time that the guest looked.
    consumed: AtomicU64,
    remaining: AtomicU64,
    changed: AtomicBool,
    wishes: Mutex<Wishes>,
    /// Where guests can be stopped in the midst of a slice.
    deadline: Option<Arc<Deadline>>,
}

#[derive(Debug, Default)]
struct Wishes {
    commands: Commands,
    /// Of the guest that waits.
    waker: Option<Waker>,
}

impl Control {
    pub(crate) fn new(deadline: Option<Arc<Deadline>>) -> Arc<Self> {
        Arc::new(Self {
            consumed: 0.into(),
            remaining: 0.into(),
            changed: false.into(),
            wishes: Mutex::default(),
            deadline,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Wishes> {
        self.wishes.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// What was consumed, as of the last time that the guest looked.
    pub(crate) fn consumed(&self) -> u64 {
        self.consumed.load(Ordering::Relaxed)
    }

    /// What remains, as of the same time, and what is still to be added.
    pub(crate) fn remaining(&self) -> u64 {
        let wishes = self.lock();
        self.remaining.load(Ordering::Relaxed).saturating_add(wishes.commands.add)
    }

    #[inline]
    pub(super) fn publish(&self, consumed: u64, remaining: u64) {
        self.consumed.store(consumed, Ordering::Relaxed);
        self.remaining.store(remaining, Ordering::Relaxed);
    }

    /// Adds a wish, and has the guest look as soon as it can: at once if it waits; if `promptly`, at
    /// its next check, where the engine's code can be told; else when its slice ends.
    ///
    /// What `change` replaces it answers: dropping it is foreign code.
    pub(crate) fn wish<R>(&self, promptly: bool, change: impl FnOnce(&mut Commands) -> R) -> R {
        let mut wishes = self.lock();
        let replaced = change(&mut wishes.commands);
        self.changed.store(true, Ordering::Release);
        let waker = wishes.waker.take();
        drop(wishes);
        if let Some(deadline) = &self.deadline
            && promptly
        {
            deadline.draw_attention();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
        replaced
    }

    /// Whether there may be something new, or the guest is paused.
    #[inline]
    pub(super) fn has_changed(&self) -> bool {
        self.changed.load(Ordering::Acquire)
    }

    /// What is wanted, if there is something new, or the guest is paused.
    pub(super) fn take(&self) -> Option<Commands> {
        if !self.has_changed() {
            return None;
        }
        let mut wishes = self.lock();
        let paused = wishes.commands.paused;
        // A guest that is paused looks again whenever it comes by.
        self.changed.store(paused, Ordering::Relaxed);
        let rest = Commands { paused, ..Commands::default() };
        Some(mem::replace(&mut wishes.commands, rest))
    }

    pub(super) fn is_paused(&self) -> bool {
        self.has_changed() && self.lock().commands.paused
    }

    /// The error with which guests are to be stopped, once.
    pub(super) fn take_stop(&self) -> Option<anyhow::Error> {
        if !self.has_changed() {
            return None;
        }
        self.lock().commands.stop.take()
    }

    /// Ready when there is something to do.
    pub(super) fn poll_commands(&self, context: &mut Context<'_>) -> Poll<()> {
        self.poll_until(context, |commands| {
            let Commands { add, policy, slice, paused, stop } = commands;
            *paused || stop.is_some() || *add > 0 || policy.is_some() || slice.is_some()
        })
    }

    /// Ready when a guest that waits for something else has to stop or to pause.
    pub(super) fn poll_attention(&self, context: &mut Context<'_>) -> Poll<()> {
        self.poll_until(context, |commands| commands.paused || commands.stop.is_some())
    }

    /// Waits for the end of a pause, or for a reason to stop.
    pub(super) fn pause_ended(&self) -> impl Future<Output = ()> + '_ {
        let ended = |commands: &Commands| !commands.paused || commands.stop.is_some();
        std::future::poll_fn(move |context| self.poll_until(context, ended))
    }

    fn poll_until(
        &self,
        context: &mut Context<'_>,
        done: impl FnOnce(&Commands) -> bool,
    ) -> Poll<()> {
        // Cloning and dropping a waker is foreign code.
        let waker = context.waker().clone();
        let mut wishes = self.lock();
        if done(&wishes.commands) {
            return Poll::Ready(());
        }
        let former = wishes.waker.replace(waker);
        drop(wishes);
        drop(former);
        Poll::Pending
    }
}
