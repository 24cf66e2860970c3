//! Host functions: contexts whose `call` runs a closure of the embedder's.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::Arc;

use lampwick_fibers::{Cancelled, Suspender};

use super::activation::{self, Exit, Unwind};
use super::hooks::{self, CallHook};
use super::layout::{EnterTrampoline, VMContext, VMFuncRef, VMHostContext, VMType, ValRaw};
use super::pace::Pace;
use super::store::Store;

/// What the exit trampoline calls.
pub(crate) type HostCall = unsafe extern "C" fn(*mut VMHostContext, *mut VMContext, *mut ValRaw);

/// A host function in a store.
#[repr(C)]
pub(crate) struct HostFunction {
    /// First, so that a pointer to it is a pointer to the function.
    context: VMHostContext,
    func_ref: VMFuncRef,
    /// What `context.call` is in a store without a call hook and accounts.
    call: HostCall,
    /// The closure, of the type that `call` was made for.
    closure: Arc<dyn Any + Send + Sync>,
}

// SAFETY: the pointers lead to the store that owns the function, and to code.
unsafe impl Send for HostFunction {}
// SAFETY: as above.
unsafe impl Sync for HostFunction {}

impl HostFunction {
    /// A function for one store.
    ///
    /// # Safety
    ///
    /// `store` must be where the function is kept, `call` must take what the closure is, and
    /// `enter` and `exit` must be the trampolines of the type `ty`, which the closure has
    /// and which outlives the function.
    pub(crate) unsafe fn new(
        store: *mut Store,
        call: HostCall,
        closure: Arc<dyn Any + Send + Sync>,
        (enter, exit): (EnterTrampoline, *const u8),
        ty: *const VMType,
    ) -> Box<Self> {
        let head = VMContext {
            store: store.cast(),
            builtins: ptr::null(),
            types: ptr::null(),
            deadline: ptr::null(),
            instance: 0,
        };
        let mut this = Box::new(Self {
            context: VMHostContext { head, call },
            func_ref: VMFuncRef { code: exit, context: ptr::null_mut(), enter, ty },
            call,
            closure,
        });
        this.func_ref.context = (&raw mut *this).cast();
        this
    }

    /// Lets calls of this function make a detour from now on.
    pub(super) fn lead_through(&mut self, detour: Detour) {
        self.context.call = match detour {
            Detour::Count => call_counted,
            Detour::Hook => call_hooked,
        };
    }

    /// The function as a reference.
    pub(crate) fn func_ref(&mut self) -> *mut VMFuncRef {
        &raw mut self.func_ref
    }
}

/// What a call does before it gets to its host function.
#[derive(Clone, Copy, Debug)]
pub(super) enum Detour {
    /// The store's account counts it.
    Count,
    /// The call hook runs, before and after. It is counted, too, where there is an account.
    Hook,
}

/// What it takes to convert a value that is not just copied: a reference to what a guest has made is
/// noted, and values of any type are in lists on the heap.
const CONVERSION_NANOSECONDS: u32 = 100;

/// A call of a host function that is running.
pub(crate) struct HostCaller {
    store: *mut Store,
    caller: *mut VMContext,
    /// Where wasm was left for it.
    exit: Exit,
}

impl HostCaller {
    /// The store.
    pub(crate) fn store(&self) -> *mut Store {
        self.store
    }

    /// The place in its store of the instance that called, unless the host did.
    pub(crate) fn instance(&self) -> Option<usize> {
        // SAFETY: the caller's context is live while it waits for us.
        unsafe { (*self.caller).instance.checked_sub(1) }
    }

    /// Takes note of values whose conversion takes long for a host call, and lets others run where that
    /// adds up.
    ///
    /// # Safety
    ///
    /// Nothing of the store may be borrowed.
    #[inline]
    pub(crate) unsafe fn converts(&self, values: usize) -> Result<(), HostError> {
        // No count of values that a function may take exceeds it.
        let nanoseconds = CONVERSION_NANOSECONDS.saturating_mul(values as u32);
        // SAFETY: the store outlives its calls; the rest is the caller's.
        let rested = unsafe { Store::took(self.store, nanoseconds) };
        rested.map_err(|_cancelled| HostError::Cancelled)
    }

    /// Lets a collection make room before so many results become references, and others run where many
    /// did; it may suspend.
    ///
    /// # Safety
    ///
    /// Nothing of the store may be borrowed.
    #[inline]
    pub(crate) unsafe fn make_room(&self, more: usize) -> Result<(), HostError> {
        // SAFETY: the store outlives its calls; the rest is the caller's.
        unsafe {
            if (*self.store).externs.as_ref().is_some_and(|externs| externs.is_busy(more)) {
                self.pause_for_references(more).map_err(|_cancelled| HostError::Cancelled)?;
            }
        }
        Ok(())
    }

