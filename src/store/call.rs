//! Calling wasm: with a future, on the store's resident fiber, or without, on that fiber's stack.
//!
//! The way of an async call, from the outside in: the poll of [`OnFiber`] makes the store the
//! thread's current one and resumes the fiber (`lampwick_fibers`); on it, `vm::activation::call`
//! enters machine code through the trampoline of the function's type. A synchronous call needs no
//! fiber, only its stack, to which `vm::activation::call` leads wasm itself.

use std::future::Future;
use std::mem::ManuallyDrop;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::slice;
use std::task::{Context, Poll};

use lampwick_fibers::{Resident, Suspender};

use super::StoreInner;
use super::account::CallAccount;
use crate::exceptions::Exception;
use crate::trap::{FrameInfo, Trap};
use crate::vm::activation::{self, Unwind};
use crate::vm::backtrace::Backtrace;
use crate::vm::current;
use crate::vm::hooks::{self, CallHook};
use crate::vm::layout::{VMFuncRef, ValRaw};
use crate::vm::pace::Pace;
use crate::vm::store;

/// A function and the place of its arguments, which its results replace.
#[derive(Clone, Copy)]
pub(crate) struct Invocation {
    pub(crate) function: NonNull<VMFuncRef>,
    pub(crate) values: *mut ValRaw,
}

// SAFETY: whoever makes the call owns the values, and has the store to which the function belongs.
unsafe impl Send for Invocation {}

/// What a call hands to the fiber.
struct Job {
    store: *mut store::Store,
    max_wasm_stack: usize,
    invocation: Invocation,
}

// SAFETY: the call's future borrows the store for as long as the job exists.
unsafe impl Send for Job {}
// SAFETY: as above; only the thread that runs the fiber follows the pointers.
unsafe impl Sync for Job {}

impl Job {
    /// Enters wasm on `stack`, or on the current one if that is null, in a store without a call hook.
    ///
    /// # Safety
    ///
    /// As for [`activation::call`].
    #[inline(always)]
    unsafe fn enter(&self, stack: *mut u8, suspender: &Suspender) -> Result<(), Box<Unwind>> {
        let &Self { store, max_wasm_stack, invocation: Invocation { function, values } } = self;
        // SAFETY: by contract; functions live as long as their store.
        unsafe {
            activation::call(store, stack, suspender, max_wasm_stack, function.as_ref(), values)
        }
    }

    /// As [`Self::enter`], with the store's call hook if it has one.
    ///
    /// # Safety
    ///
    /// As for [`activation::call`].
    #[inline(always)]
    unsafe fn run(&self, stack: *mut u8, suspender: &Suspender) -> Result<(), Box<Unwind>> {
        let &Self { store, max_wasm_stack, invocation: Invocation { function, values } } = self;
        // SAFETY: by contract; functions live as long as their store, of which nothing is borrowed
        // here.
        unsafe {
            match store::Store::call_hook(store) {
                None => self.enter(stack, suspender),
                Some(_) => {
                    let function = function.as_ref();
                    call_hooked(store, stack, suspender, max_wasm_stack, function, values)
                }
            }
        }
    }
}

/// [`activation::call`] between the crossings of a store's call hook. Its arguments go in registers,
/// so that a call without a hook need not put them into memory for it.
///
/// # Safety
///
/// As for [`activation::call`].
#[cold]
#[inline(never)]
unsafe fn call_hooked(
    store: *mut store::Store,
    stack: *mut u8,
    suspender: &Suspender,
    max_wasm_stack: usize,
    function: &VMFuncRef,
    values: *mut ValRaw,
) -> Result<(), Box<Unwind>> {
    // SAFETY: by contract; nothing of the store is borrowed here.
    unsafe {
        hooks::cross(store, CallHook::CallingWasm)?;
        match activation::call(store, stack, suspender, max_wasm_stack, function, values) {
            Ok(()) => hooks::cross(store, CallHook::ReturningFromWasm),
            Err(unwind) => Err(hooks::cross_failing(store, CallHook::ReturningFromWasm, unwind)),
        }
    }
}

/// Lets a panic leave the drop of a future, where nobody will look at the result.
#[cold]
fn leave(unwind: Unwind, suspender: &Suspender) -> Box<Unwind> {
    match unwind {
        Unwind::Panic(payload) if suspender.is_cancelled() => resume_unwind(payload),
        unwind => Box::new(unwind),
    }
}

