//! What a translator asks of the runtime that it generates code for.

use cranelift_codegen::ir::{self, Block, InstBuilder, TrapCode, Value};
use cranelift_codegen::isa::TargetFrontendConfig;
use cranelift_frontend::FunctionBuilder;
use smallvec::SmallVec;
use wasmparser::{FuncType, Operator, RefType};

use crate::{Handler, MemoryEnvironment, ObjectEnvironment, TableEnvironment, WasmResult};

/// The results of a call: most functions have one or none.
pub type Values = SmallVec<[Value; 2]>;

/// Who chooses the results that the specification leaves open for relaxed vector operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelaxedSimd {
    /// The instructions of x86-64, which are faster; else the specification's deterministic profile,
    /// the same on every machine.
    pub x86: bool,
    /// Whether products with sums are rounded once, as the deterministic profile wants it. The target
    /// needs an instruction for it.
    pub fused: bool,
}

impl RelaxedSimd {
    /// The deterministic profile.
    pub const DETERMINISTIC: Self = Self { x86: false, fused: true };
}

/// How a short loop is written in several rounds.
#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    /// How many rounds follow one another.
    pub count: u32,
    /// What all of them but the last cost at the most, in units of the environment's.
    pub cost: i64,
}

/// The runtime's side of translation.
///
/// The translator owns control flow, the operand stack, locals and every operator that is
/// pure computation. All else — calls, references, globals, memories, tables, traps and
/// accounting — it asks of the environment. Indices are those of the module's index spaces, and
/// always valid, because a function is validated operator by operator before it is translated.
///
/// Source locations belong to the environment too: the translator never calls
/// [`FunctionBuilder::set_srcloc`].
pub trait FuncEnvironment: MemoryEnvironment + TableEnvironment + ObjectEnvironment {
    /// What the target instruction set tells frontends: `TargetIsa::frontend_config`.
    fn frontend_config(&self) -> TargetFrontendConfig;

    /// The CLIF type that represents a reference of this type.
    fn reference_type(&self, ty: RefType) -> ir::Type;

    /// Whether references of this type must be found on the stack by a collector.
    ///
    /// The translator then declares its locals, block parameters and selected values of this type
    /// for the user stack maps. Results of the environment's own methods the environment
    /// declares itself.
    fn needs_stack_map(&self, ty: RefType) -> bool {
        let _ = ty;
        false
    }

    /// Whether a method of the environment has declared a value of this function for the user stack
    /// maps. What finding such values costs is bounded.
    fn declares_references(&self) -> bool {
        false
    }

    /// The function type at `index` of the type section.
    fn type_at(&self, index: u32) -> &FuncType;

    /// The function type of function `index`.
    fn type_of_function(&self, index: u32) -> &FuncType;

    /// The function type of tag `index`.
    fn type_of_tag(&self, index: u32) -> &FuncType;

    /// Who chooses what the specification leaves open for relaxed vector operators.
    fn relaxed_simd(&self) -> RelaxedSimd {
        RelaxedSimd::DETERMINISTIC
    }

    /// How many parameters of the CLIF signature stand before the first wasm parameter.
    fn hidden_params(&self) -> usize;

