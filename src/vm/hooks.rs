//! The embedder's hook at the borders between wasm and the host.
//!
//! A hook that is run before a crossing and does not fail is run again after it, whatever comes of
//! it. Panics and cancellations go on after that and ignore what the hook answers; a panic of the
//! hook's own goes on as one of a host function.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use super::activation::{Exit, Unwind};
use super::backtrace::Backtrace;
use super::host::HostError;
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

unsafe fn run(
    hook: Hook,
    store: *mut Store,
    crossing: CallHook,
) -> thread::Result<anyhow::Result<()>> {
    // SAFETY: by contract of the hook. A hook that panicked is at fault for its own data only.
    catch_unwind(AssertUnwindSafe(|| unsafe { hook(store, crossing) }))
}

/// Runs a hook before wasm is called.
///
/// # Safety
///
/// As for [`Hook`].
#[cold]
pub(crate) unsafe fn calling_wasm(hook: Hook, store: *mut Store) -> Result<(), Box<Unwind>> {
    // SAFETY: by contract.
    match unsafe { run(hook, store, CallHook::CallingWasm) } {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Box::new(Unwind::Host(error, Backtrace::new()))),
        Err(panic) => Err(Box::new(Unwind::Panic(panic))),
    }
}

/// Runs a hook after wasm was left, and answers what then comes of the call.
///
/// # Safety
///
/// As for [`Hook`].
#[cold]
pub(crate) unsafe fn returning_from_wasm(
    hook: Hook,
    store: *mut Store,
    result: Result<(), Box<Unwind>>,
) -> Result<(), Box<Unwind>> {
    // SAFETY: by contract.
    let crossing = unsafe { run(hook, store, CallHook::ReturningFromWasm) };
    let goes_on = |unwind: &Unwind| matches!(unwind, Unwind::Panic(_) | Unwind::Cancelled);
    match crossing {
        Err(panic) => Err(Box::new(Unwind::Panic(panic))),
        Ok(Err(_)) if result.as_ref().is_err_and(|unwind| goes_on(unwind)) => result,
        Ok(Err(error)) => Err(Box::new(Unwind::Host(error, Backtrace::new()))),
        Ok(Ok(())) => result,
    }
}

/// Runs a host function between its two crossings, and answers what then comes of it.
///
/// # Safety
///
/// As for [`Hook`]; wasm of `exit` must have called the function.
#[cold]
pub(super) unsafe fn around_host(
    hook: Hook,
    store: *mut Store,
    exit: Exit,
    body: impl FnOnce() -> Result<(), HostError>,
) -> thread::Result<Result<(), HostError>> {
    // SAFETY: by contract.
    match unsafe { run(hook, store, CallHook::CallingHost) } {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Ok(Err(HostError::Error(error))),
        Err(panic) => return Err(panic),
    }
    let result = catch_unwind(AssertUnwindSafe(body));
    // SAFETY: by contract; the function has ended.
    unsafe {
        exit.restore(store);
        match (run(hook, store, CallHook::ReturningFromHost), result) {
            (Err(panic), _) => Err(panic),
            (Ok(_), stays @ (Err(_) | Ok(Err(HostError::Cancelled)))) => stays,
            (Ok(Err(error)), _) => Ok(Err(HostError::Error(error))),
            (Ok(Ok(())), result) => result,
        }
    }
}
