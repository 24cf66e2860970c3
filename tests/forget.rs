//! Futures that are forgotten, dropped late, polled by hand or once too often: a store survives
//! them all.

use std::future::Future;
use std::mem::forget;
use std::pin::Pin;

use lampwick::{Caller, Engine, Extern, Func, Instance, Linker, Module, Store, Trap, TrapCode};

use crate::support::{
    Census, async_metered, asynchronous, block_on, instantiate_async, panic_of, pend, poll,
};

const GUEST: &str = r#"(module
    (import "host" "wait" (func $wait (param i32)))
    (import "host" "nest" (func $nest (param i32)))
    (func $leaf (export "leaf") (param i32) local.get 0 call $wait)
    (func $through (export "through") (param i32) local.get 0 call $leaf)
    (func $deep (export "deep") (param i32)
        local.get 0 i32.eqz if i32.const 0 call $through else
            local.get 0 i32.const 1 i32.sub call $deep end)
    (func $nested (export "nested") (param i32) local.get 0 call $nest)
    (func $forever (export "forever") loop br 0 end)
    (func $add (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add))"#;

/// What the host function `nest` does with the future of a nested call, after one poll of it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum After {
    Drop,
    Forget,
    /// Forgets it, and several more.
    ForgetMany,
}

/// How `nest` ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Returns,
    Fails,
    Panics,
    Traps,
    Suspends,
    Calls,
}

struct Data {
    census: Census,
    after: After,
    end: End,
}

type Host<'a> = Box<dyn Future<Output = Result<(), Trap>> + Send + 'a>;

fn export(caller: &mut Caller<'_, Data>, name: &str) -> Func {
    caller.get_export(name).and_then(Extern::into_func).unwrap()
}

/// Polls a nested call once, which suspends, and does with it what the data say.
fn leave(caller: &mut Caller<'_, Data>, depth: i32) {
    let after = caller.data().after;
    let deep = export(caller, "deep").typed::<i32, (), _>(&*caller).unwrap();
    let times = if after == After::ForgetMany { 20 } else { 1 };
    for _ in 0..times {
        let mut call = Box::pin(deep.call_async(&mut *caller, depth));
        assert!(poll(call.as_mut()).is_pending());
        if after == After::Drop { drop(call) } else { forget(call) }
    }
}

/// Leaves nested calls behind, before its future begins or in it, and ends as the data say.
fn nest(mut caller: Caller<'_, Data>, depth: i32) -> Host<'_> {
    let early = depth % 2 == 1;
    if early {
        leave(&mut caller, depth);
    }
    Box::new(async move {
        if !early {
            leave(&mut caller, depth);
        }
        match caller.data().end {
            End::Returns => Ok(()),
            End::Fails => Err(Trap::new("nest fails")),
            End::Panics => panic!("nest panics"),
            End::Traps => {
                let leaf = export(&mut caller, "nested").typed::<(), (), _>(&caller);
                assert!(leaf.is_err(), "it takes a parameter");
                Err(anyhow::Error::new(std::fmt::Error).into())
            }
            End::Suspends => {
                pend(3).await;
                Ok(())
            }
            End::Calls => {
                let add = export(&mut caller, "add").typed::<(i32, i32), i32, _>(&caller)?;
                assert_eq!(add.call_async(&mut caller, (2, 3)).await?, 5);
                Ok(())
            }
        }
    })
}

fn guest(engine: &Engine, after: After, end: End) -> (Store<Data>, Instance) {
    let mut linker = Linker::<Data>::new(engine);
    linker
        .func_wrap1_async("host", "wait", |caller: Caller<'_, Data>, times: i32| {
            let token = caller.data().census.token();
            Box::new(async move {
                let _token = token;
                let _caller = caller;
                pend(if times == 0 { u32::MAX } else { times as u32 }).await;
            })
        })
        .unwrap();
    linker.func_wrap1_async("host", "nest", nest).unwrap();
    let module = Module::new(engine, GUEST).unwrap();
    let mut store = Store::new(engine, Data { census: Census::default(), after, end });
    let instance = block_on(linker.instantiate_async(&mut store, &module)).unwrap();
    (store, instance)
}

/// That the store works: a plain call, one that suspends, one that traps.
fn check_usable(store: &mut Store<Data>, instance: Instance) {
    let add = instance.get_typed_func::<(i32, i32), i32, _>(&mut *store, "add").unwrap();
    assert_eq!(block_on(add.call_async(&mut *store, (20, 22))).unwrap(), 42);
    let leaf = instance.get_typed_func::<i32, (), _>(&mut *store, "leaf").unwrap();
    block_on(leaf.call_async(store, 5)).unwrap();
}

fn ends() -> [End; 6] {
    [End::Returns, End::Fails, End::Panics, End::Traps, End::Suspends, End::Calls]
}

