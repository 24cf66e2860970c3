//! Typed references to functions, and references that are never null.

use lampwick::{
    Config, ExternRef, Func, FuncType, Instance, Linker, Module, OptLevel, Store, TrapCode, Val,
};

use crate::support::{
    async_metered, count_pending, engine, instantiate, instantiate_async, metered, trap,
};

/// What the last import of a function type is of.
fn imported(module: &Module) -> FuncType {
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

const TABLE: &str = r#"(module
    (type $t (func (result i32)))
    (func $f (type $t) (i32.const 1))
    (func $g (export "g") (type $t) (i32.const 2))
    (func (export "other") (result i64) (i64.const 3))
    (table $t (export "table") 3 10 (ref $t) (ref.func $f))
    (table (export "nullable") 1 10 (ref null $t))
    (table (export "any") 1 10 funcref)
    (global (export "global") (mut (ref $t)) (ref.func $g))
    (func (export "call") (param i32) (result i32)
        (call_indirect $t (type $t) (local.get 0)))
    (func (export "call_global") (result i32) (call_ref $t (global.get 0))))"#;

#[test]
fn what_is_never_null_has_a_value_from_the_start() {
    let (mut store, instance) = instantiate(&engine(|_| {}), TABLE);
    let call = instance.get_typed_func::<i32, i32, _>(&mut store, "call").unwrap();
    for index in 0..3 {
        assert_eq!(call.call(&mut store, index).unwrap(), 1);
    }
    let trap = call.call(&mut store, 3).unwrap_err();
    assert_eq!(trap.trap_code(), Some(TrapCode::TableOutOfBounds));
}

/// The host can put nothing into a place that is not of the place's type.
#[test]
fn hosts_keep_to_the_types() {
    let (mut store, instance) = instantiate(&engine(|_| {}), TABLE);
    let [g, other] = ["g", "other"].map(|name| instance.get_func(&mut store, name).unwrap());
    let table = instance.get_table(&mut store, "table").unwrap();
    let nullable = instance.get_table(&mut store, "nullable").unwrap();
    let global = instance.get_global(&mut store, "global").unwrap();
    let host = Func::wrap(&mut store, || 4_i32);
    let outcomes = |value: Val, store: &mut Store<()>| {
        let ty = table.ty(&mut *store);
        [
            table.set(&mut *store, 0, value.clone()).map(drop),
            table.fill(&mut *store, 0, value.clone(), 2),
            table.grow(&mut *store, 1, value.clone()).map(drop),
            lampwick::Table::new(&mut *store, ty, value.clone()).map(drop),
            global.set(&mut *store, value.clone()),
        ]
        .map(|result| result.map_err(|error| error.to_string()))
    };
    for (value, text) in [
        (Val::FuncRef(None), "found null"),
        (Val::FuncRef(Some(other)), "one of another type"),
        (Val::null(), "found externref"),
        (Val::I32(1), "found i32"),
    ] {
        for outcome in outcomes(value.clone(), &mut store) {
            let error = outcome.unwrap_err();
            assert!(error.contains(text), "{value:?}: {error}");
        }
    }
    assert_eq!(table.size(&store), 3);
    // A function of the host's is of the type, too, if it takes and gives the same.
    for value in [g, host] {
        assert!(outcomes(Val::FuncRef(Some(value)), &mut store).iter().all(Result::is_ok));
    }
    let call = instance.get_typed_func::<i32, i32, _>(&mut store, "call").unwrap();
    let called = [0, 1, 2, 3, 4].map(|index| call.call(&mut store, index).unwrap());
    assert_eq!(called, [4, 4, 1, 2, 4]);
    let call = instance.get_typed_func::<(), i32, _>(&mut store, "call_global").unwrap();
    assert_eq!(call.call(&mut store, ()).unwrap(), 4);
    // What fits goes from one table to another, and nothing else.
    let any = instance.get_table(&mut store, "any").unwrap();
    lampwick::Table::copy(&mut store, &nullable, 0, &table, 0, 1).unwrap();
    lampwick::Table::copy(&mut store, &any, 0, &nullable, 0, 1).unwrap();
    for (to, from) in [(&table, &nullable), (&table, &any), (&nullable, &any)] {
        let error = lampwick::Table::copy(&mut store, to, 0, from, 0, 1).unwrap_err().to_string();
        assert!(error.contains("cannot copy from a table of"), "{error}");
    }
    nullable.set(&mut store, 0, Val::FuncRef(None)).unwrap();
}

