//! What throwing costs: fuel, time in one poll, and code for very many handlers.

use std::pin::pin;

use lampwick::{
    Caller, Config, Engine, Func, Instance, Module, OperatorClass, OperatorCosts, OptLevel, Store,
    Val,
};

use crate::support::{
    async_metered, block_on, count_pending, engine, instantiate, instantiate_async, poll,
};

#[test]
fn fuel_is_exact_in_handlers_and_the_way_is_paid_for() {
    let wat = r#"(module
        (import "host" "tick" (func $tick))
        (tag $t (param i32)) (tag $wide (param i64 i64 i64 i64 i64 i64 i64 i64))
        (func $deep (param i32)
            (if (i32.eqz (local.get 0)) (then (throw $t (i32.const 3))))
            (call $deep (i32.sub (local.get 0) (i32.const 1)))
            (nop))
        (func (export "run") (param i32)
            (block $h (result i32)
                (try_table (catch $t $h) (call $deep (local.get 0)))
                (unreachable))
            (call $tick)
            (drop) (drop (i32.const 1)))
        (func (export "inside")
            (block $h (try_table (catch_all $h) (throw $t (i32.const 3))))
            (call $tick))
        (func (export "wide")
            (block $h (try_table (catch_all $h)
                (throw $wide (i64.const 1) (i64.const 1) (i64.const 1) (i64.const 1)
                    (i64.const 1) (i64.const 1) (i64.const 1) (i64.const 1))))
            (call $tick))
        (func (export "again")
            (throw_ref (block $h (result exnref)
                (try_table (catch_all_ref $h) (throw $t (i32.const 3))) (unreachable)))))"#;
    for level in [OptLevel::None, OptLevel::Speed] {
        let engine = engine(|config| {
            let costs = OperatorCosts::new().with(OperatorClass::Throw, 50);
            config.consume_fuel(true).cranelift_opt_level(level).operator_cost(costs);
        });
        let module = Module::new(&engine, wat).unwrap();
        let burned = |name: &str, args: &[Val]| {
            let mut store = Store::new(&engine, 0_u64);
            store.add_fuel(10_000_000).unwrap();
            let tick = Func::wrap(&mut store, |mut caller: Caller<'_, u64>| {
                *caller.data_mut() = caller.fuel_consumed().unwrap();
            });
            let instance = Instance::new(&mut store, &module, &[tick.into()]).unwrap();
            let run = instance.get_func(&mut store, name).unwrap();
            drop(run.call(&mut store, args));
            (*store.data(), store.fuel_consumed().unwrap())
        };
        for depth in [0, 1, 10, 5_000] {
            // Entry, operand, call; each round entry, 3 for the condition, 4 for the call; at the end
            // entry, 3, operand, throw, and a unit for each frame that is left; then the tick.
            let before = 3 + depth * 8 + 4 + 1 + 50 + (depth + 1) + 1;
            let found = burned("run", &[Val::I32(depth as i32)]);
            assert_eq!(found, (before, before + 1), "{depth}, {level:?}");
        }
        assert_eq!(burned("inside", &[]), (1 + 51 + 1, 53));
        assert_eq!(burned("wide", &[]), (1 + 8 + 50 + 1 + 1, 61));
        assert_eq!(burned("again", &[]), (0, 1 + 51 + 50 + 1));
    }
}

