//! Tail calls: constant stack, the cost of other calls, and no way around the checks of entries.

use std::pin::pin;

use lampwick::{
    Caller, Engine, ExternRef, Func, Instance, Linker, Module, OperatorCosts, Store, Trap,
    TrapCode, Val,
};

use crate::operator_costs::{async_with_costs, with_costs};
use crate::support::{
    async_metered, count_pending, engine, instantiate, instantiate_async, metered, poll, trap,
};

/// How many parameters the widest function has, so many that most are passed on the stack.
const WIDE: usize = 900;

/// Countdowns by tail calls of every kind, each a loop.
fn countdowns() -> String {
    let less = "(i32.sub (local.get 0) (i32.const 1))";
    let done = "(if (i32.eqz (local.get 0)) (then (return (i32.const 7))))";
    let (wide, zeros) = ("i64 ".repeat(WIDE), "(i64.const 3)".repeat(WIDE));
    format!(
        r#"(module
        (type $t (func (param i32) (result i32)))
        (table (export "table") 3 funcref)
        (elem (i32.const 0) $indirect $b)
        (func $direct (export "direct") (type $t) {done} (return_call $direct {less}))
        (func $a (export "mutual") (type $t) {done} (return_call $b {less}))
        (func $b (type $t) {done} (return_call $a {less}))
        (func $indirect (export "indirect") (type $t)
            {done} (return_call_indirect (type $t) {less} (i32.const 0)))
        (func $narrow (export "widths") (type $t) {done} (return_call $wide {less} {zeros}))
        (func $wide (param i32 {wide}) (result i32) {done} (return_call $narrow {less}))
        (func $mixed (export "among calls") (type $t)
            {done} (drop (call $direct (i32.const 2))) (return_call $mixed {less})))"#
    )
}

const NAMES: &[&str] = &["direct", "mutual", "indirect", "widths", "among calls"];

#[test]
fn ten_million_tail_calls_take_the_stack_of_one() {
    for metered in [false, true] {
        let engine = engine(|config| {
            config.max_wasm_stack(32 << 10).unwrap().consume_fuel(metered);
        });
        let (mut store, instance) = instantiate(&engine, &countdowns());
        let _ = store.add_fuel(u64::MAX);
        for name in NAMES {
            let rounds = if *name == "widths" { 100_000 } else { 10_000_000 };
            let run = instance.get_typed_func::<i32, i32, _>(&mut store, name).unwrap();
            assert_eq!(run.call(&mut store, rounds).unwrap(), 7, "{name}");
        }
    }
}

#[test]
fn instances_call_each_other_in_constant_stack() {
    let engine = engine(|config| {
        config.max_wasm_stack(32 << 10).unwrap();
    });
    let mut store = Store::new(&engine, ());
    let there = r#"(module
        (type $t (func (param i32) (result i32)))
        (table (export "table") 2 funcref)
        (func (export "there") (type $t)
            (if (i32.eqz (local.get 0)) (then (return (i32.const 7))))
            (return_call_indirect (type $t)
                (i32.sub (local.get 0) (i32.const 1)) (i32.const 1))))"#;
    let here = r#"(module
        (type $t (func (param i32) (result i32)))
        (import "" "there" (func $there (type $t)))
        (import "" "table" (table 2 funcref))
        (elem (i32.const 1) $here)
        (func $here (export "here") (type $t) (return_call $there (local.get 0))))"#;
    let there = Instance::new(&mut store, &Module::new(&engine, there).unwrap(), &[]).unwrap();
    let mut linker = Linker::new(&engine);
    linker.instance(&mut store, "", there).unwrap();
    let here = linker.instantiate(&mut store, &Module::new(&engine, here).unwrap()).unwrap();
    let here = here.get_typed_func::<i32, i32, _>(&mut store, "here").unwrap();
    assert_eq!(here.call(&mut store, 5_000_000).unwrap(), 7);
}

