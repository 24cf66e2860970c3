//! Does a tank that all guests share hold them up? 10,000 guests that compute for ever on tokio's
//! workers: microseconds of a worker for each slice, where fuel is injected and where it is drawn,
//! from one tank or from tenants' tanks under one; interleaved, the median of several runs.

use std::time::{Duration, Instant};

use anyhow::Result;
use lampwick::{Config, Engine, FuelTank, Instance, Module, Store};
use tokio::runtime::Builder;

const GUESTS: usize = 10_000;
const SLICE: u64 = 1_000;
const RUNS: usize = 5;
const TIME: Duration = Duration::from_millis(500);

const GUEST: &str = r#"(module (func (export "run") (loop (br 0))))"#;

#[derive(Clone, Copy)]
enum Source {
    Injected,
    OneTank,
    Tenants,
}

/// Microseconds of a worker for each slice.
fn slices(module: &Module, source: Source, workers: usize) -> Result<f64> {
    let machine = FuelTank::new(u64::MAX);
    machine.add(u64::MAX);
    let tenants: Vec<_> = (1..=100).map(|weight| machine.child(weight)).collect();
    let runtime = Builder::new_multi_thread().worker_threads(workers).enable_time().build()?;
    let mut handles = Vec::new();
    for index in 0..GUESTS {
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
    let (start, before) = (Instant::now(), burned());
    std::thread::sleep(TIME);
    let (time, burned) = (start.elapsed(), burned() - before);
    runtime.shutdown_timeout(Duration::from_secs(5));
    Ok(workers as f64 * time.as_secs_f64() * 1e6 * SLICE as f64 / burned as f64)
}

fn main() -> Result<()> {
    let engine = Engine::new(Config::new().async_support(true).consume_fuel(true))?;
    let module = Module::new(&engine, GUEST)?;
    let sources = [
        ("injected", Source::Injected),
        ("drawn from one tank", Source::OneTank),
        ("drawn from 100 tenants' tanks", Source::Tenants),
    ];
    println!("µs of a worker for a slice of {SLICE} units, {GUESTS} guests");
    for workers in [1, 2] {
        let mut times = [const { Vec::new() }; 3];
        for _ in 0..RUNS {
            for (times, (_, source)) in times.iter_mut().zip(sources) {
                times.push(slices(&module, source, workers)?);
            }
        }
        for (mut times, (name, _)) in times.into_iter().zip(sources) {
            times.sort_by(f64::total_cmp);
            println!("  {workers} workers, {name:<30} {:>6.2}", times[RUNS / 2]);
        }
    }
    Ok(())
}
