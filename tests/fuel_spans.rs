//! Guests hear their handles within a span of 50,000 units, and notice nothing else of spans.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use lampwick::{Caller, FuelHandle, FuelTank, Func, Instance, Memory, Module, Store, TypedFunc};

use crate::support::{async_metered, block_on, count_pending, instantiate_async, poll, trap};

/// What a handle waits for at most, and what a round of [`COUNT`] costs.
const SPAN: u64 = 50_000;
const ROUND: u64 = 14;

/// Counts rounds in memory, and calls the host in one of them.
const COUNT: &str = r#"(module (import "" "now" (func $now))
    (memory (export "memory") 1)
    (func (export "run") (param $when i32) (local $round i32)
        (loop $forever
            (i32.store (i32.const 0) (local.tee $round (i32.add (local.get $round) (i32.const 1))))
            (if (i32.eq (local.get $round) (local.get $when)) (then (call $now)))
            (br_if $forever (i32.ne (local.get $round) (i32.const -1))))))"#;

/// Gives a store fuel.
type Fuel = fn(&mut Store<Guest>);

/// What a store's fuel may come from, in slices that nobody lives to see the end of.
const FUEL: [(&str, Fuel); 4] = [
    ("its own", |store| store.set_fuel(u64::MAX).unwrap()),
    ("its own, in slices", |store| {
        store.set_fuel(u64::MAX).unwrap();
        store.fuel_async_yield_interval(Some(1 << 40)).unwrap();
    }),
    ("injected", |store| store.out_of_fuel_async_yield(1, 1 << 40)),
    ("a tank's", |store| {
        let tank = FuelTank::new(u64::MAX);
        tank.add(1 << 41);
        store.out_of_fuel_async_draw(&tank, 1 << 40);
    }),
];

/// What the guest's host function does.
struct Guest {
    handle: Option<FuelHandle>,
    act: fn(&FuelHandle),
}

struct Counter {
    store: Store<Guest>,
    run: TypedFunc<i32, ()>,
    memory: Memory,
    handle: FuelHandle,
}

impl Counter {
    fn new(fuel: Fuel, act: fn(&FuelHandle)) -> Self {
        let engine = async_metered();
        let mut store = Store::new(&engine, Guest { handle: None, act });
        fuel(&mut store);
        let handle = store.fuel_handle().unwrap();
        store.data_mut().handle = Some(handle.clone());
        let now = Func::wrap(&mut store, |caller: Caller<'_, Guest>| {
            let Guest { handle, act } = caller.data();
            act(handle.as_ref().unwrap());
        });
        let module = Module::new(&engine, COUNT).unwrap();
        let imports = [now.into()];
        let instance = block_on(Instance::new_async(&mut store, &module, &imports)).unwrap();
        let run = instance.get_typed_func(&mut store, "run").unwrap();
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        Self { store, run, memory, handle }
    }

    /// How many rounds the guest has gone.
    fn count(&self) -> u64 {
        let bytes = self.memory.data(&self.store)[..4].try_into().unwrap();
        u32::from_le_bytes(bytes).into()
    }

    /// Polls until the guest has been idle for a while: an injection or a tank's turn come first.
    fn run_until(&mut self, when: i32) -> Option<lampwick::Trap> {
        let Self { store, run, .. } = self;
        let mut call = Box::pin(run.call_async(store, when));
        for _ in 0..5 {
            if let std::task::Poll::Ready(result) = poll(call.as_mut()) {
                return Some(result.unwrap_err());
            }
        }
        None
    }
}

#[test]
fn a_pause_is_heard_within_a_span() {
    for (from, fuel) in FUEL {
        let mut longest = 0;
        for when in [1, 700, 50_000, 50_300, 50_600, 100_001] {
            let mut guest = Counter::new(fuel, FuelHandle::pause);
            assert!(guest.run_until(when).is_none(), "{from}: it ended");
            let more = guest.count() - when as u64;
            assert!(more <= SPAN / ROUND + 1, "{from}: {more} rounds behind the pause");
            longest = longest.max(more);
        }
        assert!(longest > SPAN / ROUND / 8, "{from}: spans of {longest} rounds");
    }
}

