//! Modules of one engine that pass functions of declared types to one another.

use super::ids_in_use;
use crate::config::Config;
use crate::engine::Engine;
use crate::externs::{Extern, Table};
use crate::func::Func;
use crate::instance::Instance;
use crate::module::Module;
use crate::store::Store;
use crate::trap::{Trap, TrapCode};
use crate::types::{HeapType, RefType, TableType, ValType};
use crate::values::Val;

fn engine() -> Engine {
    Engine::new(Config::new().wasm_function_references(true).wasm_gc(true)).unwrap()
}

/// A module that exports a function `f` of type `$t`, which `types` declares.
fn exporter(engine: &Engine, types: &str) -> Module {
    Module::new(engine, format!(r#"(module {types} (func (export "f") (type $t) unreachable))"#))
        .unwrap_or_else(|error| panic!("{types}: {error:?}"))
}

/// Whether what `found` declares as `$t` is what a module wants that declares it as `expected`.
fn fits(engine: &Engine, found: &str, expected: &str) -> bool {
    let found = exporter(engine, found);
    let import = format!(r#"(module {expected} (import "" "f" (func (type $t))))"#);
    let importer = Module::new(engine, import).unwrap();
    let mut store = Store::new(engine, ());
    let f = Instance::new(&mut store, &found, &[]).unwrap().get_func(&mut store, "f").unwrap();
    match Instance::new(&mut store, &importer, &[f.into()]) {
        Ok(_) => true,
        Err(error) => {
            assert!(format!("{error:?}").contains("incompatible import type"), "{error:?}");
            false
        }
    }
}

#[test]
fn equal_groups_of_two_modules_are_one() {
    let engine = engine();
    let group = "(rec (type $t (func (param (ref null $u)))) (type $u (func (result (ref $t)))))";
    let same = "(type (func (param i64)))
        (rec (type $x (func (param (ref null 2)))) (type (func (result (ref $x)))))
        (type $t (func))";
    assert!(fits(&engine, group, group));
    assert!(fits(&engine, group, &same.replace("$t", "$other").replace("$x", "$t")));
    for other in [
        // Each differs in one thing.
        "(rec (type $t (func (param (ref $u)))) (type $u (func (result (ref $t)))))",
        "(rec (type $u (func (result (ref $t)))) (type $t (func (param (ref null $u)))))",
        "(rec (type $t (func (param (ref null $u)))) (type $u (func (result (ref $t)))) (type (func)))",
        "(rec (type $t (func (param (ref null $u)))) (type $u (sub (func (result (ref $t))))))",
        "(rec (type $t (func (param (ref null $u)))) (type $u (func (result (ref $u)))))",
        "(rec (type $t (func (param (ref null $t)))) (type $u (func (result (ref $t)))))",
    ] {
        assert!(!fits(&engine, group, other) && !fits(&engine, other, group), "{other}");
    }
    assert_eq!(ids_in_use(engine.types()), 0);
}

#[test]
fn imports_may_be_of_subtypes() {
    let engine = engine();
    let types = |t: &str| {
        format!(
            "(type $a (sub (func))) (type $b (sub $a (func))) (type $c (sub final $b (func))) {t}"
        )
    };
    let named = |name: &str| types("").replace(name, "$t");
    for (found, expected, fit) in [
        ("$a", "$a", true),
        ("$b", "$a", true),
        ("$c", "$a", true),
        ("$c", "$b", true),
        ("$a", "$b", false),
        ("$b", "$c", false),
    ] {
        assert_eq!(fits(&engine, &named(found), &named(expected)), fit, "{found} for {expected}");
    }
    assert!(!fits(&engine, "(type $t (func))", &named("$a")), "what extends nothing stands alone");
    assert!(!fits(&engine, &named("$c"), "(type $t (func))"));
}

#[test]
fn indirect_calls_take_subtypes() {
    let engine = engine();
    let text = r#"(module
        (type $a (sub (func (result i32))))
        (type $b (sub $a (func (result i32))))
        (type $c (sub final $b (func (result i32))))
        (type $other (sub final $a (func (result i32))))
        (type $plain (func (result i32)))
        (table funcref (elem $fa $fb $fc $fo $fp))
        (func $fa (type $a) (i32.const 0)) (func $fb (type $b) (i32.const 1))
        (func $fc (type $c) (i32.const 2)) (func $fo (type $other) (i32.const 3))
        (func $fp (type $plain) (i32.const 4))
        (func (export "a") (param i32) (result i32) (call_indirect (type $a) (local.get 0)))
        (func (export "b") (param i32) (result i32) (call_indirect (type $b) (local.get 0)))
        (func (export "c") (param i32) (result i32) (call_indirect (type $c) (local.get 0)))
        (func (export "other") (param i32) (result i32) (call_indirect (type $other) (local.get 0)))
        (func (export "plain") (param i32) (result i32) (call_indirect (type $plain) (local.get 0))))"#;
    let module = Module::new(&engine, text).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    for (name, callable) in
        [("a", &[0, 1, 2, 3][..]), ("b", &[1, 2]), ("c", &[2]), ("other", &[3]), ("plain", &[4])]
    {
        let call = instance.get_typed_func::<i32, i32, _>(&mut store, name).unwrap();
        for index in 0..5 {
            match call.call(&mut store, index) {
                Ok(result) => {
                    assert_eq!(result, index);
                    assert!(callable.contains(&index), "{name} called {index}");
                }
                Err(trap) => {
                    assert_eq!(trap.trap_code(), Some(TrapCode::BadSignature));
                    assert!(!callable.contains(&index), "{name} did not call {index}");
                }
            }
        }
    }
}

/// The host's function of a declared type is of that type, whoever made the type.
#[test]
fn the_host_gives_functions_of_declared_types() {
    let engine = engine();
    let types = "(type $a (sub (func))) (type $t (sub $a (func)))";
    let import = format!(
        r#"(module {types} (import "" "f" (func $f (type $t)))
        (table 1 funcref) (elem (i32.const 0) $f)
        (func (export "run") (call_indirect (type $a) (i32.const 0))))"#
    );
    let module = Module::new(&engine, import).unwrap();
    let mut store = Store::new(&engine, 0);
    let ty = module.imports().next().unwrap().ty().unwrap_func().clone();
    let count = Func::new(&mut store, ty.clone(), |mut caller, _, _| {
        *caller.data_mut() += 1;
        Ok(())
    });
    assert_eq!(count.ty(&store), ty);
    let instance = Instance::new(&mut store, &module, &[count.into()]).unwrap();
    instance.get_typed_func::<(), (), _>(&mut store, "run").unwrap().call(&mut store, ()).unwrap();
    assert_eq!(*store.data(), 1);
    let plain = Func::wrap(&mut store, || {});
    assert_ne!(plain.ty(&store), ty);
    assert!(Instance::new(&mut store, &module, &[plain.into()]).is_err());
}

/// A type lives as long as a table of the host is of it, and is told from those that come after.
#[test]
fn types_outlive_the_modules_that_declared_them() {
    let engine = engine();
    let types = "(type $a (sub (func))) (type $t (sub $a (func)))";
    let element = {
        let module = exporter(&engine, types);
        let Some(declared) = module.exports().next().unwrap().ty().unwrap_func().declared() else {
            panic!("the type is not declared");
        };
        ValType::from(RefType::new(true, HeapType::Concrete(declared)))
    };
    assert_eq!(ids_in_use(engine.types()), 0);
    let mut store = Store::new(&engine, ());
    let ty = || TableType::new(element, 1, None);
    let stale = Table::new(&mut store, ty(), Val::FuncRef(None)).unwrap_err().to_string();
    assert!(stale.contains("all modules that declare it are gone"), "{stale}");

    let module = exporter(&engine, types);
    let f = Instance::new(&mut store, &module, &[]).unwrap().get_func(&mut store, "f").unwrap();
    let element = ValType::from(RefType::new(
        true,
        HeapType::Concrete(f.ty(&store).declared().expect("a declared type")),
    ));
    let table = Table::new(&mut store, TableType::new(element, 1, None), f.into()).unwrap();
    // Here the store keeps the types alone.
    drop(module);
    assert_eq!(ids_in_use(engine.types()), 2);
    let other = exporter(&engine, "(type $t (sub (func)))");
    let g = Instance::new(&mut store, &other, &[]).unwrap().get_func(&mut store, "f").unwrap();
    let error = table.set(&mut store, 0, g.into()).unwrap_err().to_string();
    assert!(error.contains("found one of another type"), "{error}");
    let import = format!(
        r#"(module {types} (import "" "t" (table 1 (ref null $t)))
        (func (export "run") (call_indirect (type $a) (i32.const 0))))"#
    );
    let importer = Module::new(&engine, import).unwrap();
    let user = Instance::new(&mut store, &importer, &[Extern::from(table)]).unwrap();
    let run = user.get_typed_func::<(), (), _>(&mut store, "run").unwrap();
    let code = run.call(&mut store, ()).unwrap_err().trap_code();
    assert_eq!(code, Some(TrapCode::UnreachableCodeReached), "the right function was called");
    drop((store, other, importer));
    assert_eq!(ids_in_use(engine.types()), 0);
}

