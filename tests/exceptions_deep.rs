//! Long ways of exceptions: what is heard on them, where they end, and on which threads they go on.

use std::pin::pin;

use lampwick::{
    Caller, Extern, Instance, Linker, Module, OptLevel, Store, Trap, TrapCode, TypedFunc,
};

use crate::exception_costs::{DEEP, deep_config};
use crate::matrix::{PLACES, drive};
use crate::support::{
    Change, Rng, async_metered, block_on, count_pending, engine, instantiate, instantiate_async,
    pend, poll,
};

/// Frames that a throw goes through, so that it is cut into some twenty parts at least.
const FRAMES: i32 = 100_000;

/// A store with [`DEEP`], in an async engine whose guests can have frames as deep as that.
fn deep(change: Change) -> (Store<()>, Instance) {
    let engine = engine(|config| change(deep_config(config).async_support(true)));
    let mut store = Store::new(&engine, ());
    // Fails where there is none.
    let _ = store.add_fuel(u64::MAX);
    store.set_epoch_deadline(1);
    let module = Module::new(&engine, DEEP).unwrap();
    let instance = block_on(Instance::new_async(&mut store, &module, &[])).unwrap();
    (store, instance)
}

fn run(store: &mut Store<()>, instance: &Instance, name: &str) -> TypedFunc<i32, i32> {
    instance.get_typed_func(store, name).unwrap()
}

/// Where nothing counts fuel, a guest suspends only on the way of its exception.
#[test]
fn an_interrupt_is_heard_on_the_way_of_an_exception() {
    let (mut store, instance) = deep(|config| _ = config.interruptable(true));
    let handle = store.interrupt_handle().unwrap();
    for name in ["deep", "guarded"] {
        let run = run(&mut store, &instance, name);
        for polls in [1, 5, 15] {
            let mut call = pin!(run.call_async(&mut store, FRAMES));
            (0..polls).for_each(|_| assert!(poll(call.as_mut()).is_pending()));
            handle.interrupt();
            let (pending, result) = count_pending(call);
            let trap = result.unwrap_err();
            assert_eq!(trap.trap_code(), Some(TrapCode::Interrupt), "{name}: {trap}");
            assert!(pending <= 1, "{name}: {pending} more parts of the way");
        }
        assert_eq!(block_on(run.call_async(&mut store, 10)).unwrap(), 3, "{name}");
    }
}

#[test]
fn a_deadline_is_heard_on_the_way_of_an_exception() {
    let (mut store, instance) = deep(|config| _ = config.epoch_interruption(true));
    let engine = store.engine().clone();
    let run = run(&mut store, &instance, "guarded");
    {
        let mut call = pin!(run.call_async(&mut store, FRAMES));
        assert!(poll(call.as_mut()).is_pending());
        engine.increment_epoch();
        let (pending, result) = count_pending(call);
        assert_eq!(result.unwrap_err().trap_code(), Some(TrapCode::Interrupt));
        assert!(pending <= 1, "{pending} more parts of the way");
    }
    // One that only yields: the exception arrives, later.
    store.set_epoch_deadline(1);
    store.epoch_deadline_async_yield_and_update(1);
    let (undisturbed, result) = count_pending(run.call_async(&mut store, FRAMES));
    assert_eq!(result.unwrap(), 3);
    let mut call = pin!(run.call_async(&mut store, FRAMES));
    let mut disturbed = 0;
    let result = loop {
        engine.increment_epoch();
        match poll(call.as_mut()) {
            std::task::Poll::Ready(result) => break result,
            std::task::Poll::Pending => disturbed += 1,
        }
    };
    assert_eq!(result.unwrap(), 3);
    assert!(disturbed > undisturbed + 10, "{disturbed} and {undisturbed} yields");
}

/// Frames that catch everything and throw it again: each throw is short, there are many of them.
const HANDLERS: &str = r#"(module
    (import "host" "bottom" (func $bottom))
    (tag $t) (global $caught (export "caught") (mut i32) (i32.const 0))
    (func $catches (param i32)
        (if (i32.eqz (local.get 0)) (then (call $bottom) (throw $t)))
        (throw_ref (block $h (result exnref)
            (try_table (catch_all_ref $h)
                (call $catches (i32.sub (local.get 0) (i32.const 1))))
            (unreachable))
            (global.set $caught (i32.add (global.get $caught) (i32.const 1)))))
    (func (export "run") (param i32) (result i32)
        (block $h (try_table (catch $t $h) (call $catches (local.get 0))))
        (i32.const 3)))"#;