impl Job {
    /// The same on the suspender's fiber, with so many arguments, among which are references: others
    /// may have to be collected first.
    ///
    /// # Safety
    ///
    /// As for [`Self::run`].
    #[inline(never)]
    unsafe fn run_beside(
        &self,
        arguments: usize,
        suspender: &Suspender,
    ) -> Result<(), Box<Unwind>> {
        let store = self.store;
        // SAFETY: by contract; so many arguments are initialized.
        unsafe {
            if (*store).is_full(0) {
                let arguments = slice::from_raw_parts(self.invocation.values, arguments);
                let mut pace = Pace::new(suspender);
                let collected = store::Store::collect_beside(store, arguments, &mut pace);
                collected.map_err(|_cancelled| Box::new(Unwind::Cancelled))?;
            }
            self.run(ptr::null_mut(), suspender)
        }
    }
}

impl<T> StoreInner<T> {
    /// A fiber for the next call.
    #[inline]
    pub(super) fn take_fiber(&mut self) -> Result<Box<Resident>, Trap> {
        match self.fiber.take() {
            Some(fiber) => Ok(fiber),
            None => self.new_fiber(),
        }
    }

    #[cold]
    fn new_fiber(&self) -> Result<Box<Resident>, Trap> {
        match self.engine.stacks().take() {
            Ok(stack) => Ok(Box::new(Resident::new(stack))),
            Err(error) => Err(anyhow::Error::new(error).context("no stack for a guest").into()),
        }
    }

    fn job(&mut self, invocation: Invocation) -> Job {
        let max_wasm_stack = self.engine.config().max_wasm_stack;
        Job { store: &raw mut self.vm, max_wasm_stack, invocation }
    }

    /// Calls a function and waits for it.
    ///
    /// # Safety
    ///
    /// The function must belong to this store, and `values` must hold arguments of its type and
    /// have room for its results.
    pub(crate) unsafe fn call(&mut self, invocation: Invocation) -> Result<(), Trap> {
        let fiber = self.take_fiber()?;
        let stack = fiber.unused_top();
        // SAFETY: by contract; the fiber is idle, and nobody else has it meanwhile.
        let result = unsafe {
            if current::is_straight(&self.vm) {
                let job = self.job(invocation);
                current::run_straight(job.store, || job.enter(stack, Suspender::blocking()))
            } else {
                self.call_watched(stack, invocation)
            }
        };
        self.fiber = Some(fiber);
        result.map_err(|unwind| self.trap(*unwind))
    }

    /// Calls a function on a stack, below this address, with the store's call hook if it has one.
    ///
    /// # Safety
    ///
    /// As for [`Self::call`]; the stack must be one of the engine's that nobody uses, and the thread
    /// prepared for signals.
    #[inline(always)]
    pub(super) unsafe fn call_on(
        &mut self,
        stack: *mut u8,
        invocation: Invocation,
    ) -> Result<(), Box<Unwind>> {
        let job = self.job(invocation);
        // SAFETY: by contract.
        current::run_prepared(job.store, || unsafe { job.run(stack, Suspender::blocking()) })
    }

    /// Calls a function on a fiber that suspends with the future. If there are references to values of
    /// the host among the arguments, `references` is how many arguments there are, and else zero.
    ///
    /// # Safety
    ///
    /// As for [`Self::call`], for as long as the future exists.
    // No `async fn`, whose future would hold each parameter twice; and gives the store back, which
    // need not be in the caller's future, too.
    pub(crate) unsafe fn call_async(
        &mut self,
        invocation: Invocation,
        references: usize,
    ) -> impl Future<Output = Result<&mut Self, Trap>> + Send + use<'_, T>
    where
        T: Send,
    {
        let job = self.job(invocation);
        async move {
            let mut fiber = self.take_fiber()?;
            // SAFETY: by contract, the job runs on this fiber; what is held on it across a suspension
            // is the job, wasm's frames, and futures of host functions, which are `Send`.
            let run = unsafe {
                // By reference: one word goes to the fiber in a register, while more are copied with
                // wide loads of what narrow stores have just written, which stalls.
                fiber.run_send(|suspender| {
                    let result = match references {
                        0 => job.run(ptr::null_mut(), suspender),
                        _ => job.run_beside(references, suspender),
                    };
                    result.map_err(|unwind| leave(*unwind, suspender))
                })
            };
            let result = OnFiber::new(run, ptr::from_mut(self)).await;
            self.fiber = Some(fiber);
            match result {
                Ok(()) => Ok(self),
                Err(unwind) => Err(self.trap(*unwind)),
            }
        }
    }

