//! Typed references to functions, and references that are never null.

use lampwick::{Config, ExternRef, FuncType, Module, OptLevel, TrapCode, Val};

use crate::support::{
    async_metered, count_pending, engine, instantiate, instantiate_async, metered, trap,
};

/// What the last import of a function type is of.
pub(crate) fn imported(module: &Module) -> FuncType {
    let funcs = module.imports().filter_map(|import| import.ty().func().cloned());
    funcs.last().expect("the module imports a function")
}

#[test]
fn functions_are_called_by_reference() {
    let text = r#"(module
        (type $binary (func (param i32 i32) (result i32)))
        (func $add (type $binary) (i32.add (local.get 0) (local.get 1)))
        (func $mul (type $binary) (i32.mul (local.get 0) (local.get 1)))
        (global $op (mut (ref $binary)) (ref.func $add))
        (elem declare func $mul)
        (func (export "multiply") (global.set $op (ref.func $mul)))
        (func (export "apply") (type $binary)
            (call_ref $binary (local.get 0) (local.get 1) (global.get $op)))
        (func (export "twice") (param i32) (result i32)
            (local $op (ref $binary))
            (local.set $op (global.get $op))
            (call_ref $binary
                (local.get 0)
                (call_ref $binary (local.get 0) (local.get 0) (local.get $op))
                (local.get $op))))"#;
    for level in [OptLevel::None, OptLevel::Speed] {
        let engine = engine(|config| {
            config.cranelift_opt_level(level);
        });
        let (mut store, instance) = instantiate(&engine, text);
        let apply = instance.get_typed_func::<(i32, i32), i32, _>(&mut store, "apply").unwrap();
        let twice = instance.get_typed_func::<i32, i32, _>(&mut store, "twice").unwrap();
        assert_eq!(apply.call(&mut store, (3, 5)).unwrap(), 8);
        assert_eq!(twice.call(&mut store, 3).unwrap(), 9);
        let multiply = instance.get_typed_func::<(), (), _>(&mut store, "multiply").unwrap();
        multiply.call(&mut store, ()).unwrap();
        assert_eq!(apply.call(&mut store, (3, 5)).unwrap(), 15);
        assert_eq!(twice.call(&mut store, 3).unwrap(), 27);
    }
}

const NULLS: &str = r#"(module
    (type $t (func (param i32)))
    (table $typed 1 (ref null $t))
    (elem declare func $keep)
    (func $keep (export "keep") (type $t))
    (func (export "call") (call_ref $t (i32.const 7) (ref.null $t)))
    ;; What does not change in the loop may not be looked at before it.
    (func (export "in loop") (param $rounds i32) (result i32)
        (local $f (ref null $t))
        (loop $again
            (if (i32.eqz (local.get $rounds)) (then (return (i32.const 1))))
            (call_ref $t (i32.const 7) (local.get $f))
            (br $again))
        (unreachable))
    (func (export "func") (drop (ref.as_non_null (ref.null func))))
    (func (export "extern") (param externref) (drop (ref.as_non_null (local.get 0))))
    (func (export "indirect") (call_indirect $typed (type $t) (i32.const 7) (i32.const 0))))"#;

/// Traps name what was null, and burn what ran up to them, the operator itself included.
#[test]
fn null_traps_exactly() {
    for metering in [false, true] {
        let engine = engine(|config| {
            config.consume_fuel(metering);
        });
        let (mut store, instance) = instantiate(&engine, NULLS);
        if metering {
            store.add_fuel(1_000).unwrap();
        }
        let mut burned = 0;
        for (name, args, code, text, cost) in [
            ("call", &[][..], TrapCode::NullFunctionReference, "null function reference", 4),
            ("in loop", &[Val::I32(1)], TrapCode::NullFunctionReference, "null function", 7),
            ("func", &[], TrapCode::NullReference, "null reference", 3),
            ("extern", &[Val::null()], TrapCode::NullReference, "null reference", 3),
            ("indirect", &[], TrapCode::IndirectCallToNull, "uninitialized element", 4),
        ] {
            let func = instance.get_func(&mut store, name).unwrap();
            let trap = trap(func.call(&mut store, args).unwrap_err());
            assert_eq!(trap.trap_code(), Some(code), "{name}");
            assert!(trap.to_string().contains(text), "{name}: {trap}");
            assert_eq!(trap.trace().len(), 1, "{name}");
            let now = store.fuel_consumed().unwrap_or(burned + cost);
            assert_eq!(now - burned, cost, "{name}");
            burned = now;
        }
        let in_loop = instance.get_typed_func::<i32, i32, _>(&mut store, "in loop").unwrap();
        assert_eq!(in_loop.call(&mut store, 0).unwrap(), 1, "nothing was called");
    }
}

