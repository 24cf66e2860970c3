//! Guests that want more than their share of workers and fuel, or to keep it when they are gone.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use lampwick::{Caller, Engine, FuelHandle, FuelTank, Linker, Module, Store, Trap};
use tokio::runtime::{Builder, Runtime};

use crate::support::{Alarm, async_metered, block_on, pend, poll};
use crate::tanks::SEGMENT;

const SLICE: u64 = 1_000;

/// What guests do with their fuel; all export `run`, and may nap, panic, or call one another.
const HOSTS: &str = r#"(import "" "nap" (func $nap)) (import "" "panic" (func $panic))
    (import "" "inner" (func $inner))"#;

/// Burns for ever.
const SPIN: &str = r#"(func (export "run") (loop (br 0)))"#;
/// Burns nearly a slice, over and over, and naps behind each: a poll never ends by fuel.
const NAPPING: &str = r#"(func (export "run") (local i32)
    (loop (local.set 0 (i32.const 150))
        (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (call $nap) (br 0)))"#;
/// Naps first, with a slice hardly begun.
const ASLEEP: &str = r#"(func (export "run") (call $nap) (loop (br 0)))"#;
/// Traps with most of a slice.
const TRAPPING: &str = r#"(func (export "run") unreachable)"#;
const PANICKING: &str = r#"(func (export "run") (call $panic))"#;
/// Runs out of fuel in its own start of a hundred nested calls through the host.
const NESTED: &str = r#"(global $depth (mut i32) (i32.const 50))
    (func (export "inner") (if (global.get $depth) (then
        (global.set $depth (i32.sub (global.get $depth) (i32.const 1))) (call $inner)))
        (loop (br 0)))
    (func (export "run") (call $inner))"#;
/// What a round of [`straight_line`] burns.
const LINE: u64 = 4_001;

/// Burns straight lines that are longer than a slice.
fn straight_line() -> String {
    let line = "(local.set 0 (i32.add (local.get 0) (i32.const 1)))".repeat(1_000);
    format!(r#"(func (export "run") (local i32) (loop {line} (br 0)))"#)
}

type Call = Pin<Box<dyn Future<Output = Result<(), Trap>> + Send>>;

/// A linker whose `nap` waits this long; for ever without.
fn linker(engine: &Engine, nap: Option<Duration>) -> Linker<()> {
    let mut linker = Linker::new(engine);
    linker
        .func_wrap0_async("", "nap", move |_: Caller<'_, ()>| {
            Box::new(async move {
                match nap {
                    Some(Duration::ZERO) => pend(1).await,
                    Some(nap) => tokio::time::sleep(nap).await,
                    None => std::future::pending().await,
                }
            })
        })
        .unwrap();
    let panics = || -> Result<(), Trap> { panic!("the host panics") };
    linker.func_wrap("", "panic", panics).unwrap();
    linker
        .func_wrap0_async("", "inner", |mut caller: Caller<'_, ()>| {
            Box::new(async move {
                let inner = caller.get_export("inner").unwrap().into_func().unwrap();
                inner.call_async(&mut caller, &[]).await.map(drop).map_err(Trap::from)
            })
        })
        .unwrap();
    linker
}

/// A guest that draws from a tank, in a store that is dropped with its call.
fn guest(linker: &Linker<()>, tank: &FuelTank, body: &str) -> (FuelHandle, Call) {
    let engine = linker.engine().clone();
    let module = Module::new(&engine, format!("(module {HOSTS} {body})")).unwrap();
    let mut store = Store::new(&engine, ());
    store.out_of_fuel_async_draw(tank, SLICE);
    let (handle, linker) = (store.fuel_handle().unwrap(), linker.clone());
    let call = async move {
        let instance = linker.instantiate_async(&mut store, &module).await?;
        let run = instance.get_typed_func::<(), (), _>(&mut store, "run")?;
        run.call_async(&mut store, ()).await
    };
    (handle, Box::pin(call))
}

