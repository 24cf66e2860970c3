#![doc = include_str!("../README.md")]
//!
//! # Rules
//!
//! * **A job ends before its borrows do.** [`Run`] borrows the [`Resident`]; dropping it cancels
//!   the job, which must then come to its end: whatever it waits for answers [`Cancelled`] at once.
//!   A job that loops on regardless keeps the dropping thread.
//! * **A panic crosses the edge.** It is caught at the fiber's base and continues in whoever polls,
//!   drops or waits for the job. The fiber stays usable.
//! * **A thread that unwinds cannot leave the fiber.** While [`std::thread::panicking`], attempts
//!   to suspend answer [`Cancelled`], because a thread's count of its panics cannot change threads.
//! * **A forgotten [`Run`] keeps its stack for ever.** What its job pinned or lent there stays
//!   valid, the resident refuses other jobs, and the pool counts the stack as lent.
//! * **Threads.** An idle [`Resident`] may go anywhere. A job stays on its thread unless it was
//!   started by [`Resident::run_send`], whose caller vouches for what the compiler cannot see.
//!   Nothing in this package keeps a thread-local across a switch.
//! * **Overflow meets the guard** and ends the process by `SIGSEGV`, as it does on a thread. A
//!   runtime for untrusted code checks the stack pointer against [`Stack::bottom`] before that.
//!
//! # Features
//!
//! * `tokio` (default): those who yield inside a tokio runtime wait in its line (`lampwick-runqueue`), and keep
//!   nothing else on it waiting for longer than about two of their turns.
//! * `portable-switch`: `wasmtime-fiber`'s stack switch instead of ours.

mod future;
mod job;
mod reason;
mod resident;
mod stack;
mod suspender;
pub mod switch;
mod workers;

pub use future::{Run, SendRun};
pub use reason::Cancelled;
pub use resident::Resident;
pub use stack::{Annex, Guards, Stack, StackError, StackPool, StackPoolConfig};
pub use suspender::Suspender;
pub use switch::Departure;
pub use workers::{PerWorker, Shared};
