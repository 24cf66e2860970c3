//! The same work on `lampwick` and on `wasmtime`, in one process and interleaved, so that the
//! ratios hold on a noisy machine too. Run it with `cargo run --release`; names of questions as
//! arguments run only these.

mod calls;
mod engines;
mod guests;
mod instances;
mod measure;
mod table;
mod versus;
mod yields;

use anyhow::{Result, ensure};
use table::Score;

type Question = fn(&mut Score) -> Result<()>;

const QUESTIONS: [(&str, Question); 4] = [
    ("guests", guests::run),
    ("calls", calls::run),
    ("yields", yields::run),
    ("instances", instances::run),
];

fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let known = QUESTIONS.map(|(name, _)| name);
    for name in &wanted {
        ensure!(
            known.contains(&name.as_str()),
            "no question `{name}`; there are: {}",
            known.join(", ")
        );
    }
    println!("{} interleaved rounds; an aim is judged by the median", measure::ROUNDS);
    let mut score = Score::default();
    for (name, run) in QUESTIONS {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            run(&mut score)?;
        }
    }
    println!("\n{score}");
    Ok(())
}
