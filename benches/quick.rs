//! Has an operation become dearer? Counts its instructions, which a busy machine does not change.
//!
//! Each operation runs in a child under valgrind's callgrind, seldom and often; the difference,
//! for one time, is compared with what `benches/quick.json` holds. More than that by over 5 % is
//! a failure. `cargo bench -p lampwick --bench quick -- --update` writes the file anew; names of operations as
//! arguments count only these. Where there is no valgrind it says so, and nothing fails.

use std::collections::BTreeMap;
use std::future::Future;
use std::hint::black_box;
use std::path::PathBuf;
use std::pin::pin;
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::task::{Context as TaskContext, Poll, Waker};

use anyhow::{Context, Result, bail, ensure};
use lampwick::{Caller, Config, Engine, Instance, Linker, Module, Store, Val};

/// How much dearer than its bound an operation may be.
const TOLERANCE: f64 = 0.05;

/// Does something so many times.
type Work = fn(u64) -> Result<()>;

/// An operation: its name, what does it, and how often it is done for the difference. That makes
/// some million instructions, beside which the noise of starting up is small.
struct Operation(&'static str, Work, u64);

/// Calls of a small function, in a construct, between which five values live.
macro_rules! calls {
    ($construct:literal) => {
        concat!(
            r#"(module (memory 1)
            (func $small (param i64) (result i64) (i64.add (local.get 0) (i64.load (i32.const 0))))
            (func (export "run") (param i32) (result i32) (local i64 i64 i64 i64)
                (block $h ("#,
            $construct,
            r#" (loop
                    (local.set 1 (i64.add (local.get 1) (call $small (local.get 2))))
                    (local.set 2 (i64.xor (local.get 2) (local.get 3)))
                    (local.set 3 (i64.add (local.get 3) (local.get 4)))
                    (local.set 4 (i64.add (local.get 4) (local.get 1)))
                    (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))
                (i32.wrap_i64 (i64.xor (local.get 1) (local.get 2)))))"#
        )
        .as_bytes()
    };
}

const OPERATIONS: &[Operation] = &[
    Operation("call", call, 40_000),
    Operation("call_async", call_async, 20_000),
    Operation("host call", |times| host_calls("now", times), 200_000),
    Operation("async host call, ready at once", |times| host_calls("later", times), 40_000),
    Operation("yield and resume", yields, 20_000),
    Operation("instantiate and drop", |times| instances(false, times), 1_000),
    Operation("instantiate, call and drop", |times| instances(true, times), 1_000),
    Operation("spin 1000", |times| guest(SPIN, "run", 1_000, false, times), 2_000),
    Operation("spin 1000, metered", |times| guest(SPIN, "run", 1_000, true, times), 2_000),
    Operation("fib 15", |times| guest(FIB, "fib", 15, false, times), 200),
    Operation("fib 15, metered", |times| guest(FIB, "fib", 15, true, times), 200),
    Operation("sieve 20000", |times| guest(SIEVE, "run", 20_000, false, times), 30),
    Operation("sieve 20000, metered", |times| guest(SIEVE, "run", 20_000, true, times), 30),
    Operation("sort 500", |times| guest(SORT, "run", 500, false, times), 20),
    Operation("sort 500, metered", |times| guest(SORT, "run", 500, true, times), 20),
    Operation("x25519 1", |times| guest(X25519, "run", 1, false, times), 20),
    Operation("x25519 1, metered", |times| guest(X25519, "run", 1, true, times), 20),
    Operation("x25519 1, with a handle", |times| guest_with_handle(X25519, "run", 1, times), 20),
    Operation("calls 1000", |times| guest(calls!("block"), "run", 1_000, false, times), 200),
    Operation(
        "calls 1000, in a try_table",
        |times| guest(calls!("try_table (catch_all $h)"), "run", 1_000, false, times),
        200,
    ),
    Operation("throw and catch 100", |times| guest(THROWS, "run", 100, false, times), 100),
    Operation("struct.new 1000", |times| guest(STRUCTS, "run", 1_000, false, times), 100),
];

const FIB: &[u8] = include_bytes!("../tests/guests/fib.wasm");
const SIEVE: &[u8] = include_bytes!("../tests/guests/sieve.wasm");
const SORT: &[u8] = include_bytes!("../tests/guests/sort.wasm");
const X25519: &[u8] = include_bytes!("../tests/guests/x25519.wasm");

const SPIN: &[u8] = br#"(module (func (export "run") (param i32) (result i32) (local i32)
    (loop (local.set 1 (i32.add (local.get 1) (local.get 0)))
        (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
    (local.get 1)))"#;

const THROWS: &[u8] = br#"(module (tag $t (param i32))
    (func $throw (param i32) (throw $t (local.get 0)))
    (func (export "run") (param i32) (result i32)
        (loop
            (block $h (result i32)
                (try_table (catch $t $h) (call $throw (i32.const 7)))
                (i32.const 0))
            (drop)
            (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (local.get 0)))"#;

const STRUCTS: &[u8] = br#"(module
    (type $pair (struct (field i32) (field (ref null $pair))))
    (func (export "run") (param i32) (result i32) (local (ref null $pair))
        (loop
            (local.set 1 (struct.new $pair (local.get 0) (ref.null $pair)))
            (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (struct.get $pair 0 (local.get 1))))"#;

const GUEST: &str = r#"(module
    (import "host" "now" (func $now (param i32) (result i32)))
    (import "host" "later" (func $later (param i32) (result i32)))
    (memory 2)
    (data (i32.const 0) "one segment")
    (data (i32.const 70000) "another")
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func (export "now") (param i32)
        (loop (drop (call $now (local.get 0)))
            (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "later") (param i32)
        (loop (drop (call $later (local.get 0)))
            (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))"#;

fn main() -> ExitCode {
    match count_and_compare() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

/// Answers whether all is within its bounds.
fn count_and_compare() -> Result<bool> {
    let mut wanted: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    if let [child, name, times] = &wanted[..]
        && child == "--child"
    {
        return operation(name)?.1(times.parse()?).map(|()| true);
    }
    let update = wanted.iter().any(|argument| argument == "--update");
    wanted.retain(|argument| argument != "--update");
    for name in &wanted {
        operation(name)?;
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("skipped: there is no `valgrind` to count instructions with");
        return Ok(true);
    }
    let chosen = |it: &&Operation| wanted.is_empty() || wanted.iter().any(|name| name == it.0);
    let counts = count_all(OPERATIONS.iter().filter(chosen).collect())?;
    if update { store(counts).map(|()| true) } else { compare(&counts) }
}

fn operation(name: &str) -> Result<&'static Operation> {
    let found = OPERATIONS.iter().find(|operation| operation.0 == name);
    found.with_context(|| {
        let known: Vec<_> = OPERATIONS.iter().map(|operation| operation.0).collect();
        format!("no operation `{name}`; there are: {}", known.join("; "))
    })
}

/// Instructions for each operation by its name.
type Counts = BTreeMap<String, f64>;

fn bounds_file() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "benches", "quick.json"].iter().collect()
}

fn bounds() -> Result<Counts> {
    let path = bounds_file();
    let text = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("reading {}", path.display()))
}

/// Writes what was counted, and keeps what was not.
fn store(counts: Counts) -> Result<()> {
    let mut bounds = bounds().unwrap_or_default();
    bounds.retain(|name, _| operation(name).is_ok());
    bounds.extend(counts.into_iter().map(|(name, count)| (name, count.round())));
    std::fs::write(bounds_file(), serde_json::to_string_pretty(&bounds)? + "\n")?;
    println!("wrote {}", bounds_file().display());
    Ok(())
}

fn compare(counts: &Counts) -> Result<bool> {
    let bounds = bounds()?;
    println!("{:<34} {:>12} {:>12} {:>7}", "instructions", "stored", "now", "ratio");
    let mut worse = 0;
    for (name, &count) in counts {
        let bound = *bounds.get(name).with_context(|| {
            format!("benches/quick.json has no `{name}`; `--update` writes what is counted")
        })?;
        let ratio = count / bound;
        let verdict = if ratio > 1.0 + TOLERANCE {
            worse += 1;
            "  WORSE"
        } else if ratio < 1.0 - TOLERANCE {
            "  better: `--update` keeps it so"
        } else {
            ""
        };
        println!("{name:<34} {bound:>12.0} {count:>12.0} {ratio:>7.3}{verdict}");
    }
    let (within, all) = (counts.len() - worse, counts.len());
    println!("{within} of {all} operations within {:.0} % of their bounds", TOLERANCE * 100.0);
    Ok(worse == 0)
}

/// Counts with as many children at once as there are cores.
fn count_all(operations: Vec<&Operation>) -> Result<Counts> {
    let workers = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let queue = Mutex::new(operations);
    let counts = Mutex::new(Counts::new());
    let worker = || -> Result<()> {
        loop {
            // The guard is gone before the counting starts.
            let next = queue.lock().expect("no worker panics with it").pop();
            let Some(operation) = next else { return Ok(()) };
            let count = count(operation).with_context(|| format!("counting {}", operation.0))?;
            counts.lock().expect("no worker panics with it").insert(operation.0.to_owned(), count);
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|it| it.join().expect("workers answer errors"))
    })?;
    Ok(counts.into_inner().expect("no worker panics with it"))
}

