//! Handles: refuelling, pausing and stopping guests while they run; guests that park.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use lampwick::{
    Caller, Engine, FuelHandle, FuelPolicy, FuelTank, Func, Instance, Linker, Module, Store, Trap,
};

use crate::support::{
    async_metered, asynchronous, block_on, count_pending, engine, instantiate, instantiate_async,
    metered, panic_of, poll, trap,
};

const FOREVER: &str = r#"(module (func (export "run") (loop (br 0))))"#;
/// What [`THOUSAND`] burns.
const THOUSANDS_FUEL: u64 = 5_003;
const THOUSAND: &str = r#"(module (func (export "run") (local i32) (local.set 0 (i32.const 1000))
    (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))"#;
const SEGMENT: u64 = 16;
const SLICE: u64 = 1000;

#[derive(Debug, PartialEq)]
struct Evicted(u32);

impl fmt::Display for Evicted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "evicted as number {}", self.0)
    }
}

impl Error for Evicted {}

/// A store with an instance, its `run`, and a handle.
fn start(engine: &Engine, wat: &str) -> (Store<()>, Func, FuelHandle) {
    let (mut store, instance) = instantiate_async(engine, wat);
    let run = instance.get_func(&mut store, "run").unwrap();
    let handle = store.fuel_handle().unwrap();
    (store, run, handle)
}

type Call<'a> = Pin<Box<dyn Future<Output = anyhow::Result<Vec<lampwick::Val>>> + Send + 'a>>;

fn call<'a>(store: &'a mut Store<()>, run: &'a Func) -> Call<'a> {
    Box::pin(async move { Ok(run.call_async(store, &[]).await?.into_vec()) })
}

fn is_evicted(error: anyhow::Error, number: u32) {
    let trap = trap(error);
    assert!(trap.to_string().contains("evicted as number"), "{trap}");
    assert_eq!(trap.source().unwrap().downcast_ref(), Some(&Evicted(number)));
}

/// Polls until nobody has woken the future; a bound says when that would be too often.
fn settle(call: &mut Call<'_>) {
    (0..100).for_each(|_| assert!(poll(call.as_mut()).is_pending()));
}

#[test]
fn handles_tell_what_the_last_slice_left() {
    let (mut store, run, handle) = start(&async_metered(), FOREVER);
    store.set_fuel(100 * SLICE).unwrap();
    store.fuel_async_yield_interval(Some(SLICE)).unwrap();
    let mut call = call(&mut store, &run);
    for slices in 1..50 {
        assert!(poll(call.as_mut()).is_pending());
        let (consumed, remaining) = (handle.consumed(), handle.remaining());
        assert_eq!(consumed + remaining, 100 * SLICE);
        assert!((slices * SLICE..slices * (SLICE + SEGMENT)).contains(&consumed), "{consumed}");
    }
    handle.add(7);
    assert_eq!(handle.consumed() + handle.remaining(), 100 * SLICE + 7);
    drop(call);
    assert_eq!(handle.consumed(), store.fuel_consumed().unwrap());
    drop(store);
    handle.add(u64::MAX);
    assert_eq!(handle.remaining(), u64::MAX, "it does nothing, and does not mind");
}

