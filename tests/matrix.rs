//! Panic × drop × out of fuel × host pending × move to another thread, generated from tables.
//!
//! A guest suspends in one of several ways ([`Event`]), then ends in one of several ([`End`]),
//! while its future is polled in one of several places ([`Place`]). Afterwards all that the host's
//! futures held must be dropped, once, and, where a store is left, it must work.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use lampwick::{Caller, Engine, Extern, Instance, Linker, Module, Store, Trap, TrapCode};

use crate::support::{Census, async_metered, block_on, panic_text, pend, poll};

/// How the guest suspends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Event {
    /// A host function's future is pending.
    Host,
    /// The slice of fuel is gone.
    Fuel,
    /// The one, then the other, in a call that a host function makes.
    Nested,
    /// The same in a call made by a host function in such a call.
    NestedTwice,
}

/// Which host function panics.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Panics {
    /// One that is not async.
    Sync,
    /// An async one, at its first poll.
    AtOnce,
    /// An async one, after it was pending.
    Later,
}

/// How the call ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum End {
    Completes,
    /// Its future is dropped after this many polls.
    Dropped(u32),
    /// A host function panics.
    Panics(Panics),
    HostFails,
    OutOfFuel,
    Traps,
}

pub(crate) const EVENTS: [Event; 4] = [Event::Host, Event::Fuel, Event::Nested, Event::NestedTwice];

/// No event takes more polls than this until its end, or one more.
const MOST_POLLS: u32 = 40;

pub(crate) fn ends() -> Vec<End> {
    let mut ends = vec![
        End::Completes,
        End::Panics(Panics::Sync),
        End::Panics(Panics::AtOnce),
        End::Panics(Panics::Later),
        End::HostFails,
        End::OutOfFuel,
        End::Traps,
    ];
    ends.extend((0..12).chain([MOST_POLLS]).map(End::Dropped));
    ends
}

const GUEST: &str = r#"(module
    (import "host" "wait" (func $wait (param i32)))
    (import "host" "nest" (func $nest (param i32 i32)))
    (import "host" "end" (func $end (param i32))) (import "host" "panic" (func $panic))
    (memory 1)
    (func $burn (param i32)
        loop local.get 0 i32.const 1 i32.sub local.tee 0 br_if 0 end)
    (func $run (export "run") (param $event i32) (param $end i32) (result i32)
        (block $done (block $nested (block $fuel (block $host
            local.get $event br_table $host $fuel $nested $nested)
            i32.const 3 call $wait br $done)
            i32.const 100 call $burn br $done)
            i32.const 2 call $wait
            i32.const 60 call $burn
            (call $nest (i32.sub (local.get $event) (i32.const 2)) (local.get $end))
            i32.const 42 return)
        (block $panic (block $traps (block $fuel (block $host (block $completes
            local.get $end br_table $completes $host $host $host $fuel $traps $panic)
            i32.const 42 return)
            local.get $end call $end i32.const 42 return)
            loop br 0 end)
            i32.const -1 i32.load return)
        call $panic unreachable)
    (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add))"#;

impl End {
    /// How the guest is told.
    pub(crate) fn number(self) -> i32 {
        match self {
            Self::Completes | Self::Dropped(_) => 0,
            Self::Panics(Panics::AtOnce) => 1,
            Self::Panics(Panics::Later) => 2,
            Self::HostFails => 3,
            Self::OutOfFuel => 4,
            Self::Traps => 5,
            Self::Panics(Panics::Sync) => 6,
        }
    }
}

