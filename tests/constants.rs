//! Constant expressions that compute, and pages of one byte.

use lampwick::{Engine, Instance, Memory, MemoryType, Module, Store, TrapCode, Val};

use crate::support::engine;

#[test]
fn constants_are_computed() {
    let text = r#"(module
        (import "" "base" (global $base i32))
        (import "" "wide" (global $wide i64))
        (global $folded (export "folded") i32
            (i32.sub (i32.mul (i32.const 0x10000) (i32.const 0x10001)) (i32.const 1)))
        (global (export "from imports") i64
            (i64.sub (i64.mul (global.get $wide) (i64.const -3)) (i64.const 1)))
        (global (export "wraps") i32 (i32.sub (global.get $base) (i32.const 2000)))
        (global (export "negative") i64 (i64.add (i64.const -5) (i64.const 3)))
        (memory (export "m") 1)
        (data (i32.add (global.get $base) (i32.const 2)) "data")
        (table (export "t") 10 funcref)
        (elem (i32.mul (i32.const 2) (i32.const 3)) func $f)
        (func $f))"#;
    let mut store = Store::<()>::default();
    let module = Module::new(store.engine(), text).unwrap();
    let global = |store: &mut Store<()>, value: Val| {
        let ty = lampwick::GlobalType::new(value.ty(), lampwick::Mutability::Const);
        lampwick::Global::new(store, ty, value).unwrap()
    };
    let imports =
        [global(&mut store, Val::I32(1000)).into(), global(&mut store, Val::I64(7)).into()];
    let instance = Instance::new(&mut store, &module, &imports).unwrap();
    let mut value = |name: &str| {
        let global = instance.get_global(&mut store, name).unwrap();
        global.get(&mut store).i64().or_else(|| global.get(&mut store).i32().map(i64::from))
    };
    assert_eq!(value("folded"), Some(0xffff));
    assert_eq!(value("from imports"), Some(-22));
    assert_eq!(value("wraps"), Some(-1000));
    assert_eq!(value("negative"), Some(-2));
    let memory = instance.get_memory(&mut store, "m").unwrap();
    assert_eq!(&memory.data(&store)[1001..1007], b"\0data\0");
    let table = instance.get_table(&mut store, "t").unwrap();
    let mut is_set =
        |index: &u32| table.get(&mut store, *index).unwrap().unwrap_funcref().is_some();
    let set: Vec<u32> = (0..10).filter(&mut is_set).collect();
    assert_eq!(set, [6]);

    let (bytes, mut other) = (module.serialize().unwrap(), Store::new(store.engine(), ()));
    // SAFETY: just serialized.
    let module = unsafe { Module::deserialize(store.engine(), bytes) }.unwrap();
    let imports = [global(&mut other, Val::I32(-2)).into(), global(&mut other, Val::I64(0)).into()];
    let instance = Instance::new(&mut other, &module, &imports).unwrap();
    let memory = instance.get_memory(&mut other, "m").unwrap();
    assert_eq!(&memory.data(&other)[..4], b"data", "also out of an artifact");
    let imports = [global(&mut other, Val::I32(-3)).into(), global(&mut other, Val::I64(0)).into()];
    let error = Instance::new(&mut other, &module, &imports).unwrap_err();
    let trap = error.downcast_ref::<lampwick::Trap>().unwrap();
    assert_eq!(trap.trap_code(), Some(TrapCode::MemoryOutOfBounds));
}

#[test]
fn long_expressions_are_refused() {
    let expression = |operators: usize| {
        let more = "i32.const 1 i32.add ".repeat(operators / 2);
        format!("(module (global (export \"g\") i32 i32.const 5 {more}))")
    };
    let mut store = Store::<()>::default();
    let module = Module::new(store.engine(), expression(9_998)).unwrap();
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let global = instance.get_global(&mut store, "g").unwrap();
    assert_eq!(global.get(&mut store).i32(), Some(5 + 4_999));
    let error = format!("{:#}", Module::new(store.engine(), expression(10_002)).unwrap_err());
    assert!(error.contains("more than 10000 operators"), "{error}");
}