#[test]
fn handlers_that_throw_again_are_interrupted() {
    let engine = engine(|config| _ = config.interruptable(true));
    let mut store = Store::new(&engine, false);
    let handle = store.interrupt_handle().unwrap();
    let mut linker = Linker::new(&engine);
    // From the bottom on there is no entry of a function, and no turn of a loop.
    let bottom = move |caller: Caller<'_, bool>| {
        if *caller.data() {
            handle.interrupt();
        }
    };
    linker.func_wrap("host", "bottom", bottom).unwrap();
    let module = Module::new(&engine, HANDLERS).unwrap();
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let run = instance.get_typed_func::<i32, i32, _>(&mut store, "run").unwrap();
    assert_eq!(run.call(&mut store, 2_000).unwrap(), 3);
    *store.data_mut() = true;
    let trap = run.call(&mut store, 2_000).unwrap_err();
    assert_eq!(trap.trap_code(), Some(TrapCode::Interrupt), "{trap}");
    let caught = instance.get_global(&mut store, "caught").unwrap().get(&mut store);
    assert_eq!(caught.unwrap_i32(), 2_000, "all in the first call, none in the second");
}

/// The way is charged when it is known, and fuel may end there, or in a handler.
#[test]
fn fuel_that_ends_on_the_way_or_in_a_handler_ends_the_guest() {
    for name in ["deep", "guarded"] {
        let (mut store, instance) = deep(|config| _ = config.consume_fuel(true));
        let run = run(&mut store, &instance, name);
        let burned = |store: &mut Store<()>, fuel: u64, frames| {
            store.set_fuel(fuel).unwrap();
            let before = store.fuel_consumed().unwrap();
            let result = block_on(run.call_async(&mut *store, frames));
            (result, store.fuel_consumed().unwrap() - before)
        };
        let (result, all) = burned(&mut store, 100_000_000, FRAMES);
        assert_eq!(result.unwrap(), 3);
        assert_eq!(burned(&mut store, all, FRAMES).0.unwrap(), 3, "{name}: it is just enough");
        // The last of it pays for the way, a unit for each frame.
        for missing in [1, 2, FRAMES as u64 / 2, FRAMES as u64] {
            let (result, burned) = burned(&mut store, all - missing, FRAMES);
            let text = result.unwrap_err().to_string();
            assert!(text.contains("all fuel consumed"), "{name}, {missing}: {text}");
            assert!((all - missing..=all).contains(&burned), "{name}, {missing}: {burned}");
        }
        assert_eq!(burned(&mut store, 1_000, 10).0.unwrap(), 3, "{name}");
    }
    let text = HANDLERS.replace(r#"(import "host" "bottom" (func $bottom))"#, "(func $bottom)");
    let engine = async_metered();
    let run = |fuel, slice| {
        let (mut store, instance) = instantiate_async(&engine, &text);
        store.add_fuel(fuel).unwrap();
        store.fuel_async_yield_interval(slice).unwrap();
        let run = instance.get_typed_func::<i32, i32, _>(&mut store, "run").unwrap();
        let (pending, result) = count_pending(run.call_async(&mut store, 1_000));
        (pending, result, store.fuel_consumed().unwrap())
    };
    let (_, result, all) = run(1_000_000, None);
    assert_eq!(result.unwrap(), 3);
    for slice in [1, 7, 100] {
        let (pending, result, consumed) = run(all, Some(slice));
        assert_eq!((result.unwrap(), consumed), (3, all));
        let few = "yields for so many units in slices of";
        assert!(pending >= all / (slice + 20), "{pending} {few} {slice}: {all}");
    }
    // Whichever of the handlers is the last that can be paid.
    for missing in [20, 500, 1_500, 5_000] {
        let text = run(all - missing, None).1.unwrap_err().to_string();
        assert!(text.contains("all fuel consumed"), "{missing}: {text}");
    }
}

/// A fiber that has moved throws, on its way moves again, and catches.
#[test]
fn an_exception_goes_on_with_its_fiber_on_other_threads() {
    for place in PLACES {
        let (mut store, instance) = deep(|_| {});
        for name in ["deep", "guarded"] {
            let run = run(&mut store, &instance, name);
            let call = run.call_async(&mut store, FRAMES);
            let result = drive(place, call).unwrap_or_else(|_| panic!("{place:?} panics"));
            assert_eq!(result.unwrap(), 3, "{name}, {place:?}");
        }
    }
}

const MOVING: &str = r#"(module
    (import "host" "wait" (func $wait)) (import "host" "call" (func $call (param i32)))
    (tag $t (export "t") (param i32))
    (func $inner (export "inner") (param i32)
        (call $wait) (throw $t (local.get 0)))
    (func (export "outer") (param i32) (result i32)
        (block $h (result i32)
            (try_table (catch $t $h) (call $inner (local.get 0)))
            (unreachable))
        (call $wait) (drop)
        (block $no
            (try_table (catch_all $no) (call $call (local.get 0)))
            (return (i32.const 3)))
        (i32.const 4)))"#;

