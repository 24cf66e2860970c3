//! The entry points of checks: builtins that preserve the registers which a call may change otherwise.
//!
//! There are two of each: one preserves them all, and one all but the vector registers, of which code
//! uses the lower halves only, xmm0 to xmm15.
//!
//! ```text
//!   frame of wasm
//!   return address
//!   rbp                       ◄── rbp
//!   rax, rcx, rdx, rsi, rdi   the context is in rdi
//!   r8, r9, r10, r11
//!   8 bytes, xmm0 to xmm15
//! ```

/// Puts the vector registers to where `rsp` points, or takes them from there.
macro_rules! vectors {
    (save) => {
        concat!(
            "movups [rsp], xmm0\n",
            "movups [rsp + 16], xmm1\n",
            "movups [rsp + 32], xmm2\n",
            "movups [rsp + 48], xmm3\n",
            "movups [rsp + 64], xmm4\n",
            "movups [rsp + 80], xmm5\n",
            "movups [rsp + 96], xmm6\n",
            "movups [rsp + 112], xmm7\n",
            "movups [rsp + 128], xmm8\n",
            "movups [rsp + 144], xmm9\n",
            "movups [rsp + 160], xmm10\n",
            "movups [rsp + 176], xmm11\n",
            "movups [rsp + 192], xmm12\n",
            "movups [rsp + 208], xmm13\n",
            "movups [rsp + 224], xmm14\n",
            "movups [rsp + 240], xmm15\n",
        )
    };
    (restore) => {
        concat!(
            "movups xmm0, [rsp]\n",
            "movups xmm1, [rsp + 16]\n",
            "movups xmm2, [rsp + 32]\n",
            "movups xmm3, [rsp + 48]\n",
            "movups xmm4, [rsp + 64]\n",
            "movups xmm5, [rsp + 80]\n",
            "movups xmm6, [rsp + 96]\n",
            "movups xmm7, [rsp + 112]\n",
            "movups xmm8, [rsp + 128]\n",
            "movups xmm9, [rsp + 144]\n",
            "movups xmm10, [rsp + 160]\n",
            "movups xmm11, [rsp + 176]\n",
            "movups xmm12, [rsp + 192]\n",
            "movups xmm13, [rsp + 208]\n",
            "movups xmm14, [rsp + 224]\n",
            "movups xmm15, [rsp + 240]\n",
        )
    };
}
pub(in crate::vm) use vectors;

/// Puts the other registers back, and returns; by a jump where that would be foreseen wrongly.
macro_rules! to_wasm {
    (return) => {
        $crate::vm::arch::to_wasm!(@leave "ret")
    };
    // Signal handlers leave alone what lies within 128 bytes below the stack pointer.
    (jump) => {
        $crate::vm::arch::to_wasm!(@leave "lea rsp, [rsp + 8]\njmp [rsp - 8]")
    };
    (@leave $leave:literal) => {
        concat!(
            "pop r11\n",
            "pop r10\n",
            "pop r9\n",
            "pop r8\n",
            "pop rdi\n",
            "pop rsi\n",
            "pop rdx\n",
            "pop rcx\n",
            "pop rax\n",
            "pop rbp\n",
            $leave,
        )
    };
}
pub(in crate::vm) use to_wasm;

/// Takes the fuel counter from the store into its register.
macro_rules! load_fuel {
    () => {
        concat!(
            "mov rdi, [rbp - 40]\n", // the context
            "mov rax, [rdi + {store}]\n",
            "mov r15, [rax + {fuel}]",
        )
    };
}
pub(in crate::vm) use load_fuel;

