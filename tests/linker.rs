//! Linkers: names, shadowing, copies, instances as modules.

use lampwick::{Engine, Extern, Func, Linker, Memory, MemoryType, Module, Store};

use crate::support::{asynchronous, block_on, pend};

const WANTS: &str = r#"(module (import "a" "f" (func $f (result i32)))
    (func (export "run") (result i32) call $f))"#;

fn run(store: &mut Store<()>, linker: &Linker<()>, module: &Module) -> i32 {
    let instance = linker.instantiate(&mut *store, module).unwrap();
    let run = instance.get_typed_func::<(), i32, _>(&mut *store, "run").unwrap();
    run.call(store, ()).unwrap()
}

#[test]
fn a_name_is_taken_unless_shadowing_is_allowed() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let module = Module::new(&engine, WANTS).unwrap();
    let mut linker = Linker::new(&engine);
    linker.func_wrap("a", "f", || 1).unwrap();
    let text = linker.func_wrap("a", "f", || 2).err().unwrap().to_string();
    assert!(text.contains("a::f"), "{text}");
    assert_eq!(run(&mut store, &linker, &module), 1);
    linker.func_wrap("a", "g", || 2).unwrap().func_wrap("b", "f", || 2).unwrap();
    linker.allow_shadowing(true).func_wrap("a", "f", || 3).unwrap();
    assert_eq!(run(&mut store, &linker, &module), 3);
    linker.allow_shadowing(false);
    assert!(linker.func_wrap("a", "f", || 4).is_err());
}

#[test]
fn a_copy_goes_its_own_way_and_outlives_the_original() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let module = Module::new(&engine, WANTS).unwrap();
    let mut linker = Linker::new(&engine);
    linker.allow_shadowing(true).func_wrap("a", "f", || 1).unwrap();
    let mut copy = linker.clone();
    copy.func_wrap("a", "f", || 2).unwrap().func_wrap("a", "more", || ()).unwrap();
    assert_eq!((run(&mut store, &linker, &module), run(&mut store, &copy, &module)), (1, 2));
    assert!(linker.get(&mut store, "a", Some("more")).is_none());
    let instance = copy.instantiate(&mut store, &module).unwrap();
    let func = instance.get_typed_func::<(), i32, _>(&mut store, "run").unwrap();
    drop((linker, copy, module));
    assert_eq!(func.call(&mut store, ()).unwrap(), 2);
}

#[test]
fn one_linker_serves_many_stores() {
    let engine = Engine::default();
    let module = Module::new(&engine, WANTS).unwrap();
    let mut linker = Linker::<i32>::new(&engine);
    linker.func_wrap("a", "f", |caller: lampwick::Caller<'_, i32>| *caller.data()).unwrap();
    let stores: Vec<_> = (0..10)
        .map(|number| {
            let mut store = Store::new(&engine, number);
            let instance = linker.instantiate(&mut store, &module).unwrap();
            (store, instance)
        })
        .collect();
    drop(linker);
    for (number, (mut store, instance)) in stores.into_iter().enumerate() {
        let run = instance.get_typed_func::<(), i32, _>(&mut store, "run").unwrap();
        assert_eq!(run.call(&mut store, ()).unwrap(), number as i32);
    }
}

#[test]
fn an_instance_becomes_a_module_of_names() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let mut linker = Linker::new(&engine);
    let module = r#"(module (func (export "f") (result i32) i32.const 9) (memory (export "m") 2)
        (global (export "g") i32 (i32.const 4)) (table (export "t") 1 funcref))"#;
    let instance = linker.instantiate(&mut store, &Module::new(&engine, module).unwrap()).unwrap();
    linker.instance(&mut store, "a", instance).unwrap();
    assert_eq!(run(&mut store, &linker, &Module::new(&engine, WANTS).unwrap()), 9);
    assert!(linker.instance(&mut store, "a", instance).is_err(), "the names are taken");
    for (name, matches) in [
        ("f", (|item| matches!(item, Extern::Func(_))) as fn(Extern) -> bool),
        ("m", |item| matches!(item, Extern::Memory(_))),
        ("g", |item| matches!(item, Extern::Global(_))),
        ("t", |item| matches!(item, Extern::Table(_))),
    ] {
        assert!(matches(linker.get(&mut store, "a", Some(name)).unwrap()), "{name}");
        assert!(linker.get(&mut store, "b", Some(name)).is_none());
    }
    assert!(linker.get(&mut store, "a", Some("x")).is_none());
    let names = format!("{linker:?}");
    assert!(["a::f", "a::m", "a::g", "a::t"].iter().all(|name| names.contains(name)), "{names}");
}