/// Recursion of a hundred thousand frames, and a throw at its end.
pub(crate) const DEEP: &str = r#"(module
    (tag $t (param i32)) (tag $other)
    (func $deep (param i32)
        (if (i32.eqz (local.get 0)) (then (throw $t (i32.const 3))))
        (call $deep (i32.sub (local.get 0) (i32.const 1)))
        (nop))
    (func $guarded (param i32)
        (if (i32.eqz (local.get 0)) (then (throw $t (i32.const 3))))
        (block $h
            (try_table (catch $other $h)
                (call $guarded (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "deep") (param i32) (result i32)
        (try_table (catch $t 0) (call $deep (local.get 0)))
        (unreachable))
    (func (export "guarded") (param i32) (result i32)
        (try_table (catch $t 0) (call $guarded (local.get 0)))
        (unreachable)))"#;

pub(crate) fn deep_config(config: &mut Config) -> &mut Config {
    config.max_wasm_stack(60 << 20).unwrap().async_stack_size(62 << 20).unwrap()
}

#[test]
fn a_throw_through_a_hundred_thousand_frames_is_cut_into_parts() {
    const FRAMES: i32 = 100_000;
    let engine = engine(|config| {
        deep_config(config).async_support(true).consume_fuel(true);
    });
    let (mut store, instance) = instantiate_async(&engine, DEEP);
    for name in ["deep", "guarded"] {
        store.add_fuel(100_000_000).unwrap();
        store.out_of_fuel_async_yield(u64::MAX, 100_000_000);
        let run = instance.get_typed_func::<i32, i32, _>(&mut store, name).unwrap();
        let (pending, result) = count_pending(run.call_async(&mut store, FRAMES));
        assert_eq!(result.unwrap(), 3);
        // Some thousand frames are walked at a time.
        assert!((20..1_000).contains(&pending), "{name}: {pending} yields");
        // It can be dropped at each of these places, and the store goes on.
        for polls in [1, 2, 10] {
            let mut call = pin!(run.call_async(&mut store, FRAMES));
            for _ in 0..polls {
                assert!(poll(call.as_mut()).is_pending());
            }
        }
        assert_eq!(block_on(run.call_async(&mut store, 10)).unwrap(), 3);
    }
}

#[test]
fn a_long_way_ends_where_fuel_does() {
    let engine = engine(|config| {
        deep_config(config).consume_fuel(true);
    });
    let (mut store, instance) = instantiate(&engine, DEEP);
    // Enough to get there, and not for the way back.
    store.add_fuel(50_000 * 8 + 100).unwrap();
    let run = instance.get_typed_func::<i32, i32, _>(&mut store, "deep").unwrap();
    let text = run.call(&mut store, 50_000).unwrap_err().to_string();
    assert!(text.contains("all fuel consumed"), "{text}");
}

#[test]
fn a_suspended_call_in_a_construct_can_be_dropped() {
    let wat = r#"(module
        (tag $t)
        (func $spin (loop (br 0)))
        (func (export "run") (block $h (try_table (catch_all $h) (call $spin))))
        (func (export "throws") (result i32)
            (block $h (try_table (catch $t $h) (throw $t))) (i32.const 1)))"#;
    let (mut store, instance) = instantiate_async(&async_metered(), wat);
    store.out_of_fuel_async_yield(u64::MAX, 1_000);
    let run = instance.get_typed_func::<(), (), _>(&mut store, "run").unwrap();
    let throws = instance.get_typed_func::<(), i32, _>(&mut store, "throws").unwrap();
    for _ in 0..3 {
        let mut call = Box::pin(run.call_async(&mut store, ()));
        assert!(poll(call.as_mut()).is_pending());
        drop(call);
        assert_eq!(block_on(throws.call_async(&mut store, ())).unwrap(), 1);
    }
}

#[test]
fn very_many_handlers_are_refused_at_once() {
    let nested = |count: usize, clause: &str, calls: usize| {
        format!(
            "(module (tag $t) (func $f) (func (block $h {} {} {})))",
            format!("(try_table ({clause} $h)").repeat(count),
            "(call $f)".repeat(calls),
            ")".repeat(count),
        )
    };
    let engine = Engine::default();
    let error = Module::new(&engine, nested(2_000, "catch $t", 2_000)).unwrap_err();
    let text = format!("{error:#}");
    assert!(text.contains("more than 2^18 handlers"), "{text}");
    // The innermost one catches all.
    Module::new(&engine, nested(500, "catch_all", 500)).unwrap();
}

#[test]
fn functions_too_large_to_optimize_catch() {
    let many = "(if (local.get 0) (then (call $f)))".repeat(17_500);
    let wat = format!(
        r#"(module (tag $t (param i32))
            (func $f (throw $t (i32.const 6)))
            (func (export "run") (param i32) (result i32)
                (try_table (result i32) (catch $t 0) {many} (i32.const 1))))"#
    );
    // Every value has a place of its own on the stack.
    let engine = engine(|config| {
        deep_config(config).consume_fuel(true);
    });
    let (mut store, instance) = instantiate(&engine, &wat);
    store.add_fuel(1_000_000).unwrap();
    let run = instance.get_typed_func::<i32, i32, _>(&mut store, "run").unwrap();
    assert_eq!(run.call(&mut store, 0).unwrap(), 1);
    assert_eq!(run.call(&mut store, 1).unwrap(), 6);
}