/// Instructions for doing the operation once, warm.
fn count(Operation(name, _, times): &Operation) -> Result<f64> {
    let seldom = times / 10;
    let difference =
        instructions(name, seldom + times)? as f64 - instructions(name, seldom)? as f64;
    Ok(difference / *times as f64)
}

/// Instructions of a whole process that does the operation so many times.
fn instructions(name: &str, times: u64) -> Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(["--child", name, &times.to_string()])
        .output()?;
    let printed = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "a child failed ({}): {printed}", output.status);
    let collected = printed.lines().find_map(|line| line.split_once("Collected :"));
    let (_, count) = collected.with_context(|| format!("callgrind counted nothing: {printed}"))?;
    Ok(count.trim().parse()?)
}

/// An engine that compiles on one thread, so that starting up takes the same each time.
fn engine(is_async: bool, metered: bool) -> Result<Engine> {
    let mut config = Config::new();
    config.async_support(is_async).consume_fuel(metered).parallel_compilation(false);
    Engine::new(&config)
}

/// Polls until the future is ready.
fn finish<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = TaskContext::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
}

fn linker(engine: &Engine, is_async: bool) -> Result<Linker<()>> {
    let mut linker = Linker::new(engine);
    linker.func_wrap("host", "now", |x: i32| x.wrapping_add(1))?;
    if is_async {
        linker.func_wrap1_async("host", "later", |_: Caller<'_, ()>, x: i32| {
            Box::new(async move { x.wrapping_add(1) })
        })?;
    } else {
        linker.func_wrap("host", "later", |x: i32| x.wrapping_add(1))?;
    }
    Ok(linker)
}

