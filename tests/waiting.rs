//! Guests that wait for one another at addresses of shared memories.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lampwick::{
    Config, Engine, Instance, MemoryType, Module, SharedMemory, Store, Trap, TrapCode, TypedFunc,
    WaitResult,
};

use crate::support::{block_on, engine, poll};

/// How long nothing here takes unless it hangs.
const LONG: Duration = Duration::from_secs(60);

pub(crate) const WAIT: &str = r#"(module (import "" "m" (memory 1 1 shared))
    (func (export "wait") (param i32 i32 i64) (result i32)
        (memory.atomic.wait32 (local.get 0) (local.get 1) (local.get 2)))
    (func (export "wait64") (param i32 i64 i64) (result i32)
        (memory.atomic.wait64 (local.get 0) (local.get 1) (local.get 2)))
    (func (export "far") (param i32) (result i32)
        (memory.atomic.wait32 offset=0xffff_fffc (local.get 0) (i32.const 0) (i64.const 0)))
    (func (export "notify") (param i32 i32) (result i32)
        (memory.atomic.notify (local.get 0) (local.get 1))))"#;

fn asynchronous(config: &mut Config) {
    config.wasm_threads(true).async_support(true).interruptable(true).consume_fuel(true);
    config.accounts(true);
}

/// A guest that is made for a memory.
pub(crate) fn guest(module: &Module, memory: &SharedMemory) -> (Store<()>, Instance) {
    let mut store = Store::new(module.engine(), ());
    store.add_fuel(u64::MAX).unwrap();
    let imports = [memory.clone().into()];
    let instance = block_on(Instance::new_async(&mut store, module, &imports)).unwrap();
    (store, instance)
}

pub(crate) type Wait = TypedFunc<(u32, u32, i64), u32>;

pub(crate) fn wait(store: &mut Store<()>, instance: &Instance) -> Wait {
    instance.get_typed_func(store, "wait").unwrap()
}

pub(crate) fn set_up() -> (Engine, SharedMemory, Module) {
    let engine = engine(asynchronous);
    let memory = SharedMemory::new(&engine, MemoryType::shared(1, 1)).unwrap();
    let module = Module::new(&engine, WAIT).unwrap();
    (engine, memory, module)
}

fn code(error: Trap) -> Option<TrapCode> {
    error.trap_code()
}

#[test]
fn a_wait_suspends_the_call_until_it_is_notified() {
    let (engine, memory, module) = set_up();
    let (mut store, instance) = guest(&module, &memory);
    let wait = wait(&mut store, &instance);
    let mut call = Box::pin(wait.call_async(&mut store, (8, 0, -1)));
    for _ in 0..3 {
        assert!(poll(call.as_mut()).is_pending());
    }
    assert_eq!(engine.stats().suspended, 1);
    assert_eq!(memory.atomic_notify(4, u32::MAX).unwrap(), 0, "another address");
    assert_eq!(memory.atomic_notify(8, 0).unwrap(), 0);
    assert!(poll(call.as_mut()).is_pending());
    assert_eq!(memory.atomic_notify(8, u32::MAX).unwrap(), 1);
    assert_eq!(memory.atomic_notify(8, u32::MAX).unwrap(), 0);
    assert_eq!(block_on(call).unwrap(), 0);
    assert_eq!(engine.stats().suspended, 0);
    // Another value.
    assert_eq!(block_on(wait.call_async(&mut store, (8, 1, -1))).unwrap(), 1);
}

#[test]
fn guests_notify_in_the_order_of_arrival() {
    let (_, memory, module) = set_up();
    let mut guests: Vec<_> = (0..70).map(|_| guest(&module, &memory)).collect();
    let (mut store, waker) = guest(&module, &memory);
    let notify = waker.get_typed_func::<(u32, u32), u32, _>(&mut store, "notify").unwrap();
    let mut calls: Vec<_> = guests
        .iter_mut()
        .map(|(store, instance)| {
            let wait = wait(store, instance);
            Box::pin(async move { wait.call_async(store, (0, 0, i64::MAX)).await })
        })
        .collect();
    calls.iter_mut().for_each(|call| assert!(poll(call.as_mut()).is_pending()));
    assert_eq!(block_on(notify.call_async(&mut store, (0, 3))).unwrap(), 3);
    let ready: Vec<bool> = calls.iter_mut().map(|call| poll(call.as_mut()).is_ready()).collect();
    assert_eq!(ready.iter().take_while(|ready| **ready).count(), 3);
    assert_eq!(ready.iter().filter(|ready| **ready).count(), 3);
    // One who is dropped is not counted, and what it was told goes to the next one.
    drop(calls.remove(10));
    drop(calls.drain(..3));
    assert_eq!(block_on(notify.call_async(&mut store, (0, 1))).unwrap(), 1);
    drop(calls.remove(0));
    assert!(poll(calls[0].as_mut()).is_ready(), "the notification was handed on");
    drop(calls.remove(0));
    // More than one batch, in several polls.
    let mut call = pin!(notify.call_async(&mut store, (0, u32::MAX)));
    let mut polls = 1;
    let woken = loop {
        match poll(call.as_mut()) {
            std::task::Poll::Ready(woken) => break woken.unwrap(),
            std::task::Poll::Pending => polls += 1,
        }
    };
    assert_eq!((woken, polls), (64, 2));
    assert!(calls.iter_mut().all(|call| poll(call.as_mut()).is_ready()));
}

