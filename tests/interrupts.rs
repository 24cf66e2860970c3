//! Interrupts: from where and when they may come, and that each stops one guest once.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;

use lampwick::{
    AsContext, Caller, Engine, Instance, InterruptHandle, Linker, Module, OptLevel, Store, Trap,
    TrapCode, TypedFunc, Val,
};

use crate::support::{Change, block_on, engine, instantiate, instantiate_async, poll, trap};

/// Guests that never end, each in a way of its own, and one that does.
const GUESTS: &str = r#"(module
    (memory 1) (table 1 funcref) (elem (i32.const 0) $tail)
    (global $started (export "started") (mut i32) (i32.const 0))
    (func (export "empty loop") (loop (br 0)))
    (func (export "loop that computes") (local i64)
        (loop (local.set 0 (i64.add (local.get 0) (i64.const 1))) (br 0)))
    (func (export "loop that stores")
        (loop (i32.store (i32.const 8) (i32.load (i32.const 8))) (br 0)))
    (func (export "nested loops") (local i32)
        (loop
            (local.set 0 (i32.const 100))
            (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
            (br 0)))
    (func $deep (param i32)
        (if (local.get 0) (then (call $deep (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "recursion") (loop (call $deep (i32.const 100)) (br 0)))
    (func $fork (param i32) (if (local.get 0) (then
        (call $fork (i32.sub (local.get 0) (i32.const 1)))
        (call $fork (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "recursion without loops") (call $fork (i32.const 60)))
    (func $tail (param i32) (if (local.get 0) (then
        (call_indirect (param i32) (i32.sub (local.get 0) (i32.const 1)) (i32.const 0))
        (call_indirect (param i32) (i32.sub (local.get 0) (i32.const 1)) (i32.const 0)))))
    (func (export "indirect recursion") (call $tail (i32.const 60)))
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))"#;

const ENDLESS: &[&str] = &[
    "empty loop",
    "loop that computes",
    "loop that stores",
    "nested loops",
    "recursion",
    "recursion without loops",
    "indirect recursion",
];

/// Configurations that make different code of a check.
const CONFIGURATIONS: &[(&str, Change)] = &[
    ("default", |_| {}),
    ("epochs", |config| {
        config.epoch_interruption(true);
    }),
    ("fuel", |config| {
        config.consume_fuel(true);
    }),
    ("fuel and epochs", |config| {
        config.consume_fuel(true).epoch_interruption(true);
    }),
    ("no optimization", |config| {
        config.cranelift_opt_level(OptLevel::None);
    }),
    ("small code", |config| {
        config.cranelift_opt_level(OptLevel::SpeedAndSize);
    }),
];

fn interruptable(change: Change) -> Engine {
    engine(|config| change(config.interruptable(true)))
}

/// A store with all the fuel and time that there is, an instance of the guests, and a handle.
fn guests(engine: &Engine) -> (Store<()>, Instance, InterruptHandle) {
    let (mut store, instance) = instantiate(engine, GUESTS);
    // Fails where there is none.
    let _ = store.add_fuel(u64::MAX);
    store.set_epoch_deadline(u64::MAX);
    let handle = store.interrupt_handle().unwrap();
    (store, instance, handle)
}

fn assert_interrupted(label: &str, trap: &Trap) {
    assert_eq!(trap.trap_code(), Some(TrapCode::Interrupt), "{label}: {trap}");
    assert!(trap.to_string().contains("wasm trap: interrupt"), "{label}: {trap}");
}

fn add(store: &mut Store<()>, instance: &Instance) -> TypedFunc<(i32, i32), i32> {
    instance.get_typed_func(store, "add").unwrap()
}

#[test]
fn every_endless_guest_is_stopped_from_another_thread() {
    for (label, change) in CONFIGURATIONS {
        let engine = interruptable(*change);
        let (mut store, instance, handle) = guests(&engine);
        for name in ENDLESS {
            let label = format!("{label}, {name}");
            let run = instance.get_typed_func::<(), (), _>(&mut store, name).unwrap();
            let started = Barrier::new(2);
            let trap = thread::scope(|scope| {
                scope.spawn(|| {
                    started.wait();
                    handle.interrupt();
                });
                started.wait();
                run.call(&mut store, ()).unwrap_err()
            });
            assert_interrupted(&label, &trap);
            assert!(!trap.trace().is_empty(), "{label}: {trap}");
            assert_eq!(add(&mut store, &instance).call(&mut store, (2, 3)).unwrap(), 5, "{label}");
        }
    }
}

#[test]
fn a_running_loop_is_stopped() {
    // The guest says through the host that it runs, so that the interrupt is not there before.
    let text = r#"(module (import "" "running" (func $running)) (memory 1)
        (func (export "empty") call $running loop br 0 end)
        (func (export "loads") (local i32) call $running
            loop i32.const 8 i32.load local.get 0 i32.add local.set 0 br 0 end))"#;
    for (label, change) in CONFIGURATIONS {
        let engine = interruptable(*change);
        let mut linker = Linker::<Sender<()>>::new(&engine);
        let running = |caller: Caller<'_, Sender<()>>| caller.data().send(()).unwrap();
        linker.func_wrap("", "running", running).unwrap();
        let module = Module::new(&engine, text).unwrap();
        for name in ["empty", "loads"].repeat(5) {
            let (sender, receiver) = mpsc::channel();
            let mut store = Store::new(&engine, sender);
            let _ = store.add_fuel(u64::MAX);
            store.set_epoch_deadline(u64::MAX);
            let instance = linker.instantiate(&mut store, &module).unwrap();
            let run = instance.get_typed_func::<(), (), _>(&mut store, name).unwrap();
            let handle = store.interrupt_handle().unwrap();
            let interrupter = thread::spawn(move || {
                receiver.recv().unwrap();
                handle.interrupt();
            });
            assert_interrupted(label, &run.call(&mut store, ()).unwrap_err());
            interrupter.join().unwrap();
        }
    }
}

#[test]
fn one_that_is_sent_before_waits_and_is_consumed_once() {
    for (label, change) in CONFIGURATIONS {
        let engine = interruptable(*change);
        let (mut store, instance, handle) = guests(&engine);
        let add = add(&mut store, &instance);
        handle.interrupt();
        // At the entry of the function: there is no loop.
        assert_interrupted(label, &add.call(&mut store, (1, 2)).unwrap_err());
        for _ in 0..3 {
            assert_eq!(add.call(&mut store, (1, 2)).unwrap(), 3, "{label}");
        }
        // Those that nobody has seen yet are one.
        handle.interrupt();
        handle.clone().interrupt();
        assert_interrupted(label, &add.call(&mut store, (1, 2)).unwrap_err());
        assert_eq!(add.call(&mut store, (1, 2)).unwrap(), 3, "{label}");
    }
}

#[test]
fn a_start_function_is_interrupted() {
    let engine = interruptable(|_| {});
    let module =
        Module::new(&engine, "(module (func $start (loop (br 0))) (start $start))").unwrap();
    let mut store = Store::new(&engine, ());
    store.interrupt_handle().unwrap().interrupt();
    let error = Instance::new(&mut store, &module, &[]).unwrap_err();
    assert_interrupted("start", &trap(error));
}

#[test]
fn stores_are_interrupted_apart() {
    let engine = interruptable(|_| {});
    let (mut one, in_one, handle) = guests(&engine);
    let (mut other, in_other, _) = guests(&engine);
    handle.interrupt();
    assert_eq!(add(&mut other, &in_other).call(&mut other, (1, 2)).unwrap(), 3);
    assert!(add(&mut one, &in_one).call(&mut one, (1, 2)).is_err());
}

#[test]
fn a_handle_outlives_its_store_and_engine() {
    let engine = interruptable(|_| {});
    let (store, _, handle) = guests(&engine);
    drop((store, engine));
    handle.interrupt();
    thread::spawn(move || handle.interrupt()).join().unwrap();
}

#[test]
fn a_handle_can_be_had_only_where_guests_look_for_interrupts() {
    let changes: [Change; 2] = [
        |_| {},
        |config| {
            config.epoch_interruption(true);
        },
    ];
    for change in changes {
        let store = Store::new(&engine(change), ());
        let error = store.interrupt_handle().unwrap_err();
        assert!(error.to_string().contains("Config::interruptable"), "{error}");
        assert!(store.as_context().interrupt_handle().is_err());
    }
}

#[test]
fn handles_can_be_shared() {
    fn check<H: Send + Sync + Clone + 'static>() {}
    check::<InterruptHandle>();
}

#[test]
fn many_threads_interrupt_at_once() {
    let engine = interruptable(|_| {});
    let (mut store, instance, handle) = guests(&engine);
    let run = instance.get_typed_func::<(), (), _>(&mut store, "nested loops").unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    handle.interrupt();
                    thread::yield_now();
                }
            });
        }
        for _ in 0..500 {
            assert_interrupted("many", &run.call(&mut store, ()).unwrap_err());
        }
        done.store(true, Ordering::Relaxed);
    });
    // One may have come after the last call.
    let add = add(&mut store, &instance);
    let _ = add.call(&mut store, (1, 2));
    assert_eq!(add.call(&mut store, (1, 2)).unwrap(), 3);
}

