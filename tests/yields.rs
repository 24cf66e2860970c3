//! Slices of fuel: how often a guest yields, how much one poll burns, what lies between.

use std::time::Duration;

use lampwick::{Engine, Instance, Linker, Module, Store, Val};

use crate::support::{async_metered, block_on, count_pending, instantiate_async, poll, trap};

const FOREVER: &str = r#"(module (func (export "run") loop br 0 end))"#;

/// A guest with some of everything that charges: loops, calls, an `if`.
const BUSY: &str = r#"(module
    (func $leaf (param i32) (result i32)
        local.get 0 i32.const 3 i32.rem_u if (result i32) i32.const 1 else i32.const 2 end)
    (func (export "run") (local i32)
        loop
            local.get 0 call $leaf local.get 0 i32.add local.set 0
            block
                loop local.get 0 i32.const 7 i32.and i32.eqz br_if 1
                    local.get 0 i32.const 1 i32.add local.set 0 br 0 end
            end
            br 0
        end))"#;

/// No straight-line segment of the guests above costs more.
const SEGMENT: u64 = 16;

fn start(engine: &Engine, wat: &str, injections: u64, slice: u64) -> (Store<()>, lampwick::Func) {
    let (mut store, instance) = instantiate_async(engine, wat);
    store.out_of_fuel_async_yield(injections, slice);
    let run = instance.get_func(&mut store, "run").unwrap();
    (store, run)
}

#[test]
fn a_guest_is_pending_once_for_each_injection_and_then_traps() {
    let engine = async_metered();
    for wat in [FOREVER, BUSY] {
        for (injections, slice) in [(0, 100), (1, 1), (1, 1000), (7, 10), (1000, 3), (20, 0)] {
            let (mut store, run) = start(&engine, wat, injections, slice);
            let (pending, result) = count_pending(run.call_async(&mut store, &[]));
            assert_eq!(pending, injections, "slices of {slice}");
            let trap = trap(result.unwrap_err());
            let text = trap.to_string();
            assert!(text.contains("all fuel consumed by WebAssembly"), "{text}");
            assert_eq!(trap.trap_code(), None);
            assert_eq!(
                trap.trace().len(),
                if injections * slice == 0 { 1 } else { trap.trace().len() }
            );
            let consumed = store.fuel_consumed().unwrap();
            let given = injections * slice;
            assert!((given + 1..=given + SEGMENT).contains(&consumed), "{consumed} of {given}");
        }
    }
}

#[test]
fn a_poll_burns_no_more_than_a_slice_and_a_segment() {
    let engine = async_metered();
    for wat in [FOREVER, BUSY] {
        for slice in [1, 10, 1000] {
            let mut before = 0;
            for polls in 1..20 {
                let (mut store, run) = start(&engine, wat, u64::MAX, slice);
                let mut call = Box::pin(run.call_async(&mut store, &[]));
                (0..polls).for_each(|_| assert!(poll(call.as_mut()).is_pending()));
                drop(call);
                let after = store.fuel_consumed().unwrap();
                assert!(
                    after <= before + slice + SEGMENT,
                    "poll {polls}: from {before} to {after}"
                );
                // Slices that are smaller than a segment first pay what the last one overdrew.
                assert!(
                    slice <= SEGMENT || polls == 1 || after > before,
                    "poll {polls} did nothing"
                );
                before = after;
            }
        }
    }
}

#[test]
fn fuel_that_was_added_is_burned_before_the_first_yield() {
    let engine = async_metered();
    let (mut store, run) = start(&engine, FOREVER, 2, 50);
    store.add_fuel(10_000).unwrap();
    let mut call = Box::pin(run.call_async(&mut store, &[]));
    assert!(poll(call.as_mut()).is_pending());
    drop(call);
    let consumed = store.fuel_consumed().unwrap();
    assert!((10_001..10_000 + SEGMENT).contains(&consumed), "{consumed}");
}

#[test]
fn a_store_can_change_its_mind() {
    let engine = async_metered();
    let (mut store, run) = start(&engine, FOREVER, 3, 50);
    store.out_of_fuel_trap();
    let (pending, result) = count_pending(run.call_async(&mut store, &[]));
    assert!(pending == 0 && result.is_err());
    store.out_of_fuel_async_yield(3, 50);
    let (pending, result) = count_pending(run.call_async(&mut store, &[]));
    assert!(pending == 3 && result.is_err());
    let (pending, result) = count_pending(run.call_async(&mut store, &[]));
    assert!(pending == 0 && result.is_err(), "injections are not given anew to each call");
}

