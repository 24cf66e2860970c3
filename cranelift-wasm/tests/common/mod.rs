//! A small runtime to translate against: all state lies behind the hidden context parameter.
//!
//! The context is an array of 64-bit words: the address of memory 0, the number of operators that
//! ran, then one word for each function, global and table element.

#![allow(dead_code, reason = "each test file uses a part of it")]

mod memories;
pub(crate) mod native;
mod objects;
mod translate;

pub(crate) use translate::*;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    self, AbiParam, InstBuilder, MemFlagsData, Signature, TrapCode, Value, types,
};
use cranelift_codegen::isa::{OwnedTargetIsa, TargetFrontendConfig};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_frontend::{FunctionBuilder, Variable};
use cranelift_wasm::{FuncEnvironment, Handler, RelaxedSimd, Values, WasmResult};
use wasmparser::{FuncType, Operator, RefType, ValType};

pub(crate) const MEMORY: i32 = 0;
pub(crate) const STEPS: i32 = 8;
pub(crate) const FUNCTIONS: i32 = 0x1000;
pub(crate) const GLOBALS: i32 = 0x2000;
pub(crate) const TABLES: i32 = 0x3000;
pub(crate) const WORDS: usize = 0x4000 / 8;

/// One call of a hook of the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Entry,
    LoopHeader,
    Operator { name: String, reachable: bool },
    Return,
}

/// The environment of one module.
pub(crate) struct Env {
    pub(crate) isa: OwnedTargetIsa,
    pub(crate) types: Vec<FuncType>,
    pub(crate) functions: Vec<u32>,
    pub(crate) globals: Vec<ValType>,
    pub(crate) explicit_division: bool,
    /// Counts operators that ran: in a variable, as a runtime counts fuel.
    pub(crate) count_steps: bool,
    pub(crate) collect: bool,
    pub(crate) relaxed_simd: RelaxedSimd,
    pub(crate) events: Vec<Event>,
    steps: Option<Variable>,
}

impl Env {
    pub(crate) fn new() -> Self {
        let mut flags = settings::builder();
        for (name, value) in [("opt_level", "speed"), ("enable_multi_ret_implicit_sret", "true")] {
            flags.set(name, value).unwrap();
        }
        let isa = cranelift_native::builder().unwrap().finish(settings::Flags::new(flags)).unwrap();
        Self {
            isa,
            types: Vec::new(),
            functions: Vec::new(),
            globals: Vec::new(),
            explicit_division: false,
            count_steps: false,
            collect: false,
            relaxed_simd: RelaxedSimd::DETERMINISTIC,
            events: Vec::new(),
            steps: None,
        }
    }

    pub(crate) fn signature(&self, ty: &FuncType) -> Signature {
        let mut signature = Signature::new(self.isa.default_call_conv());
        signature.params.push(AbiParam::new(types::I64));
        let abi = |ty: &ValType| AbiParam::new(clif_type(*ty));
        signature.params.extend(ty.params().iter().map(abi));
        signature.returns.extend(ty.results().iter().map(abi));
        signature
    }

    /// Whether each operator was reachable, in order, as `name` or `(name)`.
    pub(crate) fn operators(&self) -> Vec<String> {
        let operators = self.events.iter().filter_map(|event| match event {
            Event::Operator { name, reachable } if *reachable => Some(name.clone()),
            Event::Operator { name, .. } => Some(format!("({name})")),
            _ => None,
        });
        operators.collect()
    }

    fn context(builder: &FunctionBuilder<'_>) -> Value {
        let entry = builder.func.layout.entry_block().unwrap();
        builder.block_params(entry)[0]
    }

    fn read(builder: &mut FunctionBuilder<'_>, ty: ir::Type, offset: i32) -> Value {
        let context = Self::context(builder);
        builder.ins().load(ty, MemFlagsData::trusted(), context, offset)
    }

    fn write(builder: &mut FunctionBuilder<'_>, value: Value, offset: i32) {
        let context = Self::context(builder);
        builder.ins().store(MemFlagsData::trusted(), value, context, offset);
    }

