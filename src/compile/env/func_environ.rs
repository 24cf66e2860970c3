//! What the translator asks of the runtime, but for memories, tables and objects; what the methods do
//! stands in a file for each topic.

use cranelift_codegen::ir::{self, Block, InstBuilder, TrapCode, Type, Value, types};
use cranelift_codegen::isa::TargetFrontendConfig;
use cranelift_frontend::FunctionBuilder;
use cranelift_wasm::{FuncEnvironment, Handler, RelaxedSimd, Rounds, Values, WasmResult};
use wasmparser::{Operator, RefType};

use super::Env;
use crate::compile::signature::{HIDDEN_PARAMS, POINTER};
use crate::compile::traps;

impl FuncEnvironment for Env<'_> {
    fn frontend_config(&self) -> TargetFrontendConfig {
        self.module.frontend
    }

    fn reference_type(&self, ty: RefType) -> Type {
        if self.is_func_ref(ty) { POINTER } else { types::I32 }
    }

    fn needs_stack_map(&self, ty: RefType) -> bool {
        !self.is_func_ref(ty)
    }

    fn declares_references(&self) -> bool {
        self.declares_references
    }

    fn type_at(&self, index: u32) -> &wasmparser::FuncType {
        self.module.types[index as usize].unwrap_func()
    }

    fn type_of_function(&self, index: u32) -> &wasmparser::FuncType {
        self.type_at(self.module.info.functions[index as usize])
    }

    fn relaxed_simd(&self) -> RelaxedSimd {
        self.module.relaxed_simd
    }

    fn hidden_params(&self) -> usize {
        HIDDEN_PARAMS
    }

    fn function_entry(&mut self, builder: &mut FunctionBuilder<'_>) -> WasmResult<()> {
        let entry = builder.func.layout.entry_block().expect("the entry block is current");
        self.context = builder.block_params(entry)[0];
        self.limit_stack(builder);
        self.enter_fuel(builder);
        self.check_interrupts(builder);
        Ok(())
    }

    fn before_operator(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        operator: &Operator<'_>,
        offset: usize,
        reachable: bool,
    ) -> WasmResult<()> {
        self.offset = offset as u32;
        if reachable {
            if self.module.settings.address_map {
                self.locate(builder);
            }
            self.charge(builder, operator);
        }
        Ok(())
    }

    fn conditional_branch(&mut self, builder: &mut FunctionBuilder<'_>, backward: bool) -> bool {
        self.charge_branch(builder, backward)
    }

    fn branch_taken(&mut self, builder: &mut FunctionBuilder<'_>) {
        self.charge_edge(builder);
    }

    fn loop_header(&mut self, builder: &mut FunctionBuilder<'_>) -> WasmResult<()> {
        self.check_in_line(builder);
        Ok(())
    }

    fn divides_loops(&self) -> bool {
        self.has_rounds()
    }

    fn rounds<'o>(&mut self, body: impl Iterator<Item = &'o Operator<'o>>) -> Option<Rounds> {
        self.rounds_of(body)
    }

    fn rounds_header(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        rounds: Rounds,
        many: Block,
        one: Block,
    ) {
        self.divide_loop(builder, rounds, many, one);
    }

    fn begin_round(&mut self, offset: usize) {
        self.offset = offset as u32;
        self.fuel.begin_round();
    }

    fn divides_lines(&self) -> bool {
        self.counts_fuel() || self.module.settings.interruptable || self.module.settings.epochs
    }

    fn long_line(&mut self, builder: &mut FunctionBuilder<'_>) -> WasmResult<()> {
        self.check_in_line(builder);
        Ok(())
    }

    fn return_(&mut self, builder: &mut FunctionBuilder<'_>, values: &[Value]) -> WasmResult<()> {
        self.return_fuel(builder);
        builder.ins().return_(values);
        Ok(())
    }

    fn unreachable(&mut self, builder: &mut FunctionBuilder<'_>) -> WasmResult<()> {
        self.trap(builder, traps::UNREACHABLE);
        Ok(())
    }

    fn trapnz(&mut self, builder: &mut FunctionBuilder<'_>, condition: Value, code: TrapCode) {
        self.trap_if(builder, condition, code);
    }

    fn explicit_division_traps(&self) -> bool {
        false
    }

    fn call(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        function: u32,
        args: &[Value],
    ) -> WasmResult<Values> {
        Ok(self.direct_call(builder, function, args))
    }

    fn call_indirect(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        table: u32,
        ty: u32,
        callee: Value,
        args: &[Value],
    ) -> WasmResult<Values> {
        Ok(self.call_through_table(builder, table, ty, callee, args))
    }

    fn call_ref(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        ty: u32,
        callee: Value,
        args: &[Value],
    ) -> WasmResult<Values> {
        Ok(self.call_reference(builder, ty, callee, args))
    }

    fn return_call(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        function: u32,
        args: &[Value],
    ) -> WasmResult<()> {
        self.direct_tail_call(builder, function, args);
        Ok(())
    }

    fn return_call_indirect(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        table: u32,
        ty: u32,
        callee: Value,
        args: &[Value],
    ) -> WasmResult<()> {
        self.tail_call_through_table(builder, table, ty, callee, args);
        Ok(())
    }

    fn return_call_ref(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        ty: u32,
        callee: Value,
        args: &[Value],
    ) -> WasmResult<()> {
        self.tail_call_reference(builder, ty, callee, args);
        Ok(())
    }

    fn type_of_tag(&self, index: u32) -> &wasmparser::FuncType {
        self.type_at(self.module.info.tags[index as usize])
    }

    fn enter_try(&mut self, handlers: &[Handler]) {
        self.exceptions.enter(handlers);
    }

    fn leave_try(&mut self, handlers: usize) {
        self.exceptions.leave(handlers);
    }

    fn handlers(&self) -> usize {
        self.exceptions.handlers().count()
    }

    fn caught(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        words: [Value; 2],
        tag: Option<u32>,
        by_reference: bool,
    ) -> WasmResult<Values> {
        Ok(self.values_caught(builder, words, tag, by_reference))
    }

    fn throw(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        tag: u32,
        args: &[Value],
    ) -> WasmResult<()> {
        self.throw_values(builder, tag, args);
        Ok(())
    }

    fn throw_ref(&mut self, builder: &mut FunctionBuilder<'_>, exception: Value) -> WasmResult<()> {
        self.throw_again(builder, exception);
        Ok(())
    }

    fn ref_null(&mut self, builder: &mut FunctionBuilder<'_>, ty: RefType) -> WasmResult<Value> {
        let ty = self.reference_type(ty);
        Ok(builder.ins().iconst(ty, 0))
    }

    fn ref_is_null(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        value: Value,
    ) -> WasmResult<Value> {
        let ty = builder.func.dfg.value_type(value);
        let zero = builder.ins().iconst(ty, 0);
        let is_null = builder.ins().icmp(ir::condcodes::IntCC::Equal, value, zero);
        Ok(builder.ins().uextend(types::I32, is_null))
    }

    fn ref_as_non_null(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        value: Value,
    ) -> WasmResult<()> {
        self.check_non_null(builder, value);
        Ok(())
    }

    fn ref_func(&mut self, builder: &mut FunctionBuilder<'_>, function: u32) -> WasmResult<Value> {
        Ok(self.function_reference(builder, function))
    }

    fn global_get(&mut self, builder: &mut FunctionBuilder<'_>, global: u32) -> WasmResult<Value> {
        Ok(self.read_global(builder, global))
    }

    fn global_set(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        global: u32,
        value: Value,
    ) -> WasmResult<()> {
        self.write_global(builder, global, value);
        Ok(())
    }
}
