//! Errors and traps on their way out through many layers of wasm and host.

use std::error::Error;

use anyhow::Context;
use lampwick::{Caller, Engine, Func, Instance, Module, Store, Trap, TrapCode};

use crate::support::{asynchronous, block_on, instantiate, metered, pend, trap};

#[derive(Debug, thiserror::Error, PartialEq)]
#[error("my error {0}")]
struct MyError(u32);

/// An error of an embedder's own around a trap.
#[derive(Debug, thiserror::Error)]
#[error("the plugin failed")]
struct PluginError(#[from] Trap);

const LAYERS: usize = 10;

/// How the innermost host function fails, and what each host function does to what went wrong
/// below it.
#[derive(Clone, Copy)]
struct Plan {
    fail: fn() -> Trap,
    pass: fn(usize, anyhow::Error) -> Trap,
}

/// The instances of the layers, from the outermost.
type Layers = (Plan, Vec<Instance>);

fn module(engine: &Engine, layer: usize) -> Module {
    let wat = format!(
        r#"(module $layer{layer} (import "" "" (func $down (param i32)))
            (func $call (param i32) local.get 0 call $down)
            (func $enter (export "enter") i32.const {layer} call $call))"#
    );
    Module::new(engine, wat).unwrap()
}

fn next(caller: &mut Caller<'_, Layers>, layer: u32) -> Option<Func> {
    let instance = caller.data().1.get(layer as usize + 1).copied()?;
    instance.get_func(caller, "enter")
}

/// What the outermost layer ends with.
fn through_layers(plan: Plan) -> Trap {
    let engine = Engine::default();
    let mut store = Store::new(&engine, (plan, Vec::new()));
    let down = Func::wrap(&mut store, |mut caller: Caller<'_, Layers>, layer: u32| {
        let Plan { fail, pass } = caller.data().0;
        match next(&mut caller, layer) {
            None => Err(fail()),
            Some(func) => {
                func.call(&mut caller, &[]).map(drop).map_err(|error| pass(layer as usize, error))
            }
        }
    });
    for layer in 0..LAYERS {
        let instance = Instance::new(&mut store, &module(&engine, layer), &[down.into()]).unwrap();
        store.data_mut().1.push(instance);
    }
    let outermost = store.data().1[0];
    let enter = outermost.get_func(&mut store, "enter").unwrap();
    trap(enter.call(&mut store, &[]).unwrap_err())
}

/// The same with async host functions, each of which waits before and after.
fn through_async_layers(plan: Plan) -> Trap {
    let engine = asynchronous();
    let mut store = Store::new(&engine, (plan, Vec::new()));
    let down = Func::wrap1_async(&mut store, |mut caller: Caller<'_, Layers>, layer: u32| {
        Box::new(async move {
            let Plan { fail, pass } = caller.data().0;
            pend(2).await;
            match next(&mut caller, layer) {
                None => Err(fail()),
                Some(func) => {
                    let result = func.call_async(&mut caller, &[]).await.map(drop);
                    pend(1).await;
                    result.map_err(|error| pass(layer as usize, error))
                }
            }
        })
    });
    for layer in 0..LAYERS {
        let module = module(&engine, layer);
        let instance = block_on(Instance::new_async(&mut store, &module, &[down.into()])).unwrap();
        store.data_mut().1.push(instance);
    }
    let outermost = store.data().1[0];
    let enter = outermost.get_func(&mut store, "enter").unwrap();
    trap(block_on(enter.call_async(&mut store, &[])).unwrap_err())
}

/// Runs a plan in both ways, and checks the trace of each.
fn run(plan: Plan, check: impl Fn(Trap)) {
    for trap in [through_layers(plan), through_async_layers(plan)] {
        let names: Vec<_> = trap.trace().iter().map(ToString::to_string).collect();
        let expected: Vec<_> = (0..LAYERS)
            .rev()
            .flat_map(|layer| ["call", "enter"].map(|name| format!("layer{layer}!{name}")))
            .collect();
        assert_eq!(names, expected, "innermost first, each once");
        assert_eq!(trap.to_string().matches("wasm backtrace:").count(), 1, "{trap}");
        check(trap);
    }
}

fn in_context(layer: usize, error: anyhow::Error) -> Trap {
    error.context(format!("in layer {layer}")).into()
}

/// The contexts of all layers but the innermost, as they are printed.
fn contexts() -> String {
    (0..LAYERS - 1).map(|layer| format!("in layer {layer}: ")).collect()
}

