//! Limiters that wait, and what happens to who waits for them.

use std::pin::pin;
use std::task::Poll;

use lampwick::{
    Caller, Engine, Func, Instance, Memory, MemoryType, Module, Store, StoreLimitsBuilder, Table,
    TableType, Val, ValType,
};

use crate::limits::{GUEST, Guest, Log, PAGE};
use crate::support::{
    async_metered, asynchronous, block_on, count_pending, metered, panic_of, poll,
};

#[test]
fn a_guest_waits_for_an_async_limiter() {
    let mut guest = Guest::new_async(&asynchronous());
    let Guest { store, memory, table, .. } = &mut guest;
    store.data_mut().pend = 3;
    // A slow system makes it wait for others, too.
    assert!(matches!(count_pending(memory.call_async(&mut *store, 1)), (3.., Ok(1))));
    assert!(matches!(count_pending(table.call_async(&mut *store, 1)), (3.., Ok(2))));
    assert_eq!(store.data_mut().take(), "memory 65536 131072 Some(262144); table 2 3 Some(8)");
    assert!(matches!(count_pending(memory.call_async(&mut *store, 9)), (3.., Ok(-1))));
    assert!(store.data_mut().take().contains("failed: a memory of 2 pages cannot grow by 9"));
    store.data_mut().refuse = true;
    assert!(matches!(count_pending(memory.call_async(&mut *store, 1)), (3.., Ok(-1))));
    assert!(matches!(count_pending(table.call_async(&mut *store, 1)), (3.., Ok(-1))));
    let module = Module::new(store.engine(), "(module (memory 1))").unwrap();
    let (pending, result) = count_pending(Instance::new_async(&mut *store, &module, &[]));
    assert_eq!(pending, 3);
    assert!(result.unwrap_err().to_string().contains("limiter does not let grow a memory"));
}

#[test]
fn the_host_waits_for_an_async_limiter() {
    let mut store = Store::new(&asynchronous(), Log::default());
    store.limiter_async(|log| log);
    store.data_mut().pend = 2;
    let new = Memory::new_async(&mut store, MemoryType::new(1, None));
    let (pending, memory) = count_pending(new);
    assert_eq!(pending, 2);
    let memory = memory.unwrap();
    let ty = TableType::new(ValType::ExternRef, 1, None);
    let table = block_on(Table::new_async(&mut store, ty.clone(), Val::null())).unwrap();
    assert!(matches!(count_pending(memory.grow_async(&mut store, 1)), (2, Ok(1))));
    assert!(matches!(count_pending(table.grow_async(&mut store, 1, Val::null())), (2, Ok(1))));
    {
        let mut grow = pin!(memory.grow_async(&mut store, 1));
        assert!(poll(grow.as_mut()).is_pending());
    }
    assert_eq!((memory.size(&store), store.data().census.alive()), (2, 0), "it was dropped");
    for (text, panic) in [
        ("Memory::grow_async", panic_of(|| memory.grow(&mut store, 1))),
        ("Table::grow_async", panic_of(|| table.grow(&mut store, 1, Val::null()))),
        ("Memory::new_async", panic_of(|| Memory::new(&mut store, MemoryType::new(1, None)))),
        ("Table::new_async", panic_of(|| Table::new(&mut store, ty, Val::null()))),
    ] {
        assert_eq!(panic, format!("must use `{text}` with a store whose limiter is async"));
    }
}

#[test]
fn async_methods_take_prompt_limiters_and_none() {
    let mut store = Store::new(&Engine::default(), StoreLimitsBuilder::new().memory_size(PAGE));
    let memory = block_on(Memory::new_async(&mut store, MemoryType::new(1, None))).unwrap();
    assert_eq!(block_on(memory.grow_async(&mut store, 1)).unwrap(), 1);
    let mut store =
        Store::new(&asynchronous(), StoreLimitsBuilder::new().memory_size(PAGE).build());
    store.limiter(|limits| limits);
    let memory = block_on(Memory::new_async(&mut store, MemoryType::new(1, None))).unwrap();
    assert!(block_on(memory.grow_async(&mut store, 1)).is_err());
    let mut store = Store::new(&Engine::default(), Log::default());
    let panic = panic_of(|| store.limiter_async(|log| log));
    assert!(
        panic.starts_with("cannot use an async limiter with a store whose engine is not async")
    );
}

#[test]
fn a_call_dropped_while_its_limiter_waits_grows_nothing() {
    let mut guest = Guest::new_async(&asynchronous());
    guest.store.data_mut().pend = u32::MAX;
    for _ in 0..3 {
        let mut call = pin!(guest.memory.call_async(&mut guest.store, 1));
        assert!(poll(call.as_mut()).is_pending() && poll(call.as_mut()).is_pending());
    }
    for _ in 0..3 {
        let mut call = pin!(guest.table.call_async(&mut guest.store, 1));
        assert!(poll(call.as_mut()).is_pending());
    }
    let log = guest.store.data_mut();
    assert_eq!((log.census.made(), log.census.alive()), (8, 0), "two of them initial sizes");
    assert_eq!(guest.store.data_mut().take(), "");
    assert_eq!(guest.pages(), 1);
    guest.store.data_mut().pend = 0;
    let Guest { mut store, memory, table, .. } = guest;
    assert_eq!(block_on(memory.call_async(&mut store, 1)).unwrap(), 1);
    assert_eq!(block_on(table.call_async(&mut store, 1)).unwrap(), 2);
}