    /// What a guest does that has made many references, before so many more: it collects, or else only
    /// lets others run.
    ///
    /// # Safety
    ///
    /// As for [`Self::make_room`].
    #[cold]
    unsafe fn pause_for_references(&self, more: usize) -> Result<(), Cancelled> {
        // SAFETY: as above; each borrow ends before the fiber may suspend.
        unsafe {
            let suspender = self.suspender();
            if (*self.store).is_full(more) {
                Store::collect_at(self.store, &mut Pace::new(suspender))?;
            } else {
                suspender.yield_now()?;
            }
            if let Some(externs) = (*self.store).externs.as_deref_mut() {
                externs.begin_batch();
            }
        }
        Ok(())
    }

    /// How this call suspends its fiber.
    ///
    /// # Safety
    ///
    /// The answer must not be kept beyond the call.
    pub(crate) unsafe fn suspender<'a>(&self) -> &'a Suspender {
        // SAFETY: the activation that called us is live, and so is the suspender of its fiber.
        unsafe { &*self.exit.suspender() }
    }
}

/// Runs the body of a host function; a failure or panic unwinds wasm.
///
/// # Safety
///
/// Must be called, by the function that an exit trampoline called, with its arguments, as the last
/// thing it does and with nothing left to drop; `F` must be the type of the closure.
#[inline(always)]
pub(crate) unsafe fn run<F: 'static>(
    context: *mut VMHostContext,
    caller: *mut VMContext,
    body: impl FnOnce(&F, HostCaller) -> Result<(), HostError>,
) {
    // SAFETY: the context heads a `HostFunction` in a store; its closure is an `F`. Wasm called
    // us, so the store's activation is live.
    unsafe {
        let store = (*context).head.store.cast::<Store>();
        let exit = Exit::of(store);
        let closure = Arc::as_ptr(&(*context.cast::<HostFunction>()).closure).cast::<F>();
        let call = HostCaller { store, caller, exit };
        let result = catch_unwind(AssertUnwindSafe(|| body(&*closure, call)));
        exit.restore(store);
        // In registers all the way, unless the function failed.
        match result {
            Ok(Ok(())) => {}
            Ok(Err(error)) => fail(store, error),
            Err(panic) => leave(store, Box::new(Unwind::Panic(panic))),
        }
    }
}

/// What is called in place of each host function of a store that has an account and no call hook.
unsafe extern "C" fn call_counted(
    context: *mut VMHostContext,
    caller: *mut VMContext,
    values: *mut ValRaw,
) {
    // SAFETY: the context heads a `HostFunction` in a store, of which nothing is borrowed here; wasm
    // called us with what the function takes.
    unsafe {
        Store::count_host_call((*context).head.store.cast());
        ((*context.cast::<HostFunction>()).call)(context, caller, values);
    }
}

/// What is called in place of each host function of a store that has a call hook: the functions
/// themselves look for a hook only when they fail.
unsafe extern "C" fn call_hooked(
    context: *mut VMHostContext,
    caller: *mut VMContext,
    values: *mut ValRaw,
) {
    // SAFETY: the context heads a `HostFunction` in a store, of which nothing is borrowed here; wasm
    // called us with what the function takes. Where we or the function unwind, nothing of ours is
    // to be dropped.
    unsafe {
        let store = (*context).head.store.cast::<Store>();
        Store::count_host_call(store);
        if let Err(unwind) = hooks::cross(store, CallHook::CallingHost) {
            activation::unwind_with(store, unwind);
        }
        ((*context.cast::<HostFunction>()).call)(context, caller, values);
        if let Err(unwind) = hooks::cross(store, CallHook::ReturningFromHost) {
            activation::unwind_with(store, unwind);
        }
    }
}

/// # Safety
///
/// As for [`activation::unwind_with`].
#[cold]
unsafe fn fail(store: *mut Store, error: HostError) -> ! {
    // SAFETY: by contract.
    unsafe {
        let unwind = match error {
            HostError::Error(error) => Unwind::Host(error, Store::backtrace(store)),
            HostError::Cancelled => Unwind::Cancelled,
        };
        leave(store, Box::new(unwind))
    }
}

/// Leaves a host function that failed for the entry of wasm.
///
/// # Safety
///
/// As for [`activation::unwind_with`].
#[cold]
unsafe fn leave(store: *mut Store, unwind: Box<Unwind>) -> ! {
    // SAFETY: by contract.
    unsafe {
        let unwind = hooks::cross_failing(store, CallHook::ReturningFromHost, unwind);
        activation::unwind_with(store, unwind)
    }
}

/// Why a host function has no result.
pub(crate) enum HostError {
    /// It failed.
    Error(anyhow::Error),
    /// The future of the call that it is part of was dropped.
    Cancelled,
}
