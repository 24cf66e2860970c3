//! What a guest asks for at once takes no longer in one poll than what it asks for bit by bit:
//! everything that it sizes is cut into parts, between which it suspends.
//!
//! Time is for `benches/polls.rs`; here is counted what one poll does.

use std::time::Duration;

use lampwick::{
    Caller, ExternRef, Func, Instance, Linker, Memory, MemoryType, Module, Store,
    StoreLimitsBuilder, TrapCode, Val,
};
use rustix::time::{ClockId, clock_gettime};

use crate::support::{
    Census, Change, async_metered, asynchronous, block_on, count_pending, engine,
    instantiate_async, poll,
};

/// The most that operators between two checks cost, and what follows from their rounding.
const SEGMENT: u64 = 1010;

/// Polls a guest's `run` so often, and answers what each poll burned.
fn burned(store: &mut Store<()>, run: &Func, slice: u64, polls: usize) -> Vec<u64> {
    store.out_of_fuel_async_yield(u64::MAX, slice);
    let handle = store.fuel_handle().unwrap();
    let mut call = Box::pin(run.call_async(store, &[]));
    let mut before = handle.consumed();
    let mut burn = || {
        assert!(poll(call.as_mut()).is_pending());
        let consumed = handle.consumed();
        consumed - std::mem::replace(&mut before, consumed)
    };
    (0..polls).map(|_| burn()).collect()
}

#[test]
fn a_straight_line_is_checked_like_a_loop() {
    const SLICE: u64 = 2_000;
    let line = "i32.const 1 i32.add ".repeat(20_000);
    let arms = "(if (result i32) (i32.eqz (local.get 0)) (then (i32.const 5)) (else (i32.const 1)))
        i32.add "
        .repeat(5_000);
    for body in [line, arms] {
        let wat = format!("(module (func (export \"run\") (local i32) i32.const 0 {body} drop))");
        let (mut store, instance) = instantiate_async(&async_metered(), &wat);
        let run = instance.get_func(&mut store, "run").unwrap();
        for burned in burned(&mut store, &run, SLICE, 12) {
            assert!(burned <= SLICE + SEGMENT, "{burned} in one poll");
        }
    }
}

/// What this thread has used of its processor.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// What moves with a memory is as little as can be, however much of it was touched.
#[test]
fn a_memory_that_moves_lies_where_directories_of_page_tables_begin() {
    let engine = engine(|config| {
        config.async_support(true).static_memory_maximum_size(0);
        config.dynamic_memory_reserved_for_growth(1 << 20);
    });
    // Touches one page for each page table of 1.5 GiB, and lets them move.
    let wat = r#"(module (memory (export "memory") 24000)
        (func (export "touch") (local i32)
            (loop (i32.store (local.get 0) (local.get 0))
                (local.tee 0 (i32.add (local.get 0) (i32.const 0x20_0000)))
                (br_if 0 (i32.lt_u (i32.const 1_500_000_000)))))
        (func (export "move") (result i32) (memory.grow (i32.const 41000))))"#;
    const DIRECTORY: usize = 1 << 30;
    let (mut store, instance) = instantiate_async(&engine, wat);
    let memory = instance.get_memory(&mut store, "memory").unwrap();
    let [touch, grow] = ["touch", "move"].map(|name| instance.get_func(&mut store, name).unwrap());
    block_on(touch.call_async(&mut store, &[])).unwrap();
    let base = memory.data_ptr(&store);
    let result = block_on(grow.call_async(&mut store, &[])).unwrap();
    assert_eq!(result[0].unwrap_i32(), 24_000);
    let now = memory.data_ptr(&store);
    assert_ne!(now, base, "it has moved");
    // The system moves what a directory leads to as a whole where both ends are where one begins.
    assert_eq!((base.addr() % DIRECTORY, now.addr() % DIRECTORY), (0, 0));
    let word = &memory.data(&store)[0x4000_0000..][..4];
    assert_eq!(word, &0x4000_0000_u32.to_le_bytes());
}

/// An optimizer that puts off what is wanted last would do all of it in the last poll.
#[test]
fn what_is_computed_in_a_line_is_not_put_off() {
    is_not_put_off("f64", "f64.sqrt ", Val::F64(2.5f64.to_bits()));
    is_not_put_off("v128", "f64x2.sqrt ", Val::V128(u128::from(2.5f64.to_bits()) << 64));
}

fn is_not_put_off(ty: &str, operator: &str, value: Val) {
    let line = operator.repeat(150_000);
    let wat =
        format!("(module (func (export \"run\") (param {ty}) (result {ty}) local.get 0 {line}))");
    let (mut store, instance) = instantiate_async(&async_metered(), &wat);
    store.out_of_fuel_async_yield(u64::MAX, 5_000);
    let run = instance.get_func(&mut store, "run").unwrap();
    let args = [value];
    let mut call = Box::pin(run.call_async(&mut store, &args));
    let mut times = Vec::new();
    loop {
        let start = processor_time();
        let poll = poll(call.as_mut());
        times.push(processor_time() - start);
        if poll.is_ready() {
            break;
        }
    }
    let (longest, sum) = (times.iter().max().unwrap(), times.iter().sum::<Duration>());
    assert!(times.len() >= 30 && *longest < sum / 3, "{longest:?} of {sum:?}");
}

