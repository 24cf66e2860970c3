//! Exceptions and objects that refer to one another: collected together, held together.

use std::pin::pin;
use std::slice;

use lampwick::{
    AnyRef, Config, Engine, ExnRef, ExternRef, Instance, Module, ResourceLimiter, Store, TrapCode,
    Val,
};

use crate::support::{Census, block_on, count_pending, instantiate, instantiate_async, poll, trap};

/// A node and an exception that refer to one another, and the places in which they can be kept.
const CIRCLES: &str = r#"(module
    (type $node (struct (field (mut exnref)) (field externref) (field (mut (ref null $node)))))
    (type $list (array (mut exnref)))
    (tag $t (param (ref null $node) externref))
    (table $table 2 exnref)
    (table $lists 1 (ref null $list))
    (global $global (mut exnref) (ref.null exn))
    (func $circle (export "circle") (param externref) (result exnref)
        (local $node (ref null $node)) (local $e exnref)
        (local.set $node (struct.new $node (ref.null exn) (local.get 0) (ref.null $node)))
        (local.set $e (block $h (result exnref)
            (try_table (catch_all_ref $h) (throw $t (local.get $node) (local.get 0)))
            (unreachable)))
        (struct.set $node 0 (local.get $node) (local.get $e))
        (local.get $e))
    (func (export "nowhere") (param externref) (drop (call $circle (local.get 0))))
    (func (export "in a table") (param externref)
        (table.set $table (i32.const 1) (call $circle (local.get 0))))
    (func (export "in a global") (param externref) (global.set $global (call $circle (local.get 0))))
    (func (export "in an array") (param externref)
        (table.set $lists (i32.const 0)
            (array.new $list (call $circle (local.get 0)) (i32.const 3))))
    (func (export "clear")
        (table.fill $table (i32.const 0) (ref.null exn) (i32.const 2))
        (table.fill $lists (i32.const 0) (ref.null $list) (i32.const 1))
        (global.set $global (ref.null exn)))
    (func $node (export "node") (param exnref) (result (ref null $node))
        (block $h (result (ref null $node) externref)
            (try_table (catch $t $h) (throw_ref (local.get 0))) (unreachable))
        (drop))
    (func (export "value") (param exnref) (result externref)
        (struct.get $node 1 (call $node (local.get 0))))
    (func (export "uncaught") (param externref)
        (throw $t (struct.new $node (ref.null exn) (local.get 0) (ref.null $node)) (local.get 0)))
    (func (export "many") (param i32) (local $node (ref null $node)) (local $e exnref)
        (loop
            (local.set $e (call $circle (ref.null extern)))
            (struct.set $node 2 (call $node (local.get $e)) (local.get $node))
            (local.set $node (call $node (local.get $e)))
            (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (global.set $global (local.get $e)))
    (func (export "length") (result i32) (local $node (ref null $node)) (local $length i32)
        (local.set $node (call $node (global.get $global)))
        (block $end (loop
            (br_if $end (ref.is_null (local.get $node)))
            ;; Each exception is still the one of its node.
            (if (i32.eqz (ref.eq (local.get $node)
                    (call $node (struct.get $node 0 (local.get $node)))))
                (then (unreachable)))
            (local.set $length (i32.add (local.get $length) (i32.const 1)))
            (local.set $node (struct.get $node 2 (local.get $node)))
            (br 0)))
        (local.get $length))
    (func (export "first") (result (ref null $node)) (call $node (global.get $global)))
    (func (export "garbage") (param i32)
        (loop
            (drop (struct.new $node (ref.null exn) (ref.null extern) (ref.null $node)))
            (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "throws") (param i32)
        (loop
            (block $h (try_table (catch_all $h) (throw $t (ref.null $node) (ref.null extern))))
            (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))"#;

fn call(store: &mut Store<()>, instance: &Instance, name: &str, args: &[Val]) -> Vec<Val> {
    let func = instance.get_func(&mut *store, name).unwrap();
    func.call(store, args).unwrap().to_vec()
}

fn exception(store: &mut Store<()>, instance: &Instance, census: &Census) -> ExnRef {
    let made = call(store, instance, "circle", &[ExternRef::new(census.token()).into()]);
    let Val::ExnRef(Some(exception)) = made[0].clone() else { panic!("{made:?}") };
    exception
}

#[test]
fn circles_through_exceptions_stay_where_they_are_kept_and_go_else() {
    for stress in [false, true] {
        let engine = Engine::new(Config::new().gc_stress(stress)).unwrap();
        let (mut store, instance) = instantiate(&engine, CIRCLES);
        for kept in ["nowhere", "in a table", "in a global", "in an array"] {
            let census = Census::default();
            for _ in 0..100 {
                let value = ExternRef::new(census.token());
                call(&mut store, &instance, kept, &[value.into()]);
            }
            store.gc();
            let expected = usize::from(kept != "nowhere");
            assert_eq!(census.alive(), expected, "{kept}");
            call(&mut store, &instance, "clear", &[]);
            store.gc();
            assert_eq!(census.alive(), 0, "{kept}");
        }
    }
}

#[test]
fn the_host_holds_a_circle_by_either_end() {
    let (mut store, instance) = instantiate(&Engine::default(), CIRCLES);
    let census = Census::default();
    let first = exception(&mut store, &instance, &census);
    let clone = first.clone();
    drop(first);
    store.gc();
    assert_eq!(census.alive(), 1);
    let again = Val::ExnRef(Some(clone));
    assert!(
        call(&mut store, &instance, "value", slice::from_ref(&again))[0]
            .unwrap_externref()
            .is_some()
    );
    let node: AnyRef =
        call(&mut store, &instance, "node", slice::from_ref(&again))[0].unwrap_anyref().unwrap();
    drop(again);
    store.gc();
    assert_eq!(census.alive(), 1, "the node holds its exception");
    let Val::ExnRef(Some(found)) = node.get(&store, 0).unwrap() else { panic!() };
    drop(node);
    store.gc();
    assert_eq!(census.alive(), 1, "the exception holds its node");
    // On another thread, and with the store gone before.
    std::thread::spawn(move || drop(found)).join().unwrap();
    store.gc();
    assert_eq!(census.alive(), 0);
    let last = exception(&mut store, &instance, &census);
    drop(store);
    assert_eq!(census.alive(), 0, "the store is gone");
    drop(last);
}

#[test]
fn what_an_exception_carries_out_of_the_guest_is_the_hosts() {
    let (mut store, instance) = instantiate(&Engine::default(), CIRCLES);
    let uncaught = instance.get_func(&mut store, "uncaught").unwrap();
    let census = Census::default();
    for _ in 0..3 {
        let value = ExternRef::new(census.token());
        let error = trap(uncaught.call(&mut store, &[value.into()]).unwrap_err());
        store.gc();
        assert_eq!(census.alive(), 1);
        let values = error.exception().unwrap().values();
        let node = values[0].unwrap_anyref().unwrap();
        assert!(node.get(&store, 1).unwrap().unwrap_externref().is_some());
        drop((node, error));
        store.gc();
        assert_eq!(census.alive(), 0);
    }
}

/// Whoever drops what a guest's objects and exceptions hang on may do so while they are collected.
#[test]
fn holds_are_dropped_on_another_thread_while_a_guest_collects() {
    let (mut store, instance) = instantiate(&Engine::default(), CIRCLES);
    let census = Census::default();
    for _ in 0..20 {
        let held: Vec<_> = (0..500)
            .map(|_| {
                let exception = exception(&mut store, &instance, &census);
                let args = [Val::ExnRef(Some(exception.clone()))];
                let node = call(&mut store, &instance, "node", &args)[0].unwrap_anyref();
                (exception, node)
            })
            .collect();
        let other = std::thread::spawn(move || held.into_iter().for_each(drop));
        while !other.is_finished() {
            store.gc();
        }
        other.join().unwrap();
        store.gc();
        assert_eq!(census.alive(), 0);
    }
}

fn async_store() -> (Store<()>, Instance) {
    let mut config = Config::new();
    config.async_support(true).consume_fuel(true);
    let (mut store, instance) = instantiate_async(&Engine::new(&config).unwrap(), CIRCLES);
    store.out_of_fuel_async_yield(u64::MAX, 10_000);
    (store, instance)
}

#[test]
fn a_guest_dropped_at_any_await_leaves_its_circles_whole() {
    let (mut store, instance) = async_store();
    let many = instance.get_typed_func::<i32, (), _>(&mut store, "many").unwrap();
    let length = instance.get_typed_func::<(), i32, _>(&mut store, "length").unwrap();
    block_on(many.call_async(&mut store, 2_000)).unwrap();
    for polls in (0..400).step_by(7) {
        {
            let mut call = pin!(many.call_async(&mut store, 20_000));
            for _ in 0..polls {
                if poll(call.as_mut()).is_ready() {
                    break;
                }
            }
        }
        let length = block_on(length.call_async(&mut store, ())).unwrap();
        assert!([2_000, 20_000].contains(&length), "{length}");
    }
}

#[test]
fn a_collection_of_what_guests_and_host_hold_goes_in_parts() {
    let (mut store, instance) = async_store();
    let circle = instance.get_func(&mut store, "circle").unwrap();
    let throws = instance.get_typed_func::<i32, (), _>(&mut store, "throws").unwrap();
    let many = instance.get_typed_func::<i32, (), _>(&mut store, "many").unwrap();
    let mut held = Vec::new();
    for _ in 0..20_000 {
        held.extend_from_slice(&block_on(circle.call_async(&mut store, &[Val::null()])).unwrap());
    }
    store.add_fuel(1 << 40).unwrap();
    store.out_of_fuel_trap();
    // Those that land at once leave nothing to collect. They yield for what throws take, 0.2 us each.
    let (yields, result) = count_pending(throws.call_async(&mut store, 20_000));
    result.unwrap();
    assert_eq!(yields, 20_000 / 150);
    let (yields, result) = count_pending(many.call_async(&mut store, 30_000));
    result.unwrap();
    // Each part looks at less than 500 of what is held.
    assert!(yields > 20_000 / 500, "{yields} yields");
}

#[test]
fn what_the_host_holds_is_looked_through_in_parts() {
    let (mut store, instance) = async_store();
    let many = instance.get_typed_func::<i32, (), _>(&mut store, "many").unwrap();
    let garbage = instance.get_typed_func::<i32, (), _>(&mut store, "garbage").unwrap();
    let first = instance.get_func(&mut store, "first").unwrap();
    block_on(many.call_async(&mut store, 2)).unwrap();
    let first = block_on(first.call_async(&mut store, &[])).unwrap()[0].unwrap_anyref().unwrap();
    store.out_of_fuel_async_yield(u64::MAX, 1 << 40);
    store.add_fuel(1 << 40).unwrap();
    // Two collections.
    let collect = |store: &mut Store<()>| {
        let (yields, result) = count_pending(garbage.call_async(store, 50_000));
        result.unwrap();
        yields
    };
    let before = collect(&mut store);
    let held: Vec<_> = (0..100_000).map(|_| first.get(&store, 2).unwrap()).collect();
    let holding = collect(&mut store);
    // Each part looks at less than 5,000.
    assert!(holding >= before + 2 * 20, "{before} yields, and {holding} of one who holds much");
    drop(held);
    // The first collection gives the places back.
    collect(&mut store);
    let after = collect(&mut store);
    assert!(after < before + 10, "{before} yields, and {after} when it is dropped");
}

struct Limit(usize);

impl ResourceLimiter for Limit {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> bool {
        desired <= self.0
    }

    fn table_growing(&mut self, _: u32, _: u32, _: Option<u32>) -> bool {
        true
    }
}

#[test]
fn circles_make_room_where_a_limiter_refuses_more() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, Limit(256 << 10));
    store.limiter(|limit| limit);
    let module = Module::new(&engine, CIRCLES).unwrap();
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let nowhere = instance.get_func(&mut store, "nowhere").unwrap();
    let many = instance.get_func(&mut store, "many").unwrap();
    let clear = instance.get_func(&mut store, "clear").unwrap();
    for _ in 0..3 {
        for _ in 0..10_000 {
            nowhere.call(&mut store, &[Val::null()]).unwrap();
        }
        let error = trap(many.call(&mut store, &[Val::I32(100_000)]).unwrap_err());
        assert_eq!(error.trap_code(), Some(TrapCode::HeapExhausted));
        many.call(&mut store, &[Val::I32(1_000)]).unwrap();
        clear.call(&mut store, &[]).unwrap();
    }
}
