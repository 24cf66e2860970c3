//! Runs translated modules as native code.

use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{
    AbiParam, Function, InstBuilder, MemFlagsData, Signature, UserFuncName, types,
};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use region::{Allocation, Protection};

use super::{Env, FUNCTIONS, STEPS, TABLES, WORDS, clif_type, translate_binary};

/// Reads its arguments from, and writes its results to, the words at its second argument.
type Entry = unsafe extern "C" fn(*mut u64, *mut u64);

/// A module that can run. Function `i` is element `i` of each table, too.
pub(crate) struct Module {
    code: Vec<Allocation>,
    entries: Vec<Entry>,
    results: Vec<usize>,
    context: Vec<u64>,
    memory: Vec<u8>,
}

impl Module {
    pub(crate) fn new(text: &str) -> Self {
        Self::with_env(&mut Env::new(), text)
    }

    pub(crate) fn with_env(env: &mut Env, text: &str) -> Self {
        Self::with_binary(env, &wat::parse_str(text).unwrap())
    }

    pub(crate) fn with_binary(env: &mut Env, wasm: &[u8]) -> Self {
        let functions = translate_binary(env, wasm).unwrap();
        let mut module = Self {
            code: Vec::new(),
            entries: Vec::new(),
            results: Vec::new(),
            context: vec![0; WORDS],
            memory: vec![0; 65_536],
        };
        module.context[0] = module.memory.as_mut_ptr() as u64;
        for (index, function) in functions.into_iter().enumerate() {
            let address = module.compile(env, function);
            module.context[FUNCTIONS as usize / 8 + index] = address;
            module.context[TABLES as usize / 8 + index] = address;
            let entry = module.compile(env, trampoline(env, index));
            // SAFETY: the trampoline was just compiled with this signature, and its code lives as
            // long as the module, which alone calls it.
            let entry = unsafe { std::mem::transmute::<u64, Entry>(entry) };
            module.entries.push(entry);
            let ty = env.functions[index];
            module.results.push(env.types[ty as usize].results().len());
        }
        module
    }

    fn compile(&mut self, env: &Env, function: Function) -> u64 {
        let mut context = Context::for_function(function);
        let code = context.compile(env.isa.as_ref(), &mut ControlPlane::default()).unwrap();
        assert!(code.buffer.relocs().is_empty());
        let bytes = code.code_buffer();
        let mut page = region::alloc(bytes.len(), Protection::READ_WRITE).unwrap();
        // SAFETY: the allocation has at least this many bytes, and nothing else refers to it.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), page.as_mut_ptr(), bytes.len());
            region::protect(page.as_ptr::<u8>(), page.len(), Protection::READ_EXECUTE).unwrap();
        }
        let address = page.as_ptr::<u8>() as u64;
        self.code.push(page);
        address
    }

    /// Calls function `index` with words; narrower values are their low bits.
    pub(crate) fn call(&mut self, index: usize, args: &[u64]) -> Vec<u64> {
        let mut words = vec![0; args.len().max(self.results[index])];
        words[..args.len()].copy_from_slice(args);
        // SAFETY: the trampoline reads and writes as many words as the function's type has
        // parameters and results, and tests pass the right number of them. The functions touch the
        // context and the memory only.
        unsafe { self.entries[index](self.context.as_mut_ptr(), words.as_mut_ptr()) };
        words.truncate(self.results[index]);
        words
    }

    /// Calls function `index`, which takes and leaves i32 values.
    pub(crate) fn call_i32(&mut self, index: usize, args: &[i32]) -> Vec<i32> {
        let args: Vec<_> = args.iter().map(|&arg| u64::from(arg as u32)).collect();
        let results = self.call(index, &args);
        results.into_iter().map(|word| word as i32).collect()
    }

    /// How many operators ran since the last time this was asked.
    pub(crate) fn steps(&mut self) -> u64 {
        std::mem::take(&mut self.context[STEPS as usize / 8])
    }
}

/// A function that calls function `index` with words from memory.
fn trampoline(env: &Env, index: usize) -> Function {
    let ty = &env.types[env.functions[index] as usize];
    let mut signature = Signature::new(env.isa.default_call_conv());
    signature.params = vec![AbiParam::new(types::I64); 2];
    let mut func = Function::with_name_signature(UserFuncName::user(1, index as u32), signature);
    let mut frontend = FunctionBuilderContext::new();
    let mut builder = FunctionBuilder::new(&mut func, &mut frontend);
    let entry = builder.create_block();
    builder.append_block_params_for_function_params(entry);
    builder.switch_to_block(entry);
    builder.seal_block(entry);
    let (context, words) = (builder.block_params(entry)[0], builder.block_params(entry)[1]);
    let flags = MemFlagsData::trusted();
    let mut args = vec![context];
    for (i, &ty) in ty.params().iter().enumerate() {
        let arg = builder.ins().load(clif_type(ty), flags, words, 8 * i as i32);
        args.push(arg);
    }
    let offset = FUNCTIONS + 8 * index as i32;
    let pointer = builder.ins().load(types::I64, flags, context, offset);
    let callee = builder.import_signature(env.signature(ty));
    let call = builder.ins().call_indirect(callee, pointer, &args);
    let results = builder.inst_results(call).to_vec();
    for (i, result) in results.into_iter().enumerate() {
        builder.ins().store(flags, result, words, 8 * i as i32);
    }
    builder.ins().return_(&[]);
    builder.finalize(env.isa.frontend_config());
    func
}
