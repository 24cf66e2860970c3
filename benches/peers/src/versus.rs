//! One row for each piece of work: ours, the peer's with both of its ways to allocate, an aim.

use crate::measure::{self, Contender};
use crate::table::{Score, Table, ratio, spread};
use anyhow::Result;

/// Who does a piece of work.
pub struct Contest {
    pub work: &'static str,
    /// The most that ours may take by its median, in nanoseconds.
    pub aim: Option<f64>,
    pub ours: Contender,
    pub on_demand: Contender,
    /// Where it makes a difference.
    pub pooled: Option<Contender>,
}

/// Measures one contest after the other and prints them as a table in nanoseconds.
pub fn run(title: &str, contests: Vec<Contest>, score: &mut Score) -> Result<()> {
    let mut table = Table::new(
        format!("{title}: ns (min–median–max)"),
        &[
            "work",
            "lampwick",
            "wasmtime",
            "wasmtime pooled",
            "ours ÷ theirs",
            "ours ÷ pooled",
            "aim",
        ],
    );
    for Contest { work, aim, ours, on_demand, pooled } in contests {
        let contenders = [Some(ours), Some(on_demand), pooled];
        let samples = measure::interleave(contenders.into_iter().flatten().collect())?;
        let (ours, on_demand, pooled) = (&samples[0], &samples[1], samples.get(2));
        let none = || "–".to_string();
        table.row([
            work.to_string(),
            spread(ours, 1.0),
            spread(on_demand, 1.0),
            pooled.map_or_else(none, |pooled| spread(pooled, 1.0)),
            ratio(&ours.ratio(on_demand)),
            pooled.map_or_else(none, |pooled| ratio(&ours.ratio(pooled))),
            aim.map_or_else(none, |aim| score.judge(ours.median(), aim, " ns")),
        ]);
    }
    table.print();
    Ok(())
}