fn plenty() -> FuelTank {
    let tank = FuelTank::new(u64::MAX);
    tank.add(u64::MAX);
    tank
}

fn runtimes() -> [Runtime; 2] {
    let two = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    [Builder::new_current_thread().enable_all().build().unwrap(), two]
}

/// Somebody honest gets turns, and a timer fires, whatever the others do.
async fn goes_on(honest: &FuelHandle) {
    let before = honest.consumed();
    let goes_on = async {
        while honest.consumed() < before + 20 * SLICE {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), goes_on).await.expect("it has no more turns");
}

#[test]
fn nobody_holds_a_turn_that_it_does_not_use() {
    for runtime in runtimes() {
        runtime.block_on(async {
            let (engine, tank) = (async_metered(), plenty());
            let linker = linker(&engine, None);
            let (honest, call) = guest(&linker, &tank, SPIN);
            tokio::spawn(call);
            // More than there are workers of each kind.
            for _ in 0..4 {
                // Asleep in the host for ever.
                tokio::spawn(guest(&linker, &tank, ASLEEP).1);
                // In line, and then never polled again, dropped, or dropped when its turn has come.
                for polls in 1..4 {
                    let (_, mut call) = guest(&linker, &tank, SPIN);
                    let forgets = polls == 1;
                    tokio::spawn(async move {
                        for _ in 0..polls {
                            assert!(poll(call.as_mut()).is_pending());
                        }
                        match forgets {
                            true => std::mem::forget(call),
                            false => drop(call),
                        }
                    });
                }
                for body in [TRAPPING, PANICKING] {
                    tokio::spawn(guest(&linker, &tank, body).1);
                }
                let (paused, call) = guest(&linker, &tank, SPIN);
                tokio::spawn(call);
                goes_on(&paused).await;
                paused.pause();
                let (stopped, call) = guest(&linker, &tank, SPIN);
                let call = tokio::spawn(call);
                stopped.pause();
                stopped.stop(Trap::new("evicted"));
                assert!(call.await.unwrap().is_err());
                goes_on(&honest).await;
            }
        });
        runtime.shutdown_background();
    }
}

#[test]
fn a_guest_that_naps_gains_nothing() {
    for runtime in runtimes() {
        runtime.block_on(async {
            let (engine, tank) = (async_metered(), plenty());
            let linker = linker(&engine, Some(Duration::ZERO));
            let bodies = [SPIN, SPIN, SPIN, NAPPING];
            let mut handles = Vec::new();
            for body in bodies {
                let (handle, call) = guest(&linker, &tank, body);
                tokio::spawn(call);
                handles.push(handle);
            }
            for handle in &handles {
                goes_on(handle).await;
            }
            let before: Vec<_> = handles.iter().map(FuelHandle::consumed).collect();
            tokio::time::sleep(Duration::from_millis(300)).await;
            let burned: Vec<_> = handles
                .iter()
                .zip(before)
                .map(|(handle, before)| handle.consumed() - before)
                .collect();
            let mean = burned[..3].iter().sum::<u64>() / 3;
            assert!(burned[3] <= mean + mean / 10, "{burned:?}");
        });
        runtime.shutdown_background();
    }
}

#[test]
fn whatever_becomes_of_a_guest_its_fuel_is_burned_or_given_back() {
    const FUEL: u64 = 100 * SLICE;
    let engine = async_metered();
    for body in [SPIN, NAPPING, ASLEEP, TRAPPING, PANICKING, NESTED, &straight_line()] {
        for polls in [0, 1, 2, 7, 60] {
            let tank = FuelTank::new(u64::MAX);
            tank.add(FUEL);
            let (handle, mut call) = guest(&linker(&engine, Some(Duration::ZERO)), &tank, body);
            for _ in 0..polls {
                let polled = std::panic::AssertUnwindSafe(|| poll(call.as_mut()).is_ready());
                if std::panic::catch_unwind(polled).unwrap_or(true) {
                    break;
                }
            }
            drop(call);
            // What was overdrawn is owed, and the next fuel pays for it.
            tank.add(FUEL);
            let (burned, left) = (handle.consumed(), tank.level());
            assert_eq!(burned, 2 * FUEL - left, "{body}, dropped after {polls} polls");
        }
    }
}

