//! The matrix once more, for what is of today: a guest suspends in the middle of exceptions, handlers,
//! tail calls, or while it waits at an address of a shared memory, at several depths of calls by the
//! host; then it ends in one of several ways, in one of several places.

use std::future::{Future, poll_fn};
use std::task::Poll;

use lampwick::{Engine, Instance, Linker, MemoryType, Module, SharedMemory, Store, Trap, TrapCode};

use crate::matrix::{self, End, PLACES, Panics, Place, drive};
use crate::support::{Census, block_on, engine, panic_text, poll};

/// How guests suspend, each with the host's calls around it as often as [`NESTED`] says.
const EVENTS: [&str; 4] = ["throws and catches", "tail calls", "waits", "waits in a handler"];

/// How many calls by the host a guest is in at most.
const NESTED: usize = 1;

const GUEST: &str = r#"(module
    (import "host" "wait" (func $wait (param i32)))
    (import "host" "nest" (func $nest (param i32 i32)))
    (import "host" "end" (func $end (param i32))) (import "host" "panic" (func $panic))
    (import "host" "memory" (memory 1 1 shared))
    (tag $t (param i32)) (tag $other)
    (func $burn (param i32)
        loop local.get 0 i32.const 1 i32.sub local.tee 0 br_if 0 end)
    (func $throws
        i32.const 1 call $wait
        i32.const 40 call $burn
        i32.const 1 i32.const 5 throw $t)
    (func $through (block $h (try_table (catch $other $h) (call $throws))))
    (func $tail (param i32)
        local.get 0 i32.eqz if i32.const 2 return_call $wait end
        local.get 0 i32.const 1 i32.sub return_call $tail)
    (func $waits
        (drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1))))
    (func $suspend (param $event i32)
        (block $nested (block $handler (block $waits (block $tails (block $throws
            local.get $event br_table $throws $tails $waits $handler $nested)
            (block $h (result i32) (try_table (catch $t $h) (call $through)) unreachable)
            i32.const 7 i32.rem_u call $wait
            i32.const 40 call $burn return)
            i32.const 30 return_call $tail)
            return_call $waits)
            (block $h (result i32 exnref)
                (try_table (catch_ref $t $h) (call $through)) unreachable)
            drop drop
            (block $h (try_table (catch_all $h) (call $waits) (throw $other)) )
            i32.const 40 call $burn return)
        unreachable)
    (func $ends (param $end i32) (result i32)
        (block $throws (block $panic (block $traps (block $fuel (block $host (block $completes
            local.get $end br_table $completes $host $host $host $fuel $traps $panic $throws)
            i32.const 42 return)
            local.get $end call $end i32.const 42 return)
            loop br 0 end)
            i32.const -1 i32.load return)
            call $panic)
        i32.const 9 throw $t)
    (func $run (export "run") (param $event i32) (param $end i32) (result i32)
        (block $no
            (try_table (catch $other $no)
                (if (i32.lt_u (local.get $event) (i32.const 4))
                    (then (call $suspend (local.get $event)))
                    (else
                        i32.const 1 call $wait
                        (call $nest
                            (i32.sub (local.get $event) (i32.const 4)) (local.get $end))))
                (return_call $ends (local.get $end))))
        i32.const -1)
    (func (export "throws") (result i32)
        (block $h (result i32) (try_table (catch $t $h) (call $through)) unreachable)))"#;

/// The number of an exception that nobody catches, beside those of [`End`].
const THROWS: i32 = 7;

/// What all guests have in common.
struct Maker {
    engine: Engine,
    linker: Linker<Census>,
    module: Module,
    memory: SharedMemory,
}

impl Maker {
    fn new() -> Self {
        let engine =
            engine(|config| _ = config.async_support(true).consume_fuel(true).wasm_threads(true));
        let mut linker = matrix::linker(&engine);
        let memory = SharedMemory::new(&engine, MemoryType::shared(1, 1)).unwrap();
        linker.define("host", "memory", memory.clone()).unwrap();
        let module = Module::new(&engine, GUEST).unwrap();
        Self { engine, linker, module, memory }
    }

    fn guest(&self) -> (Store<Census>, Instance) {
        let mut store = Store::new(&self.engine, Census::default());
        store.out_of_fuel_async_yield(40, 100);
        let instance = block_on(self.linker.instantiate_async(&mut store, &self.module)).unwrap();
        (store, instance)
    }

