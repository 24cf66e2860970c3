//! Faults of guests: a signal handler that turns them into traps.
//!
//! The handler runs on an alternate stack that each thread gets from us, because a fiber's stack
//! says nothing of how much of it is left. It looks up the interrupted instruction among the trap
//! sites of the code of the store that is running, reads the fuel counter out of the registers, and
//! lets the thread go on in `activation::after_fault`. Whatever is no trap of a guest goes to the
//! handler that was there before ours. A store may have a handler of the embedder's, which is asked
//! before all that.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use super::activation::{self, Fault};
use super::arch::Registers;
use super::current;

/// What an embedder wants to be asked first; it answers whether the interrupted instruction can go
/// on.
pub(crate) type Handler =
    Box<dyn Fn(libc::c_int, *const libc::siginfo_t, *const libc::c_void) -> bool + Send + Sync>;

const SIGNALS: [libc::c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];

/// The handlers that were there before ours, in the order of [`SIGNALS`].
static mut PREVIOUS: [MaybeUninit<libc::sigaction>; SIGNALS.len()] =
    [const { MaybeUninit::uninit() }; SIGNALS.len()];
static INSTALLED: AtomicBool = AtomicBool::new(false);

/// Installs the handlers, once for each process.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for (index, &signal) in SIGNALS.iter().enumerate() {
            // SAFETY: a zeroed `sigaction` is valid and is then filled; `PREVIOUS` is written here
            // only, once, before its flag is set.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                // No SA_NODEFER: a fault of the handler itself must end the process.
                action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
                action.sa_sigaction = handle as *const () as usize;
                libc::sigemptyset(&mut action.sa_mask);
                let previous = (&raw mut PREVIOUS[index]).cast();
                assert_eq!(
                    libc::sigaction(signal, &action, previous),
                    0,
                    "sigaction({signal}) failed: {}",
                    std::io::Error::last_os_error(),
                );
            }
        }
        INSTALLED.store(true, Ordering::Release);
    });
}

unsafe extern "C" fn handle(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: these are the arguments of the running handler.
    unsafe {
        if !ask_store(signal, info, context) && !handle_trap(context) {
            forward(signal, info, context);
        }
    }
}

/// Asks the handler of the store whose wasm, or whose host function, runs on this thread.
///
/// # Safety
///
/// The arguments must be those of the running signal handler.
unsafe fn ask_store(
    signal: libc::c_int,
    info: *const libc::siginfo_t,
    context: *const libc::c_void,
) -> bool {
    let store = current::current();
    if store.is_null() {
        return false;
    }
    // SAFETY: the thread's current store is live, and its handler changes only while no wasm runs:
    // that takes the store itself, which the call of wasm borrows.
    let handler = unsafe { &(*store).signal_handler };
    handler.as_ref().is_some_and(|handler| handler(signal, info, context))
}

/// Diverts the thread if it faulted at a trap site of the guest that it runs. Answers whether it
/// did.
///
/// # Safety
///
/// `context` must be the argument of the running signal handler.
unsafe fn handle_trap(context: *mut libc::c_void) -> bool {
    let store = current::current();
    if store.is_null() {
        return false;
    }
    // SAFETY: by contract.
    let mut registers = unsafe { Registers::new(context) };
    let (pc, fp) = (registers.pc(), registers.fp());
    // SAFETY: the thread's current store is live, and its code map is whole at every moment; its
    // fields change only while the host runs, whose program counter is in no code. Wasm runs in
    // the store's innermost activation.
    let activation = unsafe {
        let Some(site) = (*store).code.trap_site(pc) else { return false };
        if let Some(fuel) = registers.fuel(site.fuel) {
            (*store).machine.fuel = fuel;
        }
        let activation = (*store).activation;
        (*activation).fault = Some(Fault { pc, fp, code: site.code });
        activation
    };
    registers.divert(activation::after_fault, activation);
    true
}

