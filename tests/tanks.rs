//! Guests that draw from tanks: who waits, who is served, and what becomes of fuel when they are
//! dropped, forgotten, or cut off.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use lampwick::{
    Caller, Engine, FuelTank, Func, Instance, Linker, Module, Store, TankClosed, Trap, Val,
};

use crate::support::{Alarm, async_metered, block_on, instantiate_async, metered, panic_of, poll};

/// What a guest burns before it first looks for fuel: it owes that to the tank.
const ENTRY: u64 = 1;

const FOREVER: &str = r#"(module (func (export "run") (loop (br 0))))"#;

/// No straight-line segment of these guests costs more.
pub(crate) const SEGMENT: u64 = 16;
pub(crate) const SLICE: u64 = 1000;

/// A call that owns its store, which is dropped with it.
type Guest = Pin<Box<dyn Future<Output = Trap> + Send>>;

fn guest(module: &Module, tank: &FuelTank) -> Guest {
    let mut store = Store::new(module.engine(), ());
    store.out_of_fuel_async_draw(tank, SLICE);
    let module = module.clone();
    Box::pin(async move {
        let instance = Instance::new_async(&mut store, &module, &[]).await.unwrap();
        let run = instance.get_typed_func::<(), (), _>(&mut store, "run").unwrap();
        run.call_async(&mut store, ()).await.unwrap_err()
    })
}

pub(crate) fn forever() -> Module {
    Module::new(&async_metered(), FOREVER).unwrap()
}

/// A store with an instance whose `run` draws from `tank`.
pub(crate) fn drawing(engine: &Engine, tank: &FuelTank, slice: u64) -> (Store<()>, Func) {
    let (mut store, instance) = instantiate_async(engine, FOREVER);
    store.out_of_fuel_async_draw(tank, slice);
    let run = instance.get_func(&mut store, "run").unwrap();
    (store, run)
}

#[test]
fn a_guest_burns_a_slice_a_poll_and_waits_where_the_tank_is_dry() {
    let tank = FuelTank::new(u64::MAX);
    tank.add(20 * SLICE + 1);
    let (mut store, run) = drawing(&async_metered(), &tank, SLICE);
    let alarm = Arc::new(Alarm::default());
    let mut call = Box::pin(run.call_async(&mut store, &[]));
    let polls = alarm.run(call.as_mut()) as u64;
    assert!((21..=22).contains(&polls), "{polls} polls");
    for _ in 0..3 {
        assert!(alarm.poll(call.as_mut()).is_pending());
    }
    assert_eq!((tank.level(), alarm.rings() as u64), (0, polls - 1), "nobody wakes it");
    tank.add(5 * SLICE);
    assert_eq!(alarm.rings() as u64, polls, "it was woken once");
    drop(call);
    let consumed = store.fuel_consumed().unwrap();
    assert!((20 * SLICE + 1..=20 * SLICE + 1 + SEGMENT).contains(&consumed), "{consumed}");
    // The wait was dropped: all that it had been granted is back.
    assert_eq!(tank.level(), 5 * SLICE);
}

#[test]
fn the_stores_own_fuel_comes_first() {
    let tank = FuelTank::new(u64::MAX);
    tank.add(SLICE);
    let (mut store, run) = drawing(&async_metered(), &tank, SLICE);
    store.add_fuel(5 * SLICE).unwrap();
    let mut call = Box::pin(run.call_async(&mut store, &[]));
    assert!(poll(call.as_mut()).is_pending());
    drop(call);
    let consumed = store.fuel_consumed().unwrap();
    assert!((5 * SLICE..=5 * SLICE + SEGMENT).contains(&consumed), "{consumed}");
    assert_eq!(tank.level() + consumed, 6 * SLICE, "drawn, and given back with the yield");
}

#[test]
fn nothing_is_lost_wherever_a_call_is_dropped() {
    let engine = async_metered();
    for slice in [1, 100, SLICE, 100_000, u64::MAX] {
        for polls in 1..20 {
            let tank = FuelTank::new(u64::MAX);
            tank.add(10_000);
            let (mut store, run) = drawing(&engine, &tank, slice);
            let mut call = Box::pin(run.call_async(&mut store, &[]));
            (0..polls).for_each(|_| assert!(poll(call.as_mut()).is_pending()));
            drop(call);
            let consumed = store.fuel_consumed().unwrap();
            let left = tank.level() + store.get_fuel().unwrap();
            let sum = consumed + left;
            assert!((10_000..=10_000 + SEGMENT).contains(&sum), "{consumed} burned, {left} left");
            drop(store);
            assert_eq!(tank.level(), left, "the store keeps nothing");
        }
    }
}

