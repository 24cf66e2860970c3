//! Executes a script in one way of running.

use std::collections::HashMap;

use anyhow::{Context, Result, anyhow, bail, ensure};
use lampwick::{Extern, Instance, Linker, Module, PoolLimitError, Store, Trap, TrapCode, Val};

use crate::drive::{self, Panicked, Random};
use crate::script::{Action, Directive, Script, Source, Step};
use crate::spectest;
use crate::values::{Argument, Expected, Shown};
use crate::way::{Fuel, Way};

/// Slices of fuel are from 1 to this.
const LARGEST_SLICE: u64 = 100;

/// A directive that would yield more often gets the larger ones of these slices. Only those come
/// near that fill, copy or grow 2^32 elements or bytes: they pay for what they ask for, and trap or
/// fail then.
const MANY_YIELDS: u64 = 700_000;

/// What came of a script in a way of running.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Assertions that hold.
    pub passed: usize,
    /// Assertions that do not hold, and other directives that failed.
    pub failed: usize,
    /// A line for each failure, beginning with the line in the script.
    pub failures: Vec<String>,
    /// How often guests were suspended.
    pub yields: u64,
}

/// Executes a script in a way of running. Panics, which [`record_panics`](crate::record_panics)
/// keeps from being printed, count as failures.
///
/// `costs` is what each of its directives burned: [`Fuel::Measured`] writes it, the ways that compare
/// read it. `file` is the script's name, which with the seed chooses the slices of [`Fuel::Sliced`].
pub fn execute(file: &str, script: &Script, way: &Way, costs: &mut Vec<u64>, seed: u64) -> Outcome {
    let mut outcome = Outcome::default();
    let executed = drive::catching(|| {
        let runner = Runner::new(way, Random::new(seed, file))?;
        execute_steps(runner, script, costs, &mut outcome)
    });
    if let Err(error) = executed {
        // What was not executed did not hold.
        outcome.failed = (script.assertions() - outcome.passed).max(1);
        outcome.failures.push(format!(" {error:#}; all that follows counts as failed"));
    }
    outcome
}

fn execute_steps(
    mut runner: Runner<'_>,
    script: &Script,
    costs: &mut Vec<u64>,
    outcome: &mut Outcome,
) -> Result<()> {
    for (index, step) in script.steps.iter().enumerate() {
        let result = runner.checked_step(step, index, costs);
        let panicked = result.as_ref().is_err_and(|error| error.is::<Panicked>());
        let too_large = result.as_ref().is_err_and(|error| no_pool_has(step, error));
        let error = match result {
            Err(_) if too_large => continue,
            Err(_) if step.overruled && !panicked => continue,
            Ok(()) if step.overruled => anyhow!("listed as overruled, but it holds"),
            Ok(()) => {
                outcome.passed += usize::from(step.is_assertion());
                continue;
            }
            Err(error) => error,
        };
        outcome.failed += 1;
        outcome.failures.push(format!("{}: {error:#}", step.line));
        if panicked {
            // Nothing is known about the store now; even dropping it could hang or crash.
            std::mem::forget(runner);
            bail!("a panic ended the file");
        }
    }
    outcome.yields = runner.yields;
    Ok(())
}

/// Whether a module is only declared, and asks for more than any pool can be made for.
fn no_pool_has(step: &Step, error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<PoolLimitError>();
    matches!(step.directive, Directive::Definition { .. })
        && error.is_some_and(|error| error.bound() == 1 << 16)
}

struct Runner<'way> {
    way: &'way Way,
    store: Store<()>,
    linker: Linker<()>,
    /// The instance that directives without a name mean.
    current: Option<Instance>,
    instances: HashMap<String, Instance>,
    definition: Option<Module>,
    definitions: HashMap<String, Module>,
    random: Random,
    yields: u64,
}

impl<'way> Runner<'way> {
    fn new(way: &'way Way, random: Random) -> Result<Self> {
        let mut store = Store::new(&way.engine, ());
        if matches!(way.fuel, Fuel::Measured | Fuel::Compared) {
            store.add_fuel(u64::MAX)?;
        }
        let mut linker = Linker::new(&way.engine);
        spectest::define(&mut linker, &mut store, way.is_async())?;
        // Files may register a name more than once.
        linker.allow_shadowing(true);
        Ok(Self {
            way,
            store,
            linker,
            current: None,
            instances: HashMap::new(),
            definition: None,
            definitions: HashMap::new(),
            random,
            yields: 0,
        })
    }

