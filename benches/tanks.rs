//! Does a tank that all guests share hold them up? One guest, and 10,000, that compute for ever on
//! tokio's workers: microseconds of a processor for each slice, where fuel is injected and where it is drawn,
//! from one tank or from tenants' tanks under one; interleaved, the median of several runs. A word
//! picks the ones that contain it: `cargo bench --bench tanks -- injected`; and `lock` how long guests hold
//! the lock of a tree, for as many workers as would wait for each other there.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use anyhow::{Result, ensure};
use lampwick::{Config, Engine, FuelTank, Instance, Module, Store};
use lampwick_tanks::measure::ledger_time;
use tokio::runtime::Builder;

const SLICE: u64 = 1_000;
const RUNS: usize = 3;
const TIME: Duration = Duration::from_millis(300);

const GUEST: &str = r#"(module (func (export "run") (loop (br 0))))"#;

#[derive(Clone, Copy)]
enum Source {
    Injected,
    OneTank,
    Tenants,
}

/// What all threads have had of processors.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Microseconds of a processor for each slice.
fn slices(module: &Module, source: Source, workers: usize, guests: usize) -> Result<f64> {
    let machine = FuelTank::new(u64::MAX);
    machine.add(u64::MAX);
    let tenants: Vec<_> = (1..=100).map(|weight| machine.child(weight)).collect();
    let runtime = Builder::new_multi_thread().worker_threads(workers).enable_time().build()?;
    let mut handles = Vec::new();
    for index in 0..guests {
        let mut store = Store::new(module.engine(), ());
        match source {
            Source::Injected => store.out_of_fuel_async_yield(u64::MAX, SLICE),
            Source::OneTank => store.out_of_fuel_async_draw(&machine, SLICE),
            Source::Tenants => store.out_of_fuel_async_draw(&tenants[index % 100], SLICE),
        }
        handles.push(store.fuel_handle()?);
        let module = module.clone();
        runtime.spawn(async move {
            let instance = Instance::new_async(&mut store, &module, &[]).await?;
            let run = instance.get_typed_func::<(), (), _>(&mut store, "run")?;
            Ok::<_, anyhow::Error>(run.call_async(&mut store, ()).await?)
        });
    }
    // All have begun when the last one has.
    while handles.iter().any(|handle| handle.consumed() < SLICE) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let burned = || handles.iter().map(|handle| handle.consumed()).sum::<u64>();
    let (start, before) = (cpu_time(), burned());
    std::thread::sleep(TIME);
    let (time, burned) = (cpu_time() - start, burned() - before);
    runtime.shutdown_timeout(Duration::from_secs(5));
    Ok(time.as_secs_f64() * 1e6 * SLICE as f64 / burned as f64)
}

/// Microseconds of a processor for a slice of one guest alone.
fn slice_alone(module: &Module, slice: u64) -> Result<f64> {
    let slices = 20_000_000 / slice as u32;
    let mut store = Store::new(module.engine(), ());
    store.out_of_fuel_async_yield(u64::MAX, slice);
    let mut context = Context::from_waker(Waker::noop());
    let made = pin!(Instance::new_async(&mut store, module, &[])).poll(&mut context);
    let Poll::Ready(instance) = made else { unreachable!("nothing to wait for") };
    let run = instance?.get_typed_func::<(), (), _>(&mut store, "run")?;
    let mut call = pin!(run.call_async(&mut store, ()));
    let start = cpu_time();
    for _ in 0..slices {
        ensure!(call.as_mut().poll(&mut context).is_pending(), "the guest has ended");
    }
    Ok((cpu_time() - start).as_secs_f64() * 1e6 / f64::from(slices))
}

/// How many workers keep the lock of a tree busy all the time.
fn saturation(module: &Module) -> Result<()> {
    println!("µs for which a turn holds the lock of its tree, where all guests want to run");
    for slice in [1_000, 10_000, 100_000, 1_000_000] {
        for guests in [10, 100, 1_000, 10_000] {
            // The least: others use the processor, too.
            let mut least = [f64::INFINITY; 2];
            let mut slices = 0;
            for _ in 0..9 {
                let tenants = 100.min(guests / 5);
                let (in_turn, held) = ledger_time(guests, tenants, slice, 200_000);
                let times = [slice_alone(module, slice)?, held.as_secs_f64() * 1e6];
                slices = in_turn;
                least = [0, 1].map(|at| times[at].min(least[at]));
            }
            let turn = least[0] * slices as f64;
            println!(
                "  {guests:>6} guests, slices of {slice:>7}: {:>5.2} of {turn:>5.1}, full with {:>4.0} workers",
                least[1],
                turn / least[1]
            );
        }
    }
    Ok(())
}

fn main() -> Result<()> {
    let engine = Engine::new(Config::new().async_support(true).consume_fuel(true))?;
    let module = Module::new(&engine, GUEST)?;
    let sources = [
        ("injected", Source::Injected),
        ("drawn from one tank", Source::OneTank),
        ("drawn from 100 tenants' tanks", Source::Tenants),
    ];
    let word = std::env::args().skip(1).find(|word| !word.starts_with('-')).unwrap_or_default();
    let sources: Vec<_> = sources.into_iter().filter(|(name, _)| name.contains(&word)).collect();
    if word.is_empty() || word == "lock" {
        saturation(&module)?;
    }
    println!("µs of a processor for a slice of {SLICE} units");
    for guests in [1, 10_000] {
        for workers in [1, 2] {
            let mut times = vec![Vec::new(); sources.len()];
            for _ in 0..RUNS {
                for (times, &(_, source)) in times.iter_mut().zip(&sources) {
                    times.push(slices(&module, source, workers, guests)?);
                }
            }
            for (mut times, (name, _)) in times.into_iter().zip(&sources) {
                times.sort_by(f64::total_cmp);
                let time = times[RUNS / 2];
                println!("  {guests:>6} guests, {workers} workers, {name:<30} {time:>6.2}");
            }
        }
    }
    Ok(())
}
