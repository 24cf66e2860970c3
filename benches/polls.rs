//! How long does one poll take, whatever a guest asks for?
//!
//! Each guest is polled by hand to its end, some times over; printed are, of the round whose longest
//! poll is the shortest, the number of polls, and how long 99.9 % and all of them took, in time of the
//! processor. "spin" is what a slice of plain operators takes. The first rows are what the system takes
//! without a guest: to provide a page, as many pages as take 30 us, and more accessible addresses. What
//! touches pages cannot be faster than those. `--only TEXT` runs those whose names contain it.

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::ptr;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use anyhow::Result;
use lampwick::{
    Caller, Config, Engine, Extern, ExternRef, ExternType, Func, Global, GlobalType, ImportType,
    Instance, Memory, Module, Mutability, Store, Val, ValType,
};
use rustix::mm::{self, MapFlags, MprotectFlags, ProtFlags};

const SLICE: u64 = 10_000;
const ROUNDS: usize = 5;

/// How long each poll took.
#[derive(Default)]
struct Polls(Vec<Duration>);

impl Polls {
    /// The longest but one in a thousand, and the longest.
    fn longest(&self) -> [Duration; 2] {
        let mut times = self.0.clone();
        times.sort_unstable();
        let last = times.len() - 1;
        [times[last - last / 1000], times[last]]
    }
}

/// What this thread has used of its processor: on a busy machine a poll may wait for that, too.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Runs a future to its end.
fn measure<F: Future>(polls: &mut Polls, future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        let start = processor_time();
        let poll = future.as_mut().poll(&mut context);
        polls.0.push(processor_time() - start);
        if let Poll::Ready(output) = poll {
            return output;
        }
    }
}

/// What is measured of a guest.
#[derive(Clone, Copy)]
enum What {
    /// Its function `run`.
    Run,
    /// The making of it.
    Instantiation,
}

