//! What does a feature cost that is compiled in and not used?
//!
//! Builds `benches/calls.rs` twice, with the crate's default features and with `tokio` alone, and
//! runs the two in turns. For each question of that file it prints the best time of each build, and
//! their ratio. `--rounds N` sets how often each runs, 5 unless told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Nanoseconds for each question.
type Times = BTreeMap<String, f64>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let results = Path::new(env!("CARGO_TARGET_TMPDIR")).join("features");
    let without = build(&["--no-default-features", "--features", "tokio"])?;
    let with = build(&[])?;
    let (mut times_without, mut times_with) = (Times::new(), Times::new());
    for _ in 0..rounds()? {
        measure(&without, &results, &mut times_without)?;
        measure(&with, &results, &mut times_with)?;
    }
    println!("{:<40} {:>12} {:>12} {:>6}", "", "without", "with", "ratio");
    for (question, without) in &times_without {
        let with = times_with[question];
        println!("{question:<40} {without:>9.1} ns {with:>9.1} ns {:>6.3}", with / without);
    }
    Ok(())
}

fn rounds() -> Result<u32> {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--rounds").skip(1);
    arguments.next().map_or(Ok(5), |rounds| rounds.parse().context("--rounds takes a number"))
}

/// Builds `benches/calls.rs` with these features, and answers where it is.
fn build(features: &[&str]) -> Result<PathBuf> {
    let output = Command::new(env!("CARGO"))
        .args(["bench", "-p", "lampwick", "--no-run", "--bench", "calls"])
        .arg("--message-format=json-render-diagnostics")
        .args(features)
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "cargo failed");
    let messages = String::from_utf8(output.stdout)?;
    let mut executables = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_it = message["target"]["name"] == "calls";
        message["executable"].as_str().filter(|_| is_it).map(PathBuf::from)
    });
    executables.next_back().context("cargo names no executable")
}

/// Runs all questions once, and keeps the better of each time and that of earlier rounds.
fn measure(bench: &Path, results: &Path, best: &mut Times) -> Result<()> {
    let status = Command::new(bench)
        .args([
            "--bench",
            "--noplot",
            "--quiet",
            "--warm-up-time",
            "0.3",
            "--measurement-time",
            "1",
        ])
        .env("CRITERION_HOME", results)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    ensure!(status.success(), "{} failed: {status}", bench.display());
    for entry in std::fs::read_dir(results)? {
        let folder = entry?.path().join("new");
        let read = |file: &str| -> Result<Value> {
            Ok(serde_json::from_slice(&std::fs::read(folder.join(file))?)?)
        };
        let Ok(benchmark) = read("benchmark.json") else { continue };
        let question = benchmark["full_id"].as_str().context("a benchmark without a name")?;
        let time = read("estimates.json")?["median"]["point_estimate"].as_f64();
        let time = time.with_context(|| format!("no time for {question}"))?;
        let best = best.entry(question.to_owned()).or_insert(time);
        *best = best.min(time);
    }
    Ok(())
}