/// A linker with the host functions that the guest needs; tokens are taken from the store's census.
pub(crate) fn linker(engine: &Engine) -> Linker<Census> {
    let mut linker = Linker::<Census>::new(engine);
    linker
        .func_wrap1_async("host", "wait", |caller: Caller<'_, Census>, times: i32| {
            let token = caller.data().token();
            Box::new(async move {
                let _inner = caller.data().token();
                pend(times as u32).await;
                drop(token);
            })
        })
        .unwrap()
        .func_wrap2_async("host", "nest", |mut caller: Caller<'_, Census>, event: i32, end: i32| {
            let token = caller.data().token();
            Box::new(async move {
                let run = caller.get_export("run").and_then(Extern::into_func).unwrap();
                let run = run.typed::<(i32, i32), i32, _>(&caller)?;
                let result = run.call_async(&mut caller, (event, end)).await;
                drop(token);
                result.map(drop)
            })
        })
        .unwrap()
        .func_wrap1_async("host", "end", |caller: Caller<'_, Census>, end: i32| {
            let token = caller.data().token();
            Box::new(async move {
                let _token = token;
                match end {
                    1 => panic!("the host panics"),
                    2 => {
                        pend(2).await;
                        panic!("the host panics");
                    }
                    _ => Err::<(), Trap>(Trap::new("the host fails")),
                }
            })
        })
        .unwrap()
        .func_wrap("host", "panic", |caller: Caller<'_, Census>| -> Result<(), Trap> {
            let _token = caller.data().token();
            panic!("the host panics");
        })
        .unwrap();
    linker
}

/// A guest of the matrix, ready to be called.
pub(crate) struct Guest {
    pub(crate) store: Store<Census>,
    instance: Instance,
    event: Event,
    end: End,
}

/// What guests are made from.
pub(crate) struct Maker {
    engine: Engine,
    linker: Linker<Census>,
    module: Module,
}

impl Maker {
    pub(crate) fn new() -> Self {
        let engine = async_metered();
        let module = Module::new(&engine, GUEST).unwrap();
        Self { linker: linker(&engine), engine, module }
    }

    pub(crate) fn guest(&self, event: Event, end: End) -> Guest {
        let mut store = Store::new(&self.engine, Census::default());
        // Enough for all but the loop that does not end.
        store.out_of_fuel_async_yield(20, 100);
        let instance = block_on(self.linker.instantiate_async(&mut store, &self.module)).unwrap();
        Guest { store, instance, event, end }
    }
}

impl Guest {
    /// The call that the matrix is about; `None` if its future was dropped.
    pub(crate) async fn call(&mut self) -> Option<Result<i32, Trap>> {
        let run =
            self.instance.get_typed_func::<(i32, i32), i32, _>(&mut self.store, "run").unwrap();
        let event = EVENTS.iter().position(|event| *event == self.event).unwrap();
        let args = (event as i32, self.end.number());
        let mut call = Some(Box::pin(run.call_async(&mut self.store, args)));
        let mut left = match self.end {
            End::Dropped(polls) => polls,
            _ => u32::MAX,
        };
        poll_fn(move |context| {
            if left == 0 {
                call = None;
                return Poll::Ready(None);
            }
            left -= 1;
            call.as_mut().unwrap().as_mut().poll(context).map(Some)
        })
        .await
    }

    /// That the call ended as it should have.
    pub(crate) fn check_end(&self, label: &str, result: Option<Result<i32, Trap>>) {
        match (self.end, &result) {
            (End::Completes, Some(Ok(42))) | (End::Dropped(_), None) => {}
            // A call may be through before it would have been dropped.
            (End::Dropped(polls), Some(Ok(42))) if polls > 3 => {}
            (End::HostFails, Some(Err(trap))) => {
                assert!(trap.to_string().starts_with("the host fails"), "{label}: {trap}");
            }
            (End::OutOfFuel, Some(Err(trap))) => {
                assert!(trap.to_string().contains("all fuel consumed"), "{label}: {trap}");
            }
            (End::Traps, Some(Err(trap))) => {
                assert_eq!(trap.trap_code(), Some(TrapCode::MemoryOutOfBounds), "{label}");
            }
            _ => panic!("{label}: {result:?}"),
        }
        self.check_tokens(label);
    }