/// Makes two entry points that call a function with the context.
macro_rules! attending {
    ($all:ident, $scalar:ident: $body:ident) => {
        $crate::vm::arch::attending!(
            @make $all: $body,
            concat!("sub rsp, 264\n", $crate::vm::arch::vectors!(save)),
            concat!($crate::vm::arch::vectors!(restore), "add rsp, 264")
        );
        $crate::vm::arch::attending!(@make $scalar: $body, "sub rsp, 8", "add rsp, 8");
    };
    (@make $name:ident: $body:ident, $save:expr, $restore:expr) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name(context: *mut $crate::vm::layout::VMContext) {
            std::arch::naked_asm!(
                "push rbp", "mov rbp, rsp",
                "push rax", "push rcx", "push rdx", "push rsi", "push rdi",
                "push r8", "push r9", "push r10", "push r11",
                $save,
                "call {body}", // rdi: the context
                $restore,
                $crate::vm::arch::to_wasm!(return),
                body = sym $body,
            )
        }
    };
}
pub(in crate::vm) use attending;

/// Makes two entry points that call a function with the context, which answers whether the fiber is to
/// be left (a `Departure`). As long as that is so they leave it, and back again call the second
/// function with the context and what the switch came back with. Both may unwind wasm instead:
/// nothing here needs to be undone.
///
/// The stub has jumped here, with a frame and `rax` on the stack, so that one call has not returned when
/// the fiber is left: that of wasm. The processor has to forget it, by a return to the other side, and
/// then foresees all returns there; the way back to wasm is a jump. That makes one return which is
/// foreseen wrongly, where it would be two for each call that both sides have to return from.
macro_rules! refuelling {
    ($all:ident, $scalar:ident: $refuel:ident, $go_on:ident) => {
        $crate::vm::arch::refuelling!(
            @make $all: $refuel, $go_on,
            concat!("sub rsp, 264\n", $crate::vm::arch::vectors!(save)),
            concat!($crate::vm::arch::vectors!(restore), "add rsp, 264")
        );
        $crate::vm::arch::refuelling!(
            @make $scalar: $refuel, $go_on, "sub rsp, 8", "add rsp, 8"
        );
    };
    (@make $name:ident: $refuel:ident, $go_on:ident, $save:expr, $restore:expr) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name(context: *mut $crate::vm::layout::VMContext) {
            std::arch::naked_asm!(
                "push rcx", "push rdx", "push rsi", "push rdi",
                "push r8", "push r9", "push r10", "push r11",
                $save,
                "mov rax, [rdi + {store}]", // rdi: the context
                "mov rcx, [rbp]",
                "mov rdx, [rbp + 8]",
                "mov [rax + {exit_fp}], rcx",
                "mov [rax + {exit_pc}], rdx",
                "mov [rax + {fuel}], r15",
                "call {refuel}",            // rax, rdx: a departure
                "test rax, rax",
                "jnz 3f",
                $crate::vm::arch::load_fuel!(),
                $restore,
                $crate::vm::arch::to_wasm!(return),
                "3:",
                "push r12",                 // the switch keeps rbx and rbp; r15 is the counter
                "push r13",
                "push r14",
                "mov rdi, rax",
                "mov rsi, rdx",
                lampwick_fibers::switch_instructions!(return),
                "pop r14",
                "pop r13",
                "pop r12",
                "mov rdx, rsi",             // the word
                "mov rsi, rdi",             // the other side's stack pointer
                "mov rdi, [rbp - 40]",      // the context
                "call {go_on}",
                "test rax, rax",
                "jnz 3b",
                $crate::vm::arch::load_fuel!(),
                $restore,
                $crate::vm::arch::to_wasm!(jump),
                store = const std::mem::offset_of!($crate::vm::layout::VMContext, store),
                exit_fp = const std::mem::offset_of!($crate::vm::layout::VMStore, exit_fp),
                exit_pc = const std::mem::offset_of!($crate::vm::layout::VMStore, exit_pc),
                fuel = const std::mem::offset_of!($crate::vm::layout::VMStore, fuel),
                refuel = sym $refuel,
                go_on = sym $go_on,
            )
        }
    };
}
pub(in crate::vm) use refuelling;
