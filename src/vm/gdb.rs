//! The interface by which debuggers learn of machine code that was not loaded from a file: a list
//! of object files in memory, and a function in which the debugger has a breakpoint.
//!
//! It is defined in gdb's manual, "JIT Compilation Interface". The two symbols are one for the
//! process: all just-in-time compilers in it share the list. They are *weak*, so that another
//! compiler in the same binary may define them as well.

use std::ffi::c_void;
use std::ptr;
use std::sync::{Mutex, PoisonError};

/// What there is to be noticed in `__jit_debug_register_code`.
#[derive(Clone, Copy)]
#[repr(u32)]
enum Action {
    None = 0,
    Register = 1,
    Unregister = 2,
}

/// An object file, `struct jit_code_entry`.
#[repr(C)]
struct Entry {
    next: *mut Entry,
    prev: *mut Entry,
    file: *const c_void,
    len: u64,
}

/// The head of the list, `struct jit_descriptor`.
#[repr(C)]
struct Descriptor {
    version: u32,
    action: u32,
    relevant: *mut Entry,
    first: *mut Entry,
}

// Rust has no weak symbols yet. The function does nothing; the descriptor has version 1 and is
// otherwise zero.
std::arch::global_asm!(
    ".pushsection .text.__jit_debug_register_code, \"ax\", @progbits",
    ".weak __jit_debug_register_code",
    ".type __jit_debug_register_code, @function",
    "__jit_debug_register_code:",
    "ret",
    ".size __jit_debug_register_code, . - __jit_debug_register_code",
    ".popsection",
    ".pushsection .data.__jit_debug_descriptor, \"aw\", @progbits",
    ".weak __jit_debug_descriptor",
    ".type __jit_debug_descriptor, @object",
    ".balign 8",
    "__jit_debug_descriptor:",
    ".long 1",
    ".long 0",
    ".quad 0",
    ".quad 0",
    ".size __jit_debug_descriptor, 24",
    ".popsection",
);

unsafe extern "C" {
    fn __jit_debug_register_code();
    static mut __jit_debug_descriptor: Descriptor;
}

/// Held while the list is changed. Other compilers know nothing of it.
static LOCK: Mutex<()> = Mutex::new(());

/// An object file that debuggers know of.
pub(crate) struct DebugFile {
    entry: *mut Entry,
    /// What the entry points to.
    _file: Box<[u8]>,
}

// SAFETY: the entry is changed only with the lock held.
unsafe impl Send for DebugFile {}
// SAFETY: as above.
unsafe impl Sync for DebugFile {}

impl DebugFile {
    /// Tells debuggers of an object file, until the answer is dropped.
    pub(crate) fn register(file: Box<[u8]>) -> Self {
        let (start, len) = (file.as_ptr().cast(), file.len() as u64);
        let entry = Entry { next: ptr::null_mut(), prev: ptr::null_mut(), file: start, len };
        let entry = Box::into_raw(Box::new(entry));
        let _guard = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: with the lock held the list is ours, and its entries are live: each is taken out
        // before it is freed. The caller keeps other compilers away.
        unsafe {
            let list = &raw mut __jit_debug_descriptor;
            (*entry).next = (*list).first;
            if !(*entry).next.is_null() {
                (*(*entry).next).prev = entry;
            }
            (*list).first = entry;
            tell(Action::Register, entry);
        }
        Self { entry, _file: file }
    }
}

impl Drop for DebugFile {
    fn drop(&mut self) {
        let _guard = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: as in `register`; the entry was put into the list there, and nobody else frees
        // it.
        unsafe {
            let list = &raw mut __jit_debug_descriptor;
            let Entry { next, prev, .. } = *self.entry;
            if prev.is_null() {
                (*list).first = next;
            } else {
                (*prev).next = next;
            }
            if !next.is_null() {
                (*next).prev = prev;
            }
            tell(Action::Unregister, self.entry);
            drop(Box::from_raw(self.entry));
        }
    }
}

/// Lets debuggers look at an entry.
///
/// # Safety
///
/// The lock must be held, and the entry live.
unsafe fn tell(action: Action, entry: *mut Entry) {
    let list = &raw mut __jit_debug_descriptor;
    // SAFETY: with the lock held the descriptor is ours; the function does nothing.
    unsafe {
        (*list).relevant = entry;
        (*list).action = action as u32;
        __jit_debug_register_code();
        (*list).relevant = ptr::null_mut();
        (*list).action = Action::None as u32;
    }
}
