//! What the translator asks of the runtime, answered for this runtime.
//!
//! The trait's methods stand here; what they do stands in a file for each topic. Every function
//! takes two hidden arguments, the callee's context and the caller's (see [`crate::vm::layout`]).
//!
//! Source locations are set for operators that can trap or call, where their instructions are made;
//! `compile::locations` sees to the rest. Only for debuggers and profilers every operator has one.

mod bulk;
mod calls;
mod fuel;
mod globals;
mod interrupts;
mod memory;
mod references;
mod rounds;
mod tables;
mod tail_calls;

use std::collections::HashMap;

use cranelift_codegen::ir::immediates::Offset32;
use cranelift_codegen::ir::{
    self, AliasRegionData, Block, FuncRef, GlobalValueData, InstBuilder, MemFlagsData, SigRef,
    SourceLoc, TrapCode, Type, Value, types,
};
use cranelift_codegen::isa::TargetFrontendConfig;
use cranelift_frontend::FunctionBuilder;
use cranelift_wasm::{
    FuncEnvironment, HeapAccess, HeapAddress, RelaxedSimd, Rounds, Values, WasmResult,
};
use wasmparser::{Operator, RefType};

use super::info::ModuleInfo;
use super::settings::Settings;
use super::signature::{HIDDEN_PARAMS, POINTER};
use super::traps;
use crate::types::ValType;
use crate::vm::layout::{Builtin, ContextLayout, VMContext, VMStore};

pub(super) use fuel::{Access, Tracking};

/// What all functions of a module share while they are compiled.
pub(super) struct ModuleScope<'m> {
    pub(super) info: &'m ModuleInfo,
    /// The types of the module as the translator wants them.
    pub(super) types: &'m [wasmparser::SubType],
    pub(super) layout: &'m ContextLayout,
    pub(super) settings: &'m Settings,
    pub(super) frontend: TargetFrontendConfig,
    pub(super) relaxed_simd: RelaxedSimd,
}

/// Parts of memory that never overlap: stores to one do not change what loads of another answer.
#[derive(Clone, Copy)]
#[repr(u32)]
enum Region {
    Context,
    Heap,
    Table,
}

/// The environment of one function.
pub(super) struct Env<'m> {
    module: &'m ModuleScope<'m>,
    /// The own context, from the entry of the function on.
    context: Value,
    /// Where the current operator stands in the module.
    offset: u32,
    /// The operand of the operator before, if that was a constant.
    constant: Option<i64>,
    fuel: fuel::Fuel,
    builtins: u32,
    /// Whether a value was declared for the stack maps.
    declares_references: bool,
    functions: HashMap<u32, FuncRef>,
    signatures: HashMap<u32, SigRef>,
    stubs: HashMap<Builtin, FuncRef>,
    /// The signatures of the builtins that are called without.
    plain: HashMap<Builtin, SigRef>,
}

impl<'m> Env<'m> {
    /// The environment of a function whose body starts at `offset` of the module.
    pub(super) fn new(module: &'m ModuleScope<'m>, offset: u32, tracking: Tracking) -> Self {
        Self {
            module,
            context: Value::from_u32(0),
            offset,
            constant: None,
            fuel: fuel::Fuel::new(tracking),
            builtins: 0,
            declares_references: false,
            functions: HashMap::new(),
            signatures: HashMap::new(),
            stubs: HashMap::new(),
            plain: HashMap::new(),
        }
    }

    /// The builtins that the function calls, a bit for each, and its accesses to memory.
    pub(super) fn finish(self) -> (u32, Vec<Access>) {
        (self.builtins, self.fuel.finish())
    }

    /// Lets the host be heard, between two operators.
    fn check_in_line(&mut self, builder: &mut FunctionBuilder<'_>) {
        self.check_fuel_in_line(builder);
        self.check_interrupts(builder);
    }

    /// Attributes the instructions that follow to the current operator.
    fn locate(&self, builder: &mut FunctionBuilder<'_>) {
        builder.set_srcloc(SourceLoc::new(self.offset));
    }

    /// Lets a collection find a value, if it is a reference to what it looks after.
    fn declare(&mut self, builder: &mut FunctionBuilder<'_>, ty: ValType, value: Value) {
        if ty.is_collected() {
            self.declares_references = true;
            builder.declare_value_needs_stack_map(value);
        }
    }

    /// Flags of an access that cannot fault.
    fn trusted(&self, builder: &mut FunctionBuilder<'_>, region: Region) -> MemFlagsData {
        MemFlagsData::trusted().with_alias_region(Some(alias_region(builder, region)))
    }

    /// Loads what never changes while the instance lives, from a context or what it points to.
    fn load_constant(
        &self,
        builder: &mut FunctionBuilder<'_>,
        ty: Type,
        base: Value,
        offset: u32,
    ) -> Value {
        let flags = MemFlagsData::trusted().with_readonly().with_can_move();
        builder.ins().load(ty, flags, base, displacement(offset))
    }

    /// Loads from a context or what it points to.
    fn load_field(
        &self,
        builder: &mut FunctionBuilder<'_>,
        ty: Type,
        base: Value,
        offset: u32,
    ) -> Value {
        let flags = self.trusted(builder, Region::Context);
        builder.ins().load(ty, flags, base, displacement(offset))
    }

