//! The account of one call: opened when the call begins, kept in each poll, closed when it is over.
//!
//! A call without an account is told by one byte of its future, and pays for nothing else. What is
//! here runs on the stack of whoever polls, outside of the guest's fiber.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use super::span::CallSpan;
use super::{CallEnd, CallReport, StoreInner};
use crate::config::Reader;
use crate::vm::accounts::Turn;
use crate::vm::activation;

/// The account of a call, if its store has one.
pub(super) struct CallAccount {
    kind: Kind,
    span: CallSpan,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    NotKept,
    /// The host's call, which is reported.
    OfHost,
    /// The call of a host function that serves a guest of the same store: part of the host's call.
    Nested,
}

impl<T> StoreInner<T> {
    /// The account of a call that begins.
    #[inline]
    pub(super) fn open_account(&mut self) -> CallAccount {
        match self.vm.accounts {
            None => CallAccount { kind: Kind::NotKept, span: CallSpan::NONE },
            Some(_) => self.open_kept_account(),
        }
    }

    #[cold]
    fn open_kept_account(&mut self) -> CallAccount {
        let (fuel, slices) = self.burned();
        let kind = match &mut self.vm.accounts {
            Some(accounts) if accounts.in_turn() => Kind::Nested,
            Some(accounts) => {
                accounts.begin_call(fuel, slices);
                Kind::OfHost
            }
            None => Kind::NotKept,
        };
        CallAccount { kind, span: CallSpan::new(&self.name, fuel) }
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
    #[inline]
    pub(super) fn is_kept(&self) -> bool {
        self.kind != Kind::NotKept
    }

    /// As [`activation::run`]: a poll, or a whole synchronous call.
    ///
    /// # Safety
    ///
    /// The store must be live; outside of `enter` nothing of it may be borrowed.
    pub(super) unsafe fn run<T, R>(
        &self,
        store: *mut StoreInner<T>,
        enter: impl FnOnce() -> R,
    ) -> R {
        let _entered = self.span.enter();
        // SAFETY: by contract; a store begins with what `Turn` and `run` are given.
        unsafe {
            let parks = (*store).parks();
            let result = {
                let _turn = Turn::begin(store.cast());
                activation::run(store.cast(), enter)
            };
            if (*store).parks() != parks {
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
    pub(super) fn close<T>(&self, store: &StoreInner<T>, end: CallEnd) {
        self.span.ended(&store.name, store.burned().0, end);
        if self.kind == Kind::OfHost
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
