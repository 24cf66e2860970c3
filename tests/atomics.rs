//! Atomic operators: what they compute, where they trap, what they cost.

use lampwick::{
    Config, Engine, Extern, ExternType, Instance, MemoryType, Module, OperatorClass, OperatorCosts,
    SharedMemory, Store, TrapCode, Val,
};

use crate::support::engine;

/// Static memories, and memories whose every access is compared with the size.
const LAYOUTS: [fn(&mut Config); 2] = [
    |config| _ = config.wasm_threads(true),
    |config| {
        config.wasm_threads(true).static_memory_maximum_size(0).static_memory_guard_size(0);
        config.dynamic_memory_guard_size(0);
    },
];

/// Each width of access: the prefix of its operators, its suffix, its type, and its size in bytes.
const WIDTHS: [(&str, &str, &str, u64); 7] = [
    ("i32.atomic.rmw", "", "i32", 4),
    ("i64.atomic.rmw", "", "i64", 8),
    ("i32.atomic.rmw8", "_u", "i32", 1),
    ("i32.atomic.rmw16", "_u", "i32", 2),
    ("i64.atomic.rmw8", "_u", "i64", 1),
    ("i64.atomic.rmw16", "_u", "i64", 2),
    ("i64.atomic.rmw32", "_u", "i64", 4),
];

type Compute = fn(u64, u64) -> u64;
const OPERATORS: [(&str, Compute); 6] = [
    ("add", u64::wrapping_add),
    ("sub", u64::wrapping_sub),
    ("and", |a, b| a & b),
    ("or", |a, b| a | b),
    ("xor", |a, b| a ^ b),
    ("xchg", |_, b| b),
];

/// A function for each operator on an address, with operands from 64 bits; results to 64 bits.
fn module(memory: &str, index: &str) -> String {
    let mut text = format!("(module (memory (export \"m\") {memory})");
    for (prefix, suffix, ty, size) in WIDTHS {
        let narrow = |value: &str| match ty {
            "i32" => format!("(i32.wrap_i64 {value})"),
            _ => value.to_owned(),
        };
        let widen = |value: String| match ty {
            "i32" => format!("(i64.extend_i32_u {value})"),
            _ => value,
        };
        let mut add = |name: &str, params: &str, body: String| {
            text += &format!(
                "(func (export \"{name} {ty} {size}\") (param {index} {params}) (result i64) {body})"
            );
        };
        let [a, b] = ["(local.get 1)", "(local.get 2)"].map(narrow);
        for (op, _) in OPERATORS {
            let op = format!("({prefix}.{op}{suffix} offset=8 (local.get 0) {a})");
            add(op.split(['.', '_', ' ']).nth(3).unwrap(), "i64", widen(op.clone()));
        }
        let cmpxchg = format!("({prefix}.cmpxchg{suffix} offset=8 (local.get 0) {a} {b})");
        add("cmpxchg", "i64 i64", widen(cmpxchg));
        let plain = prefix.replace(".rmw", "");
        let (kind, bits) = plain.split_once(".atomic").unwrap();
        add(
            "load",
            "",
            widen(format!("({kind}.atomic.load{bits}{suffix} offset=8 (local.get 0))")),
        );
        let store = format!("({kind}.atomic.store{bits} offset=8 (local.get 0) {a}) (i64.const 0)");
        add("store", "i64", store);
    }
    text + "(func (export \"fence\") atomic.fence))"
}

fn mask(size: u64) -> u64 {
    u64::MAX >> (64 - 8 * size)
}

fn instance(engine: &Engine, memory: &str, index: &str) -> (Store<()>, Instance) {
    let mut store = Store::new(engine, ());
    let module = Module::new(engine, module(memory, index)).unwrap();
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    (store, instance)
}

