//! From a text to functions, and what tests ask of them.

use cranelift_codegen::ir::{Function, UserFuncName};
use cranelift_wasm::{FuncTranslator, WasmError, WasmResult};
use wasmparser::{Parser, Payload, TypeRef, ValidPayload, Validator};

use super::Env;

/// Translates all functions of a module, with the verifier run on each.
pub(crate) fn translate_binary(env: &mut Env, wasm: &[u8]) -> WasmResult<Vec<Function>> {
    translate_with(&mut FuncTranslator::new(), env, wasm)
}

/// [`translate_binary`] with a translator that may have been used before.
pub(crate) fn translate_with(
    translator: &mut FuncTranslator,
    env: &mut Env,
    wasm: &[u8],
) -> WasmResult<Vec<Function>> {
    let mut validator = Validator::new();
    let mut functions = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        note_section(env, &payload);
        if let ValidPayload::Func(to_validate, body) = validator.payload(&payload)? {
            let ty = &env.types[to_validate.ty as usize];
            let name = UserFuncName::user(0, to_validate.index);
            let mut func = Function::with_name_signature(name, env.signature(ty));
            let mut validator = to_validate.into_validator(Default::default());
            translator.translate(&mut validator, &body, &mut func, env)?;
            cranelift_codegen::verify_function(&func, env.isa.as_ref())
                .unwrap_or_else(|errors| panic!("{errors}\n{}", func.display()));
            functions.push(func);
        }
    }
    Ok(functions)
}

fn note_section(env: &mut Env, payload: &Payload<'_>) {
    match payload {
        Payload::TypeSection(types) => {
            let types = types.clone().into_iter_err_on_gc_types();
            env.types.extend(types.map(Result::unwrap));
        }
        Payload::ImportSection(imports) => {
            for import in imports.clone().into_imports() {
                match import.unwrap().ty {
                    TypeRef::Func(ty) => env.functions.push(ty),
                    TypeRef::Global(ty) => env.globals.push(ty.content_type),
                    _ => {}
                }
            }
        }
        Payload::FunctionSection(functions) => {
            let functions = functions.clone().into_iter();
            env.functions.extend(functions.map(Result::unwrap));
        }
        Payload::GlobalSection(globals) => {
            let globals = globals.clone().into_iter();
            env.globals.extend(globals.map(|global| global.unwrap().ty.content_type));
        }
        _ => {}
    }
}

/// Translates all functions of a module text.
pub(crate) fn try_translate(env: &mut Env, text: &str) -> WasmResult<Vec<Function>> {
    translate_binary(env, &wat::parse_str(text).unwrap())
}

/// Translates the only function of a module text.
pub(crate) fn translate(env: &mut Env, text: &str) -> Function {
    let mut functions = try_translate(env, text).unwrap();
    assert_eq!(functions.len(), 1);
    functions.pop().unwrap()
}

/// The error of a module text.
pub(crate) fn error(text: &str) -> WasmError {
    match try_translate(&mut Env::new(), text) {
        Err(error) => error,
        Ok(_) => panic!("the module is translated"),
    }
}

/// How many instructions of the function have this name.
pub(crate) fn count(func: &Function, opcode: &str) -> usize {
    let blocks = func.layout.blocks();
    let insts = blocks.flat_map(|block| func.layout.block_insts(block));
    insts.filter(|&inst| func.dfg.insts[inst].opcode().to_string() == opcode).count()
}

/// A module whose only function takes and leaves nothing, and has this body.
pub(crate) fn module_of(body: &[u8]) -> Vec<u8> {
    let mut wasm = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x0a".to_vec();
    let size = leb128(body.len() as u64);
    wasm.extend(leb128((1 + size.len() + body.len()) as u64));
    wasm.push(1);
    wasm.extend(size);
    wasm.extend(body);
    wasm
}

/// An unsigned number as the binary format writes it.
pub(crate) fn leb128(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let more = number > 0x7f;
        bytes.push((number & 0x7f) as u8 | if more { 0x80 } else { 0 });
        number >>= 7;
        if !more {
            return bytes;
        }
    }
}
