//! Times contenders against each other: in one process, round by round, so that whatever disturbs
//! the machine disturbs all of them.

use crate::report::Spread;
use anyhow::Result;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Does the work that many times and answers how long that took.
pub type Contender = Box<dyn FnMut(u64) -> Result<Duration>>;

/// How much is measured of each contender.
#[derive(Clone, Copy)]
pub struct Effort {
    /// How many interleaved rounds each figure comes from.
    pub rounds: usize,
    /// A contender does its work so often that a round of it takes at least this long.
    pub round: Duration,
}

impl Effort {
    /// For work of nanoseconds to milliseconds.
    pub const USUAL: Self = Effort { rounds: 21, round: Duration::from_millis(8) };
    /// For work on several threads, which are new in each round: the system may let them share a core
    /// for some milliseconds before it moves one.
    pub const THREADS: Self = Effort { rounds: 21, round: Duration::from_millis(60) };
    /// For work of a second.
    pub const LONG: Self = Effort { rounds: 7, round: Duration::ZERO };
    /// For work of ten seconds.
    pub const HUGE: Self = Effort { rounds: 3, round: Duration::ZERO };
}

/// What one contender needed for its work in each round, in nanoseconds; or the ratios of two.
#[derive(Clone)]
pub struct Samples(Vec<f64>);

impl Samples {
    pub fn spread(&self) -> Spread {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        Spread { min: sorted[0], median: self.median(), max: sorted[sorted.len() - 1] }
    }

    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }

    /// How much longer this took than `other`, round by round.
    pub fn ratio(&self, other: &Samples) -> Samples {
        Samples(self.0.iter().zip(&other.0).map(|(a, b)| a / b).collect())
    }

    /// The mean of several, round by round. All have as many rounds.
    pub fn mean(several: &[Samples]) -> Samples {
        let round = |at: usize| several.iter().map(|samples| samples.0[at]).sum::<f64>();
        let rounds = several.iter().map(|samples| samples.0.len()).min().unwrap_or(0);
        Samples((0..rounds).map(|at| round(at) / several.len() as f64).collect())
    }
}

/// Runs the contenders in turn, and in the opposite order in every other round.
pub fn interleave(mut contenders: Vec<Contender>, effort: Effort) -> Result<Vec<Samples>> {
    let calibrated = contenders.iter_mut().map(|contender| calibrate(contender, effort.round));
    let times = calibrated.collect::<Result<Vec<_>>>()?;
    let mut samples = vec![Samples(Vec::with_capacity(effort.rounds)); contenders.len()];
    for round in 0..effort.rounds {
        for turn in 0..contenders.len() {
            let at = if round % 2 == 0 { turn } else { contenders.len() - 1 - turn };
            let elapsed = contenders[at](times[at])?;
            samples[at].0.push(elapsed.as_nanos() as f64 / times[at] as f64);
        }
    }
    Ok(samples)
}

/// How often a contender does its work in a round. Warms it up, too.
fn calibrate(contender: &mut Contender, round: Duration) -> Result<u64> {
    let mut times = 1;
    if !round.is_zero() {
        // What only the first time takes, such as making the image of a module, would end the search.
        contender(times)?;
    }
    loop {
        let elapsed = contender(times)?;
        if elapsed >= round {
            return Ok(times);
        }
        // Straight to the aim once the estimate is worth something, and never beyond 10 times.
        let factor = round.as_secs_f64() / elapsed.as_secs_f64().max(1e-9) * 1.1;
        times = (times as f64 * factor.clamp(1.2, 10.0)).ceil() as u64;
    }
}

/// Times a piece of work.
pub fn time<R>(work: impl FnOnce() -> Result<R>) -> Result<Duration> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

/// Polls until the future is ready, with a waker that does nothing: no executor's cost is added.
/// For futures that can go on at once whenever they are pending.
pub fn drive<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
}
