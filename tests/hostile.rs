//! Embedders who mix things up: an error or the documented panic, never a crash.

use lampwick::{
    Caller, Config, Engine, Extern, ExternRef, Func, Global, GlobalType, Instance, Linker, Memory,
    MemoryType, Module, Mutability, Store, Table, TableType, Trap, Val, ValType,
};

use crate::support::{
    async_metered, asynchronous, block_on, instantiate, instantiate_async, panic_of, panic_text,
    trap,
};

const OTHER_STORE: &str = "another store than its own";
const GUEST: &str = r#"(module
    (memory (export "memory") 1) (table (export "table") 1 funcref)
    (global (export "global") (mut funcref) (ref.null func))
    (func (export "run") (param funcref externref) (result i32) i32.const 7)
    (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add))"#;

/// Two stores of one engine, the first with an instance of [`GUEST`].
fn stores() -> (Store<()>, Instance, Store<()>) {
    let engine = Engine::default();
    let (store, instance) = instantiate(&engine, GUEST);
    (store, instance, Store::new(&engine, ()))
}

fn assert_other_store<R>(what: &str, result: anyhow::Result<R>) {
    let error = result.err().unwrap_or_else(|| panic!("{what} was accepted"));
    assert!(format!("{error:#}").contains(OTHER_STORE), "{what}: {error:#}");
}

#[test]
fn handles_of_another_store_panic_where_there_is_no_result() {
    let (mut store, instance, mut other) = stores();
    let memory = instance.get_memory(&mut store, "memory").unwrap();
    let table = instance.get_table(&mut store, "table").unwrap();
    let global = instance.get_global(&mut store, "global").unwrap();
    let func = instance.get_func(&mut store, "add").unwrap();
    let panics: Vec<(&str, String)> = vec![
        ("Memory::ty", panic_of(|| memory.ty(&other))),
        ("Memory::data", panic_of(|| memory.data(&other).len())),
        ("Memory::data_mut", panic_of(|| memory.data_mut(&mut other).len())),
        ("Memory::data_ptr", panic_of(|| memory.data_ptr(&other))),
        ("Memory::data_size", panic_of(|| memory.data_size(&other))),
        ("Memory::size", panic_of(|| memory.size(&other))),
        ("Table::ty", panic_of(|| table.ty(&other))),
        ("Table::get", panic_of(|| table.get(&mut other, 0))),
        ("Table::size", panic_of(|| table.size(&other))),
        ("Global::ty", panic_of(|| global.ty(&other))),
        ("Global::get", panic_of(|| global.get(&mut other))),
        ("Func::ty", panic_of(|| func.ty(&other))),
        ("Instance::get_export", panic_of(|| instance.get_export(&mut other, "add"))),
        ("Instance::get_func", panic_of(|| instance.get_func(&mut other, "add"))),
        ("Instance::exports", panic_of(|| instance.exports(&mut other).len())),
        ("Extern::ty", panic_of(|| Extern::from(memory).ty(&other))),
    ];
    for (what, text) in panics {
        assert!(text.contains(OTHER_STORE), "{what}: {text}");
    }
    // Neither store was harmed.
    let add = func.typed::<(i32, i32), i32, _>(&store).unwrap();
    assert_eq!(add.call(&mut store, (1, 2)).unwrap(), 3);
    assert_eq!(memory.size(&store), 1);
}

