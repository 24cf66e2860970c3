//! The driver: one function body, operator by operator.

use cranelift_codegen::ir::{self, Block, BlockArg, InstBuilder, Value};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use wasmparser::{
    BinaryReader, BlockType, FrameKind, FuncValidator, FunctionBody, Operator, OperatorsReader,
    OperatorsReaderAllocations, ValType, WasmModuleResources,
};

use crate::limits::Limits;
use crate::lines::Lines;
use crate::rounds::Ahead;
use crate::stack::Stacks;
use crate::translation::{Local, Translation, is_collected, value_type};
use crate::{FuncEnvironment, WasmError, WasmResult};

/// Translates function bodies, one after the other.
///
/// It keeps its allocations from one function to the next, so use one translator for each thread
/// that compiles.
#[derive(Default)]
pub struct FuncTranslator {
    frontend: FunctionBuilderContext,
    operators: OperatorsReaderAllocations,
    stacks: Stacks,
    locals: Vec<Local>,
    args: Vec<BlockArg>,
    memory_limit: Option<u64>,
}

impl FuncTranslator {
    /// Makes a translator.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bounds the memory that each of the next functions may take, in bytes; `None`, the default,
    /// is no bound.
    ///
    /// What a function takes is estimated, from above, from what its translation makes, and covers
    /// what Cranelift then takes to optimize it and to allocate its registers.
    pub fn set_memory_limit(&mut self, bytes: Option<u64>) {
        self.memory_limit = bytes;
    }

    /// Validates `body` and translates it into `func`.
    ///
    /// `func` must be empty but for its signature, whose parameters are those that
    /// [`FuncEnvironment::hidden_params`] counts, then those of the wasm function. `validator` must
    /// be new, and made for the function of this body.
    ///
    /// # Errors
    ///
    /// When the body is invalid, uses what is not supported, or exceeds a limit of translation; and
    /// whatever error `env` answers. `func` is then left incomplete; the translator
    /// can be used for another function.
    ///
    /// # Panics
    ///
    /// When `func`'s signature does not fit the wasm function.
    pub fn translate(
        &mut self,
        validator: &mut FuncValidator<impl WasmModuleResources>,
        body: &FunctionBody<'_>,
        func: &mut ir::Function,
        env: &mut impl FuncEnvironment,
    ) -> WasmResult<()> {
        self.stacks.clear();
        self.locals.clear();
        let translation = Translation {
            builder: FunctionBuilder::new(func, &mut self.frontend),
            lines: env.divides_lines().then(Lines::new),
            env,
            stacks: &mut self.stacks,
            locals: &mut self.locals,
            args: &mut self.args,
            limits: Limits::new(self.memory_limit),
            offset: 0,
        };
        let result = translation.body(validator, body, &mut self.operators);
        if result.is_err() {
            // Only a finished function leaves it empty.
            self.frontend = FunctionBuilderContext::new();
        }
        result
    }
}

/// An operator that was read and validated.
pub(crate) struct Read<'b> {
    pub(crate) operator: Operator<'b>,
    /// Where it stands in the module.
    pub(crate) offset: usize,
    /// How many values are on the operand stack behind it, as validation has it.
    pub(crate) height: usize,
}

impl<E: FuncEnvironment> Translation<'_, '_, E> {
    fn body(
        mut self,
        validator: &mut FuncValidator<impl WasmModuleResources>,
        body: &FunctionBody<'_>,
        allocations: &mut OperatorsReaderAllocations,
    ) -> WasmResult<()> {
        let ty = validator
            .get_control_frame(0)
            .expect("a new validator has the function's frame")
            .block_type;
        let entry = self.builder.create_block();
        self.builder.append_block_params_for_function_params(entry);
        self.builder.switch_to_block(entry);
        self.builder.seal_block(entry);
        // The environment finds its hidden parameters through the layout.
        self.builder.ensure_inserted_block();
        self.offset = body.range().start as usize;
        self.params(entry, ty)?;
        let mut reader = self.declared_locals(validator, body)?;
        self.env.function_entry(&mut self.builder)?;
        self.push_body(ty);

        reader.set_features(*validator.features());
        let mut operators = OperatorsReader::new_with_allocs(reader, std::mem::take(allocations));
        let mut ahead = Ahead::new(body.as_bytes().len());
        while let Some(next) = ahead.next(&mut self, validator, &mut operators)? {
            if !self.short_loop(&next, &mut ahead, validator, &mut operators)? {
                self.step(&next)?;
            }
        }
        operators.finish()?;
        *allocations = operators.into_allocations();
        self.builder.finalize(self.env.frontend_config());
        Ok(())
    }

    /// Makes locals of the function's wasm parameters.
    fn params(&mut self, entry: Block, ty: BlockType) -> WasmResult<()> {
        let BlockType::FuncType(index) = ty else {
            unreachable!("a function's frame has the function's type");
        };
        let hidden = self.env.hidden_params();
        for i in 0..self.env.type_at(index).params().len() {
            let ty = self.env.type_at(index).params()[i];
            let value = self.builder.block_params(entry)[hidden + i];
            self.local_of(ty, value)?;
        }
        Ok(())
    }