/// The frame of a null call says which operator it was, whichever of two it was.
#[test]
fn frames_tell_which_call_was_null() {
    let text = r#"(module (type $t (func))
        (func (export "f") (param funcref) (local $a (ref null $t)) (local $b (ref null $t))
            (if (ref.is_null (local.get 0)) (then (call_ref $t (local.get $a))))
            (call_ref $t (local.get $b))))"#;
    let (mut store, instance) = instantiate(&metered(), text);
    store.add_fuel(100).unwrap();
    let f = instance.get_func(&mut store, "f").unwrap();
    let offsets = [None, Some(f)].map(|arg| {
        let trap = trap(f.call(&mut store, &[Val::FuncRef(arg)]).unwrap_err());
        trap.trace()[0].module_offset()
    });
    assert_eq!(offsets[1] - offsets[0], 5, "`call_ref`, `end`, `local.get` lie between");
}

#[test]
fn branches_on_null_keep_what_they_should() {
    let text = r#"(module
        (type $t (func (result i64)))
        (func $f (type $t) (i64.const 9))
        (elem declare func $f)
        (func $pick (param $null i32) (result (ref null $t))
            (if (result (ref null $t)) (local.get $null)
                (then (ref.null $t)) (else (ref.func $f))))
        (func (export "on_null") (param i32) (result i32 i64)
            (block $null (result i32)
                (return (call_ref $t (br_on_null $null (i32.const 5) (call $pick (local.get 0))))))
            (i64.const -1))
        (func (export "on_non_null") (param i32) (result i32 i64)
            (block $not (result i32 (ref $t))
                (br_on_non_null $not (i32.const 5) (call $pick (local.get 0)))
                (return (i64.const -1)))
            (call_ref $t))
        (func (export "extern") (param externref) (result i32)
            (block $null (br_on_null $null (local.get 0)) (drop) (return (i32.const 1)))
            (i32.const 0))
        ;; Each round takes the next function of a table, until there is none.
        (table $chain 4 (ref null $t))
        (elem (table $chain) (i32.const 0) (ref null $t) (ref.func $f) (ref.func $f) (ref.func $f))
        (func (export "loops") (result i32) (local $i i32)
            (loop $again
                (block $none
                    (br_on_null $none (table.get $chain (local.get $i)))
                    (drop)
                    (local.set $i (i32.add (local.get $i) (i32.const 1)))
                    (br $again)))
            (local.get $i))
        (func (export "backward") (result i32) (local $i i32)
            (ref.func $f)
            (loop $again (param (ref $t))
                (drop)
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br_on_non_null $again (table.get $chain (local.get $i))))
            (local.get $i)))"#;
    for metering in [false, true] {
        let engine = engine(|config| {
            config.consume_fuel(metering);
        });
        let (mut store, instance) = instantiate(&engine, text);
        if metering {
            store.add_fuel(10_000).unwrap();
        }
        for name in ["on_null", "on_non_null"] {
            let f = instance.get_typed_func::<i32, (i32, i64), _>(&mut store, name).unwrap();
            assert_eq!(f.call(&mut store, 0).unwrap(), (5, 9), "{name}");
            assert_eq!(f.call(&mut store, 1).unwrap(), (5, -1), "{name}");
        }
        let f = instance.get_typed_func::<_, i32, _>(&mut store, "extern").unwrap();
        assert_eq!(f.call(&mut store, None).unwrap(), 0);
        assert_eq!(f.call(&mut store, Some(ExternRef::new(0))).unwrap(), 1);
        for name in ["loops", "backward"] {
            let f = instance.get_typed_func::<(), i32, _>(&mut store, name).unwrap();
            assert_eq!(f.call(&mut store, ()).unwrap(), 3, "{name}");
        }
    }
}

