//! The trap codes of WebAssembly as Cranelift carries them.

use cranelift_codegen::ir::TrapCode as Clif;

use crate::vm::layout::TrapCode;

pub(super) const TABLE_OUT_OF_BOUNDS: Clif = Clif::unwrap_user(1);
pub(super) const INDIRECT_CALL_TO_NULL: Clif = Clif::unwrap_user(2);
pub(super) const BAD_SIGNATURE: Clif = Clif::unwrap_user(3);
pub(super) const UNREACHABLE: Clif = Clif::unwrap_user(4);

pub(super) const NULL_REFERENCE: Clif = Clif::unwrap_user(6);
pub(super) const NULL_FUNCTION_REFERENCE: Clif = Clif::unwrap_user(7);

pub(super) const MEMORY_OUT_OF_BOUNDS: Clif = Clif::unwrap_user(5);

/// The first and the last of the codes for accesses to linear memory.
const ACCESSES: (u8, u8) = (24, 250);

/// A code for an access to linear memory that faults.
///
/// Accesses of a metered function get different codes, as far as there are codes, for two reasons:
/// a merged instruction still tells to which operator it belongs; and Cranelift does not merge a
/// load and a store into one instruction, which would belong to two.
pub(super) fn access(number: u32) -> Clif {
    let (first, last) = ACCESSES;
    Clif::unwrap_user(first + (number % u32::from(last - first + 1)) as u8)
}

/// Whether a code is one of [`access`].
pub(super) fn is_access(code: Clif) -> bool {
    (ACCESSES.0..=ACCESSES.1).contains(&code.as_raw().get())
}

/// The trap that the guest sees, if the code is one of those that generated code can have.
pub(super) fn wasm_trap(code: Clif) -> Option<TrapCode> {
    Some(match code {
        Clif::STACK_OVERFLOW => TrapCode::StackOverflow,
        MEMORY_OUT_OF_BOUNDS => TrapCode::MemoryOutOfBounds,
        code if is_access(code) => TrapCode::MemoryOutOfBounds,
        Clif::INTEGER_OVERFLOW => TrapCode::IntegerOverflow,
        Clif::INTEGER_DIVISION_BY_ZERO => TrapCode::IntegerDivisionByZero,
        Clif::BAD_CONVERSION_TO_INTEGER => TrapCode::BadConversionToInteger,
        TABLE_OUT_OF_BOUNDS => TrapCode::TableOutOfBounds,
        INDIRECT_CALL_TO_NULL => TrapCode::IndirectCallToNull,
        BAD_SIGNATURE => TrapCode::BadSignature,
        NULL_REFERENCE => TrapCode::NullReference,
        NULL_FUNCTION_REFERENCE => TrapCode::NullFunctionReference,
        UNREACHABLE => TrapCode::UnreachableCodeReached,
        _ => return None,
    })
}
