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

/// The signature of the same function for a call that may go on in a landing block.
///
/// Cranelift keeps no register over such a call in the `Tail` convention, and over one in that of System V
/// those that callees preserve. Where everything is passed in registers the two are otherwise the
/// same.
pub(super) fn wasm_in_try(ty: &FuncType) -> Signature {
    let mut signature = wasm(ty);
    // The second integer result is in rcx in the one, in rdx in the other.
    if fits(&signature.params, 6, 8) && fits(&signature.returns, 1, 2) {
        signature.call_conv = CallConv::SystemV;
    }
    signature
}

/// Whether values fit so many general and vector registers.
fn fits(values: &[AbiParam], general: usize, vector: usize) -> bool {
    let in_general = values.iter().filter(|value| value.value_type.is_int()).count();
    in_general <= general && values.len() - in_general <= vector
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

#[cfg(test)]
mod tests {
    use cranelift_codegen::ir::{Function, InstBuilder, MemFlagsData, UserFuncName};
    use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};

    use super::*;
    use crate::compile::function::Worker;
    use crate::compile::{Compiler, Settings};

    /// Machine code of a function that puts what it gets where its first argument says, calls what is
    /// there with the same arguments, puts the results there, too, and returns them.
    fn machine_code(compiler: &Compiler, own: &Signature, callee: &Signature) -> Vec<u8> {
        let mut func = Function::with_name_signature(UserFuncName::default(), own.clone());
        let mut frontend = FunctionBuilderContext::new();
        let mut builder = FunctionBuilder::new(&mut func, &mut frontend);
        let block = builder.create_block();
        builder.append_block_params_for_function_params(block);
        builder.switch_to_block(block);
        builder.seal_block(block);
        let params = builder.block_params(block).to_vec();
        for (index, &param) in params.iter().enumerate() {
            let at = 16 * index as i32;
            builder.ins().store(MemFlagsData::trusted(), param, params[0], at);
        }
        let code = builder.ins().load(POINTER, MemFlagsData::trusted(), params[0], 1024);
        let callee = builder.import_signature(callee.clone());
        let call = builder.ins().call_indirect(callee, code, &params);
        let results = builder.inst_results(call).to_vec();
        for (index, &result) in results.iter().enumerate() {
            let at = 2048 + 16 * index as i32;
            builder.ins().store(MemFlagsData::trusted(), result, params[0], at);
        }
        builder.ins().return_(&results);
        builder.finalize(compiler.targets.normal.frontend_config());
        let code = Worker::default().compile_clif(&*compiler.targets.normal, func);
        code.expect("a valid function").bytes
    }

    #[test]
    fn calls_in_constructs_are_as_functions_expect() {
        let compiler = Compiler::new(Settings::default()).expect("the host is supported");
        let types = [ValType::I32, ValType::I64, ValType::F32, ValType::F64, ValType::V128];
        let [mut same, mut other] = [0; 2];
        for ints in 0..=6 {
            for floats in 0..=9 {
                for (int_results, float_results) in
                    [(0, 0), (1, 0), (0, 1), (1, 2), (0, 2), (2, 0), (0, 3)]
                {
                    let of = |ints: usize, floats: usize| {
                        let ints = (0..ints).map(|index| types[index % 2]);
                        let floats = (0..floats).map(|index| types[2 + index % 3]);
                        // Vectors first, which must not matter.
                        floats.chain(ints).collect::<Vec<_>>()
                    };
                    let ty = FuncType::new(of(ints, floats), of(int_results, float_results));
                    let (ordinary, in_try) = (wasm(&ty), wasm_in_try(&ty));
                    let tail = machine_code(&compiler, &ordinary, &ordinary);
                    let system_v = Signature { call_conv: CallConv::SystemV, ..ordinary.clone() };
                    let code = machine_code(&compiler, &system_v, &system_v);
                    if in_try == ordinary {
                        assert_ne!(tail, code, "registers would do for {ty:?}");
                        other += 1;
                    } else {
                        assert_eq!(in_try, system_v);
                        assert_eq!(tail, code, "{ty:?}");
                        same += 1;
                    }
                }
            }
        }
        assert_eq!((same, other), (5 * 9 * 5, 7 * 10 * 7 - 5 * 9 * 5));
    }
}
