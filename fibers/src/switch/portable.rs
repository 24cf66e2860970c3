//! The switch on every architecture for which we have none, by `wasmtime-fiber`.
//!
//! ```text
//!      top ──►
//!      ┌──────────────────────────┐
//!      │ result cell, resumer's sp│  `wasmtime-fiber`'s own two words
//!      ├──────────────────────────┤
//!      │ its trampoline           │
//!      │ the closure in `new`     │
//!      │ entry's frame            │
//!      │ frames of the job        │
//! sp ─►│ callee-saved registers   │
//!      └──────────────────────────┘
//! ```
//!
//! It is also the reference that our own switches are tested against.

use super::{Entry, Word};
use std::mem::ManuallyDrop;
use wasmtime_fiber::{FiberStack, Suspend};

/// Which backend this is, for tests and reports.
pub const NAME: &str = "wasmtime-fiber";

type Inner = wasmtime_fiber::Fiber<'static, Word, Word, ()>;

/// A fiber that is not running.
///
/// Dropping it without [`close`](Fiber::close) forgets what the backend allocated for it.
pub struct Fiber(ManuallyDrop<Inner>);

/// The way back from a running fiber.
#[derive(Debug)]
#[repr(transparent)]
pub struct Parent(*mut Suspend<Word, Word, ()>);

impl Fiber {
    /// Prepares the stack that ends at `top` to enter `entry` at the first resume.
    ///
    /// # Safety
    ///
    /// `bottom..top` is writable, `top` is aligned to 16 bytes, at least a page lies between them,
    /// nobody else uses that memory while the fiber lives, and below `bottom` lies a guard.
    #[must_use]
    pub unsafe fn new(bottom: *mut u8, top: *mut u8, entry: Entry) -> Self {
        let usable = top.addr() - bottom.addr();
        // SAFETY: the caller vouches for the memory; the guard below it is not this backend's
        // business, hence its size of 0.
        let stack = unsafe { FiberStack::from_raw_parts(bottom, 0, usable) }
            .expect("wrapping existing memory allocates nothing");
        let inner = Inner::new(stack, move |first, suspend| {
            // SAFETY: `entry` is called once, at the base, with the parent of this very fiber,
            // which outlives the call.
            unsafe { entry(Parent(suspend), first) }
        })
        .expect("a fiber on existing memory needs nothing that can fail");
        Self(ManuallyDrop::new(inner))
    }

    /// Runs the fiber until it suspends; answers the word that it suspended with.
    ///
    /// # Safety
    ///
    /// The fiber is suspended (not running, not closed), its stack is alive, and what its code
    /// holds may be used on this thread. `word` means what the fiber takes it to mean.
    #[inline]
    pub unsafe fn resume(&mut self, word: Word) -> Word {
        match self.0.resume(word) {
            Err(word) => word,
            Ok(()) => unreachable!("the entry function returns only when it is closed"),
        }
    }

    /// The address from which on down nothing of the fiber lies, where `top` is that of its stack
    /// and it is at its base: the few frames there are far from filling a page.
    #[inline]
    pub(crate) fn unused(&self, top: *mut u8) -> *mut u8 {
        top.wrapping_sub(4096)
    }

    /// Gives up a fiber that is at its base: lets the entry function return.
    ///
    /// # Safety
    ///
    /// The fiber was never resumed, or it is suspended by the outermost frame of its entry
    /// function, which returns when it is resumed with null.
    pub unsafe fn close(self) {
        let inner = ManuallyDrop::into_inner(self.0);
        let answer = inner.resume(std::ptr::null_mut());
        debug_assert!(answer.is_ok(), "a closed fiber's entry function must return");
    }
}

impl std::fmt::Debug for Fiber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Fiber").field(&self.0.stack().range()).finish()
    }
}

impl Parent {
    /// For a suspender that never suspends.
    pub(crate) const fn none() -> Self {
        Self(std::ptr::null_mut())
    }

    /// Suspends the fiber and hands `word` to whoever resumed it; answers the next resume's word.
    ///
    /// # Safety
    ///
    /// This thread runs on the fiber whose entry function was given this `Parent`, or on a fiber
    /// that was resumed from there.
    #[inline]
    pub unsafe fn suspend(&self, word: Word) -> Word {
        // SAFETY: the pointee lies on the fiber's base frame, which is live while the fiber runs,
        // and only this method uses it, never twice at once: a suspended fiber makes no calls.
        unsafe { (*self.0).suspend(word) }
    }

    /// None: assembly cannot suspend the fiber.
    pub(crate) fn other_side(&self) -> Option<*mut u8> {
        None
    }

    /// Not called.
    pub(crate) fn resumed(&self, _other_side: *mut u8) {}
}