#[test]
fn what_is_added_to_a_store_is_not_taken_for_the_tanks() {
    let engine = async_metered();
    let tank = FuelTank::new(u64::MAX);
    let (mut store, run) = drawing(&engine, &tank, SLICE);
    let handle = store.fuel_handle().unwrap();
    tank.add(SLICE);
    let mut call = Box::pin(run.call_async(&mut store, &[]));
    Arc::new(Alarm::default()).run(call.as_mut());
    // The slice is burned. Fuel of its own comes, but it may not burn it.
    handle.add(500);
    handle.pause();
    assert!(poll(call.as_mut()).is_pending());
    drop(call);
    assert_eq!(tank.level(), 0);
    let own = store.get_fuel().unwrap();
    assert!((500 - SEGMENT..=500).contains(&own), "{own}");
    // Beside a slice that is hardly begun, it is burned first.
    handle.resume();
    tank.add(SLICE);
    store.set_fuel(0).unwrap();
    let mut call = Box::pin(run.call_async(&mut store, &[]));
    assert!(poll(call.as_mut()).is_pending());
    std::mem::forget(call);
    store.add_fuel(500).unwrap();
    drop(store);
    assert!((SLICE - SEGMENT..=SLICE).contains(&tank.level()), "{}", tank.level());
}

