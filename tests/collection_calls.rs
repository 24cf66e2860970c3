//! Collections and calls: nested, suspended, forgotten and failed ones, and values on their way.

use std::mem::forget;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use lampwick::{
    Caller, Engine, Extern, ExternRef, Func, Linker, ResourceLimiterAsync, Store, Trap, TrapCode,
    Val,
};

use crate::collection_guests::{Guest, Host, Setup, linker, setups};
use crate::support::{asynchronous, block_on, engine, pend, poll, trap};

type Reference = Option<ExternRef>;

fn run_export(caller: &mut Caller<'_, Host>, name: &str) -> Func {
    caller.get_export(name).and_then(Extern::into_func).unwrap()
}

/// Adds `nest`, which calls the export `inner` with a number and a new value, and answers what it
/// answers.
fn nesting(setup: &Setup) -> Linker<Host> {
    let mut linker = linker(&setup.engine);
    if setup.is_async {
        linker
            .func_wrap1_async("", "nest", |mut caller: Caller<'_, Host>, depth: i32| {
                Box::new(async move {
                    pend(1).await;
                    let value = caller.data().make(1000 + depth);
                    let inner = run_export(&mut caller, "inner");
                    let inner = inner.typed::<(i32, Reference), Reference, _>(&caller)?;
                    let answer = inner.call_async(&mut caller, (depth, Some(value))).await?;
                    caller.gc();
                    Ok::<_, Trap>(answer)
                })
            })
            .unwrap();
    } else {
        linker
            .func_wrap("", "nest", |mut caller: Caller<'_, Host>, depth: i32| {
                let value = caller.data().make(1000 + depth);
                let inner = run_export(&mut caller, "inner");
                let inner = inner.typed::<(i32, Reference), Reference, _>(&caller)?;
                let answer = inner.call(&mut caller, (depth, Some(value)))?;
                caller.gc();
                Ok::<_, Trap>(answer)
            })
            .unwrap();
    }
    linker
}

#[test]
fn frames_below_nested_calls_are_searched() {
    const FIELDS: &str = r#"
        (func $inner (export "inner") (param $depth i32) (param $given externref) (result externref)
            (local $own externref)
            (local.set $own (call $make (local.get $depth))) call $churn
            (if (local.get $depth)
                (then
                    (call $nest (i32.sub (local.get $depth) (i32.const 1))) call $churn
                    (call $see (i32.sub (local.get $depth) (i32.const 1))))
                (else (call $expect (i32.const 9)) call $churn))
            (call $see (local.get $given) (i32.add (local.get $depth) (i32.const 1000)))
            (local.get $own))
        (func (export "run") (local externref)
            (local.set 0 (call $make (i32.const 77)))
            (call $see (call $nest (i32.const 3)) (i32.const 3)) (call $expect (i32.const 1))
            (call $see (local.get 0) (i32.const 77)) (call $expect (i32.const 0)))"#;
    const NEST: &str = r#"(import "" "nest" (func $nest (param i32) (result externref)))"#;
    for setup in setups() {
        let mut guest = Guest::new(&setup, &nesting(&setup), NEST, FIELDS);
        for _ in 0..2 {
            guest.call("run", &[]).unwrap_or_else(|error| panic!("{}: {error:?}", setup.name));
        }
        assert_eq!(guest.alive(), 0);
    }
}

/// Guests that are left in the middle, holding values.
const WAITING: &str = r#"
    (table $t 0 externref)
    (func $leaf (param externref) (local externref)
        (local.set 1 (call $make (i32.const 2))) call $wait
        (call $see (local.get 0) (i32.const 1)) (call $see (local.get 1) (i32.const 2)))
    (func $deep (param i32 externref)
        (if (local.get 0)
            (then (call $deep (i32.sub (local.get 0) (i32.const 1)) (local.get 1)))
            (else (call $leaf (local.get 1))))
        (call $see (local.get 1) (i32.const 1)))
    (func (export "wait") (call $deep (i32.const 5) (call $make (i32.const 1)))
        (call $expect (i32.const 0)))
    (func (export "spin") (local externref)
        (local.set 0 (call $make (i32.const 1)))
        (loop (br 0)) (call $see (local.get 0) (i32.const 1)))
    (func (export "end") (param i32) (local externref)
        (local.set 1 (call $make (i32.const 1)))
        (block (block (block (block (br_table 0 1 2 3 (local.get 0)))
            unreachable)
            (table.set $t (i32.const 0) (local.get 1)))
            call $fail)
        (call $panic) (call $see (local.get 1) (i32.const 1)))
    (func (export "overflow") (local externref)
        (local.set 0 (call $make (i32.const 1))) (call $overflow (local.get 0)))
    (func $overflow (param externref)
        (call $overflow (call $make (i32.const 2))) (call $see (local.get 0) (i32.const 1)))"#;