    /// Called once, in the entry block, after parameters and locals have their values.
    fn function_entry(&mut self, builder: &mut FunctionBuilder<'_>) -> WasmResult<()>;

    /// Called before each operator, which stands at `offset` of the module; `reachable` tells
    /// whether code is generated for it.
    ///
    /// An `else` or `end` of an arm that is entered by falling through is reachable; the builder's
    /// current block is then still the one that falls through. An `end` that is only branched to
    /// is not reachable, but the operators after it are.
    fn before_operator(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        operator: &Operator<'_>,
        offset: usize,
        reachable: bool,
    ) -> WasmResult<()>;

    /// Called before the branch of each `br_if` and what branches on a reference in its way, which
    /// leads to the head of a loop if it is `backward`. If the answer is true the way to the label gets a block of its own, in which
    /// [`Self::branch_taken`] is called.
    fn conditional_branch(&mut self, builder: &mut FunctionBuilder<'_>, backward: bool) -> bool;

    /// Called in the block that the way of such a branch to its label has for itself.
    fn branch_taken(&mut self, builder: &mut FunctionBuilder<'_>);

    /// Called in the header block of each loop, before its first operator.
    fn loop_header(&mut self, builder: &mut FunctionBuilder<'_>) -> WasmResult<()>;

    /// Whether [`Self::rounds`] is to be asked about short loops.
    fn divides_loops(&self) -> bool {
        false
    }

    /// How a short loop of these operators is to be written, if several rounds of it may follow one
    /// another without what [`Self::loop_header`] makes. The loop is about to begin.
    fn rounds<'o>(&mut self, body: impl Iterator<Item = &'o Operator<'o>>) -> Option<Rounds> {
        let _ = body;
        None
    }

    /// Ends the header of a loop that is written in rounds: goes to `many` if all of them may run
    /// one after the other, and else to `one`, which gets what [`Self::loop_header`] makes.
    fn rounds_header(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        _rounds: Rounds,
        _many: Block,
        one: Block,
    ) {
        builder.ins().jump(one, &[]);
    }

    /// Called where a round of such a loop begins: the environment is to be in the state in which it
    /// was behind the `loop`, which stands at `offset` of the module.
    fn begin_round(&mut self, _offset: usize) {}

    /// Whether [`Self::long_line`] is to be called.
    fn divides_lines(&self) -> bool {
        false
    }

    /// Called before an operator if a thousand others may have run since the start of the function,
    /// the last header of a loop, or the last call of this.
    fn long_line(&mut self, _builder: &mut FunctionBuilder<'_>) -> WasmResult<()> {
        Ok(())
    }

    /// Returns from the function; terminates the current block.
    ///
    /// Called for `return`, for an unconditional `br` to the outermost label, and for the last
    /// `end` if that is fallen into or branched to, in the latter case after
    /// [`Self::before_operator`] for it was called with `reachable` false.
    fn return_(&mut self, builder: &mut FunctionBuilder<'_>, values: &[Value]) -> WasmResult<()>;

    /// Traps with the `unreachable` operator's code; terminates the current block.
    fn unreachable(&mut self, builder: &mut FunctionBuilder<'_>) -> WasmResult<()>;

    /// Traps with `code` where `condition` is not zero.
    fn trapnz(&mut self, builder: &mut FunctionBuilder<'_>, condition: Value, code: TrapCode);

    /// Whether division by zero and overflow of a division are checked through
    /// [`Self::trapnz`] before the division, instead of being left to the instruction.
    fn explicit_division_traps(&self) -> bool;

    /// `call`.
    fn call(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        function: u32,
        args: &[Value],
    ) -> WasmResult<Values>;

    /// `call_indirect`: `callee` is the i32 index into `table`.
    fn call_indirect(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        table: u32,
        ty: u32,
        callee: Value,
        args: &[Value],
    ) -> WasmResult<Values>;

    /// `call_ref`: `callee` is a reference, which may be null, to a function of type `ty`.
    fn call_ref(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        ty: u32,
        callee: Value,
        args: &[Value],
    ) -> WasmResult<Values>;

    /// `return_call`; terminates the current block.
    fn return_call(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        function: u32,
        args: &[Value],
    ) -> WasmResult<()>;

    /// `return_call_indirect`: `callee` is the index into `table`; terminates the current block.
    fn return_call_indirect(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        table: u32,
        ty: u32,
        callee: Value,
        args: &[Value],
    ) -> WasmResult<()>;

    /// `return_call_ref`: `callee` is a reference to a function of type `ty`, or null; terminates the
    /// current block.
    fn return_call_ref(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        ty: u32,
        callee: Value,
        args: &[Value],
    ) -> WasmResult<()>;

    /// Called for a `try_table`, with its clauses in order. From then to [`Self::leave_try`] a call
    /// that throws goes on in the landing block of the first clause that catches it, of the
    /// innermost construct that has one.
    fn enter_try(&mut self, handlers: &[Handler]);

    /// Called at the end of the innermost `try_table`, which has so many clauses.
    fn leave_try(&mut self, handlers: usize);

    /// To how many landing blocks a call leads that is made now.
    fn handlers(&self) -> usize;

    /// Called at the start of a landing block, whose parameters are `words`, before other code of
    /// the construct: answers the values of an exception with tag `tag`, none for `None`, and
    /// behind them the exception itself if it is wanted `by_reference`.
    fn caught(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        words: [Value; 2],
        tag: Option<u32>,
        by_reference: bool,
    ) -> WasmResult<Values>;

    /// `throw`; terminates the current block.
    fn throw(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        tag: u32,
        args: &[Value],
    ) -> WasmResult<()>;

    /// `throw_ref`; terminates the current block.
    fn throw_ref(&mut self, builder: &mut FunctionBuilder<'_>, exception: Value) -> WasmResult<()>;

    /// `ref.null`.
    fn ref_null(&mut self, builder: &mut FunctionBuilder<'_>, ty: RefType) -> WasmResult<Value>;

    /// `ref.is_null`: an i32, 0 or 1.
    fn ref_is_null(&mut self, builder: &mut FunctionBuilder<'_>, value: Value)
    -> WasmResult<Value>;

    /// `ref.as_non_null`: traps where `value` is null.
    fn ref_as_non_null(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        value: Value,
    ) -> WasmResult<()>;

    /// `ref.func`.
    fn ref_func(&mut self, builder: &mut FunctionBuilder<'_>, function: u32) -> WasmResult<Value>;

    /// `global.get`.
    fn global_get(&mut self, builder: &mut FunctionBuilder<'_>, global: u32) -> WasmResult<Value>;

    /// `global.set`.
    fn global_set(
        &mut self,
        builder: &mut FunctionBuilder<'_>,
        global: u32,
        value: Value,
    ) -> WasmResult<()>;
}
