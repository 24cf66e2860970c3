//! A collection: what guests can still reach stays, the rest is dropped.
//!
//! Roots are the tables and globals of the store, and the frames of wasm of every activation: of those
//! that wait for another one, and of those whose futures were forgotten. What an element segment
//! holds is in a constant global as well, which is where it came from. In a frame, stack maps tell which words are references that
//! the guest will use again. The code generator puts whatever is live over a call into such words,
//! and frames are only ever looked at while a call leaves wasm, suspended or not.
//!
//! What the host has it holds by `ExternRef`, not by index. The only indexes that are elsewhere are
//! those of arguments, results and operands of builtins on their way; nothing collects while they
//! are.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use lampwick_fibers::Cancelled;

use super::activation;
use super::externs::{Externs, Marks};
use super::layout::ValRaw;
use super::pace::Pace;
use super::store::Store;

/// What finding a frame's map takes, in words of tables.
const WORK_PER_FRAME: usize = 32;

// What it takes in the units of a `Pace` (`cargo bench --bench polls`).
const PER_WORD: usize = 1;
const PER_FRAME: usize = 32;
const PER_ENTRY: usize = 64;
const PER_PART: usize = 8 << 10;

impl Store {
    /// Lets a collection make room before `more` values become references.
    ///
    /// # Panics
    ///
    /// As for [`Self::collect`].
    #[inline]
    pub(crate) fn make_room(&mut self, more: usize) {
        if more > 0 && self.is_full(more) {
            self.collect();
        }
    }

    /// Whether there should be a collection before so many more values become references.
    #[inline]
    pub(crate) fn is_full(&self, more: usize) -> bool {
        self.externs.as_ref().is_some_and(|externs| externs.is_full(more))
    }

    /// Drops the values that no guest can reach.
    ///
    /// # Panics
    ///
    /// With the panic of a value's drop code, when all is done.
    #[cold]
    pub(crate) fn collect(&mut self) {
        // SAFETY: the store is ours.
        let collected = unsafe { Self::collect_at(self, &mut Pace::straight()) };
        collected.expect("nobody cancels");
    }

    /// The same at a pace. What was not collected when it is cancelled stays for the next time.
    ///
    /// # Safety
    ///
    /// The store must be live, nothing of it borrowed, and nobody may use it before this ends, but
    /// where it suspends for what a store's owner can do without the store.
    ///
    /// # Errors
    ///
    /// [`Cancelled`] from the pace.
    ///
    /// # Panics
    ///
    /// As for [`Self::collect`].
    pub(crate) unsafe fn collect_at(this: *mut Self, pace: &mut Pace<'_>) -> Result<(), Cancelled> {
        // SAFETY: by contract.
        unsafe { Self::collect_beside(this, &[], pace) }
    }

    /// The same beside arguments of a call that have been converted and are in no frame yet. What they
    /// are is not known here: a number among them that could be a reference is taken for one.
    ///
    /// # Safety
    ///
    /// As for [`Self::collect_at`].
    ///
    /// # Errors
    ///
    /// As for [`Self::collect_at`].
    ///
    /// # Panics
    ///
    /// As for [`Self::collect`].
    #[cold]
    pub(crate) unsafe fn collect_beside(
        this: *mut Self,
        arguments: &[ValRaw],
        pace: &mut Pace<'_>,
    ) -> Result<(), Cancelled> {
        // SAFETY: by contract; each borrow ends before the pace may suspend.
        unsafe {
            let used = (*this).externs.as_ref().filter(|externs| externs.used() > 0);
            let Some(mut marks) = used.map(|externs| externs.marks()) else { return Ok(()) };
            arguments.iter().for_each(|argument| marks.mark_if_any(argument.to_u64() as u32));
            Self::mark_tables(this, &mut marks, pace)?;
            Self::mark_globals(this, &mut marks, pace)?;
            Self::mark_frames(this, &mut marks, pace)?;
            let externs: *mut Externs = &raw mut **(*this).externs.as_mut().expect("some are used");
            sweep(externs, &marks, pace)
        }
    }

    /// # Safety
    ///
    /// As for [`Self::collect_at`]; so for the others.
    unsafe fn mark_tables(
        this: *mut Self,
        marks: &mut Marks,
        pace: &mut Pace<'_>,
    ) -> Result<(), Cancelled> {
        // SAFETY: by contract.
        unsafe {
            for table in 0..(*this).tables.len() {
                let len = (&(*this).tables)[table].value.externs().len();
                pace.parts(len, PER_WORD, |start, len| {
                    let elements = (&(*this).tables)[table].value.externs();
                    elements[start..start + len].iter().for_each(|&index| marks.mark(index));
                })?;
                marks.count(len);
            }
        }
        Ok(())
    }

    unsafe fn mark_globals(
        this: *mut Self,
        marks: &mut Marks,
        pace: &mut Pace<'_>,
    ) -> Result<(), Cancelled> {
        // SAFETY: by contract; definitions are live with the store, and machine code is not
        // running.
        unsafe {
            let len = (*this).globals.len();
            pace.parts(len, PER_WORD, |start, len| {
                for global in &(&(*this).globals)[start..start + len] {
                    if global.value.content().is_collected() {
                        let [a, b, c, d, ..] = global.definition.read().0;
                        marks.mark(u32::from_le_bytes([a, b, c, d]));
                    }
                }
            })?;
            marks.count(len);
        }
        Ok(())
    }

    unsafe fn mark_frames(
        this: *mut Self,
        marks: &mut Marks,
        pace: &mut Pace<'_>,
    ) -> Result<(), Cancelled> {
        // SAFETY: by contract.
        unsafe {
            activation::for_each_frame(this, |pc, fp| {
                pace.spend(PER_FRAME)?;
                for distance in (*this).code.stack_map(pc) {
                    // SAFETY: the frame is that of a function of this code which is at this call,
                    // where it holds a reference in this word.
                    marks.mark(((fp - distance) as *const u32).read());
                }
                marks.count(WORK_PER_FRAME);
                Ok(())
            })
        }
    }
}

/// Frees what is not marked.
///
/// # Safety
///
/// As for [`Store::collect_at`], for the store of which these are the values.
unsafe fn sweep(
    externs: *mut Externs,
    marks: &Marks,
    pace: &mut Pace<'_>,
) -> Result<(), Cancelled> {
    // SAFETY: by contract; each borrow ends before the pace may suspend.
    unsafe {
        let entries = (*externs).len();
        let mut panic = None;
        (*externs).begin_sweep();
        let swept = pace.parts(entries, PER_ENTRY, |done, len| {
            let end = entries - done;
            let garbage = (*externs).sweep(marks, end - len..end);
            // This runs code of the embedder's, when all is in order.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(garbage))) {
                match panic {
                    None => panic = Some(payload),
                    // A payload may panic when it is dropped, too.
                    Some(_) => std::mem::forget(payload),
                }
            }
        });
        if swept.is_ok() {
            (*externs).end_sweep(marks.work() + entries);
        }
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
        swept?;
        pace.parts((*externs).parts(), PER_PART, |start, len| {
            (start..start + len).for_each(|part| (*externs).shrink(part));
        })
    }
}