#[test]
fn extended_constants_can_be_turned_off() {
    let text = "(module (global i32 (i32.add (i32.const 1) (i32.const 2))))";
    Module::new(&Engine::default(), text).unwrap();
    let engine = engine(|config| _ = config.wasm_extended_const(false));
    let error = format!("{:#}", Module::new(&engine, text).unwrap_err());
    assert!(error.contains("constant expression required"), "{error}");
}

#[test]
fn pages_may_be_bytes() {
    let text = r#"(module (memory (export "m") 10 20 (pagesize 1))
        (data (i32.const 6) "four")
        (func (export "load") (param i32) (result i32) (i32.load8_u (local.get 0)))
        (func (export "wide") (param i32) (result i64) (i64.load offset=1 (local.get 0)))
        (func (export "fill") (param i32 i32)
            (memory.fill (local.get 0) (i32.const 1) (local.get 1)))
        (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
        (func (export "size") (result i32) memory.size))"#;
    let error = format!("{:#}", Module::new(&Engine::default(), text).unwrap_err());
    assert!(error.contains("custom page sizes"), "{error}");
    let engine = engine(|config| _ = config.wasm_custom_page_sizes(true).consume_fuel(true));
    let mut store = Store::new(&engine, ());
    store.add_fuel(1 << 40).unwrap();
    let module = Module::new(&engine, text).unwrap();
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let load = instance.get_typed_func::<u32, u32, _>(&mut store, "load").unwrap();
    let wide = instance.get_typed_func::<u32, u64, _>(&mut store, "wide").unwrap();
    let fill = instance.get_typed_func::<(u32, u32), (), _>(&mut store, "fill").unwrap();
    let grow = instance.get_typed_func::<u32, i32, _>(&mut store, "grow").unwrap();
    assert_eq!(load.call(&mut store, 9).unwrap(), u32::from(b'r'));
    for outside in [10, 11, 4095, 4096, 65_536, u32::MAX] {
        let trap = load.call(&mut store, outside).unwrap_err();
        assert_eq!(trap.trap_code(), Some(TrapCode::MemoryOutOfBounds), "{outside}");
    }
    wide.call(&mut store, 1).unwrap();
    assert!(wide.call(&mut store, 2).is_err());
    assert!(wide.call(&mut store, u32::MAX).is_err());
    fill.call(&mut store, (3, 7)).unwrap();
    assert!(fill.call(&mut store, (3, 8)).is_err());
    assert_eq!(grow.call(&mut store, 5).unwrap(), 10);
    assert_eq!(load.call(&mut store, 14).unwrap(), 0);
    assert_eq!(grow.call(&mut store, 6).unwrap(), -1);
    assert_eq!(grow.call(&mut store, 5).unwrap(), 15);
    let before = store.fuel_consumed().unwrap();
    assert_eq!(grow.call(&mut store, u32::MAX).unwrap(), -1);
    assert_eq!(store.fuel_consumed().unwrap() - before, 3 + 65_535, "1 for each whole 64 KiB");

    let memory = instance.get_memory(&mut store, "m").unwrap();
    let ty = memory.ty(&store);
    assert_eq!((ty.page_size(), ty.minimum(), ty.maximum()), (1, 20, Some(20)));
    assert_eq!((memory.size(&store), memory.data_size(&store)), (20, 20));
    assert!(memory.write(&mut store, 17, b"four").is_err());
    assert!(MemoryType::new(1, None).with_page_size(4096).is_err());

    // The size of pages is part of the type.
    let import = Module::new(&engine, r#"(module (import "" "" (memory 1)))"#).unwrap();
    assert!(Instance::new(&mut store, &import, &[memory.into()]).is_err());
    let pages = Memory::new(&mut store, MemoryType::new(1, None)).unwrap();
    Instance::new(&mut store, &import, &[pages.into()]).unwrap();
}
