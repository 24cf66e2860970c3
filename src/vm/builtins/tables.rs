//! What machine code calls for tables.

use super::super::layout::{ELEMENTS_PER_FUEL, TrapCode, VMContext};
use super::super::store::Store;
use super::super::table::{RawRef, checked_range};
use super::{BYTES_PER_LOOK, Call, Result, run};

const ELEMENTS_PER_LOOK: u64 = BYTES_PER_LOOK / size_of::<RawRef>() as u64;

pub(super) unsafe extern "C" fn table_grow(
    context: *mut VMContext,
    table: u32,
    init: RawRef,
    delta: u64,
) -> u64 {
    // SAFETY: machine code called; ranges are checked before the work on them is done.
    unsafe {
        run(context, |call| {
            Store::charge(call.store, delta / ELEMENTS_PER_FUEL)?;
            let table = call.table(table);
            Store::guest_grows_table(call.store, table, delta, init)
        })
    }
}

pub(super) unsafe extern "C" fn table_fill(
    context: *mut VMContext,
    table: u32,
    dst: u64,
    value: RawRef,
    len: u64,
) {
    // SAFETY: machine code called; ranges are checked before the work on them is done.
    unsafe {
        run(context, |call| {
            let table = call.table(table);
            call.in_element_chunks(len, &[(table, dst)], |start, len| {
                let table = &mut (&mut (*call.store).tables)[table as usize].value;
                table.fill(dst + start, value, len).expect("the range was checked");
            })
        })
    }
}

pub(super) unsafe extern "C" fn table_copy(
    context: *mut VMContext,
    dst_table: u32,
    src_table: u32,
    dst: u64,
    src: u64,
    len: u64,
) {
    // SAFETY: machine code called; ranges are checked before the work on them is done.
    unsafe {
        run(context, |call| {
            let (to, from) = (call.table(dst_table), call.table(src_table));
            let backwards = to == from && dst > src;
            call.in_element_chunks(len, &[(to, dst), (from, src)], |start, chunk| {
                let start = if backwards { len - start - chunk } else { start };
                (*call.store)
                    .copy_table((to, dst + start), (from, src + start), chunk)
                    .expect("the ranges were checked");
            })
        })
    }
}

pub(super) unsafe extern "C" fn table_init(
    context: *mut VMContext,
    table: u32,
    segment: u32,
    dst: u64,
    src: u64,
    len: u64,
) {
    // SAFETY: machine code called; ranges are checked before the work on them is done.
    unsafe {
        run(context, |call| {
            let table = call.table(table);
            if checked_range(src, len, (*call.instance()).elements(segment).len()).is_err() {
                return call.out_of_bounds(len / ELEMENTS_PER_FUEL, TrapCode::TableOutOfBounds);
            }
            let from = ((*call.context).instance - 1, segment);
            call.in_element_chunks(len, &[(table, dst)], |start, len| {
                (*call.store)
                    .init_table((table, dst + start), from, src + start, len)
                    .expect("the ranges were checked");
            })
        })
    }
}

pub(super) unsafe extern "C" fn elem_drop(context: *mut VMContext, segment: u32) {
    // SAFETY: machine code called; ranges are checked before the work on them is done.
    unsafe {
        run(context, |call| {
            (*call.instance()).drop_elements(segment);
            Ok(())
        })
    }
}

/// Every method requires that the call is running on the guest's fiber, in a builtin.
impl Call {
    /// The store's index of a table of the instance.
    unsafe fn table(self, index: u32) -> u32 {
        // SAFETY: as above.
        unsafe { (&(*self.instance()).tables)[index as usize] }
    }

    /// Does `len` elements of work on `ranges` (a table and a start each), chunk after chunk.
    unsafe fn in_element_chunks(
        self,
        len: u64,
        ranges: &[(u32, u64)],
        work: impl FnMut(u64, u64),
    ) -> Result<()> {
        // SAFETY: nothing of the store is borrowed across a suspension.
        unsafe {
            let inside = |&(table, start): &(u32, u64)| {
                let size = (&(*self.store).tables)[table as usize].value.len();
                checked_range(start, len, size).is_ok()
            };
            if !ranges.iter().all(inside) {
                return self.out_of_bounds(len / ELEMENTS_PER_FUEL, TrapCode::TableOutOfBounds);
            }
            self.in_chunks(len, ELEMENTS_PER_LOOK, ELEMENTS_PER_FUEL, work)
        }
    }
}