const WAIT: &str = r#"(import "" "wait" (func $wait)) (import "" "fail" (func $fail))
    (import "" "panic" (func $panic))"#;

/// Adds what [`WAITING`] needs: `wait` suspends, collects, and uses freed indexes again.
fn waiting(engine: &Engine) -> Linker<Host> {
    let mut linker = linker(engine);
    linker
        .func_wrap0_async("", "wait", |mut caller: Caller<'_, Host>| {
            Box::new(async move {
                caller.gc();
                pend(1).await;
                caller.gc();
                pend(1).await;
                caller.gc();
            })
        })
        .unwrap()
        .func_wrap("", "fail", || -> Result<(), Trap> { Err(Trap::new("failed")) })
        .unwrap()
        .func_wrap("", "panic", || -> () { resume_unwind(Box::new("panicked")) })
        .unwrap();
    linker
}

fn waiting_guest(setup: &Setup) -> Guest {
    Guest::new(setup, &waiting(&setup.engine), WAIT, WAITING)
}

fn async_setups() -> impl Iterator<Item = Setup> {
    let unmetered = Setup { name: "async", engine: asynchronous(), is_async: true };
    setups().into_iter().filter(|setup| setup.is_async).chain([unmetered])
}

#[test]
fn a_suspended_guest_goes_on_elsewhere_with_its_values() {
    for setup in async_setups() {
        let mut guest = waiting_guest(&setup);
        for _ in 0..3 {
            let wait =
                guest.instance.get_typed_func::<(), (), _>(&mut guest.store, "wait").unwrap();
            let mut call = Box::pin(wait.call_async(&mut guest.store, ()));
            // Each poll on a thread of its own.
            let result = loop {
                let poll = || poll(call.as_mut());
                let poll = std::thread::scope(|scope| scope.spawn(poll).join().unwrap());
                if let Poll::Ready(result) = poll {
                    break result;
                }
            };
            result.unwrap_or_else(|error| panic!("{}: {error}", setup.name));
        }
        assert_eq!(guest.alive(), 0);
    }
}

#[test]
fn forgotten_guests_keep_what_they_hold_and_no_more() {
    for setup in async_setups() {
        let mut guest = waiting_guest(&setup);
        let wait = guest.instance.get_typed_func::<(), (), _>(&mut guest.store, "wait").unwrap();
        let mut kept = 0;
        for polls in 0..40 {
            let mut call = Box::pin(wait.call_async(&mut guest.store, ()));
            let ended = (0..polls).any(|_| poll(call.as_mut()).is_ready());
            if ended {
                drop(call);
            } else {
                forget(call);
            }
            let alive = guest.alive();
            assert!((kept..=kept + 2).contains(&alive), "{}: {polls}", setup.name);
            kept = alive;
            let text = guest.call("end", &[Val::I32(0)]).unwrap_err().to_string();
            assert!(text.contains("unreachable"), "{text}");
            assert_eq!(guest.alive(), kept, "a trap leaves nothing behind");
        }
        assert!(kept > 0);
        let census = guest.store.data().census.clone();
        drop(guest);
        assert_eq!(census.alive(), 0, "the store held them");
    }
}

#[test]
fn the_host_collects_above_a_forgotten_call() {
    let setup = Setup { name: "async", engine: asynchronous(), is_async: true };
    let mut linker = waiting(&setup.engine);
    linker
        .func_wrap1_async("", "leave", |mut caller: Caller<'_, Host>, times: i32| {
            Box::new(async move {
                let wait = run_export(&mut caller, "wait");
                let wait = wait.typed::<(), (), _>(&caller)?;
                for _ in 0..times {
                    let mut call = Box::pin(wait.call_async(&mut caller, ()));
                    assert!(poll(call.as_mut()).is_pending());
                    forget(call);
                    caller.gc();
                }
                pend(1).await;
                caller.gc();
                assert_eq!(caller.data().census.alive(), 1 + 2 * times as usize);
                Ok::<_, Trap>(Some(caller.data().make(9)))
            })
        })
        .unwrap();
    let imports =
        format!("{WAIT} {}", r#"(import "" "leave" (func $leave (param i32) (result externref)))"#);
    let fields = format!(
        "{WAITING} {}",
        r#"(func (export "run") (local externref)
            (local.set 0 (call $make (i32.const 8)))
            (call $leave (i32.const 3)) call $churn
            (call $expect (i32.const 2)) (call $see (i32.const 9))
            (call $see (local.get 0) (i32.const 8)) (call $expect (i32.const 0)))"#
    );
    let mut guest = Guest::new(&setup, &linker, &imports, &fields);
    // What a host function has forgotten nobody can resume once it has ended.
    for _ in 0..5 {
        guest.call("run", &[]).unwrap();
        assert_eq!(guest.alive(), 0);
    }
}

