//! Values of the host that guests pass on.

use lampwick::{Caller, Engine, Extern, ExternRef, Func, Instance, Module, Store, Val};

use crate::support::{Census, asynchronous, block_on, instantiate, pend};

const GUEST: &str = r#"(module
    (table $t (export "table") 4 externref) (global $g (export "global") (mut externref) (ref.null extern))
    (func (export "same") (param externref) (result externref) local.get 0)
    (func (export "is null") (param externref) (result i32) local.get 0 ref.is_null)
    (func (export "keep") (param i32 externref)
        local.get 0 local.get 1 table.set $t local.get 1 global.set $g)
    (func (export "kept") (param i32) (result externref externref)
        local.get 0 table.get $t global.get $g)
    (func (export "grow") (param externref i32) (result i32) local.get 0 local.get 1 table.grow $t)
    (func (export "pick") (param externref externref i32) (result externref)
        local.get 0 local.get 1 local.get 2 select (result externref)))"#;

fn text(value: &Option<ExternRef>) -> Option<&str> {
    value.as_ref().map(|value| *value.data().downcast_ref::<&str>().unwrap())
}

#[test]
fn a_reference_comes_back_as_the_same() {
    let (mut store, instance) = instantiate(&Engine::default(), GUEST);
    let same =
        instance.get_typed_func::<Option<ExternRef>, Option<ExternRef>, _>(&mut store, "same");
    let same = same.unwrap();
    let value = ExternRef::new("value");
    for _ in 0..3 {
        let back = same.call(&mut store, Some(value.clone())).unwrap().unwrap();
        assert!(back.ptr_eq(&value) && !back.ptr_eq(&ExternRef::new("value")));
    }
    assert!(same.call(&mut store, None).unwrap().is_none());
    let is_null =
        instance.get_typed_func::<Option<ExternRef>, i32, _>(&mut store, "is null").unwrap();
    assert_eq!(is_null.call(&mut store, None).unwrap(), 1);
    assert_eq!(is_null.call(&mut store, Some(value.clone())).unwrap(), 0);
    let untyped = instance.get_func(&mut store, "same").unwrap();
    let back = untyped.call(&mut store, &[value.clone().into()]).unwrap()[0].unwrap_externref();
    assert!(back.unwrap().ptr_eq(&value));
    assert_eq!(value.strong_count(), 2, "this one and the store's");
    assert!(format!("{value:?}").starts_with("ExternRef("));
}

#[test]
fn guests_keep_references_in_tables_and_globals() {
    let (mut store, instance) = instantiate(&Engine::default(), GUEST);
    let keep =
        instance.get_typed_func::<(i32, Option<ExternRef>), (), _>(&mut store, "keep").unwrap();
    let kept = instance
        .get_typed_func::<i32, (Option<ExternRef>, Option<ExternRef>), _>(&mut store, "kept");
    let kept = kept.unwrap();
    for (place, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
        keep.call(&mut store, (place as i32, Some(ExternRef::new(name)))).unwrap();
    }
    let (element, global) = kept.call(&mut store, 1).unwrap();
    assert_eq!((text(&element), text(&global)), (Some("b"), Some("d")));
    let table = instance.get_table(&mut store, "table").unwrap();
    assert_eq!(text(&table.get(&mut store, 2).unwrap().unwrap_externref()), Some("c"));
    let grow =
        instance.get_typed_func::<(Option<ExternRef>, i32), i32, _>(&mut store, "grow").unwrap();
    assert_eq!(grow.call(&mut store, (element, 5)).unwrap(), 4);
    assert_eq!(text(&table.get(&mut store, 8).unwrap().unwrap_externref()), Some("b"));
    let pick = instance
        .get_typed_func::<(Option<ExternRef>, Option<ExternRef>, i32), Option<ExternRef>, _>(
            &mut store, "pick",
        )
        .unwrap();
    let pair = || (Some(ExternRef::new("x")), Some(ExternRef::new("y")));
    for (choice, expected) in [(1, "x"), (0, "y")] {
        let (first, second) = pair();
        let got = pick.call(&mut store, (first, second, choice)).unwrap();
        assert_eq!(text(&got), Some(expected));
    }
}