/// Modules of which each has much of one thing, and what their `run` answers.
fn large_modules() -> Vec<(&'static str, String, i32)> {
    let data = |head: &str| {
        let bytes = "0123456789abcdef".repeat(1 << 16);
        format!(
            "(module {head} (data (i32.const 3) \"{bytes}\")
                (func (export \"run\") (result i32) i32.const 1000003 i32.load8_u))"
        )
    };
    let functions: String = (0..10_000).map(|index| format!("{index} ")).collect();
    vec![
        ("data", data("(memory 17)"), 48),
        ("data for a memory of another", data("(import \"\" \"memory\" (memory 17))"), 48),
        (
            "elements",
            format!(
                "(module (table 100000 funcref) (func $f (result i32) i32.const 7)
                    (elem (i32.const 0) func {})
                    (func (export \"run\") (result i32)
                        i32.const 99999 call_indirect (result i32)))",
                "$f ".repeat(100_000)
            ),
            7,
        ),
        (
            "globals",
            format!(
                "(module {} (func (export \"run\") (result i32) global.get 9999))",
                "(global i32 i32.const 5)".repeat(10_000)
            ),
            5,
        ),
        (
            "imports",
            format!(
                "(module {} (func (export \"run\") (result i32) call 9999))",
                "(import \"\" \"six\" (func (result i32)))".repeat(10_000)
            ),
            6,
        ),
        (
            "functions that escape",
            format!(
                "(module {} (table 1 funcref) (elem declare func {functions})
                    (func (export \"run\") (result i32)
                        i32.const 0 ref.func 9999 table.set i32.const 0 call_indirect (result i32)))",
                "(func (result i32) i32.const 9)".repeat(10_000)
            ),
            9,
        ),
    ]
}

fn linker(store: &mut Store<()>) -> Linker<()> {
    let mut linker = Linker::new(store.engine());
    linker.func_wrap("", "six", || 6).unwrap();
    let memory = Memory::new(&mut *store, MemoryType::new(17, None)).unwrap();
    linker.define("", "memory", memory).unwrap();
    linker
}

#[test]
fn instantiation_is_cut_into_parts_and_can_be_dropped_between_any_two() {
    let moving: Change = |config| {
        config.async_support(true).static_memory_maximum_size(0);
    };
    for engine in [asynchronous(), engine(moving)] {
        for (name, wat, expected) in large_modules() {
            let module = Module::new(&engine, wat).unwrap();
            let mut store = Store::new(&engine, ());
            let linker = linker(&mut store);
            let (pending, instance) = count_pending(linker.instantiate_async(&mut store, &module));
            // An image of the data may be there.
            assert!(pending >= 4 || name == "data", "{name}: {pending}");
            let answer = |instance: Instance, store: &mut Store<()>| {
                let run = instance.get_typed_func::<(), i32, _>(&mut *store, "run").unwrap();
                block_on(run.call_async(store, ())).unwrap()
            };
            assert_eq!(answer(instance.unwrap(), &mut store), expected, "{name}");
            for polls in 1..pending.min(20) {
                let making = linker.instantiate_async(&mut store, &module);
                let mut making = Box::pin(making);
                if (0..polls).any(|_| poll(making.as_mut()).is_ready()) {
                    assert_eq!(name, "data");
                }
            }
            // The store is as good as before.
            let instance = block_on(linker.instantiate_async(&mut store, &module)).unwrap();
            assert_eq!(answer(instance, &mut store), expected, "{name}, after others were dropped");
        }
    }
}

#[test]
fn a_limit_is_not_used_up_by_what_was_dropped_before_it_was_made() {
    let engine = asynchronous();
    let globals = "(global i32 i32.const 5)".repeat(10_000);
    let module = Module::new(&engine, format!("(module (memory 1) {globals})")).unwrap();
    let mut store = Store::new(&engine, StoreLimitsBuilder::new().memories(1).instances(1).build());
    store.limiter(|limits| limits);
    for _ in 0..3 {
        let mut making = Box::pin(Instance::new_async(&mut store, &module, &[]));
        assert!(poll(making.as_mut()).is_pending());
    }
    block_on(Instance::new_async(&mut store, &module, &[])).unwrap();
    assert!(block_on(Instance::new_async(&mut store, &module, &[])).is_err());
}

#[test]
fn a_table_that_grows_is_seen_when_it_has_grown() {
    const ELEMENTS: i32 = 100_000;
    let wat = r#"(module (table (export "table") 3 funcref) (elem declare func $f)
        (func $f (export "f"))
        (func (export "run") (param i32) (result i32) ref.func $f local.get 0 table.grow)
        (func (export "null") (param i32) (result i32) ref.null func local.get 0 table.grow))"#;
    let (mut store, instance) = instantiate_async(&asynchronous(), wat);
    let table = instance.get_table(&mut store, "table").unwrap();
    let run = instance.get_typed_func::<i32, i32, _>(&mut store, "run").unwrap();
    let null = instance.get_typed_func::<i32, i32, _>(&mut store, "null").unwrap();
    for polls in 1..10 {
        let mut call = Box::pin(run.call_async(&mut store, ELEMENTS));
        (0..polls).for_each(|_| assert!(poll(call.as_mut()).is_pending()));
        drop(call);
        assert_eq!(table.size(&store), 3, "dropped in its midst");
    }
    assert_eq!(block_on(null.call_async(&mut store, ELEMENTS / 2)).unwrap(), 3);
    let is_null =
        |store: &mut Store<()>, index| table.get(store, index).unwrap().unwrap_funcref().is_none();
    assert!(
        (0..table.size(&store)).all(|index| is_null(&mut store, index)),
        "none was left behind"
    );
    let (pending, size) = count_pending(run.call_async(&mut store, ELEMENTS));
    // More where the system is slow.
    assert!(pending >= 24, "{pending}");
    assert_eq!(size.unwrap(), 3 + ELEMENTS / 2);
    assert_eq!(table.size(&store), 3 + (ELEMENTS / 2 + ELEMENTS) as u32);
    let last = table.size(&store) - 1;
    assert!(!is_null(&mut store, last) && is_null(&mut store, 2));
}

#[test]
fn long_operators_hear_deadlines() {
    let engine = engine(|config| {
        config.async_support(true).epoch_interruption(true);
    });
    let (mut store, instance) = instantiate_async(
        &engine,
        r#"(module (memory 1024) (func (export "run")
            i32.const 0 i32.const 7 i32.const 0x400_0000 memory.fill))"#,
    );
    store.epoch_deadline_async_yield_and_update(0);
    let run = instance.get_typed_func::<(), (), _>(&mut store, "run").unwrap();
    let (pending, result) = count_pending(run.call_async(&mut store, ()));
    result.unwrap();
    assert!(pending >= 1024, "{pending}");
    store.epoch_deadline_trap();
    let error = block_on(run.call_async(&mut store, ())).unwrap_err();
    assert_eq!(error.trap_code(), Some(TrapCode::Interrupt));
}

