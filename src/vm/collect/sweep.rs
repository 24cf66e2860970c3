//! Frees what was not found.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use lampwick_fibers::Cancelled;

use super::PER_WORD;
use super::marks::Marks;
use crate::vm::exceptions::{Exceptions, Marks as ExceptionMarks};
use crate::vm::externs::Externs;
use crate::vm::heap::{Heap, Marks as ObjectMarks};
use crate::vm::objects::PER_BLOCK as PER_FREE_BLOCK;
use crate::vm::pace::Pace;

// What it takes in the units of a `Pace` (`cargo bench --bench polls`).
const PER_ENTRY: usize = 64;
const PER_PART: usize = 8 << 10;
const PER_EXCEPTION: usize = 128;
const PER_BLOCK: usize = 16 << 10;

/// Frees what is not marked.
///
/// # Safety
///
/// As for [`Store::collect_at`](crate::vm::store::Store::collect_at), for the store of which these are the values.
pub(super) unsafe fn externs(
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
            let garbage = (*externs).sweep(&marks.externs, end - len..end);
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
            (*externs).end_sweep(marks.externs.work() + entries);
        }
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
        swept?;
        pace.parts((*externs).parts(), PER_PART, |start, len| {
            (start..start + len).for_each(|part| (*externs).shrink(part));
        })?;
        (*externs).end_shrinking();
        Ok(())
    }
}

/// Frees the exceptions that are not marked.
///
/// # Safety
///
/// As for [`Store::collect_at`](crate::vm::store::Store::collect_at), for the store of which these are the exceptions.
pub(super) unsafe fn exceptions(
    exceptions: *mut Exceptions,
    marks: &ExceptionMarks,
    work: usize,
    pace: &mut Pace<'_>,
) -> Result<(), Cancelled> {
    // SAFETY: by contract; each borrow ends before the pace may suspend.
    unsafe {
        let entries = (*exceptions).len();
        (*exceptions).begin_sweep();
        pace.parts(entries, PER_EXCEPTION, |done, len| {
            let end = entries - done;
            (*exceptions).sweep(marks, end - len..end);
        })?;
        (*exceptions).end_sweep(work);
    }
    Ok(())
}

/// Frees the objects that are not marked, and gives memory back that will not be needed soon.
///
/// # Safety
///
/// As for [`Store::collect_at`](crate::vm::store::Store::collect_at), for the store of which this is the heap.
pub(super) unsafe fn objects(
    heap: *mut Heap,
    marks: &mut ObjectMarks,
    work: usize,
    pace: &mut Pace<'_>,
) -> Result<(), Cancelled> {
    // SAFETY: by contract; each borrow ends before the pace may suspend.
    unsafe {
        (*heap).begin_sweep();
        let mut left = 0;
        pace.parts((*heap).len(), PER_BLOCK, |start, len| {
            (start..start + len).for_each(|block| left += (*heap).sweep(marks, block));
        })?;
        let mut keep = (*heap).end_sweep(left, work);
        for block in 0..(*heap).len() {
            pace.spend(PER_WORD)?;
            if (*heap).is_spare(block, &mut keep) {
                pace.spend(PER_FREE_BLOCK)?;
                if (*heap).give_back(block).is_err() {
                    break;
                }
            }
        }
    }
    Ok(())
}