#[test]
fn artifacts_name_types_by_their_place() {
    let text = r#"(module
        (type (func)) (rec) (rec (type $t (func (param (ref null $u)))) (type $u (sub (func))))
        (type $s (struct (field i8) (field (mut (ref null $s))))) (type $a (array (mut i16)))
        (rec (type (sub (array (ref $t)))) (type (sub $u (func))))
        (import "" "g" (global (ref null $a)))
        (global (ref null $s) (ref.null $s))
        (table (export "t") 3 (ref null $u))
        (func (export "f") (type $t)))"#;
    let (one, other) = (engine(), engine());
    // The other engine gives other ids.
    let _shift = exporter(&other, "(type $t (sub (func)))");
    let module = Module::new(&one, text).unwrap();
    let artifact = module.serialize().unwrap();
    assert_eq!(artifact, one.precompile_module(&wat::parse_str(text).unwrap()).unwrap());
    // SAFETY: `serialize` made them.
    let [same, again] =
        [&one, &other].map(|engine| unsafe { Module::deserialize(engine, &artifact) }.unwrap());
    for module in [&same, &again] {
        assert_eq!(module.serialize().unwrap(), artifact);
    }
    let export = |module: &Module, name| module.get_export(name).unwrap();
    for name in ["t", "f"] {
        assert_eq!(export(&module, name), export(&same, name));
        assert_ne!(export(&module, name), export(&again, name));
    }
}