#[test]
fn guests_that_end_early_leave_nothing_behind() {
    for setup in async_setups() {
        let mut guest = waiting_guest(&setup);
        for round in 0..3 {
            let fails = |guest: &mut Guest, end: i32| {
                let call = AssertUnwindSafe(|| guest.call("end", &[Val::I32(end)]));
                catch_unwind(call).map(|result| result.unwrap_err().to_string())
            };
            for (end, what) in [(0, "unreachable"), (1, "table access"), (2, "failed")] {
                let text = fails(&mut guest, end).unwrap();
                assert!(text.contains(what), "{text}");
                assert_eq!(guest.alive(), 0, "{}: {what}", setup.name);
            }
            assert!(fails(&mut guest, 3).is_err(), "the panic goes on");
            assert_eq!(guest.alive(), 0, "{}: panic", setup.name);
            let overflow = trap(guest.call("overflow", &[]).unwrap_err());
            assert_eq!(overflow.trap_code(), Some(TrapCode::StackOverflow));
            assert_eq!(guest.alive(), 0, "{}: overflow", setup.name);
            // A call whose future is dropped at one suspension or another.
            let name = if round == 0 && setup.name != "async" { "spin" } else { "wait" };
            let func = guest.instance.get_typed_func::<(), (), _>(&mut guest.store, name).unwrap();
            let mut call = Box::pin(func.call_async(&mut guest.store, ()));
            (0..=round.min(1)).for_each(|_| assert!(poll(call.as_mut()).is_pending()));
            drop(call);
            assert_eq!(guest.alive(), 0, "{}: {name} dropped", setup.name);
        }
    }
}

/// A limiter that takes its time.
#[derive(Default)]
struct Slow;

#[async_trait::async_trait]
impl ResourceLimiterAsync for Slow {
    async fn memory_growing(&mut self, _: usize, _: usize, _: Option<usize>) -> bool {
        pend(1).await;
        true
    }

    async fn table_growing(&mut self, _: u32, _: u32, _: Option<u32>) -> bool {
        pend(1).await;
        true
    }
}

#[test]
fn operators_that_wait_for_a_limiter_keep_their_operands() {
    const MODULE: &str = r#"(module (import "" "make" (func $make (result externref)))
        (import "" "gc" (func $gc)) (table (export "t") 1 externref) (memory 1)
        (func (export "run") (local externref)
            (local.set 0 (call $make))
            (drop (table.grow 0 (call $make) (i32.const 3)))
            (drop (memory.grow (i32.const 1))) call $gc
            (table.set 0 (i32.const 0) (local.get 0))))"#;
    let engine = asynchronous();
    let mut linker = Linker::<Slow>::new(&engine);
    let made = Arc::new(AtomicUsize::new(0));
    linker
        .func_wrap("", "gc", |mut caller: Caller<'_, Slow>| caller.gc())
        .unwrap()
        .func_wrap("", "make", move || Some(ExternRef::new(made.fetch_add(1, Ordering::SeqCst))))
        .unwrap();
    let mut store = Store::new(&engine, Slow);
    store.limiter_async(|slow| slow);
    let module = lampwick::Module::new(&engine, MODULE).unwrap();
    let instance = block_on(linker.instantiate_async(&mut store, &module)).unwrap();
    let run = instance.get_typed_func::<(), (), _>(&mut store, "run").unwrap();
    let table = instance.get_table(&mut store, "t").unwrap();
    for round in 0..5 {
        let mut call = Box::pin(run.call_async(&mut store, ()));
        assert!(poll(call.as_mut()).is_pending());
        if round % 2 == 1 {
            drop(call);
            store.gc();
            continue;
        }
        block_on(call).unwrap();
        let size = table.size(&store);
        let [first, last] = [0, size - 1].map(|index| {
            let value = table.get(&mut store, index).unwrap().unwrap_externref().unwrap();
            *value.data().downcast_ref::<usize>().unwrap()
        });
        assert_eq!((first, last), (2 * round, 2 * round + 1));
    }
}

