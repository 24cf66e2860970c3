//! Tables, from both sides.

use lampwick::{
    Caller, Engine, Extern, ExternRef, Func, Instance, Module, Store, Table, TableType, TrapCode,
    Val, ValType,
};

use crate::support::{instantiate, trap};

const GUEST: &str = r#"(module
    (table (export "table") 4 10 funcref) (elem (i32.const 1) $one $two)
    (func $one (export "one") (result i32) i32.const 1)
    (func $two (result i32) i32.const 2)
    (func (export "call") (param i32) (result i32) local.get 0 call_indirect (result i32))
    (func (export "get") (param i32) (result funcref) local.get 0 table.get 0)
    (func (export "set") (param i32 funcref) local.get 0 local.get 1 table.set 0)
    (func (export "size") (result i32) table.size 0)
    (func (export "grow") (param funcref i32) (result i32) local.get 0 local.get 1 table.grow 0))"#;

#[test]
fn guest_and_host_see_the_same_elements() {
    let (mut store, instance) = instantiate(&Engine::default(), GUEST);
    let table = instance.get_table(&mut store, "table").unwrap();
    let call = instance.get_typed_func::<i32, i32, _>(&mut store, "call").unwrap();
    let two = table.get(&mut store, 2).unwrap().unwrap_funcref().copied().unwrap();
    assert_eq!(two.typed::<(), i32, _>(&store).unwrap().call(&mut store, ()).unwrap(), 2);
    assert!(table.get(&mut store, 0).unwrap().unwrap_funcref().is_none());
    assert!(table.get(&mut store, 4).is_none() && table.get(&mut store, u32::MAX).is_none());
    let host = Func::wrap(&mut store, || 77);
    table.set(&mut store, 0, host.into()).unwrap();
    assert_eq!(call.call(&mut store, 0).unwrap(), 77);
    let set = instance.get_typed_func::<(i32, Option<Func>), (), _>(&mut store, "set").unwrap();
    set.call(&mut store, (3, Some(two))).unwrap();
    assert_eq!(call.call(&mut store, 3).unwrap(), 2);
    set.call(&mut store, (3, None)).unwrap();
    let code = call.call(&mut store, 3).unwrap_err().trap_code();
    assert_eq!(code, Some(TrapCode::IndirectCallToNull));
    let get = instance.get_typed_func::<i32, Option<Func>, _>(&mut store, "get").unwrap();
    let again = get.call(&mut store, 0).unwrap().unwrap();
    assert_eq!(again.call(&mut store, &[]).unwrap()[0].unwrap_i32(), 77);
    let wrong = Func::wrap(&mut store, |_: i32| ());
    table.set(&mut store, 3, wrong.into()).unwrap();
    assert_eq!(call.call(&mut store, 3).unwrap_err().trap_code(), Some(TrapCode::BadSignature));
}

#[test]
fn growth_from_both_sides() {
    let (mut store, instance) = instantiate(&Engine::default(), GUEST);
    let table = instance.get_table(&mut store, "table").unwrap();
    let call = instance.get_typed_func::<i32, i32, _>(&mut store, "call").unwrap();
    let size = instance.get_typed_func::<(), i32, _>(&mut store, "size").unwrap();
    let grow = instance.get_typed_func::<(Option<Func>, i32), i32, _>(&mut store, "grow").unwrap();
    let one = instance.get_func(&mut store, "one").unwrap();
    assert_eq!(table.grow(&mut store, 2, one.into()).unwrap(), 4);
    assert_eq!(grow.call(&mut store, (Some(one), 3)).unwrap(), 6);
    assert_eq!((size.call(&mut store, ()).unwrap(), table.size(&store)), (9, 9));
    (4..9).for_each(|index| assert_eq!(call.call(&mut store, index).unwrap(), 1));
    assert_eq!(call.call(&mut store, 2).unwrap(), 2, "the old ones are kept");
    assert_eq!(grow.call(&mut store, (None, 2)).unwrap(), -1);
    assert_eq!(grow.call(&mut store, (None, -1)).unwrap(), -1);
    assert!(table.grow(&mut store, 2, Val::FuncRef(None)).is_err());
    assert!(table.grow(&mut store, u32::MAX, Val::FuncRef(None)).is_err());
    let ty = table.ty(&store);
    assert_eq!((ty.element(), ty.minimum(), ty.maximum()), (ValType::FuncRef, 9, Some(10)));
    assert_eq!(table.grow(&mut store, 1, Val::FuncRef(None)).unwrap(), 9);
    assert_eq!(table.grow(&mut store, 0, Val::FuncRef(None)).unwrap(), 10);
}

