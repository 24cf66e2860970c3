//! Places whose type is a reference to functions of one type, and who keeps to it.

use lampwick::{ExternRef, Func, Instance, Linker, Module, Store, TrapCode, Val};

use crate::references::imported;
use crate::support::{async_metered, count_pending, engine, instantiate, trap};

const TABLE: &str = r#"(module
    (type $t (func (result i32)))
    (func $f (type $t) (i32.const 1))
    (func $g (export "g") (type $t) (i32.const 2))
    (func (export "other") (result i64) (i64.const 3))
    (table $t (export "table") 3 10 (ref $t) (ref.func $f))
    (table (export "nullable") 1 10 (ref null $t))
    (table (export "any") 1 10 funcref)
    (global (export "global") (mut (ref $t)) (ref.func $g))
    (func (export "call") (param i32) (result i32)
        (call_indirect $t (type $t) (local.get 0)))
    (func (export "call_global") (result i32) (call_ref $t (global.get 0))))"#;

#[test]
fn what_is_never_null_has_a_value_from_the_start() {
    let (mut store, instance) = instantiate(&engine(|_| {}), TABLE);
    let call = instance.get_typed_func::<i32, i32, _>(&mut store, "call").unwrap();
    for index in 0..3 {
        assert_eq!(call.call(&mut store, index).unwrap(), 1);
    }
    let trap = call.call(&mut store, 3).unwrap_err();
    assert_eq!(trap.trap_code(), Some(TrapCode::TableOutOfBounds));
}

/// The host can put nothing into a place that is not of the place's type.
#[test]
fn hosts_keep_to_the_types() {
    let (mut store, instance) = instantiate(&engine(|_| {}), TABLE);
    let [g, other] = ["g", "other"].map(|name| instance.get_func(&mut store, name).unwrap());
    let table = instance.get_table(&mut store, "table").unwrap();
    let nullable = instance.get_table(&mut store, "nullable").unwrap();
    let global = instance.get_global(&mut store, "global").unwrap();
    let host = Func::wrap(&mut store, || 4_i32);
    let outcomes = |value: Val, store: &mut Store<()>| {
        let ty = table.ty(&mut *store);
        [
            table.set(&mut *store, 0, value.clone()).map(drop),
            table.fill(&mut *store, 0, value.clone(), 2),
            table.grow(&mut *store, 1, value.clone()).map(drop),
            lampwick::Table::new(&mut *store, ty, value.clone()).map(drop),
            global.set(&mut *store, value.clone()),
        ]
        .map(|result| result.map_err(|error| error.to_string()))
    };
    for (value, text) in [
        (Val::FuncRef(None), "found null"),
        (Val::FuncRef(Some(other)), "one of another type"),
        (Val::null(), "found externref"),
        (Val::I32(1), "found i32"),
    ] {
        for outcome in outcomes(value.clone(), &mut store) {
            let error = outcome.unwrap_err();
            assert!(error.contains(text), "{value:?}: {error}");
        }
    }
    assert_eq!(table.size(&store), 3);
    // A function of the host's is of the type, too, if it takes and gives the same.
    for value in [g, host] {
        assert!(outcomes(Val::FuncRef(Some(value)), &mut store).iter().all(Result::is_ok));
    }
    let call = instance.get_typed_func::<i32, i32, _>(&mut store, "call").unwrap();
    let called = [0, 1, 2, 3, 4].map(|index| call.call(&mut store, index).unwrap());
    assert_eq!(called, [4, 4, 1, 2, 4]);
    let call = instance.get_typed_func::<(), i32, _>(&mut store, "call_global").unwrap();
    assert_eq!(call.call(&mut store, ()).unwrap(), 4);
    // What fits goes from one table to another, and nothing else.
    let any = instance.get_table(&mut store, "any").unwrap();
    lampwick::Table::copy(&mut store, &nullable, 0, &table, 0, 1).unwrap();
    lampwick::Table::copy(&mut store, &any, 0, &nullable, 0, 1).unwrap();
    for (to, from) in [(&table, &nullable), (&table, &any), (&nullable, &any)] {
        let error = lampwick::Table::copy(&mut store, to, 0, from, 0, 1).unwrap_err().to_string();
        assert!(error.contains("cannot copy from a table of"), "{error}");
    }
    nullable.set(&mut store, 0, Val::FuncRef(None)).unwrap();
}

