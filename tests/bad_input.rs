//! Bytes that are no module, modules that do not fit: an error that says where and what, never a
//! panic.

use lampwick::{Engine, Extern, Func, Instance, Linker, Memory, MemoryType, Module, Store, Val};

use crate::support::{Rng, block_on, instantiate, metered, rounds};

/// A module that has every section.
const WHOLE: &str = r#"(module $whole
    (type $t (func (param i32 i64) (result i32)))
    (import "env" "f" (func $f (type $t))) (import "env" "g" (global $g i32))
    (table $table 4 8 funcref) (memory 1 2)
    (global $count (mut i64) (i64.const 7)) (global f64 (f64.const 1.5))
    (export "run" (func $run)) (export "memory" (memory 0))
    (start $start)
    (elem (i32.const 1) $f $run) (elem $passive func $start) (elem declare func $start)
    (func $start i64.const 1 global.set $count)
    (func $run (type $t) (local f32 f64)
        local.get 0 if (result i32)
            block loop local.get 0 br_if 1 br 0 end end
            i32.const 1 local.get 1 i32.const 2 call_indirect (type $t)
        else
            i32.const 8 i32.load offset=4 i32.const 3 i32.div_u
        end
        i32.const 0 i32.const 0 i32.const 3 memory.init $data data.drop $data
        ref.func $start drop f64.const 2 i32.trunc_sat_f64_s i32.add)
    (data (i32.const 5) "active") (data $data "passive"))"#;

fn whole() -> Vec<u8> {
    wat::parse_str(WHOLE).unwrap()
}

#[test]
fn every_prefix_of_a_module_is_an_error_or_a_module() {
    let engine = Engine::default();
    let wasm = whole();
    Module::from_binary(&engine, &wasm).unwrap();
    let mut valid = 0;
    for len in 0..wasm.len() {
        let prefix = &wasm[..len];
        match Module::from_binary(&engine, prefix) {
            Ok(_) => valid += 1,
            Err(error) => {
                let text = format!("{error:#}");
                assert!(text.contains("offset 0x") || text.contains("at offset"), "{len}: {text}");
            }
        }
        assert_eq!(
            Module::validate(&engine, prefix).is_ok(),
            Module::from_binary(&engine, prefix).is_ok()
        );
        if (1..8).contains(&len) {
            let text = format!("{:#}", Module::new(&engine, prefix).unwrap_err());
            assert!(!text.is_empty());
        }
    }
    // At the ends of the first sections, before functions need bodies.
    assert!((1..8).contains(&valid), "{valid}");
}

#[test]
fn damaged_modules_are_errors_or_modules() {
    let mut rng = Rng::new("damaged_modules_are_errors_or_modules");
    let engine = metered();
    let wasm = whole();
    let (mut valid, mut run) = (0, 0);
    for _ in 0..rounds(3000) {
        let mut damaged = wasm.clone();
        for _ in 0..=rng.below(3) {
            let place = 8 + rng.below(damaged.len() as u64 - 8) as usize;
            match rng.below(6) {
                0 => drop(damaged.remove(place)),
                1 => damaged.insert(place, rng.next() as u8),
                2 => damaged[place] = rng.next() as u8,
                _ => damaged[place] ^= 1 << rng.below(8),
            }
        }
        let Ok(module) = Module::from_binary(&engine, &damaged) else { continue };
        valid += 1;
        run += usize::from(survives(&engine, &module));
    }
    println!("{valid} modules are valid, {run} of which ran");
    assert!(valid > 20, "the damage is too great to test much");
}

/// Instantiates a module with imports that suit most, and calls what it exports. Answers whether
/// that went so far.
fn survives(engine: &Engine, module: &Module) -> bool {
    let mut store = Store::new(engine, ());
    store.add_fuel(10_000).unwrap();
    let mut linker = Linker::new(engine);
    linker.func_wrap("env", "f", |a: i32, _: i64| a).unwrap();
    let ty = lampwick::GlobalType::new(lampwick::ValType::I32, lampwick::Mutability::Const);
    let global = lampwick::Global::new(&mut store, ty, Val::I32(3)).unwrap();
    linker.define("env", "g", global).unwrap();
    let Ok(instance) = linker.instantiate(&mut store, module) else { return false };
    let exports: Vec<_> =
        instance.exports(&mut store).filter_map(|export| export.into_func()).collect();
    for func in exports {
        for first in [0, 1, 0x7fff_ffff] {
            let _ = func.call(&mut store, &[Val::I32(first), Val::I64(5)]);
        }
    }
    true
}