/// A guest calls the host, which calls a guest that throws; in between they wait and change threads.
/// The host gets an error, which it may keep or pass on, and no guest catches it.
#[test]
fn an_exception_ends_at_the_host_that_called_its_guest() {
    let engine = engine(|config| _ = config.async_support(true));
    for passes_on in [false, true] {
        let mut linker = Linker::<()>::new(&engine);
        linker.func_wrap0_async("host", "wait", |_: Caller<'_, ()>| Box::new(pend(3))).unwrap();
        linker
            .func_wrap1_async("host", "call", move |mut caller: Caller<'_, ()>, value: i32| {
                Box::new(async move {
                    let inner = caller.get_export("inner").and_then(Extern::into_func).unwrap();
                    let inner = inner.typed::<i32, (), _>(&caller)?;
                    let trap = inner.call_async(&mut caller, value).await.unwrap_err();
                    pend(2).await;
                    let values = trap.exception().expect("it is one").values();
                    assert_eq!(values[0].unwrap_i32(), value);
                    if passes_on { Err::<(), Trap>(trap) } else { Ok(()) }
                })
            })
            .unwrap();
        let module = Module::new(&engine, MOVING).unwrap();
        for place in PLACES {
            let mut store = Store::new(&engine, ());
            let instance = block_on(linker.instantiate_async(&mut store, &module)).unwrap();
            let outer = instance.get_typed_func::<i32, i32, _>(&mut store, "outer").unwrap();
            let result = drive(place, outer.call_async(&mut store, 7));
            match result.unwrap_or_else(|_| panic!("{place:?} panics")) {
                Ok(answer) => assert!(!passes_on && answer == 3, "{answer}"),
                Err(trap) => {
                    assert!(passes_on, "{trap}");
                    let tag = instance.get_tag(&mut store, "t").unwrap();
                    assert_eq!(trap.exception().unwrap().tag(), tag);
                }
            }
        }
    }
}

