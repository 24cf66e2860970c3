//! Compiles one function.

use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Result, anyhow};
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{Function, UserFuncName};
use cranelift_codegen::isa::TargetIsa;
use cranelift_codegen::{CodegenError, CodegenResult, Context, settings};
use cranelift_wasm::{FuncTranslator, WasmError};
use wasmparser::{FuncToValidate, FuncValidatorAllocations};

use super::code::{Code, Failure};
use super::env::{Env, ModuleScope, Tracking};
use super::fuel_sites::FuelLocator;
use super::isa::Targets;
use super::locations;
use super::parse::Body;
use super::settings::FuelTracking;
use super::signature;
use crate::vm::layout::FuelAt;

/// Compiles functions one after the other, reusing its allocations.
pub(super) struct Worker {
    translator: FuncTranslator,
    context: Context,
    registers: regalloc2::Ctx,
    allocations: FuncValidatorAllocations,
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            translator: FuncTranslator::new(),
            context: Context::new(),
            registers: regalloc2::Ctx::default(),
            allocations: FuncValidatorAllocations::default(),
        }
    }
}

impl Worker {
    /// Compiles a function of a module, within `memory` bytes as they are estimated.
    pub(super) fn compile(
        &mut self,
        targets: &Targets,
        module: &ModuleScope<'_>,
        body: &Body<'_>,
        memory: Option<u64>,
    ) -> Result<Code, Failure> {
        self.translator.set_memory_limit(memory);
        let tracking = match (module.settings.metered, module.settings.fuel_tracking) {
            (false, _) => Tracking::Off,
            (true, FuelTracking::Located) => Tracking::Located,
            (true, FuelTracking::WriteThrough) => Tracking::WriteThrough,
        };
        let mut result = self.attempt(targets, module, body, tracking);
        if matches!(result, Err(Failure::NotLocated)) {
            result = self.attempt(targets, module, body, Tracking::WriteThrough);
            result = result.map(|code| Code { fell_back: true, ..code });
        }
        result
    }

    /// A panic in the code generator is a bug there; it must not bring the host down.
    fn attempt(
        &mut self,
        targets: &Targets,
        module: &ModuleScope<'_>,
        body: &Body<'_>,
        tracking: Tracking,
    ) -> Result<Code, Failure> {
        let attempt =
            AssertUnwindSafe(|| self.translate_and_generate(targets, module, body, tracking));
        catch_unwind(attempt).unwrap_or_else(|_| {
            *self = Self::default();
            Err(anyhow!("internal error: the code generator panicked").into())
        })
    }

    fn translate_and_generate(
        &mut self,
        targets: &Targets,
        module: &ModuleScope<'_>,
        body: &Body<'_>,
        tracking: Tracking,
    ) -> Result<Code, Failure> {
        let FuncToValidate { resources, index, ty, features } = &body.validator;
        let validator = FuncToValidate {
            resources: resources.clone(),
            index: *index,
            ty: *ty,
            features: *features,
        };
        let mut validator = validator.into_validator(std::mem::take(&mut self.allocations));
        self.context.clear();
        self.context.func.name = UserFuncName::user(0, *index);
        self.context.func.signature = signature::wasm(module.info.function_type(*index));
        let mut env = Env::new(module, body.body.range().start as u32, tracking);
        let func = &mut self.context.func;
        let translated = self.translator.translate(&mut validator, &body.body, func, &mut env);
        self.allocations = validator.into_allocations();
        translated.map_err(|error| match error {
            WasmError::Memory(_) => Failure::Memory,
            error => error.into(),
        })?;
        env.spare_vector_registers(func);
        let (builtins, accesses) = env.finish();
        let isa = match self.context.func.layout.blocks().nth(MAX_BLOCKS) {
            None => &targets.normal,
            // The quick target does not tell where values are.
            Some(_) if tracking == Tracking::Located => return Err(Failure::NotLocated),
            Some(_) => &targets.quick,
        };
        let locator = (tracking != Tracking::Off).then(|| FuelLocator::new(accesses));
        let mut code = Code { builtins, ..self.generate(&**isa, locator)? };
        code.attribute_rest(body.body.range().start as u32);
        Ok(code)
    }

    /// Compiles a function that was made without a translator.
    pub(super) fn compile_clif(&mut self, isa: &dyn TargetIsa, func: Function) -> Result<Code> {
        self.context.clear();
        self.context.func = func;
        self.generate(isa, None).map_err(Failure::into_error)
    }

    /// Does what Cranelift's own `compile` does, and between its steps what is ours.
    fn generate(
        &mut self,
        isa: &dyn TargetIsa,
        mut locator: Option<FuelLocator>,
    ) -> Result<Code, Failure> {
        let control = &mut ControlPlane::default();
        let context = &mut self.context;
        prepare(context, isa, locator.as_mut()).map_err(codegen_error)?;
        if isa.flags().opt_level() != settings::OptLevel::None && !has_deep_loops(context) {
            context.egraph_pass(isa, control).map_err(codegen_error)?;
        }
        locations::attribute_to_loads(&mut context.func);
        if let Some(locator) = &mut locator {
            locator.label(&mut context.func);
        }
        let (func, domtree) = (&context.func, &context.domtree);
        let compiled = isa.compile_function(func, domtree, &mut self.registers, false, control);
        let compiled = compiled.map_err(codegen_error)?.apply_params(&func.params);
        Code::collect(func, &compiled, |site| match &locator {
            Some(locator) => locator.locate(&compiled.value_labels_ranges, site),
            None => Some((site.operator, FuelAt::Unmetered)),
        })
    }
}

/// The most blocks of a function that is optimized. Register allocation takes time that grows with
/// their square where a value lives through all of them, as the fuel counter does: 5 s for 30,000.
/// Beyond it every value has a place on the stack, and a frame may not fit what the guest may use.
const MAX_BLOCKS: usize = 50_000;

/// The deepest nest of loops that is optimized.
const MAX_LOOP_DEPTH: usize = 100;

/// Whether loops are nested so deeply that only somebody who means to waste time writes them:
/// optimization takes time that grows with the third power of the depth.
fn has_deep_loops(context: &mut Context) -> bool {
    context.compute_loop_analysis();
    let level = |block| context.loop_analysis.loop_level(block).level();
    context.func.layout.blocks().any(|block| level(block) > MAX_LOOP_DEPTH)
}

/// What comes before optimization; in its course aliases of values become unknown.
fn prepare(
    context: &mut Context,
    isa: &dyn TargetIsa,
    locator: Option<&mut FuelLocator>,
) -> CodegenResult<()> {
    context.verify_if(isa)?;
    if isa.flags().enable_nan_canonicalization() {
        context.canonicalize_nans(isa)?;
    }
    context.compute_cfg();
    context.compute_domtree();
    context.eliminate_unreachable_code(isa)?;
    context.remove_constant_phis(isa)?;
    if let Some(locator) = locator {
        locator.resolve(&context.func.dfg);
    }
    context.func.dfg.resolve_all_aliases();
    Ok(())
}

/// A function as errors name it.
pub(super) fn describe(module: &ModuleScope<'_>, function: u32) -> String {
    match module.info.function_name(function) {
        Some(name) => format!("compiling function {function} (`{name}`)"),
        None => format!("compiling function {function}"),
    }
}

fn codegen_error(error: CodegenError) -> anyhow::Error {
    match error {
        CodegenError::ImplLimitExceeded | CodegenError::CodeTooLarge => {
            anyhow!("the function is too large")
        }
        error => anyhow!("internal error: {error}"),
    }
}