#[test]
fn invalid_modules_name_the_offset_and_what_was_expected() {
    let engine = Engine::default();
    for (wat, expected) in [
        ("(module (func i32.add drop))", "expected i32"),
        ("(module (func (result i32) i64.const 1))", "expected i32, found i64"),
        ("(module (func local.get 3 drop))", "unknown local 3"),
        ("(module (func call 7))", "unknown function 7"),
        ("(module (func br 5))", "unknown label"),
        ("(module (func i32.const 0 i32.load drop))", "unknown memory 0"),
        ("(module (global $g i32 (i32.const 1)) (func i32.const 1 global.set $g))", "immutable"),
        ("(module (memory 2 1))", "minimum must not be greater than maximum"),
        ("(module (func (export \"a\")) (func (export \"a\")))", "duplicate export"),
        ("(module (start 0) (func (param i32)))", "start function"),
        ("(module (memory 70000))", "memory size"),
        ("(module (func i32.const 0 i32.load align=8 drop) (memory 1))", "alignment"),
    ] {
        let wasm = wat::parse_str(wat).unwrap();
        for error in [
            Module::new(&engine, &wasm).unwrap_err(),
            Module::validate(&engine, &wasm).unwrap_err(),
        ] {
            let text = format!("{error:#}");
            assert!(text.contains(expected), "{wat}: {text}");
            assert!(text.contains("at offset 0x"), "{wat}: {text}");
        }
    }
}

#[test]
fn bytes_that_are_no_module_are_errors() {
    let engine = Engine::default();
    for bytes in [
        &b"\0"[..],
        b"\0asm",
        b"\0asm\x02\0\0\0",
        b"\0asm\x01\0\0\0\xff",
        b"\x7fELF\x02\x01",
        b"\xff\xfe",
        b"(",
        b"(modul)",
    ] {
        assert!(Module::new(&engine, bytes).is_err(), "{bytes:?}");
        assert!(Module::from_binary(&engine, bytes).is_err(), "{bytes:?}");
        assert!(Module::validate(&engine, bytes).is_err(), "{bytes:?}");
    }
    assert!(Module::from_binary(&engine, b"(module)").is_err(), "text is not binary");
    let error = Module::from_file(&engine, "/no/such/file.wasm").unwrap_err();
    assert!(format!("{error:#}").contains("/no/such/file.wasm"), "{error:#}");
}

#[test]
fn text_errors_name_line_and_column() {
    let engine = Engine::default();
    for (wat, place) in [
        ("(module\n  (func i32.cons 1))", ":2:9"),
        ("(module\n  (func)\n", ":3:1"),
        ("(module (func call $missing))", ":1:20"),
        ("(module (memory x))", ":1:17"),
    ] {
        let text = format!("{:#}", Module::new(&engine, wat).unwrap_err());
        assert!(text.contains(place), "{wat:?} should be wrong at {place}: {text}");
    }
}

#[test]
fn components_and_proposals_that_are_not_supported_are_named() {
    let engine = Engine::default();
    let component = wat::parse_str("(component)").unwrap();
    for result in [Module::new(&engine, "(component)"), Module::from_binary(&engine, &component)] {
        let text = format!("{:#}", result.unwrap_err());
        assert!(text.contains("component"), "{text}");
    }
    assert!(Module::validate(&engine, &component).is_err());
    for (wat, name) in [
        ("(module (memory 1 1 shared))", "threads"),
        ("(module (memory 1) (func i32.const 0 i32.atomic.load drop))", "threads"),
    ] {
        let error = Module::new(&engine, wat).expect_err(wat);
        let text = format!("{error:#}").to_lowercase();
        let words = name.to_lowercase();
        assert!(text.contains(words.trim_end_matches('s')), "{wat}: {text}");
        assert!(text.contains("offset"), "{wat}: {text}");
    }
}

