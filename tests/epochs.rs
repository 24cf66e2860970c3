//! Epochs: deadlines that trap or yield, counted by the engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::task::{Context, Poll, Wake};
use std::thread;

use lampwick::{
    AsContextMut, Caller, Engine, Instance, Linker, Module, OptLevel, Store, Trap, TrapCode,
};

use crate::support::{
    Census, Change, block_on, count_pending, engine, instantiate, instantiate_async, panic_of,
    poll, trap,
};

const GUESTS: &str = r#"(module
    (func (export "forever") (loop (br 0)))
    (func $fork (param i32) (if (local.get 0) (then
        (call $fork (i32.sub (local.get 0) (i32.const 1)))
        (call $fork (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "recursion") (call $fork (i32.const 60)))
    (func (export "rounds") (param i32) (result i32) (local i32)
        (loop
            (local.set 1 (i32.add (local.get 1) (i32.const 3)))
            (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (local.get 1))
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))"#;

fn with_epochs(change: Change) -> Engine {
    engine(|config| change(config.epoch_interruption(true)))
}

fn asynchronous() -> Engine {
    with_epochs(|config| {
        config.async_support(true);
    })
}

fn assert_late(label: &str, trap: &Trap) {
    assert_eq!(trap.trap_code(), Some(TrapCode::Interrupt), "{label}: {trap}");
    assert!(trap.to_string().contains("wasm trap: interrupt"), "{label}: {trap}");
}

fn add(store: &mut Store<()>, instance: &Instance) -> Result<i32, Trap> {
    let add = instance.get_typed_func::<(i32, i32), i32, _>(&mut *store, "add").unwrap();
    add.call(store, (1, 2))
}

#[test]
fn the_deadline_comes_with_its_epoch_and_stays() {
    let engine = with_epochs(|_| {});
    let (mut store, instance) = instantiate(&engine, GUESTS);
    assert_late("a new store", &add(&mut store, &instance).unwrap_err());
    for ticks in [0, 1, 2, 5] {
        store.set_epoch_deadline(ticks);
        for tick in 0..ticks {
            assert_eq!(add(&mut store, &instance).unwrap(), 3, "{tick} of {ticks}");
            engine.increment_epoch();
        }
        for _ in 0..3 {
            assert_late("the deadline", &add(&mut store, &instance).unwrap_err());
            engine.increment_epoch();
        }
    }
    store.set_epoch_deadline(u64::MAX);
    engine.increment_epoch();
    assert_eq!(add(&mut store, &instance).unwrap(), 3);
}

#[test]
fn a_start_function_has_the_deadline_too() {
    let engine = with_epochs(|_| {});
    let module = Module::new(&engine, "(module (func $start) (start $start))").unwrap();
    let mut store = Store::new(&engine, ());
    assert_late("start", &trap(Instance::new(&mut store, &module, &[]).unwrap_err()));
    store.set_epoch_deadline(1);
    Instance::new(&mut store, &module, &[]).unwrap();
}

#[test]
fn guests_are_stopped_from_another_thread() {
    let changes: [Change; 4] = [
        |_| {},
        |config| {
            config.interruptable(true);
        },
        |config| {
            config.consume_fuel(true);
        },
        |config| {
            config.cranelift_opt_level(OptLevel::None);
        },
    ];
    for change in changes {
        let engine = with_epochs(change);
        let (mut store, instance) = instantiate(&engine, GUESTS);
        let _ = store.add_fuel(u64::MAX);
        for name in ["forever", "recursion"] {
            store.set_epoch_deadline(3);
            let run = instance.get_typed_func::<(), (), _>(&mut store, name).unwrap();
            let trap = thread::scope(|scope| {
                scope.spawn(|| (0..3).for_each(|_| engine.increment_epoch()));
                run.call(&mut store, ()).unwrap_err()
            });
            assert_late(name, &trap);
        }
    }
}

#[test]
fn a_running_loop_meets_its_deadline() {
    // The guest says through the host that it runs, so that the epoch ends behind its entry.
    let text = r#"(module (import "" "running" (func $running))
        (func (export "run") call $running loop br 0 end))"#;
    let changes: [Change; 3] = [
        |_| {},
        |config| {
            config.interruptable(true).consume_fuel(true);
        },
        |config| {
            config.cranelift_opt_level(OptLevel::None);
        },
    ];
    for change in changes {
        let engine = with_epochs(change);
        let mut linker = Linker::<Sender<()>>::new(&engine);
        let running = |caller: Caller<'_, Sender<()>>| caller.data().send(()).unwrap();
        linker.func_wrap("", "running", running).unwrap();
        let module = Module::new(&engine, text).unwrap();
        for _ in 0..10 {
            let (sender, receiver) = mpsc::channel();
            let mut store = Store::new(&engine, sender);
            let _ = store.add_fuel(u64::MAX);
            store.set_epoch_deadline(1);
            let instance = linker.instantiate(&mut store, &module).unwrap();
            let run = instance.get_typed_func::<(), (), _>(&mut store, "run").unwrap();
            let clock = thread::spawn({
                let engine = engine.clone();
                move || {
                    receiver.recv().unwrap();
                    engine.increment_epoch();
                }
            });
            assert_late("running", &run.call(&mut store, ()).unwrap_err());
            clock.join().unwrap();
        }
    }
}

#[test]
fn all_stores_of_an_engine_have_one_epoch_and_engines_their_own() {
    let (engine, other) = (with_epochs(|_| {}), with_epochs(|_| {}));
    let mut stores: Vec<_> = (0..3).map(|_| instantiate(&engine, GUESTS)).collect();
    let (mut apart, in_apart) = instantiate(&other, GUESTS);
    stores.iter_mut().for_each(|(store, _)| store.set_epoch_deadline(1));
    apart.set_epoch_deadline(1);
    engine.clone().increment_epoch();
    for (store, instance) in &mut stores {
        assert_late("the same engine", &add(store, instance).unwrap_err());
    }
    assert_eq!(add(&mut apart, &in_apart).unwrap(), 3);
}

#[test]
fn without_epochs_there_are_no_deadlines() {
    let changes: [Change; 2] = [
        |_| {},
        |config| {
            config.interruptable(true);
        },
    ];
    for change in changes {
        let engine = engine(change);
        let (mut store, instance) = instantiate(&engine, GUESTS);
        store.set_epoch_deadline(0);
        engine.increment_epoch();
        assert_eq!(add(&mut store, &instance).unwrap(), 3);
    }
}

#[test]
fn an_interrupt_does_not_move_the_deadline() {
    let engine = with_epochs(|config| {
        config.interruptable(true);
    });
    let (mut store, instance) = instantiate(&engine, GUESTS);
    let handle = store.interrupt_handle().unwrap();
    store.set_epoch_deadline(2);
    handle.interrupt();
    assert_late("interrupt", &add(&mut store, &instance).unwrap_err());
    engine.increment_epoch();
    assert_eq!(add(&mut store, &instance).unwrap(), 3);
    engine.increment_epoch();
    assert_late("deadline", &add(&mut store, &instance).unwrap_err());
    // A new deadline does not hide an interrupt, nor does the deadline consume one.
    handle.interrupt();
    store.set_epoch_deadline(100);
    assert_late("hidden", &add(&mut store, &instance).unwrap_err());
    assert_eq!(add(&mut store, &instance).unwrap(), 3);
}

#[test]
fn every_check_yields_when_each_moment_is_a_deadline() {
    let engine = asynchronous();
    let (mut store, instance) = instantiate_async(&engine, GUESTS);
    store.epoch_deadline_async_yield_and_update(0);
    let rounds = instance.get_typed_func::<i32, i32, _>(&mut store, "rounds").unwrap();
    for n in [1, 2, 10, 1000] {
        // Once at the entry, and once at the head of each round.
        let (pending, result) = count_pending(rounds.call_async(&mut store, n));
        assert_eq!((pending, result.unwrap()), (1 + n as u64, 3 * n), "{n} rounds");
    }
}

#[test]
fn a_guest_yields_once_for_each_deadline() {
    let engine = asynchronous();
    let (mut store, instance) = instantiate_async(&engine, GUESTS);
    let rounds = instance.get_typed_func::<i32, i32, _>(&mut store, "rounds").unwrap();
    store.epoch_deadline_async_yield_and_update(2);
    // The deadline of the new store is now, and the next one is never reached.
    let (pending, result) = count_pending(rounds.call_async(&mut store, 100));
    assert_eq!((pending, result.unwrap()), (1, 300));
    // One epoch of two is not enough.
    engine.increment_epoch();
    assert_eq!(count_pending(rounds.call_async(&mut store, 100)).0, 0);
    engine.increment_epoch();
    assert_eq!(count_pending(rounds.call_async(&mut store, 100)).0, 1);
    // The new deadline counts from the epoch in which the guest goes on.
    store.set_epoch_deadline(0);
    let mut call = Box::pin(rounds.call_async(&mut store, 100));
    assert!(poll(call.as_mut()).is_pending());
    (0..10).for_each(|_| engine.increment_epoch());
    assert!(matches!(poll(call.as_mut()), Poll::Ready(Ok(300))));
}

#[test]
fn an_endless_guest_yields_to_a_clock() {
    let engine = asynchronous();
    let (mut store, instance) = instantiate_async(&engine, GUESTS);
    store.set_epoch_deadline(1);
    store.epoch_deadline_async_yield_and_update(1);
    let run = instance.get_typed_func::<(), (), _>(&mut store, "forever").unwrap();
    let mut call = Box::pin(run.call_async(&mut store, ()));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        // The clock of a server.
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                engine.increment_epoch();
                thread::yield_now();
            }
        });
        (0..200).for_each(|_| assert!(poll(call.as_mut()).is_pending()));
        done.store(true, Ordering::Relaxed);
    });
}

