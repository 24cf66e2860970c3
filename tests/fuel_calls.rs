//! Every kind of call hands the fuel counter over and takes it back; the embedder's own fuel
//! methods.

use std::sync::{Arc, Mutex};

use lampwick::{Caller, Engine, Func, Instance, Linker, Module, Store, Trap};

use crate::support::{async_metered, asynchronous, block_on, metered, panic_of, pend, trap};

/// What `fuel_consumed` answered in each host call.
type Seen = Vec<u64>;

fn tick(mut caller: Caller<'_, Seen>) {
    note(&mut caller);
}

fn note(caller: &mut Caller<'_, Seen>) {
    let consumed = caller.fuel_consumed().unwrap();
    caller.data_mut().push(consumed);
}

/// Instantiates each module of `wats`, under the names "0", "1" and so on, beside `host::tick`,
/// `host::back` (calls what the caller exports as "back") and `host::fail`.
fn link(engine: &Engine, wats: &[&str]) -> (Store<Seen>, Vec<Instance>) {
    let mut store = Store::new(engine, Seen::new());
    store.add_fuel(1_000_000).unwrap();
    let mut linker = Linker::new(engine);
    linker.func_wrap("host", "tick", tick).unwrap();
    linker.func_wrap("host", "fail", || -> Result<(), Trap> { Err(Trap::new("no")) }).unwrap();
    linker
        .func_wrap("host", "back", |mut caller: Caller<'_, Seen>| -> Result<(), Trap> {
            let back = caller.get_export("back").unwrap().into_func().unwrap();
            note(&mut caller);
            let result = back.call(&mut caller, &[]);
            note(&mut caller);
            result.map(drop).map_err(Trap::from)
        })
        .unwrap();
    let mut instances = Vec::new();
    for (index, wat) in wats.iter().enumerate() {
        let module = Module::new(engine, wat).unwrap();
        let instance = linker.instantiate(&mut store, &module).unwrap();
        linker.instance(&mut store, &index.to_string(), instance).unwrap();
        instances.push(instance);
    }
    (store, instances)
}

/// What each host call saw, and what the whole cost, of a call of `run` in the last of the modules.
fn observe(wats: &[&str]) -> (Seen, u64) {
    let (mut store, instances) = link(&metered(), wats);
    assert_eq!(store.data().len(), 0, "a module without a start function ran");
    let run = instances.last().unwrap().get_func(&mut store, "run").unwrap();
    let _ = run.call(&mut store, &[]);
    (store.data().clone(), store.fuel_consumed().unwrap())
}

const TICK: &str = r#"(import "host" "tick" (func $tick))"#;

#[test]
fn a_direct_call_is_seen_from_both_sides() {
    let wat = format!(
        r#"(module {TICK}
            (func $callee i32.const 0 drop call $tick i32.const 0 drop)
            (func (export "run")
                i32.const 0 drop i32.const 0 drop call $tick
                call $callee
                call $tick i32.const 0 drop))"#
    );
    // Entry 1, constants 2, call 1; call 1, entry 1, constant 1, call 1; constant 1, call 1.
    assert_eq!(observe(&[&wat]), (vec![4, 8, 10], 11));
}

#[test]
fn a_call_of_another_instance_is_seen_from_both_sides() {
    let callee = format!(
        r#"(module {TICK} (func (export "callee") i32.const 0 drop call $tick i32.const 0 drop))"#
    );
    let caller = format!(
        r#"(module {TICK} (import "0" "callee" (func $callee))
            (func (export "run") call $tick call $callee call $tick))"#
    );
    assert_eq!(observe(&[&callee, &caller]), (vec![2, 6, 8], 8));
}

#[test]
fn a_call_through_a_table_is_seen_from_both_sides() {
    let callee = format!(
        r#"(module {TICK} (table (export "table") 4 funcref) (elem (i32.const 1) $callee $tick)
            (func $callee i32.const 0 drop call $tick i32.const 0 drop))"#
    );
    let caller = format!(
        r#"(module {TICK} (import "0" "table" (table 4 funcref)) (type $t (func))
            (elem (i32.const 3) $own) (func $own nop)
            (func (export "run")
                call $tick
                i32.const 1 call_indirect (type $t) ;; of the other instance
                i32.const 2 call_indirect (type $t) ;; of the host
                i32.const 3 call_indirect (type $t) ;; its own
                call $tick))"#
    );
    // 2; constant, call, entry, constant, call; constant, constant, call; constant, call, entry,
    // call.
    assert_eq!(observe(&[&callee, &caller]), (vec![2, 7, 10, 14], 14));
}