#[test]
fn proposals_can_be_turned_off() {
    let engine = crate::support::engine(|config| {
        config.wasm_multi_value(false).wasm_bulk_memory(false).wasm_reference_types(false);
        config.wasm_simd(false).wasm_multi_memory(false).wasm_memory64(false);
        config.wasm_gc(false).wasm_exceptions(false).wasm_tail_call(false);
    });
    for (wat, name) in [
        ("(module (func (result i32 i32) i32.const 1 i32.const 2))", "multi-value"),
        (
            "(module (memory 1) (func i32.const 0 i32.const 0 i32.const 0 memory.fill))",
            "bulk memory",
        ),
        ("(module (func ref.null extern drop))", "reference types"),
        ("(module (memory 1) (memory 1))", "multiple memories"),
        ("(module (memory i64 1))", "memory64"),
        ("(module (type (struct)))", "gc"),
        ("(module (tag))", "exceptions"),
        ("(module (func return_call 0))", "tail call"),
        ("(module (table i64 1 funcref))", "memory64"),
        ("(module (func (param v128)))", "SIMD"),
        ("(module (func v128.const i64x2 0 0 drop))", "SIMD"),
        (
            "(module (func (local v128)
                local.get 0 local.get 0 i8x16.relaxed_swizzle drop))",
            "SIMD",
        ),
    ] {
        let text = format!("{:#}", Module::new(&engine, wat).unwrap_err());
        assert!(text.contains(name), "{wat}: {text}");
        Module::new(&Engine::default(), wat).unwrap();
    }
    Module::new(&engine, "(module (memory 1) (func (param i32) (result i32) local.get 0))")
        .unwrap();
}

#[test]
fn huge_declarations_are_errors_or_cheap() {
    let engine = Engine::default();
    // Counts that the bytes behind them do not hold.
    for section in 1..=12_u8 {
        for count in [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0x80, 0x80, 0x80, 0x08], &[0xff, 0x7f]]
        {
            let mut wasm = b"\0asm\x01\0\0\0".to_vec();
            wasm.extend([section, count.len() as u8]);
            wasm.extend(count);
            assert!(Module::from_binary(&engine, &wasm).is_err(), "section {section}, {count:?}");
        }
    }
    // A function with more locals than any may have.
    let mut wasm =
        b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x0a\x0a\x01\x08\x01".to_vec();
    wasm.extend([0xff, 0xff, 0xff, 0xff, 0x0f, 0x7f, 0x0b]);
    let text = format!("{:#}", Module::from_binary(&engine, &wasm).unwrap_err());
    assert!(text.contains("locals") && text.contains("offset"), "{text}");
    // 4 GiB of memory are address space only; a table has a limit of ours.
    let (mut store, instance) = instantiate(
        &engine,
        r#"(module (memory (export "m") 65536) (data (i32.const -4) "last"))"#,
    );
    let memory = instance.get_memory(&mut store, "m").unwrap();
    assert_eq!((memory.size(&store), memory.data_size(&store)), (65536, 1 << 32));
    assert_eq!(memory.data(&store)[(1 << 32) - 4..], *b"last");
    for elements in [u32::MAX, 10_000_001] {
        let wat = format!("(module (table {elements} funcref))");
        let text = match Module::new(&engine, &wat) {
            Ok(module) => Instance::new(&mut store, &module, &[]).unwrap_err(),
            Err(error) => error,
        };
        let text = format!("{text:#}");
        assert!(text.contains("table"), "{text}");
    }
    assert!(Memory::new(&mut store, MemoryType::new(65537, None)).is_err());
    assert!(Memory::new(&mut store, MemoryType::new(2, Some(1))).is_err());
}