#[test]
fn values_of_another_store_are_errors() {
    let (mut store, instance, mut other) = stores();
    let foreign = Func::wrap(&mut other, || ());
    let run = instance.get_func(&mut store, "run").unwrap();
    let funcref = || Val::FuncRef(Some(foreign));
    assert_other_store("an argument", run.call(&mut store, &[funcref(), Val::null()]));
    let typed = run.typed::<(Option<Func>, Option<ExternRef>), i32, _>(&store).unwrap();
    assert_other_store(
        "a typed argument",
        typed.call(&mut store, (Some(foreign), None)).map_err(Into::into),
    );
    assert_other_store("a callee", run.call(&mut other, &[]));
    assert_other_store("a typed callee", typed.call(&mut other, (None, None)).map_err(Into::into));
    let table = instance.get_table(&mut store, "table").unwrap();
    assert_other_store("an element", table.set(&mut store, 0, funcref()));
    assert_other_store("elements", table.fill(&mut store, 0, funcref(), 1));
    assert_other_store("new elements", table.grow(&mut store, 1, funcref()));
    let ty = TableType::new(ValType::FuncRef, 1, None);
    assert_other_store("a table's first element", Table::new(&mut store, ty, funcref()));
    let global = instance.get_global(&mut store, "global").unwrap();
    assert_other_store("a global's value", global.set(&mut store, funcref()));
    let ty = GlobalType::new(ValType::FuncRef, Mutability::Const);
    assert_other_store("a new global's value", Global::new(&mut store, ty, funcref()));
    assert!(global.get(&mut store).unwrap_funcref().is_none() && table.size(&store) == 1);
    // A reference to a value of the host belongs to no store.
    let shared = ExternRef::new(5);
    for _ in 0..2 {
        assert_eq!(typed.call(&mut store, (None, Some(shared.clone()))).unwrap(), 7);
    }
}

#[test]
fn host_functions_cannot_answer_what_belongs_elsewhere() {
    let (mut store, _, mut other) = stores();
    let foreign = Func::wrap(&mut other, || ());
    let typed = Func::wrap(&mut store, move || Some(foreign));
    let ty = lampwick::FuncType::new([], [ValType::FuncRef]);
    let untyped = Func::new(&mut store, ty, move |_, _, results| {
        results[0] = Val::FuncRef(Some(foreign));
        Ok(())
    });
    for func in [typed, untyped] {
        let error = func.call(&mut store, &[]).unwrap_err();
        assert!(format!("{error:?}").contains(OTHER_STORE), "{error:?}");
    }
}

#[test]
fn imports_of_another_store_or_engine_are_errors() {
    let (mut store, _, mut other) = stores();
    let engine = store.engine().clone();
    let global = GlobalType::new(ValType::I32, Mutability::Const);
    let table = TableType::new(ValType::FuncRef, 1, None);
    let cases: Vec<(&str, Extern)> = vec![
        ("(func)", Func::wrap(&mut other, || ()).into()),
        ("(memory 1)", Memory::new(&mut other, MemoryType::new(1, None)).unwrap().into()),
        ("(global i32)", Global::new(&mut other, global, Val::I32(1)).unwrap().into()),
        ("(table 1 funcref)", Table::new(&mut other, table, Val::FuncRef(None)).unwrap().into()),
    ];
    for (ty, item) in cases {
        let module = format!("(module (import \"a\" \"b\" {ty}))");
        let module = Module::new(&engine, module).unwrap();
        assert_other_store(ty, Instance::new(&mut store, &module, std::slice::from_ref(&item)));
        let mut linker = Linker::new(&engine);
        linker.define("a", "b", item).unwrap();
        assert_other_store(ty, linker.instantiate(&mut store, &module));
        linker.instantiate(&mut other, &module).unwrap();
    }
    let stranger = Module::new(&Engine::default(), "(module)").unwrap();
    let error = Instance::new(&mut store, &stranger, &[]).unwrap_err();
    assert!(error.to_string().contains("different engines"), "{error}");
    let linker = Linker::new(&Engine::default());
    for module in [&stranger, &Module::new(&engine, "(module)").unwrap()] {
        let error = linker.instantiate(&mut store, module).unwrap_err();
        assert!(error.to_string().contains("different engines"), "{error}");
    }
}

