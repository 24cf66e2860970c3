//! The timer that ticks while somebody waits at a rate, and is gone when nobody does.
//!
//! Inside a tokio runtime it is a task there, so that no thread is needed and a stopped clock stops
//! fuel, too; elsewhere a thread. Neither belongs to any of those who wait, whose futures may be
//! dropped, forgotten or never polled again. A task dies with its runtime, though others may be
//! waiting elsewhere: they are woken then, and start another.

use std::time::Duration;

use crate::sync::Weak;
use crate::tree::Tree;

/// Ticks are no closer than this, which is how exact tokio's timers are.
const LEAST: Duration = Duration::from_millis(1);

/// The duty to tick. Dropped unfinished, it says so.
struct Duty {
    tree: Weak<Tree>,
    done: bool,
}

impl Duty {
    /// Answers how long to wait for the next tick, if there is to be one.
    fn tick(&mut self) -> Option<Duration> {
        let next = self.tree.upgrade().and_then(|tree| tree.tick());
        self.done = next.is_none();
        next.map(|next| next.max(LEAST))
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        if let Some(tree) = self.tree.upgrade()
            && !self.done
        {
            tree.timer_lost();
        }
    }
}

/// Has the tree tick in `first` from now, and then for as long as it wants.
///
/// # Panics
///
/// In a tokio runtime whose timers are disabled.
pub(crate) fn start(tree: Weak<Tree>, first: Duration) {
    let duty = Duty { tree, done: false };
    let first = first.max(LEAST);
    #[cfg(feature = "tokio")]
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        // Made here, where its panic is seen.
        let sleep = tokio::time::sleep(first);
        runtime.spawn(tick_as_task(duty, sleep));
        return;
    }
    // Where there is no thread to be had the duty is dropped, and somebody will try again.
    let builder = std::thread::Builder::new().name("fuel-timer".to_owned());
    drop(builder.spawn(move || tick_as_thread(duty, first)));
}

#[cfg(feature = "tokio")]
async fn tick_as_task(mut duty: Duty, first: tokio::time::Sleep) {
    first.await;
    while let Some(next) = duty.tick() {
        tokio::time::sleep(next).await;
    }
}

fn tick_as_thread(mut duty: Duty, first: Duration) {
    std::thread::sleep(first);
    while let Some(next) = duty.tick() {
        std::thread::sleep(next);
    }
}
