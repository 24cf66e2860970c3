//! The functions of ours that machine code calls.
//!
//! What a guest sizes is charged by that size before it is done, in chunks between which the fiber
//! may suspend. While it is suspended anything may happen that the store's owner can do without the
//! store, and nothing to the store itself; even so every chunk reads bases and sizes anew.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use lampwick_fibers::{Cancelled, Suspender};
use lampwick_waiters::BATCH;

use super::activation::{self, Unwind};
use super::arch;
use super::exceptions::{throw, throw_ref};
use super::instance::Instance;
use super::layout::{
    BYTES_PER_FUEL, Builtin, ELEMENTS_PER_FUEL, TrapCode, VMContext, WASM_PAGE_SIZE,
    for_each_builtin,
};
use super::memory::{SharedMemory, racy};
use super::object_builtins::*;
use super::pace::Watch;
use super::store::Store;
use super::table::{RawRef, checked_range};
use super::waiting::{self, Expected, WaitResult};

/// Bytes and elements that are moved between two looks at fuel and clock, where that is not slow: these
/// are eight pages. Of memory that was not touched before it is one.
const BYTES_PER_LOOK: u64 = 32 << 10;
const ELEMENTS_PER_LOOK: u64 = BYTES_PER_LOOK / size_of::<RawRef>() as u64;

/// The result of a builtin, or why wasm is left.
pub(super) type Result<T> = std::result::Result<T, Box<Unwind>>;

/// A call of a builtin that is running: the store and the calling instance.
#[derive(Clone, Copy)]
pub(super) struct Call {
    pub(super) store: *mut Store,
    pub(super) context: *mut VMContext,
}

/// Runs a builtin's body; a trap or a bug's panic unwinds wasm.
///
/// # Safety
///
/// Must be called with the context that machine code passed, as the last thing that the builtin
/// does and with nothing left to drop.
pub(super) unsafe fn run<R>(context: *mut VMContext, body: impl FnOnce(Call) -> Result<R>) -> R {
    // SAFETY: the context is that of an instance in a store.
    unsafe {
        let store = (*context).store.cast::<Store>();
        let call = Call { store, context };
        let unwind = match catch_unwind(AssertUnwindSafe(|| body(call))) {
            Ok(Ok(result)) => return result,
            Ok(Err(unwind)) => unwind,
            Err(panic) => Box::new(Unwind::Panic(panic)),
        };
        activation::unwind_with(store, unwind)
    }
}