    /// What the caller is told of an unwinding.
    ///
    /// # Panics
    ///
    /// Goes on with the panic of a host function.
    #[cold]
    fn trap(&mut self, unwind: Unwind) -> Trap {
        let (trap, backtrace) = match unwind {
            Unwind::Trap(code, backtrace) => (Trap::from_code(code), backtrace),
            Unwind::OutOfFuel(backtrace) => (Trap::out_of_fuel(), backtrace),
            Unwind::Exception(thrown, backtrace) => {
                let exception = Exception::new(&self.vm, &thrown);
                self.vm.exceptions.as_mut().expect("there is a tag").let_go(thrown);
                (Trap::from(anyhow::Error::new(exception)), backtrace)
            }
            Unwind::Host(error, backtrace) => (Trap::from(error), backtrace),
            Unwind::Panic(payload) => resume_unwind(payload),
            // A dropped future has nobody to tell. This is for one that is polled by a thread which
            // unwinds from a panic, where a fiber cannot suspend.
            Unwind::Cancelled => (Trap::new("the call was cancelled"), Backtrace::new()),
        };
        trap.with_frames(self.frames(&backtrace))
    }

    /// The frames of a backtrace, with what their modules know of them.
    fn frames(&self, backtrace: &Backtrace) -> Vec<FrameInfo> {
        let info = |frame| self.modules.iter().find_map(|module| module.frame(frame));
        backtrace.iter().filter_map(info).collect()
    }

    /// Panics unless the store's engine is of this kind.
    pub(crate) fn assert_async(&self, is_async: bool, method: &str) {
        match (self.engine.is_async(), is_async) {
            (true, false) => panic!("must use `{method}_async` with an async store"),
            (false, true) => panic!(
                "cannot use `{method}_async` with a store whose engine is not async \
                 (see `Config::async_support`)"
            ),
            _ => {}
        }
    }
}

/// The future of a job: resumes its fiber with each poll, and once more if it is dropped
/// unfinished. Where that is not straight, it does so by way of `account.rs`.
pub(super) struct OnFiber<R, T> {
    /// Dropped unless it has finished, when it holds nothing more; its drop resumes the fiber.
    run: ManuallyDrop<R>,
    /// Null once it has finished.
    pub(super) store: *mut StoreInner<T>,
    /// That of the call while it is suspended.
    pub(super) account: ManuallyDrop<Option<CallAccount>>,
}

// SAFETY: the pointer is only handed to the thread that runs the fiber, and followed by it; stores
// are `Send` here.
unsafe impl<R: Send, T: Send> Send for OnFiber<R, T> {}

impl<R, T> OnFiber<R, T> {
    fn new(run: R, store: *mut StoreInner<T>) -> Self {
        Self { run: ManuallyDrop::new(run), store, account: ManuallyDrop::new(None) }
    }

    /// Called once, by `drop`.
    #[cold]
    fn cancel(&mut self) {
        if self.account.is_some() { self.drop_accounted() } else { self.drop_run() }
    }

    /// Resumes the fiber once more. Called once, by `drop`.
    pub(super) fn drop_run(&mut self) {
        // SAFETY: dropped once, here, where it was pinned.
        let drop = || unsafe { ManuallyDrop::drop(&mut self.run) };
        current::run(self.store.cast(), drop);
        // Nobody else waits for what a guest has that goes no further, wherever it was.
        // SAFETY: the future borrows the store, and the call is over.
        unsafe { (*self.store).vm.give_fuel_back() };
    }
}

impl<R: Future, T> OnFiber<R, T> {
    /// Resumes the fiber.
    ///
    /// # Safety
    ///
    /// The future must be pinned, and this must be in a [`current::run_prepared`] with the store.
    #[inline(always)]
    pub(super) unsafe fn resume(&mut self, cx: &mut Context<'_>) -> Poll<R::Output> {
        // SAFETY: `run` is pinned with the whole.
        let poll = unsafe { Pin::new_unchecked(&mut *self.run) }.poll(cx);
        if poll.is_ready() {
            self.store = ptr::null_mut();
        }
        poll
    }
}

impl<R, T> Future for OnFiber<R, T>
where
    R: Future<Output = Result<(), Box<Unwind>>>,
{
    type Output = R::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R::Output> {
        // SAFETY: `run` is pinned with the whole; nothing else is.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: it is pinned; `call_async`, which alone makes these, awaits them, and so does not poll
        // one that has finished.
        // The call has borrowed the store, of which nothing else is borrowed.
        unsafe {
            if current::is_straight(&(*this.store).vm) {
                current::run_straight(this.store.cast(), || this.resume(cx))
            } else {
                this.resume_watched(cx)
            }
        }
    }
}

impl<R, T> Drop for OnFiber<R, T> {
    #[inline]
    fn drop(&mut self) {
        if !self.store.is_null() {
            self.cancel();
        }
    }
}