#[test]
fn synchronous_calls_of_an_async_store_panic() {
    let engine = asynchronous();
    let (mut store, instance) = instantiate_async(&engine, GUEST);
    let module = Module::new(&engine, "(module)").unwrap();
    let add = instance.get_func(&mut store, "add").unwrap();
    let typed = add.typed::<(i32, i32), i32, _>(&store).unwrap();
    let texts = [
        panic_of(|| add.call(&mut store, &[Val::I32(1), Val::I32(2)])),
        panic_of(|| typed.call(&mut store, (1, 2))),
        panic_of(|| Instance::new(&mut store, &module, &[])),
        panic_of(|| Linker::new(&engine).instantiate(&mut store, &module)),
    ];
    for (text, method) in
        texts.iter().zip(["Func::call", "TypedFunc::call", "Instance::new", "Linker::instantiate"])
    {
        assert_eq!(*text, format!("must use `{method}_async` with an async store"));
    }
    assert_eq!(block_on(typed.call_async(&mut store, (1, 2))).unwrap(), 3);
}

#[test]
fn async_calls_of_a_synchronous_store_panic() {
    let engine = Engine::default();
    let (mut store, instance) = instantiate(&engine, GUEST);
    let module = Module::new(&engine, "(module)").unwrap();
    let add = instance.get_func(&mut store, "add").unwrap();
    let typed = add.typed::<(i32, i32), i32, _>(&store).unwrap();
    let ty = || lampwick::FuncType::new([], []);
    let args = [Val::I32(1), Val::I32(2)];
    let texts = [
        panic_of(|| block_on(add.call_async(&mut store, &args))),
        panic_of(|| block_on(typed.call_async(&mut store, (1, 2)))),
        panic_of(|| block_on(Instance::new_async(&mut store, &module, &[]))),
        panic_of(|| Func::wrap0_async(&mut store, |_: Caller<'_, ()>| Box::new(async {}))),
        panic_of(|| Func::new_async(&mut store, ty(), |_, _, _| Box::new(async { Ok(()) }))),
        panic_of(|| {
            let mut linker = Linker::<()>::new(&engine);
            linker.func_wrap0_async("", "", |_| Box::new(async {})).map(drop)
        }),
        panic_of(|| {
            let mut linker = Linker::<()>::new(&engine);
            linker.func_new_async("", "", ty(), |_, _, _| Box::new(async { Ok(()) })).map(drop)
        }),
    ];
    for text in texts {
        assert!(text.contains("Config::async_support"), "{text}");
    }
    assert_eq!(typed.call(&mut store, (1, 2)).unwrap(), 3);
}

#[test]
fn a_panic_of_a_host_function_leaves_a_synchronous_call() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, 0);
    let host =
        Func::wrap(&mut store, |mut caller: Caller<'_, i32>, depth: i32| -> Result<(), Trap> {
            *caller.data_mut() += 1;
            assert!(depth > 0, "the bottom is reached");
            let run = caller.get_export("run").and_then(Extern::into_func).unwrap();
            run.call(&mut caller, &[Val::I32(depth - 1)]).map(drop).map_err(Trap::from)
        });
    let module = Module::new(
        &engine,
        r#"(module (import "" "" (func $host (param i32)))
            (func (export "run") (param i32) local.get 0 call $host)
            (func (export "one") (result i32) i32.const 1))"#,
    );
    let instance = Instance::new(&mut store, &module.unwrap(), &[host.into()]).unwrap();
    let run = instance.get_typed_func::<i32, (), _>(&mut store, "run").unwrap();
    for depth in [0, 1, 10] {
        *store.data_mut() = 0;
        assert_eq!(panic_of(|| run.call(&mut store, depth)), "the bottom is reached");
        assert_eq!(*store.data(), depth + 1);
        let one = instance.get_typed_func::<(), i32, _>(&mut store, "one").unwrap();
        assert_eq!(one.call(&mut store, ()).unwrap(), 1);
    }
    assert_eq!(panic_of(|| host.call(&mut store, &[Val::I32(0)])), "the bottom is reached");
}