    /// Reads the body's declarations of locals, which begin as zero or null; answers the rest.
    fn declared_locals<'b>(
        &mut self,
        validator: &mut FuncValidator<impl WasmModuleResources>,
        body: &FunctionBody<'b>,
    ) -> WasmResult<BinaryReader<'b>> {
        let mut reader = body.get_locals_reader()?;
        for _ in 0..reader.get_count() {
            let offset = reader.original_position();
            self.offset = offset as usize;
            let (count, ty) = reader.read()?;
            // This bounds the sum of the counts, too.
            validator.define_locals(offset, count, ty)?;
            if count > 0 {
                let value = self.initial_value(ty)?;
                for _ in 0..count {
                    self.local_of(ty, value)?;
                }
            }
        }
        Ok(reader.get_binary_reader())
    }

    /// Declares a local that begins as `value`.
    fn local_of(&mut self, ty: ValType, value: Value) -> WasmResult<()> {
        let clif = value_type(self.env, ty);
        let variable = self.builder.declare_var(clif);
        let is_collected = is_collected(self.env, ty);
        if is_collected {
            self.builder.declare_var_needs_stack_map(variable);
        }
        self.builder.def_var(variable, value);
        self.locals.push(Local { variable, in_use: false, is_collected });
        Ok(())
    }

    /// Zero or null.
    fn initial_value(&mut self, ty: ValType) -> WasmResult<Value> {
        let clif = value_type(self.env, ty);
        match ty {
            ValType::Ref(ty) => self.env.ref_null(&mut self.builder, ty),
            ValType::V128 => Ok(self.zero_vector(clif)),
            ValType::F32 => Ok(self.builder.ins().f32const(0.0)),
            ValType::F64 => Ok(self.builder.ins().f64const(0.0)),
            _ => Ok(self.builder.ins().iconst(clif, 0)),
        }
    }

    /// Reads one operator and validates it.
    pub(crate) fn read<'b>(
        &mut self,
        validator: &mut FuncValidator<impl WasmModuleResources>,
        operators: &mut OperatorsReader<'b>,
    ) -> WasmResult<Read<'b>> {
        let (operator, offset) = operators.read_with_offset()?;
        self.offset = offset as usize;
        if let Operator::BrTable { targets } = &operator {
            let arity = self.label_arity(validator, targets.default());
            self.limits.table(targets.len(), arity)?;
        }
        validator.op(offset, &operator)?;
        let height = validator.operand_stack_height() as usize;
        Ok(Read { operator, offset: offset as usize, height })
    }

    /// Translates one operator.
    pub(crate) fn step(&mut self, read: &Read<'_>) -> WasmResult<()> {
        self.before(read)?;
        if self.stacks.reachable {
            self.limits.operator(&read.operator);
            self.operator(&read.operator)?;
        } else {
            self.dead_operator(&read.operator)?;
        }
        let operands = self.stacks.operands.len().max(read.height);
        self.limits.check(&self.builder.func.dfg, operands, self.env.declares_references())
    }

    /// What comes before each operator.
    pub(crate) fn before(&mut self, read: &Read<'_>) -> WasmResult<()> {
        self.offset = read.offset;
        let reachable = self.stacks.reachable;
        self.divide_line(&read.operator, reachable)?;
        self.env.before_operator(&mut self.builder, &read.operator, self.offset, reachable)
    }

    /// Tracks nesting in unreachable code.
    fn dead_operator(&mut self, operator: &Operator<'_>) -> WasmResult<()> {
        match operator {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => {
                self.stacks.dead_depth += 1;
                Ok(())
            }
            Operator::Else if self.stacks.dead_depth == 0 => self.else_(),
            Operator::End if self.stacks.dead_depth == 0 => self.end(),
            Operator::End => {
                self.stacks.dead_depth -= 1;
                Ok(())
            }
            Operator::Try { .. } | Operator::TryTable { .. } => Err(self.unsupported(operator)),
            _ => Ok(()),
        }
    }

    /// How many values a branch to `depth` takes; 0 where there is no such label.
    ///
    /// Unlike [`Stacks::label`] this knows the labels of unreachable code.
    fn label_arity(
        &self,
        validator: &FuncValidator<impl WasmModuleResources>,
        depth: u32,
    ) -> usize {
        let Some(frame) = validator.get_control_frame(depth as usize) else {
            return 0;
        };
        match (frame.block_type, frame.kind) {
            (BlockType::Empty, _) | (BlockType::Type(_), FrameKind::Loop) => 0,
            (BlockType::Type(_), _) => 1,
            (BlockType::FuncType(index), FrameKind::Loop) => self.env.type_at(index).params().len(),
            (BlockType::FuncType(index), _) => self.env.type_at(index).results().len(),
        }
    }

    /// The error for an operator that has no translation.
    pub(crate) fn unsupported(&self, operator: &Operator<'_>) -> WasmError {
        WasmError::Unsupported {
            offset: self.offset,
            what: format!("the operator {}", crate::operator::name(operator)),
        }
    }
}