    fn element(builder: &mut FunctionBuilder<'_>, index: Value) -> Value {
        let context = Self::context(builder);
        let index = builder.ins().uextend(types::I64, index);
        let offset = builder.ins().ishl_imm_u(index, 3);
        builder.ins().iadd(context, offset)
    }

    fn call_pointer(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        ty: u32,
        pointer: Value,
        args: &[Value],
    ) -> Values {
        let signature = self.signature(&self.types[ty as usize]);
        let signature = builder.import_signature(signature);
        let mut all = vec![Self::context(builder)];
        all.extend_from_slice(args);
        let call = builder.ins().call_indirect(signature, pointer, &all);
        Values::from_slice(builder.inst_results(call))
    }

    fn index(builder: &mut FunctionBuilder<'_>, ty: ir::Type, value: i64) -> WasmResult<Value> {
        Ok(builder.ins().iconst(ty, value))
    }
}

pub(crate) fn clif_type(ty: ValType) -> ir::Type {
    match ty {
        ValType::I32 => types::I32,
        ValType::I64 | ValType::Ref(_) => types::I64,
        ValType::F32 => types::F32,
        ValType::F64 => types::F64,
        ValType::V128 => types::I8X16,
    }
}

impl FuncEnvironment for Env {
    fn frontend_config(&self) -> TargetFrontendConfig {
        self.isa.frontend_config()
    }

    fn reference_type(&self, _: RefType) -> ir::Type {
        types::I64
    }

    fn needs_stack_map(&self, ty: RefType) -> bool {
        self.collect && ty.is_extern_ref()
    }

    fn relaxed_simd(&self) -> RelaxedSimd {
        self.relaxed_simd
    }

    fn type_at(&self, index: u32) -> &FuncType {
        &self.types[index as usize]
    }

    fn type_of_function(&self, index: u32) -> &FuncType {
        &self.types[self.functions[index as usize] as usize]
    }

    fn hidden_params(&self) -> usize {
        1
    }

    fn function_entry(&mut self, builder: &mut FunctionBuilder<'_>) -> WasmResult<()> {
        self.events.push(Event::Entry);
        self.steps = None;
        if self.count_steps {
            let steps = builder.declare_var(types::I64);
            let value = Self::read(builder, types::I64, STEPS);
            builder.def_var(steps, value);
            self.steps = Some(steps);
        }
        Ok(())
    }

    fn before_operator(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        operator: &Operator<'_>,
        _: usize,
        reachable: bool,
    ) -> WasmResult<()> {
        let name = format!("{operator:?}");
        let name = name.split([' ', '{']).next().unwrap().to_owned();
        self.events.push(Event::Operator { name, reachable });
        if let (Some(steps), true) = (self.steps, reachable) {
            let value = builder.use_var(steps);
            let value = builder.ins().iadd_imm_u(value, 1);
            builder.def_var(steps, value);
        }
        Ok(())
    }

    fn conditional_branch(&mut self, _: &mut FunctionBuilder<'_>, backward: bool) -> bool {
        !backward
    }