#[test]
fn a_payload_that_is_no_text_arrives_as_it_is() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let host = Func::wrap(&mut store, |x: i32| {
        if x == 0 {
            std::panic::panic_any(vec![1, 2, 3])
        }
    });
    let call = std::panic::AssertUnwindSafe(|| host.call(&mut store, &[Val::I32(0)]));
    let payload = std::panic::catch_unwind(call).unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&vec![1, 2, 3]));
}

/// A value whose drop panics.
struct Grenade;

impl Drop for Grenade {
    fn drop(&mut self) {
        panic!("the drop panics");
    }
}

#[test]
fn a_panic_while_a_call_is_dropped_leaves_the_drop() {
    let engine = async_metered();
    let mut store = Store::new(&engine, ());
    store.add_fuel(1000).unwrap();
    let host = Func::wrap0_async(&mut store, |_: Caller<'_, ()>| {
        Box::new(async {
            let _grenade = Grenade;
            std::future::pending::<()>().await;
        })
    });
    let module = r#"(module (import "" "" (func $host)) (func (export "run") call $host)
        (func (export "one") (result i32) i32.const 1))"#;
    let module = Module::new(&engine, module).unwrap();
    let imports = [host.into()];
    let instance = block_on(Instance::new_async(&mut store, &module, &imports)).unwrap();
    let run = instance.get_typed_func::<(), (), _>(&mut store, "run").unwrap();
    let one = instance.get_typed_func::<(), i32, _>(&mut store, "one").unwrap();
    for _ in 0..3 {
        let mut call = Box::pin(run.call_async(&mut store, ()));
        assert!(crate::support::poll(call.as_mut()).is_pending());
        assert_eq!(panic_of(|| drop(call)), "the drop panics");
        assert_eq!(block_on(one.call_async(&mut store, ())).unwrap(), 1);
    }
    // While the thread unwinds already, the drop must not abort the process.
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut call = Box::pin(run.call_async(&mut store, ()));
        assert!(crate::support::poll(call.as_mut()).is_pending());
        panic!("something else");
    }));
    assert_eq!(panic_text(&*unwound.unwrap_err()), "something else");
    assert_eq!(block_on(one.call_async(&mut store, ())).unwrap(), 1);
}

#[test]
fn stacks_that_cannot_be_are_errors() {
    for (wasm, whole) in [(1 << 20, 1 << 20), (usize::MAX, 1 << 20), (512 << 10, 512 << 10)] {
        let mut config = Config::new();
        config.max_wasm_stack(wasm).unwrap().async_stack_size(whole).unwrap();
        let text = Engine::new(&config).unwrap_err().to_string();
        assert!(text.contains(&wasm.to_string()) && text.contains(&whole.to_string()), "{text}");
    }
    assert!(Config::new().max_wasm_stack(0).is_err() && Config::new().async_stack_size(0).is_err());
    assert!(Engine::new(Config::new().async_stack_size(usize::MAX).unwrap()).is_err());
    let mut config = Config::new();
    // SAFETY: the engine refuses the name.
    unsafe { config.cranelift_flag_enable("no_such_flag").unwrap() };
    let text = format!("{:#}", Engine::new(&config).unwrap_err());
    assert!(text.contains("no_such_flag"), "{text}");
}

#[test]
fn calling_a_host_function_from_the_host_has_no_caller() {
    let mut store = Store::<Option<bool>>::default();
    let host = Func::wrap(&mut store, |mut caller: Caller<'_, Option<bool>>| {
        let export = caller.get_export("anything").is_some();
        *caller.data_mut() = Some(export);
    });
    host.call(&mut store, &[]).unwrap();
    assert_eq!(*store.data(), Some(false));
    let failing = Func::wrap(&mut store, || -> Result<(), Trap> { Err(Trap::new("no")) });
    let trap = trap(failing.call(&mut store, &[]).unwrap_err());
    assert!(trap.trace().is_empty() && trap.to_string() == "no", "{trap}");
}
