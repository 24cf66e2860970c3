//! A thousand guests on two workers: some are short, some are long, some never end, some trap.
//! None of them can hold a worker for longer than a slice of fuel.
//!
//! `cargo run --release --example many_guests -- --help` names the options.

mod guests;
mod options;
mod progress;
mod report;
mod ticker;

use anyhow::{Result, ensure};
use guests::{Kind, OUT_OF_FUEL, Outcome};
use options::Options;
use progress::Progress;
use std::time::{Duration, Instant};
use ticker::Ticker;
use tokio::task::JoinSet;

fn main() -> Result<()> {
    let Some(options) = options::parse()? else {
        return Ok(());
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(options.workers)
        .enable_time()
        .build()?;
    runtime.block_on(run(&options))
}

async fn run(options: &Options) -> Result<()> {
    let kinds = guests::compile()?;

    let idle = Ticker::start();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let idle = idle.stop().await?;

    let start = Instant::now();
    let busy = Ticker::start();
    let mut tasks = JoinSet::new();
    for number in 0..options.guests {
        tasks.spawn(guests::run(kinds[number % kinds.len()].clone()));
    }
    let mut progress = Progress::new(options.guests);
    let mut outcomes = Vec::with_capacity(options.guests);
    while let Some(outcome) = tasks.join_next().await {
        outcomes.push(outcome??);
        progress.step();
    }
    progress.finish();
    let busy = busy.stop().await?;

    println!("{} guests on {} workers: {:.2?}\n", options.guests, options.workers, start.elapsed());
    report::print(&kinds, &outcomes);
    println!("\nA ticker of 1 ms on the same runtime, its delays:");
    println!("  alone               {idle}");
    println!("  beside the guests   {busy}");
    check(&kinds, &outcomes)
}

/// Every guest must have ended as its kind says, and the endless ones after exactly their
/// injections.
fn check(kinds: &[Kind], outcomes: &[Outcome]) -> Result<()> {
    for outcome in outcomes {
        let kind = &kinds[outcome.kind];
        let ending = &outcome.ending;
        ensure!(
            ending == kind.ends,
            "a guest `{}` should end with `{}`, not `{ending}`",
            kind.name,
            kind.ends
        );
        if ending == OUT_OF_FUEL {
            let (slices, most) = (outcome.slices, kind.injections);
            ensure!(slices == most, "a guest `{}` had {slices} slices, not {most}", kind.name);
        }
    }
    Ok(())
}
