//! The switch for aarch64 with the AAPCS64 calling convention.
//!
//! A stack that is not running ends (at its lowest address) in four words that the switch stored.
//! Both directions are the same code: the side that runs stores its words, exchanges stack
//! pointers, and jumps to where the other side left off.
//!
//! ```text
//!      a new fiber               a suspended fiber           the parent of a running fiber
//!
//!      top ──►                   top ──►                     ┌──────────────────────────┐
//!      ┌──────────────────┐      ┌──────────────────┐        │ frames of the caller     │
//!      │ 0     (x19)      │      │ entry's frame    │        │                          │
//!      │ entry            │      │ frames of the job│        ├──────────────────────────┤
//!      │ `end` (x30)      │      │ x19              │        │ x19                      │
//! sp ─►│ 0     (x29)      │      │ where to continue│        │ where to continue        │
//!      └──────────────────┘      │ x30 (any)        │        │ x30 (any)                │
//!                           sp ─►│ x29              │   sp ─►│ x29                      │
//!      held by `Fiber`           └──────────────────┘        └──────────────────────────┘
//!                                held by `Fiber`             held by the fiber's `Parent`
//! ```
//!
//! A new fiber needs no code of its own: the first switch to it branches to the entry function with
//! the stack and the link register as a call from `end` would have left them, and with what the
//! other side sent in the registers of the first two arguments.
//!
//! Why `br` and not `ret`: the processor predicts a return by the calls that it has seen, and
//! on the other stack those were others; an indirect branch is predicted by its own history. It
//! goes through x17, which branch target identification lets land on a function's start as well.
//!
//! Why the compiler saves most registers: the block declares them clobbered, so only those that
//! are live across it are spilled. It refuses x19 and x29 as operands, so these are stored here.
//! x18 belongs to the platform and is left alone. The low halves of v8 to v15 are callee-saved and
//! declared like the rest.
//!
//! Chains of frame pointers end at the zero that a new fiber is given, and unwinding ends in `end`,
//! whose return address is declared undefined.

use super::{Entry, Word};
use std::arch::{asm, naked_asm};
use std::cell::Cell;

/// Which backend this is, for tests and reports.
pub const NAME: &str = "aarch64";

/// A fiber that is not running: its stack pointer; all else lies on its stack.
#[derive(Debug)]
pub struct Fiber(*mut u8);

/// The way back from a running fiber: the stack pointer of whoever resumed it.
#[derive(Debug)]
#[repr(transparent)]
pub struct Parent(Cell<*mut u8>);

impl Fiber {
    /// Prepares the stack that ends at `top` to enter `entry` at the first resume.
    ///
    /// `bottom` is the lowest usable address; this backend has no use for it.
    ///
    /// # Safety
    ///
    /// `bottom..top` is writable, `top` is aligned to 16 bytes, at least a page lies between them,
    /// nobody else uses that memory while the fiber lives, and below `bottom` lies a guard.
    #[inline]
    #[must_use]
    pub unsafe fn new(_bottom: *mut u8, top: *mut u8, entry: Entry) -> Self {
        // SAFETY: the caller vouches for a page below `top`, and 32 bytes of it are written.
        unsafe {
            let sp = top.cast::<usize>().sub(4);
            sp.write(0);
            // One instruction into `end`: unwinders look up the one before a return address.
            sp.add(1).write(end as *const () as usize + 4);
            sp.add(2).write(entry as *const () as usize);
            sp.add(3).write(0);
            Self(sp.cast())
        }
    }

    /// Runs the fiber until it suspends; answers the word that it suspended with.
    ///
    /// # Safety
    ///
    /// The fiber is suspended (not running, not closed), its stack is alive, and what its code
    /// holds may be used on this thread. `word` means what the fiber takes it to mean.
    #[inline(always)]
    pub unsafe fn resume(&mut self, word: Word) -> Word {
        // SAFETY: `self.0` is the stack pointer of a suspended fiber (the caller's promise).
        let (sp, word) = unsafe { switch(self.0, word) };
        self.0 = sp;
        word
    }

