//! Why a fiber gave control back, and why it may not.

use crate::switch::Word;
use std::ptr;

/// Why a fiber gave control back to its poller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a fiber that was resumed says what it waits for"]
pub(crate) enum Reason {
    /// The job has ended; its result lies in the job's slot.
    Finished,
    /// The job could go on, but lets others run first.
    Yielded,
    /// The job waits for a future that has registered the task's waker.
    Pending,
}

impl Reason {
    /// As it travels with the switch.
    #[inline]
    pub(crate) fn into_word(self) -> Word {
        ptr::without_provenance_mut(self as usize)
    }

    #[inline]
    pub(crate) fn from_word(word: Word) -> Self {
        match word.addr() {
            0 => Reason::Finished,
            1 => Reason::Yielded,
            _ => Reason::Pending,
        }
    }
}

/// The job's future was dropped: it will never be polled again, so the job cannot suspend.
///
/// The job should drop what it holds and return; its result is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the future that runs this fiber's job was dropped")]
pub struct Cancelled;