#[test]
fn a_callback_of_the_host_is_seen_from_both_sides() {
    let wat = format!(
        r#"(module {TICK} (import "host" "back" (func $back_))
            (func (export "back") i32.const 0 drop call $tick i32.const 0 drop)
            (func (export "run") i32.const 0 drop call $back_ i32.const 0 drop call $tick))"#
    );
    // 3 before and 7 after the callback, which saw 6; then a constant and a call.
    assert_eq!(observe(&[&wat]), (vec![3, 6, 7, 9], 9));
}

#[test]
fn a_callback_that_traps_is_counted() {
    let wat = format!(
        r#"(module {TICK} (import "host" "back" (func $back_)) (memory 1)
            (func (export "back") i32.const -1 i32.load drop i32.const 0 drop)
            (func (export "run") i32.const 0 drop call $back_ call $tick))"#
    );
    // 3, then entry, constant and load; what follows the host's failure does not run.
    assert_eq!(observe(&[&wat]), (vec![3, 6], 6));
}

#[test]
fn a_host_error_deep_in_calls_is_counted() {
    let wat = r#"(module (import "host" "fail" (func $fail))
        (func $f (param i32)
            local.get 0 if local.get 0 i32.const 1 i32.sub call $f else call $fail end)
        (func (export "run") i32.const 10 call $f i32.const 0 drop))"#;
    // Entry, constant, call; ten rounds of 7 with their entries; at the end 4.
    assert_eq!(observe(&[wat]), (vec![], 3 + 10 * 7 + 4));
}

#[test]
fn a_start_function_is_counted() {
    let wat = format!(
        r#"(module {TICK} (start $start) (func $start i32.const 0 drop call $tick i32.const 0 drop))"#
    );
    let (store, _) = link(&metered(), &[&wat]);
    assert_eq!((&store.data()[..], store.fuel_consumed()), (&[3][..], Some(4)));
}

#[test]
fn loops_keep_the_counter_across_calls() {
    let wat = format!(
        r#"(module {TICK} (func $leaf (param i32) (result i32) local.get 0 i32.const 1 i32.sub)
            (func (export "run") (local i32) i32.const 1000 local.set 0
                loop local.get 0 call $leaf local.tee 0 br_if 0 end call $tick))"#
    );
    // 3, then 1000 rounds of 4 and, in the leaf, 4.
    assert_eq!(observe(&[&wat]), (vec![3 + 8 * 1000 + 1], 3 + 8 * 1000 + 1));
}

#[test]
fn async_host_calls_and_nested_calls_are_counted() {
    let engine = async_metered();
    let mut linker = Linker::<Seen>::new(&engine);
    linker
        .func_wrap0_async("host", "back", |mut caller: Caller<'_, Seen>| {
            Box::new(async move {
                note(&mut caller);
                pend(2).await;
                let back = caller.get_export("back").unwrap().into_func().unwrap();
                back.call_async(&mut caller, &[]).await.map_err(Trap::from)?;
                pend(1).await;
                note(&mut caller);
                Ok::<(), Trap>(())
            })
        })
        .unwrap();
    let wat = r#"(module (import "host" "back" (func $back_))
        (func (export "back") i32.const 0 drop i32.const 0 drop)
        (func (export "run") i32.const 0 drop call $back_ i32.const 0 drop))"#;
    let module = Module::new(&engine, wat).unwrap();
    for slice in [1, 2, 1000] {
        let mut store = Store::new(&engine, Seen::new());
        store.out_of_fuel_async_yield(u64::MAX, slice);
        let instance = block_on(linker.instantiate_async(&mut store, &module)).unwrap();
        let run = instance.get_func(&mut store, "run").unwrap();
        block_on(run.call_async(&mut store, &[])).unwrap();
        assert_eq!((&store.data()[..], store.fuel_consumed()), (&[3, 6][..], Some(7)));
    }
}

