//! Reports of calls that are over.

use std::mem::forget;
use std::sync::{Arc, Mutex};

use lampwick::{
    CallEnd, CallReport, Caller, Config, Engine, Func, FuncType, Instance, Linker, Module, Store,
    StoreStats, Trap, TrapCode, TypedFunc,
};

use crate::support::{block_on, panic_of, pend, poll};

const GUEST: &str = r#"(module
    (import "" "host" (func $host (param i32)))
    (func (export "run") (param i32) (call $host (local.get 0)))
    (func (export "trap") (param i32) unreachable)
    (func (export "forever") (param i32) (loop (br 0))))"#;

/// What a host function is to do.
const RETURN: i32 = 0;
const WAIT: i32 = 1;
const FAIL: i32 = 2;
const EXIT: i32 = 3;
const PANIC: i32 = 4;
const NEST: i32 = 5;
const NEST_TRAP: i32 = 6;

/// A report that stays.
#[derive(Clone, Debug)]
struct Seen {
    guest: String,
    end: CallEnd,
    stats: StoreStats,
}

#[derive(Clone, Default)]
struct Reports(Arc<Mutex<Vec<Seen>>>);

impl Reports {
    fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    fn only(&self) -> Seen {
        let mut seen = self.take();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen.remove(0)
    }
}

/// An async, metered engine, and what it reports.
fn reporting() -> (Engine, Reports) {
    let reports = Reports::default();
    let list = reports.clone();
    let mut config = Config::new();
    config.async_support(true).consume_fuel(true).call_reports(move |report: &CallReport<'_>| {
        let seen = Seen { guest: report.guest.to_owned(), end: report.end, stats: report.stats };
        list.0.lock().unwrap().push(seen);
    });
    (Engine::new(&config).unwrap(), reports)
}

fn export(caller: &mut Caller<'_, ()>, name: &str) -> TypedFunc<i32, ()> {
    caller.get_export(name).unwrap().into_func().unwrap().typed(&*caller).unwrap()
}

async fn host(mut caller: Caller<'_, ()>, what: i32) -> Result<(), Trap> {
    match what {
        RETURN => Ok(()),
        WAIT => {
            pend(2).await;
            Ok(())
        }
        FAIL => Err(Trap::new("the host failed")),
        EXIT => Err(Trap::from(anyhow::Error::from(Trap::i32_exit(7)).context("in the host"))),
        PANIC => panic!("the host's panic"),
        NEST => export(&mut caller, "run").call_async(&mut caller, WAIT).await,
        NEST_TRAP => export(&mut caller, "trap").call_async(&mut caller, 0).await,
        _ => unreachable!("{what}"),
    }
}

fn start(engine: &Engine) -> (Store<()>, Instance) {
    let mut linker = Linker::new(engine);
    linker
        .func_wrap1_async("", "host", |caller: Caller<'_, ()>, what: i32| {
            Box::new(host(caller, what))
        })
        .unwrap();
    let mut store = Store::new(engine, ());
    store.set_name("guest");
    store.set_fuel(100_000).unwrap();
    let module = Module::new(engine, GUEST).unwrap();
    let instance = block_on(linker.instantiate_async(&mut store, &module)).unwrap();
    (store, instance)
}

fn run(store: &mut Store<()>, instance: Instance, name: &str, what: i32) -> Result<(), Trap> {
    let func = instance.get_typed_func::<i32, (), _>(&mut *store, name).unwrap();
    block_on(func.call_async(store, what))
}

#[test]
fn each_end_is_told_from_the_others() {
    let (engine, reports) = reporting();
    let (mut store, instance) = start(&engine);
    for (name, what, end, text) in [
        ("run", RETURN, CallEnd::Returned, "returned"),
        ("run", WAIT, CallEnd::Returned, "returned"),
        ("run", FAIL, CallEnd::Failed, "failed"),
        ("run", EXIT, CallEnd::Exited(7), "exited"),
        ("trap", 0, CallEnd::Trapped(TrapCode::UnreachableCodeReached), "trapped: unreachable"),
        ("run", NEST, CallEnd::Returned, "returned"),
        (
            "run",
            NEST_TRAP,
            CallEnd::Trapped(TrapCode::UnreachableCodeReached),
            "trapped: unreachable",
        ),
        ("forever", 0, CallEnd::OutOfFuel, "out of fuel"),
    ] {
        let result = run(&mut store, instance, name, what);
        assert_eq!(result.is_ok(), end == CallEnd::Returned, "{result:?}");
        let seen = reports.only();
        assert_eq!((seen.end, seen.guest.as_str(), end.to_string().as_str()), (end, "guest", text));
    }
    store.set_fuel(1000).unwrap();
    let message = panic_of(|| run(&mut store, instance, "run", PANIC));
    assert_eq!(message, "the host's panic");
    assert_eq!(reports.only().end, CallEnd::Panicked);
    let func = instance.get_typed_func::<i32, (), _>(&mut store, "run").unwrap();
    let mut call = Box::pin(func.call_async(&mut store, WAIT));
    assert!(poll(call.as_mut()).is_pending());
    assert!(reports.take().is_empty());
    drop(call);
    assert_eq!(reports.only().end, CallEnd::Dropped);
    drop(func.call_async(&mut store, WAIT));
    assert!(reports.take().is_empty(), "it was never begun");
}

