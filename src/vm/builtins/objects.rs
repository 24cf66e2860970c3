//! What machine code calls to make and fill structs and arrays.
//!
//! References are passed as they are in code, so that nothing may collect while a builtin needs one
//! that no frame or object has: only what makes an object collects, before it looks at anything.

use super::super::activation::Unwind;
use super::super::layout::{
    ELEMENTS_PER_FUEL, FIELDS, ObjectLayout, TrapCode, VMContext, VMObject, VMType,
};
use super::super::pace::{Pace, Watch};
use super::super::store::Store;
use super::super::table::checked_range;
use super::{BYTES_PER_LOOK, Call, PAGES_PER_LOOK, Result, run};

pub(super) unsafe extern "C" fn struct_new(context: *mut VMContext, ty: u32) -> u64 {
    // SAFETY: machine code called, with a type that the validator has passed.
    unsafe { run(context, |call| call.new_object(ty, 0)) }
}

pub(super) unsafe extern "C" fn array_new(context: *mut VMContext, ty: u32, len: u64) -> u64 {
    // SAFETY: as above.
    unsafe {
        run(context, |call| {
            Store::charge(call.store, len / ELEMENTS_PER_FUEL)?;
            call.new_object(ty, len as u32)
        })
    }
}

pub(super) unsafe extern "C" fn array_begin(
    context: *mut VMContext,
    array: u32,
    low: u64,
    high: u64,
) {
    // SAFETY: machine code called, with an array that it has.
    unsafe {
        run(context, |call| {
            let array = call.array(array);
            let (mut done, page) = (0, array.elements_per_look() / PAGES_PER_LOOK);
            if array.len <= page {
                // As short as what `in_chunks` does without a look at the clock, which takes longer.
                array.fill(0, (low, high), array.len);
                return Ok(());
            }
            let mut watch = Watch::new(call.suspender(), (*call.store).held);
            while done < array.len {
                if done > 0 && (*call.store).interrupts.is_some() {
                    Store::attend(call.store)?;
                }
                let now = (page * watch.pages()).min(array.len - done);
                array.fill(done, (low, high), now);
                done += now;
                watch.look().map_err(|_cancelled| Box::new(Unwind::Cancelled))?;
                (*call.store).held = watch.held();
            }
            Ok(())
        })
    }
}

pub(super) unsafe extern "C" fn array_new_data(
    context: *mut VMContext,
    ty: u32,
    segment: u32,
    start: u64,
    len: u64,
) -> u64 {
    // SAFETY: as for `array_new`; the range of the segment is checked.
    unsafe {
        run(context, |call| {
            Store::charge(call.store, len / ELEMENTS_PER_FUEL)?;
            let (data, range) = (*call.instance()).data(segment);
            let ObjectLayout::Array { shift, .. } = (*call.record(ty)).layout else {
                unreachable!("validated: an array")
            };
            if checked_range(start, len << shift, range.len()).is_err() {
                return Err(Store::trap(call.store, TrapCode::MemoryOutOfBounds));
            }
            let reference = call.new_object(ty, len as u32)?;
            let array = call.array(reference as u32);
            array.read_bytes(call, 0, &data.bytes[range][start as usize..], len)?;
            Ok(reference)
        })
    }
}

pub(super) unsafe extern "C" fn array_init_data(
    context: *mut VMContext,
    segment: u32,
    array: u64,
    dst: u64,
    start: u64,
    len: u64,
) {
    // SAFETY: as for `array_begin`; both ranges are checked.
    unsafe {
        run(context, |call| {
            Store::charge(call.store, len / ELEMENTS_PER_FUEL)?;
            let array = call.array(array as u32);
            array.check(call, dst, len)?;
            let (data, range) = (*call.instance()).data(segment);
            if checked_range(start, len << array.shift, range.len()).is_err() {
                return Err(Store::trap(call.store, TrapCode::MemoryOutOfBounds));
            }
            array.read_bytes(call, dst, &data.bytes[range][start as usize..], len)
        })
    }
}

