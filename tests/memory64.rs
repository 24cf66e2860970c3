//! Memories and tables with 64-bit addresses: what lies beyond 4 GiB, and sizes and addresses that a
//! guest makes up.

use lampwick::{
    Config, Extern, Instance, Memory, MemoryType, Module, ResourceLimiter, Store, Table, TableType,
    Trap, TrapCode, Val, ValType,
};

use crate::support::engine;

const GIB: u64 = 1 << 30;
const PAGE: u64 = 1 << 16;

/// Ways in which engines lay memories out. A 64-bit memory without a small maximum is never static.
const LAYOUTS: [fn(&mut Config); 3] = [
    |_| {},
    |config| {
        config.static_memory_maximum_size(0).static_memory_guard_size(0);
        config.dynamic_memory_guard_size(0).dynamic_memory_reserved_for_growth(0);
    },
    |config| {
        config.static_memory_maximum_size(64 << 30);
    },
];

fn instance(store: &mut Store<()>, text: &str) -> Instance {
    let module = Module::new(store.engine(), text).unwrap();
    Instance::new(store, &module, &[]).unwrap()
}

fn code(error: Trap) -> TrapCode {
    error.trap_code().unwrap_or_else(|| panic!("{error}"))
}

const LARGE: &str = r#"(module
    (memory (export "m") i64 81920)
    (func (export "store") (param i64 i64) (i64.store (local.get 0) (local.get 1)))
    (func (export "load") (param i64) (result i64) (i64.load (local.get 0)))
    (func (export "load far") (param i64) (result i64) (i64.load offset=0x1_4000_0000 (local.get 0)))
    (func (export "copy") (param i64 i64 i64)
        (memory.copy (local.get 0) (local.get 1) (local.get 2)))
    (func (export "fill") (param i64 i32 i64)
        (memory.fill (local.get 0) (local.get 1) (local.get 2)))
    (func (export "copy few") (param i64 i64)
        (memory.copy (local.get 0) (local.get 1) (i64.const 24)))
    (func (export "size") (result i64) memory.size)
    (func (export "grow") (param i64) (result i64) (memory.grow (local.get 0))))"#;

#[test]
fn a_memory_of_5_gib_is_used_above_4_gib() {
    for layout in LAYOUTS {
        let mut store = Store::new(&engine(layout), ());
        let instance = instance(&mut store, LARGE);
        let memory = instance.get_memory(&mut store, "m").unwrap();
        assert_eq!(memory.data_size(&store) as u64, 5 * GIB);
        let set = instance.get_typed_func::<(u64, u64), (), _>(&mut store, "store").unwrap();
        let get = instance.get_typed_func::<u64, u64, _>(&mut store, "load").unwrap();
        let far = instance.get_typed_func::<u64, u64, _>(&mut store, "load far").unwrap();
        let copy = instance.get_typed_func::<(u64, u64, u64), (), _>(&mut store, "copy").unwrap();
        let few = instance.get_typed_func::<(u64, u64), (), _>(&mut store, "copy few").unwrap();
        let fill = instance.get_typed_func::<(u64, u32, u64), (), _>(&mut store, "fill").unwrap();

        let (low, high) = (16, 4 * GIB + 16);
        set.call(&mut store, (high, 0x1122_3344_5566_7788)).unwrap();
        assert_eq!(get.call(&mut store, high).unwrap(), 0x1122_3344_5566_7788);
        assert_eq!(get.call(&mut store, low).unwrap(), 0, "the upper half of addresses counts");
        copy.call(&mut store, (5 * GIB - 100, high - 8, 100)).unwrap();
        assert_eq!(get.call(&mut store, 5 * GIB - 92).unwrap(), 0x1122_3344_5566_7788);
        few.call(&mut store, (low, high)).unwrap();
        assert_eq!(get.call(&mut store, low).unwrap(), 0x1122_3344_5566_7788);
        fill.call(&mut store, (4 * GIB - 3, 0xab, 6)).unwrap();
        let mut bytes = [0; 8];
        memory.read(&store, (4 * GIB - 4) as usize, &mut bytes).unwrap();
        assert_eq!(bytes, [0, 0xab, 0xab, 0xab, 0xab, 0xab, 0xab, 0]);

        assert_eq!(get.call(&mut store, 5 * GIB - 8).unwrap(), 0);
        for address in [5 * GIB - 7, 5 * GIB, 1 << 33, 1 << 47, 1 << 63, u64::MAX - 7, u64::MAX] {
            let trap = get.call(&mut store, address).unwrap_err();
            assert_eq!(code(trap), TrapCode::MemoryOutOfBounds, "{address:#x}");
        }
        for index in [0, 1, u64::MAX, u64::MAX - 5 * GIB + 1, u64::MAX - 5 * GIB - 7] {
            let trap = far.call(&mut store, index).unwrap_err();
            assert_eq!(code(trap), TrapCode::MemoryOutOfBounds, "{index:#x}");
        }
        for (dst, src, len) in [
            (5 * GIB - 99, 0, 100),
            (0, 5 * GIB - 99, 100),
            (0, 1, u64::MAX),
            (u64::MAX, 0, 2),
            (0, u64::MAX, 2),
            (5 * GIB + 1, 0, 0),
            (1 << 63, 1 << 63, 1 << 63),
        ] {
            let trap = copy.call(&mut store, (dst, src, len)).unwrap_err();
            assert_eq!(code(trap), TrapCode::MemoryOutOfBounds, "{dst:#x} {src:#x} {len:#x}");
        }
        for (dst, src) in [(5 * GIB - 23, 0), (0, 5 * GIB - 23), (u64::MAX - 20, 0), (0, 1 << 63)] {
            let trap = few.call(&mut store, (dst, src)).unwrap_err();
            assert_eq!(code(trap), TrapCode::MemoryOutOfBounds, "{dst:#x} {src:#x}");
        }
        let trap = fill.call(&mut store, (1, 0, u64::MAX)).unwrap_err();
        assert_eq!(code(trap), TrapCode::MemoryOutOfBounds);
    }
}