/// What a host function answers is looked at before the guest gets it; so are arguments.
#[test]
fn results_and_arguments_are_of_their_types() {
    let text = r#"(module
        (type $t (func (result i32)))
        (import "" "f" (func $f (param (ref $t)) (result (ref $t))))
        (func (export "one") (type $t) (i32.const 1))
        (func (export "other") (result i64) (i64.const 1))
        (func (export "run") (param (ref null $t)) (result i32)
            (call_ref $t (call $f (ref.as_non_null (local.get 0)))))
        (func (export "same") (param (ref $t)) (result (ref $t)) (local.get 0)))"#;
    let module = Module::new(&engine(|_| {}), text).unwrap();
    // The store's data is what the host function is to answer.
    let mut store = Store::new(module.engine(), None);
    let f = Func::new(&mut store, imported(&module), |caller, args, results| {
        assert!(args[0].unwrap_funcref().is_some());
        assert!(matches!(results[0], Val::FuncRef(None)));
        if let Some(answer) = caller.data() {
            results[0] = Val::clone(answer);
        }
        Ok(())
    });
    let instance = Instance::new(&mut store, &module, &[f.into()]).unwrap();
    let [one, other, run, same] =
        ["one", "other", "run", "same"].map(|name| instance.get_func(&mut store, name).unwrap());
    let given = [Val::from(one)];
    for (answer, text) in [
        (None, "result 0 of a host function: expected a value of type (ref"),
        (Some(Val::from(other)), "one of another type"),
        (Some(Val::null()), "found externref"),
    ] {
        *store.data_mut() = answer;
        let error = format!("{:#}", run.call(&mut store, &given).unwrap_err());
        assert!(error.contains(text), "{error}");
    }
    *store.data_mut() = Some(Val::from(one));
    assert_eq!(run.call(&mut store, &given).unwrap()[0].unwrap_i32(), 1);
    assert_eq!(
        trap(run.call(&mut store, &[Val::FuncRef(None)]).unwrap_err()).trap_code(),
        Some(TrapCode::NullReference)
    );
    for (func, arg) in [(same, Val::FuncRef(None)), (same, other.into()), (run, other.into())] {
        let error = func.call(&mut store, &[arg]).unwrap_err();
        assert!(format!("{error:#}").contains("argument 0"), "{error:#}");
    }
    same.call(&mut store, &given).unwrap();
    // A typed function may answer more than is asked, but not take less.
    assert!(same.typed::<Option<Func>, Option<Func>, _>(&store).is_err());
    let text = r#"(module (func $f (export "f") (result (ref func)) (ref.func $f)))"#;
    let (mut store, instance) = instantiate(&engine(|_| {}), text);
    let f = instance.get_typed_func::<(), Option<Func>, _>(&mut store, "f").unwrap();
    assert!(f.call(&mut store, ()).unwrap().is_some());
}

