//! Modules to artifacts and back: the same bytes, and the same behaviour.

use std::fs;
use std::path::PathBuf;

use lampwick::{Config, Engine, Func, Instance, Linker, Module, Store, Trap, Val};
use tempfile::TempDir;

use crate::programs;
use crate::support::{async_metered, block_on, directory, engine, metered, poll};

/// A guest with something of everything.
const GUEST: &str = r#"(module $guest
    (type $binary (func (param i32 i32) (result i32)))
    (import "host" "f" (func $f (param i64)))
    (import "host" "g" (global $imported i32))
    (memory (export "memory") 1 4) (data $text "some bytes") (data (i32.const 8) "\01\02\03")
    (table (export "table") 10 20 funcref) (elem (i32.const 1) $add $f) (elem declare func $unnamed)
    (table $refs 3 externref)
    (global (export "global") (mut f64) (f64.const 1.5)) (global $g i32 (global.get $imported))
    (start $start)
    (func $start (i32.store (i32.const 100) (i32.const 77)))
    (func $unnamed (drop (ref.func $unnamed)))
    (func $add (export "add") (type $binary) (i32.add (local.get 0) (local.get 1)))
    (func $load (export "load") (param i32) (result i32) (i32.load (local.get 0)))
    (func (export "deep") (param i32) (result i32) (call $load (call $load (local.get 0))))
    (func (export "div") (type $binary) (i32.div_s (local.get 0) (local.get 1)))
    (func (export "indirect") (type $binary)
        (call_indirect (type $binary) (local.get 0) (local.get 1) (local.get 0)))
    (func (export "init") (result i32)
        (memory.init $text (i32.const 0) (i32.const 0) (i32.const 10))
        (data.drop $text) (i32.load8_u (i32.const 3)))
    (func (export "call") (call $f (i64.const 5)))
    (func (export "forever") (loop (br 0)))
    (func (export "trap") unreachable)
    (func (export "many") (result i32 i64 f32 f64 i32 i32)
        (i32.const 1) (i64.const 2) (f32.const 3) (f64.const 4) (global.get $g) (i32.const 6)))"#;

/// A file in a directory that is deleted with it.
fn file(bytes: &[u8]) -> (TempDir, PathBuf) {
    let (directory, path) = directory();
    let path = path.join("artifact");
    fs::write(&path, bytes).unwrap();
    (directory, path)
}

/// The module that the bytes of an artifact give.
fn deserialize(engine: &Engine, artifact: &[u8]) -> Module {
    // SAFETY: tests pass what `serialize` gave them.
    unsafe { Module::deserialize(engine, artifact) }.unwrap()
}

/// A module through an artifact in a file, which is deleted as soon as it is mapped.
fn through_file(engine: &Engine, wasm: &[u8]) -> Module {
    let (_directory, path) = file(&engine.precompile_module(wasm).unwrap());
    // SAFETY: the file is what `precompile_module` gave, and is not changed.
    unsafe { Module::deserialize_file(engine, path) }.unwrap()
}

/// Everything that calls of a guest show: results, traps with backtraces, fuel.
fn behaviour(engine: &Engine, module: &Module) -> Vec<String> {
    let mut store = Store::new(engine, ());
    store.add_fuel(10_000).unwrap();
    let mut linker = Linker::new(engine);
    linker.func_wrap("host", "f", |x: i64| Err::<(), _>(Trap::new(format!("told {x}")))).unwrap();
    let ty = lampwick::GlobalType::new(lampwick::ValType::I32, lampwick::Mutability::Const);
    let global = lampwick::Global::new(&mut store, ty, Val::I32(9)).unwrap();
    linker.define("host", "g", global).unwrap();
    let instance = linker.instantiate(&mut store, module).unwrap();
    let mut seen = vec![format!("{:?} {:?}", module.name(), store.fuel_consumed())];
    seen.extend(module.imports().map(|import| format!("{import:?}")));
    seen.extend(module.exports().map(|export| format!("{export:?}")));
    for (name, args) in [
        ("add", &[3, 4][..]),
        ("load", &[100]),
        ("load", &[8]),
        ("load", &[65_533]),
        ("deep", &[0]),
        ("deep", &[-1]),
        ("div", &[7, 2]),
        ("div", &[7, 0]),
        ("div", &[i32::MIN, -1]),
        ("indirect", &[1, 5]),
        ("indirect", &[2, 5]),
        ("indirect", &[3, 5]),
        ("indirect", &[30, 5]),
        ("init", &[]),
        ("init", &[]),
        ("call", &[]),
        ("trap", &[]),
        ("many", &[]),
        ("forever", &[]),
    ] {
        let args: Vec<Val> = args.iter().map(|&arg| Val::I32(arg)).collect();
        let function = instance.get_func(&mut store, name).unwrap();
        let result = function.call(&mut store, &args).map_err(|error| format!("{error:#}"));
        seen.push(format!("{name} {args:?}: {result:?} {:?}", store.fuel_consumed()));
    }
    seen
}

