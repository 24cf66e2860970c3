//! Guests that want more than is theirs by means that WebAssembly 3.0 and threads gave them; bounds as
//! in `hostile_guests.rs`.

use lampwick::{Instance, MemoryType, Module, SharedMemory, Store};

use crate::hostile_guests::{Guest, LINE, for_one, forever, hold_and_keep_nothing, metered};
use crate::support::{async_metered, block_on, count_pending, engine, instantiate_async, poll};

/// Frames that a throw leaves at a time.
const DEPTH: u64 = 1_000;
/// Elements of arrays, of which a unit pays for eight.
const ELEMENTS: u64 = 100_000;

fn tail_calls() -> Vec<Guest> {
    let guest = |what, text: &str| Guest(what, LINE, text.to_owned());
    vec![
        guest("a tail call of itself", r#"(func $run (export "run") (return_call $run))"#),
        guest(
            "tail calls in turn",
            r#"(func $a (export "run") (return_call $b)) (func $b (return_call $a))"#,
        ),
        guest(
            "a tail call through a table",
            r#"(elem (i32.const 7) $run) (func $run (export "run")
                (return_call_indirect $table (type $void) (i32.const 7)))"#,
        ),
        guest(
            "a tail call by reference",
            r#"(elem declare func $run) (func $run (export "run") (type $void)
                (return_call_ref $void (ref.func $run)))"#,
        ),
        guest(
            "calls by reference",
            r#"(elem declare func $run) (func $run (export "run") (type $void)
                (call_ref $void (ref.func $run)))"#,
        ),
    ]
}

fn throwing() -> Vec<Guest> {
    let head = "(tag $tag) (tag $link (param exnref)) (global $last (mut exnref) (ref.null exn))";
    let guest = |what, bound, text: String| Guest(what, bound, format!("{head} {text}"));
    let caught =
        |body| forever(&format!("(block $caught (try_table (catch $tag $caught) {body}) (br 1))"));
    vec![
        guest("throws", LINE, caught("(throw $tag)")),
        guest(
            "a throw from the depth",
            DEPTH + LINE,
            format!(
                "(func $deep (param i32) (if (local.get 0)
                    (then (call $deep (i32.sub (local.get 0) (i32.const 1)))) (else (throw $tag))))
                {}",
                caught(&format!("(call $deep (i32.const {DEPTH}))"))
            ),
        ),
        guest(
            "one exception again and again",
            LINE,
            forever(
                "(block $caught (result exnref) (try_table (catch_all_ref $caught)
                    (if (ref.is_null (global.get $last)) (then (throw $tag)))
                    (throw_ref (global.get $last))) (unreachable))
                (global.set $last)",
            ),
        ),
        guest(
            "exceptions that keep all that were before",
            LINE,
            forever(
                "(block $caught (result exnref) (try_table (catch_all_ref $caught)
                    (throw $link (global.get $last))) (unreachable))
                (global.set $last)",
            ),
        ),
    ]
}

fn objects() -> Vec<Guest> {
    let head = "(type $cell (struct (field (mut (ref null $cell))))) (type $bytes (array (mut i8)))
        (global $list (mut (ref null $cell)) (ref.null $cell))";
    let guest = |what, bound, body: &str| Guest(what, bound, format!("{head} {}", forever(body)));
    let arrays = format!("(drop (array.new_default $bytes (i32.const {ELEMENTS})))");
    vec![
        guest("structs that nobody keeps", LINE, "(drop (struct.new_default $cell))"),
        guest(
            "a list without end",
            LINE,
            "(global.set $list (struct.new $cell (global.get $list)))",
        ),
        guest("large arrays", ELEMENTS / 8 + LINE, &arrays),
        guest(
            "an array of a length that is a lie",
            u64::from(u32::MAX) / 8 + LINE,
            "(drop (array.new_default $bytes (i32.const -1)))",
        ),
    ]
}

#[test]
fn no_guest_of_today_holds_a_worker_or_keeps_a_slot() {
    for guests in [tail_calls(), throwing(), objects()] {
        hold_and_keep_nothing(&[engine(metered), for_one()], &guests);
    }
}