/// Functions of hosts and of other instances are called by reference, each with its own context.
#[test]
fn references_cross_instances() {
    let engine = engine(|_| {});
    let mut linker = Linker::<u32>::new(&engine);
    linker
        .func_wrap("host", "count", |mut caller: lampwick::Caller<'_, u32>| {
            *caller.data_mut() += 1;
        })
        .unwrap();
    let giver = r#"(module (type (func (param i32))) (type $t (func))
        (import "host" "count" (func $count (type $t)))
        (global $calls (export "calls") (mut i32) (i32.const 0))
        (elem declare func $count $own)
        (func $own (global.set $calls (i32.add (global.get $calls) (i32.const 1))))
        (func (export "count") (result (ref $t)) (ref.func $count))
        (func (export "own") (result (ref $t)) (ref.func $own)))"#;
    let taker = r#"(module (type $t (func))
        (import "giver" "count" (func $count (result (ref $t))))
        (import "giver" "own" (func $own (result (ref null $t))))
        (func (export "run") (call_ref $t (call $count)) (call_ref $t (call $own))))"#;
    let mut store = Store::new(&engine, 0);
    let giver = linker.instantiate(&mut store, &Module::new(&engine, giver).unwrap()).unwrap();
    linker.instance(&mut store, "giver", giver).unwrap();
    let taker_module = Module::new(&engine, taker).unwrap();
    // A function that answers less than null is no subtype: function types are equal or declared.
    let error = linker.instantiate(&mut store, &taker_module).unwrap_err();
    assert!(format!("{error:#}").contains("`giver::own`"), "{error:#}");
    let taker = Module::new(&engine, taker.replace("ref null", "ref")).unwrap();
    let taker = linker.instantiate(&mut store, &taker).unwrap();
    taker.get_typed_func::<(), (), _>(&mut store, "run").unwrap().call(&mut store, ()).unwrap();
    let calls = giver.get_global(&mut store, "calls").unwrap();
    assert_eq!((*store.data(), calls.get(&mut store).unwrap_i32()), (1, 1));
}

/// A collection finds references that are never null, in locals, on the stack, and across branches.
#[test]
fn collections_find_what_is_never_null() {
    let text = r#"(module
        (import "" "gc" (func $gc))
        (func (export "keep") (param externref) (result (ref extern))
            (local $kept (ref extern))
            (block $null
                (local.set $kept (br_on_null $null (local.get 0)))
                (local.set 0 (ref.null extern))
                (call $gc)
                (return (local.get $kept)))
            (unreachable)))"#;
    let mut store = Store::new(&lampwick::Engine::default(), ());
    let gc = Func::wrap(&mut store, |mut caller: lampwick::Caller<'_, ()>| caller.gc());
    let module = Module::new(store.engine(), text).unwrap();
    let instance = Instance::new(&mut store, &module, &[gc.into()]).unwrap();
    let keep = instance.get_typed_func::<_, Option<ExternRef>, _>(&mut store, "keep").unwrap();
    let back = keep.call(&mut store, Some(ExternRef::new(77))).unwrap().unwrap();
    assert_eq!(back.data().downcast_ref::<i32>(), Some(&77));
}

/// A large table is filled in parts, and what is dropped in its midst leaves nothing behind.
#[test]
fn large_tables_are_filled_in_parts() {
    let text = r#"(module (type $t (func)) (func $f)
        (table (export "table") 2_000_000 (ref $t) (ref.func $f)))"#;
    let engine = async_metered();
    let module = Module::new(&engine, text).unwrap();
    let mut store = Store::new(&engine, ());
    let (pending, instance) = count_pending(Instance::new_async(&mut store, &module, &[]));
    assert!(pending > 10, "{pending}");
    let table = instance.unwrap().get_table(&mut store, "table").unwrap();
    for index in [0, 1_999_999] {
        assert!(table.get(&mut store, index).unwrap().unwrap_funcref().is_some());
    }
    let mut store = Store::new(&engine, ());
    {
        let mut instance = std::pin::pin!(Instance::new_async(&mut store, &module, &[]));
        assert!(crate::support::poll(instance.as_mut()).is_pending());
    }
    assert!(count_pending(Instance::new_async(&mut store, &module, &[])).1.is_ok());
}

/// Types that use one another in a chain as long as a module may have, dropped on a small stack.
#[test]
fn long_chains_of_types_end() {
    const TYPES: u32 = 60_000;
    let mut types = String::from("(module (type (func))");
    for index in 1..TYPES {
        types.push_str(&format!("(type (func (param (ref {}))))", index - 1));
    }
    types.push(')');
    let engine = engine(|_| {});
    let binary = wat::parse_str(&types).unwrap();
    let dropping = std::thread::Builder::new().stack_size(1 << 20);
    let modules = [0, 1].map(|_| Module::new(&engine, &binary).unwrap());
    dropping.spawn(move || drop(modules)).unwrap().join().unwrap();
}
