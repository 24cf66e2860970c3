//! What stores and engines say of what guests take.

use std::future::Future;
use std::mem::forget;
use std::pin::Pin;
use std::time::Duration;

use lampwick::{
    AsContext, AsContextMut, CallHook, Caller, Config, Engine, EngineStats, Func, Instance, Linker,
    Memory, MemoryType, Module, Store, StoreContext, StoreContextMut, StoreStats, TableType, Val,
    ValType,
};

use crate::support::{Rng, asynchronous, block_on, count_pending, engine, pend, poll, trap};

const GUEST: &str = r#"(module
    (import "" "host" (func $host))
    (import "" "later" (func $later))
    (memory 1) (table $table 3 funcref) (elem (i32.const 0) func $host)
    (type $nothing (func))
    (func (export "nothing"))
    (func (export "twice") (call $host) (call_indirect (type $nothing) (i32.const 0)))
    (func (export "wait") (call $later))
    (func (export "forever") (loop (br 0)))
    (func (export "grow") (drop (memory.grow (i32.const 3)))
        (drop (table.grow $table (ref.null func) (i32.const 5)))
        (drop (memory.grow (i32.const 0x10000))))
    (func $deep (export "deep") (param i32)
        (if (i32.eqz (local.get 0)) (then (call $host))
            (else (call $deep (i32.sub (local.get 0) (i32.const 1))) (call $host))))
    (func $endless (export "endless") (call $endless) (call $endless))
    (func (export "trap") unreachable))"#;

/// An engine with accounts, async and metered.
fn accounted() -> Engine {
    engine(|config| {
        config.accounts(true).async_support(true).consume_fuel(true);
    })
}

/// A store with fuel and an instance of [`GUEST`], whose `later` is pending once.
fn start(engine: &Engine) -> (Store<()>, Instance) {
    let mut linker = Linker::new(engine);
    linker.func_wrap("", "host", || {}).unwrap();
    linker.func_wrap0_async("", "later", |_: Caller<'_, ()>| Box::new(pend(1))).unwrap();
    let mut store = Store::new(engine, ());
    store.set_fuel(u64::MAX).unwrap();
    let module = Module::new(engine, GUEST).unwrap();
    let instance = block_on(linker.instantiate_async(&mut store, &module)).unwrap();
    (store, instance)
}

type Call<'a> = Pin<Box<dyn Future<Output = anyhow::Result<Box<[Val]>>> + Send + 'a>>;

fn call<'a>(store: &'a mut Store<()>, instance: Instance, name: &str) -> Call<'a> {
    let func = instance.get_func(&mut *store, name).unwrap();
    Box::pin(async move { func.call_async(store, &[]).await })
}

/// Calls with an argument, until the call is over.
fn finish(store: &mut Store<()>, instance: Instance, name: &str, arguments: &[Val]) -> StoreStats {
    let func = instance.get_func(&mut *store, name).unwrap();
    drop(block_on(func.call_async(&mut *store, arguments)));
    store.stats()
}

