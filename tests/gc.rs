//! Structs, arrays and small integers as references: what guests make, and what the host sees of it.

use lampwick::{
    AnyRef, CompositeKind, Config, Engine, ExternRef, Func, HeapType, Instance, Module, RefType,
    Store, TrapCode, Val, ValType,
};

use crate::support::trap as trap_of;

const SHAPES: &str = r#"(module
    (type $point (sub (struct (field i32) (field (mut i8)) (field (mut anyref)))))
    (type $named (sub final $point
        (struct (field i32) (field (mut i8)) (field (mut anyref)) (field externref))))
    (type $bytes (array (mut i8)))
    (func (export "point") (param i32 i32) (result (ref $point))
        (struct.new $point (local.get 0) (local.get 1) (ref.null any)))
    (func (export "named") (param externref) (result anyref)
        (struct.new $named (i32.const 1) (i32.const 2) (ref.i31 (i32.const -5)) (local.get 0)))
    (func (export "is_named") (param anyref) (result i32) (ref.test (ref $named) (local.get 0)))
    (func (export "x") (param (ref null $point)) (result i32)
        (struct.get $point 0 (local.get 0)))
    (func (export "bytes") (param i32) (result (ref $bytes))
        (array.new $bytes (i32.const 7) (local.get 0)))
    (func (export "out") (param anyref) (result externref) (extern.convert_any (local.get 0)))
    (func (export "in") (param externref) (result anyref) (any.convert_extern (local.get 0))))"#;

struct Guest {
    store: Store<()>,
    instance: Instance,
}

impl Guest {
    fn new(engine: &Engine, wat: &str) -> Self {
        let mut store = Store::new(engine, ());
        let module = Module::new(engine, wat).unwrap();
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        Self { store, instance }
    }

    fn func(&mut self, name: &str) -> Func {
        self.instance.get_func(&mut self.store, name).unwrap()
    }

    fn call(&mut self, name: &str, args: &[Val]) -> anyhow::Result<Val> {
        let func = self.func(name);
        Ok(func.call(&mut self.store, args)?[0].clone())
    }

    fn object(&mut self, name: &str, args: &[Val]) -> AnyRef {
        self.call(name, args).unwrap().unwrap_anyref().unwrap()
    }
}

#[test]
fn the_host_reads_and_writes_what_guests_make() {
    let mut guest = Guest::new(&Engine::default(), SHAPES);
    let point = guest.object("point", &[3.into(), 0x1ff.into()]);
    assert_eq!((point.kind(), point.len(&guest.store).unwrap()), (Some(CompositeKind::Struct), 3));
    assert_eq!(point.get(&guest.store, 0).unwrap().i32(), Some(3));
    assert_eq!(point.get(&guest.store, 1).unwrap().i32(), Some(0xff), "packed fields are cut");
    point.set(&mut guest.store, 1, Val::I32(-1)).unwrap();
    assert_eq!(point.get(&guest.store, 1).unwrap().i32(), Some(0xff));
    point.set(&mut guest.store, 2, point.clone().into()).unwrap();
    let itself = point.get(&guest.store, 2).unwrap().unwrap_anyref().unwrap();
    assert!(itself.ptr_eq(&point));
    let bytes = guest.object("bytes", &[5.into()]);
    assert_eq!((bytes.kind(), bytes.len(&guest.store).unwrap()), (Some(CompositeKind::Array), 5));
    assert_eq!(bytes.get(&guest.store, 4).unwrap().i32(), Some(7));
    assert!(!bytes.ptr_eq(&point));
}