/// A guest: its name, what is measured, and its text. Imports are made to measure.
struct Guest(&'static str, What, String);

fn calls(name: &'static str, text: impl Into<String>) -> Guest {
    Guest(name, What::Run, text.into())
}

fn makes(name: &'static str, text: impl Into<String>) -> Guest {
    Guest(name, What::Instantiation, text.into())
}

/// Guests that ask for much at once.
fn guests() -> Vec<Guest> {
    let run = |head: &str, body: &str| format!("(module {head} (func (export \"run\") {body}))");
    let many = |count: usize, what: &str| what.repeat(count);
    let bytes = many(1 << 20, "0123456789abcdef");
    vec![
        calls(
            "spin",
            run(
                "",
                "(local i32) (loop (br_if 0 (i32.ne (i32.const 100000000)
            (local.tee 0 (i32.add (local.get 0) (i32.const 1))))))",
            ),
        ),
        calls(
            "straight line of divisions",
            format!(
                "(module (func $line (param i64) (result i64) (local.get 0) {})
            (func (export \"run\") (drop (call $line (i64.const -7)))))",
                many(1_000_000, "(i64.const 3) i64.div_u (i64.const -1) i64.xor "),
            ),
        ),
        calls(
            "memory.fill, 1 GiB",
            run(
                "(memory 16384)",
                "(memory.fill (i32.const 0) (i32.const 7) (i32.const 0x4000_0000))",
            ),
        ),
        calls(
            "memory.copy, 512 MiB",
            run(
                "(memory 16384)",
                "(memory.copy (i32.const 0x2000_0000) (i32.const 0) (i32.const 0x2000_0000))",
            ),
        ),
        calls(
            "memory.init, 16 MiB",
            run(
                &format!("(memory 256) (data $d \"{bytes}\")"),
                "(memory.init $d (i32.const 0) (i32.const 0) (i32.const 0x100_0000))",
            ),
        ),
        calls("memory.grow, 4 GiB", run("(memory 0)", "(drop (memory.grow (i32.const 65536)))")),
        calls(
            "memory.grow, page by page",
            run(
                "(memory 0)",
                "(loop (drop (memory.grow (i32.const 1)))
                (br_if 0 (i32.lt_u (memory.size) (i32.const 65535))))",
            ),
        ),
        calls(
            "memory.grow, refused",
            run(
                "(memory 0 1)",
                "(local i32) (loop (drop (memory.grow (i32.const 2))) (br_if 0 (i32.lt_u
                (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 100000))))",
            ),
        ),
        calls(
            "exceptions",
            run(
                "(tag $tag)",
                "(local i32) (loop (block $caught (try_table (catch $tag $caught) (throw $tag)))
                (br_if 0 (i32.lt_u
                (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 100000))))",
            ),
        ),
        calls(
            "memory.grow, page by page, touched",
            run(
                "(memory 0)",
                "(loop (drop (memory.grow (i32.const 1)))
                (memory.fill (i32.mul (i32.const 65536) (i32.sub (memory.size) (i32.const 1)))
                    (i32.const 1) (i32.const 65536))
                (br_if 0 (i32.lt_u (memory.size) (i32.const 24576))))",
            ),
        ),
        calls(
            "table.grow, 10,000,000",
            run("(table 0 funcref)", "(drop (table.grow (ref.null func) (i32.const 10000000)))"),
        ),
        calls(
            "table.grow, not null",
            run(
                "(table 0 funcref) (elem declare func 0)",
                "(drop (table.grow (ref.func 0) (i32.const 10000000)))",
            ),
        ),
        calls(
            "table.grow, 1,000 at a time",
            run(
                "(table 0 funcref)",
                "(loop (drop (table.grow (ref.null func) (i32.const 1000)))
                (br_if 0 (i32.lt_u (table.size) (i32.const 9000000))))",
            ),
        ),
        calls(
            "table.fill, 10,000,000",
            run(
                "(table 10000000 funcref) (elem declare func 0)",
                "(table.fill (i32.const 0) (ref.func 0) (i32.const 10000000))",
            ),
        ),
        calls(
            "table.copy, 5,000,000",
            run(
                "(table 10000000 funcref)",
                "(table.copy (i32.const 0) (i32.const 5000000) (i32.const 5000000))",
            ),
        ),
        calls(
            "table.init, 1,000,000",
            run(
                &format!("(table 1000000 funcref) (elem $e func {})", many(1_000_000, "0 ")),
                "(table.init $e (i32.const 0) (i32.const 0) (i32.const 1000000)) (elem.drop $e)",
            ),
        ),
        calls(
            "a collection over a large table",
            run(
                "(import \"\" \"new\" (func $new (result externref))) (table 10000000 externref)",
                "(local i32) (loop (drop (call $new)) (br_if 0 (i32.lt_u (i32.const 1000)
                (local.tee 0 (i32.add (local.get 0) (i32.const 1))))))
             (loop (drop (call $new)) (br_if 0 (i32.lt_u
                (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 1000))))",
            ),
        ),
        calls(
            "a collection of 1,000,000 references",
            run(
                "(import \"\" \"new\" (func $new (result externref))) (table 1000000 externref)",
                "(local i32) (loop (table.set (local.get 0) (call $new)) (br_if 0 (i32.lt_u
                (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 1000000))))",
            ),
        ),
        calls(
            "collections of 1,000,000 references, of each few",
            run(
                "(import \"\" \"new\" (func $new (result externref))) ",
                "(local i32) (loop (drop (call $new)) (br_if 0 (i32.lt_u
                (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 1000000))))",
            ),
        ),
        calls("a collection of 1,000,000 structs in a list", structs("list")),
        calls("a collection of 1,000,000 structs in an array", structs("array")),
        calls("a collection of 1,000,000 structs in a table", structs("table")),
        calls(
            "a collection below a deep recursion",
            "(module
            (import \"\" \"new\" (func $new (result externref)))
            (func $deep (param i32) (result externref) (local externref)
                (if (result externref) (local.get 0)
                    (then (call $deep (i32.sub (local.get 0) (i32.const 1))))
                    (else (loop (drop (call $new))
                        (br_if 0 (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 1)))
                            (i32.const 1000)))) (call $new))))
            (func (export \"run\") (drop (call $deep (i32.const 8000)))))",
        ),
        makes(
            "a data segment of 16 MiB",
            format!("(module (memory 256) (data (i32.const 0) \"{bytes}\"))"),
        ),
        makes(
            "the same in an imported memory",
            format!(
                "(module (import \"\" \"memory\" (memory 256)) (data (i32.const 0) \"{bytes}\"))"
            ),
        ),
        makes(
            "100,000 data segments in an imported memory",
            format!(
                "(module (import \"\" \"memory\" (memory 256)) {})",
                many(100_000, "(data (i32.const 9) \"abc\")")
            ),
        ),
        makes(
            "an element segment of 1,000,000",
            format!(
                "(module (table 1000000 funcref) (func) (elem (i32.const 0) func {}))",
                many(1_000_000, "0 ")
            ),
        ),
        makes(
            "a passive element segment of 1,000,000",
            format!(
                "(module (table 1000000 funcref) (func) (elem func {}))",
                many(1_000_000, "0 ")
            ),
        ),
        makes(
            "100,000 globals",
            format!("(module {})", many(100_000, "(global i32 (i32.const 1))")),
        ),
        makes(
            "100,000 imported functions",
            format!(
                "(module {})",
                many(100_000, "(import \"\" \"new\" (func (result externref)))")
            ),
        ),
        makes(
            "100,000 imported globals",
            format!("(module {})", many(100_000, "(import \"\" \"global\" (global i32))")),
        ),
        makes(
            "100,000 functions that escape",
            format!(
                "(module {} (elem declare func {}))",
                many(100_000, "(func)"),
                (0..100_000).map(|index| format!("{index} ")).collect::<String>()
            ),
        ),
    ]
}

