//! Fuel by its modern spellings: set, got, and cut into slices.

use std::pin::pin;

use lampwick::{AsContext, AsContextMut, Caller, Engine, Func, Instance, Module, Store, TypedFunc};

use crate::support::{
    async_metered, asynchronous, block_on, count_pending, instantiate, instantiate_async, metered,
    poll,
};

/// Each round burns five units.
const SPIN: &str = r#"(module
    (func (export "spin") (param $n i32)
        loop
            (local.set $n (i32.sub (local.get $n) (i32.const 1)))
            (br_if 0 (local.get $n))
        end)
    (memory 1)
    (func (export "fill") (memory.fill (i32.const 0) (i32.const 1) (i32.const 65536))))"#;

fn spinning() -> (Store<()>, TypedFunc<i32, ()>) {
    let (mut store, instance) = instantiate_async(&async_metered(), SPIN);
    let spin = instance.get_typed_func(&mut store, "spin").unwrap();
    (store, spin)
}

#[test]
fn fuel_is_set_and_got() {
    let (mut store, instance) = instantiate(&metered(), SPIN);
    let spin = instance.get_typed_func::<i32, (), _>(&mut store, "spin").unwrap();
    assert_eq!(store.get_fuel().unwrap(), 0);
    store.set_fuel(100).unwrap();
    assert_eq!((store.get_fuel().unwrap(), store.fuel_consumed()), (100, Some(0)));
    spin.call(&mut store, 3).unwrap();
    let burned = store.fuel_consumed().unwrap();
    assert_eq!(store.get_fuel().unwrap(), 100 - burned);
    assert_eq!(store.as_context().get_fuel().unwrap(), 100 - burned);
    store.as_context_mut().set_fuel(7).unwrap();
    assert_eq!(
        (store.as_context_mut().get_fuel().unwrap(), store.fuel_consumed()),
        (7, Some(burned))
    );
    assert_eq!(store.consume_fuel(2).unwrap(), 5);
    store.add_fuel(2).unwrap();
    assert_eq!(store.get_fuel().unwrap(), 7);
    let trap = spin.call(&mut store, i32::MAX).unwrap_err().to_string();
    assert!(trap.contains("all fuel consumed by WebAssembly"), "{trap}");
    assert_eq!(store.get_fuel().unwrap(), 0, "what was overdrawn is not shown");
    let burned = store.fuel_consumed();
    store.set_fuel(u64::MAX).unwrap();
    assert_eq!((store.get_fuel().unwrap(), store.fuel_consumed()), (u64::MAX, burned));
    spin.call(&mut store, 100).unwrap();
    store.set_fuel(0).unwrap();
    assert!(spin.call(&mut store, 1).is_err());
}

#[test]
fn what_cannot_be_is_an_error() {
    let text = "the engine does not count it (see `Config::consume_fuel`)";
    for engine in [Engine::default(), asynchronous()] {
        let mut store = Store::new(&engine, ());
        for error in [
            store.set_fuel(1).unwrap_err(),
            store.get_fuel().unwrap_err(),
            store.as_context().get_fuel().unwrap_err(),
            store.fuel_async_yield_interval(None).unwrap_err(),
            store.as_context_mut().fuel_async_yield_interval(Some(1)).unwrap_err(),
        ] {
            assert!(error.to_string().contains(text), "{error}");
        }
    }
    let mut store = Store::new(&metered(), ());
    let error = store.fuel_async_yield_interval(Some(1)).unwrap_err().to_string();
    assert!(error.contains("not async (see `Config::async_support`)"), "{error}");
    let mut store = Store::new(&async_metered(), ());
    assert!(store.fuel_async_yield_interval(Some(0)).is_err());
    store.fuel_async_yield_interval(None).unwrap();
}

#[test]
fn a_guest_yields_at_each_interval_of_its_own_fuel() {
    let (mut store, spin) = spinning();
    store.set_fuel(1_000_000).unwrap();
    let (pending, result) = count_pending(spin.call_async(&mut store, 10_000));
    result.unwrap();
    assert_eq!(pending, 0, "without an interval there is no yield");
    let burned = 1_000_000 - store.get_fuel().unwrap();
    for interval in [100, 1000, 20_000, burned + 1, u64::MAX] {
        store.fuel_async_yield_interval(Some(interval)).unwrap();
        store.set_fuel(1_000_000).unwrap();
        let (pending, result) = count_pending(spin.call_async(&mut store, 10_000));
        result.unwrap();
        assert_eq!(store.get_fuel().unwrap(), 1_000_000 - burned, "no fuel is added or lost");
        // A slice ends at the check behind its last unit, at most a round later.
        let fewest = burned / interval.saturating_add(10);
        assert!((fewest..=burned / interval).contains(&pending), "{pending} of {interval}");
    }
    store.fuel_async_yield_interval(None).unwrap();
    assert_eq!(count_pending(spin.call_async(&mut store, 10_000)).0, 0);
}

#[test]
fn a_guest_without_fuel_traps_all_the_same() {
    let (mut store, spin) = spinning();
    store.fuel_async_yield_interval(Some(100)).unwrap();
    store.set_fuel(1000).unwrap();
    let (pending, result) = count_pending(spin.call_async(&mut store, i32::MAX));
    let trap = result.unwrap_err().to_string();
    assert!(trap.contains("all fuel consumed by WebAssembly"), "{trap}");
    assert!((8..=9).contains(&pending), "{pending} yields");
    assert_eq!(store.get_fuel().unwrap(), 0);
    store.set_fuel(0).unwrap();
    assert!(block_on(spin.call_async(&mut store, 1)).is_err());
}

