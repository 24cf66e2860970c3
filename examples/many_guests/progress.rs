//! How far the guests are: a bar that redraws in place on a terminal, plain lines elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, stdout};

/// A plain line is printed after each of so many parts of the whole.
const LINES: usize = 10;

pub(crate) struct Progress {
    all: usize,
    done: usize,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(crate) fn new(all: usize) -> Self {
        let bar = stdout().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(all as u64), ProgressDrawTarget::stdout());
            let style = ProgressStyle::with_template("{elapsed:>4} {wide_bar} {pos}/{len} guests");
            bar.with_style(style.expect("the template is a valid one"))
        });
        Progress { all, done: 0, bar }
    }

    /// One more guest is done.
    pub(crate) fn step(&mut self) {
        self.done += 1;
        match &self.bar {
            Some(bar) => bar.inc(1),
            None if self.done * LINES / self.all != (self.done - 1) * LINES / self.all => {
                println!("{} of {} guests done", self.done, self.all);
            }
            None => {}
        }
    }

    pub(crate) fn finish(self) {
        match self.bar {
            Some(bar) => bar.finish_and_clear(),
            None => println!(),
        }
    }
}