#[test]
fn all_widths_compute_and_keep_to_their_bytes() {
    const HERE: u64 = 0x8182_8384_8586_8788;
    const OPERAND: u64 = 0xf1e2_d3c4_b5a6_9788;
    for layout in LAYOUTS {
        for memory in ["1", "1 1 shared"] {
            let (mut store, instance) = instance(&engine(layout), memory, "i32");
            for (_, _, ty, size) in WIDTHS {
                let name = |op: &str| format!("{op} {ty} {size}");
                let store64 = instance
                    .get_typed_func::<(u32, u64), u64, _>(&mut store, "store i64 8")
                    .unwrap();
                let load64 =
                    instance.get_typed_func::<u32, u64, _>(&mut store, "load i64 8").unwrap();
                let rest = HERE & !mask(size);
                for (op, compute) in OPERATORS {
                    let rmw = instance
                        .get_typed_func::<(u32, u64), u64, _>(&mut store, &name(op))
                        .unwrap();
                    store64.call(&mut store, (0, HERE)).unwrap();
                    assert_eq!(rmw.call(&mut store, (0, OPERAND)).unwrap(), HERE & mask(size));
                    let expected = rest | (compute(HERE, OPERAND) & mask(size));
                    assert_eq!(load64.call(&mut store, 0).unwrap(), expected, "{op} {ty} {size}");
                }
                let cmpxchg = instance
                    .get_typed_func::<(u32, u64, u64), u64, _>(&mut store, &name("cmpxchg"))
                    .unwrap();
                store64.call(&mut store, (0, HERE)).unwrap();
                let former = cmpxchg.call(&mut store, (0, OPERAND ^ 1, 0)).unwrap();
                assert_eq!(former, HERE & mask(size));
                assert_eq!(load64.call(&mut store, 0).unwrap(), HERE, "another value stays");
                cmpxchg.call(&mut store, (0, HERE, OPERAND)).unwrap();
                let expected = rest | (OPERAND & mask(size));
                assert_eq!(load64.call(&mut store, 0).unwrap(), expected, "cmpxchg {ty} {size}");
                let load =
                    instance.get_typed_func::<u32, u64, _>(&mut store, &name("load")).unwrap();
                assert_eq!(load.call(&mut store, 0).unwrap(), OPERAND & mask(size));
            }
            let fence = instance.get_typed_func::<(), (), _>(&mut store, "fence").unwrap();
            fence.call(&mut store, ()).unwrap();
        }
    }
}

#[test]
fn addresses_are_aligned_and_inside() {
    for layout in LAYOUTS {
        for (memory, index) in [("1", "i32"), ("1 1 shared", "i32"), ("i64 1 1 shared", "i64")] {
            let (mut store, instance) = instance(&engine(layout), memory, index);
            let names: Vec<String> =
                instance.exports(&mut store).map(|export| export.name().to_owned()).collect();
            for name in names.iter().filter(|name| name.contains(" i")) {
                let size: u64 = name.rsplit(' ').next().unwrap().parse().unwrap();
                let function = instance.get_func(&mut store, name).unwrap();
                let mut call = |address: u64| {
                    let ty = function.ty(&store);
                    let mut args: Vec<_> = ty.params().map(|_| lampwick::Val::I64(0)).collect();
                    args[0] = match index {
                        "i32" => lampwick::Val::I32(address as i32),
                        _ => lampwick::Val::I64(address as i64),
                    };
                    let error = function.call(&mut store, &args).err()?;
                    error.downcast_ref::<lampwick::Trap>().unwrap().trap_code()
                };
                // The offset is 8.
                assert_eq!(call(65_536 - 8 - size), None, "{name}");
                for outside in [65_536 - 8, 65_536, 0xffff_fff0] {
                    assert_eq!(call(outside), Some(TrapCode::MemoryOutOfBounds), "{name}");
                }
                if index == "i64" {
                    for outside in [u64::MAX - 7, u64::MAX - 15, 1 << 63, 1 << 32] {
                        assert_eq!(call(outside), Some(TrapCode::MemoryOutOfBounds), "{name}");
                    }
                }
                for odd in (1..size).chain([size * 100 + size / 2]).filter(|odd| odd % size > 0) {
                    assert_eq!(call(odd), Some(TrapCode::HeapMisaligned), "{name} {odd}");
                }
            }
        }
    }
}