#[test]
fn an_error_is_the_source_through_ten_layers() {
    let fail = || anyhow::Error::new(MyError(7)).into();
    run(Plan { fail, pass: |_, error| error.into() }, |trap| {
        assert_eq!(trap.source().unwrap().downcast_ref(), Some(&MyError(7)));
        assert_eq!(trap.display_reason().to_string(), "my error 7");
    });
    let fail = || {
        let boxed: Box<dyn Error + Send + Sync> = Box::new(MyError(8));
        boxed.into()
    };
    run(Plan { fail, pass: |_, error| error.into() }, |trap| {
        assert_eq!(trap.source().unwrap().downcast_ref(), Some(&MyError(8)));
    });
}

#[test]
fn an_error_in_contexts_is_among_the_sources() {
    let fail = || Trap::from(anyhow::Error::new(MyError(7)));
    run(Plan { fail, pass: in_context }, |trap| {
        assert_eq!(trap.display_reason().to_string(), contexts() + "my error 7");
        let error = anyhow::Error::from(trap);
        assert_eq!(error.chain().find_map(|it| it.downcast_ref()), Some(&MyError(7)));
        let text = format!("{error:?}");
        assert_eq!(text.matches("wasm backtrace:").count(), 1, "{text}");
    });
}

#[test]
fn an_exit_in_contexts_keeps_its_status() {
    run(Plan { fail: || Trap::i32_exit(42), pass: in_context }, |trap| {
        assert_eq!(trap.i32_exit_status(), Some(42));
        assert_eq!(trap.trap_code(), None);
        let reason = contexts() + "exited with i32 exit status 42";
        assert_eq!(trap.display_reason().to_string(), reason);
    });
}

#[test]
fn an_embedders_own_error_around_a_trap_keeps_what_the_trap_knows() {
    let anyhow = |_, error: anyhow::Error| {
        let error = PluginError(trap(error));
        anyhow::Error::new(error).context("running").into()
    };
    let boxed = |_, error: anyhow::Error| {
        let error: Box<dyn Error + Send + Sync> = Box::new(PluginError(trap(error)));
        error.into()
    };
    for pass in [anyhow, boxed] {
        run(Plan { fail: || Trap::i32_exit(5), pass }, |trap| {
            assert_eq!(trap.i32_exit_status(), Some(5));
            assert!(
                trap.to_string().contains("the plugin failed: the plugin failed: ") || {
                    trap.to_string().starts_with("running: the plugin failed: running: ")
                }
            );
            let mut source = trap.source();
            while source.is_some_and(|error| !error.is::<PluginError>()) {
                source = source.and_then(Error::source);
            }
            assert!(source.is_some(), "{trap:?}");
        });
    }
}

#[test]
fn a_code_in_a_context_is_still_a_code() {
    let module = r#"(module (func (export "run") unreachable))"#;
    let (mut store, instance) = instantiate(&Engine::default(), module);
    let run = instance.get_func(&mut store, "run").unwrap();
    let error = run.call(&mut store, &[]).context("inner").context("outer").unwrap_err();
    let trap = Trap::from(error);
    assert_eq!(trap.trap_code(), Some(TrapCode::UnreachableCodeReached));
    assert_eq!(trap.trace().len(), 1);
    assert_eq!(trap.display_reason().to_string(), "outer: inner: wasm trap: unreachable");
    // A trap that somebody else has, too, keeps its frames.
    let inner = trap.clone();
    let outer = Trap::from(anyhow::Error::from(trap).context("third"));
    assert_eq!((inner.trace().len(), outer.trace().len()), (1, 1));
    let reason = outer.display_reason().to_string();
    assert_eq!(reason, "third: outer: inner: wasm trap: unreachable");
}

#[test]
fn fuel_that_is_gone_says_so_in_a_context() {
    let module = r#"(module (func (export "run") loop br 0 end))"#;
    let (mut store, instance) = instantiate(&metered(), module);
    store.add_fuel(100).unwrap();
    let run = instance.get_func(&mut store, "run").unwrap();
    let trap = Trap::from(run.call(&mut store, &[]).context("outer").unwrap_err());
    let reason = trap.display_reason().to_string();
    assert_eq!(reason, "outer: all fuel consumed by WebAssembly");
    assert_eq!(trap.trace().len(), 1);
}