#[test]
fn an_empty_name_is_a_name() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let mut linker = Linker::new(&engine);
    linker.func_wrap("", "", || 1).unwrap();
    let module = r#"(module (import "" "" (func $f (result i32)))
        (func (export "run") (result i32) call $f) (export "" (func $f)))"#;
    let module = Module::new(&engine, module).unwrap();
    assert_eq!(run(&mut store, &linker, &module), 1);
    assert_eq!(module.imports().next().unwrap().name(), Some(""));
    assert_eq!(
        module.exports().map(|export| export.name().to_owned()).collect::<Vec<_>>(),
        ["run", ""]
    );
}

#[test]
fn an_unused_definition_of_another_store_does_no_harm() {
    let engine = Engine::default();
    let (mut store, mut other) = (Store::new(&engine, ()), Store::new(&engine, ()));
    let memory = Memory::new(&mut other, MemoryType::new(1, None)).unwrap();
    let func = Func::wrap(&mut other, || 5);
    let mut linker = Linker::new(&engine);
    linker.define("x", "memory", memory).unwrap().define("x", "func", func).unwrap();
    linker.func_wrap("a", "f", || 1).unwrap();
    assert_eq!(run(&mut store, &linker, &Module::new(&engine, WANTS).unwrap()), 1);
}

#[test]
fn async_functions_are_defined_once_for_many_stores() {
    let engine = asynchronous();
    let module = Module::new(&engine, WANTS).unwrap();
    let mut linker = Linker::<u32>::new(&engine);
    linker
        .func_wrap0_async("a", "f", |caller: lampwick::Caller<'_, u32>| {
            Box::new(async move {
                pend(*caller.data()).await;
                *caller.data() as i32
            })
        })
        .unwrap();
    for number in 0..5 {
        let mut store = Store::new(&engine, number);
        let instance = block_on(linker.instantiate_async(&mut store, &module)).unwrap();
        let run = instance.get_typed_func::<(), i32, _>(&mut store, "run").unwrap();
        assert_eq!(block_on(run.call_async(&mut store, ())).unwrap(), number as i32);
    }
}

#[test]
fn a_module_tells_what_it_imports_and_exports() {
    let engine = Engine::default();
    let module = Module::new_with_name(
        &engine,
        r#"(module $own
            (import "a" "b" (func (param i32) (result f32 f64)))
            (import "c" "d" (memory 1 2)) (import "e" "f" (global (mut i64)))
            (import "g" "h" (table 3 externref))
            (export "x" (memory 0)) (export "y" (func 0)) (export "z" (global 0)) (export "t" (table 0)))"#,
        "given",
    )
    .unwrap();
    assert_eq!(module.name(), Some("given"));
    let imports: Vec<_> = module
        .imports()
        .map(|import| format!("{} {} {}", import.module(), import.name().unwrap(), import.ty()))
        .collect();
    assert_eq!(
        imports,
        [
            "a b function [i32] -> [f32 f64]",
            "c d memory (at least 1 pages, at most 2)",
            "e f global mut i64",
            "g h table of externref (at least 3, no maximum)",
        ]
    );
    assert_eq!((module.imports().len(), module.exports().len()), (4, 4));
    let ty = module.get_export("y").unwrap();
    assert_eq!(ty.unwrap_func().params().len(), 1);
    assert_eq!(ty.unwrap_func().results().len(), 2);
    assert!(ty.memory().is_none() && module.get_export("w").is_none());
    assert_eq!(module.get_export("x").unwrap().unwrap_memory().maximum(), Some(2));
    assert!(Engine::same(module.engine(), &engine) && !Engine::same(&engine, &Engine::default()));
    assert!(Engine::same(&engine.clone(), &engine));
}
