//! Operators that are short and take long for their fuel: guests let others run between them, whatever is
//! left of a slice.

use std::sync::{Arc, Mutex};

use lampwick::{Caller, ExternRef, FuncType, Instance, Linker, Module, RefType, Store, ValType};

use crate::support::{Census, asynchronous, block_on, engine, instantiate_async, poll};

/// Where a memory lay behind each growth in this poll.
type Bases = Arc<Mutex<Vec<usize>>>;

/// A large memory takes as long to move as guests may hold a worker in all.
#[test]
fn a_memory_moves_before_others_have_taken_time() {
    let engine = engine(|config| {
        config.async_support(true).static_memory_maximum_size(0);
        config.dynamic_memory_reserved_for_growth(1 << 20);
    });
    let mut linker = Linker::<Bases>::new(&engine);
    let grown = |mut caller: Caller<'_, Bases>| {
        let memory = caller.get_export("memory").and_then(|memory| memory.into_memory()).unwrap();
        let base = memory.data_ptr(&mut caller).addr();
        caller.data().lock().unwrap().push(base);
    };
    linker.func_wrap("", "grown", grown).unwrap();
    let wat = r#"(module (import "" "grown" (func $grown)) (memory (export "memory") 140)
        (func (export "run")
            (loop (drop (memory.grow (i32.const 1))) (call $grown)
                (br_if 0 (i32.lt_u (memory.size) (i32.const 3000))))))"#;
    let module = Module::new(&engine, wat).unwrap();
    let bases = Bases::default();
    let mut store = Store::new(&engine, bases.clone());
    let instance = block_on(linker.instantiate_async(&mut store, &module)).unwrap();
    let run = instance.get_typed_func::<(), (), _>(&mut store, "run").unwrap();
    let mut call = Box::pin(run.call_async(&mut store, ()));
    let (mut base, mut moves) = (0, 0);
    loop {
        let is_ready = poll(call.as_mut()).is_ready();
        let bases = std::mem::take(&mut *bases.lock().unwrap());
        if let Some(&first) = bases.first() {
            moves += usize::from(first != base);
            base = first;
        }
        assert!(bases.iter().all(|&now| now == base), "it moved in the midst of a poll");
        if is_ready {
            break;
        }
    }
    assert!((3..10).contains(&moves), "{moves}");
}