/// What a host function answers is looked at before the guest gets it; so are arguments.
#[test]
fn results_and_arguments_are_of_their_types() {
    let text = r#"(module
        (type $t (func (result i32)))
        (import "" "f" (func $f (param (ref $t)) (result (ref $t))))
        (func (export "one") (type $t) (i32.const 1))
        (func (export "other") (result i64) (i64.const 1))
        (func (export "run") (param (ref null $t)) (result i32)
            (call_ref $t (call $f (ref.as_non_null (local.get 0)))))
        (func (export "same") (param (ref $t)) (result (ref $t)) (local.get 0)))"#;
    let module = Module::new(&engine(|_| {}), text).unwrap();
    // The store's data is what the host function is to answer.
    let mut store = Store::new(module.engine(), None);
    let f = Func::new(&mut store, imported(&module), |caller, args, results| {
        assert!(args[0].unwrap_funcref().is_some());
        assert!(matches!(results[0], Val::FuncRef(None)));
        if let Some(answer) = caller.data() {
            results[0] = Val::clone(answer);
        }
        Ok(())
    });
    let instance = Instance::new(&mut store, &module, &[f.into()]).unwrap();
    let [one, other, run, same] =
        ["one", "other", "run", "same"].map(|name| instance.get_func(&mut store, name).unwrap());
    let given = [Val::from(one)];
    for (answer, text) in [
        (None, "result 0 of a host function: expected a value of type (ref"),
        (Some(Val::from(other)), "one of another type"),
        (Some(Val::null()), "found externref"),
    ] {
        *store.data_mut() = answer;
        let error = format!("{:#}", run.call(&mut store, &given).unwrap_err());
        assert!(error.contains(text), "{error}");
    }
    *store.data_mut() = Some(Val::from(one));
    assert_eq!(run.call(&mut store, &given).unwrap()[0].unwrap_i32(), 1);
    assert_eq!(
        trap(run.call(&mut store, &[Val::FuncRef(None)]).unwrap_err()).trap_code(),
        Some(TrapCode::NullReference)
    );
    for (func, arg) in [(same, Val::FuncRef(None)), (same, other.into()), (run, other.into())] {
        let error = func.call(&mut store, &[arg]).unwrap_err();
        assert!(format!("{error:#}").contains("argument 0"), "{error:#}");
    }
    same.call(&mut store, &given).unwrap();
    // A typed function may answer more than is asked, but not take less.
    assert!(same.typed::<Option<Func>, Option<Func>, _>(&store).is_err());
    let text = r#"(module (func $f (export "f") (result (ref func)) (ref.func $f)))"#;
    let (mut store, instance) = instantiate(&engine(|_| {}), text);
    let f = instance.get_typed_func::<(), Option<Func>, _>(&mut store, "f").unwrap();
    assert!(f.call(&mut store, ()).unwrap().is_some());
}