#[test]
fn wrong_indices_and_types_are_refused() {
    let mut guest = Guest::new(&Engine::default(), SHAPES);
    let point = guest.object("point", &[3.into(), 4.into()]);
    let text = |result: anyhow::Result<()>| result.unwrap_err().to_string();
    let constant = text(point.set(&mut guest.store, 0, Val::I32(1)));
    assert_eq!(constant, "the field with index 0 is constant");
    assert_eq!(text(point.get(&guest.store, 3).map(drop)), "no field 3 in a struct of 3");
    assert!(text(point.set(&mut guest.store, 1, Val::I64(1))).contains("expected a value"));
    let bytes = guest.object("bytes", &[5.into()]);
    assert_eq!(text(bytes.get(&guest.store, 5).map(drop)), "no element 5 in an array of 5");
    let wrong = guest.call("x", &[bytes.into()]).unwrap_err();
    let wrong = format!("{wrong:#}");
    assert!(wrong.contains("expected a value of type (ref null "), "{wrong}");
    let small = AnyRef::from_i31(1);
    assert!(guest.call("x", &[small.clone().into()]).is_err());
    assert!(small.get(&guest.store, 0).is_err());
    assert_eq!(small.len(&guest.store).unwrap(), 0);
}

#[test]
fn another_stores_objects_are_refused() {
    let engine = Engine::default();
    let (mut guest, mut other) = (Guest::new(&engine, SHAPES), Guest::new(&engine, SHAPES));
    let point = guest.object("point", &[3.into(), 4.into()]);
    assert!(other.call("x", &[point.clone().into()]).is_err());
    assert!(point.get(&other.store, 0).is_err() && point.ty(&other.store).is_err());
    assert!(point.set(&mut other.store, 1, Val::I32(0)).is_err());
    let hidden = ExternRef::new(point.clone());
    assert!(other.call("in", &[hidden.into()]).is_err(), "converted, too");
    // An integer belongs to all.
    assert!(other.call("out", &[AnyRef::from_i31(9).into()]).is_ok());
}

#[test]
fn subtypes_are_told_apart() {
    let mut guest = Guest::new(&Engine::default(), SHAPES);
    let name = ExternRef::new("a name");
    let named = guest.object("named", &[name.clone().into()]);
    let point = guest.object("point", &[3.into(), 4.into()]);
    for (value, expected) in [
        (Val::from(named.clone()), 1),
        (point.clone().into(), 0),
        (AnyRef::from_i31(0).into(), 0),
        (AnyRef::from_extern(name.clone()).into(), 0),
        (Val::AnyRef(None), 0),
    ] {
        assert_eq!(guest.call("is_named", &[value]).unwrap().i32(), Some(expected));
    }
    // A subtype stands for what is above it, and keeps what it refers to.
    assert_eq!(guest.call("x", &[named.clone().into()]).unwrap().i32(), Some(1));
    assert_eq!(named.get(&guest.store, 2).unwrap().unwrap_anyref().unwrap().i31(), Some(-5));
    let kept = named.get(&guest.store, 3).unwrap().unwrap_externref().unwrap();
    assert!(kept.ptr_eq(&name));
    assert_ne!(named.ty(&guest.store).unwrap(), point.ty(&guest.store).unwrap());
}

#[test]
fn conversions_lead_back_to_the_same() {
    let mut guest = Guest::new(&Engine::default(), SHAPES);
    let point = guest.object("point", &[3.into(), 4.into()]);
    let outside = guest.call("out", &[point.clone().into()]).unwrap().unwrap_externref().unwrap();
    assert!(outside.data().downcast_ref::<AnyRef>().unwrap().ptr_eq(&point));
    assert!(guest.object("in", &[outside.into()]).ptr_eq(&point));
    let value = ExternRef::new(7_u32);
    let inside = guest.object("in", &[value.clone().into()]);
    assert!(inside.extern_ref().unwrap().ptr_eq(&value));
    assert_eq!(inside.ty(&guest.store).unwrap(), HeapType::Any);
    let back = guest.call("out", &[inside.into()]).unwrap().unwrap_externref().unwrap();
    assert!(back.ptr_eq(&value));
    let small = guest.call("out", &[AnyRef::from_i31(-1).into()]).unwrap();
    let small = small.unwrap_externref().unwrap();
    assert_eq!(small.data().downcast_ref::<AnyRef>().unwrap().i31(), Some(-1));
    assert!(guest.call("in", &[Val::ExternRef(None)]).unwrap().unwrap_anyref().is_none());
}