pub(super) unsafe extern "C" fn array_new_elem(
    context: *mut VMContext,
    ty: u32,
    segment: u32,
    start: u64,
    len: u64,
) -> u64 {
    // SAFETY: as for `array_new_data`.
    unsafe {
        run(context, |call| {
            Store::charge(call.store, len / ELEMENTS_PER_FUEL)?;
            call.check_elements(segment, start, len)?;
            let reference = call.new_object(ty, len as u32)?;
            call.array(reference as u32).read_elements(call, 0, (segment, start), len)?;
            Ok(reference)
        })
    }
}

pub(super) unsafe extern "C" fn array_init_elem(
    context: *mut VMContext,
    segment: u32,
    array: u64,
    dst: u64,
    start: u64,
    len: u64,
) {
    // SAFETY: as for `array_init_data`.
    unsafe {
        run(context, |call| {
            Store::charge(call.store, len / ELEMENTS_PER_FUEL)?;
            let array = call.array(array as u32);
            array.check(call, dst, len)?;
            call.check_elements(segment, start, len)?;
            array.read_elements(call, dst, (segment, start), len)
        })
    }
}

pub(super) unsafe extern "C" fn array_fill(
    context: *mut VMContext,
    array: u32,
    dst: u64,
    low: u64,
    high: u64,
    len: u64,
) {
    // SAFETY: as for `array_begin`; the range is checked.
    unsafe {
        run(context, |call| {
            let array = call.array(array);
            if array.check(call, dst, len).is_err() {
                return call.out_of_bounds(len / ELEMENTS_PER_FUEL, TrapCode::ArrayOutOfBounds);
            }
            call.in_chunks(len, array.elements_per_look(), ELEMENTS_PER_FUEL, |start, len| {
                array.fill(dst + start, (low, high), len);
            })
        })
    }
}

pub(super) unsafe extern "C" fn array_copy(
    context: *mut VMContext,
    to: u32,
    dst: u64,
    from: u32,
    src: u64,
    len: u64,
) {
    // SAFETY: as for `array_begin`; both ranges are checked.
    unsafe {
        run(context, |call| {
            let backwards = to == from && dst > src;
            let (to, from) = (call.array(to), call.array(from));
            if to.check(call, dst, len).and_then(|()| from.check(call, src, len)).is_err() {
                return call.out_of_bounds(len / ELEMENTS_PER_FUEL, TrapCode::ArrayOutOfBounds);
            }
            call.in_chunks(len, to.elements_per_look(), ELEMENTS_PER_FUEL, |start, chunk| {
                let start = if backwards { len - start - chunk } else { start };
                let bytes = (chunk as usize) << to.shift;
                to.at(dst + start).copy_from(from.at(src + start), bytes);
            })
        })
    }
}

/// An array that machine code has. It stays where it is while a builtin runs.
#[derive(Clone, Copy)]
struct Array {
    elements: *mut u8,
    len: u64,
    shift: u8,
}

/// Every method requires that the call is running on the guest's fiber, in a builtin.
impl Call {
    /// The engine's record of a type of the module.
    unsafe fn record(self, ty: u32) -> *const VMType {
        // SAFETY: the context has a record for each type of its module.
        unsafe { (*self.context).types.add(ty as usize).read() }
    }

    /// Makes an object of a type of the module.
    unsafe fn new_object(self, ty: u32, len: u32) -> Result<u64> {
        // SAFETY: nothing of the store is borrowed; the store keeps the module and its types.
        unsafe {
            let mut pace = Pace::new(self.suspender());
            match Store::new_object(self.store, self.record(ty), len, &mut pace, true) {
                Ok(reference) => Ok(reference.into()),
                Err(error) => Err(error.unwind(self.store)),
            }
        }
    }