#[test]
fn a_tail_call_costs_what_the_call_costs() {
    let body = |call: &str| {
        format!(
            r#"(module
            (type $t (func (param i32) (result i32)))
            (table 2 funcref) (elem (i32.const 0) $callee)
            (func $callee (type $t) (i32.add (local.get 0) (i32.const 1)))
            (func (export "direct") (result i32) ({call} $callee (i32.const 1)))
            (func (export "indirect") (result i32)
                ({call}_indirect (type $t) (i32.const 1) (i32.const 0)))
            (func (export "null") (result i32)
                ({call}_indirect (type $t) (i32.const 1) (i32.const 1)))
            (func (export "outside") (result i32)
                ({call}_indirect (type $t) (i32.const 1) (i32.const 2)))
            (func (export "mistyped") (result i32)
                ({call}_indirect (result i32) (i32.const 0)))
            (func (export "behind") (result i32)
                (if (i32.eqz (i32.const 1)) (then ({call} $callee (i32.const 1)) (return)))
                (drop (table.get (i32.const 2)))
                (i32.const 3)))"#
        )
    };
    let costs = OperatorCosts::new().with(lampwick::OperatorClass::CallIndirect, 100);
    let burned = |call: &str, name: &str| {
        let (mut store, instance) = instantiate(&with_costs(&costs), &body(call));
        store.add_fuel(10_000).unwrap();
        let run = instance.get_func(&mut store, name).unwrap();
        let code = run.call(&mut store, &[]).map_err(|error| trap(error).trap_code().unwrap());
        (store.fuel_consumed().unwrap(), code.map(|values| values[0].unwrap_i32()))
    };
    for (name, fuel, result) in [
        ("direct", 1 + 2 + 1 + 3, Ok(2)),
        ("indirect", 1 + 102 + 1 + 3, Ok(2)),
        ("null", 1 + 102, Err(TrapCode::IndirectCallToNull)),
        ("outside", 1 + 102, Err(TrapCode::TableOutOfBounds)),
        ("mistyped", 1 + 101, Err(TrapCode::BadSignature)),
        ("behind", 1 + 3 + 2, Err(TrapCode::TableOutOfBounds)),
    ] {
        assert_eq!(burned("return_call", name), (fuel, result), "{name}");
        assert_eq!(burned("call", name), (fuel, result), "{name}, as a call");
    }
}

/// Loops by tail calls that never end.
const ENDLESS: &str = r#"(module
    (type $t (func))
    (table 1 funcref) (elem (i32.const 0) $indirect)
    (func $direct (export "direct") (return_call $direct))
    (func $indirect (export "indirect") (return_call_indirect (type $t) (i32.const 0)))
    (func $a (export "mutual") (return_call $b)) (func $b (return_call $a)))"#;

#[test]
fn endless_tail_calls_run_out_of_fuel_even_where_all_is_free() {
    for costs in [OperatorCosts::new(), OperatorCosts::uniform(0)] {
        for name in ["direct", "indirect", "mutual"] {
            let (mut store, instance) = instantiate(&with_costs(&costs), ENDLESS);
            store.add_fuel(100_000).unwrap();
            let run = instance.get_typed_func::<(), (), _>(&mut store, name).unwrap();
            let text = run.call(&mut store, ()).unwrap_err().to_string();
            assert!(text.contains("all fuel consumed by WebAssembly"), "{name}: {text}");

            let (mut store, instance) = instantiate_async(&async_with_costs(&costs), ENDLESS);
            store.out_of_fuel_async_yield(20, 200);
            let run = instance.get_typed_func::<(), (), _>(&mut store, name).unwrap();
            let (pending, result) = count_pending(run.call_async(&mut store, ()));
            let text = result.unwrap_err().to_string();
            assert!(text.contains("all fuel consumed by WebAssembly"), "{name}: {text}");
            assert!((19..=20).contains(&pending), "{name}: {pending} yields");
        }
    }
}

#[test]
fn a_suspended_tail_call_can_be_dropped() {
    let (mut store, instance) = instantiate_async(&async_metered(), ENDLESS);
    store.out_of_fuel_async_yield(u64::MAX, 1_000);
    let run = instance.get_typed_func::<(), (), _>(&mut store, "mutual").unwrap();
    for polls in 1..5 {
        let mut call = pin!(run.call_async(&mut store, ()));
        for _ in 0..polls {
            assert!(poll(call.as_mut()).is_pending());
        }
    }
}