/// Where an operator traps, and else, all that ran before it and itself is burned.
#[test]
fn every_operator_costs_one() {
    let text = r#"(module (memory 1 1 shared)
        (func (export "rmw") (param i32) (result i32)
            (i32.atomic.rmw.add (local.get 0) (i32.const 1)))
        (func (export "nand") (param i32) (result i64)
            (i64.atomic.rmw.xor (local.get 0) (i64.const 1)))
        (func (export "notify") (param i32) (result i32)
            (memory.atomic.notify (local.get 0) (i32.const 1)))
        (func (export "wait") (param i32) (result i32)
            (memory.atomic.wait32 (local.get 0) (i32.const -1) (i64.const 0))))"#;
    for layout in LAYOUTS {
        let engine = engine(|config| {
            layout(config);
            config.consume_fuel(true);
        });
        let mut store = Store::new(&engine, ());
        store.add_fuel(1_000_000).unwrap();
        let module = Module::new(&engine, text).unwrap();
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        for (name, cost) in [("rmw", 4), ("nand", 4), ("notify", 4), ("wait", 5)] {
            let function = instance.get_func(&mut store, name).unwrap();
            for address in [16, 17, 65_536, -8] {
                let before = store.fuel_consumed().unwrap();
                let result = function.call(&mut store, &[lampwick::Val::I32(address)]);
                assert_eq!(result.is_ok(), address == 16, "{name} {address}");
                let burned = store.fuel_consumed().unwrap() - before;
                assert_eq!(burned, cost, "{name} {address}");
            }
        }
    }
}

/// What a table says of atomic operators holds for each of them, and never for nothing.
#[test]
fn every_operator_costs_what_the_class_does() {
    let module_of = |units| {
        let costs = OperatorCosts::uniform(0).with(OperatorClass::Atomic, units);
        let engine =
            engine(|config| _ = config.wasm_threads(true).consume_fuel(true).operator_cost(costs));
        Module::new(&engine, module("1 1 shared", "i32")).unwrap()
    };
    for (units, cost) in [(0, 1), (50, 50)] {
        let module = module_of(units);
        let (mut store, mut checked) = (Store::new(module.engine(), ()), 0);
        store.add_fuel(1_000_000).unwrap();
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        for export in module.exports().filter(|export| matches!(export.ty(), ExternType::Func(_))) {
            let function = instance.get_func(&mut store, export.name()).unwrap();
            let params = function.ty(&store).params().len();
            let args = [Val::I32(16), Val::I64(1), Val::I64(2)];
            let before = store.fuel_consumed().unwrap();
            function.call(&mut store, &args[..params]).unwrap();
            // The entry costs 1, and all that is not atomic nothing.
            let burned = store.fuel_consumed().unwrap() - before;
            assert_eq!(burned, 1 + cost, "{}", export.name());
            checked += 1;
        }
        assert_eq!(checked, 9 * WIDTHS.len() + 1);
    }
    let (cheap, dear) = (module_of(1), module_of(50));
    let bytes = dear.serialize().unwrap();
    // SAFETY: the bytes are those of a module that this process serialized.
    let refused = unsafe { Module::deserialize(cheap.engine(), &bytes) }.unwrap_err();
    assert!(format!("{refused:#}").contains("`operator_cost atomic`"), "{refused:#}");
}

