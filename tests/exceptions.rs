//! Exceptions: what catches them, what they carry, and where they end.

use lampwick::{
    AsContextMut, Caller, Config, Engine, Exception, Extern, ExternRef, ExternType, Func, FuncType,
    Instance, Linker, Module, OptLevel, Store, Tag, TagType, Trap, Val, ValType,
};

use crate::support::{engine, instantiate, metered, trap};

/// Each kind of clause, around a throw of the same function and one of another.
const KINDS: &str = r#"(module
    (tag $a (export "a") (param i32 i64))
    (tag $b (export "b"))
    (func $throw (param i32)
        (if (i32.eq (local.get 0) (i32.const 0)) (then (throw $a (i32.const 7) (i64.const 8))))
        (if (i32.eq (local.get 0) (i32.const 1)) (then (throw $b))))
    (func (export "catch") (param i32) (result i32)
        (block $h (result i32 i64)
            (try_table (catch $a $h) (call $throw (local.get 0)))
            (return (i32.const -1)))
        (i32.add (i32.wrap_i64)))
    (func (export "catch_ref") (param i32) (result i32)
        (block $h (result i32 i64 exnref)
            (try_table (catch_ref $a $h) (call $throw (local.get 0)))
            (return (i32.const -1)))
        (drop) (i32.add (i32.wrap_i64)))
    (func (export "catch_all") (param i32) (result i32)
        (block $h
            (try_table (catch_all $h) (call $throw (local.get 0)))
            (return (i32.const -1)))
        (i32.const 100))
    (func (export "catch_all_ref") (param i32) (result i32)
        (block $h (result exnref)
            (try_table (catch_all_ref $h) (call $throw (local.get 0)))
            (return (i32.const -1)))
        (throw_ref))
    (func (export "nested") (param i32) (result i32)
        (block $b
            (block $a (result i32 i64)
                (try_table (catch $b $b)
                    (try_table (catch $a $a) (call $throw (local.get 0))))
                (return (i32.const -1)))
            (return (i32.wrap_i64) (i32.add)))
        (i32.const 200))
    (func (export "inside") (result i32)
        (block $h (result i32 i64)
            (try_table (catch $a $h) (throw $a (i32.const 1) (i64.const 2)))
            (unreachable))
        (i32.wrap_i64) (i32.add)))"#;

/// What a call answers, or the exception that nobody caught.
fn call(
    store: &mut Store<()>,
    instance: &Instance,
    name: &str,
    args: &[Val],
) -> Result<i32, Exception> {
    let func = instance.get_func(&mut *store, name).unwrap();
    match func.call(store, args) {
        Ok(values) => Ok(values[0].unwrap_i32()),
        Err(error) => {
            let trap = trap(error);
            Err(trap.exception().unwrap_or_else(|| panic!("no exception: {trap}")).clone())
        }
    }
}

#[test]
fn each_kind_of_clause_catches_what_it_names() {
    for level in [OptLevel::None, OptLevel::Speed, OptLevel::SpeedAndSize] {
        for metered in [false, true] {
            let engine = engine(|config| {
                config.cranelift_opt_level(level).consume_fuel(metered);
            });
            let (mut store, instance) = instantiate(&engine, KINDS);
            let _ = store.add_fuel(u64::MAX);
            let [a, b] = ["a", "b"].map(|name| instance.get_tag(&mut store, name).unwrap());
            let mut check = |name, results: [Result<i32, Tag>; 3]| {
                for (which, expected) in results.into_iter().enumerate() {
                    let args = [Val::I32(which as i32)];
                    let found = call(&mut store, &instance, name, &args);
                    let found = found.map_err(|exception| exception.tag());
                    assert_eq!(found, expected, "{name} {which}, {level:?}, {metered}");
                }
            };
            check("catch", [Ok(15), Err(b), Ok(-1)]);
            check("catch_ref", [Ok(15), Err(b), Ok(-1)]);
            check("catch_all", [Ok(100), Ok(100), Ok(-1)]);
            check("catch_all_ref", [Err(a), Err(b), Ok(-1)]);
            check("nested", [Ok(15), Ok(200), Ok(-1)]);
            assert_eq!(call(&mut store, &instance, "inside", &[]).unwrap(), 3);
        }
    }
}

