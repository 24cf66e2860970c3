//! References and exceptions: what exceptions carry, how long, and how many there may be.

use lampwick::{Caller, Engine, ExternRef, Func, Instance, Module, Store, TrapCode, Val, ValType};

use crate::support::{Census, instantiate, trap};

#[test]
fn references_in_exceptions_stay_and_go() {
    let wat = r#"(module
        (import "host" "collect" (func $collect))
        (tag $t (param externref externref))
        (global $kept (mut exnref) (ref.null exn))
        (func $throw (param externref externref)
            (throw $t (local.get 0) (local.get 1)))
        (func (export "keep") (param externref externref)
            (global.set $kept (block $h (result exnref)
                (try_table (catch_all_ref $h) (call $throw (local.get 0) (local.get 1)))
                (unreachable)))
            (call $collect))
        (func (export "look") (result externref externref)
            (local $e exnref)
            (local.set $e (global.get $kept))
            (global.set $kept (ref.null exn))
            (call $collect)
            (try_table (catch $t 0) (call $collect) (throw_ref (local.get $e)))
            (unreachable)))"#;
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let collect = Func::wrap(&mut store, |mut caller: Caller<'_, ()>| caller.gc());
    let module = Module::new(&engine, wat).unwrap();
    let instance = Instance::new(&mut store, &module, &[collect.into()]).unwrap();
    let keep = instance.get_func(&mut store, "keep").unwrap();
    let look = instance.get_func(&mut store, "look").unwrap();
    let census = Census::default();
    for _ in 0..3 {
        let args = [(); 2].map(|()| Val::from(ExternRef::new(census.token())));
        keep.call(&mut store, &args).unwrap();
        let [one, other] = args.map(|arg| arg.unwrap_externref().unwrap());
        store.gc();
        assert_eq!(census.alive(), 2, "the exception holds them");
        let values = look.call(&mut store, &[]).unwrap();
        assert!(values[0].unwrap_externref().unwrap().ptr_eq(&one));
        assert!(values[1].unwrap_externref().unwrap().ptr_eq(&other));
        drop((values, one, other));
        store.gc();
        assert_eq!(census.alive(), 0);
    }
    let args = [(); 2].map(|()| Val::from(ExternRef::new(census.token())));
    keep.call(&mut store, &args).unwrap();
    drop((args, store));
    assert_eq!(census.alive(), 0, "the store is gone");
}

/// Guests that throw again and again.
const THROWERS: &str = r#"(module
    (tag $wide (param v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128 v128))
    (tag $link (param exnref))
    (table $kept 0 exnref)
    (func $throw (local $v v128)
        (throw $wide (local.get 0) (local.get 0) (local.get 0) (local.get 0)
            (local.get 0) (local.get 0) (local.get 0) (local.get 0)
            (local.get 0) (local.get 0) (local.get 0) (local.get 0)
            (local.get 0) (local.get 0) (local.get 0) (local.get 0)))
    (func $make (result exnref)
        (block $h (result exnref) (try_table (catch_all_ref $h) (call $throw)) (unreachable)))
    (func (export "drop") (param i32)
        (loop
            (drop (call $make))
            (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "keep") (param i32)
        (loop
            (drop (table.grow $kept (call $make) (i32.const 1)))
            (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "chain") (param i32) (local $e exnref)
        (loop $next
            (local.set $e (block $h (result exnref)
                (try_table (catch_all_ref $h) (throw $link (local.get $e))) (unreachable)))
            (br_if $next (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (drop (table.grow $kept (local.get $e) (i32.const 1))))
    (func (export "forget") (table.fill $kept (i32.const 0) (ref.null exn) (table.size $kept))))"#;

#[test]
fn exceptions_are_collected_and_limited() {
    let (mut store, instance) = instantiate(&Engine::default(), THROWERS);
    let mut get = |name| instance.get_func(&mut store, name).unwrap();
    let [drop, keep, forget] = ["drop", "keep", "forget"].map(&mut get);
    // A hundred megabytes, if nothing were collected.
    drop.call(&mut store, &[Val::I32(300_000)]).unwrap();
    for _ in 0..2 {
        let error = trap(keep.call(&mut store, &[Val::I32(300_000)]).unwrap_err()).to_string();
        assert!(error.contains("more than 16777216 bytes"), "{error}");
        // Those that go make room for others.
        forget.call(&mut store, &[]).unwrap();
        drop.call(&mut store, &[Val::I32(1_000)]).unwrap();
        keep.call(&mut store, &[Val::I32(1_000)]).unwrap();
        forget.call(&mut store, &[]).unwrap();
    }
}

#[test]
fn a_chain_of_exceptions_goes_without_recursion() {
    const LINKS: i32 = 50_000;
    for by_gc in [false, true] {
        let (mut store, instance) = instantiate(&Engine::default(), THROWERS);
        let chain = instance.get_func(&mut store, "chain").unwrap();
        let forget = instance.get_func(&mut store, "forget").unwrap();
        for _ in 0..5 {
            chain.call(&mut store, &[Val::I32(LINKS)]).unwrap();
            forget.call(&mut store, &[]).unwrap();
        }
        chain.call(&mut store, &[Val::I32(LINKS)]).unwrap();
        if by_gc {
            forget.call(&mut store, &[]).unwrap();
            store.gc();
        }
    }
}

#[test]
fn the_host_holds_exceptions_of_its_store_alone() {
    let wat = r#"(module
        (tag $t (param i32))
        (global (export "g") (mut exnref) (ref.null exn))
        (table (export "table") 1 exnref)
        (func (export "make") (result exnref)
            (try_table (catch_all_ref 0) (throw $t (i32.const 4))) (unreachable))
        (func (export "take") (param exnref) (result i32)
            (try_table (catch $t 0) (throw_ref (local.get 0))) (unreachable)))"#;
    let engine = Engine::default();
    let (mut store, instance) = instantiate(&engine, wat);
    let make = instance.get_func(&mut store, "make").unwrap();
    let take = instance.get_func(&mut store, "take").unwrap();
    let global = instance.get_global(&mut store, "g").unwrap();
    let table = instance.get_table(&mut store, "table").unwrap();
    let made = make.call(&mut store, &[]).unwrap()[0].clone();
    store.gc();
    assert_eq!(take.call(&mut store, std::slice::from_ref(&made)).unwrap()[0].unwrap_i32(), 4);
    global.set(&mut store, made.clone()).unwrap();
    table.set(&mut store, 0, made.clone()).unwrap();
    store.gc();
    let Val::ExnRef(Some(exception)) = made.clone() else { panic!() };
    for found in [global.get(&mut store), table.get(&mut store, 0).unwrap()] {
        let Val::ExnRef(Some(found)) = found else { panic!("{found:?}") };
        assert!(found.ptr_eq(&exception));
    }
    assert!(matches!(global.get(&mut store).ty(), ValType::Ref(_)));
    let null = take.call(&mut store, &[Val::ExnRef(None)]).unwrap_err();
    assert_eq!(trap(null).trap_code(), Some(TrapCode::NullReference));
    assert!(take.call(&mut store, &[Val::null()]).is_err(), "an externref is none");
    let (mut other, instance) = instantiate(&engine, wat);
    let take = instance.get_func(&mut other, "take").unwrap();
    let error = format!("{:#}", take.call(&mut other, &[made]).unwrap_err());
    assert!(error.contains("another store"), "{error}");
}
