//! The switch as text, for assembly that is not this package's.

/// The instructions of the switch for x86-64, for assembly that suspends by a
/// [`Departure`](crate::Departure) of its own.
///
/// Before it `rdi` holds [`to`](crate::Departure::to) and `rsi` [`word`](crate::Departure::word),
/// behind it these are what [`Suspender::arrive`](crate::Suspender::arrive) takes. Of the others it
/// preserves `rbx`, `rbp` and `rsp`.
///
/// It leaves by a jump, or by a return: a processor foresees where a return goes by the calls that it
/// has seen, and forgets one of them with each. The return is always foreseen wrongly, but where one
/// call of this side has not returned, and will do so by a jump, those of the other side are right then.
#[macro_export]
macro_rules! switch_instructions {
    (jump) => {
        $crate::switch_instructions!(@leave "jmp rax\n")
    };
    (return) => {
        $crate::switch_instructions!(@leave "push rax\nret\n")
    };
    (@leave $leave:literal) => {
        concat!(
            "push rbp\n",            // save this side's frame pointer
            "push rbx\n",            // and rbx, which no operand of inline assembly may name
            "lea rax, [rip + 2f]\n", // rax = where this side continues
            "push rax\n",
            "mov rax, rsp\n", // rax = this side's stack pointer
            "mov rsp, rdi\n", // rsp = the other side's stack pointer
            "mov rdi, rax\n", // rdi = this side's, rsi = the word: what the other side gets
            "pop rax\n",      // rax = where the other side continues
            "pop rbx\n",      // rbx, rbp = the other side's
            "pop rbp\n",
            $leave,
            "2:", // rdi = the other side's stack pointer, rsi = its word
        )
    };
}