#[test]
fn endless_tail_calls_are_interrupted_and_have_deadlines() {
    for name in ["direct", "indirect", "mutual"] {
        let interruptable = engine(|config| {
            config.interruptable(true);
        });
        let (mut store, instance) = instantiate(&interruptable, ENDLESS);
        let run = instance.get_typed_func::<(), (), _>(&mut store, name).unwrap();
        let handle = store.interrupt_handle().unwrap();
        let started = std::sync::Barrier::new(2);
        let trap = std::thread::scope(|scope| {
            scope.spawn(|| {
                started.wait();
                handle.interrupt();
            });
            started.wait();
            run.call(&mut store, ()).unwrap_err()
        });
        assert_eq!(trap.trap_code(), Some(TrapCode::Interrupt), "{name}: {trap}");
        assert_eq!(trap.trace().len(), 1, "{name}: the frames that gave way are gone");

        let epochs = engine(|config| {
            config.epoch_interruption(true).async_support(true);
        });
        let (mut store, instance) = instantiate_async(&epochs, ENDLESS);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        let run = instance.get_typed_func::<(), (), _>(&mut store, name).unwrap();
        let mut call = pin!(run.call_async(&mut store, ()));
        epochs.increment_epoch();
        assert!(poll(call.as_mut()).is_pending(), "{name}");
    }
}

/// Guests that end in a tail call of the host.
const TO_THE_HOST: &str = r#"(module
    (import "host" "f" (func $f (param i32) (result i32)))
    (import "host" "fail" (func $fail))
    (type $t (func (param i32) (result i32)))
    (table 1 funcref) (elem (i32.const 0) $f)
    (global (export "which") i32 (i32.const 41))
    (func $direct (export "direct") (type $t) (return_call $f (local.get 0)))
    (func (export "indirect") (type $t)
        (return_call_indirect (type $t) (local.get 0) (i32.const 0)))
    (func (export "below") (type $t) (i32.add (call $direct (local.get 0)) (i32.const 100)))
    (func $failing (export "failing") (return_call $fail))
    (func (export "failing below") (call $failing)))"#;

#[test]
fn the_host_can_be_called_last() {
    let engine = metered();
    let mut linker = Linker::new(&engine);
    let f = |mut caller: Caller<'_, ()>, x: i32| {
        let which = caller.get_export("which").and_then(|which| which.into_global());
        let which = which.expect("the caller is the instance that gave way").get(&mut caller);
        caller.gc();
        which.unwrap_i32() + x
    };
    linker.func_wrap("host", "f", f).unwrap();
    let fail = || -> Result<(), Trap> { Err(Trap::new("no")) };
    linker.func_wrap("host", "fail", fail).unwrap();
    let mut store = Store::new(&engine, ());
    store.add_fuel(1_000).unwrap();
    let module = Module::new(&engine, TO_THE_HOST).unwrap();
    let instance = linker.instantiate(&mut store, &module).unwrap();
    // Entry, operand, call; with the table a constant more.
    for (name, fuel, result) in [("direct", 3, 42), ("indirect", 4, 42), ("below", 8, 142)] {
        let before = store.fuel_consumed().unwrap();
        let run = instance.get_typed_func::<i32, i32, _>(&mut store, name).unwrap();
        assert_eq!(run.call(&mut store, 1).unwrap(), result, "{name}");
        assert_eq!(store.fuel_consumed().unwrap() - before, fuel, "{name}");
    }
    for (name, frames) in [("failing", 0), ("failing below", 1)] {
        let run = instance.get_typed_func::<(), (), _>(&mut store, name).unwrap();
        let trap = run.call(&mut store, ()).unwrap_err();
        assert_eq!((trap.display_reason().to_string(), trap.trace().len()), ("no".into(), frames));
    }
}

#[test]
fn the_host_can_suspend_where_it_was_called_last() {
    let engine = async_metered();
    let mut linker = Linker::new(&engine);
    linker
        .func_wrap1_async("host", "f", |_: Caller<'_, ()>, x: i32| {
            Box::new(async move {
                crate::support::pend(3).await;
                x + 1
            })
        })
        .unwrap();
    linker.func_wrap("host", "fail", || {}).unwrap();
    let mut store = Store::new(&engine, ());
    store.add_fuel(1_000).unwrap();
    let module = Module::new(&engine, TO_THE_HOST).unwrap();
    let instance = crate::support::block_on(linker.instantiate_async(&mut store, &module)).unwrap();
    for (name, result) in [("direct", 2), ("indirect", 2), ("below", 102)] {
        let run = instance.get_typed_func::<i32, i32, _>(&mut store, name).unwrap();
        let (pending, answer) = count_pending(run.call_async(&mut store, 1));
        assert_eq!((pending, answer.unwrap()), (3, result), "{name}");
        let mut call = pin!(run.call_async(&mut store, 1));
        assert!(poll(call.as_mut()).is_pending());
    }
}