#[test]
fn a_report_is_of_its_call_alone() {
    let (engine, reports) = reporting();
    let (mut store, instance) = start(&engine);
    for (what, polls, host_calls, fuel) in
        [(RETURN, 1, 1, 3), (WAIT, 3, 1, 3), (NEST, 3, 2, 6), (RETURN, 1, 1, 3)]
    {
        run(&mut store, instance, "run", what).unwrap();
        let Seen { stats, .. } = reports.only();
        assert_eq!((stats.polls, stats.host_calls, stats.fuel), (polls, host_calls, fuel));
        assert!(stats.longest_poll <= stats.busy && stats.busy <= store.stats().busy);
    }
    store.fuel_async_yield_interval(Some(1000)).unwrap();
    store.set_fuel(10_500).unwrap();
    run(&mut store, instance, "forever", 0).unwrap_err();
    let Seen { stats, .. } = reports.only();
    assert_eq!((stats.slices, stats.polls), (10, 11));
    assert!((10_500..10_600).contains(&stats.fuel), "{stats:?}");
    let all = store.stats();
    assert_eq!((all.slices, all.polls, all.host_calls), (10, 1 + 3 + 3 + 1 + 11, 5));
    assert_eq!(all.fuel, store.fuel_consumed().unwrap());
}

#[test]
fn synchronous_calls_and_start_functions_are_reported() {
    let ends = Arc::new(Mutex::new(Vec::new()));
    let list = ends.clone();
    let mut config = Config::new();
    config.call_reports(move |report| list.lock().unwrap().push(report.end));
    let engine = Engine::new(&config).unwrap();
    let mut store = Store::new(&engine, ());
    let start = Module::new(&engine, "(module (func $start unreachable) (start $start))").unwrap();
    Instance::new(&mut store, &start, &[]).unwrap_err();
    let ty = FuncType::new([], []);
    let fail = Func::new(&mut store, ty, |_, _, _| Err(Trap::new("the host failed")));
    let nest = Func::wrap(&mut store, move |mut caller: Caller<'_, ()>| {
        fail.call(&mut caller, &[]).unwrap_err();
    });
    nest.call(&mut store, &[]).unwrap();
    let unreachable = CallEnd::Trapped(TrapCode::UnreachableCodeReached);
    assert_eq!(*ends.lock().unwrap(), [unreachable, CallEnd::Returned]);
}

#[test]
fn a_forgotten_call_is_part_of_the_stores_account_and_not_of_the_next_calls() {
    let (engine, reports) = reporting();
    let (mut store, instance) = start(&engine);
    let func = instance.get_typed_func::<i32, (), _>(&mut store, "run").unwrap();
    let mut call = Box::pin(func.call_async(&mut store, WAIT));
    assert!(poll(call.as_mut()).is_pending());
    forget(call);
    run(&mut store, instance, "run", RETURN).unwrap();
    let Seen { stats, .. } = reports.only();
    assert_eq!((stats.polls, stats.host_calls, stats.fuel), (1, 1, 3));
    assert_eq!((store.stats().polls, store.stats().host_calls, store.stats().fuel), (2, 2, 6));
}

/// An engine whose reader panics.
fn panicking() -> Engine {
    let mut config = Config::new();
    config.async_support(true).consume_fuel(true);
    config.call_reports(|report| panic!("the reader's panic at {:?}", report.end));
    Engine::new(&config).unwrap()
}

#[test]
fn a_panic_of_the_reader_goes_on_where_the_call_is_awaited() {
    let (mut store, instance) = start(&panicking());
    for (what, message) in [
        (RETURN, "the reader's panic at Returned"),
        (FAIL, "the reader's panic at Failed"),
        (PANIC, "the reader's panic at Panicked"),
    ] {
        assert_eq!(panic_of(|| run(&mut store, instance, "run", what)), message);
    }
    let func = instance.get_typed_func::<i32, (), _>(&mut store, "run").unwrap();
    let mut call = Box::pin(func.call_async(&mut store, WAIT));
    assert!(poll(call.as_mut()).is_pending());
    assert_eq!(panic_of(|| drop(call)), "the reader's panic at Dropped");
    assert_eq!((store.stats().polls, store.stats().host_calls), (5, 4));
    assert_eq!(store.engine().stats().suspended, 0);
}

#[test]
fn a_panic_of_the_reader_does_not_end_a_process_that_unwinds() {
    let (mut store, instance) = start(&panicking());
    let func = instance.get_typed_func::<i32, (), _>(&mut store, "run").unwrap();
    let message = panic_of(|| {
        let mut call = Box::pin(func.call_async(&mut store, WAIT));
        assert!(poll(call.as_mut()).is_pending());
        panic!("the embedder's panic");
    });
    assert_eq!(message, "the embedder's panic");
    assert_eq!(store.stats().polls, 2);
}
