//! Guests that wait and never go on: dropped with their stores, forgotten, or left behind by the host.
//! Their places in the queue go, and no notification goes with them.

use std::future::Future;
use std::mem::forget;
use std::pin::Pin;
use std::time::Duration;

use lampwick::{Caller, Extern, Linker, Module, SharedMemory, Store, Trap};

use crate::support::{block_on, poll};
use crate::waiting::{guest, set_up, wait};

type Call = Pin<Box<dyn Future<Output = Result<u32, Trap>> + Send>>;

/// The call of a guest of its own that waits at address 0, as a task owns it: with its store.
fn waiting(module: &Module, memory: &SharedMemory) -> Call {
    let (mut store, instance) = guest(module, memory);
    let wait = wait(&mut store, &instance);
    let mut call: Call = Box::pin(async move { wait.call_async(&mut store, (0, 0, -1)).await });
    assert!(poll(call.as_mut()).is_pending());
    call
}

fn notify(memory: &SharedMemory, count: u32) -> u32 {
    memory.atomic_notify(0, count).unwrap()
}

#[test]
fn a_store_that_is_dropped_leaves_the_queue() {
    let (engine, memory, module) = set_up();
    let mut calls: Vec<_> = (0..5).map(|_| waiting(&module, &memory)).collect();
    assert_eq!(engine.stats().suspended, 5);
    drop(calls.remove(0));
    drop(calls.remove(1));
    assert_eq!(notify(&memory, 1), 1);
    let ready: Vec<bool> = calls.iter_mut().map(|call| poll(call.as_mut()).is_ready()).collect();
    assert_eq!(ready, [true, false, false], "the first that was left");
    // Notified, and then dropped before it is polled: the other one's.
    assert_eq!(notify(&memory, 1), 1);
    drop(calls.remove(1));
    assert!(poll(calls[1].as_mut()).is_ready());
    assert_eq!(notify(&memory, u32::MAX), 0);
    drop(calls);
    assert_eq!(engine.stats().suspended, 0);
}

#[test]
fn a_task_that_is_aborted_leaves_the_queue() {
    let (_, memory, module) = set_up();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build();
    runtime.unwrap().block_on(async {
        let [aborted, patient] = [waiting(&module, &memory), waiting(&module, &memory)];
        let (aborted, patient) = (tokio::spawn(aborted), tokio::spawn(patient));
        aborted.abort();
        assert!(aborted.await.unwrap_err().is_cancelled());
        assert_eq!(notify(&memory, u32::MAX), 1);
        let long = Duration::from_secs(60);
        let answer = tokio::time::timeout(long, patient).await.expect("it is woken");
        assert_eq!(answer.unwrap().unwrap(), 0);
    });
}

/// What happens to a store in which the call of a guest that waits was forgotten.
#[derive(Clone, Copy, Debug)]
enum Next {
    Dropped,
    Called,
    Waits,
}

/// Nothing of a forgotten future is ever dropped; what it waited with is its store's.
#[test]
fn a_forgotten_wait_ends_when_its_store_is_used_or_dropped() {
    for next in [Next::Dropped, Next::Called, Next::Waits] {
        for notified in [false, true] {
            let label = format!("{next:?}, notified: {notified}");
            let (_, memory, module) = set_up();
            let (mut store, instance) = guest(&module, &memory);
            let wait = wait(&mut store, &instance);
            let mut call = Box::pin(wait.call_async(&mut store, (0, 0, -1)));
            assert!(poll(call.as_mut()).is_pending());
            forget(call);
            let mut patient = waiting(&module, &memory);
            if notified {
                assert_eq!(notify(&memory, 1), 1, "{label}");
                assert!(poll(patient.as_mut()).is_pending(), "{label}");
            }
            let use_store = |store: &mut Store<()>| match next {
                Next::Dropped => {}
                Next::Called => {
                    let none = instance.get_typed_func::<(u32, u32), u32, _>(&mut *store, "notify");
                    assert_eq!(block_on(none.unwrap().call_async(store, (4, 1))).unwrap(), 0);
                }
                Next::Waits => {
                    assert_eq!(block_on(wait.call_async(store, (8, 0, 0))).unwrap(), 2);
                }
            };
            use_store(&mut store);
            if let Next::Dropped = next {
                drop(store);
            }
            if !notified {
                assert_eq!(notify(&memory, 1), 1, "{label}");
            }
            assert!(poll(patient.as_mut()).is_ready(), "{label}: the notification was swallowed");
            assert_eq!(notify(&memory, u32::MAX), 0, "{label}");
        }
    }
}

/// A host function leaves a nested call behind that waits; the guest who called it then notifies.
#[test]
fn a_nested_wait_that_the_host_leaves_is_not_counted() {
    let text = r#"(module (import "" "m" (memory 1 1 shared)) (import "" "nest" (func $nest))
        (func (export "wait") (result i32)
            (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1)))
        (func (export "run") (result i32)
            (call $nest)
            (memory.atomic.notify (i32.const 0) (i32.const -1))))"#;
    for forgotten in [false, true] {
        let (engine, memory, _) = set_up();
        let module = Module::new(&engine, text).unwrap();
        let mut linker = Linker::<()>::new(&engine);
        linker.define("", "m", memory.clone()).unwrap();
        linker
            .func_wrap0_async("", "nest", move |mut caller: Caller<'_, ()>| {
                Box::new(async move {
                    let wait = caller.get_export("wait").and_then(Extern::into_func).unwrap();
                    let wait = wait.typed::<(), i32, _>(&caller).unwrap();
                    let mut call = Box::pin(wait.call_async(&mut caller, ()));
                    assert!(poll(call.as_mut()).is_pending());
                    if forgotten { forget(call) } else { drop(call) }
                })
            })
            .unwrap();
        let mut store = Store::new(&engine, ());
        store.add_fuel(u64::MAX).unwrap();
        let instance = block_on(linker.instantiate_async(&mut store, &module)).unwrap();
        let run = instance.get_typed_func::<(), i32, _>(&mut store, "run").unwrap();
        let mut patient = waiting(&Module::new(&engine, crate::waiting::WAIT).unwrap(), &memory);
        assert_eq!(block_on(run.call_async(&mut store, ())).unwrap(), 1, "{forgotten}");
        assert!(poll(patient.as_mut()).is_ready());
    }
}
