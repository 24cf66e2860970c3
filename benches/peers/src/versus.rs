//! One row for each piece of work: ours, and the peer's with both of its ways to allocate.

use crate::measure::{self, Contender, Effort};
use crate::report::{Bound, Report, Row, Unit};
use anyhow::{Context as _, Result};

/// Who does a piece of work.
pub struct Contest {
    pub work: String,
    pub unit: Unit,
    pub effort: Effort,
    pub aim: Option<Bound>,
    pub ours: Contender,
    pub on_demand: Contender,
    /// Where it makes a difference.
    pub pooled: Option<Contender>,
}

/// Measures a contest.
pub fn run(question: &str, contest: Contest, report: &mut Report) -> Result<()> {
    let Contest { work, unit, effort, aim, ours, on_demand, pooled } = contest;
    let contenders = [Some(ours), Some(on_demand), pooled].into_iter().flatten().collect();
    let samples = measure::interleave(contenders, effort).with_context(|| work.clone())?;
    let (ours, on_demand, pooled) = (&samples[0], &samples[1], samples.get(2));
    let row = Row::new(question, work, unit, ours).beside(ours, on_demand, pooled);
    report.push(match aim {
        Some(bound) => row.aim(bound),
        None => row,
    });
    Ok(())
}