/// Every operator costs 1, whether a branch is taken or not.
#[test]
fn fuel_is_that_of_the_operators() {
    let text = r#"(module
        (type $t (func))
        (func $f (export "f") (type $t))
        (func (export "call") (call_ref $t (ref.func $f)))
        (func (export "not null") (drop (ref.as_non_null (ref.func $f))))
        (func (export "stays") (block (drop (br_on_null 0 (ref.func $f)))))
        (func (export "goes") (block (drop (br_on_null 0 (ref.null $t))) (nop)))
        (func (export "stays non null")
            (drop (block (result (ref $t)) (br_on_non_null 0 (ref.null $t)) (ref.func $f))))
        (func (export "goes non null")
            (drop (block (result (ref $t)) (br_on_non_null 0 (ref.func $f)) (ref.func $f)))))"#;
    let (mut store, instance) = instantiate(&metered(), text);
    store.add_fuel(1_000).unwrap();
    // Entering costs 1, and so does the function that is called.
    for (name, cost) in [
        ("call", 1 + 2 + 1),
        ("not null", 1 + 2),
        ("stays", 1 + 2),
        ("goes", 1 + 2),
        ("stays non null", 1 + 3),
        ("goes non null", 1 + 2),
    ] {
        let func = instance.get_typed_func::<(), (), _>(&mut store, name).unwrap();
        let before = store.fuel_consumed().unwrap();
        func.call(&mut store, ()).unwrap();
        assert_eq!(store.fuel_consumed().unwrap() - before, cost, "{name}");
    }
}

/// Guests that go around by these operators alone can be suspended, starved and stopped.
#[test]
fn no_way_around_is_free() {
    let text = r#"(module
        (type $t (func))
        (elem declare func $call)
        (func (export "branch")
            (ref.func $call)
            (loop $again (param (ref $t)) (br_on_non_null $again)))
        (func (export "null")
            (loop $again (br_on_null $again (ref.null $t)) (drop)))
        (func $call (export "call") (type $t)
            (block $full (call_ref $t (ref.func $call)))))"#;
    for name in ["branch", "null", "call"] {
        let (mut store, instance) = instantiate_async(&async_metered(), text);
        store.out_of_fuel_async_yield(9, 1_000);
        let f = instance.get_typed_func::<(), (), _>(&mut store, name).unwrap();
        let (pending, result) = count_pending(f.call_async(&mut store, ()));
        let text = result.unwrap_err().to_string();
        assert!(text.contains("all fuel consumed by WebAssembly"), "{name}: {text}");
        assert!((8..=9).contains(&pending), "{name}: {pending}");
        assert!(store.fuel_consumed().unwrap() >= 9_000);
    }
    let engine = engine(|config| {
        config.interruptable(true);
    });
    for name in ["branch", "null", "call"] {
        let (mut store, instance) = instantiate(&engine, text);
        let f = instance.get_typed_func::<(), (), _>(&mut store, name).unwrap();
        store.interrupt_handle().unwrap().interrupt();
        let trap = f.call(&mut store, ()).unwrap_err();
        assert_eq!(trap.trap_code(), Some(TrapCode::Interrupt), "{name}");
    }
}

#[test]
fn operators_by_reference_can_be_turned_off() {
    let engine = engine(|config: &mut Config| {
        config.wasm_function_references(false);
    });
    let text = "(module (type $t (func)) (func (call_ref $t (ref.null $t))))";
    let error = format!("{:#}", Module::new(&engine, text).unwrap_err());
    assert!(error.contains("function references"), "{error}");
}
