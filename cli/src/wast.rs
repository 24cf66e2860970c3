//! `lampwick wast`.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow};
use indicatif::{ProgressBar, ProgressStyle};
use lampwick_wast::{Fuel, Outcome, Script, Way, catching, execute, record_panics};

use crate::args::WastArgs;
use crate::engine;
use crate::failure::Failure;

/// Reading and compiling deeply nested modules takes more stack than a thread gets by default.
const STACK: usize = 64 << 20;

/// Chooses the slices, which are the same in every run.
const SEED: u64 = 0;

/// Runs scripts, and prints what failed and how many assertions passed.
pub fn wast(args: &WastArgs) -> Result<ExitCode, Failure> {
    let ways = ways(args.slices).map_err(Failure::other)?;
    // All are read first: one that is missing is misuse, whatever the others hold.
    let texts: Vec<(&Path, String)> = args
        .files
        .iter()
        .map(|path| Ok((path.as_path(), read(path).map_err(Failure::misuse)?)))
        .collect::<Result<_, Failure>>()?;
    record_panics();
    let bar = progress(texts.len());
    let mut total = Outcome::default();
    for (path, text) in texts {
        bar.set_message(path.display().to_string());
        for (way, outcome) in ways.iter().zip(run(path, &text, &ways)?) {
            total.passed += outcome.passed;
            total.failed += outcome.failed;
            for failure in &outcome.failures {
                bar.suspend(|| eprintln!("{} ({}):{failure}", path.display(), way.name()));
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    println!("{} passed, {} failed", total.passed, total.failed);
    Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The ways in which scripts are run. The metered one stands before that which compares with it.
fn ways(slices: bool) -> Result<Vec<Way>> {
    let config = engine::config();
    let mut ways = vec![Way::new("fuel off", Fuel::Off, &config)?];
    if slices {
        ways.push(Way::new("fuel on", Fuel::Measured, &config)?);
        ways.push(Way::new("async slices", Fuel::Sliced, &config)?);
    }
    Ok(ways)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))
}

/// Runs a script in each way, on a thread with a stack for what is nested deeply.
fn run(path: &Path, text: &str, ways: &[Way]) -> Result<Vec<Outcome>, Failure> {
    let name = path.display().to_string();
    let work = || -> Result<Vec<Outcome>> {
        let script = catching(|| Script::read(text, |_line| false))
            .with_context(|| format!("`{name}` is no script"))?;
        let mut costs = Vec::new();
        Ok(ways.iter().map(|way| execute(&name, &script, way, &mut costs, SEED)).collect())
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        let thread = thread.context("the system has no thread").map_err(Failure::other)?;
        thread
            .join()
            .map_err(|_| Failure::other(anyhow!("the runner panicked")))?
            .map_err(Failure::misuse)
    })
}

/// Shows how far it is, if the standard error is a terminal.
fn progress(files: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}");
    let bar = ProgressBar::new(files as u64);
    bar.with_style(style.expect("the template is right"))
}
