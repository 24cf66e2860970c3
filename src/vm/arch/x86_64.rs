//! x86-64 on Linux.
//!
//! The stacks while a guest runs, high addresses first. For a guest that may suspend the two are
//! one, its fiber's; else the upper part is on the stack of whoever called it.
//!
//! ```text
//!   frame of `enter`          its asm block declares every register clobbered
//!   saved rbp, rbx            which a clobber cannot name
//!   ───────────────────────   Activation::sp
//!
//!   ───────────────────────   Activation::entry_sp
//!   return address            into `enter`
//!   frame of the enter trampoline
//!   frames of wasm functions  linked by rbp
//!   frame of a trap's handler, or of the host
//! ```
//!
//! A trap loads `rsp` from the activation and jumps to its `resume_pc`: everything below is gone,
//! as if the trampoline had returned. Only frames of wasm, trampolines, and those of our own
//! functions that hold nothing to be dropped are ever skipped.

mod checks;

use std::arch::asm;
use std::mem::offset_of;

use crate::vm::activation::Activation;
use crate::vm::layout::{FuelAt, PRESERVED, SavedRegisters, VMFuncRef, ValRaw};

pub(in crate::vm) use checks::{attending, load_fuel, refuelling, to_wasm, vectors};

/// Calls a function through its trampoline so that [`unwind`] can return in its place, on `stack`,
/// or on the current one if that is null. Answers whether [`unwind`] did.
///
/// It writes the stack limit, so that wasm has exactly the activation's `max_wasm_stack` whatever
/// lies above.
///
/// # Safety
///
/// `values` must be what the trampoline takes, and `limit` that of the store. Nothing may be in use
/// below `stack`, which must be a multiple of 16. The activation must stay where it is, and
/// [`unwind`] may be called with it only from below this frame.
#[inline(always)]
pub(in crate::vm) unsafe fn enter(
    activation: *mut Activation,
    stack: *mut u8,
    function: &VMFuncRef,
    values: *mut ValRaw,
    limit: *mut usize,
) -> bool {
    let &VMFuncRef { code, context, enter, .. } = function;
    let unwound: u64;
    // SAFETY: the block follows the ABI of the call that it makes, and declares every register
    // clobbered that either way back may change; rbx and rbp it saves itself.
    unsafe {
        asm!(
            "push rbp",
            "push rbx",
            "lea rax, [rip + 2f]",
            "mov [r9 + {resume_pc}], rax", // r9: the activation
            "mov [r9 + {sp}], rsp",
            "test r11, r11",               // r11: the stack to go to
            "cmovnz rsp, r11",
            "mov [r9 + {entry_sp}], rsp",
            "mov rax, rsp",
            "sub rax, [r9 + {max}]",
            "mov [r10], rax",              // r10: the place of the limit
            "mov rbx, r9",                 // a callee saves rbx
            "call r8",                     // rdi, rsi, rdx, rcx: the trampoline's arguments
            "mov rsp, [rbx + {sp}]",
            "xor eax, eax",
            "2:",                          // rax: whether `unwind` came here
            "pop rbx",
            "pop rbp",
            resume_pc = const offset_of!(Activation, resume_pc),
            sp = const offset_of!(Activation, sp),
            entry_sp = const offset_of!(Activation, entry_sp),
            max = const offset_of!(Activation, max_wasm_stack),
            inlateout("rdi") context => _,
            inlateout("rsi") context => _, // the host calls as if the function called itself
            inlateout("rdx") code => _,
            inlateout("rcx") values => _,
            inlateout("r8") enter => _,
            inlateout("r9") activation => _,
            inlateout("r10") limit => _,
            inlateout("r11") stack => _,
            lateout("rax") unwound,
            lateout("r12") _,
            lateout("r13") _,
            lateout("r14") _,
            lateout("r15") _,
            clobber_abi("sysv64"),
        );
    }
    unwound != 0
}

/// Returns from [`enter`] at once.
///
/// # Safety
///
/// Control must be below the `enter` that filled the activation, on the stack that it went to, and
/// no frame between may hold anything that is to be dropped.
pub(in crate::vm) unsafe fn unwind(activation: *const Activation) -> ! {
    // SAFETY: by the contract of this function `enter`'s block waits at `resume_pc` for `rsp`.
    unsafe {
        asm!(
            "mov rsp, [rdi + {sp}]",
            "mov eax, 1",
            "jmp [rdi + {resume_pc}]", // rdi: the activation
            sp = const offset_of!(Activation, sp),
            resume_pc = const offset_of!(Activation, resume_pc),
            in("rdi") activation,
            options(noreturn),
        );
    }
}

/// The registers that callees preserve, in the order of [`PRESERVED`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(in crate::vm) struct Preserved([usize; PRESERVED.len()]);

impl Preserved {
    /// Takes back what a frame holds for its caller, so that these are the registers as they were at
    /// the call of its function.
    ///
    /// # Safety
    ///
    /// `fp` must be the frame pointer of a live frame whose function saves these.
    pub(in crate::vm) unsafe fn take_back(&mut self, saved: SavedRegisters, fp: usize) {
        for (index, distance) in saved.places() {
            // SAFETY: by contract the frame holds the register there.
            self.0[index] = unsafe { ((fp - distance as usize) as *const usize).read() };
        }
    }

    /// The register of this index.
    pub(in crate::vm) fn at(&self, index: u8) -> usize {
        self.0[usize::from(index)]
    }