#[test]
fn a_nested_call_left_behind_harms_nobody() {
    let engine = asynchronous();
    for after in [After::Drop, After::Forget, After::ForgetMany] {
        for end in ends() {
            // Deep stacks, so that a stale frame pointer would lead somewhere.
            for depth in [0, 3, 200] {
                let (mut store, instance) = guest(&engine, after, end);
                let nested = instance.get_typed_func::<i32, (), _>(&mut store, "nested").unwrap();
                let call = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    block_on(nested.call_async(&mut store, depth))
                }));
                match (end, call) {
                    (End::Returns | End::Suspends | End::Calls, Ok(Ok(()))) => {}
                    (End::Panics, Err(payload)) => {
                        assert_eq!(crate::support::panic_text(&*payload), "nest panics");
                    }
                    (End::Fails | End::Traps, Ok(Err(trap))) => {
                        let names: Vec<_> =
                            trap.trace().iter().map(|frame| frame.func_name()).collect();
                        assert_eq!(names, [Some("nested")], "{after:?} {end:?} {depth}");
                    }
                    (_, result) => panic!("{after:?} {end:?}: {result:?}"),
                }
                let alive = store.data().census.alive();
                assert_eq!(alive > 0, after != After::Drop, "{after:?}: {alive} tokens");
                check_usable(&mut store, instance);
                assert_eq!(store.data().census.alive(), alive);
            }
        }
    }
}

#[test]
fn a_forgotten_call_leaves_the_store_usable() {
    let engine = asynchronous();
    for polls in 0..3 {
        let (mut store, instance) = guest(&engine, After::Drop, End::Returns);
        for round in 0..20 {
            let deep = instance.get_typed_func::<i32, (), _>(&mut store, "deep").unwrap();
            let mut call = Box::pin(deep.call_async(&mut store, round));
            (0..polls).for_each(|_| assert!(poll(call.as_mut()).is_pending()));
            forget(call);
            check_usable(&mut store, instance);
        }
        assert_eq!(
            store.data().census.alive(),
            if polls > 0 { 20 } else { 0 },
            "leaked, not freed"
        );
    }
}

#[test]
fn calls_forgotten_without_end_become_an_error() {
    let engine = async_metered();
    let (mut store, instance) =
        instantiate_async(&engine, r#"(module (func (export "run") loop br 0 end))"#);
    store.out_of_fuel_async_yield(u64::MAX, 10);
    let run = instance.get_typed_func::<(), (), _>(&mut store, "run").unwrap();
    let mut forgotten = 0;
    loop {
        let mut call = Box::pin(run.call_async(&mut store, ()));
        match poll(call.as_mut()) {
            std::task::Poll::Pending => forget(call),
            std::task::Poll::Ready(result) => {
                assert_eq!(result.unwrap_err().trap_code(), Some(TrapCode::StackOverflow));
                break;
            }
        }
        forgotten += 1;
        assert!(forgotten < 100_000, "each takes a stack; there must be an end");
    }
    // Other stores of the engine know nothing of it.
    let (mut store, instance) = guest(&engine, After::Drop, End::Returns);
    store.add_fuel(1000).unwrap();
    check_usable(&mut store, instance);
}

#[test]
fn a_forgotten_instantiation_leaves_the_store_usable() {
    let engine = async_metered();
    let module = Module::new(&engine, r#"(module (start $s) (func $s loop br 0 end))"#).unwrap();
    let mut store = Store::new(&engine, ());
    store.out_of_fuel_async_yield(u64::MAX, 10);
    for _ in 0..10 {
        let mut call = Box::pin(Instance::new_async(&mut store, &module, &[]));
        assert!(poll(call.as_mut()).is_pending());
        forget(call);
    }
    let other = Module::new(&engine, r#"(module (func (export "one") (result i32) i32.const 1))"#);
    let instance = block_on(Instance::new_async(&mut store, &other.unwrap(), &[])).unwrap();
    let one = instance.get_typed_func::<(), i32, _>(&mut store, "one").unwrap();
    assert_eq!(block_on(one.call_async(&mut store, ())).unwrap(), 1);
}

#[test]
fn a_future_polled_after_its_end_panics() {
    let engine = asynchronous();
    let (mut store, instance) = guest(&engine, After::Drop, End::Returns);
    let add = instance.get_typed_func::<(i32, i32), i32, _>(&mut store, "add").unwrap();
    let mut call = Box::pin(add.call_async(&mut store, (1, 2)));
    assert!(poll(call.as_mut()).is_ready());
    let text = panic_of(|| poll(call.as_mut()));
    assert!(text.contains("async fn") && text.contains("after completion"), "{text}");
    drop(call);
    check_usable(&mut store, instance);
}

#[test]
fn a_store_goes_before_what_was_forgotten_in_it() {
    let engine = asynchronous();
    for _ in 0..10 {
        let (mut store, instance) = guest(&engine, After::Drop, End::Returns);
        let deep = instance.get_typed_func::<i32, (), _>(&mut store, "deep").unwrap();
        let mut call: Pin<Box<dyn Future<Output = _> + Send>> =
            Box::pin(deep.call_async(&mut store, 100));
        assert!(poll(call.as_mut()).is_pending());
        forget(call);
        drop(store);
    }
    let (mut store, instance) = guest(&engine, After::Drop, End::Returns);
    check_usable(&mut store, instance);
}
