//! Spans of calls, and events in them.

use std::fmt;
use std::mem::forget;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use lampwick::{Caller, Config, Engine, Func, Instance, Linker, Module, Store, TypedFunc};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::support::{block_on, pend, poll};

const GUEST: &str = r#"(module
    (import "" "later" (func $later))
    (import "" "nest" (func $nest))
    (func (export "wait") (call $later))
    (func (export "nest") (call $nest))
    (func (export "trap") unreachable)
    (func (export "forever") (loop (br 0))))"#;

/// Writes down what it is told: `new`, `enter`, `exit`, `record`, `close` with the span's number, and
/// events.
#[derive(Clone, Default)]
struct Scribe {
    lines: Arc<Mutex<Vec<String>>>,
    spans: Arc<AtomicU64>,
}

#[derive(Default)]
struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push_str(&format!(" {field}={value:?}"));
    }
}

impl Scribe {
    fn write(&self, line: String) {
        self.lines.lock().unwrap().push(line);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.lock().unwrap())
    }

    /// Listens while `work` is done.
    fn listen<R>(&self, work: impl FnOnce() -> R) -> R {
        tracing::subscriber::with_default(self.clone(), work)
    }

    /// What it is told by `work`.
    fn hear<R>(&self, work: impl FnOnce() -> R) -> Vec<String> {
        self.listen(work);
        self.take()
    }
}

impl Subscriber for Scribe {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "lampwick"
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let id = self.spans.fetch_add(1, Ordering::Relaxed) + 1;
        let mut fields = Fields::default();
        span.record(&mut fields);
        self.write(format!("new {id} {}{}", span.metadata().name(), fields.0));
        Id::from_u64(id)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        let mut fields = Fields::default();
        values.record(&mut fields);
        self.write(format!("record {}{}", span.into_u64(), fields.0));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.write(format!("{}{}", event.metadata().level(), fields.0));
    }

    fn enter(&self, span: &Id) {
        self.write(format!("enter {}", span.into_u64()));
    }

    fn exit(&self, span: &Id) {
        self.write(format!("exit {}", span.into_u64()));
    }

    fn try_close(&self, span: Id) -> bool {
        self.write(format!("close {}", span.into_u64()));
        true
    }
}

fn accounted(is_kept: bool) -> Engine {
    Engine::new(Config::new().async_support(true).consume_fuel(true).accounts(is_kept)).unwrap()
}

fn start(engine: &Engine) -> (Store<()>, Instance) {
    let mut linker = Linker::new(engine);
    linker.func_wrap0_async("", "later", |_: Caller<'_, ()>| Box::new(pend(1))).unwrap();
    linker
        .func_wrap0_async("", "nest", |mut caller: Caller<'_, ()>| {
            Box::new(async move {
                let wait = caller.get_export("wait").unwrap().into_func().unwrap();
                wait.typed::<(), (), _>(&caller)?.call_async(&mut caller, ()).await
            })
        })
        .unwrap();
    let mut store = Store::new(engine, ());
    store.set_name("tenant 7");
    store.set_fuel(100).unwrap();
    let module = Module::new(engine, GUEST).unwrap();
    let instance = block_on(linker.instantiate_async(&mut store, &module)).unwrap();
    (store, instance)
}

fn export(store: &mut Store<()>, instance: Instance, name: &str) -> TypedFunc<(), ()> {
    instance.get_typed_func(store, name).unwrap()
}

#[test]
fn a_span_is_entered_while_its_guest_is_polled() {
    let scribe = Scribe::default();
    let (mut store, instance) = start(&accounted(true));
    let wait = export(&mut store, instance, "wait");
    let mut call = Box::pin(wait.call_async(&mut store, ()));
    let first = scribe.hear(|| assert!(poll(call.as_mut()).is_pending()));
    assert_eq!(first, ["new 1 call guest=\"tenant 7\"", "enter 1", "exit 1"]);
    // Another thread polls it next.
    let last = std::thread::scope(|scope| {
        let poll = || scribe.hear(|| assert!(poll(call.as_mut()).is_ready()));
        scope.spawn(poll).join().unwrap()
    });
    let record = ["enter 1", "record 1 fuel=2", "record 1 end=returned", "exit 1", "close 1"];
    assert_eq!(last, [&["enter 1", "exit 1"], &record[..]].concat());
}

#[test]
fn dropping_a_call_enters_and_closes_its_span() {
    let scribe = Scribe::default();
    let (mut store, instance) = start(&accounted(true));
    let wait = export(&mut store, instance, "wait");
    let mut call = Box::pin(wait.call_async(&mut store, ()));
    scribe.hear(|| assert!(poll(call.as_mut()).is_pending()));
    let end = ["enter 1", "record 1 fuel=2", "record 1 end=dropped", "exit 1", "close 1"];
    assert_eq!(scribe.hear(|| drop(call)), [&["enter 1", "exit 1"], &end[..]].concat());
    let mut call = Box::pin(wait.call_async(&mut store, ()));
    scribe.hear(|| assert!(poll(call.as_mut()).is_pending()));
    assert!(scribe.hear(|| forget(call)).is_empty(), "it is never closed");
    // The next call has a span of its own, and nobody is in the forgotten one.
    let next = scribe.hear(|| block_on(wait.call_async(&mut store, ())));
    assert_eq!(next[..2], ["new 3 call guest=\"tenant 7\"", "enter 3"]);
}

