//! Recursion without end, in wasm and through the host, ends in an error.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lampwick::{
    Caller, Engine, Extern, Func, Instance, Linker, Module, Store, Trap, TrapCode, Val,
};

use crate::support::{asynchronous, block_on, engine, instantiate, instantiate_async, trap};

/// Functions of frames of different sizes that call themselves, each other, and through a table.
const RECURSIVE: &str = r#"(module
    (type $t (func (param i64) (result i64)))
    (table 1 funcref) (elem (i32.const 0) $table)
    (func $small (export "small") call $small)
    (func $a (export "mutual") call $b) (func $b call $c) (func $c call $a)
    (func $table (export "table") (type $t)
        local.get 0 i64.const 1 i64.add i32.const 0 call_indirect (type $t) i64.const 2 i64.mul)
    (func $wide (export "wide") (param i64 i64 i64 i64 i64 i64 i64 i64 i64 i64) (result i64)
        local.get 9 local.get 8 local.get 7 local.get 6 local.get 5 local.get 4 local.get 3 local.get 2
        local.get 1 local.get 0 call $wide local.get 0 i64.add)
    (func (export "one") (result i32) i32.const 1))"#;

#[test]
fn wasm_recursion_is_a_stack_overflow_at_every_stack_size() {
    for size in [16 << 10, 64 << 10, 512 << 10, 4 << 20] {
        let engine = engine(|config| {
            config.max_wasm_stack(size).unwrap().async_stack_size(size + (256 << 10)).unwrap();
        });
        let (mut store, instance) = instantiate(&engine, RECURSIVE);
        for name in ["small", "mutual", "table", "wide"] {
            let run = instance.get_func(&mut store, name).unwrap();
            let params = run.ty(&store).params().len();
            let trap = trap(run.call(&mut store, &vec![Val::I64(1); params]).unwrap_err());
            assert_eq!(trap.trap_code(), Some(TrapCode::StackOverflow), "{name}, {size}");
            assert_eq!(trap.trace().len(), 64, "{name}");
            let one = instance.get_typed_func::<(), i32, _>(&mut store, "one").unwrap();
            assert_eq!(one.call(&mut store, ()).unwrap(), 1);
        }
    }
}

#[test]
fn a_larger_stack_goes_deeper() {
    let depth = |size| {
        let engine = engine(|config| {
            config.max_wasm_stack(size).unwrap().async_stack_size(size + (256 << 10)).unwrap();
        });
        let (mut store, instance) = instantiate(
            &engine,
            r#"(module (global $n (export "n") (mut i32) (i32.const 0))
                (func $f (export "f") global.get $n i32.const 1 i32.add global.set $n call $f))"#,
        );
        let run = instance.get_func(&mut store, "f").unwrap();
        assert!(run.call(&mut store, &[]).is_err());
        instance.get_global(&mut store, "n").unwrap().get(&mut store).unwrap_i32()
    };
    let (small, large) = (depth(64 << 10), depth(1 << 20));
    assert!(large > 15 * small && large < 17 * small, "{small} and {large}");
}

#[test]
fn large_frames_are_probed() {
    // A function with so many live values that its frame spans pages.
    let locals = 3000;
    let sets: String = (0..locals)
        .map(|local| {
            format!("local.get 0 i64.const {local} i64.xor call $id local.set {}\n", local + 1)
        })
        .collect();
    let sum: String =
        (0..locals).map(|local| format!("local.get {} i64.add\n", local + 1)).collect();
    let types = "i64 ".repeat(locals);
    let wat = format!(
        r#"(module (func $id (param i64) (result i64) local.get 0)
            (func $f (export "f") (param i64) (result i64) (local {types})
                {sets} local.get 0 i64.const 1 i64.add call $f {sum}))"#
    );
    let engine = engine(|config| {
        config.max_wasm_stack(256 << 10).unwrap();
    });
    let (mut store, instance) = instantiate(&engine, &wat);
    let run = instance.get_typed_func::<i64, i64, _>(&mut store, "f").unwrap();
    for _ in 0..3 {
        let trap = run.call(&mut store, 0).unwrap_err();
        assert_eq!(trap.trap_code(), Some(TrapCode::StackOverflow));
        assert!(trap.trace().len() < 16, "the frame is smaller than meant: {}", trap.trace().len());
    }
}

/// A guest that calls a host function which calls it again, and so on; answers how deep that went.
const ROUND: &str =
    r#"(module (import "" "again" (func $again)) (func (export "run") call $again))"#;

fn deep(depth: &AtomicUsize, result: anyhow::Result<()>) {
    let trap = trap(result.unwrap_err());
    assert_eq!(trap.trap_code(), Some(TrapCode::StackOverflow), "{trap}");
    let depth = depth.load(Ordering::SeqCst);
    assert!((10..1000).contains(&depth), "{depth}");
    // Every frame between is known, since each entry contributes its own.
    assert!(trap.trace().len() >= depth - 1, "{} of {depth}", trap.trace().len());
}