#[test]
fn growth_that_cannot_be_is_refused() {
    let mut store = Store::new(&engine(|_| {}), ());
    let instance = instance(&mut store, LARGE);
    let memory = instance.get_memory(&mut store, "m").unwrap();
    let grow = instance.get_typed_func::<u64, i64, _>(&mut store, "grow").unwrap();
    let size = instance.get_typed_func::<(), u64, _>(&mut store, "size").unwrap();
    for delta in [u64::MAX, 1 << 63, 1 << 48, (1 << 30) - 81_919, u64::MAX - 81_919] {
        assert_eq!(grow.call(&mut store, delta).unwrap(), -1, "{delta:#x}");
        let error = format!("{:#}", memory.grow(&mut store, delta).unwrap_err());
        assert!(error.contains("its maximum is 1073741824"), "{error}");
    }
    assert_eq!(grow.call(&mut store, 1).unwrap(), 81_920);
    assert_eq!(memory.grow(&mut store, 1).unwrap(), 81_921);
    assert_eq!(size.call(&mut store, ()).unwrap(), 81_922);
    let ty = memory.ty(&store);
    assert!(ty.is_64() && ty.minimum() == 81_922 && ty.maximum().is_none());
    for ty in [MemoryType::new64(1 << 47, None), MemoryType::new64(u64::MAX, Some(1))] {
        assert!(Memory::new(&mut store, ty).is_err());
    }
}

/// Offsets of operators are part of the address, and do not wrap around.
#[test]
fn offsets_and_indices_do_not_wrap() {
    for layout in LAYOUTS {
        for maximum in ["", "2"] {
            let mut store = Store::new(&engine(layout), ());
            for offset in [
                "0xffff_ffff_ffff_ffff",
                "0xffff_ffff_ffff_fff8",
                "0x8000_0000_0000_0000",
                "0x1_0000_0000",
                "0xffff_ffff",
                "131072",
                "131065",
            ] {
                let instance = instance(
                    &mut store,
                    &format!(
                        r#"(module (memory i64 2 {maximum})
                        (func (export "f") (param i64) (result i64)
                            (i64.load offset={offset} (local.get 0))))"#
                    ),
                );
                let load = instance.get_typed_func::<u64, u64, _>(&mut store, "f").unwrap();
                for index in [0, 1, 8, PAGE, 2 * PAGE, u64::MAX, u64::MAX - 7, 1 << 63, 1 << 32] {
                    let trap = load.call(&mut store, index).unwrap_err();
                    assert_eq!(code(trap), TrapCode::MemoryOutOfBounds, "{offset} + {index:#x}");
                }
            }
        }
    }
}

