//! Waiting for a slot of a pool: first come, first served, whatever becomes of those who wait.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use anyhow::Result;
use lampwick::{
    Engine, Func, Instance, Linker, Module, ModuleLimits, PoolExhausted, ResourceLimiterAsync,
    Store, Trap, async_trait,
};

use crate::pooling::pooling;
use crate::support::{Alarm, Rng, block_on, engine, pend, poll, rounds};

/// An async engine with room for `count` instances, for which instantiations wait.
fn waiting(count: u32) -> Engine {
    engine(|config| {
        config.async_support(true).consume_fuel(true).wait_for_instance_slot(true);
        config.allocation_strategy(pooling(count, ModuleLimits::default()));
    })
}

fn module(engine: &Engine) -> Module {
    Module::new(engine, r#"(module (memory (export "m") 1))"#).unwrap()
}

type Waiter = Pin<Box<dyn Future<Output = Result<Store<()>>> + Send>>;

/// A store to be, with an instance.
fn waiter(module: &Module) -> Waiter {
    let module = module.clone();
    Box::pin(async move {
        let mut store = Store::new(module.engine(), ());
        let instance = Instance::new_async(&mut store, &module, &[]).await?;
        let memory = instance.get_memory(&mut store, "m").unwrap();
        let data = memory.data_mut(&mut store);
        assert!(data.iter().step_by(512).all(|&byte| byte == 0));
        data.iter_mut().step_by(512).for_each(|byte| *byte = 0xaa);
        Ok(store)
    })
}

/// A store with an instance that need not wait.
fn holder(module: &Module) -> Store<()> {
    match poll(waiter(module).as_mut()) {
        Poll::Ready(store) => store.unwrap(),
        Poll::Pending => panic!("a slot was free"),
    }
}

/// Lets `count` tasks wait for slots on two threads. Answers who got one, in order.
fn served(slots: u32, count: usize) -> Vec<usize> {
    let engine = waiting(slots);
    let module = module(&engine);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let held: Vec<_> = (0..slots).map(|_| holder(&module)).collect();
    let (order, alive) = (Arc::<Mutex<Vec<_>>>::default(), Arc::new(AtomicUsize::new(0)));
    let tasks: Vec<_> = (0..count)
        .map(|index| {
            let mut waiter = waiter(&module);
            assert!(poll(waiter.as_mut()).is_pending());
            let (order, alive) = (order.clone(), alive.clone());
            runtime.spawn(async move {
                let store = waiter.await.unwrap();
                order.lock().unwrap().push(index);
                assert!(alive.fetch_add(1, SeqCst) < slots as usize);
                pend(index as u32 % 3).await;
                alive.fetch_sub(1, SeqCst);
                drop(store);
            })
        })
        .collect();
    drop(held);
    runtime.block_on(async {
        for task in tasks {
            task.await.unwrap();
        }
    });
    Arc::into_inner(order).unwrap().into_inner().unwrap()
}

#[test]
fn a_hundred_wait_for_one_slot_in_line() {
    assert_eq!(served(1, 100), (0..100).collect::<Vec<_>>());
}

#[test]
fn a_hundred_wait_for_three_slots() {
    // With its slot in hand a task may be overtaken on its way, but nobody gets a slot before all
    // but two of those who came earlier had theirs.
    for (place, index) in served(3, 100).into_iter().enumerate() {
        assert!(place + 2 >= index, "{index} was served as number {place}");
    }
}

#[test]
fn a_newcomer_does_not_overtake() {
    let engine = waiting(1);
    let module = module(&engine);
    let held = holder(&module);
    let mut first = waiter(&module);
    let alarm = Arc::new(Alarm::default());
    assert!(alarm.poll(first.as_mut()).is_pending());
    drop(held);
    assert_eq!(alarm.rings(), 1, "the slot is the waiter's");
    let mut newcomer = waiter(&module);
    assert!(poll(newcomer.as_mut()).is_pending());
    let Poll::Ready(Ok(store)) = alarm.poll(first.as_mut()) else { panic!("it has a slot") };
    assert!(poll(newcomer.as_mut()).is_pending());
    drop(store);
    assert!(poll(newcomer.as_mut()).is_ready());
}

#[test]
fn a_dropped_waiter_lets_the_next_one_have_the_slot() {
    let engine = waiting(1);
    let module = module(&engine);
    for stage in ["unpolled", "waiting", "woken", "served"] {
        let held = holder(&module);
        let (mut one, mut two) = (waiter(&module), waiter(&module));
        let alarms = [Arc::new(Alarm::default()), Arc::new(Alarm::default())];
        if stage != "unpolled" {
            assert!(alarms[0].poll(one.as_mut()).is_pending());
        }
        assert!(alarms[1].poll(two.as_mut()).is_pending());
        match stage {
            "unpolled" | "waiting" => {
                drop(one);
                assert_eq!(alarms[1].rings(), 0);
                drop(held);
            }
            "woken" => {
                drop(held);
                assert_eq!((alarms[0].rings(), alarms[1].rings()), (1, 0));
                drop(one);
            }
            _ => {
                drop(held);
                drop(alarms[0].poll(one.as_mut()));
            }
        }
        assert_eq!(alarms[1].rings(), 1, "{stage}");
        assert!(alarms[1].poll(two.as_mut()).is_ready(), "{stage}");
    }
    holder(&module);
}

#[test]
fn whoever_polled_last_is_woken() {
    let engine = waiting(1);
    let module = module(&engine);
    let held = holder(&module);
    let mut waiter = waiter(&module);
    let (early, late) = (Arc::new(Alarm::default()), Arc::new(Alarm::default()));
    assert!(early.poll(waiter.as_mut()).is_pending());
    assert!(late.poll(waiter.as_mut()).is_pending());
    assert_eq!(Arc::strong_count(&early), 1, "its waker is not kept");
    std::thread::spawn(move || drop(held)).join().unwrap();
    assert_eq!((early.rings(), late.rings()), (0, 1));
    assert!(late.poll(waiter.as_mut()).is_ready());
}

/// Wakes nobody, and drops the store that it has when it is woken or dropped.
struct Owner(Mutex<Option<Store<()>>>);

impl Wake for Owner {
    fn wake(self: Arc<Self>) {
        drop(self.0.lock().unwrap().take());
    }
}

#[test]
fn wakers_may_drop_stores() {
    let engine = waiting(2);
    let module = module(&engine);
    for when in ["woken", "replaced", "dropped"] {
        let (one, two) = (holder(&module), holder(&module));
        let mut waiter = waiter(&module);
        let waker = Waker::from(Arc::new(Owner(Mutex::new(Some(one)))));
        assert!(waiter.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(waker);
        match when {
            "woken" => drop(two),
            "replaced" => {
                assert!(poll(waiter.as_mut()).is_pending());
                assert!(poll(waiter.as_mut()).is_ready(), "the slot of the dropped store is its");
            }
            _ => drop(waiter),
        }
    }
    drop((holder(&module), holder(&module)));
}

#[test]
fn a_random_crowd_is_served_in_order() {
    let mut rng = Rng::new("a_random_crowd_is_served_in_order");
    const SLOTS: usize = 3;
    let engine = waiting(SLOTS as u32);
    let module = module(&engine);
    // What must be: who waits in order, and who of them has been handed a slot.
    let mut queue: VecDeque<(Waiter, Arc<Alarm>)> = VecDeque::new();
    let mut held: Vec<Store<()>> = Vec::new();
    for _ in 0..rounds(3_000) {
        match rng.below(4) {
            0 if queue.len() < 20 => {
                let (mut waiter, alarm) = (waiter(&module), Arc::<Alarm>::default());
                let free = held.len() + queue.len() < SLOTS;
                match alarm.poll(waiter.as_mut()) {
                    Poll::Ready(store) => held.push(store.unwrap()),
                    Poll::Pending => {
                        assert!(!free, "it waits for nothing");
                        queue.push_back((waiter, alarm));
                    }
                }
            }
            1 if !held.is_empty() => drop(held.swap_remove(rng.below(held.len() as u64) as usize)),
            2 if !queue.is_empty() => drop(queue.remove(rng.below(queue.len() as u64) as usize)),
            _ if !queue.is_empty() => {
                let index = rng.below(queue.len() as u64) as usize;
                let served = index < SLOTS - held.len();
                let (waiter, alarm) = &mut queue[index];
                assert_eq!(alarm.rings(), usize::from(served), "number {index} in line");
                match alarm.poll(waiter.as_mut()) {
                    Poll::Ready(store) => {
                        assert!(served);
                        held.push(store.unwrap());
                        queue.remove(index);
                    }
                    Poll::Pending => assert!(!served, "number {index} in line"),
                }
            }
            _ => {}
        }
    }
}

#[test]
fn a_store_does_not_wait_for_itself() {
    let engine = waiting(2);
    let module = module(&engine);
    let mut store = Store::new(&engine, ());
    for _ in 0..2 {
        block_on(Instance::new_async(&mut store, &module, &[])).unwrap();
    }
    let Poll::Ready(result) =
        poll(Box::pin(Instance::new_async(&mut store, &module, &[])).as_mut())
    else {
        panic!("it waits for itself")
    };
    let error = result.unwrap_err();
    let error = error.downcast_ref::<PoolExhausted>().unwrap();
    assert_eq!((error.count(), error.held()), (2, 2));
}

#[test]
fn without_waiting_it_fails_at_once() {
    let engine = engine(|config| {
        config.async_support(true).allocation_strategy(pooling(1, ModuleLimits::default()));
    });
    let module = module(&engine);
    let held = holder(&module);
    let Poll::Ready(Err(error)) = poll(waiter(&module).as_mut()) else { panic!("no slot is free") };
    assert!(error.is::<PoolExhausted>(), "{error}");
    drop(held);
    holder(&module);
    // Synchronous stores never wait, whatever the engine is told.
    let engine = self::engine(|config| {
        config.wait_for_instance_slot(true).allocation_strategy(pooling(1, Default::default()));
    });
    let module = self::module(&engine);
    let mut stores = [Store::new(&engine, ()), Store::new(&engine, ())];
    Instance::new(&mut stores[0], &module, &[]).unwrap();
    let error = Instance::new(&mut stores[1], &module, &[]).unwrap_err();
    assert!(error.is::<PoolExhausted>(), "{error}");
}

/// A limiter that counts how often it is asked, and may wait or refuse.
#[derive(Default)]
struct Asked {
    times: u32,
    pend: u32,
    refuse: bool,
}

#[async_trait]
impl ResourceLimiterAsync for Asked {
    async fn memory_growing(&mut self, _: usize, _: usize, _: Option<usize>) -> bool {
        self.times += 1;
        pend(self.pend).await;
        !self.refuse
    }

    async fn table_growing(&mut self, _: u32, _: u32, _: Option<u32>) -> bool {
        true
    }
}

#[test]
fn a_cancelled_wait_leaves_the_store_as_it_was() {
    let engine = waiting(1);
    let module = module(&engine);
    let mut store = Store::new(&engine, Asked::default());
    store.limiter_async(|asked| asked);
    for stage in ["waiting", "woken", "limiter", "refused"] {
        *store.data_mut() = Asked { pend: 2, refuse: stage == "refused", ..Asked::default() };
        let held = holder(&module);
        let mut instantiation = Box::pin(Instance::new_async(&mut store, &module, &[]));
        assert!(poll(instantiation.as_mut()).is_pending());
        if stage != "waiting" {
            drop(held);
        }
        let polls = match stage {
            "limiter" => 2,
            "refused" => 3,
            _ => 0,
        };
        let refused = (0..polls).any(|_| match poll(instantiation.as_mut()) {
            Poll::Ready(result) => {
                assert!(result.unwrap_err().to_string().contains("limiter"));
                true
            }
            Poll::Pending => false,
        });
        assert_eq!(refused, stage == "refused");
        drop(instantiation);
        let asked = u32::from(stage == "limiter" || stage == "refused");
        assert_eq!(store.data().times, asked, "{stage}");
        if stage != "waiting" {
            holder(&module);
        }
    }
    *store.data_mut() = Asked::default();
    block_on(Instance::new_async(&mut store, &module, &[])).unwrap();
}

#[test]
fn linkers_and_their_commands_wait_too() {
    let engine = waiting(2);
    let command = r#"(module (memory 1) (func (export "_start")))"#;
    let command = Module::new(&engine, command).unwrap();
    let caller = r#"(module (import "command" "_start" (func $start)) (memory 1)
        (func (export "run") call $start))"#;
    let caller = Module::new(&engine, caller).unwrap();
    let mut linker = Linker::new(&engine);
    let mut store = Store::new(&engine, ());
    store.add_fuel(u64::MAX).unwrap();
    block_on(linker.module_async(&mut store, "command", &command)).unwrap();
    let module = module(&engine);
    let (one, two) = (holder(&module), holder(&module));

    let mut instantiation = Box::pin(linker.instantiate_async(&mut store, &caller));
    assert!(poll(instantiation.as_mut()).is_pending());
    drop(one);
    let Poll::Ready(instance) = poll(instantiation.as_mut()) else { panic!("a slot is free") };
    drop(instantiation);
    let run = instance.unwrap().get_typed_func::<(), (), _>(&mut store, "run").unwrap();

    // The guest waits in the middle of its call, which may be dropped.
    let mut call = Box::pin(run.call_async(&mut store, ()));
    assert!(poll(call.as_mut()).is_pending());
    drop(call);
    let mut call = Box::pin(run.call_async(&mut store, ()));
    assert!(poll(call.as_mut()).is_pending());
    drop(two);
    assert!(matches!(poll(call.as_mut()), Poll::Ready(Ok(()))));
    drop(call);

    // Now it has all slots itself.
    let Poll::Ready(Err(trap)) = poll(Box::pin(run.call_async(&mut store, ())).as_mut()) else {
        panic!("it waits for itself")
    };
    let error = anyhow::Error::from(trap);
    assert!(error.chain().any(|source| source.is::<PoolExhausted>()), "{error:#}");
    drop(store);
    drop((holder(&module), holder(&module)));
}

#[test]
fn a_start_function_that_never_ends_gives_its_slot_back_when_it_is_dropped() {
    let engine = waiting(1);
    let text = r#"(module (import "" "wait" (func $wait)) (start $wait))"#;
    let start = Module::new(&engine, text).unwrap();
    let mut store = Store::new(&engine, ());
    store.add_fuel(1_000).unwrap();
    let wait = Func::wrap0_async(&mut store, |_| {
        Box::new(async {
            std::future::pending::<()>().await;
            Ok::<(), Trap>(())
        })
    });
    let imports = [wait.into()];
    let mut instantiation = Box::pin(Instance::new_async(&mut store, &start, &imports));
    assert!(poll(instantiation.as_mut()).is_pending());
    drop(instantiation);
    let module = module(&engine);
    let mut next = waiter(&module);
    assert!(poll(next.as_mut()).is_pending(), "the instance is in its store");
    drop(store);
    assert!(poll(next.as_mut()).is_ready());
}