#[test]
fn a_new_store_has_no_fuel() {
    let engine = metered();
    let (mut store, instances) = link(&engine, &[r#"(module (func (export "run")))"#]);
    let run = instances[0].get_func(&mut store, "run").unwrap();
    assert_eq!(store.consume_fuel(999_999).unwrap(), 1);
    run.call(&mut store, &[]).expect("one unit pays for the entry");
    assert_eq!(store.fuel_consumed(), Some(1_000_000));
    let text = trap(run.call(&mut store, &[]).unwrap_err()).to_string();
    assert!(text.contains("all fuel consumed by WebAssembly"), "{text}");

    let mut empty = Store::new(&engine, ());
    assert_eq!(empty.fuel_consumed(), Some(0));
    assert!(empty.consume_fuel(0).is_err(), "0 is not less than 0");
    let module = Module::new(&engine, r#"(module (func (export "run")))"#).unwrap();
    let instance = Instance::new(&mut empty, &module, &[]).unwrap();
    let run = instance.get_func(&mut empty, "run").unwrap();
    assert!(run.call(&mut empty, &[]).is_err());
    empty.add_fuel(2).unwrap();
    assert!(run.call(&mut empty, &[]).is_ok(), "one was burned by the attempt, one is left");
    assert_eq!(empty.fuel_consumed(), Some(2));
}

#[test]
fn consuming_takes_less_than_what_is_left_or_nothing() {
    let mut store = Store::new(&metered(), ());
    store.add_fuel(10).unwrap();
    assert_eq!(store.consume_fuel(0).unwrap(), 10);
    assert_eq!(store.consume_fuel(3).unwrap(), 7);
    for too_much in [7, 8, u64::MAX] {
        let error = store.consume_fuel(too_much).unwrap_err().to_string();
        assert!(error.contains(&too_much.to_string()) && error.contains('7'), "{error}");
        assert_eq!(store.fuel_consumed(), Some(3), "nothing was consumed");
    }
    assert_eq!(store.consume_fuel(6).unwrap(), 1);
    assert_eq!(store.fuel_consumed(), Some(9));
}

#[test]
fn fuel_saturates() {
    let mut store = Store::new(&metered(), ());
    store.add_fuel(u64::MAX).unwrap();
    store.add_fuel(u64::MAX).unwrap();
    assert_eq!(store.fuel_consumed(), Some(0));
    assert!(store.consume_fuel(u64::MAX / 2).unwrap() >= u64::MAX / 2);
    assert_eq!(store.fuel_consumed(), Some(u64::MAX / 2));
    let module =
        Module::new(store.engine(), r#"(module (func (export "run") (result i32) i32.const 5))"#);
    let instance = Instance::new(&mut store, &module.unwrap(), &[]).unwrap();
    let run = instance.get_typed_func::<(), i32, _>(&mut store, "run").unwrap();
    assert_eq!(run.call(&mut store, ()).unwrap(), 5);
    assert_eq!(store.fuel_consumed(), Some(u64::MAX / 2 + 2));
}

#[test]
fn engines_without_fuel_say_so() {
    let mut store = Store::new(&Engine::default(), ());
    assert_eq!(store.fuel_consumed(), None);
    for error in [store.add_fuel(1).unwrap_err(), store.consume_fuel(1).unwrap_err()] {
        assert!(error.to_string().contains("Config::consume_fuel"), "{error}");
    }
    for engine in [Engine::default(), metered()] {
        let mut store = Store::new(&engine, ());
        let text = panic_of(|| store.out_of_fuel_async_yield(1, 1));
        assert!(text.contains("Config::async_support"), "{text}");
    }
    Store::new(&asynchronous(), ()).out_of_fuel_async_yield(1, 1);
}

#[test]
fn host_functions_change_fuel_while_the_guest_runs() {
    let engine = metered();
    let mut store = Store::new(&engine, ());
    let left = Arc::new(Mutex::new(Vec::new()));
    let log = left.clone();
    let spend = Func::wrap(&mut store, move |mut caller: Caller<'_, ()>, fuel: u64| {
        let answer = caller.consume_fuel(fuel);
        log.lock().unwrap().push((answer.ok(), caller.fuel_consumed().unwrap()));
    });
    let give = Func::wrap(&mut store, |mut caller: Caller<'_, ()>, fuel: u64| {
        caller.add_fuel(fuel).unwrap();
    });
    let module = Module::new(
        &engine,
        r#"(module (import "" "" (func $spend (param i64))) (import "" "" (func $give (param i64)))
            (func (export "run")
                i64.const 50 call $spend i64.const 90 call $spend i64.const 100 call $give
                i64.const 90 call $spend))"#,
    );
    let imports = [spend.into(), give.into()];
    let instance = Instance::new(&mut store, &module.unwrap(), &imports).unwrap();
    store.add_fuel(100).unwrap();
    let run = instance.get_func(&mut store, "run").unwrap();
    assert_eq!(run.call(&mut store, &[]).unwrap().len(), 0);
    assert_eq!(*left.lock().unwrap(), [(Some(47), 53), (None, 55), (Some(51), 149)]);
    assert_eq!(store.fuel_consumed(), Some(149));
}
