//! Guests that want more than is theirs: to hold a worker, to burn without being charged, to keep
//! something when they are dead. Each says what one of its polls may burn beyond a slice.
//!
//! `hostile_modern.rs` has those that need WebAssembly 3.0, `hostile_tanks.rs` those who want more than their share of a tank, `polls.rs` what is cut into
//! parts, `compile_bombs.rs` modules that are made to cost.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use lampwick::{
    Caller, Config, Engine, ExternRef, FuelHandle, Linker, Module, ModuleLimits, Store, Trap,
};
use rustix::time::{ClockId, clock_gettime};

use crate::pooling::pooling;
use crate::support::{count_pending, engine, poll, trap};

const SLICE: u64 = 1_000;
/// What lies between two checks, at the most.
pub(crate) const LINE: u64 = 1_010;
/// What a chunk of a bulk operator costs.
const CHUNK: u64 = 1_024;
/// A page for each unit, all of them at once: it is paid for, by yields, before it is done.
const PAGES: u64 = 65_536;

/// A guest: what it tries, what a poll may burn beyond a slice, and what stands in its module.
/// It exports `run`, and has the imports of [`linker`].
pub(crate) struct Guest(pub(crate) &'static str, pub(crate) u64, pub(crate) String);

const HEAD: &str = r#"(import "" "nothing" (func $nothing)) (import "" "fail" (func $fail))
    (import "" "new" (func $new (result externref)))
    (memory 16 64) (table $table 1000 5000 funcref) (table $refs 100 200 externref)
    (type $void (func)) (elem $elem func $void $void) (func $void) (data $data "0123456789")
    (global $zero (mut i32) (i32.const 0)) (global $many (mut i32) (i32.const 0))"#;

fn run(body: &str) -> String {
    format!("(func (export \"run\") (local i32 i64 f64) {body})")
}

pub(crate) fn forever(body: &str) -> String {
    run(&format!("(loop {body} (br 0))"))
}

fn holders() -> Vec<Guest> {
    let adds = "(local.set 0 (i32.add (local.get 0) (i32.const 1)))".repeat(10_000);
    let sqrts =
        format!("(local.set 2 {}(local.get 2){})", "(f64.sqrt ".repeat(5_000), ")".repeat(5_000));
    let locals: String = (0..2_000).map(|_| "i64 ").collect();
    let swaps: String = (0..1_000)
        .map(|index| {
            let (a, b) = (3 + index, 1_003 + index);
            format!("local.get {a} local.get {b} local.set {a} local.set {b} ")
        })
        .collect();
    let ladder = format!(
        "{} (br_table {} (global.get $zero)) {}",
        "(block ".repeat(200),
        (0..200).map(|index| format!("{index} ")).collect::<String>(),
        ") (local.set 0 (i32.const 1))".repeat(200)
    );
    let guest = |what, bound, text: String| Guest(what, bound, text);
    vec![
        guest("an empty loop", LINE, forever("")),
        guest("a loop of nops", LINE, forever(&"nop ".repeat(10_000))),
        guest(
            "blocks without end",
            LINE,
            forever(&format!("{}{}", "(block ".repeat(900), ")".repeat(900))),
        ),
        guest("calls of nothing", LINE, forever("(call $void)")),
        guest("calls of the host", LINE, forever("(call $nothing)")),
        guest(
            "a call that calls itself",
            LINE,
            "(func $run (export \"run\") (call $run))".to_owned(),
        ),
        guest(
            "two that call each other",
            LINE,
            "(func $a (export \"run\") (call $b)) (func $b (call $a))".to_owned(),
        ),
        guest(
            "a call through a table",
            LINE,
            "(elem (i32.const 7) $run)
            (func $run (export \"run\") (call_indirect $table (type $void) (i32.const 7)))"
                .to_owned(),
        ),
        guest("a ladder of branches", LINE, forever(&ladder)),
        guest("a straight line", LINE, forever(&adds)),
        guest("roots of roots", LINE, forever(&sqrts)),
        guest(
            "many locals",
            LINE,
            format!(
                "(func (export \"run\") (local i32 i64 f64 {locals}) (loop (if (global.get $zero) (then {swaps})) (br 0)))"
            ),
        ),
        guest(
            "a fill of all memory",
            CHUNK,
            forever(
                "(memory.fill (i32.const 0) (i32.const 1) (i32.mul (memory.size) (i32.const 65536)))",
            ),
        ),
        guest(
            "a copy onto itself",
            CHUNK,
            forever("(memory.copy (i32.const 1) (i32.const 0) (i32.const 0xfffff))"),
        ),
        guest(
            "short copies",
            LINE,
            forever("(memory.copy (i32.const 1) (i32.const 0) (i32.const 63))"),
        ),
        guest(
            "lengths that are lies",
            PAGES * 1_024 + LINE,
            run("(memory.fill (i32.const 1) (i32.const 1) (i32.const -1))"),
        ),
        guest(
            "a segment again and again",
            LINE,
            forever("(memory.init $data (i32.const 0) (i32.const 0) (i32.const 10))"),
        ),
        guest("dropped segments", LINE, forever("(data.drop $data) (elem.drop $elem)")),
        guest("growth by nothing", LINE, forever("(drop (memory.grow (i32.const 0)))")),
        guest(
            "growth beyond the maximum",
            PAGES + LINE,
            forever("(drop (memory.grow (i32.const 65535)))"),
        ),
        guest(
            "growth of a table",
            CHUNK,
            forever("(drop (table.grow $table (ref.func $void) (i32.const 1000)))"),
        ),
        guest(
            "a fill of a table",
            CHUNK,
            forever("(table.fill $table (i32.const 0) (ref.func $void) (i32.const 1000))"),
        ),
        guest(
            "a copy within a table",
            CHUNK,
            forever("(table.copy $table $table (i32.const 1) (i32.const 0) (i32.const 999))"),
        ),
        guest(
            "new references",
            LINE,
            forever(
                "(table.set $refs (i32.rem_u (local.get 0) (i32.const 100)) (call $new))
             (local.set 0 (i32.add (local.get 0) (i32.const 1)))",
            ),
        ),
        guest(
            "a start function",
            LINE,
            "(func $start (loop (br 0))) (start $start) (func (export \"run\"))".to_owned(),
        ),
    ]
}

fn linker(engine: &Engine) -> Linker<()> {
    let mut linker = Linker::new(engine);
    linker.func_wrap("", "nothing", || {}).unwrap();
    linker.func_wrap("", "fail", || Err::<(), _>(Trap::new("the host fails"))).unwrap();
    linker.func_wrap("", "new", |_: Caller<'_, ()>| Some(ExternRef::new([0u8; 64]))).unwrap();
    linker
}

pub(crate) fn metered(config: &mut Config) {
    config.async_support(true).consume_fuel(true);
}

/// An engine that has room for one guest.
pub(crate) fn for_one() -> Engine {
    let limits = ModuleLimits { tables: 2, table_elements: 5_000, ..ModuleLimits::default() };
    engine(|config| {
        metered(config);
        config.allocation_strategy(pooling(1, limits));
    })
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// A guest's life, from its instantiation on.
type Life = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

fn live(engine: &Engine, module: &Module) -> (FuelHandle, Life) {
    let mut store = Store::new(engine, ());
    store.out_of_fuel_async_yield(u64::MAX, SLICE);
    let handle = store.fuel_handle().unwrap();
    let (linker, module) = (linker(engine), module.clone());
    let life = async move {
        let instance = linker.instantiate_async(&mut store, &module).await?;
        let run = instance.get_typed_func::<(), (), _>(&mut store, "run")?;
        Ok(run.call_async(&mut store, ()).await?)
    };
    (handle, Box::pin(life))
}

#[test]
fn no_guest_holds_a_worker_or_keeps_a_slot() {
    hold_and_keep_nothing(&[engine(metered), for_one()], &holders());
}

/// Lets each guest live for some polls in each engine, and looks at what it has had and has kept.
pub(crate) fn hold_and_keep_nothing(engines: &[Engine], guests: &[Guest]) {
    for engine in engines {
        for &Guest(what, bound, ref text) in guests {
            let module = Module::new(engine, format!("(module {HEAD} {text})"));
            let module = module.unwrap_or_else(|error| panic!("{what}: {error:?}"));
            // Dropped where it happens to be, if it is alive by then.
            for polls in [1, 2, 7, 100] {
                let (handle, mut guest) = live(engine, &module);
                let (mut before, mut longest) = (0, Duration::ZERO);
                for _ in 0..polls {
                    let start = processor_time();
                    let ended = poll(guest.as_mut()).is_ready();
                    longest = longest.max(processor_time() - start);
                    let burned = handle.consumed() - before;
                    before += burned;
                    assert!(burned <= SLICE + bound, "{what}: {burned} in one poll");
                    if ended {
                        break;
                    }
                }
                assert!(longest < Duration::from_millis(100), "{what}: {longest:?} in one poll");
                drop(guest);
                let stats = engine.stats();
                let kept = stats.reservations - stats.idle_reservations;
                assert_eq!((stats.stacks, stats.pool_slots, kept), (0, 0, 0), "{what}");
            }
        }
    }
}

/// What guests do when they have burned [`WORK`], each of which ends them.
const DEATHS: &[&str] = &[
    "unreachable",
    "(drop (i32.div_u (i32.const 1) (global.get $zero)))",
    "(drop (i32.trunc_f64_s (f64.const 1e99)))",
    "(drop (i32.load (i32.const -4)))",
    "(i64.store (i32.const 0x3ffff9) (i64.const 1))",
    "(drop (table.get $table (i32.const 1000)))",
    "(call_indirect $table (type $void) (i32.const 3))",
    "(table.set $table (i32.const 0) (ref.func $number))
        (call_indirect $table (type $void) (i32.const 0))",
    "(memory.fill (i32.const 0x3fffff) (i32.const 0) (i32.const 2))",
    "(memory.copy (i32.const 0) (i32.const 0x3fffff) (i32.const 2))",
    "(memory.init $data (i32.const 0) (i32.const 9) (i32.const 2))",
    "(data.drop $data) (memory.init $data (i32.const 0) (i32.const 0) (i32.const 1))",
    "(table.fill $table (i32.const 999) (ref.null func) (i32.const 2))",
    "(table.init $table $elem (i32.const 0) (i32.const 1) (i32.const 2))",
    "(call $fail)",
    "(call $deep)",
];

/// What a guest burns before its death, at the least.
const WORK: u64 = 70_000;

#[test]
fn no_death_is_free() {
    for engine in [engine(metered), for_one()] {
        for death in DEATHS {
            let text = format!(
                "(func $number (result i32) i32.const 1) (elem declare func $number)
                (func $deep (call $deep))
                (func (export \"run\") (local i32)
                    (loop (br_if 0 (i32.ne (i32.const 10000)
                        (local.tee 0 (i32.add (local.get 0) (i32.const 1))))))
                    {death})"
            );
            let module = Module::new(&engine, format!("(module {HEAD} {text})")).unwrap();
            let (handle, guest) = live(&engine, &module);
            let (slices, result) = count_pending(guest);
            trap(result.unwrap_err());
            let burned = handle.consumed();
            assert!(burned >= WORK, "{death}: {burned}");
            // It was never ahead of what it was given by more than a line.
            assert!(burned <= slices * SLICE + LINE, "{death}: {burned} in {slices} slices");
            assert_eq!(engine.stats().stacks, 0, "{death}");
        }
    }
}