#[test]
fn addresses_and_memories_are_checked() {
    let (_, memory, module) = set_up();
    let (mut store, instance) = guest(&module, &memory);
    let wait = wait(&mut store, &instance);
    let wait64 = instance.get_typed_func::<(u32, i64, i64), u32, _>(&mut store, "wait64").unwrap();
    let far = instance.get_typed_func::<u32, u32, _>(&mut store, "far").unwrap();
    let notify = instance.get_typed_func::<(u32, u32), u32, _>(&mut store, "notify").unwrap();
    let (outside, odd) = (Some(TrapCode::MemoryOutOfBounds), Some(TrapCode::HeapMisaligned));
    for (address, expected) in [(65_536, outside), (u32::MAX - 3, outside), (2, odd), (65_535, odd)]
    {
        let trap = block_on(wait.call_async(&mut store, (address, 0, 0))).unwrap_err();
        assert_eq!(code(trap), expected, "{address}");
        let trap = block_on(notify.call_async(&mut store, (address, 1))).unwrap_err();
        assert_eq!(code(trap), expected, "{address}");
        let error = memory.atomic_wait32(address.into(), 0, None).unwrap_err();
        assert_eq!(error.trap_code(), expected);
        assert_eq!(memory.atomic_notify(address.into(), 1).unwrap_err().trap_code(), expected);
    }
    let trap = block_on(wait64.call_async(&mut store, (4, 0, 0))).unwrap_err();
    assert_eq!(code(trap), odd);
    assert_eq!(memory.atomic_wait64(12, 0, None).unwrap_err().trap_code(), odd);
    for index in [0, 4, 8, u32::MAX - 3] {
        assert_eq!(code(block_on(far.call_async(&mut store, index)).unwrap_err()), outside);
    }
    assert_eq!(block_on(wait64.call_async(&mut store, (65_528, 0, 0))).unwrap(), 2);

    let text = r#"(module (memory 1)
        (func (export "wait") (param i32 i32 i64) (result i32)
            (memory.atomic.wait32 (local.get 0) (local.get 1) (local.get 2)))
        (func (export "notify") (param i32) (result i32)
            (memory.atomic.notify (local.get 0) (i32.const 1))))"#;
    let module = Module::new(store.engine(), text).unwrap();
    let instance = block_on(Instance::new_async(&mut store, &module, &[])).unwrap();
    let wait: Wait = instance.get_typed_func(&mut store, "wait").unwrap();
    let trap = block_on(wait.call_async(&mut store, (0, 0, 0))).unwrap_err();
    assert!(trap.to_string().contains("atomic wait on a memory that is not shared"), "{trap}");
    assert_eq!(code(trap), Some(TrapCode::AtomicWaitNonSharedMemory));
    let notify = instance.get_typed_func::<u32, u32, _>(&mut store, "notify").unwrap();
    assert_eq!(block_on(notify.call_async(&mut store, 4)).unwrap(), 0);
    assert_eq!(code(block_on(notify.call_async(&mut store, 2)).unwrap_err()), odd);
    assert_eq!(code(block_on(notify.call_async(&mut store, 65_536)).unwrap_err()), outside);
}

/// Outside of tokio a thread counts the time; inside, the runtime's clock, which a test may stop.
#[test]
fn timeouts() {
    let (_, memory, module) = set_up();
    let (mut store, instance) = guest(&module, &memory);
    let wait = wait(&mut store, &instance);
    assert_eq!(block_on(wait.call_async(&mut store, (0, 0, 0))).unwrap(), 2);
    let began = Instant::now();
    assert_eq!(block_on(wait.call_async(&mut store, (0, 0, 20_000_000))).unwrap(), 2);
    assert!(began.elapsed() >= Duration::from_millis(20));
    assert_eq!(memory.atomic_notify(0, 1).unwrap(), 0, "who timed out has left");

    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let (real, paused) = (Instant::now(), tokio::time::Instant::now());
        let hour = Duration::from_secs(3600);
        let timeout = hour.as_nanos() as i64;
        assert_eq!(wait.call_async(&mut store, (0, 0, timeout)).await.unwrap(), 2);
        assert!(paused.elapsed() >= hour && real.elapsed() < LONG);
    });
    // A runtime without timers.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let waited = runtime.block_on(wait.call_async(&mut store, (0, 0, 1_000_000)));
    assert_eq!(waited.unwrap(), 2);
}

