//! Memories that start with an image of their module's data: nobody must notice.

use lampwick::{
    Engine, Global, GlobalType, Instance, InstanceAllocationStrategy, Memory, Module, Mutability,
    Store, TrapCode, Val, ValType,
};

use crate::support::{engine, instantiate, rounds, trap};

const PAGE: usize = 1 << 16;

/// On demand and in a pool, with images, and with memories that cannot have one.
fn engines() -> [Engine; 4] {
    let pooling = InstanceAllocationStrategy::pooling;
    [
        Engine::default(),
        engine(|config| {
            config.allocation_strategy(pooling());
        }),
        engine(|config| {
            config.allocation_strategy(pooling()).static_memory_maximum_size(0);
        }),
        engine(|config| {
            config.static_memory_maximum_size(0);
        }),
    ]
}

/// A memory of 5 pages with two segments that overlap, some bytes before and behind a page's
/// border, and a third far from them, empty and passive ones between.
const GUEST: &str = r#"(module (memory (export "memory") 5 20) TABLE
    (data (i32.const 1021) "FIRST")
    (data "passive")
    (data (i32.const 60000) "SECOND")
    (data (i32.const 327680) "")
    (data (i32.const 320001) "third")
    (func (export "init") (param i32) i32.const 0 i32.const 0 local.get 0 memory.init 0)
    (func (export "grow") (param i32) (result i32) local.get 0 memory.grow)
    (func (export "store") (param i32 i32) local.get 0 local.get 1 i32.store8)
    (func (export "load") (param i32) (result i32) local.get 0 i32.load8_u))"#;

const FIRST: usize = 70_001;
const SECOND: usize = 40_000;

fn guest() -> String {
    GUEST
        .replace("FIRST", &"1".repeat(FIRST))
        .replace("SECOND", &"2".repeat(SECOND))
        .replace("TABLE", "")
}

/// What a memory of that module starts with.
fn expected() -> Vec<u8> {
    let mut bytes = vec![0; 5 * PAGE];
    bytes[1021..1021 + FIRST].fill(b'1');
    bytes[60_000..60_000 + SECOND].fill(b'2');
    bytes[320_001..320_006].copy_from_slice(b"third");
    bytes
}

