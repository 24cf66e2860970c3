//! Memories that start with an image of their module's data: nobody must notice.

use lampwick::{
    Engine, Global, GlobalType, Instance, InstanceAllocationStrategy, Memory, Module, Mutability,
    Store, Table, TableType, TrapCode, Val, ValType,
};

use crate::support::{Rng, engine, instantiate, rounds, trap};

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
        Instance::new(&mut store, &module, std::slice::from_ref(&memory)).unwrap();
        let mut expected = expected();
        expected[10..100_010].fill(b'z');
        assert!(memory.into_memory().unwrap().data(&store) == expected);
    }
}

#[test]
fn data_is_not_there_where_an_element_segment_did_not_fit() {
    // The first segment has put a function into the imported table when the second one traps.
    let long = "x".repeat(100_000);
    let text = format!(
        r#"(module (import "" "table" (table 2 funcref)) (memory 3)
            (elem (i32.const 0) $load) (elem (i32.const LAST) $load)
            (data (i32.const 0) "{long}")
            (func $load (result i32) i32.const 7 i32.load8_u))"#
    );
    for engine in engines() {
        for (last, fits) in [(1, true), (2, false)] {
            let module = Module::new(&engine, text.replace("LAST", &last.to_string())).unwrap();
            // From the second time on the memory was another instance's before.
            for _ in 0..3 {
                let mut store = Store::new(&engine, ());
                let ty = TableType::new(ValType::FuncRef, 2, None);
                let table = Table::new(&mut store, ty, Val::FuncRef(None)).unwrap();
                let instance = Instance::new(&mut store, &module, &[table.into()]);
                match instance {
                    Ok(_) => assert!(fits),
                    Err(error) => {
                        assert!(!fits);
                        assert_eq!(trap(error).trap_code(), Some(TrapCode::TableOutOfBounds));
                    }
                }
                let Some(Val::FuncRef(Some(load))) = table.get(&mut store, 0) else { panic!() };
                let expected = if fits { i32::from(b'x') } else { 0 };
                assert_eq!(load.call(&mut store, &[]).unwrap()[0].unwrap_i32(), expected);
            }
        }
    }
}

#[test]
fn guests_of_many_modules_on_two_threads_start_with_their_own_bytes() {
    let seed = Rng::new("guests_of_many_modules_on_two_threads_start_with_their_own_bytes").next();
    let engine = Engine::default();
    // Some have an image, some data that is copied, some none; sizes differ.
    let modules: Vec<_> = (0..6_usize)
        .map(|kind| {
            let byte = char::from(b'a' + kind as u8).to_string();
            let data = byte.repeat([0, 100, 60_000, 150_000, 60_000, 10][kind]);
            let pages = [1, 2, 2, 5, 3, 1][kind];
            let text = format!(
                r#"(module (memory (export "memory") {pages}) (data (i32.const 3000) "{data}"))"#
            );
            (Module::new(&engine, text).unwrap(), pages * PAGE, data)
        })
        .collect();
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (engine, modules) = (&engine, &modules);
            scope.spawn(move || {
                let mut rng = Rng::seeded(seed ^ thread);
                let mut stores = Vec::new();
                for _ in 0..rounds(400) {
                    let (module, len, data) = &modules[rng.below(6) as usize];
                    let mut store = Store::new(engine, ());
                    let instance = Instance::new(&mut store, module, &[]).unwrap();
                    let memory = instance.get_memory(&mut store, "memory").unwrap();
                    memory.grow(&mut store, rng.below(3)).unwrap();
                    let bytes = memory.data_mut(&mut store);
                    assert_eq!(&bytes[3000..3000 + data.len()], data.as_bytes());
                    let rest = bytes[..3000].iter().chain(&bytes[3000 + data.len()..]);
                    assert!(rest.copied().all(|byte| byte == 0), "{len} bytes");
                    let writes = [0, 1, 9, 40][rng.below(4) as usize];
                    for _ in 0..writes {
                        let at = rng.below(bytes.len() as u64) as usize;
                        bytes[at] = 0xaa;
                    }
                    // Some stay for a while.
                    stores.push(store);
                    if stores.len() > 12 || rng.below(2) == 0 {
                        let index = rng.below(stores.len() as u64) as usize;
                        stores.swap_remove(index);
                    }
                }
            });
        }
    });
}