    /// Makes the prologue compare the stack pointer with the store's limit.
    fn limit_stack(&self, builder: &mut FunctionBuilder<'_>) {
        let func = &mut *builder.func;
        let constant = func
            .dfg
            .mem_flags
            .insert_unchecked(MemFlagsData::trusted().with_readonly().with_can_move());
        let variable = func.dfg.mem_flags.insert_unchecked(MemFlagsData::trusted());
        let context = func.create_global_value(GlobalValueData::VMContext);
        let store = func.create_global_value(GlobalValueData::Load {
            base: context,
            offset: Offset32::new(std::mem::offset_of!(VMContext, store) as i32),
            global_type: POINTER,
            flags: constant,
        });
        let limit = func.create_global_value(GlobalValueData::Load {
            base: store,
            offset: Offset32::new(std::mem::offset_of!(VMStore, stack_limit) as i32),
            global_type: POINTER,
            flags: variable,
        });
        func.stack_limit = Some(limit);
    }
}

/// An offset in a context as a displacement; the sizes of contexts are bounded by validation.
fn displacement(offset: u32) -> i32 {
    offset as i32
}

fn alias_region(builder: &mut FunctionBuilder<'_>, region: Region) -> ir::AliasRegion {
    let description = match region {
        Region::Context => "context",
        Region::Heap => "memory",
        Region::Table => "table",
    };
    builder
        .func
        .dfg
        .alias_regions
        .insert(AliasRegionData { user_id: region as u32, description: description.into() })
}

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

    fn heap_address(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        memory: u32,
        index: Value,
        offset: u64,
        size: u8,
        _access: HeapAccess,
    ) -> WasmResult<HeapAddress> {
        Ok(self.address(builder, memory, index, offset, size))
    }

    fn memory_size(&mut self, builder: &mut FunctionBuilder<'_>, memory: u32) -> WasmResult<Value> {
        Ok(self.pages(builder, memory))
    }

    fn memory_grow(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        memory: u32,
        delta: Value,
    ) -> WasmResult<Value> {
        let former = self.builtin_of(builder, Builtin::memory_grow, &[memory], &[delta]);
        let former = former.expect("the builtin has a result");
        Ok(memory::narrow(builder, former, self.is_64(memory)))
    }

    fn memory_fill(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        memory: u32,
        dst: Value,
        byte: Value,
        len: Value,
    ) -> WasmResult<()> {
        if !self.fill_inline(builder, memory, (dst, byte), len) {
            self.fill_of_any_length(builder, memory, (dst, byte), len);
        }
        Ok(())
    }

    fn memory_copy(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        memories: (u32, u32),
        dst: Value,
        src: Value,
        len: Value,
    ) -> WasmResult<()> {
        if !self.copy_inline(builder, memories, (dst, src), len) {
            self.copy_of_any_length(builder, memories, (dst, src), len);
        }
        Ok(())
    }

    fn memory_init(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        memory: u32,
        segment: u32,
        dst: Value,
        src: Value,
        len: Value,
    ) -> WasmResult<()> {
        let args = [dst, src, len];
        self.builtin_of(builder, Builtin::memory_init, &[memory, segment], &args);
        Ok(())
    }

    fn data_drop(&mut self, builder: &mut FunctionBuilder<'_>, segment: u32) -> WasmResult<()> {
        self.builtin_of(builder, Builtin::data_drop, &[segment], &[]);
        Ok(())
    }

    fn table_get(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        table: u32,
        index: Value,
    ) -> WasmResult<Value> {
        Ok(self.read_element(builder, table, index))
    }

    fn table_set(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        table: u32,
        index: Value,
        value: Value,
    ) -> WasmResult<()> {
        self.write_element(builder, table, index, value);
        Ok(())
    }

    fn table_size(&mut self, builder: &mut FunctionBuilder<'_>, table: u32) -> WasmResult<Value> {
        let elements = self.table_len(builder, table);
        Ok(memory::narrow(builder, elements, self.is_table_64(table)))
    }

    fn table_grow(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        table: u32,
        init: Value,
        delta: Value,
    ) -> WasmResult<Value> {
        let former = self.builtin_of(builder, Builtin::table_grow, &[table], &[init, delta]);
        let former = former.expect("the builtin has a result");
        Ok(memory::narrow(builder, former, self.is_table_64(table)))
    }

    fn table_fill(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        table: u32,
        dst: Value,
        value: Value,
        len: Value,
    ) -> WasmResult<()> {
        self.builtin_of(builder, Builtin::table_fill, &[table], &[dst, value, len]);
        Ok(())
    }

    fn table_copy(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        tables: (u32, u32),
        dst: Value,
        src: Value,
        len: Value,
    ) -> WasmResult<()> {
        let tables = [tables.0, tables.1];
        self.builtin_of(builder, Builtin::table_copy, &tables, &[dst, src, len]);
        Ok(())
    }

    fn table_init(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        table: u32,
        segment: u32,
        dst: Value,
        src: Value,
        len: Value,
    ) -> WasmResult<()> {
        let args = [dst, src, len];
        self.builtin_of(builder, Builtin::table_init, &[table, segment], &args);
        Ok(())
    }

    fn elem_drop(&mut self, builder: &mut FunctionBuilder<'_>, segment: u32) -> WasmResult<()> {
        self.builtin_of(builder, Builtin::elem_drop, &[segment], &[]);
        Ok(())
    }
}
