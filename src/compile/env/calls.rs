//! Calls: direct, through tables, and of builtins.

use cranelift_codegen::ir::{
    ExtFuncData, ExternalName, FuncRef, Function, Inst, InstBuilder, SigRef, Type,
    UserExternalName, Value, types,
};
use cranelift_frontend::FunctionBuilder;
use cranelift_wasm::Values;

use super::Env;
use crate::compile::link::Symbol;
use crate::compile::signature::{self, POINTER};
use crate::compile::traps;
use crate::vm::layout::{Builtin, BuiltinType, VMContext, VMFunctionImport};

/// A function that is about to be called.
pub(super) struct Callee {
    pub(super) context: Value,
    pub(super) code: Code,
}

/// Where a callee's entry point is.
pub(super) enum Code {
    /// In the same text.
    Known(FuncRef),
    /// At this address.
    Loaded(Value),
}

impl Env<'_> {
    /// Calls function `function` of the index space.
    pub(super) fn direct_call(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        function: u32,
        args: &[Value],
    ) -> Values {
        let callee = self.function_to_call(builder, function);
        let ty = self.module.info.functions[function as usize];
        self.call_and_take_back(builder, callee, ty, args)
    }

    /// Calls the function in element `callee` of `table`, which must have type `ty`.
    pub(super) fn call_through_table(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        table: u32,
        ty: u32,
        callee: Value,
        args: &[Value],
    ) -> Values {
        let callee = self.element_to_call(builder, table, ty, callee);
        self.call_and_take_back(builder, callee, ty, args)
    }

    /// Calls a function of type `ty`, to which the fuel counter was handed over.
    pub(super) fn call_and_take_back(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        callee: Callee,
        ty: u32,
        args: &[Value],
    ) -> Values {
        let args = self.with_contexts(callee.context, args);
        let call = match callee.code {
            Code::Known(function) => builder.ins().call(function, &args),
            Code::Loaded(code) => {
                let signature = self.signature(builder, ty);
                builder.ins().call_indirect(signature, code, &args)
            }
        };
        self.results(builder, call, ty)
    }

    /// What is called as function `function` of the index space; hands the fuel counter over.
    pub(super) fn function_to_call(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        function: u32,
    ) -> Callee {
        let callee = if function < self.module.info.imported_functions {
            let at = self.module.layout.imported_function(function);
            let context = at + std::mem::offset_of!(VMFunctionImport, context) as u32;
            let code = at + std::mem::offset_of!(VMFunctionImport, code) as u32;
            let context = self.load_constant(builder, POINTER, self.context, context);
            let code = self.load_constant(builder, POINTER, self.context, code);
            Callee { context, code: Code::Loaded(code) }
        } else {
            let function = self.function(builder, function);
            Callee { context: self.context, code: Code::Known(function) }
        };
        self.locate(builder);
        self.hand_over_fuel(builder);
        callee
    }

    /// What is called as element `callee` of `table`, which must have type `ty`; hands the fuel
    /// counter over.
    pub(super) fn element_to_call(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        table: u32,
        ty: u32,
        callee: Value,
    ) -> Callee {
        // Before the checks, whose traps then need no code of their own for it.
        self.hand_over_fuel(builder);
        let func_ref = self.read_element(builder, table, callee);
        self.locate(builder);
        let null = if self.elements_are(table, ty) {
            // Nobody has looked whether there is a function.
            Some(traps::INDIRECT_CALL_TO_NULL)
        } else {
            self.check_callee(builder, func_ref, ty);
            None
        };
        self.record_to_call(builder, func_ref, null)
    }

    /// Calls a builtin: `indices` are constants, `operands` are widened to what it expects.
    pub(super) fn builtin_of(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        builtin: Builtin,
        indices: &[u32],
        operands: &[Value],
    ) -> Option<Value> {
        let mut args = Values::new();
        args.push(self.context);
        for &index in indices {
            args.push(builder.ins().iconst(types::I32, i64::from(index)));
        }
        let expected = &builtin.params()[indices.len()..];
        for (&operand, expected) in operands.iter().zip(expected) {
            let narrow = builder.func.dfg.value_type(operand) == types::I32;
            args.push(if narrow && *expected == BuiltinType::I64 {
                builder.ins().uextend(types::I64, operand)
            } else {
                operand
            });
        }
        self.locate(builder);
        self.hand_over_fuel(builder);
        let stub = self.stub(builder, builtin);
        let call = builder.ins().call(stub, &args);
        self.take_back_fuel(builder);
        builder.inst_results(call).first().copied()
    }

    /// Calls a builtin that neither leaves wasm nor touches the counter, without its stub.
    pub(super) fn call_plain(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        builtin: Builtin,
        operands: &[Value],
    ) {
        let signature = *self
            .plain
            .entry(builtin)
            .or_insert_with(|| builder.import_signature(signature::builtin(builtin)));
        let table = std::mem::offset_of!(VMContext, builtins) as u32;
        let table = self.load_constant(builder, POINTER, self.context, table);
        let code = builtin as u32 * size_of::<*const u8>() as u32;
        let code = self.load_constant(builder, POINTER, table, code);
        let args: Values = std::iter::once(self.context).chain(operands.iter().copied()).collect();
        builder.ins().call_indirect(signature, code, &args);
    }

    /// The stub through which the module's code calls a builtin.
    pub(super) fn stub(&mut self, builder: &mut FunctionBuilder<'_>, builtin: Builtin) -> FuncRef {
        self.builtins |= 1 << builtin as u32;
        *self.stubs.entry(builtin).or_insert_with(|| {
            let signature = builder.import_signature(signature::builtin(builtin));
            import(builder, Symbol::Stub(builtin), signature)
        })
    }

    /// Lets the slow paths of checks leave the vector registers alone where the function, which is
    /// complete, keeps nothing there: saving them would be most of what a yield costs.
    pub(in crate::compile) fn spare_vector_registers(&mut self, func: &mut Function) {
        let in_vector = |ty: Type| ty.is_float() || ty.is_vector();
        if func.dfg.values().any(|value| in_vector(func.dfg.value_type(value))) {
            return;
        }
        for (builtin, scalar) in [
            (Builtin::out_of_fuel, Builtin::out_of_fuel_scalar),
            (Builtin::interrupted, Builtin::interrupted_scalar),
        ] {
            let Some(&stub) = self.stubs.get(&builtin) else { continue };
            let ExternalName::User(name) = func.dfg.ext_funcs[stub].name else { continue };
            func.params.reset_user_func_name(name, external_name(Symbol::Stub(scalar)));
            self.builtins ^= 1 << builtin as u32 | 1 << scalar as u32;
        }
    }

    /// The reference to a function.
    pub(super) fn function_reference(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        function: u32,
    ) -> Value {
        if function < self.module.info.imported_functions {
            let at = self.module.layout.imported_function(function);
            let at = at + std::mem::offset_of!(VMFunctionImport, func_ref) as u32;
            return self.load_constant(builder, POINTER, self.context, at);
        }
        let slot = self.module.info.func_ref_slot(function);
        let slot = slot.expect("validation demands that the function is declared as a reference");
        let at = self.module.layout.func_ref(slot);
        let at = builder.ins().iconst(POINTER, i64::from(at));
        builder.ins().iadd(self.context, at)
    }

    fn function(&mut self, builder: &mut FunctionBuilder<'_>, function: u32) -> FuncRef {
        if let Some(&known) = self.functions.get(&function) {
            return known;
        }
        let signature = self.signature(builder, self.module.info.functions[function as usize]);
        let defined = function - self.module.info.imported_functions;
        let imported = import(builder, Symbol::Function(defined), signature);
        self.functions.insert(function, imported);
        imported
    }

    pub(super) fn signature(&mut self, builder: &mut FunctionBuilder<'_>, ty: u32) -> SigRef {
        *self.signatures.entry(ty).or_insert_with(|| {
            builder.import_signature(signature::wasm(self.module.info.func_type(ty)))
        })
    }

    pub(super) fn with_contexts(&self, callee: Value, args: &[Value]) -> Values {
        [callee, self.context].into_iter().chain(args.iter().copied()).collect()
    }

    /// The results of a call of a function of type `ty`.
    pub(super) fn results(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        call: Inst,
        ty: u32,
    ) -> Values {
        self.take_back_fuel(builder);
        let results = Values::from(builder.inst_results(call));
        for (ty, &value) in self.module.info.func_type(ty).results().zip(&results) {
            self.declare(builder, ty, value);
        }
        results
    }
}

fn external_name(symbol: Symbol) -> UserExternalName {
    let (namespace, index) = symbol.parts();
    UserExternalName { namespace, index }
}

/// Declares a function of the same text.
fn import(builder: &mut FunctionBuilder<'_>, symbol: Symbol, signature: SigRef) -> FuncRef {
    let name = builder.func.declare_imported_user_function(external_name(symbol));
    builder.import_function(ExtFuncData {
        name: ExternalName::user(name),
        signature,
        colocated: true,
        patchable: false,
    })
}
