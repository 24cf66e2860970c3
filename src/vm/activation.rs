//! One entry of wasm: from the call of its trampoline until it returned or was unwound.
//!
//! Each stack has at most one activation; a host function that calls wasm does so on a second
//! stack. The innermost activation of a store is `Store::activation`.

use std::sync::Arc;

use lampwick_fibers::Suspender;

use super::arch;
use super::backtrace::{self, Backtrace};
use super::exceptions::Thrown;
use super::layout::{TrapCode, VMFuncRef, VMStore, ValRaw};
use super::store::Store;

/// Why wasm was left without a result.
///
/// It travels in a box: a result of one word goes through the switch of stacks in a register, while
/// a larger one is copied with wide loads of what narrow stores have just written, which stalls.
#[derive(Debug)]
#[must_use]
pub(crate) enum Unwind {
    /// The guest trapped.
    Trap(TrapCode, Backtrace),
    /// The guest's fuel is gone.
    OutOfFuel(Backtrace),
    /// An exception of the guest's that nobody caught.
    Exception(Arc<Thrown>, Backtrace),
    /// A host function failed.
    Host(anyhow::Error, Backtrace),
    /// A host function panicked; the panic goes on in the poller.
    Panic(Box<dyn std::any::Any + Send>),
    /// The future of the call was dropped.
    Cancelled,
}

/// What the signal handler notes of a fault.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) pc: usize,
    pub(super) fp: usize,
    pub(super) code: TrapCode,
}

/// The most activations that a store may have at a time: each takes a stack, and a guest that calls
/// itself through the host picks how many.
const MAX_DEPTH: u32 = 128;

/// One entry of wasm. It lies in the frame of [`call`].
pub(crate) struct Activation {
    /// Where [`arch::unwind`] goes on, and with which stack pointer.
    pub(super) resume_pc: usize,
    pub(super) sp: usize,
    /// The stack pointer at the call of the enter trampoline: where wasm's frames begin.
    pub(super) entry_sp: usize,
    /// The store that the activation belongs to.
    pub(super) store: *mut Store,
    /// Bytes of stack that wasm frames may take.
    pub(super) max_wasm_stack: usize,
    /// The store's activation that waits for this one, or null, and how many there are.
    outer: *mut Activation,
    depth: u32,
    /// What this activation changes of the store, as it was before.
    saved: Saved,
    /// How frames on this fiber suspend it.
    pub(super) suspender: *const Suspender,
    /// Set by the signal handler before it diverts the thread.
    pub(super) fault: Option<Fault>,
    /// Set before unwinding.
    unwind: Option<Box<Unwind>>,
}

/// Where wasm of the outer activation called the host, and its stack limit.
#[derive(Clone, Copy)]
struct Saved {
    exit_fp: usize,
    exit_pc: usize,
    stack_limit: usize,
}

impl Saved {
    fn of(machine: &VMStore) -> Self {
        let &VMStore { exit_fp, exit_pc, stack_limit, .. } = machine;
        Self { exit_fp, exit_pc, stack_limit }
    }

    fn restore(self, machine: &mut VMStore) {
        let Self { exit_fp, exit_pc, stack_limit } = self;
        (machine.exit_fp, machine.exit_pc, machine.stack_limit) = (exit_fp, exit_pc, stack_limit);
    }
}

/// Where the wasm of a store's innermost activation began on its stack, if there is one.
///
/// # Safety
///
/// The store must be live.
#[inline]
pub(super) unsafe fn entry_sp(store: *const Store) -> Option<usize> {
    // SAFETY: activations of the store's list are live, or their stacks are for ever.
    unsafe { (*store).activation.as_ref().map(|activation| activation.entry_sp) }
}

/// Calls a function, on `stack` or, if that is null, on the current one. The results replace the
/// arguments.
///
/// # Safety
///
/// The function must belong to `store`, and `values` must hold arguments of its type and have room
/// for its results. The stack must have `max_wasm_stack` bytes left and a reserve for the host below
/// them; if it is another than the current one it must be unused below `stack`, which must be a
/// multiple of 16. Where the guest may suspend this must run on the fiber that `suspender`
/// suspends. No reference to anything in the store may be in use. The store must be the thread's
/// [current one](super::current).
#[inline(always)]
pub(crate) unsafe fn call(
    store: *mut Store,
    stack: *mut u8,
    suspender: *const Suspender,
    max_wasm_stack: usize,
    function: &VMFuncRef,
    values: *mut ValRaw,
) -> Result<(), Box<Unwind>> {
    // SAFETY: an outer activation is live: its wasm called the host, which called us; or its future
    // was forgotten, and then its stack was, too. No guest waits while its store is used.
    let (outer, depth, saved) = unsafe {
        let outer = (*store).activation;
        let depth = outer.as_ref().map_or(0, |outer| {
            (*store).forget_waiter();
            outer.depth + 1
        });
        (outer, depth, Saved::of(&(*store).machine))
    };
    if depth >= MAX_DEPTH {
        return Err(Box::new(Unwind::Trap(TrapCode::StackOverflow, Backtrace::new())));
    }
    let mut activation = Activation {
        resume_pc: 0,
        sp: 0,
        entry_sp: 0,
        store,
        max_wasm_stack,
        outer,
        depth,
        saved,
        suspender,
        fault: None,
        unwind: None,
    };
    let this = &raw mut activation;
    // SAFETY: the store is ours to use by contract; the pointer to the activation that is left in
    // it is taken back before this frame ends, since neither wasm nor `unwind` can leave it in
    // another way.
    unsafe {
        (*store).activation = this;
        (*store).has_run = true;
        let unwound =
            arch::enter(this, stack, function, values, &raw mut (*store).machine.stack_limit);
        (*this).saved.restore(&mut (*store).machine);
        (*store).activation = (*this).outer;
        if unwound {
            let unwind = (*this).unwind.take();
            return Err(unwind.expect("a reason is set before unwinding"));
        }
    }
    Ok(())
}