#[test]
fn values_of_all_types_come_through() {
    let wat = r#"(module
        (tag $all (export "all")
            (param i32 i64 f32 f64 v128 funcref externref exnref externref))
        (tag $inner (param i32))
        (func $self (export "self"))
        (elem declare func $self)
        (func $throw (param externref exnref)
            (throw $all (i32.const -1) (i64.const -2) (f32.const nan:0x200001) (f64.const -0.5)
                (v128.const i64x2 1 -1) (ref.func $self) (local.get 0) (local.get 1)
                (ref.null extern)))
        (func $exn (result exnref)
            (block $h (result exnref)
                (try_table (catch_all_ref $h) (throw $inner (i32.const 9)))
                (unreachable)))
        (func (export "uncaught") (param externref) (call $throw (local.get 0) (call $exn)))
        (func (export "caught") (param externref)
            (result i32 i64 f32 f64 v128 funcref externref exnref externref)
            (try_table (catch $all 0) (call $throw (local.get 0) (call $exn)))
            (unreachable)))"#;
    let (mut store, instance) = instantiate(&Engine::default(), wat);
    let value = ExternRef::new("a value");
    let arg = [Val::from(value.clone())];
    let caught = instance.get_func(&mut store, "caught").unwrap();
    let caught = caught.call(&mut store, &arg).unwrap();
    let uncaught = instance.get_func(&mut store, "uncaught").unwrap();
    let trap = trap(uncaught.call(&mut store, &arg).unwrap_err());
    assert!(trap.to_string().starts_with("an exception of the guest that nobody caught: I32(-1)"));
    assert_eq!(trap.trap_code(), None);
    assert_eq!(trap.trace().len(), 2, "{trap}");
    let exception = trap.exception().unwrap();
    assert_eq!(exception.tag(), instance.get_tag(&mut store, "all").unwrap());
    for values in [&caught[..], exception.values()] {
        let [i32, i64, f32, f64, v128, func, host, exn, null] = values else { panic!() };
        assert_eq!((i32.unwrap_i32(), i64.unwrap_i64()), (-1, -2));
        assert_eq!((f32.unwrap_f32().to_bits(), f64.unwrap_f64()), (0x7fa0_0001, -0.5));
        assert_eq!(v128.unwrap_v128(), u128::MAX << 64 | 1);
        func.unwrap_funcref().unwrap().call(&mut store, &[]).unwrap();
        assert!(host.unwrap_externref().unwrap().ptr_eq(&value));
        assert!(null.unwrap_externref().is_none());
        let Val::ExnRef(Some(exn)) = exn else { panic!("{exn:?}") };
        assert_ne!(exn.tag(), exception.tag());
    }
}

/// Calls with more arguments and results than registers hold, and locals that live across them.
const PRESSURE: &str = r#"(module
    (tag $t (param i64))
    (func $many (param i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i32)
        (result i64 i64 i64 i64 i64 i64)
        (if (local.get 10) (then (throw $t (local.get 9))))
        (local.get 0) (local.get 1) (local.get 2) (local.get 7) (local.get 8) (local.get 9))
    (func (export "run") (param $throws i32) (result i64)
        (local $a i64) (local $b i64) (local $c i64) (local $d i64) (local $e i64) (local $f i64)
        (local $x f64)
        (local.set $a (i64.const 1)) (local.set $b (i64.const 20)) (local.set $c (i64.const 300))
        (local.set $d (i64.const 4000)) (local.set $e (i64.const 50000)) (local.set $x (f64.const 0.5))
        (block $h (result i64)
            (try_table (result i64) (catch $t $h)
                (local.set $f (i64.const 600000))
                (call $many (local.get $a) (local.get $b) (local.get $c) (local.get $d)
                    (local.get $e) (local.get $f) (i64.const 7) (i64.const 8) (i64.const 9)
                    (i64.const 10) (local.get $throws))
                (i64.add) (i64.add) (i64.add) (i64.add) (i64.add)
                (local.set $a (i64.const 1000000000))
                (call $many (local.get $a) (local.get $b) (local.get $c) (local.get $d)
                    (local.get $e) (local.get $f) (i64.const 7) (i64.const 8) (i64.const 9)
                    (i64.const 10) (i32.const 0))
                (drop) (drop) (drop) (drop) (drop) (i64.add)))
        (i64.add (local.get $a)) (i64.add (local.get $b)) (i64.add (local.get $c))
        (i64.add (local.get $d)) (i64.add (local.get $e)) (i64.add (local.get $f))
        (i64.add (i64.trunc_f64_s (f64.mul (local.get $x) (f64.const 4))))
        (call $many (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0)
            (i64.const 0) (i64.const 0) (i64.const 1) (i64.const 2) (i64.const 3) (i32.const 0))
        (i64.add) (i64.add) (i64.add) (i64.add) (i64.add) (i64.add)))"#;