/// Functions of hosts and of other instances are called by reference, each with its own context.
#[test]
fn references_cross_instances() {
    let engine = engine(|_| {});
    let mut linker = Linker::<u32>::new(&engine);
    linker
        .func_wrap("host", "count", |mut caller: lampwick::Caller<'_, u32>| {
            *caller.data_mut() += 1;
        })
        .unwrap();
    let giver = r#"(module (type (func (param i32))) (type $t (func))
        (import "host" "count" (func $count (type $t)))
        (global $calls (export "calls") (mut i32) (i32.const 0))
        (elem declare func $count $own)
        (func $own (global.set $calls (i32.add (global.get $calls) (i32.const 1))))
        (func (export "count") (result (ref $t)) (ref.func $count))
        (func (export "own") (result (ref $t)) (ref.func $own)))"#;
    let taker = r#"(module (type $t (func))
        (import "giver" "count" (func $count (result (ref $t))))
        (import "giver" "own" (func $own (result (ref null $t))))
        (func (export "run") (call_ref $t (call $count)) (call_ref $t (call $own))))"#;
    let mut store = Store::new(&engine, 0);
    let giver = linker.instantiate(&mut store, &Module::new(&engine, giver).unwrap()).unwrap();
    linker.instance(&mut store, "giver", giver).unwrap();
    let taker_module = Module::new(&engine, taker).unwrap();
    // A function that answers less than null is no subtype: function types are equal or declared.
    let error = linker.instantiate(&mut store, &taker_module).unwrap_err();
    assert!(format!("{error:#}").contains("`giver::own`"), "{error:#}");
    let taker = Module::new(&engine, taker.replace("ref null", "ref")).unwrap();
    let taker = linker.instantiate(&mut store, &taker).unwrap();
    taker.get_typed_func::<(), (), _>(&mut store, "run").unwrap().call(&mut store, ()).unwrap();
    let calls = giver.get_global(&mut store, "calls").unwrap();
    assert_eq!((*store.data(), calls.get(&mut store).unwrap_i32()), (1, 1));
}

/// A collection finds references that are never null, in locals, on the stack, and across branches.
#[test]
fn collections_find_what_is_never_null() {
    let text = r#"(module
        (import "" "gc" (func $gc))
        (func (export "keep") (param externref) (result (ref extern))
            (local $kept (ref extern))
            (block $null
                (local.set $kept (br_on_null $null (local.get 0)))
                (local.set 0 (ref.null extern))
                (call $gc)
                (return (local.get $kept)))
            (unreachable)))"#;
    let mut store = Store::new(&lampwick::Engine::default(), ());
    let gc = Func::wrap(&mut store, |mut caller: lampwick::Caller<'_, ()>| caller.gc());
    let module = Module::new(store.engine(), text).unwrap();
    let instance = Instance::new(&mut store, &module, &[gc.into()]).unwrap();
    let keep = instance.get_typed_func::<_, Option<ExternRef>, _>(&mut store, "keep").unwrap();
    let back = keep.call(&mut store, Some(ExternRef::new(77))).unwrap().unwrap();
    assert_eq!(back.data().downcast_ref::<i32>(), Some(&77));
}

/// A large table is filled in parts, and what is dropped in its midst leaves nothing behind.
#[test]
fn large_tables_are_filled_in_parts() {
    let text = r#"(module (type $t (func)) (func $f)
        (table (export "table") 2_000_000 (ref $t) (ref.func $f)))"#;
    let engine = async_metered();
    let module = Module::new(&engine, text).unwrap();
    let mut store = Store::new(&engine, ());
    let (pending, instance) = count_pending(Instance::new_async(&mut store, &module, &[]));
    assert!(pending > 10, "{pending}");
    let table = instance.unwrap().get_table(&mut store, "table").unwrap();
    for index in [0, 1_999_999] {
        assert!(table.get(&mut store, index).unwrap().unwrap_funcref().is_some());
    }
    let mut store = Store::new(&engine, ());
    {
        let mut instance = std::pin::pin!(Instance::new_async(&mut store, &module, &[]));
        assert!(crate::support::poll(instance.as_mut()).is_pending());
    }
    assert!(count_pending(Instance::new_async(&mut store, &module, &[])).1.is_ok());
}

/// Types that use one another in a chain as long as a module may have, dropped on a small stack.
#[test]
fn long_chains_of_types_end() {
    const TYPES: u32 = 60_000;
    let mut types = String::from("(module (type (func))");
    for index in 1..TYPES {
        types.push_str(&format!("(type (func (param (ref {}))))", index - 1));
    }
    types.push(')');
    let engine = engine(|_| {});
    let binary = wat::parse_str(&types).unwrap();
    let dropping = std::thread::Builder::new().stack_size(1 << 20);
    let modules = [0, 1].map(|_| Module::new(&engine, &binary).unwrap());
    dropping.spawn(move || drop(modules)).unwrap().join().unwrap();
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