#[test]
fn a_parked_guest_goes_on_when_it_is_refuelled() {
    let (mut store, run, handle) = start(&async_metered(), THOUSAND);
    store.out_of_fuel_async_park();
    let mut call = call(&mut store, &run);
    settle(&mut call);
    let mut added = 0;
    while poll(call.as_mut()).is_pending() {
        assert!((added..=added + SEGMENT).contains(&handle.consumed()));
        handle.add(500);
        added += 500;
        assert!(added < 2 * THOUSANDS_FUEL, "it is deaf");
    }
    drop(call);
    let consumed = store.fuel_consumed().unwrap();
    assert!(
        consumed == THOUSANDS_FUEL && (added - 500..=added + SEGMENT).contains(&consumed),
        "{consumed} of {added}"
    );
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_timeout_makes_parking_a_pause() {
    let (mut store, run, handle) = start(&async_metered(), THOUSAND);
    store.out_of_fuel_async_park();
    let mut call = call(&mut store, &run);
    let second = Duration::from_secs(1);
    for _ in 0..3 {
        assert!(tokio::time::timeout(second, call.as_mut()).await.is_err(), "it waits");
    }
    let refuel = async {
        tokio::time::sleep(second / 2).await;
        handle.add(1_000_000);
    };
    let (result, ()) = tokio::join!(tokio::time::timeout(second, call), refuel);
    result.unwrap().unwrap();
}

#[test]
fn a_guest_is_paused_and_resumed_where_its_slice_ends() {
    let (mut store, run, handle) = start(&async_metered(), FOREVER);
    store.set_fuel(u64::MAX).unwrap();
    store.fuel_async_yield_interval(Some(SLICE)).unwrap();
    let mut call = call(&mut store, &run);
    assert!(poll(call.as_mut()).is_pending());
    for _ in 0..3 {
        handle.pause();
        assert!(poll(call.as_mut()).is_pending());
        let consumed = handle.consumed();
        handle.add(5);
        handle.set_slice(2 * SLICE);
        settle(&mut call);
        assert_eq!(handle.consumed(), consumed, "it stands still");
        handle.resume();
        (0..4).for_each(|_| assert!(poll(call.as_mut()).is_pending()));
        let burned = handle.consumed() - consumed;
        assert!((4 * SLICE..=8 * (SLICE + SEGMENT)).contains(&burned), "it goes on: {burned}");
    }
}

#[test]
fn a_guest_can_be_paused_before_it_begins() {
    let (mut store, run, handle) = start(&async_metered(), THOUSAND);
    handle.pause();
    handle.add(1_000_000);
    let mut call = call(&mut store, &run);
    settle(&mut call);
    assert_eq!(handle.consumed(), 1, "the check is behind the entry");
    handle.resume();
    assert!(poll(call.as_mut()).is_ready());
}

#[test]
fn a_paused_guest_leaves_the_tank_to_others() {
    let engine = async_metered();
    let tank = FuelTank::new(u64::MAX);
    let (mut store, run, handle) = start(&engine, FOREVER);
    let (mut other_store, other_run, other) = start(&engine, FOREVER);
    store.out_of_fuel_async_draw(&tank, SLICE);
    other_store.out_of_fuel_async_draw(&tank, SLICE);
    let mut paused = call(&mut store, &run);
    let mut call = call(&mut other_store, &other_run);
    // It is first in line, and paused there.
    settle(&mut paused);
    settle(&mut call);
    handle.pause();
    settle(&mut paused);
    tank.add(10 * SLICE);
    settle(&mut paused);
    settle(&mut call);
    assert_eq!((handle.consumed(), tank.level()), (1, 0));
    assert!(other.consumed() >= 10 * SLICE);
    // Woken for a slice and paused at once, it leaves that, too.
    handle.resume();
    settle(&mut paused);
    tank.add(SLICE);
    handle.pause();
    settle(&mut paused);
    assert_eq!(handle.consumed(), 1);
    settle(&mut call);
    assert!(other.consumed() >= 11 * SLICE);
}

#[test]
fn a_guest_is_stopped_with_an_error_wherever_it_is() {
    let engine = async_metered();
    let tank = FuelTank::new(u64::MAX);
    type Prepare = fn(&mut Store<()>, &FuelTank, &FuelHandle);
    let states: [(&str, Prepare); 5] = [
        ("running", |store, _, _| store.out_of_fuel_async_yield(u64::MAX, SLICE)),
        ("parked", |store, _, _| store.out_of_fuel_async_park()),
        ("waiting for a tank", |store, tank, _| store.out_of_fuel_async_draw(tank, SLICE)),
        ("paused", |store, _, handle| {
            store.out_of_fuel_async_park();
            handle.pause();
        }),
        ("without fuel", |_, _, handle| handle.stop(Evicted(3))),
    ];
    for (state, prepare) in states {
        let (mut store, run, handle) = start(&engine, FOREVER);
        prepare(&mut store, &tank, &handle);
        let mut call = call(&mut store, &run);
        if state != "without fuel" {
            settle(&mut call);
        }
        handle.stop(Evicted(3));
        handle.stop(Evicted(4));
        let Poll::Ready(result) = poll(call.as_mut()) else { panic!("{state}: it goes on") };
        is_evicted(result.unwrap_err(), 3);
        drop(call);
        // That was it: the store can be used again.
        handle.resume();
        store.out_of_fuel_async_yield(3, SLICE);
        let (pending, result) = count_pending(run.call_async(&mut store, &[]));
        assert!(pending <= 3 && result.unwrap_err().to_string().contains("all fuel consumed"));
    }
}

#[test]
fn policies_change_while_a_guest_waits() {
    let engine = async_metered();
    let tank = FuelTank::new(u64::MAX);
    tank.add(5 * SLICE);
    let (mut store, run, handle) = start(&engine, FOREVER);
    store.out_of_fuel_async_park();
    let mut call = call(&mut store, &run);
    settle(&mut call);
    handle.set_policy(FuelPolicy::Draw { tank: tank.clone(), slice: SLICE });
    settle(&mut call);
    assert!((5 * SLICE..5 * SLICE + SEGMENT).contains(&handle.consumed()));
    // Half of a slice at a time.
    handle.set_slice(SLICE / 2);
    settle(&mut call);
    tank.add(SLICE);
    assert_eq!(tank.level(), SLICE / 2, "the other half was granted");
    for _ in 0..2 {
        let before = handle.consumed();
        assert!(poll(call.as_mut()).is_pending());
        assert!(handle.consumed() - before <= SLICE / 2 + SEGMENT);
    }
    settle(&mut call);
    assert!((6 * SLICE..6 * SLICE + SEGMENT).contains(&handle.consumed()));
    handle.set_policy(FuelPolicy::Yield { injections: 2, fuel: SLICE });
    assert!(poll(call.as_mut()).is_pending());
    assert!(poll(call.as_mut()).is_pending());
    handle.set_policy(FuelPolicy::Trap);
    let Poll::Ready(result) = poll(call.as_mut()) else { panic!("it goes on") };
    assert!(result.unwrap_err().to_string().contains("all fuel consumed by WebAssembly"));
    drop(call);
    let consumed = store.fuel_consumed().unwrap();
    // One injection, in two halves.
    assert!((7 * SLICE..7 * SLICE + SEGMENT).contains(&consumed), "{consumed}");
}

#[test]
fn synchronous_guests_are_refuelled_and_stopped() {
    let (mut store, instance) = instantiate(&metered(), FOREVER);
    let run = instance.get_func(&mut store, "run").unwrap();
    let handle = store.fuel_handle().unwrap();
    handle.add(u64::MAX);
    let watch = handle.clone();
    let thread = std::thread::spawn(move || {
        // It is heard although nothing yields.
        while watch.consumed() < 5_000_000 {
            std::thread::yield_now();
        }
        watch.stop(Evicted(1));
    });
    is_evicted(run.call(&mut store, &[]).unwrap_err(), 1);
    thread.join().unwrap();
    for act in [
        FuelHandle::pause as fn(&FuelHandle),
        |handle| handle.set_slice(1),
        |handle| handle.set_policy(FuelPolicy::Park),
    ] {
        let text = panic_of(|| act(&handle));
        assert!(text.contains("its engine is not async (see `Config::async_support`)"), "{text}");
    }
}

#[test]
fn guests_that_look_for_interrupts_hear_at_once() {
    for epochs in [false, true] {
        let engine = engine(|config| {
            config.async_support(true).consume_fuel(true);
            config.interruptable(!epochs).epoch_interruption(epochs);
        });
        let mut linker: Linker<Option<FuelHandle>> = Linker::new(&engine);
        linker
            .func_wrap("", "tell", |caller: Caller<'_, Option<FuelHandle>>, stop: i32| {
                let handle = caller.data().as_ref().unwrap();
                if stop != 0 { handle.stop(Evicted(2)) } else { handle.pause() }
            })
            .unwrap();
        let wat = r#"(module (import "" "tell" (func $tell (param i32)))
            (func (export "run") (call $tell (i32.const 0)) (loop $forever
                (block $once (loop $check (br $once)))
                (call $tell (i32.const 1)) (loop (br 0)))))"#;
        let module = Module::new(&engine, wat).unwrap();
        let mut store = Store::new(&engine, None);
        store.set_epoch_deadline(1_000_000);
        store.set_fuel(u64::MAX).unwrap();
        *store.data_mut() = Some(store.fuel_handle().unwrap());
        let handle = store.data().clone().unwrap();
        let instance = block_on(linker.instantiate_async(&mut store, &module)).unwrap();
        let run = instance.get_typed_func::<(), (), _>(&mut store, "run").unwrap();
        let mut call = Box::pin(run.call_async(&mut store, ()));
        (0..10).for_each(|_| assert!(poll(call.as_mut()).is_pending()));
        handle.resume();
        let Poll::Ready(result) = poll(call.as_mut()) else { panic!("it goes on") };
        is_evicted(result.unwrap_err().into(), 2);
        drop(call);
        let consumed = store.fuel_consumed().unwrap();
        assert!(consumed < 100, "{consumed} burned in a slice of a million");
    }
}

