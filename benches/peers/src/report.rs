//! What was measured: the rows that the table, the plots and the README show, and the aims.

use crate::measure::Samples;
use serde::{Deserialize, Serialize};

/// Of several rounds, in nanoseconds or as a ratio.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Spread {
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

/// In what a row is shown.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Unit {
    #[serde(rename = "ns")]
    Nanoseconds,
    #[serde(rename = "µs")]
    Microseconds,
    #[serde(rename = "ms")]
    Milliseconds,
    /// The row is a ratio itself.
    #[serde(rename = "×")]
    Times,
}

impl Unit {
    pub fn name(self) -> &'static str {
        match self {
            Unit::Nanoseconds => "ns",
            Unit::Microseconds => "µs",
            Unit::Milliseconds => "ms",
            Unit::Times => "×",
        }
    }

    /// How many of what was measured make one of these.
    pub fn size(self) -> f64 {
        match self {
            Unit::Nanoseconds | Unit::Times => 1.0,
            Unit::Microseconds => 1e3,
            Unit::Milliseconds => 1e6,
        }
    }
}

/// What a row is judged by. The values are in the row's unit.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub enum Bound {
    /// Ours is to be at most this.
    AtMost(f64),
    /// Ours is to be at least this.
    AtLeast(f64),
    /// Ours ÷ theirs is to be at most this.
    RatioAtMost(f64),
}

/// One piece of work: ours, and the peer's with its two ways to allocate.
#[derive(Clone, Serialize, Deserialize)]
pub struct Row {
    pub question: String,
    pub work: String,
    pub unit: Unit,
    pub ours: Spread,
    pub on_demand: Option<Spread>,
    pub pooled: Option<Spread>,
    /// Ours ÷ theirs, round by round.
    pub ratio: Option<Spread>,
    pub pooled_ratio: Option<Spread>,
    pub bound: Option<Bound>,
    /// Whether the bound is one of the aims. Other bounds only mark what an aim sums up.
    pub is_aim: bool,
}

impl Row {
    pub fn new(question: &str, work: impl Into<String>, unit: Unit, ours: &Samples) -> Self {
        Row {
            question: question.into(),
            work: work.into(),
            unit,
            ours: ours.spread(),
            on_demand: None,
            pooled: None,
            ratio: None,
            pooled_ratio: None,
            bound: None,
            is_aim: false,
        }
    }

    /// Puts the peer's beside ours.
    pub fn beside(mut self, ours: &Samples, on_demand: &Samples, pooled: Option<&Samples>) -> Self {
        self.on_demand = Some(on_demand.spread());
        self.ratio = Some(ours.ratio(on_demand).spread());
        self.pooled = pooled.map(Samples::spread);
        self.pooled_ratio = pooled.map(|pooled| ours.ratio(pooled).spread());
        self
    }

    pub fn aim(self, bound: Bound) -> Self {
        Row { bound: Some(bound), is_aim: true, ..self }
    }

    /// A bound that is marked where it is not kept, and counted elsewhere.
    pub fn mark(self, bound: Bound) -> Self {
        Row { bound: Some(bound), is_aim: false, ..self }
    }

    /// Whether the bound is kept, by the median. A row that lacks what it is judged by is short.
    pub fn is_met(&self) -> Option<bool> {
        let ours = self.ours.median / self.unit.size();
        self.bound.map(|bound| match bound {
            Bound::AtMost(most) => ours <= most,
            Bound::AtLeast(least) => ours >= least,
            Bound::RatioAtMost(most) => self.ratio.is_some_and(|ratio| ratio.median <= most),
        })
    }
}

/// A whole run.
#[derive(Default, Serialize, Deserialize)]
pub struct Report {
    /// What runs beside ours.
    pub peer: String,
    /// The processor and how many cores there are.
    pub machine: String,
    pub rows: Vec<Row>,
}

impl Report {
    /// How many aims are met, and how many there are.
    pub fn aims(&self) -> (usize, usize) {
        let aims = || self.rows.iter().filter(|row| row.is_aim);
        (aims().filter(|row| row.is_met() == Some(true)).count(), aims().count())
    }

    pub fn push(&mut self, row: Row) {
        eprintln!("{}: {}", row.question, row.work);
        self.rows.push(row);
    }
}