#[test]
fn what_a_guest_has_shared_keeps_nothing_of_it() {
    let threads = engine(|config| {
        metered(config);
        config.wasm_threads(true);
    });
    let shared = "(memory $shared 1 1 shared)";
    let guest = |what, body: &str| Guest(what, LINE, format!("{shared} {}", forever(body)));
    let guests = [
        guest(
            "waits that are over at once",
            "(drop (memory.atomic.wait32 $shared (i32.const 0) (i32.const 0) (i64.const 0)))",
        ),
        guest(
            "waits for another value",
            "(drop (memory.atomic.wait32 $shared (i32.const 0) (i32.const 1) (i64.const -1)))",
        ),
        guest(
            "a wait for nobody",
            "(drop (memory.atomic.wait32 $shared (i32.const 0) (i32.const 0) (i64.const -1)))",
        ),
        guest(
            "nobody to notify",
            "(drop (memory.atomic.notify $shared (i32.const 0) (i32.const -1)))",
        ),
    ];
    hold_and_keep_nothing(&[threads], &guests);
}

/// Else a notification would be spent on the dead.
#[test]
fn a_guest_that_is_dropped_waits_no_longer() {
    let engine = engine(|config| {
        metered(config);
        config.wasm_threads(true);
    });
    let module = Module::new(
        &engine,
        r#"(module (import "" "m" (memory 1 1 shared)) (func (export "run") (result i32)
            (memory.atomic.wait32 (i32.const 8) (i32.const 0) (i64.const -1))))"#,
    )
    .unwrap();
    let memory = SharedMemory::new(&engine, MemoryType::shared(1, 1)).unwrap();
    for drops_store in [false, true] {
        let mut stores: Vec<_> = (0..3).map(|_| Store::new(&engine, ())).collect();
        let mut calls = Vec::new();
        for store in &mut stores {
            store.add_fuel(1_000).unwrap();
            let memory = [memory.clone().into()];
            let instance = block_on(Instance::new_async(&mut *store, &module, &memory));
            let run = instance.unwrap().get_typed_func::<(), i32, _>(&mut *store, "run").unwrap();
            let mut call = Box::pin(async move { run.call_async(store, ()).await });
            assert!(poll(call.as_mut()).is_pending());
            calls.push(call);
        }
        // The first in line, and the last.
        drop(calls.remove(2));
        drop(calls.remove(0));
        assert_eq!(memory.atomic_notify(8, 1).unwrap(), 1);
        assert!(poll(calls[0].as_mut()).is_ready(), "it went to one who lives");
        assert_eq!(memory.atomic_notify(8, u32::MAX).unwrap(), 0);
        drop(calls);
        if drops_store {
            drop(stores);
            assert_eq!(engine.stats().stacks, 0);
        }
    }
}

/// Operators that one by one are short, and many of which a slice pays for.
#[test]
fn what_the_system_takes_long_for_adds_up_and_costs_what_it_costs() {
    let touched = r#"(module (memory 0) (func (export "run")
        (loop (drop (memory.grow (i32.const 1)))
            (memory.fill (i32.shl (i32.sub (memory.size) (i32.const 1)) (i32.const 16))
                (i32.const 1) (i32.const 65536))
            (br_if 0 (i32.lt_u (memory.size) (i32.const 1024))))))"#;
    let grows = r#"(module (memory 0) (func (export "run")
        (loop (drop (memory.grow (i32.const 1)))
            (br_if 0 (i32.lt_u (memory.size) (i32.const 4096))))))"#;
    let throws = r#"(module (tag $tag) (func (export "run") (local i32)
        (loop (block $caught (try_table (catch $tag $caught) (throw $tag)))
            (br_if 0 (i32.ne (local.tee 0 (i32.add (local.get 0) (i32.const 1)))
                (i32.const 10000))))))"#;
    for (wat, parts) in [(touched, 100), (grows, 10), (throws, 50)] {
        let lives = [1 << 40, 3_000].map(|slice| {
            let (mut store, instance) = instantiate_async(&async_metered(), wat);
            store.out_of_fuel_async_yield(u64::MAX, slice);
            let run = instance.get_typed_func::<(), (), _>(&mut store, "run").unwrap();
            let (pending, result) = count_pending(run.call_async(&mut store, ()));
            result.unwrap();
            (pending, store.fuel_consumed())
        });
        // No slice ends in the first. 64 MiB of fresh pages, 4,096 calls of the system, and as many throws
        // take a few milliseconds at the least.
        assert!(lives[0].0 >= parts, "{} suspensions", lives[0].0);
        assert_eq!(lives[0].1, lives[1].1, "the clock costs nothing");
    }
}