#[test]
fn segments_and_copies_between_widths_are_checked() {
    let text = r#"(module
        (memory $wide (export "wide") i64 1) (memory $narrow (export "narrow") 1)
        (data (memory $wide) (i64.const 65532) "last")
        (data $passive "0123456789")
        (func (export "init") (param i64 i32 i32)
            (memory.init $wide $passive (local.get 0) (local.get 1) (local.get 2)))
        (func (export "in") (param i64 i32 i32)
            (memory.copy $wide $narrow (local.get 0) (local.get 1) (local.get 2)))
        (func (export "out") (param i32 i64 i32)
            (memory.copy $narrow $wide (local.get 0) (local.get 1) (local.get 2))))"#;
    let mut store = Store::new(&engine(|_| {}), ());
    let instance = instance(&mut store, text);
    let wide = instance.get_memory(&mut store, "wide").unwrap();
    assert_eq!(&wide.data(&store)[65532..], b"last");
    type Args = (u64, u32, u32);
    let init = instance.get_typed_func::<Args, (), _>(&mut store, "init").unwrap();
    let into = instance.get_typed_func::<Args, (), _>(&mut store, "in").unwrap();
    let out = instance.get_typed_func::<(u32, u64, u32), (), _>(&mut store, "out").unwrap();
    init.call(&mut store, (100, 2, 5)).unwrap();
    out.call(&mut store, (200, 99, 7)).unwrap();
    into.call(&mut store, (300, 201, 5)).unwrap();
    assert_eq!(&wide.data(&store)[299..306], b"\x0023456\0");
    for (dst, src, len) in
        [(1 << 32, 0, 1), (u64::MAX, 0, 2), (0, 9, 2), (0, u32::MAX, 2), (65_530, 0, 7)]
    {
        assert!(init.call(&mut store, (dst, src, len)).is_err(), "{dst:#x} {src} {len}");
    }
    for (wide, narrow, len) in
        [(1 << 32, 0, 1), (u64::MAX, 0, 2), (0, u32::MAX, 1), (0, 65_535, 2), (0, 0, u32::MAX)]
    {
        assert!(into.call(&mut store, (wide, narrow, len)).is_err(), "{wide:#x} {narrow} {len}");
        assert!(out.call(&mut store, (narrow, wide, len)).is_err(), "{wide:#x} {narrow} {len}");
    }
}

#[test]
fn tables_have_64_bit_indices() {
    let text = r#"(module
        (table $t (export "t") i64 3 funcref) (table $narrow 3 funcref)
        (elem (table $t) (i64.const 1) func $f)
        (func $f (result i32) i32.const 7)
        (func (export "call") (param i64) (result i32)
            (call_indirect $t (result i32) (local.get 0)))
        (func (export "grow") (param i64) (result i64)
            (table.grow $t (ref.null func) (local.get 0)))
        (func (export "size") (result i64) (table.size $t))
        (func (export "fill") (param i64 i64)
            (table.fill $t (local.get 0) (ref.func $f) (local.get 1)))
        (func (export "copy") (param i64 i64 i64)
            (table.copy $t $t (local.get 0) (local.get 1) (local.get 2)))
        (func (export "copy in") (param i64 i32 i32)
            (table.copy $t $narrow (local.get 0) (local.get 1) (local.get 2))))"#;
    let mut store = Store::new(&engine(|_| {}), ());
    let instance = instance(&mut store, text);
    let call = instance.get_typed_func::<u64, i32, _>(&mut store, "call").unwrap();
    let grow = instance.get_typed_func::<u64, i64, _>(&mut store, "grow").unwrap();
    let size = instance.get_typed_func::<(), u64, _>(&mut store, "size").unwrap();
    let fill = instance.get_typed_func::<(u64, u64), (), _>(&mut store, "fill").unwrap();
    let copy = instance.get_typed_func::<(u64, u64, u64), (), _>(&mut store, "copy").unwrap();
    let into = instance.get_typed_func::<(u64, u32, u32), (), _>(&mut store, "copy in").unwrap();
    assert_eq!(call.call(&mut store, 1).unwrap(), 7);
    for index in [3, 1 << 32 | 1, 1 << 61 | 1, u64::MAX] {
        let trap = call.call(&mut store, index).unwrap_err();
        assert_eq!(code(trap), TrapCode::TableOutOfBounds, "{index:#x}");
    }
    for delta in [1 << 63, u64::MAX, 1 << 32, 10_000_000] {
        assert_eq!(grow.call(&mut store, delta).unwrap(), -1, "{delta:#x}");
    }
    assert_eq!(grow.call(&mut store, 2).unwrap(), 3);
    assert_eq!(size.call(&mut store, ()).unwrap(), 5);
    fill.call(&mut store, (3, 2)).unwrap();
    assert_eq!(call.call(&mut store, 4).unwrap(), 7);
    copy.call(&mut store, (0, 3, 1)).unwrap();
    assert_eq!(call.call(&mut store, 0).unwrap(), 7);
    into.call(&mut store, (0, 0, 1)).unwrap();
    assert_eq!(code(call.call(&mut store, 0).unwrap_err()), TrapCode::IndirectCallToNull);
    for (start, len) in [(4, 2), (u64::MAX, 2), (1 << 63, 1 << 63), (0, u64::MAX), (1 << 32, 1)] {
        let traps = [
            fill.call(&mut store, (start, len)).unwrap_err(),
            copy.call(&mut store, (start, 0, len)).unwrap_err(),
            copy.call(&mut store, (0, start, len)).unwrap_err(),
        ];
        assert!(traps.into_iter().all(|trap| code(trap) == TrapCode::TableOutOfBounds));
    }
    assert!(into.call(&mut store, (1 << 32, 0, 1)).is_err());

    let table = instance.get_table(&mut store, "t").unwrap();
    let ty = table.ty(&store);
    assert!(ty.is_64() && ty.minimum64() == 5 && ty.maximum64().is_none());
    let huge = TableType::new64(ValType::FuncRef, 1 << 40, None);
    assert!(Table::new(&mut store, huge, Val::FuncRef(None)).is_err());
}