#[test]
fn a_module_behaves_the_same_after_each_way() {
    let dynamic = |config: &mut Config| {
        config.consume_fuel(true).static_memory_maximum_size(0);
    };
    for engine in [metered(), engine(dynamic)] {
        let compiled = Module::new(&engine, GUEST).unwrap();
        let expected = behaviour(&engine, &compiled);
        assert!(expected.iter().any(|line| line.contains("guest!load")));
        let artifact = compiled.serialize().unwrap();
        let copied = deserialize(&engine, &artifact);
        assert_eq!(behaviour(&engine, &copied), expected);
        assert_eq!(behaviour(&engine, &through_file(&engine, GUEST.as_bytes())), expected);
        // Another engine of the same configuration is as good, and so is a copy of a copy.
        let other = Engine::new(engine.config()).unwrap();
        let again = deserialize(&other, &copied.serialize().unwrap());
        assert_eq!(behaviour(&other, &again), expected);
    }
}

#[test]
fn programs_compute_the_same_on_the_same_fuel() {
    for program in programs::programs() {
        programs::check(Config::new().consume_fuel(true), &program, through_file);
        programs::check(&mut Config::new(), &program, through_file);
    }
}

#[test]
fn artifacts_are_the_same_however_they_are_made() {
    let alone = engine(|config| {
        config.consume_fuel(true).parallel_compilation(false).cranelift_debug_verifier(false);
    });
    for wasm in [GUEST.as_bytes(), include_bytes!("guests/json.wasm"), b"(module)"] {
        let engine = metered();
        let module = Module::new(&engine, wasm).unwrap();
        let artifact = module.serialize().unwrap();
        assert!(artifact == module.serialize().unwrap());
        assert!(artifact == engine.precompile_module(wasm).unwrap());
        assert!(artifact == alone.precompile_module(wasm).unwrap());
        assert!(artifact == deserialize(&engine, &artifact).serialize().unwrap());
    }
}

#[test]
fn a_new_name_is_kept() {
    let engine = Engine::default();
    let module = Module::new_with_name(&engine, GUEST, "another").unwrap();
    let module = deserialize(&engine, &module.serialize().unwrap());
    assert_eq!(module.name(), Some("another"));
}

#[test]
fn names_may_hold_anything() {
    let engine = Engine::default();
    let long = "n".repeat(100_000);
    let text = format!(
        r#"(module (func $"\00" (export "f") unreachable) (func $"{long}") (func $"\u{{7f}}ELF"))"#
    );
    let module = deserialize(&engine, &engine.precompile_module(text.as_bytes()).unwrap());
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let f = instance.get_typed_func::<(), (), _>(&mut store, "f").unwrap();
    assert_eq!(f.call(&mut store, ()).unwrap_err().trace()[0].func_name(), Some("\0"));
}

#[test]
fn one_artifact_serves_synchronous_and_async_engines() {
    let text = r#"(module (func (export "run") (param i32)
        (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))"#;
    let artifact = metered().precompile_module(text.as_bytes()).unwrap();
    let engine = async_metered();
    let module = deserialize(&engine, &artifact);
    let mut store = Store::new(&engine, ());
    store.out_of_fuel_async_yield(u64::MAX, 100);
    block_on(async {
        let instance = Instance::new_async(&mut store, &module, &[]).await.unwrap();
        let run = instance.get_typed_func::<i32, (), _>(&mut store, "run").unwrap();
        run.call_async(&mut store, 1000).await.unwrap();
    });
}

