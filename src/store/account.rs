//! The account of one call: opened when the call begins, kept in each poll, closed when it is over.
//!
//! Calls come here that are not straight ([`is_straight`](current::is_straight)). What is here runs on
//! the stack of whoever polls, outside of the guest's fiber.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::task::{Context, Poll};
use std::thread;

use super::call::{Invocation, OnFiber};
use super::span::CallSpan;
use super::{CallEnd, CallReport, StoreInner};
use crate::config::Reader;
use crate::vm::accounts::Turn;
use crate::vm::activation::Unwind;
use crate::vm::current;

/// The account of a call.
pub(super) struct CallAccount {
    /// The call of a host function that serves a guest of the same store is part of the host's call,
    /// which alone is reported.
    is_nested: bool,
    span: CallSpan,
}

impl<T> StoreInner<T> {
    /// As [`Self::call_on`], on whatever thread and in whatever store.
    ///
    /// # Safety
    ///
    /// As for [`Self::call_on`].
    #[inline(never)]
    pub(super) unsafe fn call_watched(
        &mut self,
        stack: *mut u8,
        invocation: Invocation,
    ) -> Result<(), Box<Unwind>> {
        current::prepare_thread();
        if self.vm.accounts.is_none() {
            // SAFETY: by contract.
            return unsafe { self.call_on(stack, invocation) };
        }
        let account = self.open_account();
        let store = ptr::from_mut(self);
        // SAFETY: by contract; the store is ours, and nothing of it is borrowed.
        let result = unsafe { account.run(store, || (*store).call_on(stack, invocation)) };
        account.close(self, CallEnd::of(&result));
        result
    }

    /// The account of a call that begins.
    fn open_account(&mut self) -> CallAccount {
        let (fuel, slices) = self.burned();
        let mut is_nested = false;
        if let Some(accounts) = &mut self.vm.accounts {
            is_nested = accounts.in_turn();
            if !is_nested {
                accounts.begin_call(fuel, slices);
            }
        }
        CallAccount { is_nested, span: CallSpan::new(&self.name, fuel) }
    }

    fn parks(&self) -> u64 {
        self.vm.accounts.as_ref().map_or(0, |accounts| accounts.call.parks)
    }

    /// The account of the host's last call.
    fn report(&self, end: CallEnd) -> Option<CallReport<'_>> {
        let accounts = self.vm.accounts.as_ref()?;
        let (fuel, slices) = self.burned();
        let burned = accounts.since_call_began(fuel, slices);
        Some(CallReport { guest: &self.name, end, stats: self.stats_of(accounts.call, burned) })
    }
}

impl CallAccount {
    /// Lets guests run in `enter`: in a poll, or in a whole synchronous call.
    ///
    /// # Safety
    ///
    /// The store must be live; outside of `enter` nothing of it may be borrowed.
    #[inline(always)]
    unsafe fn run<T, R>(&self, store: *mut StoreInner<T>, enter: impl FnOnce() -> R) -> R {
        let _entered = self.span.enter();
        // SAFETY: by contract; a store begins with what `Turn` is given.
        unsafe {
            let parks = (*store).parks();
            let result = {
                let _turn = Turn::begin(store.cast());
                enter()
            };
            if cfg!(feature = "tracing") && (*store).parks() != parks {
                self.span.parked(&(*store).name, (*store).burned().0);
            }
            result
        }
    }

    /// Closes the account: the call is over.
    ///
    /// # Panics
    ///
    /// With the panic of the embedder's reader, unless the thread is unwinding already.
    fn close<T>(&self, store: &StoreInner<T>, end: CallEnd) {
        self.span.ended(&store.name, store.burned().0, end);
        if !self.is_nested
            && let Some(reader) = &store.engine.config().accounts.reader
            && let Some(report) = store.report(end)
        {
            read(reader, &report);
        }
    }
}

/// A second panic of a thread that unwinds would end the process.
fn read(reader: &Reader, report: &CallReport<'_>) {
    if !thread::panicking() {
        reader.read(report);
    } else if let Err(panic) = catch_unwind(AssertUnwindSafe(|| reader.read(report))) {
        // Its drop may panic, too.
        std::mem::forget(panic);
    }
}

impl<R, T> OnFiber<R, T>
where
    R: Future<Output = Result<(), Box<Unwind>>>,
{
    /// As [`resume`](Self::resume), on whatever thread and in whatever store.
    ///
    /// # Safety
    ///
    /// As for [`resume`](Self::resume).
    // In line: behind a switch of stacks processors do not foresee where functions return to, so that
    // each that there is one more takes as long as half of the rest.
    #[inline(always)]
    pub(super) unsafe fn resume_watched(&mut self, cx: &mut Context<'_>) -> Poll<R::Output> {
        current::prepare_thread();
        let store = self.store;
        // SAFETY: by contract; whoever made the call lent us the store, of which nothing is borrowed.
        unsafe {
            if (*store).vm.accounts.is_none() {
                return current::run_prepared(store.cast(), || self.resume(cx));
            }
            let account = self.account.take().unwrap_or_else(|| (*store).open_account());
            let enter = || current::run_prepared(store.cast(), || self.resume(cx));
            let poll = account.run(store, enter);
            match &poll {
                Poll::Pending => *self.account = Some(account),
                Poll::Ready(result) => account.close(&*store, CallEnd::of(result)),
            }
            poll
        }
    }
}

impl<R, T> OnFiber<R, T> {
    /// As [`drop_run`](Self::drop_run), in a store that has an account.
    pub(super) fn drop_accounted(&mut self) {
        let store = self.store;
        let Some(account) = self.account.take() else { return self.drop_run() };
        // SAFETY: the store is lent to us until we are gone, and nothing of it is borrowed.
        let dropped =
            catch_unwind(AssertUnwindSafe(|| unsafe { account.run(store, || self.drop_run()) }));
        // SAFETY: as above.
        account.close(unsafe { &*store }, CallEnd::Dropped);
        dropped.unwrap_or_else(|panic| resume_unwind(panic));
    }
}
