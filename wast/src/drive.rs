//! Small machinery: an executor that counts, random numbers, and panics turned into errors.

use std::cell::RefCell;
use std::future::Future;
use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake};

use anyhow::Result;

/// Remembers whether it was woken.
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

/// Polls a future to its end. Answers its output, and how often it was pending.
///
/// # Panics
///
/// Panics if the future is pending without having arranged to be polled again: nobody else would.
pub(crate) fn run<F: Future>(future: F) -> (F::Output, u64) {
    let flag = Arc::new(Flag(AtomicBool::new(false)));
    let waker = flag.clone().into();
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    let mut pending = 0;
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return (output, pending);
        }
        pending += 1;
        assert!(flag.0.swap(false, Ordering::AcqRel), "pending, but never to be woken");
    }
}

/// Pseudo-random numbers (the splitmix64 generator).
pub(crate) struct Random(u64);

impl Random {
    /// Numbers that depend on the seed and a name only, so that each file has its own whatever else
    /// is executed.
    pub(crate) fn new(seed: u64, name: &str) -> Self {
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(seed ^ hash)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

thread_local! {
    /// While panics are caught: the text of the last.
    static CAUGHT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now on panics of this process within [`catching`] are recorded rather than printed.
pub fn record_panics() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        CAUGHT.with_borrow_mut(|caught| match caught {
            Some(text) => *text = info.to_string(),
            None => print(info),
        });
    }));
}

/// Calls a function, whose panic becomes an error marked by [`Panicked`].
pub fn catching<R>(function: impl FnOnce() -> Result<R>) -> Result<R> {
    let outer = CAUGHT.replace(Some(String::new()));
    let result = panic::catch_unwind(AssertUnwindSafe(function));
    let text = CAUGHT.replace(outer).unwrap_or_default();
    result.unwrap_or_else(|_| Err(Panicked(text).into()))
}

/// What the error of a caught panic is.
#[derive(Debug)]
pub struct Panicked(String);

impl std::fmt::Display for Panicked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Panicked {}