#[test]
fn a_start_function_yields() {
    let engine = async_metered();
    let module = Module::new(
        &engine,
        r#"(module (global (export "done") (mut i32) (i32.const 0)) (start $start)
            (func $start (local i32) i32.const 100 local.set 0
                loop local.get 0 i32.const 1 i32.sub local.tee 0 br_if 0 end
                i32.const 1 global.set 0))"#,
    )
    .unwrap();
    let mut store = Store::new(&engine, ());
    store.out_of_fuel_async_yield(u64::MAX, 50);
    let linker = Linker::new(&engine);
    let (pending, instance) = count_pending(linker.instantiate_async(&mut store, &module));
    assert_eq!(pending, (3 + 99 * 5u64).div_ceil(50), "what the last round's check sees");
    let done = instance.unwrap().get_global(&mut store, "done").unwrap();
    assert_eq!(done.get(&mut store).unwrap_i32(), 1);

    let mut store = Store::new(&engine, ());
    store.out_of_fuel_async_yield(3, 50);
    let (pending, instance) = count_pending(Instance::new_async(&mut store, &module, &[]));
    assert_eq!(pending, 3);
    assert!(instance.unwrap_err().to_string().contains("all fuel consumed"));
}

/// A guest with a memory of 32 pages and a table of 100,000 elements, and operators on all of them.
const BULK: &str = r#"(module
    (memory (export "memory") 32 1000) (table (export "table") 100000 1000000 funcref)
    (elem declare func $f) (func $f)
    (data $data "some bytes that are copied again and again, more than sixty-four of them in all")
    (func (export "fill") (param i32 i32 i32) local.get 0 local.get 1 local.get 2 memory.fill)
    (func (export "copy") (param i32 i32 i32) local.get 0 local.get 1 local.get 2 memory.copy)
    (func (export "grow") (param i32 i32 i32) local.get 0 memory.grow drop)
    (func (export "table.fill") (param i32 i32 i32) local.get 0 ref.func $f local.get 2 table.fill)
    (func (export "table.copy") (param i32 i32 i32) local.get 0 local.get 1 local.get 2 table.copy)
    (func (export "table.grow") (param i32 i32 i32) ref.func $f local.get 0 table.grow drop))"#;

/// Calls an export of [`BULK`] in slices of `slice`; answers how often it was pending.
fn bulk(store: &mut Store<()>, instance: Instance, name: &str, args: [i32; 3], slice: u64) -> u64 {
    store.out_of_fuel_async_yield(u64::MAX, slice);
    let run = instance.get_func(&mut *store, name).unwrap();
    let (pending, result) = count_pending(run.call_async(store, &args.map(Val::I32)));
    result.unwrap();
    pending
}

#[test]
fn bulk_operators_yield_in_their_midst() {
    let engine = async_metered();
    let (len, elements) = (32 << 16, 100_000);
    for (name, args, cost) in [
        ("fill", [0, 7, len], len as u64 / 64),
        ("copy", [1, 0, len - 1], (len as u64 - 1) / 64),
        ("grow", [900, 0, 0], 900),
        ("table.fill", [0, 0, elements], elements as u64 / 8),
        ("table.copy", [1, 0, elements - 1], (elements as u64 - 1) / 8),
        ("table.grow", [80_000, 0, 0], 10_000),
    ] {
        for slice in [100, 1024, 5000] {
            let (mut store, instance) = instantiate_async(&engine, BULK);
            let pending = bulk(&mut store, instance, name, args, slice);
            // One more at most for the entry, which finds no fuel, and the operators around. New
            // elements, charged at once, are then written in parts. What takes long by the clock
            // suspends more often, but not more often than it looks.
            let parts = if name == "table.grow" { 19 } else { 0 };
            let least = cost / slice + parts;
            let looks = if name == "grow" { 0 } else { cost / 64 };
            assert!((least..=least + 2 + looks).contains(&pending), "{name}, {slice}: {pending}");
            assert!((cost + 3..=cost + 6).contains(&store.fuel_consumed().unwrap()), "{name}");
        }
    }
}