/// Types have ids that each engine gives out as it meets them.
#[test]
fn types_are_known_by_what_they_are() {
    const CALLEE: &str = r#"(module (type (func)) (type $a (func (param i64) (result i64)))
        (type $b (func (param i32) (result i64))) (table (export "table") 2 funcref)
        (elem (i32.const 0) $a $b)
        (func $a (type $a) (i64.add (local.get 0) (i64.const 1)))
        (func $b (type $b) (i64.extend_i32_u (local.get 0))))"#;
    const CALLER: &str = r#"(module (import "" "table" (table 2 funcref))
        (type $b (func (param i32) (result i64))) (type $a (func (param i64) (result i64)))
        (func (export "a") (param i32) (result i64)
            (call_indirect (type $a) (i64.const 41) (local.get 0)))
        (func (export "b") (param i32) (result i64)
            (call_indirect (type $b) (i32.const 7) (local.get 0))))"#;
    let first = Engine::default();
    let artifacts = [CALLEE, CALLER].map(|wat| first.precompile_module(wat.as_bytes()).unwrap());
    for order in [[0, 1], [1, 0]] {
        let engine = Engine::default();
        // Other types take the first ids.
        let types = r#"(module (func (param f32)) (func (param i32) (result i64) unreachable))"#;
        let _others = Module::new(&engine, types).unwrap();
        let mut modules = [None, None];
        for index in order {
            modules[index] = Some(deserialize(&engine, &artifacts[index]));
        }
        let [callee, caller] = modules.map(Option::unwrap);
        let mut store = Store::new(&engine, ());
        let callee = Instance::new(&mut store, &callee, &[]).unwrap();
        let table = callee.get_table(&mut store, "table").unwrap();
        let caller = Instance::new(&mut store, &caller, &[table.into()]).unwrap();
        for (name, index, expected) in
            [("a", 0, Some(42)), ("a", 1, None), ("b", 0, None), ("b", 1, Some(7))]
        {
            let call = caller.get_typed_func::<i32, i64, _>(&mut store, name).unwrap();
            let result = call.call(&mut store, index);
            match expected {
                Some(expected) => assert_eq!(result.unwrap(), expected),
                None => {
                    let code = result.unwrap_err().trap_code();
                    assert_eq!(code, Some(lampwick::TrapCode::BadSignature));
                }
            }
        }
        let Some(Val::FuncRef(Some(function))) = table.get(&mut store, 0) else {
            panic!("a function")
        };
        assert_eq!(function.call(&mut store, &[Val::I64(1)]).unwrap()[0].unwrap_i64(), 2);
    }
}

#[test]
fn instances_outlive_module_and_file() {
    let engine = metered();
    let (directory, path) = file(&engine.precompile_module(GUEST.as_bytes()).unwrap());
    let mut stores = Vec::new();
    for _ in 0..2 {
        // SAFETY: the file is not changed, only deleted.
        let module = unsafe { Module::deserialize_file(&engine, &path) }.unwrap();
        let mut store = Store::new(&engine, ());
        store.add_fuel(1000).unwrap();
        let f = Func::wrap(&mut store, |_: i64| {});
        let ty = lampwick::GlobalType::new(lampwick::ValType::I32, lampwick::Mutability::Const);
        let global = lampwick::Global::new(&mut store, ty, Val::I32(9)).unwrap();
        let instance = Instance::new(&mut store, &module, &[f.into(), global.into()]).unwrap();
        stores.push((store, instance));
    }
    directory.close().unwrap();
    drop(engine);
    for (mut store, instance) in stores {
        let init = instance.get_typed_func::<(), i32, _>(&mut store, "init").unwrap();
        assert_eq!(init.call(&mut store, ()).unwrap(), i32::from(b'e'));
        let deep = instance.get_typed_func::<i32, i32, _>(&mut store, "deep").unwrap();
        let trap = deep.call(&mut store, -1).unwrap_err();
        assert!(trap.to_string().contains("guest!load"), "{trap}");
    }
}

#[test]
fn suspended_guests_outlive_module_and_file() {
    let engine = async_metered();
    let text = r#"(module (data $d "abc") (memory 1) (func (export "run")
        (loop (memory.init $d (i32.const 0) (i32.const 0) (i32.const 3)) (br 0))))"#;
    let module = through_file(&engine, text.as_bytes());
    let mut store = Store::new(&engine, ());
    store.out_of_fuel_async_yield(u64::MAX, 100);
    let instance = block_on(Instance::new_async(&mut store, &module, &[])).unwrap();
    let run = instance.get_typed_func::<(), (), _>(&mut store, "run").unwrap();
    let mut call = Box::pin(run.call_async(&mut store, ()));
    assert!(poll(call.as_mut()).is_pending());
    drop((module, engine));
    assert!((0..10).all(|_| poll(call.as_mut()).is_pending()));
    // Dropped in the middle, and called anew.
    drop(call);
    let mut call = Box::pin(run.call_async(&mut store, ()));
    assert!((0..10).all(|_| poll(call.as_mut()).is_pending()));
}

#[test]
fn only_the_text_of_a_file_is_executable() {
    let engine = Engine::default();
    let (_directory, path) = file(&engine.precompile_module(GUEST.as_bytes()).unwrap());
    // SAFETY: the file is not changed.
    let module = unsafe { Module::deserialize_file(&engine, &path) }.unwrap();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let path = path.to_str().unwrap();
    let ours: Vec<&str> = maps.lines().filter(|line| line.ends_with(path)).collect();
    let access: Vec<&str> =
        ours.iter().map(|line| &line[line.find(' ').unwrap()..][1..5]).collect();
    assert_eq!(access, ["r--p", "r-xp", "r--p"], "{ours:#?}");
    drop(module);
    assert!(!fs::read_to_string("/proc/self/maps").unwrap().contains(path));
}
