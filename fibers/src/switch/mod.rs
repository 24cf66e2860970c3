//! The bare stack switch: everything that depends on the architecture, and nothing else.
//!
//! Each backend offers the same four operations:
//!
//! * [`Fiber::new`] prepares a stack so that the first [`resume`](Fiber::resume) enters a function
//!   on it;
//! * [`Fiber::resume`] leaves the caller's stack for the fiber's and hands it one word;
//! * [`Parent::suspend`] leaves the fiber's stack for whoever resumed it and hands back one word;
//! * [`Fiber::close`] lets the backend free what it holds for a fiber that is at its base.
//!
//! A word travels in a register. What it means is the business of the two sides.
//!
//! This is the ground floor, public so that it can be measured and built upon. Nothing here is
//! checked; [`Resident`](crate::Resident) is the safe way to run something on a fiber.
//!
//! # What a switch preserves
//!
//! All registers that the platform's C ABI calls callee-saved, the stack pointer and the frame
//! pointer. Floating-point control (`mxcsr` and the x87 control word on x86-64, `fpcr` on aarch64)
//! is left alone: Rust code may not change it, wasm has no instruction for it, and saving it costs
//! as much as the rest of the switch. C code that changes it must restore it before it suspends.
//!
//! # Shadow stacks
//!
//! Our own switches do not touch the hardware's shadow stack (CET on x86-64, GCS on aarch64). In
//! a process that enables one, the first return after a switch would fault; no Rust target
//! enables them today.

#[cfg(not(unix))]
compile_error!("lampwick-fibers needs mmap and guard pages: only unix-like systems are supported");

#[cfg(target_arch = "x86_64")]
mod instructions;

cfg_select! {
    all(target_arch = "x86_64", not(feature = "portable-switch")) => {
        mod x86_64;
        use x86_64 as backend;
    }
    all(target_arch = "aarch64", not(feature = "portable-switch")) => {
        mod aarch64;
        use aarch64 as backend;
    }
    _ => {
        mod portable;
        use portable as backend;
    }
}

pub use backend::{Fiber, NAME, Parent};

/// What travels with a switch: one register, a pointer or a small number.
pub type Word = *mut ();

/// What assembly leaves a fiber with; see [`Suspender::departure`](crate::Suspender::departure).
#[repr(C)]
#[derive(Debug)]
pub struct Departure {
    /// The stack pointer of the other side; null where the fiber is not to be left.
    pub to: *mut u8,
    /// What the other side gets.
    pub word: Word,
}

impl Departure {
    /// The fiber is not to be left.
    pub const NONE: Self = Self { to: std::ptr::null_mut(), word: std::ptr::null_mut() };
}

/// The function at a fiber's base.
///
/// It is entered by the first resume and is given the way back and the first word. It must not
/// unwind. It returns if and only if it was resumed with the null word while the fiber was at its
/// base, which is what [`Fiber::close`] may do.
pub type Entry = unsafe extern "C" fn(parent: Parent, first: Word);