#[test]
fn values_live_while_they_are_kept_and_no_longer_than_the_store() {
    let census = Census::default();
    let (mut store, instance) = instantiate(&Engine::default(), GUEST);
    let keep = instance.get_func(&mut store, "keep").unwrap();
    for _ in 0..10 {
        let value = ExternRef::new(census.token());
        keep.call(&mut store, &[Val::I32(0), value.into()]).unwrap();
    }
    assert_eq!(census.alive(), 10, "a collection was neither due nor asked for");
    store.gc();
    assert_eq!(census.alive(), 1, "the one that the table and the global have");
    let last = instance.get_global(&mut store, "global").unwrap().get(&mut store);
    keep.call(&mut store, &[Val::I32(1), ExternRef::new(census.token()).into()]).unwrap();
    drop(store);
    assert_eq!(census.alive(), 1, "the one that is held here");
    drop(last);
    assert_eq!((census.alive(), census.made()), (0, 11));
}

#[test]
fn host_functions_take_and_give_references() {
    let engine = asynchronous();
    let mut store = Store::new(&engine, Vec::<ExternRef>::new());
    let put = Func::wrap(
        &mut store,
        |mut caller: Caller<'_, Vec<ExternRef>>, value: Option<ExternRef>| {
            caller.data_mut().extend(value);
        },
    );
    let last = Func::wrap0_async(&mut store, |caller: Caller<'_, Vec<ExternRef>>| {
        Box::new(async move {
            pend(2).await;
            caller.data().last().cloned()
        })
    });
    let module = r#"(module (import "" "" (func $put (param externref)))
        (import "" "" (func $last (result externref)))
        (func (export "run") (param externref) (result externref)
            ref.null extern call $put local.get 0 call $put call $last))"#;
    let module = Module::new(&engine, module).unwrap();
    let imports: [Extern; 2] = [put.into(), last.into()];
    let instance = block_on(Instance::new_async(&mut store, &module, &imports)).unwrap();
    let run = instance
        .get_typed_func::<Option<ExternRef>, Option<ExternRef>, _>(&mut store, "run")
        .unwrap();
    let value = ExternRef::new("through");
    let back = block_on(run.call_async(&mut store, Some(value.clone()))).unwrap();
    assert!(back.unwrap().ptr_eq(&value));
    assert_eq!(store.data().len(), 1, "null was not put");
}

#[test]
fn funcrefs_come_back_as_the_same_function() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let choose = Func::wrap(
        &mut store,
        |a: Option<Func>, b: Option<Func>, first: i32| {
            if first != 0 { a } else { b }
        },
    );
    let module = r#"(module (import "" "" (func $choose (param funcref funcref i32) (result funcref)))
        (elem declare func $own) (func $own (result i32) i32.const 3)
        (table 1 funcref)
        (func (export "run") (param funcref i32) (result i32)
            i32.const 0 local.get 0 ref.func $own local.get 1 call $choose table.set 0
            i32.const 0 call_indirect (result i32)))"#;
    let module = Module::new(&engine, module).unwrap();
    let instance = Instance::new(&mut store, &module, &[choose.into()]).unwrap();
    let host = Func::wrap(&mut store, || 8);
    let run = instance.get_typed_func::<(Option<Func>, i32), i32, _>(&mut store, "run").unwrap();
    assert_eq!(run.call(&mut store, (Some(host), 1)).unwrap(), 8);
    assert_eq!(run.call(&mut store, (Some(host), 0)).unwrap(), 3);
    assert!(run.call(&mut store, (None, 1)).is_err(), "null cannot be called");
}
