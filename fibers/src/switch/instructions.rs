//! The switch as text, for assembly that is not this package's.

/// The instructions of the switch for x86-64, for assembly that suspends with a
/// [`Departure`](crate::Departure) rather than call a function that does: the returns of whatever was
/// called are foreseen wrongly when the fiber goes on.
///
/// Before it `rdi` holds [`to`](crate::Departure::to) and `rsi` [`word`](crate::Departure::word),
/// behind it these are what [`Suspender::arrive`](crate::Suspender::arrive) takes. Of the others it
/// preserves `rbx`, `rbp` and `rsp`.
#[macro_export]
macro_rules! switch_instructions {
    () => {
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
            "jmp rax\n",
            "2:", // rdi = the other side's stack pointer, rsi = its word
        )
    };
}