#[test]
fn the_host_is_not_interrupted_but_the_guest_behind_it() {
    let engine = interruptable(|_| {});
    let mut linker = Linker::<u32>::new(&engine);
    linker
        .func_wrap("", "host", |mut caller: Caller<'_, u32>| {
            caller.interrupt_handle().unwrap().interrupt();
            *caller.data_mut() += 1;
        })
        .unwrap();
    let text = r#"(module (import "" "host" (func $host))
        (memory (export "memory") 4)
        (func (export "straight")
            call $host
            i32.const 0 i32.const 7 i32.const 30000 memory.fill)
        (func $callee unreachable)
        (func (export "calls") call $host call $callee))"#;
    let module = Module::new(&engine, text).unwrap();
    let mut store = Store::new(&engine, 0);
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let straight = instance.get_typed_func::<(), (), _>(&mut store, "straight").unwrap();
    let calls = instance.get_typed_func::<(), (), _>(&mut store, "calls").unwrap();
    // No check stands between the interrupt and the end; it waits for the next call.
    straight.call(&mut store, ()).unwrap();
    let memory = instance.get_memory(&mut store, "memory").unwrap();
    assert_eq!(memory.data(&store)[29_999], 7);
    assert_interrupted("next", &calls.call(&mut store, ()).unwrap_err());
    assert_eq!(*store.data(), 1, "the entry saw it");
    let trap = calls.call(&mut store, ()).unwrap_err();
    assert_interrupted("callee", &trap);
    assert_eq!((*store.data(), trap.trace().len()), (2, 2), "{trap}");
}