#[test]
fn what_a_finished_call_left_is_for_the_next_one_or_the_tank() {
    let engine = async_metered();
    let tank = FuelTank::new(u64::MAX);
    tank.add(10 * SLICE);
    let (mut store, instance) = instantiate_async(&engine, r#"(module (func (export "run")))"#);
    store.out_of_fuel_async_draw(&tank, SLICE);
    let run = instance.get_func(&mut store, "run").unwrap();
    for _ in 0..100 {
        block_on(run.call_async(&mut store, &[])).unwrap();
    }
    let consumed = store.fuel_consumed().unwrap();
    assert!(consumed < SLICE);
    store.set_fuel(7).unwrap();
    assert_eq!(tank.level() + consumed, 10 * SLICE, "fuel that is set does not replace the tank's");
    assert_eq!(store.get_fuel().unwrap(), 7);
}

#[test]
fn closing_a_tank_ends_its_guests_and_says_so() {
    let engine = async_metered();
    let module = Module::new(&engine, FOREVER).unwrap();
    let machine = FuelTank::new(u64::MAX);
    let (tenant, other) = (machine.child(1), machine.child(1));
    tenant.add(1_000_000);
    let (mut running, mut waiting) = (guest(&module, &tenant), guest(&module, &tenant.child(1)));
    let mut beside = guest(&module, &other);
    let alarm = Arc::new(Alarm::default());
    assert!(poll(running.as_mut()).is_pending());
    alarm.run(beside.as_mut());
    tenant.drain();
    alarm.run(waiting.as_mut());
    let rings = alarm.rings();
    tenant.close();
    assert_eq!(alarm.rings(), rings + 1, "the one who waits is woken");
    assert!(tenant.is_closed() && !machine.is_closed() && !other.is_closed());
    for guest in [&mut running, &mut waiting] {
        let Poll::Ready(trap) = poll(guest.as_mut()) else { panic!("it goes on") };
        assert!(trap.to_string().contains("the fuel tank that the guest draws from is closed"));
        assert!(trap.source().unwrap().is::<TankClosed>());
        assert_eq!(trap.trace().len(), 1, "it says where the guest was");
    }
    assert_eq!(tenant.add(5), 5, "a closed tank takes nothing");
    machine.add(10);
    assert!(poll(beside.as_mut()).is_pending());
    // Who comes later ends at once, and a child of a closed tank is closed.
    let Poll::Ready(trap) = poll(guest(&module, &tenant.child(3)).as_mut()) else { panic!() };
    assert!(trap.source().unwrap().is::<TankClosed>());
}

#[test]
fn ten_thousand_wait_and_are_served_in_the_order_they_came() {
    const COUNT: usize = 10_000;
    struct Number(usize, Arc<Mutex<Vec<usize>>>);
    impl Wake for Number {
        fn wake(self: Arc<Self>) {
            self.1.lock().unwrap().push(self.0);
        }
    }
    let module = forever();
    let tank = FuelTank::new(u64::MAX);
    let woken = Arc::default();
    let mut guests: Vec<_> = (0..COUNT).map(|_| guest(&module, &tank)).collect();
    for (number, guest) in guests.iter_mut().enumerate() {
        let waker = Waker::from(Arc::new(Number(number, Arc::clone(&woken))));
        assert!(guest.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    for _ in 0..COUNT / 100 {
        tank.add(100 * SLICE);
    }
    assert_eq!(*woken.lock().unwrap(), (0..COUNT).collect::<Vec<_>>());
    drop(guests);
    assert_eq!(tank.level(), COUNT as u64 * (SLICE - ENTRY));
}

#[test]
fn a_guest_that_is_dropped_where_it_waits_keeps_no_place() {
    let module = forever();
    for woken in [false, true] {
        let tank = FuelTank::new(u64::MAX);
        let (mut first, mut second) = (guest(&module, &tank), guest(&module, &tank));
        let alarms = [Arc::new(Alarm::default()), Arc::new(Alarm::default())];
        alarms[0].run(first.as_mut());
        alarms[1].run(second.as_mut());
        if woken {
            tank.add(SLICE);
            assert_eq!((alarms[0].rings(), alarms[1].rings()), (1, 0));
        }
        // On another thread: the one who waits next is woken from there.
        std::thread::spawn(move || drop(first)).join().unwrap();
        if !woken {
            tank.add(SLICE);
        }
        assert_eq!(alarms[1].rings(), 1);
        drop(second);
        assert_eq!(tank.level(), SLICE - 2 * ENTRY);
    }
}

#[test]
fn a_forgotten_guest_keeps_what_it_was_granted_and_no_more() {
    let engine = async_metered();
    let module = Module::new(&engine, FOREVER).unwrap();
    let tank = FuelTank::new(u64::MAX);
    let (mut store, run) = drawing(&engine, &tank, SLICE);
    let mut call = Box::pin(run.call_async(&mut store, &[]));
    let alarm = Arc::new(Alarm::default());
    alarm.run(call.as_mut());
    std::mem::forget(call);
    let mut next = guest(&module, &tank);
    alarm.run(next.as_mut());
    for _ in 0..100 {
        tank.add(SLICE);
        alarm.run(next.as_mut());
    }
    drop(next);
    assert_eq!(tank.level(), 0, "the next one was served");
    drop(store);
    assert_eq!(tank.level(), SLICE - 2 * ENTRY, "all that the forgotten one was granted");
}

#[test]
fn nested_calls_draw_and_wait_on_their_own_fibers() {
    let engine = async_metered();
    let mut linker = Linker::new(&engine);
    linker
        .func_wrap0_async("", "again", |mut caller: Caller<'_, ()>| {
            Box::new(async move {
                let inner = caller.get_export("inner").unwrap().into_func().unwrap();
                inner.call_async(&mut caller, &[]).await.map(drop).map_err(Trap::from)
            })
        })
        .unwrap();
    let wat = r#"(module (import "" "again" (func $again))
        (func (export "inner") (local i32) (local.set 0 (i32.const 1000))
            (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
        (func (export "run") (call $again)))"#;
    let module = Module::new(&engine, wat).unwrap();
    let tank = FuelTank::new(u64::MAX);
    let mut store = Store::new(&engine, ());
    store.out_of_fuel_async_draw(&tank, 100);
    let instance = block_on(linker.instantiate_async(&mut store, &module)).unwrap();
    let run = instance.get_func(&mut store, "run").unwrap();
    for drops in [false, true] {
        let mut call = Box::pin(run.call_async(&mut store, &[]));
        let mut added = 0;
        while poll(call.as_mut()).is_pending() && !(drops && added == 2_000) {
            tank.add(50);
            added += 50;
        }
        drop(call);
    }
    let left = tank.level() + store.get_fuel().unwrap();
    drop(store);
    assert_eq!(tank.level(), left);
}

#[test]
fn bulk_operators_draw_in_their_midst() {
    let engine = async_metered();
    let (mut store, instance) = instantiate_async(
        &engine,
        r#"(module (memory (export "m") 32)
            (func (export "run") (memory.fill (i32.const 0) (i32.const 7) (i32.const 2097152))))"#,
    );
    let tank = FuelTank::new(u64::MAX);
    store.out_of_fuel_async_draw(&tank, 1024);
    let run = instance.get_func(&mut store, "run").unwrap();
    let memory = instance.get_memory(&mut store, "m").unwrap();
    let mut call = Box::pin(run.call_async(&mut store, &[]));
    let alarm = Arc::new(Alarm::default());
    tank.add(10 * 1024);
    alarm.run(call.as_mut());
    drop(call);
    let done = memory.data(&store).iter().filter(|&&byte| byte == 7).count();
    assert!((9 << 16..=10 << 16).contains(&done), "{done} bytes for ten slices");
    assert_eq!(tank.level(), 0);
    tank.add(1_000_000);
    block_on(run.call_async(&mut store, &[])).unwrap();
    assert!(memory.data(&store).iter().all(|&byte| byte == 7));
}

#[test]
fn policies_replace_each_other() {
    let engine = async_metered();
    let tank = FuelTank::new(u64::MAX);
    tank.add(100 * SLICE);
    let (mut store, run) = drawing(&engine, &tank, SLICE);
    store.out_of_fuel_async_yield(3, SLICE);
    let (pending, result) = crate::support::count_pending(run.call_async(&mut store, &[]));
    assert!(pending == 3 && result.unwrap_err().to_string().contains("all fuel consumed"));
    assert_eq!(tank.level(), 100 * SLICE);
    store.out_of_fuel_async_draw(tank.clone(), SLICE);
    let mut call = Box::pin(run.call_async(&mut store, &[]));
    (0..5).for_each(|_| assert!(poll(call.as_mut()).is_pending()));
    assert!(tank.level() <= 95 * SLICE);
    drop(call);
    store.out_of_fuel_trap();
    assert!(block_on(run.call_async(&mut store, &[])).is_err());
}

#[test]
fn only_async_stores_can_draw_or_park() {
    let mut store = Store::new(&metered(), ());
    let tank = FuelTank::new(1);
    let text = "the store's engine is not async (see `Config::async_support`)";
    let draws = panic_of(|| store.out_of_fuel_async_draw(&tank, 1));
    assert!(draws.contains(text), "{draws}");
    let mut store = Store::new(&metered(), ());
    let parks = panic_of(|| store.out_of_fuel_async_park());
    assert!(parks.contains(text), "{parks}");
}

#[test]
fn host_functions_choose_the_tank() {
    let engine = async_metered();
    let tanks = [FuelTank::new(u64::MAX), FuelTank::new(u64::MAX)];
    let mut linker = Linker::new(&engine);
    let chosen = tanks.clone();
    linker
        .func_wrap("", "choose", move |mut caller: Caller<'_, ()>, index: u32| {
            caller.out_of_fuel_async_draw(&chosen[index as usize % 2], SLICE);
        })
        .unwrap();
    let wat = r#"(module (import "" "choose" (func $choose (param i32)))
        (func (export "run") (param i32) (call $choose (local.get 0)) (loop (br 0))))"#;
    let module = Module::new(&engine, wat).unwrap();
    let mut store = Store::new(&engine, ());
    store.add_fuel(100).unwrap();
    let instance = block_on(linker.instantiate_async(&mut store, &module)).unwrap();
    let run = instance.get_func(&mut store, "run").unwrap();
    for (index, tank) in tanks.iter().enumerate() {
        for tank in &tanks {
            tank.add(10 * SLICE - tank.level());
        }
        store.set_fuel(100).unwrap();
        let args = [Val::I32(index as i32)];
        let mut call = Box::pin(run.call_async(&mut store, &args));
        Arc::new(Alarm::default()).run(call.as_mut());
        assert_eq!(tank.level(), 0);
        assert_eq!(tanks[1 - index].level(), 10 * SLICE);
    }
}