macro_rules! entry_points {
    ($($(#[$doc:meta])* $name:ident($($param:ident),*) -> $result:tt;)*) => {
        /// The entry points, in the order of [`Builtin`].
        pub(crate) static ENTRY_POINTS: EntryPoints = EntryPoints([
            $($name as *const u8,)*
        ]);
    };
}
for_each_builtin!(entry_points);

/// Addresses of functions.
pub(crate) struct EntryPoints([*const u8; Builtin::ALL.len()]);

// SAFETY: the addresses of functions can be read from anywhere.
unsafe impl Sync for EntryPoints {}

impl EntryPoints {
    /// What contexts hold.
    pub(crate) fn as_ptr(&'static self) -> *const *const u8 {
        self.0.as_ptr()
    }
}

arch::preserving_registers! {
    out_of_fuel: refuel, scalar: out_of_fuel_scalar;
    interrupted: attend, scalar: interrupted_scalar;
}

unsafe extern "C" fn refuel(context: *mut VMContext) {
    // SAFETY: machine code called; `refuel` has no borrow across a suspension.
    unsafe { run(context, |call| Store::refuel(call.store)) }
}

unsafe extern "C" fn attend(context: *mut VMContext) {
    // SAFETY: machine code called; `attend` has no borrow across a suspension.
    unsafe { run(context, |call| Store::attend(call.store)) }
}

unsafe extern "C" fn memory_grow(context: *mut VMContext, memory: u32, delta: u64) -> u64 {
    // SAFETY: machine code called; ranges are checked before the work on them is done.
    unsafe {
        run(context, |call| {
            let memory = call.memory(memory);
            let page_log2 = (&(*call.store).memories)[memory as usize].value.page_log2();
            Store::charge(call.store, delta >> (WASM_PAGE_SIZE.trailing_zeros() - page_log2))?;
            Store::guest_grows_memory(call.store, memory, delta)
        })
    }
}

unsafe extern "C" fn memory_fill(
    context: *mut VMContext,
    memory: u32,
    dst: u64,
    byte: u32,
    len: u64,
) {
    // SAFETY: machine code called; ranges are checked before the work on them is done.
    unsafe {
        run(context, |call| {
            let memory = call.memory(memory);
            call.in_byte_chunks(len, &[(memory, dst)], |start, len| {
                let to = call.at(memory, dst + start);
                if call.shared(memory).is_some() {
                    racy::fill(to, byte as u8, len);
                } else {
                    to.write_bytes(byte as u8, len);
                }
            })
        })
    }
}

unsafe extern "C" fn memory_copy(
    context: *mut VMContext,
    dst_memory: u32,
    src_memory: u32,
    dst: u64,
    src: u64,
    len: u64,
) {
    // SAFETY: machine code called; ranges are checked before the work on them is done.
    unsafe {
        run(context, |call| {
            let (to, from) = (call.memory(dst_memory), call.memory(src_memory));
            // Chunks from the end where the destination overlaps the source's rest.
            // A store may have a shared memory twice.
            let is_shared = call.shared(to).is_some() || call.shared(from).is_some();
            let is_same = to == from || is_shared && call.at(to, 0) == call.at(from, 0);
            let backwards = is_same && dst > src;
            call.in_byte_chunks(len, &[(to, dst), (from, src)], |start, chunk| {
                let start = if backwards { len - start - chunk as u64 } else { start };
                let (to, from) = (call.at(to, dst + start), call.at(from, src + start));
                if is_shared {
                    racy::copy(to, from, chunk);
                } else {
                    to.copy_from(from, chunk);
                }
            })
        })
    }
}

unsafe extern "C" fn move_bytes(_: *mut VMContext, to: *mut u8, from: *const u8, len: usize) {
    // SAFETY: machine code has checked both ranges.
    unsafe { to.copy_from(from, len) }
}

unsafe extern "C" fn set_bytes(_: *mut VMContext, to: *mut u8, byte: u32, len: usize) {
    // SAFETY: machine code has checked the range.
    unsafe { to.write_bytes(byte as u8, len) }
}

unsafe extern "C" fn memory_init(
    context: *mut VMContext,
    memory: u32,
    segment: u32,
    dst: u64,
    src: u64,
    len: u64,
) {
    // SAFETY: machine code called; ranges are checked before the work on them is done.
    unsafe {
        run(context, |call| {
            let memory = call.memory(memory);
            let (data, range) = (*call.instance()).data(segment);
            let bytes = &data.bytes[range];
            if checked_range(src, len, bytes.len()).is_err() {
                return call.out_of_bounds(len / BYTES_PER_FUEL, TrapCode::MemoryOutOfBounds);
            }
            call.in_byte_chunks(len, &[(memory, dst)], |start, len| {
                let from = bytes[(src + start) as usize..][..len].as_ptr();
                let to = call.at(memory, dst + start);
                if call.shared(memory).is_some() {
                    racy::copy(to, from, len);
                } else {
                    to.copy_from_nonoverlapping(from, len);
                }
            })
        })
    }
}

unsafe extern "C" fn memory_wait32(
    context: *mut VMContext,
    memory: u32,
    index: u64,
    offset: u64,
    expected: u32,
    timeout: u64,
) -> u64 {
    let address = index.checked_add(offset);
    // SAFETY: machine code called; nothing of the store is borrowed.
    unsafe { run(context, |call| call.wait(memory, address, Expected::W32(expected), timeout)) }
}

unsafe extern "C" fn memory_wait64(
    context: *mut VMContext,
    memory: u32,
    index: u64,
    offset: u64,
    expected: u64,
    timeout: u64,
) -> u64 {
    let address = index.checked_add(offset);
    // SAFETY: machine code called; nothing of the store is borrowed.
    unsafe { run(context, |call| call.wait(memory, address, Expected::W64(expected), timeout)) }
}

unsafe extern "C" fn memory_notify(
    context: *mut VMContext,
    memory: u32,
    index: u64,
    offset: u64,
    count: u32,
) -> u64 {
    // SAFETY: machine code called; nothing of the store is borrowed.
    unsafe { run(context, |call| call.notify(memory, index.checked_add(offset), count.into())) }
}

unsafe extern "C" fn data_drop(context: *mut VMContext, segment: u32) {
    // SAFETY: machine code called; ranges are checked before the work on them is done.
    unsafe {
        run(context, |call| {
            (*call.instance()).drop_data(segment);
            Ok(())
        })
    }
}

unsafe extern "C" fn table_grow(
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

unsafe extern "C" fn table_fill(
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

unsafe extern "C" fn table_copy(
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

unsafe extern "C" fn table_init(
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

unsafe extern "C" fn elem_drop(context: *mut VMContext, segment: u32) {
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
    /// How the guest's fiber is suspended, for as long as the builtin runs.
    pub(super) unsafe fn suspender<'s>(self) -> &'s Suspender {
        // SAFETY: the activation whose wasm called is live, and so is the suspender of its fiber.
        unsafe { &*(*(*self.store).activation).suspender }
    }

    /// The instance that called.
    pub(super) unsafe fn instance(self) -> *mut Instance {
        // SAFETY: the context is that of an instance in the store; both are live while its builtin
        // runs.
        unsafe { &raw mut (&mut (*self.store).instances)[(*self.context).instance - 1] }
    }

    /// The store's index of a memory of the instance.
    unsafe fn memory(self, index: u32) -> u32 {
        // SAFETY: the instance is live while its builtin runs.
        unsafe { (&(*self.instance()).memories)[index as usize] }
    }

    /// The store's index of a table of the instance.
    unsafe fn table(self, index: u32) -> u32 {
        // SAFETY: as above.
        unsafe { (&(*self.instance()).tables)[index as usize] }
    }

    /// How large a memory of the store is.
    unsafe fn len(self, memory: u32) -> usize {
        // SAFETY: the store is live while a builtin of its instance runs.
        unsafe { (&(*self.store).memories)[memory as usize].value.len() }
    }

    /// An address in a memory, as of now: a suspension may let it move.
    unsafe fn at(self, memory: u32, address: u64) -> *mut u8 {
        // SAFETY: as above.
        let memory = unsafe { &(&(*self.store).memories)[memory as usize].value };
        debug_assert!(address <= memory.len() as u64);
        memory.base().wrapping_add(address as usize)
    }

    /// A memory of the store, if it is shared.
    unsafe fn shared(self, memory: u32) -> Option<Arc<SharedMemory>> {
        // SAFETY: as above.
        unsafe { (&(*self.store).memories)[memory as usize].value.as_shared().cloned() }
    }

    /// `memory.atomic.wait32` and `memory.atomic.wait64`.
    unsafe fn wait(
        self,
        memory: u32,
        address: Option<u64>,
        expected: Expected,
        timeout: u64,
    ) -> Result<u64> {
        // SAFETY: nothing of the store is borrowed across a suspension.
        unsafe {
            let Some(shared) = self.shared(self.memory(memory)) else {
                return Err(Store::trap(self.store, TrapCode::AtomicWaitNonSharedMemory));
            };
            let joined = waiting::join(&shared, address, expected);
            let result = match joined.map_err(|code| Store::trap(self.store, code))? {
                None => WaitResult::Mismatch,
                Some(waiter) => Store::wait_to_be_notified(self.store, waiter, timeout as i64)?,
            };
            Ok(result as u64)
        }
    }

    /// `memory.atomic.notify`. Nobody waits in a memory that is not shared.
    unsafe fn notify(self, memory: u32, address: Option<u64>, count: u64) -> Result<u64> {
        // SAFETY: nothing of the store is borrowed across a suspension.
        unsafe {
            let memory = self.memory(memory);
            let Some(shared) = self.shared(memory) else {
                let inside = |address: &u64| checked_range(*address, 4, self.len(memory)).is_ok();
                return match address.filter(inside) {
                    Some(address) if address.is_multiple_of(4) => Ok(0),
                    Some(_) => Err(Store::trap(self.store, TrapCode::HeapMisaligned)),
                    None => Err(Store::trap(self.store, TrapCode::MemoryOutOfBounds)),
                };
            };
            let (address, _) = waiting::aligned(&shared, address, 4)
                .map_err(|code| Store::trap(self.store, code))?;
            let (mark, mut woken) = (shared.waiters.mark(), 0);
            loop {
                let now = shared.waiters.notify(address, count - woken, mark);
                woken += now;
                if now < BATCH {
                    return Ok(woken);
                }
                // Many of them are woken in parts.
                Store::yield_now(self.store)?;
            }
        }
    }

    /// Charges for an operator that will not be done, and traps.
    pub(super) unsafe fn out_of_bounds(self, cost: u64, code: TrapCode) -> Result<()> {
        // SAFETY: nothing of the store is borrowed.
        unsafe {
            Store::charge(self.store, cost)?;
            Err(Store::trap(self.store, code))
        }
    }

    /// Does `len` bytes of work on `ranges` (a memory and a start each), chunk after chunk.
    unsafe fn in_byte_chunks(
        self,
        len: u64,
        ranges: &[(u32, u64)],
        mut work: impl FnMut(u64, usize),
    ) -> Result<()> {
        // SAFETY: nothing of the store is borrowed across a suspension.
        unsafe {
            let inside =
                |&(memory, start): &(u32, u64)| checked_range(start, len, self.len(memory)).is_ok();
            if !ranges.iter().all(inside) {
                return self.out_of_bounds(len / BYTES_PER_FUEL, TrapCode::MemoryOutOfBounds);
            }
            self.in_chunks(len, BYTES_PER_LOOK, BYTES_PER_FUEL, |start, len| {
                work(start, len as usize);
            })
        }
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

    /// Charges for each chunk, then does it. The last chunk's rest below a whole unit is free, so
    /// that the cost is that of the whole length: chunks are whole numbers of units.
    pub(super) unsafe fn in_chunks(
        self,
        len: u64,
        chunk: u64,
        per_fuel: u64,
        mut work: impl FnMut(u64, u64),
    ) -> Result<()> {
        let mut watch: Option<Watch<'_>> = None;
        let mut done = 0;
        while done < len {
            // However slow it is: how far a guest comes with its fuel must not depend on the clock.
            let end = done + chunk.min(len - done);
            // SAFETY: nothing of the store is borrowed; the activation is live since its wasm called
            // us.
            unsafe {
                if done > 0 && (*self.store).interrupts.is_some() {
                    // The guest's own checks are as far apart as the length says.
                    Store::attend(self.store)?;
                }
                let cost = (end - done) / per_fuel;
                // Where a slice ends here the guest waits anyway, and begins anew.
                let goes_on = (*self.store).covers(cost);
                Store::charge(self.store, cost)?;
                match &mut watch {
                    Some(watch) if goes_on => watch.look().map_err(cancelled)?,
                    Some(watch) => watch.restart(),
                    None if end < len => watch = Some(Watch::new(self.suspender())),
                    None => {}
                }
            }
            while done < end {
                let parts = watch.as_ref().map_or(1, Watch::parts);
                let now = (chunk / u64::from(parts)).min(end - done);
                work(done, now);
                done += now;
                if let Some(watch) = watch.as_mut().filter(|_| done < end) {
                    watch.look().map_err(cancelled)?;
                }
            }
        }
        Ok(())
    }
}

fn cancelled(_: Cancelled) -> Box<Unwind> {
    Box::new(Unwind::Cancelled)
}