#[test]
fn nested_wasm_consumes_it_and_the_host_decides() {
    let engine = interruptable(|_| {});
    let mut store = Store::new(&engine, ());
    let text = r#"(module (import "" "host" (func $host (result i32)))
        (func (export "inner") (loop (br 0)))
        (func (export "outer") (result i32) (local i32)
            (loop (br_if 0 (i32.lt_u
                (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 1000))))
            (i32.add (call $host) (local.get 0))))"#;
    let module = Module::new(&engine, text).unwrap();
    let mut linker = Linker::<()>::new(&engine);
    linker
        .func_wrap("", "host", |mut caller: Caller<'_, ()>| {
            caller.interrupt_handle().unwrap().interrupt();
            let inner = caller.get_export("inner").unwrap().into_func().unwrap();
            let error = inner.call(&mut caller, &[]).unwrap_err();
            assert_interrupted("inner", &trap(error));
            1
        })
        .unwrap();
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let outer = instance.get_func(&mut store, "outer").unwrap();
    assert!(matches!(outer.call(&mut store, &[]).unwrap()[..], [Val::I32(1001)]));
}

#[test]
fn interrupts_cost_no_fuel_and_lose_none() {
    // What each body burned when it is interrupted after the call of the host.
    let cases = [
        // The head of a loop: all before it is paid.
        ("call $host i32.const 1 drop loop br 0 end", 1 + 1 + 1),
        // A function's entry is paid by whoever enters.
        ("i32.const 5 drop call $host call $empty unreachable", 1 + 1 + 1 + 1 + 1),
        // Behind other rounds of the same loop: 5 for each, and 1 for what follows.
        (
            "(local i32) i32.const 3 local.set 0
             loop local.get 0 i32.const 1 i32.sub local.tee 0 br_if 0 end
             call $host loop br 0 end",
            1 + 2 + 3 * 5 + 1,
        ),
    ];
    for epochs in [false, true] {
        let engine = engine(|config| {
            config.consume_fuel(true).interruptable(true).epoch_interruption(epochs);
        });
        for (body, cost) in cases {
            let mut linker = Linker::<()>::new(&engine);
            linker
                .func_wrap("", "host", |caller: Caller<'_, ()>| {
                    caller.interrupt_handle().unwrap().interrupt();
                })
                .unwrap();
            let text = format!(
                r#"(module (import "" "host" (func $host))
                    (func $empty) (func (export "run") {body}))"#
            );
            let mut store = Store::new(&engine, ());
            store.set_epoch_deadline(u64::MAX);
            store.add_fuel(1_000_000).unwrap();
            let module = Module::new(&engine, text).unwrap();
            let instance = linker.instantiate(&mut store, &module).unwrap();
            let run = instance.get_typed_func::<(), (), _>(&mut store, "run").unwrap();
            assert_interrupted(body, &run.call(&mut store, ()).unwrap_err());
            assert_eq!(store.fuel_consumed(), Some(cost), "{body}");
            // What is left is the rest.
            assert!(store.consume_fuel(1_000_000 - cost).is_err(), "{body}");
            assert_eq!(store.consume_fuel(1_000_000 - cost - 1).unwrap(), 1, "{body}");
        }
    }
}