/// Counts how often it is woken.
#[derive(Default)]
struct Counter(AtomicUsize);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_yield_arranges_to_be_polled_again() {
    let engine = asynchronous();
    let (mut store, instance) = instantiate_async(&engine, GUESTS);
    store.epoch_deadline_async_yield_and_update(0);
    let run = instance.get_typed_func::<(), (), _>(&mut store, "forever").unwrap();
    let counter = Arc::new(Counter::default());
    let waker = counter.clone().into();
    let mut context = Context::from_waker(&waker);
    let mut call = Box::pin(run.call_async(&mut store, ()));
    for polls in 1..100 {
        assert!(call.as_mut().poll(&mut context).is_pending());
        assert_eq!(counter.0.load(Ordering::SeqCst), polls);
    }
}

#[test]
fn a_guest_that_is_dropped_at_its_deadline_is_cancelled() {
    let engine = with_epochs(|config| {
        config.async_support(true).consume_fuel(true);
    });
    let mut linker = Linker::<Census>::new(&engine);
    // An async host function whose future holds a token while wasm that it called is suspended.
    linker
        .func_wrap0_async("", "host", |mut caller: Caller<'_, Census>| {
            Box::new(async move {
                let _token = caller.data().token();
                let inner = caller.get_export("inner").unwrap().into_func().unwrap();
                inner.call_async(&mut caller, &[]).await.map(drop).map_err(Trap::from)
            })
        })
        .unwrap();
    let text = r#"(module (import "" "host" (func $host))
        (func (export "inner") (loop (br 0)))
        (func (export "outer") call $host)
        (func (export "three") (result i32) i32.const 3))"#;
    let module = Module::new(&engine, text).unwrap();
    for polls in 1..10 {
        let census = Census::default();
        let mut store = Store::new(&engine, census.clone());
        store.add_fuel(1_000_000).unwrap();
        store.epoch_deadline_async_yield_and_update(0);
        let instance = block_on(linker.instantiate_async(&mut store, &module)).unwrap();
        let outer = instance.get_typed_func::<(), (), _>(&mut store, "outer").unwrap();
        let mut call = Box::pin(outer.call_async(&mut store, ()));
        (0..polls).for_each(|_| assert!(poll(call.as_mut()).is_pending()));
        drop(call);
        assert_eq!((census.alive(), census.made()), (0, usize::from(polls > 1)), "{polls} polls");
        // The outer function and its call, the inner one, and then one for each round.
        let consumed = [1, 3, 3][polls.min(3) - 1] + polls.saturating_sub(3) as u64;
        assert_eq!(store.fuel_consumed(), Some(consumed), "{polls} polls");
        let three = instance.get_typed_func::<(), i32, _>(&mut store, "three").unwrap();
        let (pending, result) = count_pending(three.call_async(&mut store, ()));
        assert_eq!((pending, result.unwrap()), (1, 3));
    }
}