#[test]
fn slices_go_on_from_call_to_call() {
    let (mut store, spin) = spinning();
    store.set_fuel(u64::MAX).unwrap();
    store.fuel_async_yield_interval(Some(1000)).unwrap();
    let mut pending = 0;
    for _ in 0..1000 {
        pending += count_pending(spin.call_async(&mut store, 1)).0;
    }
    let burned = store.fuel_consumed().unwrap();
    assert!((burned / 1010..=burned / 1000).contains(&pending), "{pending} yields of {burned}");
    assert!(pending > 1);
}

#[test]
fn bulk_operators_yield_in_between() {
    let (mut store, instance) = instantiate_async(&async_metered(), SPIN);
    let fill = instance.get_typed_func::<(), (), _>(&mut store, "fill").unwrap();
    store.set_fuel(10_000).unwrap();
    store.fuel_async_yield_interval(Some(500)).unwrap();
    let (pending, result) = count_pending(fill.call_async(&mut store, ()));
    result.unwrap();
    assert!(pending >= 1);
    assert_eq!(store.fuel_consumed(), Some(10_000 - store.get_fuel().unwrap()));
}

#[test]
fn a_call_can_be_dropped_at_each_yield() {
    let (mut store, spin) = spinning();
    store.set_fuel(100_000).unwrap();
    store.fuel_async_yield_interval(Some(10)).unwrap();
    for polls in 1..20 {
        let mut call = pin!(spin.call_async(&mut store, i32::MAX));
        assert!((0..polls).all(|_| poll(call.as_mut()).is_pending()));
    }
    assert_eq!(store.fuel_consumed(), Some(100_000 - store.get_fuel().unwrap()));
    assert!(block_on(spin.call_async(&mut store, 10)).is_ok());
}

#[test]
fn injected_fuel_is_cut_as_well() {
    let (mut store, spin) = spinning();
    store.out_of_fuel_async_yield(2, 1000);
    store.fuel_async_yield_interval(Some(100)).unwrap();
    let (pending, result) = count_pending(spin.call_async(&mut store, i32::MAX));
    assert!(result.is_err());
    assert!((18..=20).contains(&pending), "{pending} yields");
    let burned = store.fuel_consumed().unwrap();
    assert!((2000..2010).contains(&burned), "{burned}");
}

#[test]
fn a_guest_does_not_escape_its_yields_through_the_host() {
    // Each call of the host gives the guest new fuel.
    let engine = async_metered();
    let mut store = Store::new(&engine, 0_u64);
    let more = Func::wrap(&mut store, |mut caller: Caller<'_, u64>| {
        *caller.data_mut() += 1;
        if caller.data().is_multiple_of(2) {
            caller.set_fuel(1_000_000).unwrap();
        } else {
            caller.add_fuel(10).unwrap();
        }
        assert!(caller.get_fuel().unwrap() > 900_000);
    });
    let module = Module::new(
        &engine,
        r#"(module (import "" "" (func $more))
            (func (export "spin") (param $n i32)
                loop
                    call $more
                    (local.set $n (i32.sub (local.get $n) (i32.const 1)))
                    (br_if 0 (local.get $n))
                end))"#,
    )
    .unwrap();
    let instance = block_on(Instance::new_async(&mut store, &module, &[more.into()])).unwrap();
    let spin = instance.get_typed_func::<i32, (), _>(&mut store, "spin").unwrap();
    store.set_fuel(1_000_000).unwrap();
    store.fuel_async_yield_interval(Some(100)).unwrap();
    let (pending, result) = count_pending(spin.call_async(&mut store, 1000));
    result.unwrap();
    let burned = store.fuel_consumed().unwrap();
    assert!(burned > 5000);
    assert!((burned / 110..=burned / 100).contains(&pending), "{pending} yields of {burned}");
}

#[test]
fn the_host_can_start_and_end_slices_in_a_call() {
    let engine = async_metered();
    let mut store = Store::new(&engine, ());
    let every = Func::wrap(&mut store, |mut caller: Caller<'_, ()>, interval: u64| {
        caller.fuel_async_yield_interval(Some(interval).filter(|&n| n > 0)).unwrap();
    });
    let module = Module::new(
        &engine,
        r#"(module (import "" "" (func $every (param i64)))
            (func $spin (param $n i32)
                loop
                    (local.set $n (i32.sub (local.get $n) (i32.const 1)))
                    (br_if 0 (local.get $n))
                end)
            (func (export "run") (param i64)
                (call $every (local.get 0))
                (call $spin (i32.const 1000))
                (call $every (i64.const 0))
                (call $spin (i32.const 1000))))"#,
    )
    .unwrap();
    let instance = block_on(Instance::new_async(&mut store, &module, &[every.into()])).unwrap();
    let run = instance.get_typed_func::<u64, (), _>(&mut store, "run").unwrap();
    store.set_fuel(1_000_000).unwrap();
    let (pending, result) = count_pending(run.call_async(&mut store, 1000));
    result.unwrap();
    assert!((4..=8).contains(&pending), "{pending} yields");
    assert_eq!(store.fuel_consumed(), Some(1_000_000 - store.get_fuel().unwrap()));
}