#[test]
fn spans_nest_as_calls_do() {
    let scribe = Scribe::default();
    let (mut store, instance) = start(&accounted(true));
    let nest = export(&mut store, instance, "nest");
    let mut call = Box::pin(nest.call_async(&mut store, ()));
    let first = scribe.hear(|| assert!(poll(call.as_mut()).is_pending()));
    let new = |span: u32| format!("new {span} call guest=\"tenant 7\"");
    assert_eq!(first, [&new(1), "enter 1", &new(2), "enter 2", "exit 2", "exit 1"]);
    let last = scribe.hear(|| assert!(poll(call.as_mut()).is_ready()));
    assert_eq!(last[..3], ["enter 1", "enter 2", "exit 2"]);
    let ends: Vec<_> = last.iter().filter(|line| line.starts_with("record")).collect();
    let (inner, outer) = (["record 2 fuel=2", "record 2 end=returned"], "record 1 fuel=4");
    assert_eq!(ends, [inner[0], inner[1], outer, "record 1 end=returned"]);
    assert_eq!(last.last().unwrap(), "close 1");
}

#[test]
fn traps_are_events_with_name_and_fuel() {
    let scribe = Scribe::default();
    let (mut store, instance) = start(&accounted(true));
    let trap = export(&mut store, instance, "trap");
    let lines = scribe.hear(|| block_on(trap.call_async(&mut store, ())).unwrap_err());
    let event =
        "INFO message=the guest trapped guest=\"tenant 7\" fuel=1 reason=trapped: unreachable";
    assert_eq!(lines[3..5], ["enter 1", event], "in its span");
    let forever = export(&mut store, instance, "forever");
    let lines = scribe.hear(|| block_on(forever.call_async(&mut store, ())).unwrap_err());
    let events: Vec<_> = lines.iter().filter(|line| line.starts_with("INFO")).collect();
    assert!(events.len() == 1 && events[0].ends_with("reason=out of fuel"), "{events:?}");
    // A call that is stopped by its future's end did not trap.
    store.set_fuel(100).unwrap();
    let wait = export(&mut store, instance, "wait");
    let mut call = Box::pin(wait.call_async(&mut store, ()));
    scribe.hear(|| assert!(poll(call.as_mut()).is_pending()));
    assert!(!scribe.hear(|| drop(call)).iter().any(|line| line.starts_with("INFO")));
}

#[test]
fn a_park_is_an_event_each_time_that_the_guest_begins_to_wait() {
    let scribe = Scribe::default();
    let (mut store, instance) = start(&accounted(true));
    store.set_fuel(0).unwrap();
    store.out_of_fuel_async_park();
    let handle = store.fuel_handle().unwrap();
    let forever = export(&mut store, instance, "forever");
    let mut call = Box::pin(forever.call_async(&mut store, ()));
    let parked =
        |fuel: u64| format!("DEBUG message=the guest is parked guest=\"tenant 7\" fuel={fuel}");
    let lines = scribe.hear(|| assert!(poll(call.as_mut()).is_pending()));
    assert_eq!(lines, ["new 1 call guest=\"tenant 7\"", "enter 1", &parked(1), "exit 1"]);
    let lines = scribe.hear(|| assert!(poll(call.as_mut()).is_pending()));
    assert_eq!(lines, ["enter 1", "exit 1"], "it waits still");
    handle.add(10);
    let lines = scribe.hear(|| assert!(poll(call.as_mut()).is_pending()));
    assert_eq!(lines, ["enter 1", &parked(handle.consumed()), "exit 1"]);
}

#[test]
fn what_host_functions_say_is_in_the_span() {
    let scribe = Scribe::default();
    let engine = Engine::new(Config::new().accounts(true)).unwrap();
    let mut store = Store::new(&engine, ());
    let host = Func::wrap(&mut store, || tracing::info!(target: "lampwick", "from the host"));
    let lines = scribe.hear(|| host.call(&mut store, &[]).unwrap());
    let (enter, said) = ("enter 1", "INFO message=from the host");
    assert_eq!(lines[..4], ["new 1 call guest=\"\"", enter, said, "exit 1"]);
}

#[test]
fn without_accounts_or_listeners_there_are_no_spans() {
    let scribe = Scribe::default();
    let (mut store, instance) = start(&accounted(false));
    let wait = export(&mut store, instance, "wait");
    assert!(scribe.hear(|| block_on(wait.call_async(&mut store, ())).unwrap()).is_empty());
    // A call that began when nobody listened has no span.
    let (mut store, instance) = start(&accounted(true));
    let wait = export(&mut store, instance, "wait");
    let mut call = Box::pin(wait.call_async(&mut store, ()));
    assert!(poll(call.as_mut()).is_pending());
    assert!(scribe.hear(|| assert!(poll(call.as_mut()).is_ready())).is_empty());
}
