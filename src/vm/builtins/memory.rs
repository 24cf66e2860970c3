//! What machine code calls for memories: growing, bulk operators, waiting and notifying.

use std::sync::Arc;

use lampwick_waiters::BATCH;

use super::super::layout::{BYTES_PER_FUEL, TrapCode, VMContext, WASM_PAGE_SIZE};
use super::super::memory::{SharedMemory, racy};
use super::super::store::Store;
use super::super::table::checked_range;
use super::super::waiting::{self, Expected, WaitResult};
use super::{BYTES_PER_LOOK, Call, Result, run};

/// What an operator takes that goes to the queue of a shared memory.
const QUEUE_NANOSECONDS: u32 = 200;

pub(super) unsafe extern "C" fn memory_grow(
    context: *mut VMContext,
    memory: u32,
    delta: u64,
) -> u64 {
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

pub(super) unsafe extern "C" fn memory_fill(
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

pub(super) unsafe extern "C" fn memory_copy(
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

pub(super) unsafe extern "C" fn move_bytes(
    _: *mut VMContext,
    to: *mut u8,
    from: *const u8,
    len: usize,
) {
    // SAFETY: machine code has checked both ranges.
    unsafe { to.copy_from(from, len) }
}

pub(super) unsafe extern "C" fn set_bytes(_: *mut VMContext, to: *mut u8, byte: u32, len: usize) {
    // SAFETY: machine code has checked the range.
    unsafe { to.write_bytes(byte as u8, len) }
}

pub(super) unsafe extern "C" fn memory_init(
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

pub(super) unsafe extern "C" fn memory_wait32(
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

pub(super) unsafe extern "C" fn memory_wait64(
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

pub(super) unsafe extern "C" fn memory_notify(
    context: *mut VMContext,
    memory: u32,
    index: u64,
    offset: u64,
    count: u32,
) -> u64 {
    // SAFETY: machine code called; nothing of the store is borrowed.
    unsafe { run(context, |call| call.notify(memory, index.checked_add(offset), count.into())) }
}

pub(super) unsafe extern "C" fn data_drop(context: *mut VMContext, segment: u32) {
    // SAFETY: machine code called; ranges are checked before the work on them is done.
    unsafe {
        run(context, |call| {
            (*call.instance()).drop_data(segment);
            Ok(())
        })
    }
}

/// Every method requires that the call is running on the guest's fiber, in a builtin.
impl Call {
    /// The store's index of a memory of the instance.
    unsafe fn memory(self, index: u32) -> u32 {
        // SAFETY: the instance is live while its builtin runs.
        unsafe { (&(*self.instance()).memories)[index as usize] }
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
            Store::took(self.store, QUEUE_NANOSECONDS)?;
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
            Store::took(self.store, QUEUE_NANOSECONDS)?;
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
}