/// Guests on several threads count in one memory.
#[test]
fn threads_count_together() {
    const ROUNDS: u32 = 20_000;
    let text = r#"(module (import "" "m" (memory 1 3 shared))
        (func (export "count") (param i32)
            (loop
                (drop (i32.atomic.rmw.add (i32.const 64) (i32.const 1)))
                (drop (i32.atomic.rmw8.add_u (i32.const 70) (i32.const 1)))
                (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
        (func (export "grow") (result i32) (memory.grow (i32.const 1)))
        (func (export "size") (result i32) memory.size)
        (func (export "touch") (param i32) (i32.atomic.store (local.get 0) (i32.const 5))))"#;
    for layout in LAYOUTS {
        let engine = engine(layout);
        let memory = SharedMemory::new(&engine, MemoryType::shared(1, 3)).unwrap();
        let module = Module::new(&engine, text).unwrap();
        let guest = || {
            let mut store = Store::new(&engine, ());
            let imports = [Extern::from(memory.clone())];
            let instance = Instance::new(&mut store, &module, &imports).unwrap();
            (store, instance)
        };
        let (mut other, sees) = guest();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let (mut store, instance) = guest();
                    let count = instance.get_typed_func::<u32, (), _>(&mut store, "count").unwrap();
                    count.call(&mut store, ROUNDS).unwrap();
                });
            }
        });
        let bytes = memory.data();
        // SAFETY: no guest is running.
        let byte = |at: usize| unsafe { *bytes[at].get() };
        assert_eq!(u32::from_le_bytes([byte(64), byte(65), byte(66), byte(67)]), 4 * ROUNDS);
        assert_eq!(byte(70), (4 * ROUNDS) as u8);

        // What one store grows all see, at the same place.
        let base = bytes.as_ptr();
        let touch = sees.get_typed_func::<u32, (), _>(&mut other, "touch").unwrap();
        assert!(touch.call(&mut other, 65_536).is_err());
        let (mut store, instance) = guest();
        let grow = instance.get_typed_func::<(), i32, _>(&mut store, "grow").unwrap();
        assert_eq!(grow.call(&mut store, ()).unwrap(), 1);
        touch.call(&mut other, 65_536).unwrap();
        assert_eq!(memory.grow(1).unwrap(), 2);
        assert_eq!(grow.call(&mut store, ()).unwrap(), -1);
        assert!(memory.grow(1).unwrap_err().to_string().contains("its maximum is 3"));
        let size = sees.get_typed_func::<(), i32, _>(&mut other, "size").unwrap();
        assert_eq!(size.call(&mut other, ()).unwrap(), 3);
        assert_eq!((memory.size(), memory.data_size()), (3, 3 << 16));
        assert_eq!(memory.data().as_ptr(), base);
        assert_eq!(memory.ty().to_string(), "shared memory (at least 3 pages, at most 3)");
    }
}

/// A store may have a memory twice; copies between the two overlap.
#[test]
fn bulk_operators_on_shared_memories() {
    let text = r#"(module
        (import "" "a" (memory $a 2 2 shared)) (import "" "b" (memory $b 2 2 shared))
        (memory $own (export "own") 2)
        (data $d "0123456789")
        (func (export "init") (memory.init $a $d (i32.const 100) (i32.const 0) (i32.const 10)))
        (func (export "fill") (param i32 i32)
            (memory.fill $b (local.get 0) (i32.const 7) (local.get 1)))
        (func (export "copy") (param i32 i32 i32)
            (memory.copy $a $b (local.get 0) (local.get 1) (local.get 2)))
        (func (export "out") (param i32 i32 i32)
            (memory.copy $own $a (local.get 0) (local.get 1) (local.get 2)))
        (func (export "copy 16") (memory.copy $a $b (i32.const 102) (i32.const 100) (i32.const 16))))"#;
    for layout in LAYOUTS {
        let engine = engine(layout);
        let mut store = Store::new(&engine, ());
        let memory = SharedMemory::new(&engine, MemoryType::shared(2, 2)).unwrap();
        let module = Module::new(&engine, text).unwrap();
        let imports = [memory.clone().into(), memory.clone().into()];
        let instance = Instance::new(&mut store, &module, &imports).unwrap();
        // SAFETY: no guest is running.
        let bytes = |from: usize, len: usize| -> Vec<u8> {
            // SAFETY: no guest is running.
            memory.data()[from..from + len].iter().map(|cell| unsafe { *cell.get() }).collect()
        };
        let init = instance.get_typed_func::<(), (), _>(&mut store, "init").unwrap();
        let few = instance.get_typed_func::<(), (), _>(&mut store, "copy 16").unwrap();
        let fill = instance.get_typed_func::<(u32, u32), (), _>(&mut store, "fill").unwrap();
        type Copy = (u32, u32, u32);
        let copy = instance.get_typed_func::<Copy, (), _>(&mut store, "copy").unwrap();
        let out = instance.get_typed_func::<Copy, (), _>(&mut store, "out").unwrap();
        init.call(&mut store, ()).unwrap();
        assert_eq!(bytes(100, 10), b"0123456789");
        few.call(&mut store, ()).unwrap();
        assert_eq!(bytes(100, 13), b"010123456789\0");
        // Of several chunks, each way.
        for (index, cell) in memory.data().iter().enumerate() {
            // SAFETY: as above.
            unsafe { *cell.get() = (index % 251) as u8 };
        }
        for (to, from) in [(1_u32, 0_u32), (0, 1), (70, 3), (3, 70)] {
            let len = 100_000;
            let mut expected = bytes(0, 2 << 16);
            expected.copy_within(from as usize..(from + len) as usize, to as usize);
            copy.call(&mut store, (to, from, len)).unwrap();
            assert!(bytes(0, 2 << 16) == expected, "from {from} to {to}");
        }
        fill.call(&mut store, (5, 90_000)).unwrap();
        assert_eq!((bytes(5, 90_000), bytes(90_005, 1)[0] == 7), (vec![7; 90_000], false));
        out.call(&mut store, (0, 5, 90_000)).unwrap();
        let own = instance.get_memory(&mut store, "own").unwrap();
        assert_eq!(own.data(&store)[..90_000], vec![7; 90_000]);
        let end = 2 << 16;
        assert!(fill.call(&mut store, (end - 1, 2)).is_err());
        assert!(copy.call(&mut store, (end - 1, 0, 2)).is_err());
        assert!(copy.call(&mut store, (0, end - 1, 2)).is_err());
        assert!(out.call(&mut store, (0, u32::MAX, 1)).is_err());
    }
}

