//! The embedder's hook at the borders between wasm and the host.
//!
//! A hook that is run before a crossing and does not fail is run again after it, whatever comes of
//! it. Panics and cancellations go on after that and ignore what the hook answers; a panic of the
//! hook's own goes on as one of a host function.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::activation::Unwind;
use super::backtrace::Backtrace;
use super::store::Store;

/// A crossing of the border between WebAssembly and the host; see
/// [`Store::call_hook`](crate::Store::call_hook).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallHook {
    /// The host is about to call WebAssembly.
    CallingWasm,
    /// WebAssembly that the host called has returned, trapped, or was cancelled.
    ReturningFromWasm,
    /// WebAssembly is about to call the host.
    CallingHost,
    /// The host, which WebAssembly called, is about to return or to fail.
    ReturningFromHost,
}

impl CallHook {
    /// Whether the host runs after this crossing: `ReturningFromWasm` and `CallingHost`.
    pub fn entering_host(&self) -> bool {
        matches!(self, Self::ReturningFromWasm | Self::CallingHost)
    }

    /// Whether WebAssembly runs after this crossing: `CallingWasm` and `ReturningFromHost`.
    pub fn exiting_host(&self) -> bool {
        matches!(self, Self::CallingWasm | Self::ReturningFromHost)
    }
}

/// How a store's hook is run: a function made for the type of the embedder's data.
///
/// It must be given a store that it was made for, of which nothing is borrowed.
pub(crate) type Hook = unsafe fn(*mut Store, CallHook) -> anyhow::Result<()>;

/// Runs the store's hook, if there is one.
///
/// # Safety
///
/// The store must be live, and nothing of it borrowed. `CallingHost` and `ReturningFromHost` are for
/// host functions that wasm called.
#[inline(always)]
pub(crate) unsafe fn cross(store: *mut Store, crossing: CallHook) -> Result<(), Box<Unwind>> {
    // SAFETY: by contract.
    unsafe {
        match Store::call_hook(store) {
            None => Ok(()),
            Some(hook) => run(hook, store, crossing),
        }
    }
}

/// The same on the way back from what failed: answers with what the call then fails.
///
/// # Safety
///
/// As for [`cross`].
#[cold]
pub(crate) unsafe fn cross_failing(
    store: *mut Store,
    crossing: CallHook,
    unwind: Box<Unwind>,
) -> Box<Unwind> {
    // SAFETY: by contract.
    match (unsafe { cross(store, crossing) }, &*unwind) {
        (Err(of_hook), _) if matches!(*of_hook, Unwind::Panic(_)) => of_hook,
        (Ok(()), _) | (Err(_), Unwind::Panic(_) | Unwind::Cancelled) => unwind,
        (Err(of_hook), _) => of_hook,
    }
}

/// # Safety
///
/// As for [`cross`].
#[cold]
unsafe fn run(hook: Hook, store: *mut Store, crossing: CallHook) -> Result<(), Box<Unwind>> {
    // SAFETY: by contract of the hook. A hook that panicked is at fault for its own data only.
    let result = catch_unwind(AssertUnwindSafe(|| unsafe { hook(store, crossing) }));
    let unwind = match result {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => {
            let backtrace = match crossing {
                // SAFETY: by contract.
                CallHook::CallingHost | CallHook::ReturningFromHost => unsafe {
                    Store::backtrace(store)
                },
                CallHook::CallingWasm | CallHook::ReturningFromWasm => Backtrace::new(),
            };
            Unwind::Host(error, backtrace)
        }
        Err(panic) => Unwind::Panic(panic),
    };
    Err(Box::new(unwind))
}
