//! What do accounts cost?
//!
//! The same work is done without accounts, with them, and with a reader of reports, in turns of a few
//! milliseconds; each line shows the median time without, the medians of the ratios of neighbours, and,
//! which other work on the machine changes least, the ratios of the least times.
//! The first three are what servers do: 64 guests on a tokio runtime of one thread, some of which wait
//! for the host; slices of 10,000 units of fuel are a microsecond. The others are nothing but what accounts
//! count.
//! `--rounds N` sets how many turns there are, 200 unless told. `--features tracing` adds spans that
//! nobody listens to.

use std::hint::black_box;

use anyhow::{Context, Result};
use lampwick::{Caller, Config, Engine, Linker, Module, Store, TypedFunc};
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Builder, Runtime};

/// Host calls with some 100,000 units of fuel behind each; and loops of one kind alone.
const GUEST: &str = r#"(module (import "host" "now" (func $now (param i32) (result i32)))
    (import "host" "later" (func $later))
    (memory 2) (data (i32.const 0) "one segment") (data (i32.const 70000) "another")
    (func $work (param $i i32)
        (loop
            (i32.store (i32.and (local.get $i) (i32.const 0xfffc))
                (i32.add (i32.load (i32.const 64)) (local.get $i)))
            (br_if 0 (local.tee $i (i32.sub (local.get $i) (i32.const 1))))))
    (func (export "serve") (param $rounds i32)
        (loop
            (drop (call $now (local.get $rounds)))
            (call $later)
            (call $work (i32.const 8000))
            (br_if 0 (local.tee $rounds (i32.sub (local.get $rounds) (i32.const 1))))))
    (func (export "compute") (param i32) (call $work (local.get 0)))
    (func (export "now") (param i32)
        (loop (drop (call $now (local.get 0)))
            (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))"#;

/// An engine, and how guests are started in it.
struct Server {
    linker: Linker<()>,
    module: Module,
    runtime: Runtime,
}

impl Server {
    fn new(change: impl FnOnce(&mut Config)) -> Result<Self> {
        let mut config = Config::new();
        config.async_support(true).consume_fuel(true);
        change(&mut config);
        let engine = Engine::new(&config)?;
        let mut linker = Linker::new(&engine);
        linker.func_wrap("host", "now", |x: i32| x.wrapping_add(1))?;
        linker.func_wrap0_async("host", "later", |_: Caller<'_, ()>| {
            Box::new(tokio::task::yield_now())
        })?;
        let module = Module::new(&engine, GUEST)?;
        Ok(Self { linker, module, runtime: Builder::new_current_thread().build()? })
    }

    async fn start(&self, export: &str, slice: u64) -> Result<(Store<()>, TypedFunc<i32, ()>)> {
        let mut store = Store::new(self.linker.engine(), ());
        store.set_name("guest");
        store.out_of_fuel_async_yield(u64::MAX, slice);
        let instance = self.linker.instantiate_async(&mut store, &self.module).await?;
        let func = instance.get_typed_func(&mut store, export)?;
        Ok((store, func))
    }

    /// As many guests at a time as a busy server has, each of which is instantiated and called once.
    fn crowd(&self, export: &'static str, argument: i32, slice: u64) -> Result<()> {
        let guests = async {
            let guests = (0..64).map(|_| async {
                let (mut store, func) = self.start(export, slice).await?;
                anyhow::Ok(func.call_async(&mut store, argument).await?)
            });
            futures::future::try_join_all(guests).await.map(drop)
        };
        self.runtime.block_on(guests)
    }

    /// Many calls of one guest.
    fn calls(&self, export: &str, argument: i32, times: u32) -> Result<()> {
        self.runtime.block_on(async {
            let (mut store, func) = self.start(export, 1 << 40).await?;
            for _ in 0..times {
                func.call_async(&mut store, black_box(argument)).await?;
            }
            Ok(())
        })
    }
}

type Work = fn(&Server) -> Result<()>;

const WORK: [(&str, Work); 5] = [
    ("64 requests, 20 waits, slices of 100,000", |server| server.crowd("serve", 20, 100_000)),
    ("64 that compute, slices of 100,000", |server| server.crowd("compute", 30_000, 100_000)),
    ("the same, slices of 10,000", |server| server.crowd("compute", 30_000, 10_000)),
    ("10,000 calls that do next to nothing", |server| server.calls("compute", 1, 10_000)),
    ("a call with 300,000 host calls", |server| server.calls("now", 300_000, 1)),
];

/// Seconds of this thread that the work takes, whatever else the processor does meanwhile.
fn time(server: &Server, work: Work) -> Result<f64> {
    let now = || {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
    };
    let began = now();
    work(server)?;
    Ok(now() - began)
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

fn least(numbers: &[f64]) -> f64 {
    numbers.iter().copied().fold(f64::INFINITY, f64::min)
}

fn rounds() -> Result<u32> {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--rounds").skip(1);
    arguments.next().map_or(Ok(200), |rounds| rounds.parse().context("--rounds takes a number"))
}

fn main() -> Result<()> {
    let off = Server::new(|_| {})?;
    let on = Server::new(|config| {
        config.accounts(true);
    })?;
    let read = Server::new(|config| {
        config.call_reports(|report| {
            black_box(report.stats);
        });
    })?;
    println!("{:<42} {:>12} {:>8} {:>8}    at the least", "", "off", "on", "reports");
    for (name, work) in WORK {
        let mut times = [(); 3].map(|()| Vec::new());
        for _ in 0..rounds()? {
            for (times, server) in times.iter_mut().zip([&off, &on, &read]) {
                times.push(time(server, work)?);
            }
        }
        let [offs, ons, reads] = &times;
        let to_off = |times: &[f64]| {
            let neighbours = times.iter().zip(offs).map(|(with, without)| with / without).collect();
            [median(neighbours), least(times) / least(offs)]
        };
        let ([on, on_least], [read, read_least]) = (to_off(ons), to_off(reads));
        let off = median(offs.clone()) * 1e6;
        println!(
            "{name:<42} {off:>9.0} µs {on:>8.3} {read:>8.3} {on_least:>8.3} {read_least:>8.3}"
        );
    }
    Ok(())
}
