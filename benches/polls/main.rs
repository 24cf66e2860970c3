//! How long does one poll take, whatever a guest asks for?
//!
//! Each guest is polled by hand to its end, some times over; printed are, of the round whose longest
//! poll is the shortest, the number of polls, and how long 99.9 % and all of them took, in time of the
//! processor. "spin" is what a slice of plain operators takes. The first rows are what the system takes
//! without a guest: to provide a page, as many pages as take 30 us, and more accessible addresses. What
//! touches pages cannot be faster than those. `--only TEXT` runs those whose names contain it.

mod guests;

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::ptr;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use anyhow::Result;
use lampwick::{
    Caller, Config, Engine, Extern, ExternRef, ExternType, Func, FuncType, Global, GlobalType,
    ImportType, Instance, Memory, Module, Mutability, RefType, Store, Val, ValType,
};
use rustix::mm::{self, MapFlags, MprotectFlags, ProtFlags};

use guests::{Guest, What, guests};

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

/// Something for each import of a module, by its name.
fn imports(store: &mut Store<()>, module: &Module) -> Result<Vec<Extern>> {
    let new = Func::wrap(&mut *store, |_: Caller<'_, ()>| Some(ExternRef::new(7)));
    let nothing = Func::wrap(&mut *store, || {});
    let later = Func::wrap0_async(&mut *store, |_: Caller<'_, ()>| Box::new(async {}));
    let any = ValType::Ref(RefType::ANYREF);
    let take = FuncType::new([any, ValType::I32], [ValType::I32]);
    let take = Func::new(&mut *store, take, |_: Caller<'_, ()>, _, results| {
        results[0] = Val::I32(1);
        Ok(())
    });
    let global = GlobalType::new(ValType::I32, Mutability::Const);
    let global = Global::new(&mut *store, global, Val::I32(7))?;
    let import = |import: ImportType<'_>| match (import.ty(), import.name()) {
        (ExternType::Memory(ty), _) => Ok(Memory::new(&mut *store, ty)?.into()),
        (ExternType::Global(_), _) => Ok(global.into()),
        (_, Some("nothing")) => Ok(nothing.into()),
        (_, Some("later")) => Ok(later.into()),
        (_, Some("take")) => Ok(take.into()),
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