#[test]
fn handles_work_across_threads() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let engine = async_metered();
    let module = Module::new(&engine, THOUSAND).unwrap();
    let guests: Vec<_> = (0..100)
        .map(|_| {
            let mut store = Store::new(&engine, ());
            store.out_of_fuel_async_park();
            let (handle, module) = (store.fuel_handle().unwrap(), module.clone());
            let task = runtime.spawn(async move {
                let instance = Instance::new_async(&mut store, &module, &[]).await.unwrap();
                let run = instance.get_typed_func::<(), (), _>(&mut store, "run").unwrap();
                for _ in 0..10 {
                    run.call_async(&mut store, ()).await?;
                }
                Ok::<_, Trap>(store.fuel_consumed().unwrap())
            });
            (handle, task)
        })
        .collect();
    // Everything at once, from two threads that are none of the runtime's.
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for round in 0..400 {
                    for (handle, _) in &guests {
                        match round % 4 {
                            0 => handle.pause(),
                            1 => handle.resume(),
                            _ => handle.add(250),
                        }
                    }
                }
            });
        }
    });
    for (handle, task) in guests {
        handle.resume();
        let consumed = runtime.block_on(task).unwrap().unwrap();
        assert_eq!(consumed, 10 * THOUSANDS_FUEL);
    }
}