/// A guest that makes a million structs, keeps them, and makes others until all were collected some times.
fn structs(kept: &str) -> String {
    let keep = match kept {
        "list" => "(global.set $list (struct.new $link (global.get $list) (i64.const 1)))",
        "array" => {
            "(array.set $links (local.get 1) (local.get 0)
                (struct.new $link (ref.null $link) (i64.const 1)))"
        }
        _ => "(table.set (local.get 0) (struct.new $link (ref.null $link) (i64.const 1)))",
    };
    format!(
        r#"(module
            (type $link (struct (field (ref null $link)) (field i64)))
            (type $links (array (mut (ref null $link))))
            (global $list (mut (ref null $link)) (ref.null $link))
            (table 1000000 (ref null $link))
            (func (export "run") (local i32 (ref null $links))
                (local.set 1 (array.new_default $links (i32.const 1000000)))
                (loop {keep}
                    (br_if 0 (i32.lt_u
                        (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 1000000))))
                (loop (drop (struct.new $link (ref.null $link) (i64.const 1)))
                    (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
                (drop (array.len (local.get 1)))))"#
    )
}

/// Something for each import of a module.
fn imports(store: &mut Store<()>, module: &Module) -> Result<Vec<Extern>> {
    let new = Func::wrap(&mut *store, |_: Caller<'_, ()>| Some(ExternRef::new(7)));
    let global = GlobalType::new(ValType::I32, Mutability::Const);
    let global = Global::new(&mut *store, global, Val::I32(7))?;
    let import = |import: ImportType<'_>| match import.ty() {
        ExternType::Memory(ty) => Ok(Memory::new(&mut *store, ty)?.into()),
        ExternType::Global(_) => Ok(global.into()),
        _ => Ok(new.into()),
    };
    module.imports().map(import).collect()
}

fn run(engine: &Engine, module: &Module, what: What) -> Result<Polls> {
    let (mut calls, mut making) = (Polls::default(), Polls::default());
    let mut store = Store::new(engine, ());
    store.out_of_fuel_async_yield(u64::MAX, SLICE);
    store.add_fuel(SLICE)?;
    let imports = imports(&mut store, module)?;
    let instance = measure(&mut making, Instance::new_async(&mut store, module, &imports))?;
    Ok(match what {
        What::Instantiation => making,
        What::Run => {
            let run = instance.get_typed_func::<(), (), _>(&mut store, "run")?;
            measure(&mut calls, run.call_async(&mut store, ()))?;
            calls
        }
    })
}