#[test]
fn a_synchronous_store_blocks_its_thread() {
    let engine = engine(|config| _ = config.wasm_threads(true).interruptable(true));
    let memory = SharedMemory::new(&engine, MemoryType::shared(1, 1)).unwrap();
    let module = Module::new(&engine, WAIT).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[memory.clone().into()]).unwrap();
    let wait = wait(&mut store, &instance);
    let began = Instant::now();
    assert_eq!(wait.call(&mut store, (0, 0, 5_000_000)).unwrap(), 2);
    assert!(began.elapsed() >= Duration::from_millis(5));
    let handle = store.interrupt_handle().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| while memory.atomic_notify(0, 1).unwrap() == 0 {});
        assert_eq!(wait.call(&mut store, (0, 0, -1)).unwrap(), 0);
        scope.spawn(|| while memory.atomic_notify(0, 1).unwrap() == 0 {});
        assert_eq!(memory.atomic_wait32(0, 0, Some(LONG)).unwrap(), WaitResult::Ok);
        // However far it has come when the interrupt is sent.
        scope.spawn(move || handle.interrupt());
        let trap = wait.call(&mut store, (0, 0, i64::MAX)).unwrap_err();
        assert_eq!(code(trap), Some(TrapCode::Interrupt));
    });
    let waited = memory.atomic_wait32(0, 0, Some(Duration::from_millis(1))).unwrap();
    assert_eq!(waited, WaitResult::TimedOut);
    assert_eq!(memory.atomic_wait64(0, 1, None).unwrap(), WaitResult::Mismatch);
    assert_eq!(memory.atomic_notify(0, u32::MAX).unwrap(), 0);
}

#[test]
fn a_waiting_guest_is_interrupted_stopped_and_paused() {
    let (_, memory, module) = set_up();
    let (mut store, instance) = guest(&module, &memory);
    let wait = wait(&mut store, &instance);
    let interrupt = store.interrupt_handle().unwrap();
    let handle = store.fuel_handle().unwrap();
    {
        let mut call = pin!(wait.call_async(&mut store, (0, 0, -1)));
        assert!(poll(call.as_mut()).is_pending());
        interrupt.interrupt();
        // It is woken, not only polled.
        assert_eq!(code(block_on(call).unwrap_err()), Some(TrapCode::Interrupt));
    }
    assert_eq!(memory.atomic_notify(0, 1).unwrap(), 0, "a trap leaves the queue");
    {
        let mut call = pin!(wait.call_async(&mut store, (0, 0, -1)));
        assert!(poll(call.as_mut()).is_pending());
        handle.pause();
        assert!(poll(call.as_mut()).is_pending());
        assert_eq!(memory.atomic_notify(0, 1).unwrap(), 1);
        assert!(poll(call.as_mut()).is_pending(), "it is paused");
        handle.resume();
        assert_eq!(block_on(call).unwrap(), 0);
    }
    {
        let mut call = pin!(wait.call_async(&mut store, (0, 0, -1)));
        assert!(poll(call.as_mut()).is_pending());
        handle.stop(anyhow::anyhow!("enough"));
        let trap = block_on(call).unwrap_err();
        assert!(trap.to_string().contains("enough"), "{trap}");
    }
    assert_eq!(memory.atomic_notify(0, 1).unwrap(), 0);
}

#[test]
fn a_waiting_guest_has_its_deadline() {
    let engine =
        engine(|config| _ = config.wasm_threads(true).async_support(true).epoch_interruption(true));
    let memory = SharedMemory::new(&engine, MemoryType::shared(1, 1)).unwrap();
    let module = Module::new(&engine, WAIT).unwrap();
    let mut store = Store::new(&engine, ());
    store.set_epoch_deadline(3);
    let imports = [memory.clone().into()];
    let instance = block_on(Instance::new_async(&mut store, &module, &imports)).unwrap();
    let wait = wait(&mut store, &instance);
    {
        let mut call = pin!(wait.call_async(&mut store, (0, 0, -1)));
        for _ in 0..2 {
            engine.increment_epoch();
            assert!(poll(call.as_mut()).is_pending());
        }
        engine.increment_epoch();
        assert_eq!(code(block_on(call).unwrap_err()), Some(TrapCode::Interrupt));
    }
    store.set_epoch_deadline(1);
    store.epoch_deadline_async_yield_and_update(1);
    let mut call = pin!(wait.call_async(&mut store, (0, 0, -1)));
    for _ in 0..20 {
        assert!(poll(call.as_mut()).is_pending());
        engine.increment_epoch();
    }
    memory.atomic_notify(0, 1).unwrap();
    assert_eq!(block_on(call).unwrap(), 0);
}

