//! What several test files need.
#![allow(dead_code, reason = "each file uses a part")]

use lampwick_fibers::{Cancelled, Resident, StackPool, StackPoolConfig, Suspender};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// A pool of small stacks.
pub(crate) fn pool() -> StackPool {
    StackPoolConfig::new().stack_size(64 << 10).build().unwrap()
}

pub(crate) fn resident() -> Resident {
    Resident::new(pool().take().unwrap())
}

/// A waker that counts how often it was called.
#[derive(Default)]
pub(crate) struct Counter(AtomicUsize);

impl Counter {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Polls once with a waker that does nothing.
pub(crate) fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Is pending so many times, then ready.
pub(crate) struct Pending(pub(crate) usize);

impl Future for Pending {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0 == 0 {
            return Poll::Ready(());
        }
        self.0 -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Yields by a switch of our own, where there is one that assembly can make.
#[cfg(target_arch = "x86_64")]
pub(crate) fn yield_by_assembly(suspender: &Suspender) -> Result<(), Cancelled> {
    let Some(departure) = suspender.departure() else { return suspender.yield_now() };
    let (sp, word);
    // SAFETY: all registers that the switch changes are declared, and the suspender is told at once.
    unsafe {
        std::arch::asm!(
            lampwick_fibers::switch_instructions!(return),
            inlateout("rdi") departure.to => sp,
            inlateout("rsi") departure.word => word,
            lateout("r12") _,
            lateout("r13") _,
            lateout("r14") _,
            lateout("r15") _,
            clobber_abi("sysv64"),
        );
        suspender.arrive(sp, word)
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn yield_by_assembly(suspender: &Suspender) -> Result<(), Cancelled> {
    suspender.yield_now()
}

/// Counts its drops.
pub(crate) struct Dropped<'a>(pub(crate) &'a std::cell::Cell<usize>);

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

/// The text of a panic.
pub(crate) fn text(payload: &(dyn std::any::Any + Send)) -> &str {
    payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("not a text")
}

/// A generator of pseudo-random numbers (xorshift).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}
