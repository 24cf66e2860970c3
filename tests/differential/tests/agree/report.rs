//! What came of all modules.

use std::collections::BTreeMap;

use lampwick_differential::Outcome;

/// Fewer modules of a hundred than this, compared to their end, mean that the rest has a cause.
const COMPARED: u64 = 98;

/// No more differences than this are printed.
const SHOWN: u64 = 20;

#[derive(Default)]
pub(crate) struct Report {
    agreed: u64,
    differed: u64,
    /// Why modules were not compared to their end, and how many.
    limited: BTreeMap<String, u64>,
    /// Calls that returned, and that trapped; calls of host functions.
    returned: u64,
    trapped: u64,
    host_calls: u64,
}

impl Report {
    /// Adds what came of a module, and prints a difference.
    pub(crate) fn add(&mut self, repeat: &str, outcome: Outcome) {
        match outcome {
            Outcome::Agreed(tally) => {
                self.agreed += 1;
                self.returned += tally.returned;
                self.trapped += tally.trapped;
                self.host_calls += tally.host_calls;
            }
            Outcome::Limited(limit) => *self.limited.entry(limit).or_default() += 1,
            Outcome::Differed(difference) => {
                self.differed += 1;
                if self.differed <= SHOWN {
                    eprintln!("{difference}\n    {repeat}");
                }
            }
        }
    }

    /// Prints what came of all, which are called `what`, and did what `agreed` says.
    pub(crate) fn print(&self, what: &str, agreed: &str) {
        for (limit, number) in &self.limited {
            println!("{number} {what} were not compared to their end: {limit}");
        }
        let Self { returned, trapped, host_calls, .. } = self;
        println!("{returned} calls returned, {trapped} trapped; {host_calls} calls of the host");
        println!("{} {what} {agreed}, {} differed", self.agreed, self.differed);
    }

    /// Whether nothing differed, and nothing was left out.
    pub(crate) fn agreed_on_all(&self) -> bool {
        self.differed == 0 && self.limited.is_empty()
    }

    /// Whether nothing differed. A whole run must also have compared enough of what it made.
    pub(crate) fn succeeded(&self, whole: bool) -> bool {
        let modules = self.agreed + self.differed + self.limited.values().sum::<u64>();
        let enough = self.agreed * 100 >= modules * COMPARED
            && self.returned >= modules
            && self.trapped >= modules / 2
            && self.host_calls >= modules / 2;
        if whole && !enough {
            eprintln!("expected {COMPARED} % to be compared, and more calls");
        }
        self.differed == 0 && (enough || !whole)
    }
}