#[test]
fn a_stop_is_heard_within_a_span() {
    for (from, fuel) in FUEL {
        let mut guest = Counter::new(fuel, |handle| handle.stop(anyhow::anyhow!("evicted")));
        let ended = guest.run_until(50_300).expect(from);
        assert!(trap(ended.into()).to_string().contains("evicted"));
        let more = guest.count() - 50_300;
        assert!(more <= SPAN / ROUND + 1, "{from}: {more} rounds behind the stop");
    }
}

/// What has not been burned of a slice is the tank's again, for others.
#[test]
fn a_guest_that_is_paused_in_its_slice_gives_back_the_rest() {
    let tank = FuelTank::new(u64::MAX);
    tank.add(10_000_000);
    let mut guest = Counter::new(|_| {}, FuelHandle::pause);
    guest.store.out_of_fuel_async_draw(&tank, 5_000_000);
    let mut call = Box::pin(guest.run.call_async(&mut guest.store, 50_000));
    (0..5).for_each(|_| assert!(poll(call.as_mut()).is_pending()));
    let consumed = guest.handle.consumed();
    assert!((50_000 * ROUND..50_000 * ROUND + SPAN + 2 * ROUND).contains(&consumed), "{consumed}");
    let level = tank.level();
    assert!((level..level + 2 * ROUND).contains(&(10_000_000 - consumed)), "{level}, {consumed}");
}

/// The guest runs on another thread, and is looked at while it runs.
#[test]
fn a_pause_from_another_thread_is_heard_within_a_span() {
    let mut guest = Counter::new(FUEL[0].1, |_| {});
    // SAFETY: the memory is the store's, which outlives the scope; the guest writes whole words.
    let rounds = unsafe { AtomicU32::from_ptr(guest.memory.data_ptr(&guest.store).cast()) };
    let handle = guest.handle.clone();
    let Counter { store, run, .. } = &mut guest;
    let mut call = Box::pin(run.call_async(store, 0));
    for _ in 0..20 {
        let (at_pause, stopped) = std::thread::scope(|scope| {
            let before = rounds.load(Relaxed);
            let guest = scope.spawn(|| assert!(poll(call.as_mut()).is_pending()));
            while rounds.load(Relaxed) < before + 20_000 {
                std::hint::spin_loop();
            }
            handle.pause();
            let at_pause = rounds.load(Relaxed);
            guest.join().unwrap();
            (at_pause, rounds.load(Relaxed))
        });
        let more = u64::from(stopped - at_pause);
        assert!(more <= SPAN / ROUND + 1, "{more} rounds behind the pause");
        handle.resume();
    }
}

/// A guest with a handle burns the same, and yields as often, whatever its fuel comes from.
#[test]
fn spans_are_invisible() {
    const ROUNDS: &str = r#"(module (func (export "run") (local i32)
        (local.set 0 (i32.const 100_000))
        (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))"#;
    type Fuel = fn(&mut Store<()>);
    let fuels: [Fuel; 4] = [
        |store| store.set_fuel(1_000_000).unwrap(),
        |store| {
            store.set_fuel(1_000_000).unwrap();
            store.fuel_async_yield_interval(Some(133_333)).unwrap();
        },
        |store| store.out_of_fuel_async_yield(u64::MAX, 125_000),
        |store| {
            let tank = FuelTank::new(u64::MAX);
            tank.add(1_000_000);
            store.out_of_fuel_async_draw(&tank, 145_000);
        },
    ];
    for (kind, fuel) in fuels.into_iter().enumerate() {
        let burned = |with_handle: bool| {
            let (mut store, instance) = instantiate_async(&async_metered(), ROUNDS);
            fuel(&mut store);
            if with_handle {
                store.fuel_handle().unwrap();
            }
            let run = instance.get_func(&mut store, "run").unwrap();
            let (pending, result) = count_pending(run.call_async(&mut store, &[]));
            result.unwrap();
            (pending, store.stats(), store.get_fuel().unwrap())
        };
        assert_eq!(burned(false), burned(true), "kind {kind}");
    }
}
