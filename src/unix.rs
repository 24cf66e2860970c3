//! What there is on Unix only.

use crate::store::{AsContextMut, Store};

/// What a [`Store`] can do on Unix only.
pub trait StoreExt {
    /// Has `handler` asked first about each of the signals `SIGSEGV`, `SIGBUS`, `SIGILL` and
    /// `SIGFPE` that is raised on a thread while it runs this store's wasm, or something that
    /// this wasm called: a host function, or the runtime on behalf of an operator such as
    /// `memory.fill`. Replaces an earlier handler.
    ///
    /// `handler` gets what a handler with `SA_SIGINFO` gets: the signal's number, the `siginfo_t`,
    /// and the context (a `ucontext_t`), which it may change.
    ///
    /// * If it answers `true`, the thread goes on with the instruction that was interrupted, or
    ///   with what the handler made of the context. If the cause is still there, the signal is
    ///   raised again at once, for ever.
    /// * If it answers `false`, the signal is looked at as if there were no handler: a fault of the
    ///   guest becomes a trap, any other goes to the handler that the process had before.
    ///
    /// If a host function calls wasm of another store, that store's handler is asked meanwhile. No
    /// handler is asked where no wasm is being called: before and after a call, and while the
    /// future of one is not being polled.
    ///
    /// A guest decides when its faults happen, how often, and where in its memory.
    ///
    /// ```
    /// use lampwick::Store;
    /// use lampwick::unix::StoreExt;
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU32, Ordering};
    ///
    /// let mut store = Store::<()>::default();
    /// let faults = Arc::new(AtomicU32::new(0));
    /// let count = faults.clone();
    /// // SAFETY: the handler only adds to an atomic number.
    /// unsafe {
    ///     store.set_signal_handler(move |_signal, _info, _context| {
    ///         count.fetch_add(1, Ordering::Relaxed);
    ///         false
    ///     });
    /// }
    /// ```
    ///
    /// # Safety
    ///
    /// The handler runs in a signal handler, on any thread that runs the store, on an alternate
    /// stack of 64 KiB or more, with the signal blocked. It must:
    ///
    /// * do only what is async-signal-safe: take no lock and allocate nothing, since the thread
    ///   may have been interrupted in the middle of either;
    /// * return: neither panic (which ends the process) nor jump out;
    /// * raise none of the signals above (which ends the process);
    /// * not touch the store, nor anything that its wasm or the interrupted host function is
    ///   changing;
    /// * answer `true` only if going on is sound: above all, it must not make memory accessible
    ///   that a guest must not see.
    unsafe fn set_signal_handler<H>(&mut self, handler: H)
    where
        H: 'static
            + Fn(libc::c_int, *const libc::siginfo_t, *const libc::c_void) -> bool
            + Send
            + Sync;
}

impl<T> StoreExt for Store<T> {
    unsafe fn set_signal_handler<H>(&mut self, handler: H)
    where
        H: 'static
            + Fn(libc::c_int, *const libc::siginfo_t, *const libc::c_void) -> bool
            + Send
            + Sync,
    {
        self.as_context_mut().0.vm.signal_handler = Some(Box::new(handler));
    }
}