#[test]
fn every_way_to_call_the_host_is_counted() {
    let (mut store, instance) = start(&accounted());
    assert_eq!(store.stats().host_calls, 0);
    assert_eq!(finish(&mut store, instance, "twice", &[]).host_calls, 2);
    assert_eq!(finish(&mut store, instance, "wait", &[]).host_calls, 3);
    // By the host itself, and in functions that see it themselves.
    let host = Func::wrap(&mut store, |caller: Caller<'_, ()>| caller.stats().host_calls as i32);
    let seen = block_on(host.call_async(&mut store, &[])).unwrap();
    assert_eq!((seen[0].unwrap_i32(), store.stats().host_calls), (4, 4));
}

#[cfg(feature = "call-hook")]
#[test]
fn a_call_hook_changes_no_count() {
    let (mut store, instance) = start(&accounted());
    store.call_hook(|_, _: CallHook| Ok(()));
    assert_eq!(finish(&mut store, instance, "twice", &[]).host_calls, 2);
    let after = Func::wrap(&mut store, || {});
    block_on(after.call_async(&mut store, &[])).unwrap();
    assert_eq!(store.stats().host_calls, 3);
}

#[test]
fn without_accounts_there_is_what_is_known_anyway() {
    let plain = engine(|config| {
        config.async_support(true).consume_fuel(true);
    });
    let (mut store, instance) = start(&plain);
    store.set_name("nobody counts");
    store.fuel_async_yield_interval(Some(1000)).unwrap();
    let stats = finish(&mut store, instance, "wait", &[]);
    let known = StoreStats::default();
    assert_eq!((stats.host_calls, stats.polls, stats.parks), (0, 0, 0));
    assert_eq!((stats.busy, stats.longest_poll, stats.peak_stack), (known.busy, known.busy, 0));
    assert_eq!(stats.fuel, store.fuel_consumed().unwrap());
    assert_eq!((stats.peak_memory, store.name()), (65536 + 3 * 8, "nobody counts"));
    let engine: EngineStats = plain.stats();
    assert_eq!((engine.guests, engine.suspended, engine.stacks), (0, 0, 1));
}

#[test]
fn polls_slices_and_fuel_are_those_of_the_guest() {
    let (mut store, instance) = start(&accounted());
    store.fuel_async_yield_interval(Some(1000)).unwrap();
    let mut call = call(&mut store, instance, "forever");
    (0..50).for_each(|_| assert!(poll(call.as_mut()).is_pending()));
    drop(call);
    let stats = store.stats();
    // Dropping it is one more.
    assert_eq!((stats.polls, stats.slices, stats.parks), (51, 50, 0));
    assert_eq!(stats.fuel, store.fuel_consumed().unwrap());
    assert!((50_000..51_000).contains(&stats.fuel), "{stats:?}");
    assert!(stats.longest_poll > Duration::ZERO && stats.longest_poll <= stats.busy, "{stats:?}");
}

#[test]
fn slices_that_are_injected_count_and_the_first_does_not() {
    let (mut store, instance) = start(&accounted());
    store.set_fuel(0).unwrap();
    store.out_of_fuel_async_yield(7, 1000);
    let (pending, result) = count_pending(call(&mut store, instance, "forever"));
    assert!(result.is_err());
    assert_eq!((pending, store.stats().slices, store.stats().polls), (7, 7, 8));
}

#[test]
fn a_guest_that_waits_for_fuel_or_is_paused_parks_once() {
    let (mut store, instance) = start(&accounted());
    store.set_fuel(0).unwrap();
    store.out_of_fuel_async_park();
    let handle = store.fuel_handle().unwrap();
    let mut guest = call(&mut store, instance, "forever");
    (0..9).for_each(|_| assert!(poll(guest.as_mut()).is_pending()));
    handle.add(1000);
    (0..9).for_each(|_| assert!(poll(guest.as_mut()).is_pending()));
    handle.pause();
    handle.add(1000);
    (0..9).for_each(|_| assert!(poll(guest.as_mut()).is_pending()));
    drop(guest);
    assert_eq!(store.stats().parks, 3);
}

#[test]
fn peaks_are_of_all_memories_and_tables() {
    let engine = accounted();
    let (mut store, instance) = start(&engine);
    let pages = |pages: u64, elements: u64| pages * 65536 + elements * 8;
    assert_eq!(store.stats().peak_memory, pages(1, 3));
    // The last growth is refused.
    assert_eq!(finish(&mut store, instance, "grow", &[]).peak_memory, pages(4, 8));
    block_on(Memory::new_async(&mut store, MemoryType::new(2, None))).unwrap();
    let externs = TableType::new(ValType::ExternRef, 10, None);
    block_on(lampwick::Table::new_async(&mut store, externs, Val::ExternRef(None))).unwrap();
    let before = pages(6, 8) + 10 * 4;
    assert_eq!(store.stats().peak_memory, before);
    // What an instantiation had before it failed counts, although it is gone.
    let failing = "(module (memory 5) (table 0xffffffff funcref))";
    let module = Module::new(&engine, failing).unwrap();
    block_on(Instance::new_async(&mut store, &module, &[])).unwrap_err();
    assert_eq!(store.stats().peak_memory, before + pages(5, 0));
}

#[test]
fn the_stack_is_seen_at_calls_of_the_host_and_at_traps() {
    let engine = accounted();
    let depth = |name: &str, argument: Option<i32>| {
        let (mut store, instance) = start(&engine);
        let arguments: Vec<Val> = argument.into_iter().map(Val::I32).collect();
        finish(&mut store, instance, name, &arguments).peak_stack
    };
    let shallow = depth("deep", Some(0));
    assert!((1..1024).contains(&shallow), "{shallow}");
    let (hundred, thousand) = (depth("deep", Some(100)), depth("deep", Some(1000)));
    assert!(hundred >= shallow + 100 * 16 && hundred <= shallow + 100 * 256, "{hundred}");
    let frames = (thousand - shallow) as f64 / (hundred - shallow) as f64;
    assert!((9.9..10.1).contains(&frames), "{frames}");
    assert_eq!(depth("nothing", None), 0, "it was not seen");
    assert!((1..1024).contains(&depth("trap", None)));
    // Up to `max_wasm_stack`, but for the last frame.
    let all = depth("endless", None);
    assert!((500 << 10..=512 << 10).contains(&all), "{all}");
    let (mut store, instance) = start(&engine);
    store.fuel_async_yield_interval(Some(1000)).unwrap();
    drop(poll(call(&mut store, instance, "endless").as_mut()));
    let suspended = store.stats().peak_stack;
    assert!((500 * 16..500 * 256).contains(&suspended), "{suspended}");
}

#[test]
fn host_functions_that_call_guests_are_in_one_poll_and_one_account() {
    let engine = accounted();
    let (mut store, instance) = start(&engine);
    let deep = instance.get_typed_func::<i32, (), _>(&mut store, "deep").unwrap();
    let nest = Func::wrap0_async(&mut store, move |mut caller: Caller<'_, ()>| {
        Box::new(async move {
            assert_eq!(caller.stats().polls, 0, "the poll is under way");
            deep.call_async(&mut caller, 100).await?;
            pend(1).await;
            deep.call_async(&mut caller, 0).await
        })
    });
    block_on(nest.call_async(&mut store, &[])).unwrap();
    let stats = store.stats();
    assert_eq!((stats.polls, stats.host_calls), (2, 1 + 101 + 1));
    assert!(stats.peak_stack > 100 * 16, "that of the nested call: {stats:?}");
    assert_eq!((engine.stats().guests, engine.stats().suspended), (1, 0));
}

