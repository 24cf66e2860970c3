//! The operators of the threads proposal, which are one class.

use wasmparser::Operator::{self, *};

/// Whether an operator is atomic, or waits or notifies.
pub(super) fn is_atomic(operator: &Operator<'_>) -> bool {
    matches!(
        operator,
        AtomicFence { .. }
            | MemoryAtomicNotify { .. }
            | MemoryAtomicWait32 { .. }
            | MemoryAtomicWait64 { .. }
            | I32AtomicLoad { .. }
            | I32AtomicStore { .. }
            | I32AtomicRmwAdd { .. }
            | I32AtomicRmwSub { .. }
            | I32AtomicRmwAnd { .. }
            | I32AtomicRmwOr { .. }
            | I32AtomicRmwXor { .. }
            | I32AtomicRmwXchg { .. }
            | I32AtomicRmwCmpxchg { .. }
            | I32AtomicLoad8U { .. }
            | I32AtomicStore8 { .. }
            | I32AtomicRmw8AddU { .. }
            | I32AtomicRmw8SubU { .. }
            | I32AtomicRmw8AndU { .. }
            | I32AtomicRmw8OrU { .. }
            | I32AtomicRmw8XorU { .. }
            | I32AtomicRmw8XchgU { .. }
            | I32AtomicRmw8CmpxchgU { .. }
            | I32AtomicLoad16U { .. }
            | I32AtomicStore16 { .. }
            | I32AtomicRmw16AddU { .. }
            | I32AtomicRmw16SubU { .. }
            | I32AtomicRmw16AndU { .. }
            | I32AtomicRmw16OrU { .. }
            | I32AtomicRmw16XorU { .. }
            | I32AtomicRmw16XchgU { .. }
            | I32AtomicRmw16CmpxchgU { .. }
            | I64AtomicLoad { .. }
            | I64AtomicStore { .. }
            | I64AtomicRmwAdd { .. }
            | I64AtomicRmwSub { .. }
            | I64AtomicRmwAnd { .. }
            | I64AtomicRmwOr { .. }
            | I64AtomicRmwXor { .. }
            | I64AtomicRmwXchg { .. }
            | I64AtomicRmwCmpxchg { .. }
            | I64AtomicLoad8U { .. }
            | I64AtomicStore8 { .. }
            | I64AtomicRmw8AddU { .. }
            | I64AtomicRmw8SubU { .. }
            | I64AtomicRmw8AndU { .. }
            | I64AtomicRmw8OrU { .. }
            | I64AtomicRmw8XorU { .. }
            | I64AtomicRmw8XchgU { .. }
            | I64AtomicRmw8CmpxchgU { .. }
            | I64AtomicLoad16U { .. }
            | I64AtomicStore16 { .. }
            | I64AtomicRmw16AddU { .. }
            | I64AtomicRmw16SubU { .. }
            | I64AtomicRmw16AndU { .. }
            | I64AtomicRmw16OrU { .. }
            | I64AtomicRmw16XorU { .. }
            | I64AtomicRmw16XchgU { .. }
            | I64AtomicRmw16CmpxchgU { .. }
            | I64AtomicLoad32U { .. }
            | I64AtomicStore32 { .. }
            | I64AtomicRmw32AddU { .. }
            | I64AtomicRmw32SubU { .. }
            | I64AtomicRmw32AndU { .. }
            | I64AtomicRmw32OrU { .. }
            | I64AtomicRmw32XorU { .. }
            | I64AtomicRmw32XchgU { .. }
            | I64AtomicRmw32CmpxchgU { .. }
    )
}