    /// Executes a directive. Panics become errors; what it burned is remembered or compared.
    fn checked_step(&mut self, step: &Step, index: usize, costs: &mut Vec<u64>) -> Result<()> {
        if self.way.fuel == Fuel::Sliced {
            self.choose_slice(costs.get(index).copied().unwrap_or(0));
        }
        let before = self.store.fuel_consumed();
        let nested = drive::catching(|| self.step(&step.directive));
        let cost = self.store.fuel_consumed().zip(before).map(|(after, before)| after - before);
        if self.way.fuel == Fuel::Off {
            ensure!(cost.is_none(), "fuel was counted");
            return nested;
        }
        let cost = cost.context("fuel was not counted")?;
        if self.way.fuel == Fuel::Measured {
            costs.push(cost);
            return nested;
        }
        nested?;
        // How deep a guest can recurse depends a little on the host's frames below it.
        if !matches!(step.directive, Directive::AssertExhaustion { .. }) {
            let measured = costs.get(index).context("what it burned was not measured")?;
            ensure!(cost == *measured, "burned {cost} fuel, but {measured} when it was measured");
        }
        Ok(())
    }

    /// Chooses a slice for a directive that will burn so much.
    fn choose_slice(&mut self, cost: u64) {
        let least = cost.div_ceil(MANY_YIELDS).clamp(1, LARGEST_SLICE);
        let slice = (1 + self.random.below(LARGEST_SLICE)).max(least);
        self.store.out_of_fuel_async_yield(u64::MAX, slice);
    }

    fn step(&mut self, directive: &Directive) -> Result<()> {
        match directive {
            Directive::Module { name, source } => {
                self.current = None;
                let module = self.compile(source)?;
                let instance = self.instantiate(&module)?;
                self.bring_in(name.as_ref(), instance);
                Ok(())
            }
            Directive::Definition { name, source } => {
                let module = self.compile(source)?;
                if let Some(name) = name {
                    self.definitions.insert(name.clone(), module.clone());
                }
                self.definition = Some(module);
                Ok(())
            }
            Directive::Instance { name, definition } => {
                let module = match definition {
                    Some(name) => self.definitions.get(name),
                    None => self.definition.as_ref(),
                };
                let module = module.context("no such definition")?.clone();
                let instance = self.instantiate(&module)?;
                self.bring_in(name.as_ref(), instance);
                Ok(())
            }
            Directive::Register { name, instance } => {
                let instance = self.instance(instance.as_ref())?;
                self.linker.instance(&mut self.store, name, instance)?;
                Ok(())
            }
            Directive::Action(action) => self.act(action).map(drop),
            Directive::AssertReturn { action, expected } => {
                check_results(&self.act(action)?, expected)
            }
            Directive::AssertTrap { action, message } => {
                check_trap(self.act(action), message).map(drop)
            }
            Directive::AssertExhaustion { action, message } => {
                let trap = check_trap(self.act(action), message)?;
                ensure!(trap.trap_code() == Some(TrapCode::StackOverflow), "trapped with {trap}");
                Ok(())
            }
            Directive::AssertException { action } => check_exception(self.act(action)),
            Directive::AssertRejected { source } => self.assert_rejected(source),
            Directive::AssertUnlinkable { source, message } => {
                self.assert_unlinkable(source, message)
            }
            Directive::Unsupported(what) => bail!("{what}: not supported"),
        }
    }

    /// Makes an instance the current one, and known under its name.
    fn bring_in(&mut self, name: Option<&String>, instance: Instance) {
        if let Some(name) = name {
            self.instances.insert(name.clone(), instance);
        }
        self.current = Some(instance);
    }

    fn instance(&self, name: Option<&String>) -> Result<Instance> {
        match name {
            Some(name) => self.instances.get(name).copied().context(format!("no instance ${name}")),
            None => self.current.context("no instance"),
        }
    }

    fn compile(&self, source: &Source) -> Result<Module> {
        match source {
            Source::Binary(bytes) => self.way.module(bytes),
            Source::Text(text) => Module::new(&self.way.engine, text),
            Source::Broken(error) => bail!("cannot encode the module: {error}"),
        }
    }

    fn instantiate(&mut self, module: &Module) -> Result<Instance> {
        if !self.way.is_async() {
            return self.linker.instantiate(&mut self.store, module);
        }
        let (result, yields) = drive::run(self.linker.instantiate_async(&mut self.store, module));
        self.yields += yields;
        result
    }

