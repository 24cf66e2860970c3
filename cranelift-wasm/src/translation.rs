//! One function's translation in progress: what all operators share.

use cranelift_codegen::ir::{self, BlockArg, InstBuilder, InstructionData, Opcode, Value, types};
use cranelift_frontend::{FunctionBuilder, Variable};
use wasmparser::ValType;

use crate::limits::Limits;
use crate::lines::Lines;
use crate::simd::VECTOR;
use crate::stack::Stacks;
use crate::{FuncEnvironment, WasmResult};

/// A local, parameters included.
pub(crate) struct Local {
    pub(crate) variable: Variable,
    /// Whether an operator reads or writes it.
    pub(crate) in_use: bool,
    /// Whether it belongs into stack maps.
    pub(crate) is_collected: bool,
}

/// One function's translation in progress.
///
/// The methods stand in files by families of operators; each is called for reachable operators
/// only, after validation.
pub(crate) struct Translation<'t, 'f, E> {
    pub(crate) builder: FunctionBuilder<'f>,
    pub(crate) env: &'t mut E,
    pub(crate) stacks: &'t mut Stacks,
    pub(crate) locals: &'t mut Vec<Local>,
    /// The arguments of the branch that is being made.
    pub(crate) args: &'t mut Vec<BlockArg>,
    pub(crate) limits: Limits,
    /// Where lines are divided, if the environment wants that.
    pub(crate) lines: Option<Lines>,
    /// Where the current operator stands in the module.
    pub(crate) offset: usize,
}

/// The CLIF type of a wasm value.
pub(crate) fn value_type(env: &impl FuncEnvironment, ty: ValType) -> ir::Type {
    match ty {
        ValType::I32 => types::I32,
        ValType::I64 => types::I64,
        ValType::F32 => types::F32,
        ValType::F64 => types::F64,
        ValType::V128 => VECTOR,
        ValType::Ref(ty) => env.reference_type(ty),
    }
}

/// Whether values of this type belong into stack maps.
pub(crate) fn is_collected(env: &impl FuncEnvironment, ty: ValType) -> bool {
    matches!(ty, ValType::Ref(ty) if env.needs_stack_map(ty))
}

impl<E: FuncEnvironment> Translation<'_, '_, E> {
    /// Pops an i32 that is only asked whether it is zero.
    ///
    /// Of a comparison that is the i8 it had before it was extended.
    pub(crate) fn pop_condition(&mut self) -> Value {
        let value = self.stacks.pop();
        self.comparison_behind(value).unwrap_or(value)
    }

    /// The i8 of which `value` is the extension.
    pub(crate) fn comparison_behind(&self, value: Value) -> Option<Value> {
        let dfg = &self.builder.func.dfg;
        let inst = dfg.value_def(value).inst()?;
        match dfg.insts[inst] {
            InstructionData::Unary { opcode: Opcode::Uextend, arg }
                if dfg.value_type(arg) == types::I8 =>
            {
                Some(arg)
            }
            _ => None,
        }
    }

    /// The integer that `value` is known to be, sign-extended.
    pub(crate) fn known_integer(&self, value: Value) -> Option<i64> {
        let dfg = &self.builder.func.dfg;
        let inst = dfg.value_def(value).inst()?;
        match dfg.insts[inst] {
            InstructionData::UnaryImm { opcode: Opcode::Iconst, imm }
                if dfg.value_type(value) == types::I32 =>
            {
                Some(i64::from(imm.bits() as i32))
            }
            InstructionData::UnaryImm { opcode: Opcode::Iconst, imm } => Some(imm.bits()),
            _ => None,
        }
    }

    /// `drop`.
    pub(crate) fn drop(&mut self) {
        self.stacks.pop();
    }

    /// `select`, with a type where references are selected.
    pub(crate) fn select(&mut self, ty: Option<ValType>) {
        let condition = self.pop_condition();
        let (one, other) = self.stacks.pop2();
        let value = self.builder.ins().select(condition, one, other);
        if ty.is_some_and(|ty| is_collected(self.env, ty)) {
            self.builder.declare_value_needs_stack_map(value);
        }
        self.stacks.push(value);
    }

    /// `local.get`.
    pub(crate) fn local_get(&mut self, index: u32) {
        let variable = self.local(index);
        let value = self.builder.use_var(variable);
        self.stacks.push(value);
    }

    /// `local.set`.
    pub(crate) fn local_set(&mut self, index: u32) {
        let variable = self.local(index);
        let value = self.stacks.pop();
        self.builder.def_var(variable, value);
    }

    /// `local.tee`.
    pub(crate) fn local_tee(&mut self, index: u32) {
        self.local_set(index);
        self.local_get(index);
    }

    /// `global.get`.
    pub(crate) fn global_get(&mut self, index: u32) -> WasmResult<()> {
        let value = self.env.global_get(&mut self.builder, index)?;
        self.stacks.push(value);
        Ok(())
    }

    /// `global.set`.
    pub(crate) fn global_set(&mut self, index: u32) -> WasmResult<()> {
        let value = self.stacks.pop();
        self.env.global_set(&mut self.builder, index, value)
    }

    fn local(&mut self, index: u32) -> Variable {
        let local = &mut self.locals[index as usize];
        if !local.in_use {
            local.in_use = true;
            self.limits.use_local(local.is_collected);
        }
        local.variable
    }
}