#[test]
fn integers_have_31_bits() {
    for (value, expected) in [(0, 0), (-1, -1), (1 << 30, -(1 << 30)), (i32::MAX, -1), (5, 5)] {
        assert_eq!(AnyRef::from_i31(value).i31(), Some(expected));
    }
}

#[test]
fn traps_say_what_was_wrong() {
    let wat = r#"(module
        (type $s (struct (field i32))) (type $a (array (mut i64)))
        (func (export "struct") (drop (struct.get $s 0 (ref.null $s))))
        (func (export "array") (drop (array.len (ref.null array))))
        (func (export "i31") (drop (i31.get_s (ref.null i31))))
        (func (export "bounds") (drop (array.get $a (array.new_default $a (i32.const 3)) (i32.const 3))))
        (func (export "fill")
            (array.fill $a (array.new_default $a (i32.const 3)) (i32.const 2) (i64.const 0) (i32.const 2)))
        (func (export "cast") (drop (ref.cast (ref $a) (struct.new_default $s))))
        (func (export "large") (drop (array.new_default $a (i32.const -1)))))"#;
    let cases = [
        ("struct", TrapCode::NullStructReference),
        ("array", TrapCode::NullArrayReference),
        ("i31", TrapCode::NullI31Reference),
        ("bounds", TrapCode::ArrayOutOfBounds),
        ("fill", TrapCode::ArrayOutOfBounds),
        ("cast", TrapCode::CastFailure),
        ("large", TrapCode::AllocationTooLarge),
    ];
    let mut guest = Guest::new(&Engine::default(), wat);
    for (name, code) in cases {
        let func = guest.func(name);
        let trap = trap_of(func.call(&mut guest.store, &[]).unwrap_err());
        assert_eq!(trap.trap_code(), Some(code), "{name}");
        assert_eq!(trap.trace().len(), 1, "{name}");
    }
}

#[test]
fn sized_operators_charge_by_length() {
    let wat = r#"(module
        (type $a (array (mut i8))) (data $d "0123456789abcdef")
        (func (export "new") (param i32) (drop (array.new_default $a (local.get 0))))
        (func (export "filled") (param i32) (drop (array.new $a (i32.const 1) (local.get 0))))
        (func (export "data") (param i32)
            (drop (array.new_data $a $d (i32.const 0) (local.get 0)))))"#;
    let engine = Engine::new(Config::new().consume_fuel(true)).unwrap();
    let mut guest = Guest::new(&engine, wat);
    guest.store.add_fuel(1 << 40).unwrap();
    let mut cost = |name: &str, len: i32| {
        let before = guest.store.fuel_consumed().unwrap();
        let func = guest.func(name);
        func.call(&mut guest.store, &[len.into()]).unwrap();
        guest.store.fuel_consumed().unwrap() - before
    };
    // The entry, the operand, and the operator; `drop` is free.
    assert_eq!((cost("new", 7), cost("new", 8), cost("new", 8_000)), (3, 4, 1_003));
    assert_eq!((cost("filled", 0), cost("filled", 8_000_000)), (4, 1_000_004));
    assert_eq!((cost("data", 7), cost("data", 16)), (4, 6));
}

#[test]
fn it_can_be_turned_off() {
    let engine = Engine::new(Config::new().wasm_gc(false)).unwrap();
    let error = Module::new(&engine, "(module (type (struct)))").unwrap_err();
    assert!(format!("{error:#}").contains("gc"), "{error:#}");
    assert_eq!(ValType::from(RefType::ANYREF).to_string(), "anyref");
}