/// How long it takes to touch each of so many pages for the first time.
fn pages(count: usize) -> Polls {
    const PAGE: usize = 4096;
    let mut bytes = vec![0_u8; count * PAGE];
    let touch = |page: &mut [u8]| {
        let start = processor_time();
        page[0] = black_box(1);
        processor_time() - start
    };
    Polls(bytes.chunks_mut(PAGE).map(touch).collect())
}

/// How long it takes to touch the pages of so many bytes for the first time, as many at a time as take
/// 30 us: what operators that are cut by the clock page by page would take if they did nothing else.
fn pages_by_the_clock(count: usize) -> Polls {
    const PAGE: usize = 4096;
    let mut bytes = vec![0_u8; count * PAGE];
    let mut pages = bytes.chunks_mut(PAGE).peekable();
    let mut polls = Polls::default();
    while pages.peek().is_some() {
        let (start, since) = (processor_time(), Instant::now());
        for page in pages.by_ref() {
            page[0] = black_box(1);
            if since.elapsed() >= Duration::from_micros(30) {
                break;
            }
        }
        polls.0.push(processor_time() - start);
    }
    polls
}

/// How long the system takes to make 64 KiB more of a reservation accessible, over and over, where all
/// that was accessible before has been touched.
fn growth(count: usize) -> Result<Polls> {
    const STEP: usize = 64 << 10;
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    // SAFETY: a new mapping overlaps nothing.
    let base = unsafe {
        mm::mmap_anonymous(ptr::null_mut(), count * STEP, ProtFlags::empty(), flags)?.cast::<u8>()
    };
    let mut polls = Polls::default();
    for step in 0..count {
        let start = processor_time();
        // SAFETY: the range is one of the mapping, which nobody else knows.
        unsafe {
            let more = base.add(step * STEP);
            mm::mprotect(more.cast(), STEP, MprotectFlags::READ | MprotectFlags::WRITE)?;
            polls.0.push(processor_time() - start);
            more.write_bytes(1, STEP);
        }
    }
    // SAFETY: nobody uses it any more.
    unsafe { mm::munmap(base.cast(), count * STEP)? };
    Ok(polls)
}

/// Of the round whose longest poll is the shortest.
fn print(name: &str, rounds: &[Polls]) {
    let best = rounds.iter().min_by_key(|polls| polls.longest()[1]);
    let best = best.expect("there are rounds");
    let [most, longest] = best.longest().map(|time| time.as_secs_f64() * 1e6);
    println!("{name:<45} {:>9} {most:>12.1} {longest:>12.1}", best.0.len());
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let only = args.iter().position(|arg| arg == "--only").and_then(|at| args.get(at + 1));
    println!("{:<45} {:>9} {:>12} {:>12}", "us", "polls", "99.9 %", "longest");
    if only.is_none_or(|only| "no guest".contains(only.as_str())) {
        print("a page of 1 GiB, no guest", &[(); ROUNDS].map(|()| pages(1 << 18)));
        print("30 us of such pages, no guest", &[(); ROUNDS].map(|()| pages_by_the_clock(1 << 18)));
        let rounds: Result<Vec<Polls>> = (0..ROUNDS).map(|_| growth(24_576)).collect();
        print("64 KiB more, page by page, no guest", &rounds?);
    }
    for small in [false, true] {
        let mut config = Config::new();
        config.async_support(true).consume_fuel(true);
        if small {
            println!("with memories that move:");
            config.static_memory_maximum_size(0).dynamic_memory_reserved_for_growth(1 << 20);
        }
        let engine = Engine::new(&config)?;
        for Guest(name, what, text) in guests() {
            let concerned = !small || name.contains("memory") || name.contains("data");
            if !concerned || only.is_some_and(|only| !name.contains(only.as_str())) {
                continue;
            }
            let module = Module::new(&engine, text)?;
            let rounds: Result<Vec<Polls>> =
                (0..ROUNDS).map(|_| run(&engine, &module, what)).collect();
            print(name, &rounds?);
        }
    }
    Ok(())
}