/// A guest that is refused what would move does not hold the worker, either, and goes on.
#[test]
fn growth_that_is_refused_moves_nothing() {
    let engine = engine(|config| {
        config.async_support(true).static_memory_maximum_size(0);
        config.dynamic_memory_reserved_for_growth(0);
    });
    let (mut store, instance) = instantiate_async(
        &engine,
        r#"(module (memory 200 300) (func (export "run") (param i32 i32) (result i32)
            (loop (result i32)
                (memory.grow (local.get 1))
                (br_if 1 (i32.eqz (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
                (br 0))))"#,
    );
    let run = instance.get_typed_func::<(i32, i32), i32, _>(&mut store, "run").unwrap();
    assert_eq!(block_on(run.call_async(&mut store, (1000, 101))).unwrap(), -1);
    assert_eq!(block_on(run.call_async(&mut store, (1000, -1))).unwrap(), -1);
    assert_eq!(block_on(run.call_async(&mut store, (1, 100))).unwrap(), 200);
}

const MAKES: &str = r#"(module
    (import "" "new" (func $new (result externref)))
    (table $kept 20000 externref)
    (func (export "keep") (param i32)
        (loop (table.set (i32.sub (local.get 0) (i32.const 1)) (call $new))
            (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "drop") (param i32)
        (loop (drop (call $new))
            (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "clear")
        (table.fill (i32.const 0) (ref.null extern) (i32.const 20000))))"#;

/// How many references a guest makes in a poll at the most, that before which it pauses included.
const MOST: usize = 65;

#[test]
fn references_are_made_a_few_at_a_time() {
    let (mut store, instance, census) = maker();
    for (name, count) in [("keep", 20_000), ("drop", 20_000), ("clear", 0), ("keep", 20_000)] {
        if count == 0 {
            let clear = instance.get_typed_func::<(), (), _>(&mut store, name).unwrap();
            block_on(clear.call_async(&mut store, ())).unwrap();
            continue;
        }
        let func = instance.get_typed_func::<i32, (), _>(&mut store, name).unwrap();
        let mut call = Box::pin(func.call_async(&mut store, count));
        loop {
            let before = census.made();
            let is_ready = poll(call.as_mut()).is_ready();
            let made = census.made() - before;
            assert!(made <= MOST, "{name}: {made} references in one poll");
            if is_ready {
                break;
            }
        }
    }
    drop(store);
    assert_eq!(census.alive(), 0);
}

/// A call may end wherever its guest lets others run, in the midst of a collection, too: what comes
/// later is cut as before.
#[test]
fn guests_that_make_references_can_be_dropped_anywhere() {
    let (mut store, instance, census) = maker();
    let mut func = |name| instance.get_typed_func::<i32, (), _>(&mut store, name).unwrap();
    let [keep, lose] = ["keep", "drop"].map(&mut func);
    block_on(keep.call_async(&mut store, 5_000)).unwrap();
    let clear = instance.get_typed_func::<(), (), _>(&mut store, "clear").unwrap();
    block_on(clear.call_async(&mut store, ())).unwrap();
    for polls in 1..150 {
        let mut call = Box::pin(lose.call_async(&mut store, 20_000));
        for _ in 0..polls {
            let before = census.made();
            assert!(poll(call.as_mut()).is_pending());
            let made = census.made() - before;
            assert!(made <= MOST, "{made} references in one poll");
        }
    }
    store.gc();
    assert_eq!(census.alive(), 0);
    block_on(keep.call_async(&mut store, 1_000)).unwrap();
    assert_eq!(census.alive(), 1_000);
    drop(store);
    assert_eq!(census.alive(), 0);
}

/// Arguments that are lists on the heap, or that the store notes, cost a guest no more fuel than others.
#[test]
fn arguments_that_take_long_are_given_a_few_at_a_time() {
    const MOST: usize = 305;
    const CALLS: usize = 3_000;
    let engine = asynchronous();
    let mut linker = Linker::<Census>::new(&engine);
    let any = ValType::Ref(RefType::ANYREF);
    let count = |caller: &Caller<'_, Census>| drop(caller.data().token());
    linker
        .func_new("", "plain", FuncType::new([ValType::I32], []), move |caller, _, _| {
            count(&caller);
            Ok(())
        })
        .unwrap();
    linker
        .func_new("", "any", FuncType::new([any], []), move |caller, _, _| {
            count(&caller);
            Ok(())
        })
        .unwrap();
    let converted = move |caller: Caller<'_, Census>, value: Option<ExternRef>| {
        assert!(value.is_some());
        count(&caller);
    };
    linker.func_wrap("", "converted", converted).unwrap();
    let wat = format!(
        r#"(module (type $s (struct))
        (import "" "plain" (func $plain (param i32))) (import "" "any" (func $any (param anyref)))
        (import "" "converted" (func $converted (param externref)))
        {})"#,
        [
            ("plain", "(call $plain (local.get 0))"),
            ("any", "(call $any (struct.new $s))"),
            ("converted", "(call $converted (extern.convert_any (struct.new $s)))"),
        ]
        .map(|(name, call)| format!(
            r#"(func (export "{name}") (local i32) (loop {call}
                (br_if 0 (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 1)))
                    (i32.const {CALLS})))))"#
        ))
        .concat()
    );
    let module = Module::new(&engine, wat).unwrap();
    for (name, most) in [("plain", MOST), ("any", MOST / 2), ("converted", MOST)] {
        let census = Census::default();
        let mut store = Store::new(&engine, census.clone());
        let instance = block_on(linker.instantiate_async(&mut store, &module)).unwrap();
        let func = instance.get_typed_func::<(), (), _>(&mut store, name).unwrap();
        // One that is dropped where it waits does not call the host any more.
        let mut call = Box::pin(func.call_async(&mut store, ()));
        assert!(poll(call.as_mut()).is_pending());
        let dropped = census.made();
        drop(call);
        assert_eq!(census.made(), dropped);
        let mut call = Box::pin(func.call_async(&mut store, ()));
        loop {
            let before = census.made();
            let is_ready = poll(call.as_mut()).is_ready();
            let made = census.made() - before;
            assert!(made <= most, "{name}: {made} calls in one poll");
            if is_ready {
                break;
            }
        }
        assert_eq!(census.made(), dropped + CALLS);
    }
}

/// A store whose guest makes references to values that are counted.
fn maker() -> (Store<Census>, Instance, Census) {
    let (engine, census) = (asynchronous(), Census::default());
    let mut linker = Linker::<Census>::new(&engine);
    let new = |caller: Caller<'_, Census>| Some(ExternRef::new(caller.data().token()));
    linker.func_wrap("", "new", new).unwrap();
    let module = Module::new(&engine, MAKES).unwrap();
    let mut store = Store::new(&engine, census.clone());
    let instance = block_on(linker.instantiate_async(&mut store, &module)).unwrap();
    (store, instance, census)
}