#[test]
fn the_deepest_chain_and_one_deeper() {
    let engine = engine();
    let chain = |len: usize| {
        let types = (1..len).map(|index| format!("(type (sub {} (func)))", index - 1));
        let types: String = types.collect();
        format!(
            r#"(module (type (sub (func))) {types} (table funcref (elem $f))
            (func $f (type {}))
            (func (export "root") (call_indirect (type 0) (i32.const 0)))
            (func (export "above") (call_indirect (type {}) (i32.const 0))))"#,
            len - 1,
            len - 2,
        )
    };
    let deepest = Module::new(&engine, chain(63)).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &deepest, &[]).unwrap();
    for name in ["root", "above"] {
        let call = instance.get_typed_func::<(), (), _>(&mut store, name).unwrap();
        call.call(&mut store, ()).unwrap_or_else(|trap: Trap| panic!("{name}: {trap}"));
    }
    assert!(Module::new(&engine, chain(65)).is_err());
}

/// A module whose type section is one recursive group of so many functions, each of which takes the
/// next one.
fn one_group(types: u32) -> Vec<u8> {
    let leb = |mut value: u32, to: &mut Vec<u8>| {
        while value >= 0x80 {
            to.push(value as u8 | 0x80);
            value >>= 7;
        }
        to.push(value as u8);
    };
    // One group of types; a function without results takes `(ref index)`, a signed number.
    let mut section = vec![1, 0x4e];
    leb(types, &mut section);
    for index in 0..types {
        section.extend([0x60, 1, 0x64]);
        let next = (index + 1) % types;
        section.extend([
            next as u8 | 0x80,
            (next >> 7) as u8 | 0x80,
            (next >> 14) as u8 | 0x80,
            0,
            0,
        ]);
    }
    let mut module = b"\0asm\x01\0\0\0\x01".to_vec();
    leb(section.len() as u32, &mut module);
    module.extend(section);
    module
}

#[test]
fn a_group_of_a_million_types_is_one_group() {
    let engine = engine();
    let types = if cfg!(debug_assertions) { 50_000 } else { 1_000_000 };
    let wasm = one_group(types);
    let first = Module::from_binary(&engine, &wasm).unwrap();
    assert_eq!(ids_in_use(engine.types()), types as usize);
    let again = Module::from_binary(&engine, &wasm).unwrap();
    assert_eq!(ids_in_use(engine.types()), types as usize);
    drop(first);
    assert_eq!(ids_in_use(engine.types()), types as usize, "the other module uses them");
    drop(again);
    assert_eq!(ids_in_use(engine.types()), 0);
    let error = Module::from_binary(&engine, &one_group(1_000_001)).unwrap_err();
    assert!(format!("{error:#}").contains("size is out of bounds"), "{error:#}");
}