    /// An array of the store's, by a reference of machine code's that is not null.
    unsafe fn array(self, reference: u32) -> Array {
        // SAFETY: references of machine code are to objects of the types that they say.
        unsafe {
            let object = (*self.store).machine.heap.add(reference as usize).cast::<VMObject>();
            let ObjectLayout::Array { shift, .. } = (*(*object).ty).layout else {
                unreachable!("validated: an array")
            };
            let elements = object.cast::<u8>().add(FIELDS as usize);
            Array { elements, len: (*object).len.into(), shift }
        }
    }

    unsafe fn check_elements(self, segment: u32, start: u64, len: u64) -> Result<()> {
        // SAFETY: the instance is live while its builtin runs.
        unsafe {
            checked_range(start, len, (*self.instance()).elements(segment).len())
                .map(drop)
                .map_err(|_| Store::trap(self.store, TrapCode::TableOutOfBounds))
        }
    }
}

impl Array {
    /// How many elements are moved between two looks at fuel and clock.
    fn elements_per_look(self) -> u64 {
        BYTES_PER_LOOK >> self.shift
    }

    /// Where an element is.
    fn at(self, index: u64) -> *mut u8 {
        self.elements.wrapping_add((index as usize) << self.shift)
    }

    unsafe fn check(self, call: Call, start: u64, len: u64) -> Result<()> {
        checked_range(start, len, self.len as usize)
            .map(drop)
            // SAFETY: a builtin is running.
            .map_err(|_| unsafe { Store::trap(call.store, TrapCode::ArrayOutOfBounds) })
    }

    /// Sets elements, which must be within the array.
    unsafe fn fill(self, start: u64, (low, high): (u64, u64), len: u64) {
        let (to, len) = (self.at(start), len as usize);
        // SAFETY: by contract; elements are aligned to their size.
        unsafe {
            match self.shift {
                0 => to.write_bytes(low as u8, len),
                1 => std::slice::from_raw_parts_mut(to.cast(), len).fill(low as u16),
                2 => std::slice::from_raw_parts_mut(to.cast(), len).fill(low as u32),
                3 => std::slice::from_raw_parts_mut(to.cast(), len).fill(low),
                _ => {
                    let value = u128::from(high) << 64 | u128::from(low);
                    std::slice::from_raw_parts_mut(to.cast(), len).fill(value);
                }
            }
        }
    }

    /// Copies bytes to elements, which must be within the array; both are little-endian.
    unsafe fn read_bytes(self, call: Call, dst: u64, bytes: &[u8], len: u64) -> Result<()> {
        // SAFETY: by contract; the activation is live since its wasm called us.
        unsafe {
            let mut pace = Pace::new(call.suspender());
            let (to, len) = (self.at(dst), (len as usize) << self.shift);
            let bytes = &bytes[..len];
            let copied = pace.parts(len, 1, |start, len| {
                to.add(start).copy_from_nonoverlapping(bytes[start..].as_ptr(), len);
            });
            copied.map_err(|_cancelled| Box::new(Unwind::Cancelled))
        }
    }

    /// Copies elements of a segment, which must be within both.
    unsafe fn read_elements(
        self,
        call: Call,
        dst: u64,
        (segment, start): (u32, u64),
        len: u64,
    ) -> Result<()> {
        // SAFETY: by contract; each borrow ends before the pace suspends.
        unsafe {
            let mut pace = Pace::new(call.suspender());
            let copied = pace.parts(len as usize, 16, |done, now| {
                let instance = &*call.instance();
                let elements = &instance.elements(segment)[start as usize + done..][..now];
                for (index, element) in elements.iter().enumerate() {
                    let value = (*call.store).element(instance, element);
                    let to = self.at(dst + (done + index) as u64);
                    // Elements are 4 bytes, or the 8 of functions.
                    if self.shift == 3 {
                        to.cast::<u64>().write(value);
                    } else {
                        to.cast::<u32>().write(value as u32);
                    }
                }
            });
            copied.map_err(|_cancelled| Box::new(Unwind::Cancelled))
        }
    }
}