    fn act(&mut self, action: &Action) -> Result<Box<[Val]>> {
        match action {
            Action::Invoke { instance, function, arguments } => {
                let instance = self.instance(instance.as_ref())?;
                let function = instance
                    .get_func(&mut self.store, function)
                    .with_context(|| format!("no function `{function}`"))?;
                let arguments: Option<Vec<_>> = arguments.iter().map(Argument::value).collect();
                let arguments = arguments.context("an argument of another WebAssembly")?;
                if !self.way.is_async() {
                    return function.call(&mut self.store, &arguments);
                }
                let (result, yields) = drive::run(function.call_async(&mut self.store, &arguments));
                self.yields += yields;
                result
            }
            Action::Get { instance, global } => {
                let instance = self.instance(instance.as_ref())?;
                match instance.get_export(&mut self.store, global) {
                    Some(Extern::Global(global)) => Ok(Box::new([global.get(&mut self.store)])),
                    _ => bail!("no global `{global}`"),
                }
            }
            Action::Instantiate(source) => {
                let module = self.compile(source)?;
                self.instantiate(&module)?;
                Ok(Box::default())
            }
        }
    }

    /// A malformed or invalid module must be rejected, by validation alone as well as by
    /// compilation. What the error says is not compared: the parser puts things in words of its
    /// own.
    fn assert_rejected(&self, source: &Source) -> Result<()> {
        let engine = &self.way.engine;
        let rejected = match source {
            Source::Binary(bytes) => {
                ensure!(Module::validate(engine, bytes).is_err(), "the module was found valid");
                Module::from_binary(engine, bytes).is_err()
            }
            Source::Text(text) => Module::new(engine, text).is_err(),
            Source::Broken(_) => true,
        };
        ensure!(rejected, "the module was accepted");
        Ok(())
    }

    fn assert_unlinkable(&mut self, source: &Source, message: &str) -> Result<()> {
        let module = self.compile(source)?;
        let Err(error) = self.instantiate(&module) else {
            bail!("the module was linked; expected `{message}`");
        };
        ensure!(
            error.downcast_ref::<Trap>().is_none() && format!("{error:#}").contains(message),
            "expected `{message}`, found `{error:#}`"
        );
        Ok(())
    }
}

fn check_results(results: &[Val], expected: &[Expected]) -> Result<()> {
    ensure!(
        results.len() == expected.len(),
        "expected {} results, found {}",
        expected.len(),
        results.len()
    );
    for (index, (result, expected)) in results.iter().zip(expected).enumerate() {
        ensure!(
            expected.matches(result),
            "result {index}: expected {expected:x?}, found {}",
            Shown(result)
        );
    }
    Ok(())
}

/// The trap that was expected.
fn check_trap(result: Result<Box<[Val]>>, message: &str) -> Result<Trap> {
    let Err(error) = result else {
        bail!("expected the trap `{message}`, but it succeeded");
    };
    let error = match error.downcast::<Trap>() {
        Ok(trap) => {
            let reason = trap.display_reason().to_string();
            ensure!(is_reason(&reason, message), "expected `{message}`, found `{reason}`");
            return Ok(trap);
        }
        Err(error) => error,
    };
    Err(anyhow!("expected the trap `{message}`, found another error: {error:#}"))
}

fn check_exception(result: Result<Box<[Val]>>) -> Result<()> {
    let Err(error) = result else { bail!("expected an exception, but it succeeded") };
    let trap: Trap = error.downcast()?;
    ensure!(trap.exception().is_some(), "expected an exception, found `{trap}`");
    Ok(())
}

/// Whether a trap has the reason that the suite expects.
///
/// The suite's messages are beginnings of what hosts say, but for two about atomics; our text for tables has both names that
/// the suite gives the same trap. Some messages name the element on top (`uninitialized element
/// 2`), which we do not.
fn is_reason(reason: &str, message: &str) -> bool {
    let reason = reason.strip_prefix("wasm trap: ").unwrap_or(reason);
    let message = match message {
        "unaligned atomic" => "misaligned memory access",
        "expected shared memory" => "atomic wait on a memory that is not shared",
        message => message,
    };
    let message = match message.strip_prefix("uninitialized element ") {
        Some(_index) => "uninitialized element",
        None => message,
    };
    reason.split(": ").any(|part| part.starts_with(message))
}
