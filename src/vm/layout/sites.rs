//! What is known of an address in machine code.

/// Why a guest trapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum TrapCode {
    /// The guest's calls nest deeper than `Config::max_wasm_stack` allows.
    StackOverflow,
    /// An access to linear memory outside of its bounds.
    MemoryOutOfBounds,
    /// An atomic access to linear memory at an address that is no multiple of its size. Only the
    /// operators of the threads proposal raise it.
    HeapMisaligned,
    /// An access to a table outside of its bounds.
    TableOutOfBounds,
    /// A call through a null reference.
    IndirectCallToNull,
    /// An indirect call to a function of another type.
    BadSignature,
    /// An integer result that its type cannot hold.
    IntegerOverflow,
    /// An integer division or remainder by zero.
    IntegerDivisionByZero,
    /// A float that is not a number, converted to an integer.
    BadConversionToInteger,
    /// The `unreachable` operator.
    UnreachableCodeReached,
    /// An interrupt, or the deadline of an epoch: not the guest's doing.
    Interrupt,
}

/// Where the fuel counter is at a trap.
///
/// What is left is the value there plus `delta`, which is zero or negative: the cost of the
/// operators since the counter was last written, the trapping one included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FuelAt {
    /// The engine does not count fuel.
    Unmetered,
    /// In the register with this number (the encoding of the machine: rax is 0, r15 is 15).
    Register { register: u8, delta: i32 },
    /// On the stack, at this distance in bytes from the frame pointer.
    Frame { offset: i32, delta: i32 },
}

/// A machine instruction that may trap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TrapSite {
    /// Its offset in the text.
    pub(crate) pc: u32,
    /// What its trap means.
    pub(crate) code: TrapCode,
    /// The offset of the operator in the module.
    pub(crate) wasm: u32,
    /// Where the fuel counter is.
    pub(crate) fuel: FuelAt,
}

/// What is known of the addresses of a text.
#[derive(Clone, Debug, Default)]
pub(crate) struct SiteTable {
    /// Sorted by `pc`, each once.
    pub(crate) traps: Vec<TrapSite>,
    /// Return addresses of calls (offsets in the text), sorted, with the offset of the calling
    /// operator in the module.
    pub(crate) calls: Vec<(u32, u32)>,
}

impl SiteTable {
    /// The trap site at exactly this offset. Async-signal-safe.
    pub(crate) fn trap(&self, pc: u32) -> Option<&TrapSite> {
        let index = self.traps.binary_search_by_key(&pc, |site| site.pc).ok()?;
        Some(&self.traps[index])
    }

    /// The operator that made the call which returns to this offset.
    pub(crate) fn call(&self, return_address: u32) -> Option<u32> {
        let index = self.calls.binary_search_by_key(&return_address, |&(pc, _)| pc).ok()?;
        Some(self.calls[index].1)
    }
}
