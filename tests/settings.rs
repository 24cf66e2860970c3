//! Settings that change how a guest is run must not change what it computes.

use lampwick::{Config, Engine, Module, OptLevel, TrapCode};

use crate::support::{Change, engine, instantiate};

/// Loads and stores of one to eight bytes at an address, with offsets up to the largest.
const ACCESSES: &str = r#"(module
    (memory (export "m") 1 3)
    (func (export "load8") (param i32) (result i32) (i32.load8_u (local.get 0)))
    (func (export "load64") (param i32) (result i64) (i64.load (local.get 0)))
    (func (export "load far") (param i32) (result i64) (i64.load offset=4294967295 (local.get 0)))
    (func (export "store32") (param i32) (i32.store offset=4 (local.get 0) (i32.const -1)))
    (func (export "grow") (result i32) (memory.grow (i32.const 1))))"#;

/// How memories may be laid out.
const LAYOUTS: [(&str, Change); 8] = [
    ("default", |_| {}),
    ("without a guard before", |config| {
        config.guard_before_linear_memory(false);
    }),
    ("without a static guard", |config| {
        config.static_memory_guard_size(0);
    }),
    ("small static", |config| {
        config.static_memory_maximum_size(3 << 16).static_memory_guard_size(1 << 16);
    }),
    ("static without guards", |config| {
        config.static_memory_maximum_size(3 << 16).static_memory_guard_size(0);
    }),
    ("dynamic", |config| {
        config.static_memory_maximum_size(0);
    }),
    ("dynamic without guards", |config| {
        config.static_memory_maximum_size(0).dynamic_memory_guard_size(0);
    }),
    ("dynamic without a reserve", |config| {
        config
            .static_memory_maximum_size(0)
            .dynamic_memory_guard_size(1 << 16)
            .dynamic_memory_reserved_for_growth(0);
    }),
];

#[test]
fn memories_end_where_they_end_whatever_their_layout() {
    for (name, layout) in LAYOUTS {
        let (mut store, instance) = instantiate(&engine(layout), ACCESSES);
        let mut typed = |name| instance.get_func(&mut store, name).unwrap();
        let [load8, load64, far, store32, grow] =
            ["load8", "load64", "load far", "store32", "grow"].map(&mut typed);
        for pages in 1..=3_i64 {
            let size = pages << 16;
            // The last address at which each access fits.
            let cases = [(load8, size - 1), (load64, size - 8), (store32, size - 8)];
            for (func, last) in cases {
                for (address, fits) in [
                    (0, true),
                    (last, true),
                    (last + 1, false),
                    (last + 7, false),
                    (size, false),
                    (size + (1 << 16), false),
                    (1 << 31, false),
                    (u32::MAX.into(), false),
                ] {
                    let result = func.call(&mut store, &[(address as u32 as i32).into()]);
                    match result {
                        Ok(_) => assert!(fits, "{name}: {address} of {size}"),
                        Err(error) => {
                            assert!(!fits, "{name}: {address} of {size}: {error}");
                            let trap: lampwick::Trap = error.downcast().unwrap();
                            assert_eq!(
                                trap.trap_code(),
                                Some(TrapCode::MemoryOutOfBounds),
                                "{name}"
                            );
                        }
                    }
                }
            }
            for address in [0, 1, -1, i32::MIN] {
                far.call(&mut store, &[address.into()]).unwrap_err();
            }
            let grown = grow.call(&mut store, &[]).unwrap()[0].unwrap_i32();
            assert_eq!(i64::from(grown), if pages < 3 { pages } else { -1 }, "{name}");
        }
    }
}

#[test]
fn every_level_of_optimization_computes_the_same() {
    let wat = r#"(module (func (export "f") (param i64) (result i64) (local i64)
        (loop
            (local.set 1 (i64.add
                (i64.mul (local.get 1) (i64.const 6364136223846793005))
                (i64.xor (local.get 0) (i64.rotl (local.get 1) (i64.const 13)))))
            (br_if 0 (i64.ne (i64.const 0) (local.tee 0 (i64.sub (local.get 0) (i64.const 1))))))
        (local.get 1)))"#;
    // Written again in Rust.
    let expected = (1..=1000_u64).rev().fold(0_u64, |sum, n| {
        sum.wrapping_mul(6364136223846793005).wrapping_add(n ^ sum.rotate_left(13))
    });
    for level in [OptLevel::None, OptLevel::Speed, OptLevel::SpeedAndSize] {
        for (parallel, fuel) in [(true, false), (false, true)] {
            let engine = engine(|config: &mut Config| {
                config.cranelift_opt_level(level).parallel_compilation(parallel).consume_fuel(fuel);
            });
            let (mut store, instance) = instantiate(&engine, wat);
            if fuel {
                store.add_fuel(1_000_000).unwrap();
            }
            let f = instance.get_typed_func::<u64, u64, _>(&mut store, "f").unwrap();
            assert_eq!(f.call(&mut store, 1000).unwrap(), expected, "{level:?}");
        }
    }
}

#[test]
fn several_memories_can_be_disabled() {
    let without = engine(|config| {
        config.wasm_multi_memory(false);
    });
    Module::new(&without, "(module (memory 1) (memory 1))").unwrap_err();
    let (mut store, instance) = instantiate(
        &Engine::default(),
        r#"(module
            (memory $a (export "a") 1) (memory $b (export "b") 1)
            (data (memory $b) (i32.const 8) "beta")
            (func (export "copy") (memory.copy $a $b (i32.const 0) (i32.const 8) (i32.const 4)))
            (func (export "beyond") (memory.copy $a $b (i32.const 0) (i32.const 65533) (i32.const 4))))"#,
    );
    let copy = instance.get_typed_func::<(), (), _>(&mut store, "copy").unwrap();
    copy.call(&mut store, ()).unwrap();
    let a = instance.get_memory(&mut store, "a").unwrap();
    assert_eq!(&a.data(&store)[..6], b"beta\0\0");
    let beyond = instance.get_typed_func::<(), (), _>(&mut store, "beyond").unwrap();
    let trap = beyond.call(&mut store, ()).unwrap_err();
    assert_eq!(trap.trap_code(), Some(TrapCode::MemoryOutOfBounds));
}
