//! Globals, from both sides.

use lampwick::{
    Engine, ExternRef, Func, Global, GlobalType, Instance, Module, Mutability, Store, Val, ValType,
};

use crate::support::instantiate;

/// A value of each type, and another one.
fn values(store: &mut Store<()>) -> Vec<(&'static str, Val, Val)> {
    let funcs = [1, 2].map(|number| Val::from(Func::wrap(&mut *store, move || number)));
    let [first, second] = funcs;
    vec![
        ("i32", Val::I32(i32::MIN), Val::I32(7)),
        ("i64", Val::I64(i64::MIN), Val::I64(8)),
        ("f32", Val::F32(0x7fa0_0001), Val::from(1.5_f32)),
        ("f64", Val::F64(0xfff4_0000_0000_0001), Val::from(2.5)),
        ("funcref", first, second),
        ("externref", ExternRef::new("a").into(), ExternRef::new("b").into()),
    ]
}

/// Values as text, with references by what they refer to.
fn show(store: &mut Store<()>, value: &Val) -> String {
    match value {
        Val::FuncRef(Some(func)) => format!("func {:?}", func.call(store, &[]).unwrap()),
        Val::ExternRef(Some(value)) => format!("{:?}", value.data().downcast_ref::<&str>()),
        value => format!("{value:?}"),
    }
}

#[test]
fn globals_of_every_type_go_both_ways() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    for (name, value, other) in values(&mut store) {
        let ty = GlobalType::new(value.ty(), Mutability::Var);
        assert_eq!(value.ty().to_string(), name);
        let global = Global::new(&mut store, ty.clone(), value.clone()).unwrap();
        assert_eq!(global.ty(&store), ty);
        let wat = format!(
            r#"(module (import "" "" (global $g (mut {name}))) (global $own (export "own") (mut {name}) {})
                (func (export "get") (result {name}) global.get $g)
                (func (export "set") (param {name}) local.get 0 global.set $g local.get 0 global.set $own))"#,
            match name.strip_suffix("ref") {
                Some(heap) => format!("(ref.null {heap})"),
                None => format!("({name}.const 0)"),
            },
        );
        let module = Module::new(&engine, wat).unwrap();
        let instance = Instance::new(&mut store, &module, &[global.into()]).unwrap();
        let get = instance.get_func(&mut store, "get").unwrap();
        let set = instance.get_func(&mut store, "set").unwrap();
        let own = instance.get_global(&mut store, "own").unwrap();
        let got = get.call(&mut store, &[]).unwrap()[0].clone();
        assert_eq!(show(&mut store, &got), show(&mut store, &value));
        set.call(&mut store, std::slice::from_ref(&other)).unwrap();
        for global in [global, own] {
            let got = global.get(&mut store);
            assert_eq!(show(&mut store, &got), show(&mut store, &other));
        }
        global.set(&mut store, value.clone()).unwrap();
        let got = get.call(&mut store, &[]).unwrap()[0].clone();
        assert_eq!(show(&mut store, &got), show(&mut store, &value), "bits of NaNs are kept");
    }
}

#[test]
fn constants_and_types_are_checked() {
    let mut store = Store::<()>::default();
    let constant = GlobalType::new(ValType::I32, Mutability::Const);
    let global = Global::new(&mut store, constant.clone(), Val::I32(1)).unwrap();
    assert!(global.set(&mut store, Val::I32(2)).unwrap_err().to_string().contains("constant"));
    let text = Global::new(&mut store, constant, Val::I64(1)).unwrap_err().to_string();
    assert!(text.contains("i32") && text.contains("i64"), "{text}");
    let variable = GlobalType::new(ValType::FuncRef, Mutability::Var);
    let global = Global::new(&mut store, variable, Val::FuncRef(None)).unwrap();
    assert!(global.set(&mut store, Val::null()).is_err());
    assert!(global.get(&mut store).unwrap_funcref().is_none());
}

#[test]
fn constant_expressions_use_imports_and_functions() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let ty = GlobalType::new(ValType::I32, Mutability::Const);
    let offset = Global::new(&mut store, ty, Val::I32(5)).unwrap();
    let module = Module::new(
        &engine,
        r#"(module (import "" "" (global $offset i32)) (memory (export "m") 1) (table (export "t") 10 funcref)
            (global (export "copy") i32 (global.get $offset))
            (global (export "func") funcref (ref.func $f))
            (func $f (result i32) i32.const 11)
            (data (global.get $offset) "here") (elem (global.get $offset) $f))"#,
    );
    let instance = Instance::new(&mut store, &module.unwrap(), &[offset.into()]).unwrap();
    let global =
        |store: &mut Store<()>, name| instance.get_global(&mut *store, name).unwrap().get(store);
    assert_eq!(global(&mut store, "copy").unwrap_i32(), 5);
    let func = global(&mut store, "func").unwrap_funcref().copied().unwrap();
    assert_eq!(func.call(&mut store, &[]).unwrap()[0].unwrap_i32(), 11);
    let memory = instance.get_memory(&mut store, "m").unwrap();
    assert_eq!(memory.data(&store)[5..9], *b"here");
    let table = instance.get_table(&mut store, "t").unwrap();
    assert!(table.get(&mut store, 5).unwrap().unwrap_funcref().is_some());
}

#[test]
fn a_host_sees_what_a_running_guest_set() {
    let (mut store, instance) = instantiate(
        &Engine::default(),
        r#"(module (global $n (export "n") (mut i64) (i64.const 0))
            (func (export "run") loop
                global.get $n i64.const 1 i64.add global.set $n
                global.get $n i64.const 1000 i64.lt_u br_if 0 end unreachable))"#,
    );
    let run = instance.get_func(&mut store, "run").unwrap();
    assert!(run.call(&mut store, &[]).is_err());
    let n = instance.get_global(&mut store, "n").unwrap();
    assert_eq!(n.get(&mut store).unwrap_i64(), 1000, "also when the call trapped");
}
