//! Modules in a linker: reactors, commands, and neither.

use lampwick::{
    Caller, Engine, Extern, Func, FuncType, Global, GlobalType, Instance, Linker, Module,
    Mutability, Store, Trap, TrapCode, Val, ValType,
};

use crate::support::{async_metered, asynchronous, block_on, count_pending, panic_of, pend, trap};

const COMMAND: &str = r#"(module
    (import "host" "tick" (func $tick))
    (global $count (mut i32) (i32.const 0))
    (memory (export "memory") 1)
    (func (export "_start") call $tick (global.set $count (i32.const 100)))
    (func (export "count") (param i32) (result i32 i32)
        call $tick
        (global.set $count (i32.add (global.get $count) (local.get 0)))
        (global.get $count) (local.get 0)))"#;

/// A linker whose `host::tick` counts in the store's data.
fn linker(engine: &Engine) -> Linker<i32> {
    let mut linker = Linker::new(engine);
    linker
        .func_wrap("host", "tick", |mut caller: Caller<'_, i32>| *caller.data_mut() += 1)
        .unwrap();
    linker
}

fn func(linker: &Linker<i32>, store: &mut Store<i32>, name: &str) -> Func {
    linker.get(store, "m", Some(name)).unwrap().into_func().unwrap()
}

fn i32s(values: &[Val]) -> Vec<i32> {
    values.iter().map(Val::unwrap_i32).collect()
}

#[test]
fn a_command_is_new_at_each_call() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, 0);
    let mut linker = linker(&engine);
    let module = Module::new(&engine, COMMAND).unwrap();
    linker.module(&mut store, "m", &module).unwrap();
    assert_eq!(*store.data(), 0, "nothing ran yet");
    let count = func(&linker, &mut store, "count");
    for _ in 0..3 {
        linker.get_default(&mut store, "m").unwrap().call(&mut store, &[]).unwrap();
        assert_eq!(i32s(&count.call(&mut store, &[Val::I32(7)]).unwrap()), [7, 7]);
    }
    assert_eq!(*store.data(), 6);
    assert!(linker.get(&mut store, "m", Some("memory")).is_none(), "only functions are defined");
    // Another module calls it like any function.
    let user = r#"(module (import "m" "count" (func $count (param i32) (result i32 i32)))
        (func (export "run") (result i32)
            (call $count (i32.const 1)) (call $count (i32.const 5)) i32.add i32.add i32.add))"#;
    let instance = linker.instantiate(&mut store, &Module::new(&engine, user).unwrap()).unwrap();
    let run = instance.get_typed_func::<(), i32, _>(&mut store, "run").unwrap();
    assert_eq!(run.call(&mut store, ()).unwrap(), 12);
    // Since it needs host functions only, other stores can use it.
    let mut other = Store::new(&engine, 10);
    linker.get_default(&mut other, "m").unwrap().call(&mut other, &[]).unwrap();
    assert_eq!((*other.data(), *store.data()), (11, 8));
}

#[test]
fn a_command_that_needs_a_store_stays_in_it() {
    let engine = Engine::default();
    let (mut store, mut other) = (Store::new(&engine, 0), Store::new(&engine, 0));
    let mut linker = Linker::new(&engine);
    let ty = GlobalType::new(ValType::I32, Mutability::Var);
    let global = Global::new(&mut store, ty, Val::I32(1)).unwrap();
    linker.define("a", "g", global).unwrap();
    let module = r#"(module (import "a" "g" (global $g (mut i32)))
        (func (export "_start") (global.set $g (i32.add (global.get $g) (global.get $g)))))"#;
    let module = Module::new(&engine, module).unwrap();
    let text = linker.module(&mut other, "m", &module).err().unwrap();
    assert!(format!("{text:?}").contains("another store"), "{text:?}");
    linker.module(&mut store, "m", &module).unwrap();
    let start = linker.get_default(&mut store, "m").unwrap();
    for _ in 0..3 {
        start.call(&mut store, &[]).unwrap();
    }
    assert_eq!(global.get(&mut store).unwrap_i32(), 8);
    let user = Module::new(&engine, r#"(module (import "m" "_start" (func)))"#).unwrap();
    linker.instantiate(&mut store, &user).unwrap();
    let error = linker.instantiate(&mut other, &user).unwrap_err();
    assert!(format!("{error:?}").contains("another store"), "{error:?}");
}

#[test]
fn a_trap_of_a_command_is_the_callers() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, 0);
    let mut linker = linker(&engine);
    let module = r#"(module $inner (func $dies (export "_start") unreachable))"#;
    linker.module(&mut store, "m", &Module::new(&engine, module).unwrap()).unwrap();
    let user = r#"(module $outer (import "m" "_start" (func $f))
        (func $calls (export "run") call $f))"#;
    let instance = linker.instantiate(&mut store, &Module::new(&engine, user).unwrap()).unwrap();
    let run = instance.get_typed_func::<(), (), _>(&mut store, "run").unwrap();
    let trap: Trap = run.call(&mut store, ()).unwrap_err();
    assert_eq!(trap.trap_code(), Some(TrapCode::UnreachableCodeReached));
    let names: Vec<_> = trap.trace().iter().map(|frame| frame.func_name().unwrap()).collect();
    assert_eq!(names, ["dies", "calls"]);
}