#[test]
fn locals_have_in_handlers_what_they_had_at_the_call() {
    for level in [OptLevel::None, OptLevel::Speed] {
        for metered in [false, true] {
            let engine = engine(|config| {
                config.cranelift_opt_level(level).consume_fuel(metered);
            });
            let (mut store, instance) = instantiate(&engine, PRESSURE);
            let _ = store.add_fuel(u64::MAX);
            let run = instance.get_typed_func::<i32, i64, _>(&mut store, "run").unwrap();
            let rest = 20 + 300 + 4000 + 50_000 + 600_000 + 2 + 6;
            let first = 1 + 20 + 300 + 8 + 9 + 10;
            assert_eq!(run.call(&mut store, 1).unwrap(), 10 + 1 + rest, "{level:?}");
            let big = 1_000_000_000;
            assert_eq!(run.call(&mut store, 0).unwrap(), first + big + big + rest, "{level:?}");
        }
    }
}

#[test]
fn tags_are_told_apart_by_identity() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let thrower = r#"(module
        (import "host" "t" (tag $t))
        (tag $own (export "own")) (export "t" (tag $t))
        (func (export "host's") (throw $t)) (func (export "its own") (throw $own)))"#;
    let catcher = r#"(module
        (tag $mine)
        (import "thrower" "own" (tag $own)) (import "thrower" "t" (tag $t))
        (import "thrower" "host's" (func $hosts)) (import "thrower" "its own" (func $its_own))
        (func (export "catch") (param i32) (result i32)
            (block $t
                (block $own
                    (block $mine
                        (try_table (catch $mine $mine) (catch $own $own) (catch $t $t)
                            (if (local.get 0) (then (call $hosts)) (else (call $its_own)))))
                    (return (i32.const 0)))
                (return (i32.const 1)))
            (i32.const 2)))"#;
    let catcher = catcher
        .replace("(tag $mine)\n", "")
        .replace("(func (export \"catch\")", "(tag $mine) (func (export \"catch\")");
    let mut linker = Linker::new(&engine);
    let empty = TagType::new(FuncType::new([], []));
    let tag = Tag::new(&mut store, &empty).unwrap();
    linker.define("host", "t", tag).unwrap();
    let thrower = Module::new(&engine, thrower).unwrap();
    let thrower = linker.instantiate(&mut store, &thrower).unwrap();
    assert_eq!(thrower.get_tag(&mut store, "t").unwrap(), tag);
    linker.instance(&mut store, "thrower", thrower).unwrap();
    let catcher = Module::new(&engine, catcher).unwrap();
    let catcher = linker.instantiate(&mut store, &catcher).unwrap();
    assert_eq!(call(&mut store, &catcher, "catch", &[Val::I32(1)]).unwrap(), 2);
    assert_eq!(call(&mut store, &catcher, "catch", &[Val::I32(0)]).unwrap(), 1);
    // The same module once more has other tags.
    let other = linker.instantiate(&mut store, &Module::new(&engine, KINDS).unwrap()).unwrap();
    let another = linker.instantiate(&mut store, &Module::new(&engine, KINDS).unwrap()).unwrap();
    let [one, two] = [other, another].map(|it| it.get_tag(&mut store, "a").unwrap());
    assert_ne!(one, two);
    assert_eq!(one.ty(&store), two.ty(&store));
}

#[test]
fn tags_are_imported_by_type() {
    let engine = Engine::default();
    let module = Module::new(
        &engine,
        r#"(module
        (import "m" "t" (tag $t (param i32 i64))) (export "again" (tag $t)))"#,
    );
    let module = module.unwrap();
    let ty = module.imports().next().unwrap().ty();
    assert_eq!(ty.to_string(), "tag [i32 i64]");
    let right = TagType::new(FuncType::new([ValType::I32, ValType::I64], []));
    assert_eq!(ty, ExternType::from(right.clone()));
    assert_eq!(ty.tag(), Some(&right));
    let mut store = Store::new(&engine, ());
    let tag = Tag::new(&mut store, &right).unwrap();
    assert_eq!(Extern::from(tag).ty(&store).unwrap_tag(), &right);
    let instance = Instance::new(&mut store, &module, &[tag.into()]).unwrap();
    let export = instance.exports(&mut store).next().unwrap();
    assert_eq!(export.clone().into_tag(), Some(tag));
    assert_eq!(export.into_extern().into_tag(), Some(tag));
    assert_eq!(tag.ty(&store).ty(), right.ty());
    let wrong = TagType::new(FuncType::new([ValType::I32], []));
    let wrong = Tag::new(&mut store, &wrong).unwrap();
    let error = Instance::new(&mut store, &module, &[wrong.into()]).unwrap_err().to_string();
    assert!(error.contains("to be a tag [i32 i64], but it is a tag [i32]"), "{error}");
    let mut other = Store::new(&engine, ());
    assert!(Instance::new(&mut other, &module, &[tag.into()]).is_err());
    let results = TagType::new(FuncType::new([], [ValType::I32]));
    let error = Tag::new(&mut store, &results).unwrap_err().to_string();
    assert!(error.contains("has 1 results"), "{error}");
}