    fn branch_taken(&mut self, _: &mut FunctionBuilder<'_>) {}

    fn loop_header(&mut self, builder: &mut FunctionBuilder<'_>) -> WasmResult<()> {
        self.events.push(Event::LoopHeader);
        if let Some(steps) = self.steps {
            builder.use_var(steps);
        }
        Ok(())
    }

    fn return_(&mut self, builder: &mut FunctionBuilder<'_>, values: &[Value]) -> WasmResult<()> {
        self.events.push(Event::Return);
        if let Some(steps) = self.steps {
            let value = builder.use_var(steps);
            Self::write(builder, value, STEPS);
        }
        builder.ins().return_(values);
        Ok(())
    }

    fn unreachable(&mut self, builder: &mut FunctionBuilder<'_>) -> WasmResult<()> {
        builder.ins().trap(TrapCode::unwrap_user(1));
        Ok(())
    }

    fn trapnz(&mut self, builder: &mut FunctionBuilder<'_>, condition: Value, code: TrapCode) {
        builder.ins().trapnz(condition, code);
    }

    fn explicit_division_traps(&self) -> bool {
        self.explicit_division
    }

    fn call(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        function: u32,
        args: &[Value],
    ) -> WasmResult<Values> {
        let pointer = Self::read(builder, types::I64, FUNCTIONS + 8 * function as i32);
        let ty = self.functions[function as usize];
        Ok(self.call_pointer(builder, ty, pointer, args))
    }

    fn call_indirect(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        _: u32,
        ty: u32,
        callee: Value,
        args: &[Value],
    ) -> WasmResult<Values> {
        let element = Self::element(builder, callee);
        let flags = MemFlagsData::trusted();
        let pointer = builder.ins().load(types::I64, flags, element, TABLES);
        Ok(self.call_pointer(builder, ty, pointer, args))
    }

    fn call_ref(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        ty: u32,
        callee: Value,
        args: &[Value],
    ) -> WasmResult<Values> {
        Ok(self.call_pointer(builder, ty, callee, args))
    }

    fn ref_as_non_null(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        value: Value,
    ) -> WasmResult<()> {
        builder.ins().trapz(value, TrapCode::unwrap_user(1));
        Ok(())
    }

    fn return_call(&mut self, _: &mut FunctionBuilder<'_>, _: u32, _: &[Value]) -> WasmResult<()> {
        unreachable!("no test here makes tail calls")
    }

    fn return_call_indirect(
        &mut self,
        _: &mut FunctionBuilder<'_>,
        _: u32,
        _: u32,
        _: Value,
        _: &[Value],
    ) -> WasmResult<()> {
        unreachable!("no test here makes tail calls")
    }

    fn return_call_ref(
        &mut self,
        _: &mut FunctionBuilder<'_>,
        _: u32,
        _: Value,
        _: &[Value],
    ) -> WasmResult<()> {
        unreachable!("no test here makes tail calls")
    }

    fn type_of_tag(&self, _: u32) -> &FuncType {
        unreachable!("no test here has tags")
    }

    fn enter_try(&mut self, _: &[Handler]) {}

    fn leave_try(&mut self, _: usize) {}

    fn handlers(&self) -> usize {
        0
    }

    fn caught(
        &mut self,
        _: &mut FunctionBuilder<'_>,
        _: [Value; 2],
        _: Option<u32>,
        _: bool,
    ) -> WasmResult<Values> {
        unreachable!("no test here catches exceptions")
    }

    fn throw(&mut self, _: &mut FunctionBuilder<'_>, _: u32, _: &[Value]) -> WasmResult<()> {
        unreachable!("no test here throws exceptions")
    }

    fn throw_ref(&mut self, _: &mut FunctionBuilder<'_>, _: Value) -> WasmResult<()> {
        unreachable!("no test here throws exceptions")
    }

    fn ref_null(&mut self, builder: &mut FunctionBuilder<'_>, _: RefType) -> WasmResult<Value> {
        Self::index(builder, types::I64, 0)
    }

    fn ref_is_null(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        value: Value,
    ) -> WasmResult<Value> {
        let null = builder.ins().icmp_imm_u(IntCC::Equal, value, 0);
        Ok(builder.ins().uextend(types::I32, null))
    }

    fn ref_func(&mut self, builder: &mut FunctionBuilder<'_>, function: u32) -> WasmResult<Value> {
        Ok(Self::read(builder, types::I64, FUNCTIONS + 8 * function as i32))
    }

    fn global_get(&mut self, builder: &mut FunctionBuilder<'_>, global: u32) -> WasmResult<Value> {
        let ty = clif_type(self.globals[global as usize]);
        Ok(Self::read(builder, ty, GLOBALS + 8 * global as i32))
    }

    fn global_set(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        global: u32,
        value: Value,
    ) -> WasmResult<()> {
        Self::write(builder, value, GLOBALS + 8 * global as i32);
        Ok(())
    }
}
