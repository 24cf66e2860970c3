//! A hundred thousand guests in one process, each suspended in the midst of its work.
//!
//! `cargo run --release --example hundred_thousand` starts them, wakes them round robin, and ends
//! them: first guests that have no memory, then guests with a memory of which they touch one page.
//! Then it starts guests with the default reservation of 4 GiB for each until one is refused. Each
//! part runs in a process of its own, so that none uses what another has left.

use std::future::Future;
use std::pin::Pin;
use std::process::Command;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lampwick::{Config, Engine, Instance, Module, Store};

/// The fuel that a guest burns in one poll.
const SLICE: u64 = 1_000;

const BARE: &str = r#"(module (func (export "run") (loop (br 0))))"#;
const ONE_PAGE: &str = r#"(module (memory 1) (func (export "run")
    (loop (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1))) (br 0))))"#;

type Guest = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let count = arguments.next().map_or(Ok(100_000), |count| count.parse())?;
    let mut config = Config::new();
    config.async_support(true).consume_fuel(true);
    match arguments.next().as_deref() {
        Some("bare") => measure("without memory", small(&mut config)?, BARE, count),
        Some("page") => measure("with one touched page", small(&mut config)?, ONE_PAGE, count),
        Some(_) => until_refused(&config),
        None => ["bare", "page", "default"].into_iter().try_for_each(|part| {
            let this = std::env::current_exe()?;
            let status = Command::new(this).args([&count.to_string(), part]).status()?;
            ensure!(status.success(), "{part}: {status}");
            Ok(())
        }),
    }
}

/// Short stacks, and memories that reserve nothing beyond their size.
fn small(config: &mut Config) -> Result<&Config> {
    config.max_wasm_stack(10 << 10)?.async_stack_size(74 << 10)?;
    config.static_memory_maximum_size(0).dynamic_memory_reserved_for_growth(0);
    Ok(config.static_memory_guard_size(0).dynamic_memory_guard_size(0))
}

fn start(engine: &Engine, module: &Module) -> Guest {
    let (mut store, module) = (Store::new(engine, ()), module.clone());
    store.out_of_fuel_async_yield(u64::MAX, SLICE);
    Box::pin(async move {
        let instance = Instance::new_async(&mut store, &module, &[]).await?;
        let run = instance.get_typed_func::<(), (), _>(&mut store, "run")?;
        Ok(run.call_async(&mut store, ()).await?)
    })
}

fn poll(guest: &mut Guest) -> Poll<Result<()>> {
    guest.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

fn measure(name: &str, config: &Config, wat: &str, count: u32) -> Result<()> {
    let engine = Engine::new(config)?;
    let module = Module::new(&engine, wat)?;
    let before = resident()?;
    let mut guests = Vec::with_capacity(count as usize);
    let starts = timed(count, || {
        guests.extend((0..count).map(|_| start(&engine, &module)));
        guests.iter_mut().all(|guest| poll(guest).is_pending())
    })?;
    let slices = timed(count, || guests.iter_mut().all(|guest| poll(guest).is_pending()))?;
    let kib = (resident()? - before) as f64 / f64::from(count);
    let drops = timed(count, || {
        guests.clear();
        true
    })?;
    println!("{count} guests {name}: {kib:.2} KiB each, page tables included;");
    println!("    start {starts:?}, slice {slices:?}, drop {drops:?}");
    Ok(())
}

fn timed(count: u32, work: impl FnOnce() -> bool) -> Result<Duration> {
    let start = Instant::now();
    ensure!(work(), "a guest was refused");
    Ok(start.elapsed() / count)
}

/// KiB of the process in memory, page tables included.
fn resident() -> Result<i64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let of = |name| status.lines().filter_map(move |line| line.strip_prefix(name));
    let sizes = of("VmRSS:").chain(of("VmPTE:"));
    Ok(sizes
        .map(|size| size.trim().trim_end_matches(" kB").parse::<i64>())
        .sum::<Result<_, _>>()?)
}

fn until_refused(config: &Config) -> Result<()> {
    let engine = Engine::new(config)?;
    let module = Module::new(&engine, ONE_PAGE)?;
    let mut guests = Vec::new();
    loop {
        let mut guest = start(&engine, &module);
        if let Poll::Ready(refusal) = poll(&mut guest) {
            println!("{} guests with 4 GiB reserved for each; the next:", guests.len());
            println!("    {:#}", refusal.expect_err("guests run for ever"));
            return Ok(());
        }
        guests.push(guest);
    }
}