#[test]
fn shared_memories_are_their_engines() {
    let with_threads = engine(|config| _ = config.wasm_threads(true));
    let other = engine(|config| _ = config.wasm_threads(true));
    let memory = SharedMemory::new(&with_threads, MemoryType::shared(1, 2)).unwrap();
    let text = r#"(module (import "" "m" (memory 1 2 shared)))"#;
    let error = Module::new(&Engine::default(), text).unwrap_err();
    assert!(format!("{error:#}").contains("threads"), "{error:#}");
    let module = Module::new(&other, text).unwrap();
    let mut store = Store::new(&other, ());
    let error = Instance::new(&mut store, &module, &[memory.clone().into()]).unwrap_err();
    assert!(format!("{error:#}").contains("different engines"), "{error:#}");

    let mut store = Store::new(&with_threads, ());
    let unshared = Module::new(&with_threads, r#"(module (import "" "m" (memory 1 2)))"#).unwrap();
    assert!(Instance::new(&mut store, &unshared, &[memory.clone().into()]).is_err());
    let own = lampwick::Memory::new(&mut store, MemoryType::new(1, Some(2))).unwrap();
    let module = Module::new(&with_threads, text).unwrap();
    assert!(Instance::new(&mut store, &module, &[own.into()]).is_err());
    let error = lampwick::Memory::new(&mut store, MemoryType::shared(1, 2)).unwrap_err();
    assert!(error.to_string().contains("SharedMemory::new"), "{error:#}");
    assert!(SharedMemory::new(&with_threads, MemoryType::new(1, Some(2))).is_err());
    let error = SharedMemory::new(&with_threads, MemoryType::shared64(1, 1 << 20)).unwrap_err();
    let text = format!("{error:#}");
    assert!(text.contains("68719476736") && text.contains("17179869184"), "{text}");

    // An instance's own, in a linker, outlives its store.
    let text = r#"(module (memory (export "m") 1 2 shared) (data (i32.const 3) "here"))"#;
    let module = Module::new(&with_threads, text).unwrap();
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    assert!(instance.get_memory(&mut store, "m").is_none());
    let own = instance.get_export(&mut store, "m").unwrap().into_shared_memory().unwrap();
    let again = instance.get_shared_memory(&mut store, "m").unwrap();
    assert_eq!(own.data().as_ptr(), again.data().as_ptr());
    assert!(own.ty().is_shared());
    let mut linker = lampwick::Linker::<()>::new(&with_threads);
    linker.define("", "m", own).unwrap();
    drop(store);
    let mut store = Store::new(&with_threads, ());
    let text = r#"(module (import "" "m" (memory 1 2 shared))
        (func (export "load") (result i32) (i32.atomic.load (i32.const 4))))"#;
    let module = Module::new(&with_threads, text).unwrap();
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let load = instance.get_typed_func::<(), u32, _>(&mut store, "load").unwrap();
    assert_eq!(load.call(&mut store, ()).unwrap().to_le_bytes(), *b"ere\0");
}
