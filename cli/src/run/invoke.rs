//! What is called in a program: its start, or an exported function with numbers from the command line.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, anyhow};
use lampwick::{ExternType, FuncType, InstancePre, Module, Store, Val, ValType};

use super::program::Host;
use crate::failure::Failure;

/// A function that a module exports, and its arguments.
pub(super) struct Call {
    function: String,
    arguments: Vec<Val>,
    results: usize,
    /// Whether the module wants to be initialized first.
    initialize: bool,
    /// Whether results are printed.
    print: bool,
}

impl Call {
    /// The call that is asked for, if the module has such a function.
    pub(super) fn new(
        module: &Module,
        path: &str,
        invoke: Option<&str>,
        arguments: &[String],
    ) -> Result<Self, Failure> {
        let function = invoke.unwrap_or("_start");
        let Some(ExternType::Func(ty)) = module.get_export(function) else {
            return Err(missing(module, path, invoke));
        };
        let arguments = match invoke {
            Some(_) => parse_all(&ty, function, arguments).map_err(Failure::misuse)?,
            // They are for the program.
            None => Vec::new(),
        };
        if invoke.is_none() {
            check_program(module, path)?;
        }
        Ok(Self {
            function: function.to_owned(),
            arguments,
            results: ty.results().len(),
            initialize: invoke.is_some() && module.get_export("_initialize").is_some(),
            print: invoke.is_some(),
        })
    }
}

/// Checks that a module is a program.
pub fn check_program(module: &Module, path: &str) -> Result<(), Failure> {
    match module.get_export("_start") {
        Some(ExternType::Func(ty)) if ty.params().len() == 0 && ty.results().len() == 0 => Ok(()),
        Some(ExternType::Func(_)) => Err(Failure::misuse(anyhow!(
            "`{path}` is no program: its `_start` takes or answers values"
        ))),
        _ => Err(missing(module, path, None)),
    }
}

/// Why a module cannot be called so.
fn missing(module: &Module, path: &str, invoke: Option<&str>) -> Failure {
    let functions = module.exports().filter(|export| matches!(export.ty(), ExternType::Func(_)));
    let names: Vec<String> =
        functions.map(|it| format!("`{}`", it.name().escape_debug())).collect();
    let names = match names.len() {
        0 => "it exports no function".to_owned(),
        1..=8 => format!("it exports {}", names.join(", ")),
        count => format!("it exports {}, and {} more", names[..8].join(", "), count - 8),
    };
    match invoke {
        Some(function) => {
            Failure::misuse(anyhow!("`{path}` exports no function `{function}`")).hint(names)
        }
        None => Failure::misuse(anyhow!("`{path}` is no program: it exports no function `_start`"))
            .hint(format!("{names}; `--invoke FUNCTION` calls one")),
    }
}

fn parse_all(ty: &FuncType, function: &str, arguments: &[String]) -> Result<Vec<Val>> {
    let (wanted, given) = (ty.params().len(), arguments.len());
    if wanted != given {
        return Err(anyhow!("`{function}` takes {wanted} arguments, {given} are given"));
    }
    ty.params().zip(arguments).map(|(ty, text)| parse(&ty, text)).collect()
}

fn parse(ty: &ValType, text: &str) -> Result<Val> {
    let context = || format!("the argument `{text}` is no {ty}");
    // Integers have no sign in WebAssembly: both halves of the range beyond are meant by one.
    Ok(match ty {
        ValType::I32 => {
            let value: i64 = text.parse().with_context(context)?;
            let value = i32::try_from(value).or_else(|_| u32::try_from(value).map(|it| it as i32));
            Val::I32(value.with_context(context)?)
        }
        ValType::I64 => {
            let value: i128 = text.parse().with_context(context)?;
            let value = i64::try_from(value).or_else(|_| u64::try_from(value).map(|it| it as i64));
            Val::I64(value.with_context(context)?)
        }
        ValType::F32 => Val::F32(text.parse::<f32>().with_context(context)?.to_bits()),
        ValType::F64 => Val::F64(text.parse::<f64>().with_context(context)?.to_bits()),
        _ => return Err(anyhow!("a {ty} cannot be given on the command line")),
    })
}

/// Instantiates a program and calls it; prints results, if they are asked for.
pub(super) async fn run(
    store: &mut Store<Host>,
    program: &InstancePre<Host>,
    call: &Call,
) -> Result<()> {
    let instance = program.instantiate_async(&mut *store).await?;
    if call.initialize {
        let function = instance.get_typed_func::<(), (), _>(&mut *store, "_initialize")?;
        function.call_async(&mut *store, ()).await?;
    }
    let function = instance.get_func(&mut *store, &call.function);
    let function = function.context("the module exports the function")?;
    let results = function.call_async(&mut *store, &call.arguments).await?;
    debug_assert_eq!(results.len(), call.results);
    if call.print {
        let lines = results.iter().fold(String::new(), |mut text, value| {
            let _ = writeln!(text, "{}", shown(value));
            text
        });
        tokio::task::spawn_blocking(move || crate::print(lines.as_bytes()))
            .await?
            .map_err(|failure| anyhow!("{failure}"))?;
    }
    Ok(())
}

fn shown(value: &Val) -> String {
    match value {
        Val::I32(value) => value.to_string(),
        Val::I64(value) => value.to_string(),
        Val::F32(bits) => f32::from_bits(*bits).to_string(),
        Val::F64(bits) => f64::from_bits(*bits).to_string(),
        Val::V128(value) => format!("{value:#034x}"),
        other => format!("{other:?}"),
    }
}