    pub(crate) fn check_tokens(&self, label: &str) {
        let census = self.store.data();
        assert_eq!(census.alive(), 0, "{label}: of {} values", census.made());
        let polled = !matches!(self.end, End::Dropped(0));
        if self.event != Event::Fuel && polled && !matches!(self.end, End::Dropped(1)) {
            assert!(census.made() > 0, "{label}: no host function was called");
        }
    }

    /// That the store is as good as new.
    pub(crate) async fn check_store(&mut self, label: &str) {
        self.store.add_fuel(1000).unwrap();
        let add =
            self.instance.get_typed_func::<(i32, i32), i32, _>(&mut self.store, "add").unwrap();
        assert_eq!(add.call_async(&mut self.store, (1, 2)).await.unwrap(), 3, "{label}");
        self.store.out_of_fuel_async_yield(50, 100);
        (self.event, self.end) = (Event::NestedTwice, End::Completes);
        let result = self.call().await;
        self.check_end(label, result);
    }
}

/// Where a future is polled by hand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Place {
    /// On this thread.
    Here,
    /// Each time on a new thread.
    Elsewhere,
    /// Once here, once on a new thread.
    InTurns,
}

pub(crate) const PLACES: [Place; 3] = [Place::Here, Place::Elsewhere, Place::InTurns];

/// Polls a future to its end, or to its panic, in these places. It is dropped there, too.
pub(crate) fn drive<F: Future + Send>(
    place: Place,
    future: F,
) -> Result<F::Output, Box<dyn Any + Send>>
where
    F::Output: Send,
{
    let mut future = Some(Box::pin(future));
    for turn in 0.. {
        let here = match place {
            Place::Here => true,
            Place::Elsewhere => false,
            Place::InTurns => turn % 2 == 0,
        };
        let polled = if here {
            step(&mut future)
        } else {
            std::thread::scope(|scope| scope.spawn(|| step(&mut future)).join().unwrap())
        };
        match polled {
            Ok(Poll::Ready(output)) => return Ok(output),
            Ok(Poll::Pending) => {}
            Err(payload) => return Err(payload),
        }
    }
    unreachable!()
}

fn step<F: Future>(
    future: &mut Option<Pin<Box<F>>>,
) -> Result<Poll<F::Output>, Box<dyn Any + Send>> {
    let pinned = future.as_mut().unwrap().as_mut();
    let polled =
        catch_unwind(AssertUnwindSafe(|| pinned.poll(&mut Context::from_waker(Waker::noop()))));
    if !matches!(polled, Ok(Poll::Pending)) {
        *future = None;
    }
    polled
}

/// One field of the matrix.
pub(crate) fn field(maker: &Maker, event: Event, end: End, place: Place) {
    let label = format!("{event:?}, {end:?}, {place:?}");
    let mut guest = maker.guest(event, end);
    let result = drive(place, guest.call());
    match (end, result) {
        (End::Panics(_), Err(payload)) => assert_eq!(panic_text(&*payload), "the host panics"),
        (End::Panics(_), Ok(result)) => panic!("{label}: {result:?}"),
        (_, Err(payload)) => std::panic::resume_unwind(payload),
        (_, Ok(result)) => guest.check_end(&label, result),
    }
    guest.check_tokens(&label);
    drive(place, guest.check_store(&label)).unwrap_or_else(|_| panic!("{label}: the store panics"));
}

#[test]
fn every_event_ends_well_in_every_way_and_place() {
    let maker = Maker::new();
    for event in EVENTS {
        for end in ends() {
            for place in PLACES {
                field(&maker, event, end, place);
            }
        }
    }
}

#[test]
fn the_matrix_has_something_to_drop() {
    // The longest call of the matrix really suspends as often as the drops reach.
    let maker = Maker::new();
    let mut guest = maker.guest(Event::NestedTwice, End::Completes);
    let mut call = Box::pin(guest.call());
    let polls =
        std::iter::repeat_with(|| poll(call.as_mut())).take_while(Poll::is_pending).count() as u32;
    assert!((11..MOST_POLLS).contains(&polls), "{polls}");
}