/// What is not heard cannot be counted on: the interrupt of another store does nothing here.
#[test]
fn a_throw_hears_its_own_store_alone() {
    let engine = engine(|config| _ = config.interruptable(true));
    let text = HANDLERS.replace(r#"(import "host" "bottom" (func $bottom))"#, "(func $bottom)");
    let (mut store, instance) = instantiate(&engine, &text);
    let other = Store::new(&engine, ());
    other.interrupt_handle().unwrap().interrupt();
    let run = instance.get_typed_func::<i32, i32, _>(&mut store, "run").unwrap();
    assert_eq!(run.call(&mut store, 100).unwrap(), 3);
}

/// A function that calls itself with nine values alive. Each third level catches and throws anew, the
/// innermost one in its own construct.
const PRESSED: &str = r#"(module
    (memory 1)
    (tag $t (param i64))
    (func $down (export "down") (param $depth i32) (result i64)
        (local $a i64) (local $b i64) (local $c i64) (local $d i64) (local $e i64)
        (local $f i64) (local $g i64) (local $x f64) (local $y f64) (local $i i32)
        (local.set $i (i32.and (local.get $depth) (i32.const 0xff)))
        (local.set $a (i64.load (local.get $i)))
        (local.set $b (i64.load offset=8 (local.get $i)))
        (local.set $c (i64.load offset=16 (local.get $i)))
        (local.set $d (i64.load offset=24 (local.get $i)))
        (local.set $e (i64.load offset=32 (local.get $i)))
        (local.set $f (i64.load offset=40 (local.get $i)))
        (local.set $g (i64.load offset=48 (local.get $i)))
        (local.set $x (f64.load offset=56 (local.get $i)))
        (local.set $y (f64.load offset=64 (local.get $i)))
        (local.set $a (i64.xor (local.get $a)
            (if (result i64) (i32.rem_u (local.get $depth) (i32.const 3))
                (then (call $down (i32.sub (local.get $depth) (i32.const 1))))
                (else
                    (block $h (result i64)
                        (try_table (catch $t $h)
                            (if (i32.eqz (local.get $depth))
                                (then (throw $t (i64.load offset=72 (local.get $i)))))
                            (drop (call $down (i32.sub (local.get $depth) (i32.const 1)))))
                        (i64.const 1))))))
        (local.set $a (i64.mul (local.get $a) (i64.const 31)))
        (local.set $a (i64.mul (i64.xor (local.get $a) (local.get $b)) (i64.const 31)))
        (local.set $a (i64.mul (i64.xor (local.get $a) (local.get $c)) (i64.const 31)))
        (local.set $a (i64.mul (i64.xor (local.get $a) (local.get $d)) (i64.const 31)))
        (local.set $a (i64.mul (i64.xor (local.get $a) (local.get $e)) (i64.const 31)))
        (local.set $a (i64.mul (i64.xor (local.get $a) (local.get $f)) (i64.const 31)))
        (local.set $a (i64.mul (i64.xor (local.get $a) (local.get $g)) (i64.const 31)))
        (local.set $a (i64.mul (i64.xor (local.get $a)
            (i64.reinterpret_f64 (local.get $x))) (i64.const 31)))
        (local.set $a (i64.mul (i64.xor (local.get $a)
            (i64.reinterpret_f64 (local.get $y))) (i64.const 31)))
        (throw $t (local.get $a)))
    (func (export "run") (param i32) (result i64)
        (block $h (result i64)
            (try_table (catch $t $h) (drop (call $down (local.get 0))))
            (i64.const 0))))"#;

#[test]
fn recursion_finds_the_values_of_each_level() {
    let mut rng = Rng::new("recursion_finds_the_values_of_each_level");
    let bytes: Vec<u8> = (0..1024).map(|_| rng.next() as u8).collect();
    let word = |depth: u64, place: u64| {
        let at = ((depth & 0xff) + 8 * place) as usize;
        u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
    };
    let expected = |depth: u64| {
        (0..=depth).step_by(3).fold(word(0, 9), |thrown, level| {
            let first = (word(level, 0) ^ thrown).wrapping_mul(31);
            (1..9).fold(first, |sum, place| (sum ^ word(level, place)).wrapping_mul(31))
        })
    };
    for level in [OptLevel::None, OptLevel::Speed] {
        for metered in [false, true] {
            let engine = engine(|config| {
                config.cranelift_opt_level(level).consume_fuel(metered);
            });
            let (mut store, instance) =
                instantiate(&engine, &PRESSED.replace("(memory 1)", &memory(&bytes)));
            let _ = store.add_fuel(u64::MAX);
            let run = instance.get_typed_func::<i32, i64, _>(&mut store, "run").unwrap();
            for depth in [0, 1, 2, 3, 6, 11, 300, 1000] {
                let caught = run.call(&mut store, depth).unwrap() as u64;
                assert_eq!(caught, expected(depth as u64), "{depth} deep, {level:?}, {metered}");
            }
        }
    }
}

fn memory(bytes: &[u8]) -> String {
    let bytes: String = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
    format!("(memory 1) (data (i32.const 0) \"{bytes}\")")
}