    /// The call, polled as often as `end` lets it be; each third time somebody notifies.
    async fn call(
        &self,
        store: &mut Store<Census>,
        instance: &Instance,
        event: usize,
        end: Option<End>,
    ) -> Option<Result<i32, Trap>> {
        let run = instance.get_typed_func::<(i32, i32), i32, _>(&mut *store, "run").unwrap();
        let args = (event as i32, end.map_or(THROWS, End::number));
        let mut call = Some(Box::pin(run.call_async(store, args)));
        let most = if let Some(End::Dropped(polls)) = end { polls } else { u32::MAX };
        let mut polls = 0;
        poll_fn(move |context| {
            if polls == most {
                call = None;
                return Poll::Ready(None);
            }
            polls += 1;
            if polls % 3 == 0 {
                self.memory.atomic_notify(0, u32::MAX).unwrap();
            }
            call.as_mut().unwrap().as_mut().poll(context).map(Some)
        })
        .await
    }

    /// One field of the matrix.
    fn field(&self, event: usize, end: Option<End>, place: Place) {
        let name = EVENTS[event % EVENTS.len()];
        let label = format!("{name}, in {} calls, {end:?}, {place:?}", event / EVENTS.len());
        let (mut store, instance) = self.guest();
        let result = drive(place, self.call(&mut store, &instance, event, end));
        match (end, result) {
            (Some(End::Panics(_)), Err(payload)) => {
                assert_eq!(panic_text(&*payload), "the host panics", "{label}");
            }
            (_, Err(payload)) => panic!("{label}: {}", panic_text(&*payload)),
            (_, Ok(result)) => check_end(&label, end, result),
        }
        assert_eq!(store.data().alive(), 0, "{label}: what host functions held");
        let waiting = self.memory.atomic_notify(0, u32::MAX).unwrap();
        assert_eq!(waiting, 0, "{label}: it is still in the queue");
        // The store is as good as new.
        store.out_of_fuel_async_yield(40, 100);
        let throws = instance.get_typed_func::<(), i32, _>(&mut store, "throws").unwrap();
        let thrown = drive(place, throws.call_async(&mut store, ()));
        assert_eq!(thrown.unwrap_or_else(|_| panic!("{label}")).unwrap(), 5, "{label}");
        let again = drive(place, self.call(&mut store, &instance, event, Some(End::Completes)));
        check_end(&label, Some(End::Completes), again.unwrap_or_else(|_| panic!("{label}")));
    }
}

fn check_end(label: &str, end: Option<End>, result: Option<Result<i32, Trap>>) {
    let Some(result) = result else {
        assert!(matches!(end, Some(End::Dropped(_))), "{label}");
        return;
    };
    let trap = match (end, result) {
        (Some(End::Completes), Ok(42)) => return,
        // It may be through before it would have been dropped.
        (Some(End::Dropped(polls)), Ok(42)) if polls > 2 => return,
        (_, Ok(answer)) => panic!("{label}: {answer}"),
        (_, Err(trap)) => trap,
    };
    match end {
        None => {
            let values = trap.exception().unwrap_or_else(|| panic!("{label}: {trap}")).values();
            assert_eq!(values[0].unwrap_i32(), 9, "{label}");
        }
        Some(End::Traps) => {
            assert_eq!(trap.trap_code(), Some(TrapCode::MemoryOutOfBounds), "{label}: {trap}");
        }
        Some(End::HostFails) => assert!(trap.to_string().starts_with("the host fails"), "{label}"),
        Some(End::OutOfFuel) => {
            assert!(trap.to_string().contains("all fuel consumed"), "{label}: {trap}");
        }
        _ => panic!("{label}: {trap}"),
    }
}

fn ends() -> impl Iterator<Item = Option<End>> {
    matrix::ends().into_iter().map(Some).chain([None])
}

#[test]
fn exceptions_tail_calls_and_waits_end_well_in_every_way_and_place() {
    let maker = Maker::new();
    for event in 0..EVENTS.len() * (NESTED + 1) {
        for end in ends() {
            for place in PLACES {
                maker.field(event, end, place);
            }
        }
    }
}

/// The matrix would prove nothing if its guests did not suspend where they are said to.
#[test]
fn each_event_suspends_several_times() {
    let maker = Maker::new();
    for event in 0..EVENTS.len() * (NESTED + 1) {
        let (mut store, instance) = maker.guest();
        let mut call = Box::pin(maker.call(&mut store, &instance, event, Some(End::Completes)));
        let polls = std::iter::repeat_with(|| poll(call.as_mut())).take_while(Poll::is_pending);
        let polls = polls.count();
        assert!((2..40).contains(&polls), "{event}: {polls}");
    }
    assert_eq!(End::Panics(Panics::Sync).number() + 1, THROWS);
}