#[test]
fn exports_of_a_command_that_are_no_functions_are_refused_unless_known_or_allowed() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, 0);
    let start = r#"(func (export "_start"))"#;
    for (export, known) in [
        (r#"(memory (export "memory") 1)"#, true),
        (r#"(table (export "table") 1 funcref)"#, true),
        (r#"(table (export "__indirect_function_table") 1 funcref)"#, true),
        (r#"(global (export "__data_end") i32 (i32.const 0))"#, true),
        (r#"(global (export "__heap_base") i32 (i32.const 0))"#, true),
        (r#"(global (export "__dso_handle") i32 (i32.const 0))"#, true),
        (r#"(global (export "__rtti_base") i32 (i32.const 0))"#, true),
        (r#"(memory (export "mine") 1)"#, false),
        (r#"(global (export "memory") i32 (i32.const 0))"#, false),
        (r#"(memory (export "table") 1)"#, false),
        (r#"(table (export "__heap_base") 1 funcref)"#, false),
    ] {
        let module = Module::new(&engine, format!("(module {export} {start})")).unwrap();
        let mut linker = Linker::new(&engine);
        let result = linker.module(&mut store, "m", &module).map(drop);
        assert_eq!(result.is_ok(), known, "{export}: {result:?}");
        if let Err(error) = result {
            assert!(error.to_string().contains("allow_unknown_exports"), "{error}");
            assert_eq!(linker.iter(&mut store).count(), 0, "nothing is defined");
            linker.allow_unknown_exports(true).module(&mut store, "m", &module).unwrap();
        }
        let names: Vec<_> = linker.iter(&mut store).map(|(_, name, _)| name).collect();
        assert_eq!(names, ["_start"]);
    }
}

const REACTOR: &str = r#"(module
    (import "host" "tick" (func $tick))
    (global $count (export "g") (mut i32) (i32.const 0))
    (func (export "_initialize") call $tick (global.set $count (i32.const 100)))
    (func (export "count") (result i32)
        (global.set $count (i32.add (global.get $count) (i32.const 1)))
        (global.get $count)))"#;

#[test]
fn a_reactor_is_initialized_once_and_stays() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, 0);
    let mut linker = linker(&engine);
    let module = Module::new(&engine, REACTOR).unwrap();
    linker.module(&mut store, "m", &module).unwrap();
    assert_eq!(*store.data(), 1);
    let count = func(&linker, &mut store, "count");
    for number in 101..104 {
        assert_eq!(i32s(&count.call(&mut store, &[]).unwrap()), [number]);
    }
    let Some(Extern::Global(global)) = linker.get(&mut store, "m", Some("g")) else { panic!() };
    assert_eq!(global.get(&mut store).unwrap_i32(), 103);
    // It has no default, which is a function that does nothing.
    let nothing = linker.get_default(&mut store, "m").unwrap();
    assert_eq!(nothing.ty(&store), FuncType::new([], []));
    nothing.call(&mut store, &[]).unwrap();
    let again = linker.get_default(&mut store, "unheard of").unwrap();
    assert_eq!(format!("{nothing:?}"), format!("{again:?}"), "it takes one place");
    // A second time the names are taken, and nothing runs.
    linker.module(&mut store, "m", &module).map(drop).unwrap_err();
    assert_eq!(*store.data(), 1);
    linker.allow_shadowing(true).module(&mut store, "m", &module).unwrap();
    let count = func(&linker, &mut store, "count");
    assert_eq!(i32s(&count.call(&mut store, &[]).unwrap()), [101]);
}

#[test]
fn a_module_that_is_neither_is_instantiated_once() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, 0);
    let mut linker = linker(&engine);
    let module = REACTOR.replace("_initialize", "init");
    linker.module(&mut store, "m", &Module::new(&engine, module).unwrap()).unwrap();
    assert_eq!(*store.data(), 0);
    let count = func(&linker, &mut store, "count");
    for number in 1..4 {
        assert_eq!(i32s(&count.call(&mut store, &[]).unwrap()), [number]);
    }
}

#[test]
fn modules_that_contradict_themselves_are_refused() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, 0);
    for (module, expected) in [
        (
            r#"(func (export "_start")) (func (export "_initialize"))"#,
            "both a command and a reactor",
        ),
        (r#"(memory (export "_start") 1)"#, "`_start` must be a function"),
        (r#"(memory (export "_initialize") 1)"#, "`_initialize` must be a function"),
        (r#"(func (export "_initialize") (param i32))"#, "[i32] -> []"),
        (r#"(func (export "_initialize") unreachable)"#, "`_initialize` of the reactor `m` failed"),
        (r#"(import "x" "y" (func)) (func (export "_start"))"#, "unknown import"),
    ] {
        let mut linker = Linker::new(&engine);
        let parsed = Module::new(&engine, format!("(module {module})")).unwrap();
        let error = linker.module(&mut store, "m", &parsed).err().unwrap();
        assert!(format!("{error:?}").contains(expected), "{module}: {error:?}");
        assert_eq!(linker.iter(&mut store).count(), 0, "{module}: nothing is defined");
        if module.contains("unreachable") {
            assert_eq!(trap(error).trap_code(), Some(TrapCode::UnreachableCodeReached));
        }
    }
}

#[test]
fn the_default_is_start_then_the_empty_name() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, 0);
    let mut linker = Linker::<i32>::new(&engine);
    let call = |linker: &Linker<i32>, store: &mut Store<i32>| {
        let func = linker.get_default(&mut *store, "m").unwrap();
        i32s(&func.call(store, &[]).unwrap())
    };
    assert_eq!(call(&linker, &mut store), [0_i32; 0]);
    linker.func_wrap("m", "", || 1).unwrap();
    assert_eq!(call(&linker, &mut store), [1]);
    linker.func_wrap("m", "_start", || 2).unwrap();
    assert_eq!(call(&linker, &mut store), [2]);
    let ty = GlobalType::new(ValType::I32, Mutability::Const);
    let global = Global::new(&mut store, ty, Val::I32(0)).unwrap();
    linker.allow_shadowing(true).define("m", "_start", global).unwrap();
    let error = linker.get_default(&mut store, "m").unwrap_err();
    assert!(error.to_string().contains("m::_start"), "{error}");
}

#[test]
fn async_commands_and_reactors_suspend() {
    let engine = asynchronous();
    let mut store = Store::new(&engine, 0);
    let mut linker = Linker::<i32>::new(&engine);
    linker
        .func_wrap_async("host", "tick", |mut caller: Caller<'_, i32>, (): ()| {
            Box::new(async move {
                pend(2).await;
                *caller.data_mut() += 1;
            })
        })
        .unwrap();
    let command = Module::new(&engine, COMMAND).unwrap();
    let reactor = Module::new(&engine, REACTOR).unwrap();
    let text = panic_of(|| linker.clone().module(&mut store, "m", &command).map(drop));
    assert_eq!(text, "must use `Linker::module_async` with an async store");
    block_on(linker.module_async(&mut store, "m", &command)).unwrap();
    let count = func(&linker, &mut store, "count");
    for _ in 0..3 {
        let (pending, values) = count_pending(count.call_async(&mut store, &[Val::I32(4)]));
        assert_eq!((pending, i32s(&values.unwrap())), (2, vec![4, 4]));
    }
    let (pending, result) = count_pending(linker.module_async(&mut store, "r", &reactor));
    assert!(pending == 2 && result.is_ok());
    assert_eq!(*store.data(), 4);
    // A call that is dropped half way ends with its instance; the next one starts afresh.
    {
        let params = [Val::I32(1)];
        let mut call = std::pin::pin!(count.call_async(&mut store, &params));
        assert!(crate::support::poll(call.as_mut()).is_pending());
    }
    assert_eq!(*store.data(), 4);
    let values = block_on(count.call_async(&mut store, &[Val::I32(6)])).unwrap();
    assert_eq!(i32s(&values), [6, 6]);
    let instance: Instance = block_on(linker.instantiate_async(&mut store, &reactor)).unwrap();
    block_on(instance.get_func(&mut store, "count").unwrap().call_async(&mut store, &[])).unwrap();
}

#[test]
fn commands_burn_their_callers_fuel_and_yield() {
    let engine = async_metered();
    let command = r#"(module (func (export "_start"))
        (func (export "work") (param $n i32) (result i32) (local $done i32)
            (loop $again
                (local.set $done (i32.add (local.get $done) (i32.const 1)))
                (br_if $again (i32.lt_u (local.get $done) (local.get $n))))
            (local.get $done)))"#;
    let user = r#"(module (import "m" "work" (func $work (param i32) (result i32)))
        (func (export "run") (result i32)
            (i32.add (call $work (i32.const 40)) (call $work (i32.const 60)))))"#;
    let command = Module::new(&engine, command).unwrap();
    let user = Module::new(&engine, user).unwrap();
    let run = |slice| {
        let mut store = Store::new(&engine, ());
        store.out_of_fuel_async_yield(1_000, slice);
        let mut linker = Linker::new(&engine);
        block_on(linker.module_async(&mut store, "m", &command)).unwrap();
        let instance = block_on(linker.instantiate_async(&mut store, &user)).unwrap();
        let run = instance.get_typed_func::<(), i32, _>(&mut store, "run").unwrap();
        let (pending, sum) = count_pending(run.call_async(&mut store, ()));
        assert_eq!(sum.unwrap(), 100);
        (pending, store.fuel_consumed().unwrap())
    };
    // A round of the loop is eight operators; around the two loops there are 2 × 2 and 1 + 5.
    let (_, burned) = run(10_000);
    assert_eq!(burned, 100 * 8 + 2 * 2 + 6);
    let (pending, with_yields) = run(20);
    assert_eq!(with_yields, burned);
    assert!((30..=41).contains(&pending), "{pending} yields for {burned} units");
}