fn call(times: u64) -> Result<()> {
    let engine = engine(false, false)?;
    let module = Module::new(&engine, GUEST)?;
    let mut store = Store::new(&engine, ());
    let instance = linker(&engine, false)?.instantiate(&mut store, &module)?;
    let add = instance.get_typed_func::<(i32, i32), i32, _>(&mut store, "add")?;
    for _ in 0..times {
        black_box(add.call(&mut store, black_box((1, 2)))?);
    }
    Ok(())
}

fn call_async(times: u64) -> Result<()> {
    let engine = engine(true, false)?;
    let module = Module::new(&engine, GUEST)?;
    let mut store = Store::new(&engine, ());
    let instance = finish(linker(&engine, true)?.instantiate_async(&mut store, &module))?;
    let add = instance.get_typed_func::<(i32, i32), i32, _>(&mut store, "add")?;
    for _ in 0..times {
        black_box(finish(add.call_async(&mut store, black_box((1, 2))))?);
    }
    Ok(())
}

/// One call of a guest that calls the host so many times.
fn host_calls(export: &str, times: u64) -> Result<()> {
    let engine = engine(true, false)?;
    let module = Module::new(&engine, GUEST)?;
    let mut store = Store::new(&engine, ());
    let instance = finish(linker(&engine, true)?.instantiate_async(&mut store, &module))?;
    let run = instance.get_typed_func::<i32, (), _>(&mut store, export)?;
    Ok(finish(run.call_async(&mut store, times.try_into()?))?)
}

fn instances(call: bool, times: u64) -> Result<()> {
    let engine = engine(true, false)?;
    let module = Module::new(&engine, GUEST)?;
    let linker = linker(&engine, true)?;
    for _ in 0..times {
        let mut store = Store::new(&engine, ());
        let instance = finish(linker.instantiate_async(&mut store, &module))?;
        if call {
            let add = instance.get_typed_func::<(i32, i32), i32, _>(&mut store, "add")?;
            black_box(finish(add.call_async(&mut store, black_box((1, 2))))?);
        }
    }
    Ok(())
}

/// Each poll of an endless guest is one yield and one resume, and 10 loops of a fuel each.
fn yields(times: u64) -> Result<()> {
    let engine = engine(true, true)?;
    let module = Module::new(&engine, r#"(module (func (export "run") (loop (br 0))))"#)?;
    let mut store = Store::new(&engine, ());
    store.out_of_fuel_async_yield(u64::MAX, 10);
    let instance = finish(Instance::new_async(&mut store, &module, &[]))?;
    let run = instance.get_typed_func::<(), (), _>(&mut store, "run")?;
    let mut call = pin!(run.call_async(&mut store, ()));
    let mut context = TaskContext::from_waker(Waker::noop());
    for _ in 0..times {
        let Poll::Pending = call.as_mut().poll(&mut context) else { bail!("the guest ended") };
    }
    Ok(())
}

fn guest(wasm: &[u8], export: &str, argument: i32, metered: bool, times: u64) -> Result<()> {
    let engine = engine(false, metered)?;
    let module = Module::new(&engine, wasm)?;
    let mut store = Store::new(&engine, ());
    if metered {
        store.add_fuel(u64::MAX)?;
    }
    run(&mut store, &module, export, argument, times)
}

/// The same in spans, at whose ends a guest listens.
fn guest_with_handle(wasm: &[u8], export: &str, argument: i32, times: u64) -> Result<()> {
    let engine = engine(false, true)?;
    let module = Module::new(&engine, wasm)?;
    let mut store = Store::new(&engine, ());
    let handle = store.fuel_handle()?;
    store.add_fuel(u64::MAX)?;
    run(&mut store, &module, export, argument, times)?;
    ensure!(handle.consumed() > 0, "the guest has not listened");
    Ok(())
}

fn run(
    store: &mut Store<()>,
    module: &Module,
    export: &str,
    argument: i32,
    times: u64,
) -> Result<()> {
    let instance = Instance::new(&mut *store, module, &[])?;
    let run = instance.get_func(&mut *store, export).context("no such export")?;
    for _ in 0..times {
        black_box(run.call(&mut *store, &[Val::I32(black_box(argument))])?);
    }
    Ok(())
}
