//! What the translator asks of the runtime, answered for this runtime.
//!
//! The methods of its traits stand in `func_environ`, `memory_environ`, `table_environ` and
//! `object_environ`; what they do stands in a file for each topic. Every function takes two hidden
//! arguments, the callee's context and the caller's (see [`crate::vm::layout`]).
//!
//! Source locations are set for operators that can trap or call, where their instructions are made;
//! `compile::locations` sees to the rest. Only for debuggers and profilers every operator has one.

mod allocation;
mod bulk;
mod calls;
mod casts;
mod exceptions;
mod fuel;
mod func_environ;
mod globals;
mod interrupts;
mod memory;
mod memory_environ;
mod object_environ;
mod objects;
mod references;
mod rounds;
mod table_environ;
mod tables;
mod tail_calls;

use std::collections::HashMap;

use cranelift_codegen::ir::immediates::Offset32;
use cranelift_codegen::ir::{
    self, AliasRegionData, FuncRef, GlobalValueData, InstBuilder, MemFlagsData, SigRef, SourceLoc,
    Type, Value,
};
use cranelift_codegen::isa::TargetFrontendConfig;
use cranelift_frontend::FunctionBuilder;
use cranelift_wasm::RelaxedSimd;

use super::info::ModuleInfo;
use super::settings::Settings;
use super::signature::POINTER;
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
    Object,
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
    builtins: u64,
    /// Whether a value was declared for the stack maps.
    declares_references: bool,
    exceptions: exceptions::Exceptions,
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
            exceptions: exceptions::Exceptions::default(),
            functions: HashMap::new(),
            signatures: HashMap::new(),
            stubs: HashMap::new(),
            plain: HashMap::new(),
        }
    }

    /// The builtins that the function calls, a bit for each, and its accesses to memory.
    pub(super) fn finish(self) -> (u64, Vec<Access>) {
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
        Region::Object => "object",
    };
    builder
        .func
        .dfg
        .alias_regions
        .insert(AliasRegionData { user_id: region as u32, description: description.into() })
}