/// Lets the previous handler have the signal.
///
/// # Safety
///
/// The arguments must be those of the running signal handler.
unsafe fn forward(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let Some(index) = SIGNALS.iter().position(|&ours| ours == signal) else { return };
    if !INSTALLED.load(Ordering::Acquire) {
        return;
    }
    // SAFETY: the flag says that the entry is written; the previous handler is called as the kernel
    // would.
    unsafe {
        let previous = &*(&raw const PREVIOUS[index]).cast::<libc::sigaction>();
        match previous.sa_sigaction {
            libc::SIG_DFL | libc::SIG_IGN => {
                // The instruction runs again and meets the default action, which ends the process.
                libc::sigaction(signal, previous, ptr::null_mut());
            }
            handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
                let handler: unsafe extern "C" fn(
                    libc::c_int,
                    *mut libc::siginfo_t,
                    *mut libc::c_void,
                ) = std::mem::transmute(handler);
                handler(signal, info, context);
            }
            handler => {
                let handler: unsafe extern "C" fn(libc::c_int) = std::mem::transmute(handler);
                handler(signal);
            }
        }
    }
}

/// The size of the alternate stack; the kernel's frame with AVX-512 state takes about 4 KiB of it.
const ALTERNATE_STACK: usize = 64 << 10;

/// A thread's alternate signal stack; given back when the thread ends.
struct AlternateStack(Option<Box<[MaybeUninit<u8>]>>);

thread_local! {
    static STACK: Result<AlternateStack, FailedInstall> = AlternateStack::install();
}

/// Why a thread has no alternate stack.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the system refused an alternate signal stack: {}", io::Error::from_raw_os_error(*.0))]
pub(crate) struct FailedInstall(i32);

impl FailedInstall {
    fn last() -> Self {
        Self(io::Error::last_os_error().raw_os_error().unwrap_or_default())
    }
}

/// Gives this thread an alternate stack, if it has none of at least that size. Answers whether it has one:
/// a thread that is ending gets none any more.
///
/// # Errors
///
/// Fails if the system refuses one.
pub(super) fn give_stack() -> Result<bool, FailedInstall> {
    // Forces the lazily made stack.
    let stack = STACK.try_with(|stack| stack.as_ref().map(drop).map_err(|error| *error));
    stack.map_or(Ok(false), |made| made.map(|()| true))
}

impl AlternateStack {
    fn install() -> Result<Self, FailedInstall> {
        let mut old = MaybeUninit::<libc::stack_t>::uninit();
        // SAFETY: only queries.
        let old = unsafe {
            if libc::sigaltstack(ptr::null(), old.as_mut_ptr()) != 0 {
                return Err(FailedInstall::last());
            }
            old.assume_init()
        };
        if old.ss_flags & libc::SS_DISABLE == 0 && old.ss_size >= ALTERNATE_STACK {
            return Ok(Self(None));
        }
        let mut memory = Box::new_uninit_slice(ALTERNATE_STACK);
        let stack = libc::stack_t {
            ss_sp: memory.as_mut_ptr().cast(),
            ss_flags: 0,
            ss_size: ALTERNATE_STACK,
        };
        // SAFETY: the memory is kept until the thread ends, when it is no longer the alternate
        // stack.
        match unsafe { libc::sigaltstack(&stack, ptr::null_mut()) } {
            0 => Ok(Self(Some(memory))),
            _ => Err(FailedInstall::last()),
        }
    }
}

impl Drop for AlternateStack {
    fn drop(&mut self) {
        if self.0.is_some() {
            let disable = libc::stack_t {
                ss_sp: ptr::null_mut(),
                ss_flags: libc::SS_DISABLE,
                ss_size: ALTERNATE_STACK,
            };
            // SAFETY: the thread is ending and runs no guest any more.
            unsafe { libc::sigaltstack(&disable, ptr::null_mut()) };
        }
    }
}
