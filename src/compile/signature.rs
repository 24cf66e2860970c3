//! Types of wasm in Cranelift's terms, and the signatures of functions.

use cranelift_codegen::ir::{AbiParam, ArgumentPurpose, Signature, Type, types};
use cranelift_codegen::isa::CallConv;

use crate::types::{FuncType, ValType};
use crate::vm::layout::{Builtin, BuiltinType};

/// The type of an address.
pub(super) const POINTER: Type = types::I64;

/// How many parameters stand before the wasm parameters: the callee's context and the caller's.
pub(super) const HIDDEN_PARAMS: usize = 2;

/// The type that represents values of a wasm type.
pub(super) fn clif_type(ty: ValType) -> Type {
    match ty {
        ValType::I32 => types::I32,
        ValType::I64 => types::I64,
        ValType::F32 => types::F32,
        ValType::F64 => types::F64,
        ValType::V128 => types::I8X16,
        ty if ty.is_func_ref() => POINTER,
        ValType::FuncRef | ValType::ExternRef | ValType::Ref(_) => types::I32,
    }
}

/// The signature of a wasm function, or of a host function as wasm sees it.
pub(super) fn wasm(ty: &FuncType) -> Signature {
    let mut signature = Signature::new(CallConv::Tail);
    signature.params.push(AbiParam::special(POINTER, ArgumentPurpose::VMContext));
    signature.params.push(AbiParam::new(POINTER));
    signature.params.extend(ty.params().map(|ty| AbiParam::new(clif_type(ty))));
    signature.returns.extend(ty.results().map(|ty| AbiParam::new(clif_type(ty))));
    signature
}

/// The signature of a builtin, and of the stub through which wasm code calls it.
pub(super) fn builtin(builtin: Builtin) -> Signature {
    let clif = |ty| match ty {
        BuiltinType::I32 => AbiParam::new(types::I32),
        BuiltinType::I64 => AbiParam::new(types::I64),
    };
    let mut signature = Signature::new(convention(builtin));
    signature.params.push(AbiParam::new(POINTER));
    signature.params.extend(builtin.params().iter().copied().map(clif));
    signature.returns.extend(builtin.result().map(clif));
    signature
}

/// The convention of a builtin and of its stub.
///
/// The slow paths of checks must not disturb the registers of the loops they stand in.
pub(super) fn convention(builtin: Builtin) -> CallConv {
    match builtin {
        Builtin::out_of_fuel
        | Builtin::interrupted
        | Builtin::out_of_fuel_scalar
        | Builtin::interrupted_scalar => CallConv::PreserveAll,
        _ => CallConv::SystemV,
    }
}

/// The signature of an entry trampoline: callee's context, caller's context, entry point, values.
pub(super) fn enter() -> Signature {
    host(4)
}

/// The signature of a host context's function: host context, caller's context, values.
pub(super) fn exit_target() -> Signature {
    host(3)
}

fn host(pointers: usize) -> Signature {
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.resize(pointers, AbiParam::new(POINTER));
    signature
}