#[test]
fn the_guest_can_be_given_another_deadline_by_the_host_it_calls() {
    let engine = with_epochs(|_| {});
    let mut linker = Linker::<u32>::new(&engine);
    // Each call ends an epoch; the first five give the guest another one.
    linker
        .func_wrap("", "host", |mut caller: Caller<'_, u32>| {
            caller.engine().increment_epoch();
            *caller.data_mut() += 1;
            if *caller.data() <= 5 {
                caller.set_epoch_deadline(1);
            }
        })
        .unwrap();
    let text = r#"(module (import "" "host" (func $host))
        (func (export "run") (loop call $host br 0)))"#;
    let module = Module::new(&engine, text).unwrap();
    let mut store = Store::new(&engine, 0);
    store.as_context_mut().set_epoch_deadline(1);
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let run = instance.get_typed_func::<(), (), _>(&mut store, "run").unwrap();
    assert_late("host", &run.call(&mut store, ()).unwrap_err());
    assert_eq!(*store.data(), 6);
}

#[test]
fn trap_and_yield_can_be_exchanged() {
    let engine = asynchronous();
    let (mut store, instance) = instantiate_async(&engine, GUESTS);
    let rounds = instance.get_typed_func::<i32, i32, _>(&mut store, "rounds").unwrap();
    store.epoch_deadline_async_yield_and_update(1);
    assert_eq!(count_pending(rounds.call_async(&mut store, 5)).0, 1);
    store.epoch_deadline_trap();
    engine.increment_epoch();
    assert_late("trap", &block_on(rounds.call_async(&mut store, 5)).unwrap_err());
    store.epoch_deadline_async_yield_and_update(1);
    assert_eq!(count_pending(rounds.call_async(&mut store, 5)).0, 1);
}

#[test]
fn synchronous_stores_cannot_yield() {
    for epochs in [false, true] {
        let engine = engine(|config| {
            config.epoch_interruption(epochs);
        });
        let mut store = Store::new(&engine, ());
        let text = panic_of(|| store.epoch_deadline_async_yield_and_update(1));
        assert!(text.contains("not async"), "{text}");
    }
}

#[test]
fn yields_at_deadlines_cost_no_fuel() {
    let change: Change = |config| {
        config.async_support(true).consume_fuel(true);
    };
    let engine = with_epochs(change);
    for (deadline, yields) in [(u64::MAX, 0), (0, 101)] {
        let (mut store, instance) = instantiate_async(&engine, GUESTS);
        store.add_fuel(1_000_000).unwrap();
        store.set_epoch_deadline(deadline);
        store.epoch_deadline_async_yield_and_update(0);
        let rounds = instance.get_typed_func::<i32, i32, _>(&mut store, "rounds").unwrap();
        let (pending, result) = count_pending(rounds.call_async(&mut store, 100));
        assert_eq!((pending, result.unwrap()), (yields, 300));
        // 1 for the entry, 9 for each round, 1 for the result.
        assert_eq!(store.fuel_consumed(), Some(1 + 9 * 100 + 1));
    }
}