#[test]
fn a_straight_line_that_is_longer_than_a_slice_is_paid_for() {
    let engine = async_metered();
    let tank = FuelTank::new(u64::MAX);
    let (handle, mut call) = guest(&linker(&engine, None), &tank, &straight_line());
    let alarm = Arc::new(Alarm::default());
    tank.add(100 * SLICE);
    alarm.run(call.as_mut());
    // One line may be overdrawn; the next fuel pays for it first.
    let burned = handle.consumed();
    assert!((100 * SLICE..100 * SLICE + LINE + SEGMENT).contains(&burned), "{burned}");
    tank.add(100 * SLICE);
    alarm.run(call.as_mut());
    let burned = handle.consumed();
    assert!((200 * SLICE..200 * SLICE + LINE + SEGMENT).contains(&burned), "{burned}");
}

#[test]
fn nested_calls_wait_for_turns_on_their_own_fibers() {
    for runtime in runtimes() {
        runtime.block_on(async {
            let (engine, tank) = (async_metered(), plenty());
            let linker = linker(&engine, None);
            let (honest, call) = guest(&linker, &tank, SPIN);
            tokio::spawn(call);
            let (nested, call) = guest(&linker, &tank, NESTED);
            let call = tokio::spawn(call);
            goes_on(&nested).await;
            goes_on(&honest).await;
            call.abort();
            assert!(call.await.unwrap_err().is_cancelled());
            goes_on(&honest).await;
        });
        runtime.shutdown_background();
    }
}

#[test]
fn closing_ends_those_who_wait_for_their_turns() {
    for runtime in runtimes() {
        runtime.block_on(async {
            let (engine, machine) = (async_metered(), plenty());
            let tenants = [machine.child(1), machine.child(1)];
            let linker = linker(&engine, None);
            let (honest, call) = guest(&linker, &tenants[1], SPIN);
            tokio::spawn(call);
            let calls: Vec<_> =
                (0..50).map(|_| tokio::spawn(guest(&linker, &tenants[0], SPIN).1)).collect();
            goes_on(&honest).await;
            let closer = tenants[0].clone();
            std::thread::spawn(move || closer.close()).join().unwrap();
            for call in calls {
                let call = tokio::time::timeout(Duration::from_secs(30), call).await;
                let trap = call.expect("it waits for ever").unwrap().unwrap_err();
                assert!(trap.to_string().contains("is closed"), "{trap}");
            }
            goes_on(&honest).await;
        });
        runtime.shutdown_background();
    }
}

#[test]
fn two_runtimes_do_not_wait_for_one_another() {
    let (engine, tank) = (async_metered(), plenty());
    let [idle, busy] = runtimes();
    let linker = linker(&engine, None);
    // Its guests are in line, and it does nothing more for them.
    idle.block_on(async {
        let handles: Vec<_> = (0..3)
            .map(|_| {
                let (handle, call) = guest(&linker, &tank, SPIN);
                tokio::spawn(call);
                handle
            })
            .collect();
        for handle in &handles {
            goes_on(handle).await;
        }
    });
    busy.block_on(async {
        let handles: Vec<_> = (0..3)
            .map(|_| {
                let (handle, call) = guest(&linker, &tank, SPIN);
                tokio::spawn(call);
                handle
            })
            .collect();
        for handle in &handles {
            goes_on(handle).await;
        }
    });
    busy.shutdown_background();
    // Nor does a call that is polled outside of any.
    let (_, call) = guest(&linker, &tank, TRAPPING);
    assert!(block_on(call).is_err());
    idle.shutdown_background();
}