/// A guest with large tables of references, whose `run` is given new ones.
const COLLECTING: &str = r#"(module
    (import "" "new" (func $new (result externref)))
    (table $null 1000000 externref) (table $used 20000 externref)
    (func (export "fill") (local i32)
        loop
            local.get 0 call $new table.set $used
            local.get 0 i32.const 1 i32.add local.tee 0 i32.const 20000 i32.ne br_if 0
        end)
    (func (export "clear") i32.const 0 ref.null extern i32.const 20000 table.fill $used)
    (func (export "take") (param externref))
    (func $deep (export "run") (param i32) (result externref)
        local.get 0 if (result externref)
            local.get 0 i32.const 1 i32.sub call $deep call $new drop
        else call $new end))"#;

#[test]
fn collections_are_cut_into_parts_and_can_be_dropped_between_any_two() {
    let engine = asynchronous();
    let census = Census::default();
    let mut store = Store::new(&engine, census.clone());
    let mut linker = Linker::<Census>::new(&engine);
    linker
        .func_wrap("", "new", |caller: Caller<'_, Census>| {
            Some(ExternRef::new(caller.data().token()))
        })
        .unwrap();
    let module = Module::new(&engine, COLLECTING).unwrap();
    let instance = block_on(linker.instantiate_async(&mut store, &module)).unwrap();
    let mut func = |name| instance.get_func(&mut store, name).unwrap();
    let [fill, clear, run, take] = ["fill", "clear", "run", "take"].map(&mut func);
    let take = take.typed::<Option<ExternRef>, (), _>(&store).unwrap();
    let empty = |store: &mut Store<Census>| {
        block_on(clear.call_async(store, &[])).unwrap();
    };
    for parts in (1..30).step_by(3) {
        // Until a collection has as many parts, in the midst of which it is dropped.
        for round in 0.. {
            assert!(round < 20, "no collection has {parts} parts");
            let mut call = Box::pin(fill.call_async(&mut store, &[]));
            let pending = (0..parts).take_while(|_| poll(call.as_mut()).is_pending()).count();
            drop(call);
            empty(&mut store);
            if pending == parts {
                break;
            }
        }
        // Below a stack of some depth there are references, too.
        block_on(run.call_async(&mut store, &[Val::I32(7_000)])).unwrap();
    }
    // The same for arguments, which become references before the guest's fiber runs.
    let mut longest = 0;
    for _ in 0..100_000 {
        let value = Some(ExternRef::new(census.token()));
        let (pending, result) = count_pending(take.call_async(&mut store, value));
        result.unwrap();
        longest = longest.max(pending);
    }
    assert!(longest >= 10, "{longest}");
    assert!(census.alive() > 0);
    store.gc();
    assert_eq!(census.alive(), 0, "nothing is left that nobody can reach");
}