#[test]
fn recursion_through_synchronous_host_functions_ends() {
    let engine = Engine::default();
    let depth = Arc::new(AtomicUsize::new(0));
    let counter = depth.clone();
    let mut linker = Linker::<()>::new(&engine);
    linker
        .func_wrap("", "again", move |mut caller: Caller<'_, ()>| -> Result<(), Trap> {
            counter.fetch_add(1, Ordering::SeqCst);
            let run = caller.get_export("run").and_then(Extern::into_func).unwrap();
            run.typed::<(), (), _>(&caller)?.call(&mut caller, ())
        })
        .unwrap();
    let module = Module::new(&engine, ROUND).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let run = instance.get_func(&mut store, "run").unwrap();
    for _ in 0..5 {
        depth.store(0, Ordering::SeqCst);
        deep(&depth, run.call(&mut store, &[]).map(drop));
    }
}

#[test]
fn recursion_through_async_host_functions_ends() {
    for suspend in [false, true] {
        let engine = asynchronous();
        let depth = Arc::new(AtomicUsize::new(0));
        let counter = depth.clone();
        let mut linker = Linker::<()>::new(&engine);
        linker
            .func_wrap0_async("", "again", move |mut caller: Caller<'_, ()>| {
                counter.fetch_add(1, Ordering::SeqCst);
                Box::new(async move {
                    if suspend {
                        crate::support::pend(1).await;
                    }
                    let run = caller.get_export("run").and_then(Extern::into_func).unwrap();
                    run.typed::<(), (), _>(&caller)?.call_async(&mut caller, ()).await
                })
            })
            .unwrap();
        let module = Module::new(&engine, ROUND).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = block_on(linker.instantiate_async(&mut store, &module)).unwrap();
        let run = instance.get_func(&mut store, "run").unwrap();
        deep(&depth, block_on(run.call_async(&mut store, &[])).map(drop));
        // Dropped when it is as deep as it gets.
        if suspend {
            let mut call = Box::pin(run.call_async(&mut store, &[]));
            (0..100).for_each(|_| assert!(crate::support::poll(call.as_mut()).is_pending()));
        }
        depth.store(0, Ordering::SeqCst);
        deep(&depth, block_on(run.call_async(&mut store, &[])).map(drop));
    }
}

#[test]
fn recursion_through_new_instances_ends() {
    let engine = Engine::default();
    let module = Module::new(
        &engine,
        r#"(module (import "" "again" (func $again)) (start $s) (func $s call $again))"#,
    )
    .unwrap();
    let mut store = Store::new(&engine, 0_usize);
    let mut linker = Linker::new(&engine);
    let (inner, slot) = (module.clone(), Arc::new(std::sync::OnceLock::<Linker<usize>>::new()));
    let own = slot.clone();
    linker
        .func_wrap("", "again", move |mut caller: Caller<'_, usize>| -> Result<(), Trap> {
            *caller.data_mut() += 1;
            let linker = own.get().unwrap();
            linker.instantiate(&mut caller, &inner).map(drop).map_err(Trap::from)
        })
        .unwrap();
    slot.set(linker.clone()).ok().unwrap();
    let error = linker.instantiate(&mut store, &module).unwrap_err();
    assert_eq!(trap(error).trap_code(), Some(TrapCode::StackOverflow));
    assert!((10..1000).contains(store.data()), "{}", store.data());
}

#[test]
fn recursion_between_two_stores_ends() {
    struct Pair {
        other: Option<Box<Store<Pair>>>,
        run: Option<Func>,
    }
    // The store's data own the other store, whose guest has no way back but a host function.
    let engine = Engine::default();
    let module = Module::new(&engine, RECURSIVE).unwrap();
    let mut inner = Store::new(&engine, Pair { other: None, run: None });
    let instance = Instance::new(&mut inner, &module, &[]).unwrap();
    let small = instance.get_func(&mut inner, "small").unwrap();
    let mut outer = Store::new(&engine, Pair { other: Some(Box::new(inner)), run: Some(small) });
    let host = Func::wrap(&mut outer, |mut caller: Caller<'_, Pair>| -> Result<(), Trap> {
        let Pair { other, run } = caller.data_mut();
        run.unwrap().call(&mut **other.as_mut().unwrap(), &[]).map(drop).map_err(Trap::from)
    });
    let module = Module::new(&engine, ROUND).unwrap();
    let instance = Instance::new(&mut outer, &module, &[host.into()]).unwrap();
    let run = instance.get_func(&mut outer, "run").unwrap();
    for _ in 0..3 {
        let trap = trap(run.call(&mut outer, &[]).unwrap_err());
        assert_eq!(trap.trap_code(), Some(TrapCode::StackOverflow));
        assert_eq!(trap.trace().len(), 64 + 1, "of both stores");
    }
}

#[test]
fn a_stack_overflow_in_a_future_leaves_the_thread_usable() {
    let engine = asynchronous();
    let (mut store, instance) = instantiate_async(&engine, RECURSIVE);
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (mut store, instance) = instantiate_async(&engine, RECURSIVE);
            std::thread::spawn(move || {
                let small = instance.get_func(&mut store, "small").unwrap();
                (0..100).for_each(|_| {
                    let error = block_on(small.call_async(&mut store, &[])).unwrap_err();
                    assert_eq!(trap(error).trap_code(), Some(TrapCode::StackOverflow));
                });
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let one = instance.get_func(&mut store, "one").unwrap();
    assert_eq!(block_on(one.call_async(&mut store, &[])).unwrap()[0].unwrap_i32(), 1);
}
