//! What came of it, counted and printed.

use std::sync::Arc;

use lampwick_wast::{Fuel, Outcome, Way};

/// How many assertions the pinned version of the suite has in scope. Fewer mean that it was not
/// read properly.
const ASSERTIONS: usize = 111_249;

/// Fewer yields than this in the async run mean that its slices had no effect: there are about
/// 100,000,000.
const YIELDS: u64 = 50_000_000;

/// No more failures than this are printed for a file in a run.
const SHOWN: usize = 20;

/// What came of a file in all runs, in their order.
pub(crate) struct FileReport {
    pub(crate) file: String,
    pub(crate) outcomes: Vec<Outcome>,
}

impl FileReport {
    /// The file could not even be read.
    pub(crate) fn unreadable(file: String, runs: usize, error: &anyhow::Error) -> Self {
        let outcome = || Outcome {
            failed: 1,
            failures: vec![format!("0: cannot read the file: {error:#}")],
            ..Outcome::default()
        };
        Self { file, outcomes: std::iter::repeat_with(outcome).take(runs).collect() }
    }
}

/// What came of all files.
pub(crate) struct Report {
    runs: Arc<[Way]>,
    totals: Vec<Outcome>,
}

impl Report {
    pub(crate) fn new(runs: &Arc<[Way]>) -> Self {
        let totals = runs.iter().map(|_| Outcome::default()).collect();
        Self { runs: runs.clone(), totals }
    }

    /// Adds a file, and prints its failures.
    pub(crate) fn add(&mut self, report: FileReport) {
        let runs = self.runs.iter().zip(&mut self.totals);
        for ((run, total), outcome) in runs.zip(report.outcomes) {
            total.passed += outcome.passed;
            total.failed += outcome.failed;
            total.yields += outcome.yields;
            for failure in outcome.failures.iter().take(SHOWN) {
                eprintln!("{} ({}):{failure}", report.file, run.name());
            }
            if let Some(more @ 1..) = outcome.failures.len().checked_sub(SHOWN) {
                eprintln!("{} ({}): and {more} more", report.file, run.name());
            }
        }
    }

    /// Prints a line for each run, and the closing one.
    pub(crate) fn print(&self) {
        for (run, total) in self.runs.iter().zip(&self.totals) {
            println!("{}: {} passed, {} failed", run.name(), total.passed, total.failed);
            if run.fuel() == Fuel::Sliced {
                println!("  (guests were suspended {} times)", total.yields);
            }
        }
        let passed: usize = self.totals.iter().map(|total| total.passed).sum();
        let failed: usize = self.totals.iter().map(|total| total.failed).sum();
        println!("{passed} passed, {failed} failed");
    }

    pub(crate) fn succeeded(&self) -> bool {
        self.totals.iter().all(|total| total.failed == 0)
    }

    /// Whether as much happened as a run of the whole suite must make happen; prints what did not.
    pub(crate) fn is_plausible(&self) -> bool {
        let mut plausible = true;
        for (run, total) in self.runs.iter().zip(&self.totals) {
            if total.passed < ASSERTIONS {
                eprintln!("{}: expected at least {ASSERTIONS} assertions", run.name());
                plausible = false;
            }
            if run.fuel() == Fuel::Sliced && total.yields < YIELDS {
                eprintln!("{}: expected at least {YIELDS} yields", run.name());
                plausible = false;
            }
        }
        plausible
    }
}
