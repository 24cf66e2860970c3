//! The tables that are printed, and the count of aims that were met.

use crate::measure::Samples;

/// How many aims there were, and how many were met.
#[derive(Default)]
pub struct Score {
    met: usize,
    all: usize,
}

impl Score {
    /// Judges a measured value and answers the cell that says so.
    pub fn judge(&mut self, value: f64, most: f64, unit: &str) -> String {
        self.all += 1;
        let met = value <= most;
        self.met += usize::from(met);
        let verdict = if met { "met" } else { "SHORT" };
        format!("≤ {most}{unit} {verdict}")
    }
}

impl std::fmt::Display for Score {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} aims met", self.met, self.all)
    }
}

/// A table that aligns its columns: the first to the left, the others to the right.
pub struct Table {
    title: String,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(title: impl Into<String>, heads: &[&str]) -> Self {
        let heads = heads.iter().map(ToString::to_string).collect();
        Table { title: title.into(), rows: vec![heads] }
    }

    pub fn row(&mut self, cells: impl Into<Vec<String>>) {
        self.rows.push(cells.into());
    }

    pub fn print(&self) {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        println!("\n{}\n", self.title);
        for row in &self.rows {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                match column {
                    0 => line += &format!("{cell:width$}"),
                    _ => line += &format!("   {cell:>width$}"),
                }
            }
            println!("{}", line.trim_end());
        }
    }
}

/// `min–median–max`, each divided by `by`, with as many digits as the smallest needs.
pub fn spread(samples: &Samples, by: f64) -> String {
    let min = samples.min() / by;
    let digits = if min < 10.0 {
        2
    } else if min < 100.0 {
        1
    } else {
        0
    };
    let (median, max) = (samples.median() / by, samples.max() / by);
    format!("{min:.digits$}–{median:.digits$}–{max:.digits$}")
}

/// The median of a ratio.
pub fn ratio(samples: &Samples) -> String {
    format!("{:.2}", samples.median())
}