#[test]
fn values_that_are_passed_together_stay_together() {
    const FIELDS: &str = r#"
        (func (export "take") (param externref externref externref) (param i32)
            call $churn
            (call $see (local.get 0) (local.get 3))
            (call $see (local.get 1) (i32.add (local.get 3) (i32.const 1)))
            (call $see (local.get 2) (i32.add (local.get 3) (i32.const 2))))
        (func $all (param i32) (param externref externref externref)
            call $churn
            (call $see (local.get 1) (local.get 0))
            (call $see (local.get 2) (i32.add (local.get 0) (i32.const 1)))
            (call $see (local.get 3) (i32.add (local.get 0) (i32.const 2))))
        (func (export "run") (param i32)
            (loop
                (call $all (local.get 0) (call $three (local.get 0)))
                (call $all (local.get 0) (call $untyped (local.get 0)))
                (call $fill (local.get 0))
                (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
        (func $fill (param i32) (drop (call $make (local.get 0))))"#;
    const THREE: &str = r#"
        (import "" "three" (func $three (param i32) (result externref externref externref)))
        (import "" "untyped" (func $untyped (param i32) (result externref externref externref)))"#;
    let setup = &setups()[0];
    let mut linker = linker(&setup.engine);
    let three = |data: &Host, first: i32| [0, 1, 2].map(|more| Some(data.make(first + more)));
    let results =
        lampwick::FuncType::new([lampwick::ValType::I32], [lampwick::ValType::ExternRef; 3]);
    linker
        .func_wrap("", "three", move |caller: Caller<'_, Host>, first: i32| {
            let [a, b, c] = three(caller.data(), first);
            (a, b, c)
        })
        .unwrap()
        .func_new("", "untyped", results, move |caller, params, results| {
            let values = three(caller.data(), params[0].unwrap_i32()).map(Val::ExternRef);
            results.clone_from_slice(&values);
            Ok(())
        })
        .unwrap();
    // `churn` without its collection, so that only full heaps are collected.
    let fields = FIELDS.replace("call $churn", "");
    for fields in [FIELDS, &fields] {
        let mut guest = Guest::new(setup, &linker, THREE, fields);
        guest.call("run", &[Val::I32(1000)]).unwrap();
        let take = guest
            .instance
            .get_typed_func::<(Reference, Reference, Reference, i32), (), _>(
                &mut guest.store,
                "take",
            )
            .unwrap();
        for first in 0..1000 {
            let [a, b, c] = three(guest.store.data(), first);
            take.call(&mut guest.store, (a, b, c, first)).unwrap();
            let values = three(guest.store.data(), first).map(Val::ExternRef);
            let args: Vec<Val> = values.into_iter().chain([Val::I32(first)]).collect();
            take.func().call(&mut guest.store, &args).unwrap();
            assert!(guest.store.data().census.alive() <= 256 + 3);
        }
        assert_eq!(guest.alive(), 0);
    }
}

#[test]
fn full_stacks_and_large_tables_are_paid_for_by_more_values() {
    const FIELDS: &str = r#"
        (table $t 1000000 externref)
        (func $fill (param $depth i32) (param $times i32) (local externref externref)
            (local.set 2 (call $make (local.get $depth)))
            (local.set 3 (call $make (local.get $depth)))
            (if (local.get $depth)
                (then (call $fill (i32.sub (local.get $depth) (i32.const 1)) (local.get $times)))
                (else (call $gc) (loop
                    (drop (call $make (i32.const -5)))
                    (br_if 0 (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))))
            (call $see (local.get 2) (local.get $depth))
            (call $see (local.get 3) (local.get $depth)))
        (func (export "fill") (param i32 i32) (call $fill (local.get 0) (local.get 1)))"#;
    let setup = Setup {
        name: "deep",
        is_async: false,
        engine: engine(|config| {
            config.max_wasm_stack(1 << 20).unwrap().async_stack_size(2 << 20).unwrap();
        }),
    };
    let mut guest = Guest::new(&setup, &linker(&setup.engine), "", FIELDS);
    let mut deepest = 100;
    while guest.call("fill", &[Val::I32(2 * deepest), Val::I32(10)]).is_ok() {
        deepest *= 2;
        assert!(deepest < 1 << 20, "the stack has an end");
    }
    assert!(deepest >= 3000, "{deepest}");
    guest.call("fill", &[Val::I32(deepest), Val::I32(100_000)]).unwrap();
    // Looking at a million elements pays off after a 64th as many values.
    for (times, bounds) in [(15_000, 15_000..=15_000), (100_000, 0..=15_700)] {
        guest.alive();
        guest.call("fill", &[Val::I32(0), Val::I32(times)]).unwrap();
        let alive = guest.store.data().census.alive();
        assert!(bounds.contains(&(alive - 2)), "{times}: {alive}");
    }
    assert_eq!(guest.alive(), 0);
}