#[test]
fn references_survive_as_arguments() {
    // Each step passes all references on, most of them on the stack, and collects.
    const COUNT: usize = 20;
    let params = "externref ".repeat(COUNT);
    let rotated: String = (1..=COUNT).map(|i| format!("(local.get {})", i % COUNT)).collect();
    let wat = format!(
        r#"(module
        (import "" "collect" (func $collect))
        (func $turn (export "turn") (param {params} i32) (result {params})
            (call $collect)
            (if (local.get {COUNT}) (then
                (return_call $turn {rotated}
                    (i32.sub (local.get {COUNT}) (i32.const 1)))))
            (return_call $give {rotated}))
        (func $give (param {params}) (result {params}) (call $collect) {rotated}))"#
    );
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let collect = Func::wrap(&mut store, |mut caller: Caller<'_, ()>| caller.gc());
    let module = Module::new(&engine, wat).unwrap();
    let instance = Instance::new(&mut store, &module, &[collect.into()]).unwrap();
    let turn = instance.get_func(&mut store, "turn").unwrap();
    let rounds = 2 * COUNT as i32 + 3;
    let refs = (0..COUNT).map(|i| Val::ExternRef(Some(ExternRef::new(i))));
    let args: Vec<Val> = refs.chain([Val::I32(rounds)]).collect();
    let results = turn.call(&mut store, &args).unwrap();
    let turned = rounds as usize + 2;
    for (i, result) in results.iter().enumerate() {
        let value = result.unwrap_externref().expect("not null");
        assert_eq!(value.data().downcast_ref(), Some(&((i + turned) % COUNT)));
    }
}

#[test]
fn results_of_any_number_come_back_through_tail_calls() {
    const COUNT: usize = 300;
    let (types, gets) = ("i32 f64 v128 i64 ".repeat(COUNT / 4), gets(COUNT));
    let wat = format!(
        r#"(module
        (func $last (param {types}) (result {types}) {gets})
        (func $middle (param {types}) (result {types}) (return_call $last {gets}))
        (func (export "run") (param {types}) (result {types}) (return_call $middle {gets})))"#
    );
    let (mut store, instance) = instantiate(&Engine::default(), &wat);
    let run = instance.get_func(&mut store, "run").unwrap();
    let args: Vec<Val> = (0..COUNT)
        .map(|i| match i % 4 {
            0 => Val::I32(i as i32),
            1 => Val::F64((i as f64).to_bits()),
            2 => Val::V128((i as u128) << 64 | 7),
            _ => Val::I64(-(i as i64)),
        })
        .collect();
    let results = run.call(&mut store, &args).unwrap();
    let bits = |values: &[Val]| values.iter().map(|value| format!("{value:?}")).collect::<Vec<_>>();
    assert_eq!(bits(&results), bits(&args));
}

fn gets(count: usize) -> String {
    (0..count).map(|i| format!("(local.get {i})")).collect()
}

#[test]
fn recursion_between_tail_calls_overflows_as_any_other() {
    let (wide, zeros) = ("i64 ".repeat(WIDE), "(i64.const 3)".repeat(WIDE));
    let wat = format!(
        r#"(module
        (func $f (export "deep") (call $g) (nop))
        (func $g (return_call $f))
        (func $narrow (export "deep and wide") (call $gives) (nop))
        (func $gives (return_call $wide {zeros}))
        (func $wide (param {wide}) (return_call $narrow)))"#
    );
    for size in [32 << 10, 512 << 10] {
        let engine = engine(|config| {
            config.max_wasm_stack(size).unwrap().consume_fuel(true);
        });
        let (mut store, instance) = instantiate(&engine, &wat);
        store.add_fuel(u64::MAX).unwrap();
        for name in ["deep", "deep and wide"] {
            let run = instance.get_typed_func::<(), (), _>(&mut store, name).unwrap();
            let trap = run.call(&mut store, ()).unwrap_err();
            assert_eq!(trap.trap_code(), Some(TrapCode::StackOverflow), "{name}: {trap}");
        }
    }
}

#[test]
fn tail_calls_can_be_turned_off() {
    let without = engine(|config| {
        config.wasm_tail_call(false);
    });
    let wat = "(module (func $f return_call $f))";
    let text = format!("{:#}", Module::new(&without, wat).unwrap_err());
    assert!(text.contains("tail calls"), "{text}");
    Module::new(&Engine::default(), wat).unwrap();
}