#[test]
fn missing_and_mistyped_imports_name_both_sides() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "func", |_: i32| 1_i64).unwrap();
    let memory = Memory::new(&mut store, MemoryType::new(1, Some(2))).unwrap();
    linker.define("host", "memory", memory).unwrap();
    for (import, parts) in [
        (
            r#"(import "host" "gone" (func (param f32)))"#,
            &["host::gone", "function [f32] -> []"][..],
        ),
        (r#"(import "no" "func" (func))"#, &["no::func", "function [] -> []"]),
        (
            r#"(import "host" "func" (func (param i64)))"#,
            &["host::func", "function [i64] -> []", "function [i32] -> [i64]"],
        ),
        (
            r#"(import "host" "func" (global (mut i32)))"#,
            &["host::func", "global mut i32", "function [i32] -> [i64]"],
        ),
        (
            r#"(import "host" "memory" (func))"#,
            &["host::memory", "function [] -> []", "memory (at least 1"],
        ),
        (
            r#"(import "host" "memory" (memory 2))"#,
            &["host::memory", "memory (at least 2", "memory (at least 1"],
        ),
        (r#"(import "host" "memory" (memory 1 1))"#, &["host::memory", "at most 1", "at most 2"]),
        (
            r#"(import "host" "memory" (table 1 externref))"#,
            &["table of externref (at least 1", "memory"],
        ),
    ] {
        let module = Module::new(&engine, format!("(module {import})")).unwrap();
        let error = linker.instantiate(&mut store, &module).unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "{import}: {error}");
        }
    }
    let module = Module::new(&engine, r#"(module (import "" "" (func)))"#).unwrap();
    for imports in [&[][..], &[memory.into(), memory.into()]] {
        let error = Instance::new(&mut store, &module, imports).unwrap_err().to_string();
        assert!(
            error.contains("1 imports") && error.contains(&imports.len().to_string()),
            "{error}"
        );
    }
    let error = Instance::new(&mut store, &module, &[memory.into()]).unwrap_err().to_string();
    assert!(error.contains("function [] -> []") && error.contains("memory"), "{error}");
}

#[test]
fn arguments_of_the_wrong_number_or_type_are_errors_without_a_call() {
    for is_async in [false, true] {
        let engine = crate::support::engine(|config| {
            config.async_support(is_async);
        });
        let mut store = Store::new(&engine, 0);
        let ty = lampwick::FuncType::new([lampwick::ValType::I32, lampwick::ValType::F64], []);
        let func = Func::new(&mut store, ty, |mut caller, _, _| {
            *caller.data_mut() += 1;
            Ok(())
        });
        for (args, part) in [
            (&[][..], "expected 2 arguments, found 0"),
            (&[Val::I32(1)], "expected 2 arguments, found 1"),
            (&[Val::I32(1), Val::F64(0), Val::I32(1)], "expected 2 arguments, found 3"),
            (&[Val::I32(1), Val::I32(1)], "argument 1: expected a value of type f64, found i32"),
            (
                &[Val::null(), Val::F64(0)],
                "argument 0: expected a value of type i32, found externref",
            ),
        ] {
            let result = match is_async {
                false => func.call(&mut store, args),
                true => block_on(func.call_async(&mut store, args)),
            };
            let text = format!("{:#}", result.unwrap_err());
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(*store.data(), 0, "no call was made");
    }
}

#[test]
fn exports_that_are_missing_or_of_another_kind_are_errors() {
    let (mut store, instance) = instantiate(
        &Engine::default(),
        r#"(module (memory (export "m") 1) (func (export "f") (param i32)))"#,
    );
    let text = instance.get_typed_func::<(), (), _>(&mut store, "g").unwrap_err().to_string();
    assert!(text.contains("`g`"), "{text}");
    assert!(instance.get_typed_func::<(), (), _>(&mut store, "m").is_err());
    let text =
        format!("{:#}", instance.get_typed_func::<i64, i32, _>(&mut store, "f").unwrap_err());
    assert!(
        text.contains("`f`") && text.contains("[i32] -> []") && text.contains("[i64] -> [i32]"),
        "{text}"
    );
    assert!(instance.get_func(&mut store, "m").is_none());
    assert!(instance.get_memory(&mut store, "f").is_none());
    assert!(instance.get_table(&mut store, "f").is_none());
    assert!(instance.get_global(&mut store, "f").is_none());
    assert!(matches!(instance.get_export(&mut store, "m"), Some(Extern::Memory(_))));
}