impl Activation {
    /// The frames of wasm below this activation, from the one that called the host.
    ///
    /// # Safety
    ///
    /// The host must have been called from wasm of this activation and not have returned.
    unsafe fn backtrace_from_exit(&self) -> Backtrace {
        // SAFETY: the store outlives its activations.
        let (pc, fp) = unsafe { ((*self.store).machine.exit_pc, (*self.store).machine.exit_fp) };
        // SAFETY: machine code wrote both when it called the host.
        unsafe { backtrace::walk(backtrace::Frame::call(pc), fp, self.entry_sp) }
    }
}

/// Leaves wasm for the innermost activation of `store`.
///
/// # Safety
///
/// Control must be in a host function or builtin that wasm of this activation called, and no
/// frame below `enter` may hold anything that is to be dropped.
#[cold]
pub(super) unsafe fn unwind_with(store: *mut Store, reason: Box<Unwind>) -> ! {
    // SAFETY: the activation is live because wasm of it called us.
    unsafe {
        Store::note_exit(store);
        let activation = (*store).activation;
        (*activation).unwind = Some(reason);
        arch::unwind(activation)
    }
}

/// The wasm frames that called the host function or builtin that is running.
///
/// # Safety
///
/// As for [`unwind_with`], but frames may hold anything.
pub(super) unsafe fn capture(store: *mut Store) -> Backtrace {
    // SAFETY: as above.
    unsafe { (*(*store).activation).backtrace_from_exit() }
}

/// Calls `visit` with the frames of wasm of all activations of a store, the innermost first: the
/// address to which the call returns that the frame is at, and its frame pointer.
///
/// # Safety
///
/// The store must be live, and nobody but `visit` may use it meanwhile; that may suspend the fiber.
pub(super) unsafe fn for_each_frame<E>(
    store: *const Store,
    mut visit: impl FnMut(usize, usize) -> Result<(), E>,
) -> Result<(), E> {
    // SAFETY: by contract.
    let (mut exit, mut activation) = unsafe { (Saved::of(&(*store).machine), (*store).activation) };
    while !activation.is_null() {
        // SAFETY: activations of the store's list are live, or their futures were forgotten and with
        // them their stacks, which are never used again nor given back. Who has the store is the
        // host: the wasm of each activation has called it, and left where it was either in the store
        // or, when the next activation was entered, in that.
        unsafe {
            let Activation { entry_sp, saved, outer, .. } = &*activation;
            for (pc, fp) in backtrace::frames(exit.exit_pc, exit.exit_fp, *entry_sp) {
                visit(pc, fp)?;
            }
            exit = *saved;
            activation = *outer;
        }
    }
    Ok(())
}

/// Where the signal handler lets a thread go on after a fault in wasm: on the fiber's stack, below
/// the frame that faulted, which has the whole host reserve to offer.
///
/// # Safety
///
/// `activation` must be the thread's current one, with its fault set.
pub(super) unsafe extern "C" fn after_fault(activation: *mut Activation) -> ! {
    // SAFETY: wasm frames of this activation are what is above us, and they hold nothing to drop.
    unsafe {
        let fault = (*activation).fault.take().expect("set by the signal handler");
        Store::note_frame((*activation).store, fault.fp);
        let backtrace =
            backtrace::walk(backtrace::Frame::exact(fault.pc), fault.fp, (*activation).entry_sp);
        (*activation).unwind = Some(Box::new(Unwind::Trap(fault.code, backtrace)));
        arch::unwind(activation)
    }
}

/// The activation whose wasm called a host function that is running.
#[derive(Clone, Copy)]
pub(super) struct Exit(*mut Activation);

impl Exit {
    /// # Safety
    ///
    /// Wasm of the store's innermost activation must just have called the host.
    #[inline]
    pub(super) unsafe fn of(store: *mut Store) -> Self {
        // SAFETY: the store outlives its activations.
        Self(unsafe { (*store).activation })
    }

    /// How the host function suspends the fiber of the wasm that called it.
    pub(super) fn suspender(&self) -> *const Suspender {
        // SAFETY: the activation's wasm called the host, so it is live.
        unsafe { (*self.0).suspender }
    }

    /// Undoes what nested calls have left whose futures were forgotten unfinished.
    ///
    /// # Safety
    ///
    /// The host function must be about to end, and nothing of the store may be borrowed.
    #[inline]
    pub(super) unsafe fn restore(self, store: *mut Store) {
        // SAFETY: by contract.
        unsafe {
            if (*store).activation != self.0 {
                self.restore_forgotten(store);
            }
        }
    }

    /// # Safety
    ///
    /// As for [`Self::restore`].
    #[cold]
    unsafe fn restore_forgotten(self, store: *mut Store) {
        // SAFETY: the stacks of forgotten calls are never used again nor given back, so that their
        // activations can be read; the outermost of them was entered by our host function.
        unsafe {
            let mut nested = (*store).activation;
            while (*nested).outer != self.0 {
                nested = (*nested).outer;
            }
            (*nested).saved.restore(&mut (*store).machine);
            (*store).activation = self.0;
            (*store).forget_waiter();
        }
    }
}