/// Imports of the other width are refused, whatever their limits.
#[test]
fn widths_are_part_of_types() {
    let mut store = Store::new(&engine(|_| {}), ());
    let wide = Memory::new(&mut store, MemoryType::new64(1, Some(2))).unwrap();
    let narrow = Memory::new(&mut store, MemoryType::new(1, Some(2))).unwrap();
    let ty = TableType::new64(ValType::FuncRef, 1, None);
    let wide_table = Table::new(&mut store, ty, Val::FuncRef(None)).unwrap();
    for (text, fits, other) in [
        (r#"(memory i64 1)"#, Extern::Memory(wide), Extern::Memory(narrow)),
        (r#"(memory 1)"#, Extern::Memory(narrow), Extern::Memory(wide)),
        (r#"(table i64 1 funcref)"#, Extern::Table(wide_table), Extern::Memory(wide)),
    ] {
        let module = Module::new(store.engine(), format!(r#"(module (import "" "" {text}))"#));
        let module = module.unwrap();
        Instance::new(&mut store, &module, &[fits]).unwrap();
        assert!(Instance::new(&mut store, &module, &[other]).is_err(), "{text}");
    }
    let module =
        Module::new(store.engine(), r#"(module (import "" "" (table 1 funcref)))"#).unwrap();
    let error = Instance::new(&mut store, &module, &[wide_table.into()]).unwrap_err().to_string();
    assert!(error.contains("64-bit table"), "{error}");
}

/// What cannot be done costs at most 2^32 - 1, so that no guest sinks those it shares a tank with;
/// what can is paid for by its length.
#[test]
fn fuel_is_by_length() {
    let mut store = Store::new(&engine(|config| _ = config.consume_fuel(true)), ());
    store.add_fuel(1 << 60).unwrap();
    let instance = instance(&mut store, LARGE);
    let mut burn = |name: &str, args: &[Val]| {
        let before = store.fuel_consumed().unwrap();
        let _ = instance.get_func(&mut store, name).unwrap().call(&mut store, args);
        store.fuel_consumed().unwrap() - before
    };
    let [zero, byte] = [Val::I64(0), Val::I32(0)];
    assert_eq!(burn("fill", &[zero.clone(), byte.clone(), Val::I64(6400)]), 5 + 100);
    assert_eq!(burn("grow", &[Val::I64(3)]), 3 + 3);
    assert_eq!(burn("grow", &[Val::I64(1 << 31)]), 3 + (1 << 31));
    assert_eq!(burn("grow", &[Val::I64(-1)]), 3 + u64::from(u32::MAX));
    assert_eq!(burn("fill", &[zero, byte, Val::I64(-1)]), 5 + u64::from(u32::MAX));
}

#[test]
fn limiters_see_bytes() {
    #[derive(Default)]
    struct Seen(Vec<(usize, usize, Option<usize>)>);
    impl ResourceLimiter for Seen {
        fn memory_growing(&mut self, current: usize, desired: usize, max: Option<usize>) -> bool {
            self.0.push((current, desired, max));
            desired < 1 << 40
        }

        fn table_growing(&mut self, current: u32, desired: u32, max: Option<u32>) -> bool {
            self.0.push((current as usize, desired as usize, max.map(|max| max as usize)));
            false
        }
    }
    let mut store = Store::new(&engine(|_| {}), Seen::default());
    store.limiter(|seen| seen);
    let ty = MemoryType::new64(1, Some(1 << 40));
    let memory = Memory::new(&mut store, ty).unwrap();
    memory.grow(&mut store, 1 << 32).unwrap_err();
    memory.grow(&mut store, u64::MAX).unwrap_err();
    let ty = TableType::new64(ValType::FuncRef, 1 << 40, Some(1 << 50));
    Table::new(&mut store, ty, Val::FuncRef(None)).unwrap_err();
    let maximum = Some(1 << 56);
    let narrow = u32::MAX as usize;
    assert_eq!(
        store.data().0,
        [
            (0, 1 << 16, maximum),
            (1 << 16, (1 << 48) + (1 << 16), maximum),
            (1 << 16, usize::MAX, maximum),
            (0, narrow, Some(narrow)),
        ]
    );
}
