//! The memory that functions may take while they are compiled.
//!
//! What a function takes is known only when it is translated. So it is admitted with a guess from
//! its length, and where translation finds that it takes more, all of it is dropped and the
//! function admitted anew with more. Nobody waits while holding a grant, so that all end.

use std::sync::{Condvar, Mutex, MutexGuard};

use anyhow::{Result, bail};

use super::Compiler;
use super::code::{Code, Failure};
use super::env::ModuleScope;
use super::function::{Worker, describe};
use super::parse::Body;

/// What most functions take for each byte of their body.
const BYTES_PER_BYTE: u64 = 2000;

/// What the smallest take.
const LEAST: u64 = 256 << 10;

/// A worker that was granted more than this does not keep its allocations for the next function.
const KEPT: u64 = 1 << 20;

/// The same without a bound, for the length of a body: what the largest function took must not stay
/// with its thread while the rest of the module is compiled.
const KEPT_BODY: u64 = 64 << 10;

/// Memory for all that an engine compiles at a time.
pub(super) struct Budget {
    bound: Option<u64>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    used: u64,
    /// Those who wait are served as they came, so that no large function waits forever.
    next_ticket: u64,
    serving: u64,
}

/// Memory that is given back when this is dropped.
struct Grant<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Budget {
    pub(super) fn new(bound: Option<u64>) -> Self {
        Self { bound, state: Mutex::default(), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with the lock")
    }

    /// Waits until `bytes`, which must be within `bound`, are left.
    fn take(&self, bytes: u64, bound: u64) -> Grant<'_> {
        let mut state = self.lock();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        let waits = |state: &mut State| state.serving != ticket || state.used + bytes > bound;
        state = self.changed.wait_while(state, waits).expect("nobody panics with the lock");
        state.serving += 1;
        state.used += bytes;
        drop(state);
        self.changed.notify_all();
        Grant { budget: self, bytes }
    }
}

impl Drop for Grant<'_> {
    fn drop(&mut self) {
        self.budget.lock().used -= self.bytes;
        self.budget.changed.notify_all();
    }
}

impl Compiler {
    /// Compiles a function within the budget.
    pub(super) fn compile_body(
        &self,
        worker: &mut Worker,
        module: &ModuleScope<'_>,
        body: &Body<'_>,
    ) -> Result<Code> {
        let function = body.validator.index;
        let Some(bound) = self.budget.bound else {
            let result = worker.compile(&self.targets, module, body, None);
            if body.len() > KEPT_BODY {
                *worker = Worker::default();
            }
            return result.map_err(|failure| failure.in_function(module, function));
        };
        let mut bytes = (body.len() * BYTES_PER_BYTE).max(LEAST).min(bound);
        loop {
            let grant = self.budget.take(bytes, bound);
            let result = worker.compile(&self.targets, module, body, Some(bytes));
            if bytes > KEPT || result.is_err() {
                *worker = Worker::default();
            }
            drop(grant);
            match result {
                Err(Failure::Memory) if bytes < bound => bytes = (bytes * 2).min(bound),
                Err(Failure::Memory) => bail!(
                    "{}: it takes more memory than the {bound} bytes of `Config::compilation_memory`",
                    describe(module, function)
                ),
                result => return result.map_err(|failure| failure.in_function(module, function)),
            }
        }
    }
}

impl Failure {
    fn in_function(self, module: &ModuleScope<'_>, function: u32) -> anyhow::Error {
        self.into_error().context(describe(module, function))
    }
}
