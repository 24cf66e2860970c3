//! Bytes that other threads may be reading and writing meanwhile.
//!
//! Rust's own copies must not race with anything. These do what a loop of relaxed atomic loads and
//! stores of single bytes does, which is defined whatever others do; the processor's string
//! instructions do that loop at full speed, and as assembly the compiler assumes no more of them.
//! Machine code of guests is outside of Rust's model and cannot be less careful than that.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// Copies bytes between ranges that may overlap.
///
/// # Safety
///
/// Both ranges must stay accessible, and what is not in a shared memory must be nobody else's.
pub(crate) unsafe fn copy(to: *mut u8, from: *const u8, len: usize) {
    if to.addr().wrapping_sub(from.addr()) < len {
        // The end of the source would be overwritten before it is read.
        for index in (0..len).rev() {
            // SAFETY: by contract; all accesses are atomic.
            unsafe {
                let byte = AtomicU8::from_ptr(from.add(index).cast_mut()).load(Relaxed);
                AtomicU8::from_ptr(to.add(index)).store(byte, Relaxed);
            }
        }
        return;
    }
    // SAFETY: by contract.
    unsafe { copy_forwards(to, from, len) }
}

/// # Safety
///
/// As for [`copy`]; the destination must not begin within the source.
#[cfg(target_arch = "x86_64")]
unsafe fn copy_forwards(to: *mut u8, from: *const u8, len: usize) {
    // SAFETY: by contract; the direction flag is clear in Rust code.
    unsafe {
        std::arch::asm!(
            "rep movsb",
            inout("rcx") len => _, inout("rdi") to => _, inout("rsi") from => _,
            options(nostack, preserves_flags)
        );
    }
}

/// # Safety
///
/// As above.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn copy_forwards(to: *mut u8, from: *const u8, len: usize) {
    for index in 0..len {
        // SAFETY: by contract; all accesses are atomic.
        unsafe {
            let byte = AtomicU8::from_ptr(from.add(index).cast_mut()).load(Relaxed);
            AtomicU8::from_ptr(to.add(index)).store(byte, Relaxed);
        }
    }
}

/// Sets bytes.
///
/// # Safety
///
/// The range must stay accessible, and be in a shared memory or nobody else's.
pub(crate) unsafe fn fill(to: *mut u8, byte: u8, len: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: by contract; the direction flag is clear in Rust code.
    unsafe {
        std::arch::asm!(
            "rep stosb",
            inout("rcx") len => _, inout("rdi") to => _, in("al") byte,
            options(nostack, preserves_flags)
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    for index in 0..len {
        // SAFETY: by contract.
        unsafe { AtomicU8::from_ptr(to.add(index)).store(byte, Relaxed) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_may_overlap_either_way() {
        for (to, from, len) in [(0, 3, 10), (3, 0, 10), (5, 5, 4), (0, 10, 6), (1, 0, 0)] {
            let mut bytes: Vec<u8> = (0..16).collect();
            let mut expected = bytes.clone();
            expected.copy_within(from..from + len, to);
            let start = bytes.as_mut_ptr();
            // SAFETY: both ranges are within the vector, which is ours.
            unsafe { copy(start.add(to), start.add(from), len) };
            assert_eq!(bytes, expected, "{to} {from} {len}");
            // SAFETY: as above.
            unsafe { fill(start.add(to), 0xee, len) };
            expected[to..to + len].fill(0xee);
            assert_eq!(bytes, expected);
        }
    }
}
