//! A store's call hook.

use super::{Store, StoreInner};
use crate::trap::Trap;
use crate::vm;
use crate::vm::hooks::CallHook;

/// What the embedder wants to run at crossings.
pub(super) type Hook<T> = dyn FnMut(&mut T, CallHook) -> Result<(), Trap> + Send + Sync;

impl<T> Store<T> {
    /// Runs `hook` whenever control crosses the border between WebAssembly and the host, from now
    /// on: on every kind of call, start functions included. There is one hook: it replaces an
    /// earlier one.
    ///
    /// A call of a host function by the host goes through WebAssembly's way in and out, and crosses
    /// four times. Operators that the runtime helps with, such as `memory.grow`, do not cross;
    /// neither does a fiber that suspends or goes on.
    ///
    /// What a failure of the hook does depends on the crossing:
    ///
    /// * `CallingWasm`: it is the result of the call; WebAssembly is not entered.
    /// * `CallingHost`: the import traps with it; the host function is not called.
    /// * `ReturningFromHost`: the import traps with it, whatever the host function answered.
    /// * `ReturningFromWasm`: it is the result of the call, instead of its results or its trap.
    ///
    /// A crossing at which the hook succeeded is followed by one back, also while a trap or the
    /// panic of a host function leaves guests behind and while a call ends because its future
    /// was dropped. In the latter two cases failures of the hook on the way back are ignored.
    /// Where the future of a call is forgotten (`mem::forget`) there is no way back.
    ///
    /// A panic of the hook is like one of a host function: it goes on where the call is awaited,
    /// and replaces a panic that is on its way.
    ///
    /// ```
    /// use lampwick::{CallHook, Engine, Func, Store};
    ///
    /// # fn main() -> anyhow::Result<()> {
    /// let mut store = Store::new(&Engine::default(), Vec::new());
    /// store.call_hook(|crossings, crossing| {
    ///     crossings.push(crossing);
    ///     Ok(())
    /// });
    /// let func = Func::wrap(&mut store, || {});
    /// func.call(&mut store, &[])?;
    /// assert_eq!(store.data()[..2], [CallHook::CallingWasm, CallHook::CallingHost]);
    /// assert_eq!(store.data()[2..], [CallHook::ReturningFromHost, CallHook::ReturningFromWasm]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn call_hook(
        &mut self,
        hook: impl FnMut(&mut T, CallHook) -> Result<(), Trap> + Send + Sync + 'static,
    ) {
        self.inner.hook = Some(Box::new(hook));
        // SAFETY: the store has data of type `T`.
        unsafe { self.inner.vm.set_call_hook(run::<T>) };
    }
}

/// Runs the hook of a store with data of type `T`.
///
/// # Safety
///
/// `store` must be that of a [`StoreInner<T>`] of which nothing is borrowed.
unsafe fn run<T>(store: *mut vm::store::Store, crossing: CallHook) -> anyhow::Result<()> {
    // SAFETY: a store begins with what the pointer is to.
    let store = unsafe { &mut *store.cast::<StoreInner<T>>() };
    match &mut store.hook {
        Some(hook) => Ok(hook(&mut store.data, crossing)?),
        None => Ok(()),
    }
}