#[test]
fn a_dropped_call_leaves_a_parked_or_paused_store_usable() {
    let (mut store, run, handle) = start(&async_metered(), THOUSAND);
    store.out_of_fuel_async_park();
    for pause in [false, true] {
        if pause {
            handle.pause();
        }
        let mut first = call(&mut store, &run);
        settle(&mut first);
        std::thread::scope(|scope| scope.spawn(|| drop(first)).join().unwrap());
    }
    handle.resume();
    handle.add(1_000_000);
    block_on(run.call_async(&mut store, &[])).unwrap();
}

#[test]
fn only_stores_that_count_fuel_have_handles() {
    let error = Store::new(&asynchronous(), ()).fuel_handle().unwrap_err().to_string();
    assert!(
        error.contains("the engine does not count fuel (see `Config::consume_fuel`)"),
        "{error}"
    );
}

#[test]
fn a_handle_changes_nothing_of_how_a_guest_burns() {
    let engine = async_metered();
    let burned = |with_handle: bool| {
        let (mut store, instance) = instantiate_async(&engine, THOUSAND);
        store.set_fuel(1_000_000_000).unwrap();
        store.fuel_async_yield_interval(Some(100)).unwrap();
        if with_handle {
            store.fuel_handle().unwrap();
        }
        let run = instance.get_func(&mut store, "run").unwrap();
        let (pending, result) = count_pending(run.call_async(&mut store, &[]));
        result.unwrap();
        (pending, store.fuel_consumed(), store.get_fuel().unwrap())
    };
    assert_eq!(burned(false), burned(true));
}
