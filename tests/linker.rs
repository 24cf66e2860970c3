//! Linkers: names, shadowing, copies, instances as modules.

use lampwick::{Caller, Engine, Extern, Func, Linker, Memory, MemoryType, Module, Store, Trap};

use crate::support::{asynchronous, block_on, count_pending, panic_of, pend};

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
    drop((copy, module));
    assert_eq!(func.call(&mut store, ()).unwrap(), 2);
    // What the copy defined went with it; the original works, in this store and in others.
    let module = Module::new(&engine, WANTS).unwrap();
    assert_eq!(run(&mut store, &linker, &module), 1);
    assert_eq!(run(&mut Store::new(&engine, ()), &linker, &module), 1);
    let copy = linker.clone();
    linker.func_wrap("a", "f", || 3).unwrap();
    drop(linker);
    assert_eq!(run(&mut store, &copy, &module), 1);
}

#[test]
fn an_alias_is_another_name_for_the_same() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let module = Module::new(&engine, WANTS).unwrap();
    let mut linker = Linker::new(&engine);
    linker.func_wrap("x", "y", || 1).unwrap().func_wrap("x", "z", || 2).unwrap();
    linker.alias("x", "y", "a", "f").unwrap();
    assert_eq!(run(&mut store, &linker, &module), 1);
    let text = linker.alias("x", "z", "a", "f").err().unwrap().to_string();
    assert!(text.contains("a::f"), "{text}");
    let text = linker.alias("x", "none", "a", "g").err().unwrap().to_string();
    assert!(text.contains("x::none"), "{text}");
    linker.allow_shadowing(true).func_wrap("x", "y", || 3).unwrap();
    assert_eq!(run(&mut store, &linker, &module), 1, "an alias keeps what it was made for");
    linker.alias("x", "z", "a", "f").unwrap();
    assert_eq!(run(&mut store, &linker, &module), 2);
}

#[test]
fn a_module_of_names_gets_a_second_name() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let memory = Memory::new(&mut store, MemoryType::new(1, None)).unwrap();
    let mut linker = Linker::new(&engine);
    linker.func_wrap("x", "f", || 1).unwrap().define("x", "m", memory).unwrap();
    linker.define_name("x", memory).unwrap();
    linker.alias_module("x", "a").unwrap();
    linker.alias_module("nothing", "b").unwrap();
    linker.func_wrap("x", "later", || 1).unwrap();
    let names: Vec<_> = linker.iter(&mut store).map(|(module, name, _)| (module, name)).collect();
    assert_eq!(names, [("a", "f"), ("a", "m"), ("x", "f"), ("x", "later"), ("x", "m")]);
    assert!(linker.get(&mut store, "a", None).is_some());
    assert_eq!(run(&mut store, &linker, &Module::new(&engine, WANTS).unwrap()), 1);
    // If one name is taken, none is defined.
    linker.func_wrap("c", "m", || 1).unwrap();
    assert!(linker.alias_module("x", "c").is_err());
    assert!(linker.get(&mut store, "c", Some("f")).is_none());
    linker.allow_shadowing(true).alias_module("x", "c").unwrap();
    assert!(matches!(linker.get(&mut store, "c", Some("m")), Some(Extern::Memory(_))));
}

#[test]
fn a_name_alone_is_not_a_name_of_an_import() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let func = Func::wrap(&mut store, || 1);
    let mut linker = Linker::new(&engine);
    linker.define_name("a", func).unwrap().define_name("f", func).unwrap();
    assert!(matches!(linker.get(&mut store, "a", None), Some(Extern::Func(_))));
    assert!(linker.define_name("a", func).is_err());
    for (module, name) in [("", "a"), ("a", ""), ("a", "f")] {
        assert!(linker.get(&mut store, module, Some(name)).is_none());
    }
    assert_eq!(linker.iter(&mut store).count(), 0);
    assert_eq!(format!("{linker:?}"), r#"{"a", "f"}"#);
    linker.func_wrap("a", "f", || 2).unwrap();
    let module = Module::new(&engine, WANTS).unwrap();
    assert_eq!(run(&mut store, &linker, &module), 2);
    let import = module.imports().next().unwrap();
    let item = linker.get_by_import(&mut store, &import).unwrap();
    let item = item.into_func().unwrap().typed::<(), i32, _>(&store).unwrap();
    assert_eq!(item.call(&mut store, ()).unwrap(), 2);
    let other = Module::new(&engine, r#"(module (import "a" "g" (func)))"#).unwrap();
    assert!(linker.get_by_import(&mut store, &other.imports().next().unwrap()).is_none());
    let stranger = Engine::default();
    let get = || linker.get(Store::new(&stranger, ()), "a", Some("f"));
    assert!(panic_of(get).contains("different engines"));
    let iter = || linker.iter(Store::new(&stranger, ())).count();
    assert!(panic_of(iter).contains("different engines"));
}

#[test]
fn async_functions_take_their_parameters_as_one() {
    let engine = asynchronous();
    let module = r#"(module
        (import "a" "two" (func $two (param i32 i64) (result i64 i32)))
        (import "a" "one" (func $one (param i64) (result i64)))
        (import "a" "none" (func $none (result i32)))
        (func (export "run") (result i64)
            (call $two (call $none) (call $one (i64.const 1)))
            i64.extend_i32_s i64.add))"#;
    let module = Module::new(&engine, module).unwrap();
    let mut linker = Linker::<i64>::new(&engine);
    linker
        .func_wrap_async("a", "two", |caller: Caller<'_, i64>, (a, b): (i32, i64)| {
            Box::new(async move {
                pend(2).await;
                (b + *caller.data(), a)
            })
        })
        .unwrap()
        .func_wrap_async("a", "one", |_: Caller<'_, i64>, a: i64| {
            Box::new(async move { if a == 1 { Ok(a * 10) } else { Err(Trap::new("not one")) } })
        })
        .unwrap()
        .func_wrap_async("a", "none", |_: Caller<'_, i64>, (): ()| Box::new(async { 100 }))
        .unwrap();
    let mut store = Store::new(&engine, 1000);
    let instance = block_on(linker.instantiate_async(&mut store, &module)).unwrap();
    let run = instance.get_typed_func::<(), i64, _>(&mut store, "run").unwrap();
    let (pending, sum) = count_pending(run.call_async(&mut store, ()));
    assert_eq!((pending, sum.unwrap()), (2, 1110));
    let text = panic_of(|| {
        let mut linker = Linker::<()>::new(&Engine::default());
        linker.func_wrap_async("", "", |_: Caller<'_, ()>, (): ()| Box::new(async {})).map(drop)
    });
    assert!(text.contains("func_wrap_async"), "{text}");
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