#[test]
fn tables_of_the_host_are_checked() {
    let mut store = Store::<()>::default();
    let externs = TableType::new(ValType::ExternRef, 3, Some(5));
    let value = |number: i32| Val::from(ExternRef::new(number));
    let number = |value: Option<Val>| {
        value.unwrap().unwrap_externref().map(|value| *value.data().downcast_ref::<i32>().unwrap())
    };
    let table = Table::new(&mut store, externs, value(5)).unwrap();
    assert_eq!(number(table.get(&mut store, 2)), Some(5));
    assert!(table.set(&mut store, 3, value(1)).is_err());
    assert!(table.set(&mut store, 0, Val::I32(1)).is_err());
    assert!(table.set(&mut store, 0, Val::FuncRef(None)).is_err());
    table.fill(&mut store, 1, Val::null(), 2).unwrap();
    table.fill(&mut store, 3, value(1), 0).unwrap();
    assert!(table.fill(&mut store, 2, value(9), 2).is_err());
    assert_eq!(number(table.get(&mut store, 2)), None, "none was set");
    let other =
        Table::new(&mut store, TableType::new(ValType::ExternRef, 4, None), value(8)).unwrap();
    Table::copy(&mut store, &table, 1, &other, 0, 2).unwrap();
    let all: Vec<_> = (0..3).map(|index| number(table.get(&mut store, index))).collect();
    assert_eq!(all, [Some(5), Some(8), Some(8)]);
    Table::copy(&mut store, &table, 1, &table, 0, 2).unwrap();
    let all: Vec<_> = (0..3).map(|index| number(table.get(&mut store, index))).collect();
    assert_eq!(all, [Some(5), Some(5), Some(8)]);
    for (dst, src, len) in [(2, 0, 2), (0, 3, 2), (4, 0, 0), (0, 5, 0), (u32::MAX, 0, u32::MAX)] {
        assert!(
            Table::copy(&mut store, &table, dst, &other, src, len).is_err(),
            "{dst} {src} {len}"
        );
    }
    let funcs =
        Table::new(&mut store, TableType::new(ValType::FuncRef, 1, None), Val::FuncRef(None));
    let text = Table::copy(&mut store, &table, 0, &funcs.unwrap(), 0, 1).unwrap_err().to_string();
    assert!(text.contains("funcref") && text.contains("externref"), "{text}");
    let wrong = TableType::new(ValType::FuncRef, 1, None);
    assert!(Table::new(&mut store, wrong, Val::null()).is_err());
    assert!(
        Table::new(
            &mut store,
            TableType::new(ValType::FuncRef, u32::MAX, None),
            Val::FuncRef(None)
        )
        .is_err()
    );
    assert!(
        Table::new(&mut store, TableType::new(ValType::FuncRef, 2, Some(1)), Val::FuncRef(None))
            .is_err()
    );
    assert!(crate::support::panic_of(|| TableType::new(ValType::I32, 1, None)).contains("i32"));
}

/// The caller's own `name`, as `Caller` sees it.
fn name_of(caller: &mut Caller<'_, ()>) -> i32 {
    let name = caller.get_export("name").and_then(Extern::into_global).unwrap();
    name.get(caller).unwrap_i32()
}

#[test]
fn a_host_function_is_told_who_called_through_a_table() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let who = Func::wrap(&mut store, |mut caller: Caller<'_, ()>| name_of(&mut caller));
    let ty = TableType::new(ValType::FuncRef, 2, None);
    let table = Table::new(&mut store, ty, who.into()).unwrap();
    let guest = |store: &mut Store<()>, number: i32, callee: Option<Extern>| {
        let wat = format!(
            r#"(module (import "" "table" (table 2 funcref)) (import "" "who" (func $who (result i32)))
                (import "" "next" (func $next (result i32)))
                (global (export "name") i32 (i32.const {number}))
                (func (export "through table") (result i32) i32.const 1 call_indirect (result i32))
                (func (export "directly") (result i32) call $who)
                (func (export "through next") (result i32) call $next))"#
        );
        let module = Module::new(&engine, wat).unwrap();
        let imports = [table.into(), who.into(), callee.unwrap_or(who.into())];
        Instance::new(store, &module, &imports).unwrap()
    };
    let first = guest(&mut store, 10, None);
    let next = first.get_export(&mut store, "through table");
    let second = guest(&mut store, 20, next);
    for (instance, name, expected) in [
        (first, "through table", 10),
        (first, "directly", 10),
        (second, "through table", 20),
        (second, "directly", 20),
        (second, "through next", 10),
    ] {
        let run = instance.get_typed_func::<(), i32, _>(&mut store, name).unwrap();
        assert_eq!(run.call(&mut store, ()).unwrap(), expected, "{name}");
    }
    // Put into a table by another instance, it is still its own instance's.
    let export = second.get_func(&mut store, "directly").unwrap();
    table.set(&mut store, 1, export.into()).unwrap();
    let run = first.get_typed_func::<(), i32, _>(&mut store, "through table").unwrap();
    assert_eq!(run.call(&mut store, ()).unwrap(), 20);
}

#[test]
fn what_a_failed_instantiation_left_in_a_table_works() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let ty = TableType::new(ValType::FuncRef, 2, None);
    let table = Table::new(&mut store, ty, Val::FuncRef(None)).unwrap();
    let module = Module::new(
        &engine,
        r#"(module (import "" "" (table 2 funcref)) (memory 1) (data (i32.const 65536) "x")
            (func $f (result i32) i32.const 0 i32.const 5 i32.store i32.const 0 i32.load)
            (elem (i32.const 0) $f))"#,
    );
    let error = Instance::new(&mut store, &module.unwrap(), &[table.into()]).unwrap_err();
    assert_eq!(trap(error).trap_code(), Some(TrapCode::MemoryOutOfBounds));
    let func = table.get(&mut store, 0).unwrap().unwrap_funcref().copied().unwrap();
    assert_eq!(func.call(&mut store, &[]).unwrap()[0].unwrap_i32(), 5);
}
