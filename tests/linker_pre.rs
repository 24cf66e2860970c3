//! Instances to be: resolved once, for many stores or for one.

use lampwick::{
    AsContext, Caller, Engine, Func, Global, GlobalType, Instance, InstancePre, Linker, Memory,
    MemoryType, Module, Mutability, Store, Table, TableType, Val, ValType,
};

use crate::support::{asynchronous, block_on, count_pending, panic_of, pend, trap};

const WANTS: &str = r#"(module (import "a" "f" (func $f (result i32)))
    (func (export "run") (result i32) call $f) (export "f" (func $f)))"#;

fn run<T>(store: &mut Store<T>, instance: Instance) -> i32 {
    let run = instance.get_typed_func::<(), i32, _>(&mut *store, "run").unwrap();
    run.call(store, ()).unwrap()
}

#[test]
fn host_functions_serve_every_store_after_the_linker_is_gone() {
    let engine = Engine::default();
    let module = Module::new(&engine, WANTS).unwrap();
    let mut linker = Linker::<i32>::new(&engine);
    linker.func_wrap("a", "f", |caller: Caller<'_, i32>| *caller.data()).unwrap();
    let pre = linker.instantiate_pre(Store::new(&engine, 0), &module).unwrap();
    linker.allow_shadowing(true).func_wrap("a", "f", || -1).unwrap();
    let copy = pre.clone();
    drop((linker, pre, module));
    let threads: Vec<_> = (0..4)
        .map(|number| {
            let (engine, pre) = (engine.clone(), copy.clone());
            std::thread::spawn(move || {
                let mut store = Store::new(&engine, number);
                for _ in 0..10 {
                    let instance = pre.instantiate(&mut store).unwrap();
                    assert_eq!(run(&mut store, instance), number);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_host_function_takes_one_place_in_a_store() {
    let engine = Engine::default();
    let module = Module::new(&engine, WANTS).unwrap();
    let mut linker = Linker::new(&engine);
    linker.func_wrap("a", "f", || 1).unwrap().alias("a", "f", "b", "g").unwrap();
    let mut store = Store::new(&engine, ());
    // A handle prints the address of what it stands for.
    let print = |func: Func| format!("{func:?}");
    let mut places = std::collections::HashSet::new();
    for _ in 0..10 {
        let pre = linker.instantiate_pre(&mut store, &module).unwrap();
        for instance in
            [pre.instantiate(&mut store), linker.clone().instantiate(&mut store, &module)]
        {
            places.insert(print(instance.unwrap().get_func(&mut store, "f").unwrap()));
        }
        for (module, name) in [("a", "f"), ("b", "g")] {
            let item = linker.get(&mut store, module, Some(name)).unwrap();
            places.insert(print(item.into_func().unwrap()));
        }
        places.extend(linker.iter(&mut store).map(|(.., item)| print(item.into_func().unwrap())));
    }
    assert_eq!(places.len(), 1, "{places:?}");
    linker.allow_shadowing(true).func_wrap("a", "f", || 1).unwrap();
    let other = linker.get(&mut store, "a", Some("f")).unwrap().into_func().unwrap();
    assert!(places.insert(print(other)), "another definition has another place");
}

#[test]
fn what_belongs_to_one_store_is_refused_by_another() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let mut other = Store::new(&engine, ());
    let global = GlobalType::new(ValType::I32, Mutability::Var);
    let table = TableType::new(ValType::FuncRef, 1, None);
    for (ty, item) in [
        ("(func)", Func::wrap(&mut store, || ()).into()),
        ("(memory 1)", Memory::new(&mut store, MemoryType::new(1, None)).unwrap().into()),
        ("(global (mut i32))", Global::new(&mut store, global, Val::I32(1)).unwrap().into()),
        ("(table 1 funcref)", Table::new(&mut store, table, Val::FuncRef(None)).unwrap().into()),
    ] {
        let _: &lampwick::Extern = &item;
        let module = Module::new(&engine, format!(r#"(module (import "a" "b" {ty}))"#)).unwrap();
        let mut linker = Linker::new(&engine);
        linker.define("a", "b", item).unwrap();
        let pre = linker.instantiate_pre(&mut store, &module).unwrap();
        pre.instantiate(&mut store).unwrap();
        for error in [
            pre.instantiate(&mut other).unwrap_err(),
            linker.instantiate_pre(&mut other, &module).unwrap_err(),
        ] {
            let text = format!("{error:?}");
            assert!(text.contains("a::b") && text.contains("another store"), "{ty}: {text}");
        }
        pre.instantiate(&mut store).unwrap();
    }
    let stranger = Engine::default();
    let pre = Linker::new(&engine)
        .instantiate_pre(&mut store, &Module::new(&engine, "(module)").unwrap())
        .unwrap();
    let error = pre.instantiate(Store::new(&stranger, ())).unwrap_err();
    assert!(error.to_string().contains("different engines"), "{error}");
    let module = Module::new(&stranger, "(module)").unwrap();
    for (mut store, linker) in [
        (Store::new(&stranger, ()), Linker::new(&engine)),
        (Store::new(&engine, ()), Linker::new(&engine)),
    ] {
        let error = linker.instantiate_pre(&mut store, &module).unwrap_err();
        assert!(error.to_string().contains("different engines"), "{error}");
    }
}

#[test]
fn types_are_checked_before_there_is_an_instance() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let module = Module::new(&engine, WANTS).unwrap();
    let error = |linker: &Linker<()>, store: &mut Store<()>| {
        linker.instantiate_pre(store, &module).unwrap_err().to_string()
    };
    let mut linker = Linker::new(&engine);
    linker.allow_shadowing(true);
    let text = error(&linker, &mut store);
    assert!(text.contains("unknown import") && text.contains("a::f"), "{text}");
    linker.func_wrap("a", "f", || 1.0_f32).unwrap();
    let text = error(&linker, &mut store);
    assert!(text.contains("[] -> [i32]") && text.contains("[] -> [f32]"), "{text}");
    let memory = Memory::new(&mut store, MemoryType::new(1, None)).unwrap();
    linker.define("a", "f", memory).unwrap();
    let text = error(&linker, &mut store);
    assert!(text.contains("function [] -> [i32]") && text.contains("memory"), "{text}");
    let module = Module::new(&engine, r#"(module (import "a" "f" (memory 2)))"#).unwrap();
    linker.instantiate_pre(&mut store, &module).unwrap_err();
    memory.grow(&mut store, 1).unwrap();
    let pre = linker.instantiate_pre(&mut store, &module).unwrap();
    memory.grow(&mut store, 1).unwrap();
    pre.instantiate(&mut store).unwrap();
    linker.func_wrap("a", "f", || 1).unwrap();
    let text = linker.instantiate_pre(&mut store, &module).unwrap_err().to_string();
    assert!(text.contains("memory") && text.contains("function"), "{text}");
}

#[test]
fn start_functions_run_for_each_instance_and_may_suspend() {
    const GUEST: &str = r#"(module (import "a" "f" (func $f)) (start $f))"#;
    let engine = asynchronous();
    let mut linker = Linker::<i32>::new(&engine);
    linker
        .func_wrap_async("a", "f", |mut caller: Caller<'_, i32>, (): ()| {
            Box::new(async move {
                pend(3).await;
                *caller.data_mut() += 1;
            })
        })
        .unwrap();
    let module = Module::new(&engine, GUEST).unwrap();
    let mut store = Store::new(&engine, 0);
    let pre: InstancePre<i32> = linker.instantiate_pre(&mut store, &module).unwrap();
    for count in 1..=3 {
        let (pending, instance) = count_pending(pre.instantiate_async(&mut store));
        instance.unwrap();
        assert_eq!((pending, *store.as_context().data()), (3, count));
    }
    let text = panic_of(|| pre.instantiate(&mut store));
    assert_eq!(text, "must use `InstancePre::instantiate_async` with an async store");
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let module = Module::new(&engine, "(module (func $f unreachable) (start $f))").unwrap();
    let pre = Linker::new(&engine).instantiate_pre(&mut store, &module).unwrap();
    let trap = trap(pre.instantiate(&mut store).unwrap_err());
    assert_eq!(trap.trap_code(), Some(lampwick::TrapCode::UnreachableCodeReached));
    let text = panic_of(|| block_on(pre.instantiate_async(&mut store)));
    assert!(text.contains("not async"), "{text}");
}