    /// Puts the fuel counter in its register's place.
    pub(in crate::vm) fn pin(&mut self, fuel: i64) {
        self.0[PINNED] = fuel as usize;
    }
}

/// The index of the pinned register, r15.
const PINNED: usize = 4;

/// Makes, for each function whose third or fourth argument is a pointer to the [`Preserved`] registers
/// of its caller, the entry point that puts them there. None of them returns.
///
/// On entry the stack pointer is 8 below a multiple of 16; the frame pointer, five registers and 8
/// bytes more make a multiple.
macro_rules! with_preserved_registers {
    ($($name:ident: $body:ident in $argument:literal;)*) => { $(
        #[unsafe(naked)]
        pub(in crate::vm) unsafe extern "C" fn $name(
            _: *mut $crate::vm::layout::VMContext
        ) -> ! {
            std::arch::naked_asm!(
                "push rbp", "mov rbp, rsp",
                "push r15", "push r14", "push r13", "push r12", "push rbx", // `Preserved`
                concat!("mov ", $argument, ", rsp"),
                "sub rsp, 8",
                "call {body}", // rdi, rsi and what is between: the arguments that we got
                "ud2",
                body = sym $body,
            )
        }
    )* };
}
pub(in crate::vm) use with_preserved_registers;

/// Goes on in a landing block at `pc`, with its two words, the frame that it belongs to, and the
/// registers that are preserved over the call there.
///
/// # Safety
///
/// The block must belong to the function of the frame, whose frame pointer is `fp` and which is at a
/// call with stack pointer `sp`; control must be below it, and no frame between may hold anything that
/// is to be dropped.
pub(in crate::vm) unsafe fn land(
    pc: usize,
    fp: usize,
    sp: usize,
    (first, second): (usize, usize),
    preserved: &Preserved,
) -> ! {
    // SAFETY: by the contract of this function the block expects these registers, and no others.
    unsafe {
        asm!(
            "mov rbx, [r8]",
            "mov r12, [r8 + 8]",
            "mov r13, [r8 + 16]",
            "mov r14, [r8 + 24]",
            "mov r15, [r8 + 32]",
            "mov rbp, rdi",
            "mov rsp, rsi", // what r8 points to may be below it from here on
            "jmp rcx",      // rax, rdx: the words
            in("rdi") fp,
            in("rsi") sp,
            in("rcx") pc,
            in("rax") first,
            in("rdx") second,
            in("r8") preserved,
            options(noreturn),
        );
    }
}

/// The registers of an interrupted thread, as a signal handler may read and change them.
pub(in crate::vm) struct Registers<'a>(&'a mut libc::ucontext_t);

/// `gregs` indices in the order of the machine's register numbers, rax to r15.
const BY_NUMBER: [libc::c_int; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

/// Bytes below `rsp` that the System V ABI lets a leaf function use.
const RED_ZONE: usize = 128;

impl<'a> Registers<'a> {
    /// # Safety
    ///
    /// `context` must be the third argument of a signal handler that is running.
    pub(in crate::vm) unsafe fn new(context: *mut libc::c_void) -> Self {
        // SAFETY: by contract this is the handler's own context, which nothing else refers to.
        Self(unsafe { &mut *context.cast::<libc::ucontext_t>() })
    }

    fn get(&self, index: libc::c_int) -> usize {
        self.0.uc_mcontext.gregs[index as usize] as usize
    }

    fn set(&mut self, index: libc::c_int, value: usize) {
        self.0.uc_mcontext.gregs[index as usize] = value as i64;
    }

    /// The instruction that was interrupted.
    pub(in crate::vm) fn pc(&self) -> usize {
        self.get(libc::REG_RIP)
    }

    /// The frame pointer.
    pub(in crate::vm) fn fp(&self) -> usize {
        self.get(libc::REG_RBP)
    }

    /// The fuel counter.
    ///
    /// # Safety
    ///
    /// The interrupted instruction must be the trap site that `at` belongs to.
    pub(in crate::vm) unsafe fn fuel(&self, at: FuelAt) -> Option<i64> {
        match at {
            FuelAt::Unmetered => None,
            FuelAt::Register { register, delta } => {
                let value = self.get(BY_NUMBER[usize::from(register)]) as i64;
                Some(value.wrapping_add(delta.into()))
            }
            FuelAt::Frame { offset, delta } => {
                let slot = self.fp().wrapping_add_signed(offset as isize) as *const i64;
                // SAFETY: the site says that the frame, which is live, holds the counter here.
                Some(unsafe { slot.read() }.wrapping_add(delta.into()))
            }
        }
    }

    /// Lets the thread go on in `function`, as if the interrupted instruction had called it.
    pub(in crate::vm) fn divert(
        &mut self,
        function: unsafe extern "C" fn(*mut Activation) -> !,
        activation: *mut Activation,
    ) {
        let aligned = (self.get(libc::REG_RSP) - RED_ZONE) & !15;
        // A function expects `rsp` as after the push of a return address.
        self.set(libc::REG_RSP, aligned - size_of::<usize>());
        self.set(libc::REG_RDI, activation as usize);
        self.set(libc::REG_RIP, function as usize);
        // The direction flag must be clear at a function's entry.
        self.set(libc::REG_EFL, self.get(libc::REG_EFL) & !(1 << 10));
    }
}