#[test]
fn a_call_forgotten_while_its_limiter_waits_leaves_the_store_usable() {
    let mut guest = Guest::new_async(&asynchronous());
    guest.store.data_mut().pend = u32::MAX;
    let mut call = Box::pin(guest.memory.call_async(&mut guest.store, 1));
    assert!(poll(call.as_mut()).is_pending());
    std::mem::forget(call);
    guest.store.data_mut().pend = 1;
    let Guest { mut store, memory, .. } = guest;
    assert_eq!(block_on(memory.call_async(&mut store, 1)).unwrap(), 1);
}

#[test]
fn fuel_is_charged_before_the_limiter_is_asked() {
    let engine = metered();
    let mut store = Store::new(&engine, Log::default());
    store.limiter(|log| log);
    let module = Module::new(&engine, GUEST).unwrap();
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let Guest { mut store, memory, table, .. } = Guest::exports(store, instance);
    store.add_fuel(3).unwrap();
    let trap = memory.call(&mut store, 100).unwrap_err().to_string();
    assert!(trap.contains("all fuel consumed by WebAssembly"), "{trap}");
    assert_eq!(store.data_mut().take(), "");
    store.add_fuel(200).unwrap();
    let trap = table.call(&mut store, 10_000).unwrap_err().to_string();
    assert!(trap.contains("all fuel consumed by WebAssembly"), "{trap}");
    assert_eq!(store.data_mut().take(), "");
}

#[test]
fn fuel_may_go_while_the_limiter_is_waited_for() {
    let mut guest = Guest::new_async(&async_metered());
    guest.store.data_mut().pend = 2;
    guest.store.out_of_fuel_async_yield(60, 1);
    let (pending, result) = count_pending(guest.memory.call_async(&mut guest.store, 3));
    assert_eq!(result.unwrap(), 1);
    assert!(pending > 2, "yields for fuel and waits for the limiter");
    // The same amount of fuel as without a limiter.
    let burned = guest.store.fuel_consumed();
    let mut store = Store::new(&async_metered(), ());
    let module = Module::new(store.engine(), GUEST).unwrap();
    let instance = block_on(Instance::new_async(&mut store, &module, &[])).unwrap();
    store.add_fuel(1000).unwrap();
    let grow = instance.get_typed_func::<i32, i32, _>(&mut store, "grow memory").unwrap();
    assert_eq!(block_on(grow.call_async(&mut store, 3)).unwrap(), 1);
    assert_eq!(store.fuel_consumed(), burned);
}

#[test]
fn a_nested_call_grows_while_the_outer_one_waits() {
    // The outer guest calls the host, which calls a guest that grows the same memory, and drops the
    // call once while it waits.
    let engine = asynchronous();
    let mut store = Store::new(&engine, Log { pend: 2, ..Log::default() });
    store.limiter_async(|log| log);
    let module = Module::new(
        &engine,
        r#"(module
            (import "" "nested" (func $nested (result i32)))
            (memory (export "memory") 1 9)
            (func (export "grow") (param i32) (result i32) local.get 0 memory.grow)
            (func (export "run") (result i32)
                (drop (memory.grow (i32.const 1)))
                (drop (call $nested))
                (drop (memory.grow (i32.const 1)))
                (memory.grow (i32.const 0))))"#,
    )
    .unwrap();
    let nested = Func::wrap0_async(&mut store, |mut caller: Caller<'_, Log>| {
        Box::new(async move {
            let grow = caller.get_export("grow").unwrap().into_func().unwrap();
            let grow = grow.typed::<i32, i32, _>(&caller).unwrap();
            {
                let mut dropped = pin!(grow.call_async(&mut caller, 1));
                let first = futures::poll!(dropped.as_mut());
                assert!(matches!(first, Poll::Pending));
            }
            assert_eq!(caller.data().census.alive(), 0);
            grow.call_async(&mut caller, 2).await.unwrap()
        })
    });
    let instance = block_on(Instance::new_async(&mut store, &module, &[nested.into()])).unwrap();
    store.data_mut().events.clear();
    let run = instance.get_typed_func::<(), i32, _>(&mut store, "run").unwrap();
    // A slow system makes it wait for others, too.
    assert!(matches!(count_pending(run.call_async(&mut store, ())), (6.., Ok(5))));
    let max = 9 * PAGE;
    let asked =
        |from: usize, to: usize| format!("memory {} {} Some({max})", from * PAGE, to * PAGE);
    assert_eq!(store.data_mut().take(), [asked(1, 2), asked(2, 4), asked(4, 5)].join("; "));
}

#[test]
fn a_trap_while_the_limiter_waits_elsewhere_is_only_of_its_store() {
    // Two stores of one engine on one thread: one waits in its limiter, the other traps meanwhile.
    let engine = asynchronous();
    let mut guest = Guest::new_async(&engine);
    guest.store.data_mut().pend = 1;
    let mut waiting = pin!(guest.memory.call_async(&mut guest.store, 1));
    assert!(poll(waiting.as_mut()).is_pending());
    let mut other = Store::new(&engine, ());
    let module = Module::new(&engine, r#"(module (func (export "run") unreachable))"#).unwrap();
    let instance = block_on(Instance::new_async(&mut other, &module, &[])).unwrap();
    let run = instance.get_typed_func::<(), (), _>(&mut other, "run").unwrap();
    assert!(block_on(run.call_async(&mut other, ())).is_err());
    assert!(matches!(poll(waiting.as_mut()), Poll::Ready(Ok(1))));
}