#[test]
fn a_call_dropped_within_a_bulk_operator_has_done_a_part_of_it() {
    let engine = async_metered();
    let (mut store, instance) = instantiate_async(&engine, BULK);
    store.out_of_fuel_async_yield(u64::MAX, 1024);
    let fill = instance.get_func(&mut store, "fill").unwrap();
    let memory = instance.get_memory(&mut store, "memory").unwrap();
    let len = memory.data_size(&store);
    let args = [0, 7, len as i32].map(Val::I32);
    let mut call = Box::pin(fill.call_async(&mut store, &args));
    (0..10).for_each(|_| assert!(poll(call.as_mut()).is_pending()));
    drop(call);
    let done = memory.data(&store).iter().filter(|byte| **byte == 7).count();
    assert!(done > 0 && done < len, "{done} of {len} bytes");
    assert!(memory.data(&store)[..done].iter().all(|byte| *byte == 7), "from the start on");
    // What was paid is what was done, but for the last unfinished chunk and the entry.
    let paid = 64 * store.fuel_consumed().unwrap() as usize;
    assert!(paid >= done && paid <= done + (64 << 10) + 64 * SEGMENT as usize, "{paid} for {done}");
    let small = [0, 9, 64].map(Val::I32);
    block_on(fill.call_async(&mut store, &small)).unwrap();
    assert_eq!(memory.data(&store)[..65], [[9; 64].as_slice(), &[7]].concat());
}

#[test]
fn copies_that_overlap_are_right_after_yields() {
    let engine = async_metered();
    let (mut store, instance) = instantiate_async(&engine, BULK);
    let memory = instance.get_memory(&mut store, "memory").unwrap();
    let len = memory.data_size(&store);
    for distance in [1, 64, 1000, 1 << 16, (1 << 16) + 1, 700_000] {
        for (to, from) in [(distance, 0), (0, distance)] {
            let pattern = |index: usize| (index * 31 + index / 251) as u8;
            let data = memory.data_mut(&mut store);
            data.iter_mut().enumerate().for_each(|(index, byte)| *byte = pattern(index));
            let mut expected = data.to_vec();
            expected.copy_within(from..from + len - distance, to);
            let args = [to as i32, from as i32, (len - distance) as i32];
            let pending = bulk(&mut store, instance, "copy", args, 512);
            assert!(pending > 20, "{pending}");
            assert!(memory.data(&store) == expected, "from {from} to {to}");
        }
    }
}

#[test]
fn tables_that_overlap_are_right_after_yields() {
    let engine = async_metered();
    for (to, from) in [(1, 0), (0, 1), (20_000, 0), (0, 20_000), (8192, 0), (0, 8193)] {
        let (mut store, instance) = instantiate_async(&engine, BULK);
        let table = instance.get_table(&mut store, "table").unwrap();
        // A pattern without a period: null where the bit count is even.
        let other = bulk(&mut store, instance, "table.fill", [0, 0, 100_000], 1000);
        assert!(other > 10);
        let pattern = |index: u32| index.count_ones().is_multiple_of(2);
        for index in (0..100_000).filter(|index| pattern(*index)) {
            table.set(&mut store, index, Val::FuncRef(None)).unwrap();
        }
        let len = 100_000 - to.max(from);
        bulk(&mut store, instance, "table.copy", [to, from, len].map(|n| n as i32), 100);
        for index in 0..100_000 {
            let moved = (to..to + len).contains(&index);
            let null = pattern(if moved { index - to + from } else { index });
            let element = table.get(&mut store, index).unwrap();
            assert_eq!(element.unwrap_funcref().is_none(), null, "{from} to {to}, element {index}");
        }
    }
}

/// A guest that never ends must not keep a runtime's timers waiting.
async fn timer_beside_a_guest() {
    let engine = async_metered();
    let guests: Vec<_> = (0..4)
        .map(|_| {
            let (mut store, run) = start(&engine, FOREVER, u64::MAX, 1000);
            tokio::spawn(async move { run.call_async(&mut store, &[]).await.map(drop) })
        })
        .collect();
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for guest in guests {
        assert!(!guest.is_finished(), "the guest runs forever");
        guest.abort();
        assert!(guest.await.unwrap_err().is_cancelled());
    }
}

#[tokio::test(flavor = "current_thread")]
async fn timers_fire_beside_guests_on_one_thread() {
    timer_beside_a_guest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timers_fire_beside_guests_on_two_threads() {
    tokio::spawn(timer_beside_a_guest()).await.unwrap();
}