/// A hundred guests on two workers count behind one lock, and none of them holds a worker while it
/// waits: a timer beside them keeps running.
#[test]
fn a_mutex_of_waits_between_a_hundred_guests() {
    const GUESTS: u32 = 100;
    const ROUNDS: u32 = 30;
    let text = r#"(module (import "" "m" (memory 1 1 shared)) (import "" "pause" (func $pause))
        (func $lock (local i32)
            ;; 0 is free, 1 taken, 2 taken while others may wait.
            (if (i32.eqz (i32.atomic.rmw.cmpxchg (i32.const 0) (i32.const 0) (i32.const 1)))
                (then (return)))
            (loop
                (if (i32.eqz (i32.atomic.rmw.xchg (i32.const 0) (i32.const 2))) (then (return)))
                (drop (memory.atomic.wait32 (i32.const 0) (i32.const 2) (i64.const -1)))
                (br 0)))
        (func $unlock
            (if (i32.ne (i32.atomic.rmw.xchg (i32.const 0) (i32.const 0)) (i32.const 1))
                (then (drop (memory.atomic.notify (i32.const 0) (i32.const 1))))))
        (func (export "run") (param i32)
            (loop
                (call $lock)
                ;; Not atomic: what others wrote meanwhile would be lost.
                (i32.store (i32.const 64) (i32.add (i32.load (i32.const 64)) (i32.const 1)))
                (call $pause)
                (i32.store (i32.const 68) (i32.add (i32.load (i32.const 68)) (i32.const 1)))
                (call $unlock)
                (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))"#;
    let engine = engine(asynchronous);
    let memory = SharedMemory::new(&engine, MemoryType::shared(1, 1)).unwrap();
    let module = Module::new(&engine, text).unwrap();
    let mut linker = lampwick::Linker::<()>::new(&engine);
    linker.define("", "m", memory.clone()).unwrap();
    // Whoever has the lock lets others run, so that they have to wait.
    linker
        .func_wrap0_async("", "pause", |_: lampwick::Caller<'_, ()>| {
            Box::new(tokio::task::yield_now())
        })
        .unwrap();
    let linker = Arc::new(linker);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build();
    runtime.unwrap().block_on(async {
        let ticks = Arc::new(AtomicU64::new(0));
        let timer = tokio::spawn({
            let ticks = ticks.clone();
            async move {
                loop {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    ticks.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let mut guests = tokio::task::JoinSet::new();
        // SAFETY: no guest is running.
        unsafe { *memory.data()[0].get() = 2 };
        for _ in 0..GUESTS {
            let (linker, module) = (linker.clone(), module.clone());
            guests.spawn(async move {
                let mut store = Store::new(module.engine(), ());
                store.add_fuel(u64::MAX).unwrap();
                store.fuel_async_yield_interval(Some(1_000)).unwrap();
                let instance = linker.instantiate_async(&mut store, &module).await.unwrap();
                let run = instance.get_typed_func::<u32, (), _>(&mut store, "run").unwrap();
                run.call_async(&mut store, ROUNDS).await
            });
        }
        let waiting = async {
            while engine.stats().suspended < GUESTS as usize {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            // All of them wait at once, on two workers; the timer goes on.
            let before = ticks.load(Ordering::Relaxed);
            while ticks.load(Ordering::Relaxed) < before + 5 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(LONG, waiting).await.expect("nobody blocks a worker");
        let word = memory.data()[0].get().cast::<u32>();
        // SAFETY: the word is inside and aligned, and all access it atomically.
        unsafe { std::sync::atomic::AtomicU32::from_ptr(word) }.store(0, Ordering::SeqCst);
        memory.atomic_notify(0, 1).unwrap();
        let all = async {
            while let Some(guest) = guests.join_next().await {
                guest.unwrap().unwrap();
            }
        };
        tokio::time::timeout(LONG, all).await.expect("no wake-up is lost");
        timer.abort();
    });
    let count = |at: usize| {
        // SAFETY: no guest is running any more.
        let bytes = std::array::from_fn(|byte| unsafe { *memory.data()[at + byte].get() });
        u32::from_le_bytes(bytes)
    };
    assert_eq!((count(64), count(68)), (GUESTS * ROUNDS, GUESTS * ROUNDS));
}