#[test]
fn traps_and_errors_of_the_host_are_not_caught() {
    let wat = r#"(module
        (import "host" "fail" (func $fail))
        (memory 1) (table 1 funcref)
        (func $overflow (call $overflow))
        (func $forever (loop (br 0)))
        (func $run (param i32)
            (block (block (block (block (block (block (block (block
                (br_table 0 1 2 3 4 5 6 7 (local.get 0)))
                (unreachable))
                (drop (i32.load (i32.const 70000))) (return))
                (drop (i32.div_s (i32.const 1) (i32.const 0))) (return))
                (call_indirect (i32.const 0)) (return))
                (call $overflow) (return))
                (call $fail) (return))
                (throw_ref (ref.null exn)))
            (call $forever))
        (func (export "run") (param i32) (result i32)
            (block $h
                (try_table (catch_all $h) (call $run (local.get 0)))
                (return (i32.const 0)))
            (i32.const 1)))"#;
    let engine = metered();
    let mut store = Store::new(&engine, ());
    store.add_fuel(10_000_000).unwrap();
    let fail = Func::wrap(&mut store, || -> Result<(), Trap> { Err(Trap::new("no")) });
    let module = Module::new(&engine, wat).unwrap();
    let instance = Instance::new(&mut store, &module, &[fail.into()]).unwrap();
    let run = instance.get_typed_func::<i32, i32, _>(&mut store, "run").unwrap();
    for (which, text) in [
        "unreachable",
        "out of bounds memory access",
        "integer divide by zero",
        "uninitialized element",
        "call stack exhausted",
        "no",
        "null reference",
        "all fuel consumed",
    ]
    .into_iter()
    .enumerate()
    {
        let trap = run.call(&mut store, which as i32).unwrap_err();
        assert!(trap.display_reason().to_string().contains(text), "{text}: {trap}");
        assert!(trap.exception().is_none());
    }
}

/// Wasm that calls the host, which calls wasm that throws.
const THROUGH_THE_HOST: &str = r#"(module
    (import "host" "call" (func $call (param funcref)))
    (tag $t (export "t") (param i32))
    (func $throw (throw $t (i32.const 5)))
    (elem declare func $throw $catch)
    (func $catch (export "catch") (result i32)
        (block $h (result i32)
            (try_table (catch $t $h) (catch_all 0) (call $call (ref.func $throw)))
            (return (i32.const 0)))))"#;

#[test]
fn the_host_gets_an_error_and_passes_on_an_error() {
    for swallow in [false, true] {
        let engine = metered();
        let mut store = Store::new(&engine, ());
        store.add_fuel(1_000_000).unwrap();
        let module = Module::new(&engine, THROUGH_THE_HOST.replace(" (catch_all 0)", "")).unwrap();
        let call = Func::wrap(&mut store, move |mut caller: Caller<'_, ()>, func: Option<Func>| {
            let result = func.unwrap().call(caller.as_context_mut(), &[]);
            let trap: Trap = result.unwrap_err().downcast().unwrap();
            assert_eq!(trap.exception().unwrap().values()[0].unwrap_i32(), 5);
            if swallow { Ok(()) } else { Err(trap) }
        });
        let instance = Instance::new(&mut store, &module, &[call.into()]).unwrap();
        let catch = instance.get_typed_func::<(), i32, _>(&mut store, "catch").unwrap();
        match catch.call(&mut store, ()) {
            Ok(result) => assert!(swallow && result == 0),
            Err(trap) => {
                assert!(!swallow);
                let tag = instance.get_tag(&mut store, "t").unwrap();
                assert_eq!(trap.exception().unwrap().tag(), tag);
                let names: Vec<_> = trap.trace().iter().map(|frame| frame.func_name()).collect();
                assert_eq!(names, [Some("throw"), Some("catch")]);
            }
        }
    }
}

#[test]
fn the_former_proposal_is_refused_and_the_present_one_can_be() {
    let legacy = wat::parse_str("(module (tag) (func try catch 0 end))").unwrap();
    let text = format!("{:#}", Module::new(&Engine::default(), legacy).unwrap_err());
    assert!(text.contains("legacy_exceptions"), "{text}");
    let without = engine(|config| {
        config.wasm_exceptions(false);
    });
    let alone = Engine::new(Config::new().wasm_reference_types(false).wasm_exceptions(true));
    let text = alone.unwrap_err().to_string();
    assert!(text.contains("`exceptions` is enabled without `reference-types`"), "{text}");
    for wat in ["(module (tag))", "(module (func (param exnref)))", "(module (func try_table end))"]
    {
        let text = format!("{:#}", Module::new(&without, wat).unwrap_err());
        assert!(text.contains("exception"), "{text}");
        Module::new(&Engine::default(), wat).unwrap();
    }
}