#[test]
fn synchronous_calls_are_one_poll_each() {
    let engine = engine(|config| {
        config.accounts(true);
    });
    let mut store = Store::new(&engine, ());
    let inner = Func::wrap(&mut store, || {});
    let outer = Func::wrap(&mut store, move |mut caller: Caller<'_, ()>| {
        inner.call(&mut caller, &[]).map(drop).map_err(trap)
    });
    for calls in 1..5 {
        outer.call(&mut store, &[]).unwrap();
        let stats = store.stats();
        assert_eq!((stats.polls, stats.host_calls, stats.fuel), (calls, 2 * calls, 0));
    }
}

/// Does something on another thread.
fn elsewhere(work: impl FnOnce() + Send) {
    std::thread::scope(|scope| scope.spawn(work).join().unwrap());
}

#[test]
fn engines_count_guests_that_are_suspended_wherever_they_go() {
    let engine = accounted();
    let counts = || (engine.stats().guests, engine.stats().suspended);
    assert_eq!(counts(), (0, 0));
    let (mut store, instance) = start(&engine);
    assert_eq!(counts(), (1, 0));
    let mut guest = call(&mut store, instance, "wait");
    assert_eq!(counts(), (1, 0), "nobody has polled it");
    assert!(poll(guest.as_mut()).is_pending());
    assert_eq!(counts(), (1, 1));
    // It ends on another thread, which counts elsewhere.
    elsewhere(|| assert!(poll(guest.as_mut()).is_ready()));
    assert_eq!(counts(), (1, 0));
    drop(guest);
    let mut guest = call(&mut store, instance, "wait");
    assert!(poll(guest.as_mut()).is_pending());
    elsewhere(|| drop(guest));
    assert_eq!(counts(), (1, 0), "its call was dropped");
    let (mut other, instance) = start(&engine);
    let mut guest = call(&mut other, instance, "wait");
    assert!(poll(guest.as_mut()).is_pending());
    assert_eq!(counts(), (2, 1));
    drop(store);
    assert_eq!(counts(), (1, 1));
    drop(guest);
    other.into_data();
    assert_eq!(counts(), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn counts_are_right_when_guests_on_many_threads_ended_in_every_way() {
    const GUESTS: usize = 200;
    let mut rng = Rng::new("counts_are_right");
    let engine = accounted();
    let guests: Vec<_> = (0..GUESTS)
        .map(|_| {
            let (mut store, instance) = start(&engine);
            let (name, slices) =
                (["wait", "trap", "forever"][rng.below(3) as usize], rng.below(50));
            tokio::spawn(async move {
                store.set_fuel(0).unwrap();
                store.out_of_fuel_async_yield(slices, 1000);
                drop(call(&mut store, instance, name).await);
                store.stats()
            })
        })
        .collect();
    for guest in guests {
        let stats = engine.stats();
        assert!(stats.guests <= GUESTS && stats.suspended <= GUESTS, "{stats:?}");
        if rng.one_in(3) {
            guest.abort();
        }
        if let Ok(stats) = guest.await {
            assert!(stats.polls > stats.slices && stats.longest_poll <= stats.busy, "{stats:?}");
        }
    }
    let stats = engine.stats();
    assert_eq!((stats.guests, stats.suspended, stats.stacks), (0, 0, 0));
}

#[test]
fn a_forgotten_call_counts_until_its_store_is_gone() {
    let engine = accounted();
    let counts = || (engine.stats().guests, engine.stats().suspended);
    let (mut store, instance) = start(&engine);
    for _ in 0..3 {
        let mut guest = call(&mut store, instance, "wait");
        assert!(poll(guest.as_mut()).is_pending());
        forget(guest);
        assert_eq!(counts(), (1, 1), "one guest, however many calls");
    }
    let before = store.stats();
    assert_eq!(finish(&mut store, instance, "twice", &[]).host_calls, before.host_calls + 2);
    assert_eq!(counts(), (1, 1), "its wasm is still on its stack");
    std::thread::spawn(move || drop(store)).join().unwrap();
    assert_eq!(counts(), (0, 0));
    assert_eq!(engine.stats().stacks, 3, "stacks of forgotten calls are never used again");
}

#[test]
fn a_panic_of_the_host_ends_the_poll_that_it_leaves() {
    let engine = accounted();
    let mut store = Store::new(&engine, ());
    store.set_fuel(1000).unwrap();
    let host = Func::wrap0_async(&mut store, |_: Caller<'_, ()>| {
        Box::new(async {
            pend(1).await;
            if true {
                panic!("the host's panic");
            }
        })
    });
    for polls in [2, 4] {
        let message = crate::support::panic_of(|| block_on(host.call_async(&mut store, &[])));
        assert_eq!(message, "the host's panic");
        assert_eq!((store.stats().polls, engine.stats().suspended), (polls, 0));
    }
}

#[test]
fn engines_tell_what_they_hold() {
    let engine = accounted();
    let (store, _) = start(&engine);
    let stats = engine.stats();
    assert_eq!((stats.stacks, stats.reservations, stats.idle_reservations), (1, 1, 0));
    drop(store);
    let stats = engine.stats();
    assert_eq!((stats.stacks, stats.idle_stacks), (0, 1));
    assert_eq!((stats.reservations, stats.idle_reservations, stats.pool_slots), (1, 1, 0));
    let (again, _) = start(&engine);
    assert_eq!((engine.stats().reservations, engine.stats().idle_reservations), (1, 0));
    drop(again);
    // One that moves gives its first place back.
    let moving = crate::support::engine(|config| {
        config.static_memory_maximum_size(0).dynamic_memory_reserved_for_growth(0);
    });
    let mut store = Store::new(&moving, ());
    let memory = Memory::new(&mut store, MemoryType::new(1, None)).unwrap();
    memory.grow(&mut store, 100).unwrap();
    assert_eq!(moving.stats().reservations, 1);
    drop(store);
    assert_eq!(moving.stats().reservations, 0);
}

#[test]
fn engines_tell_which_slots_of_their_pool_are_taken() {
    let engine = engine(|config| {
        config.allocation_strategy(lampwick::InstanceAllocationStrategy::pooling());
    });
    let module = Module::new(&engine, "(module (memory 1))").unwrap();
    let mut store = Store::new(&engine, ());
    for slots in 1..4 {
        Instance::new(&mut store, &module, &[]).unwrap();
        assert_eq!((engine.stats().pool_slots, engine.stats().reservations), (slots, 0));
    }
    drop(store);
    assert_eq!(engine.stats().pool_slots, 0);
}

#[test]
fn engines_tell_what_they_compiled() {
    let engine = asynchronous();
    let stats = engine.stats();
    assert_eq!((stats.modules_compiled, stats.compile_time), (0, Duration::ZERO));
    let module = Module::new(&engine, GUEST).unwrap();
    let once = engine.stats();
    assert_eq!(once.modules_compiled, 1);
    assert!(once.compile_time > Duration::ZERO);
    // SAFETY: the bytes are an artifact of this engine's.
    unsafe { Module::deserialize(&engine, module.serialize().unwrap()) }.unwrap();
    assert_eq!(engine.stats(), once, "nothing was compiled");
    engine.precompile_module(GUEST.as_bytes()).unwrap();
    assert_eq!(engine.stats().modules_compiled, 2);
    // What fails takes time, too.
    let twice = engine.stats().compile_time;
    Module::new(&engine, "(module (func (result i32)))").unwrap_err();
    assert_eq!(engine.stats().modules_compiled, 2);
    assert!(engine.stats().compile_time > twice);
}

#[test]
fn every_context_tells_the_name_and_the_account() {
    let engine = Engine::new(Config::new().accounts(true)).unwrap();
    let mut store = Store::new(&engine, ());
    assert_eq!(store.name(), "");
    store.set_name("tenant 7");
    let rename = Func::wrap(&mut store, |mut caller: Caller<'_, ()>| {
        assert_eq!((caller.name(), caller.stats().host_calls), ("tenant 7", 1));
        caller.set_name(String::from("tenant 8"));
    });
    rename.call(&mut store, &[]).unwrap();
    let context: StoreContext<'_, ()> = store.as_context();
    assert_eq!((context.name(), context.stats()), ("tenant 8", store.stats()));
    let mut context: StoreContextMut<'_, ()> = store.as_context_mut();
    context.set_name("tenant 9");
    assert_eq!((context.name(), context.stats().polls), ("tenant 9", 1));
    assert_eq!((store.name(), engine.stats().guests), ("tenant 9", 1));
}