    /// The address from which on down nothing of the fiber lies.
    #[inline(always)]
    pub(crate) fn unused(&self, _top: *mut u8) -> *mut u8 {
        self.0
    }

    /// Gives up a fiber that is at its base. Nothing to do: all it had is on its stack.
    ///
    /// # Safety
    ///
    /// The fiber was never resumed, or it is suspended by the outermost frame of its entry
    /// function, which returns when it is resumed with null.
    #[inline]
    pub unsafe fn close(self) {}
}

impl Parent {
    /// For a suspender that never suspends.
    pub(crate) const fn none() -> Self {
        Self(Cell::new(std::ptr::null_mut()))
    }

    /// Suspends the fiber and hands `word` to whoever resumed it; answers the next resume's word.
    ///
    /// # Safety
    ///
    /// This thread runs on the fiber whose entry function was given this `Parent`, or on a fiber
    /// that was resumed from there.
    #[inline(always)]
    pub unsafe fn suspend(&self, word: Word) -> Word {
        // SAFETY: while the fiber runs, its parent is suspended in `resume` with this stack pointer.
        let (sp, word) = unsafe { switch(self.0.get(), word) };
        self.0.set(sp);
        word
    }

    /// The stack pointer with which assembly can suspend the fiber.
    #[inline(always)]
    pub(crate) fn other_side(&self) -> Option<*mut u8> {
        Some(self.0.get())
    }

    /// Takes the stack pointer that assembly came back with.
    #[inline(always)]
    pub(crate) fn resumed(&self, other_side: *mut u8) {
        self.0.set(other_side);
    }
}

/// Leaves this stack for the one suspended at `to`; comes back with the stack pointer of the side
/// that switched here, and its word.
///
/// # Safety
///
/// `to` is the stack pointer of a suspended side, which nobody else continues.
#[inline(always)]
unsafe fn switch(to: *mut u8, word: Word) -> (*mut u8, Word) {
    let from: *mut u8;
    let answer: Word;
    // SAFETY: the other side was left by this same block (or laid out by `Fiber::new`), so its
    // stack pointer leads to the four words that are loaded. Every register but x18 is declared
    // clobbered or restored by hand, and the stack pointer stays aligned to 16 bytes throughout.
    unsafe {
        asm!(
            "adr x17, 2f",              // x17 = where this side continues
            "stp x29, x30, [sp, #-32]!",// save this side's frame pointer (and x30, for a pair)
            "stp x17, x19, [sp, #16]",  // and x19, which no operand may name
            "mov x16, sp",              // x16 = this side's stack pointer
            "mov sp, x0",               // sp = the other side's stack pointer
            "mov x0, x16",              // x0 = this side's, x1 = the word: what the other side gets
            "ldp x17, x19, [sp, #16]",  // x17 = where the other side continues, x19 = its own
            "ldp x29, x30, [sp], #32",  // x29 = its frame pointer; x30 matters to a new fiber only
            "br x17",
            "2:",                       // x0 = the other side's stack pointer, x1 = its word
            "hint #36",                 // bti j: an indirect branch may land here
            inlateout("x0") to => from,
            inlateout("x1") word => answer,
            lateout("x20") _,
            lateout("x21") _,
            lateout("x22") _,
            lateout("x23") _,
            lateout("x24") _,
            lateout("x25") _,
            lateout("x26") _,
            lateout("x27") _,
            lateout("x28") _,
            lateout("v8") _,
            lateout("v9") _,
            lateout("v10") _,
            lateout("v11") _,
            lateout("v12") _,
            lateout("v13") _,
            lateout("v14") _,
            lateout("v15") _,
            clobber_abi("C"),
        );
    }
    (from, answer)
}

/// What the entry function would return to, if it returned: the outermost frame of every fiber.
#[unsafe(naked)]
unsafe extern "C" fn end() {
    naked_asm!(
        ".cfi_startproc",
        ".cfi_undefined x30", // nobody called this: unwinding ends here
        "nop",                // the "call" of the entry function
        "brk #1",             // the entry function does not return in this backend
        ".cfi_endproc",
    )
}