#[test]
fn every_instance_starts_with_the_data_of_its_module() {
    let expected = expected();
    for engine in engines() {
        let (module, other) = (
            Module::new(&engine, guest()).unwrap(),
            Module::new(&engine, r#"(module (memory (export "memory") 5 20))"#).unwrap(),
        );
        for round in 0..rounds(8) {
            let mut store = Store::new(&engine, ());
            let memories: [Memory; 2] = [0, 1].map(|_| {
                let instance = Instance::new(&mut store, &module, &[]).unwrap();
                instance.get_memory(&mut store, "memory").unwrap()
            });
            for memory in memories {
                assert!(memory.data(&store) == expected, "round {round}");
                memory.grow(&mut store, round as u64 % 3).unwrap();
                assert!(memory.data(&store)[5 * PAGE..].iter().all(|&byte| byte == 0));
                memory.data_mut(&mut store).fill(0xaa);
            }
            drop(store);
            // What is left there is not the next module's.
            let mut store = Store::new(&engine, ());
            let instance = Instance::new(&mut store, &other, &[]).unwrap();
            let memory = instance.get_memory(&mut store, "memory").unwrap();
            memory.grow(&mut store, 2).unwrap();
            assert!(memory.data(&store).iter().all(|&byte| byte == 0), "round {round}");
        }
    }
}

#[test]
fn static_memories_map_their_image() {
    for (engine, maps) in engines().into_iter().zip([true, true, true, false]) {
        let (mut store, instance) = instantiate(&engine, &guest());
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        let at = memory.data_ptr(&store) as usize + 60_000;
        let mappings = std::fs::read_to_string("/proc/self/maps").unwrap();
        let mapping = mappings.lines().find(|line| {
            let (start, rest) = line.split_once('-').unwrap();
            let (end, _) = rest.split_once(' ').unwrap();
            let address = |hex| usize::from_str_radix(hex, 16).unwrap();
            (address(start)..address(end)).contains(&at)
        });
        assert_eq!(mapping.unwrap().contains("/memfd:lampwick-memory"), maps, "{mapping:?}");
    }
}

#[test]
fn segments_are_dropped_and_bounds_are_kept() {
    for engine in engines() {
        let (mut store, instance) = instantiate(&engine, &guest());
        let init = instance.get_typed_func::<i32, (), _>(&mut store, "init").unwrap();
        init.call(&mut store, 0).unwrap();
        let trap = init.call(&mut store, 1).unwrap_err();
        assert_eq!(trap.trap_code(), Some(TrapCode::MemoryOutOfBounds));
        let load = instance.get_typed_func::<i32, i32, _>(&mut store, "load").unwrap();
        let grow = instance.get_typed_func::<i32, i32, _>(&mut store, "grow").unwrap();
        for pages in 5..8 {
            let end = pages * PAGE as i32;
            load.call(&mut store, end - 1).unwrap();
            let trap = load.call(&mut store, end).unwrap_err();
            assert_eq!(trap.trap_code(), Some(TrapCode::MemoryOutOfBounds));
            assert_eq!(grow.call(&mut store, 1).unwrap(), pages);
        }
        assert_eq!(load.call(&mut store, 1021).unwrap(), i32::from(b'1'));
    }
}

#[test]
fn what_does_not_fit_is_found_segment_by_segment() {
    let long = "x".repeat(100_000);
    let text = format!(
        r#"(module (import "" "global" (global $at i32)) (memory (export "memory") 3)
            (data (i32.const 5) "{long}") (data (global.get $at) "y"))"#
    );
    for engine in engines() {
        let module = Module::new(&engine, &text).unwrap();
        for (at, fits) in [(0, true), (3 * PAGE as i32 - 1, true), (3 * PAGE as i32, false)] {
            let mut store = Store::new(&engine, ());
            let ty = GlobalType::new(ValType::I32, Mutability::Const);
            let global = Global::new(&mut store, ty, Val::I32(at)).unwrap();
            match Instance::new(&mut store, &module, &[global.into()]) {
                Ok(instance) => {
                    let memory = instance.get_memory(&mut store, "memory").unwrap();
                    let data = memory.data(&store);
                    assert!(fits && data[5..100_005] == *long.as_bytes());
                    assert_eq!(data[at as usize], b'y');
                }
                Err(error) => {
                    assert!(!fits);
                    assert_eq!(trap(error).trap_code(), Some(TrapCode::MemoryOutOfBounds));
                }
            }
        }
    }
    // With all offsets known the module is refused a memory image all the same.
    let text = format!(r#"(module (memory 1) (data (i32.const 5) "{long}"))"#);
    let engine = Engine::default();
    let module = Module::new(&engine, &text).unwrap();
    let error = Instance::new(&mut Store::new(&engine, ()), &module, &[]).unwrap_err();
    assert_eq!(trap(error).trap_code(), Some(TrapCode::MemoryOutOfBounds));
}

#[test]
fn an_imported_memory_gets_the_data_of_both() {
    for engine in engines() {
        let (mut store, instance) = instantiate(&engine, &guest());
        let memory = instance.get_export(&mut store, "memory").unwrap();
        let long = "z".repeat(100_000);
        let text = format!(r#"(module (import "" "" (memory 5)) (data (i32.const 10) "{long}"))"#);
        let module = Module::new(&engine, text).unwrap();
        Instance::new(&mut store, &module, &[memory]).unwrap();
        let mut expected = expected();
        expected[10..100_010].fill(b'z');
        assert!(memory.into_memory().unwrap().data(&store) == expected);
    }
}