#[test]
fn a_guest_without_fuel_leaves_the_interrupt_to_the_next() {
    let engine = interruptable(|config| {
        config.consume_fuel(true);
    });
    let (mut store, instance) = instantiate(&engine, GUESTS);
    let handle = store.interrupt_handle().unwrap();
    handle.interrupt();
    let add = add(&mut store, &instance);
    let trap = add.call(&mut store, (1, 2)).unwrap_err();
    assert!(trap.is_out_of_fuel() && trap.to_string().contains("all fuel consumed"), "{trap}");
    store.add_fuel(100).unwrap();
    let trap = add.call(&mut store, (1, 2)).unwrap_err();
    assert!(!trap.is_out_of_fuel());
    assert_interrupted("fuel", &trap);
    assert_eq!(add.call(&mut store, (1, 2)).unwrap(), 3);
}

#[test]
fn a_guest_that_is_suspended_is_interrupted_when_it_goes_on() {
    let engine = engine(|config| {
        config.async_support(true).consume_fuel(true).interruptable(true);
    });
    let (mut store, instance) = instantiate_async(&engine, GUESTS);
    store.out_of_fuel_async_yield(u64::MAX, 1000);
    let handle = store.interrupt_handle().unwrap();
    let run = instance.get_typed_func::<(), (), _>(&mut store, "loop that stores").unwrap();
    let mut call = Box::pin(run.call_async(&mut store, ()));
    for _ in 0..10 {
        assert!(poll(call.as_mut()).is_pending());
    }
    thread::spawn(move || handle.interrupt()).join().unwrap();
    match poll(call.as_mut()) {
        std::task::Poll::Ready(Err(trap)) => assert_interrupted("suspended", &trap),
        other => panic!("the guest goes on: {other:?}"),
    }
    drop(call);
    let add = add(&mut store, &instance);
    assert_eq!(block_on(add.call_async(&mut store, (1, 2))).unwrap(), 3);
}
