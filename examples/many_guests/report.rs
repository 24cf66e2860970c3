//! The table at the end: a line for each kind of guest, with the means of its guests.

use crate::guests::{Kind, Outcome};
use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) fn print(kinds: &[Kind], outcomes: &[Outcome]) {
    line(
        ["kind", "guests", "slices", "fuel", "computing", "until its end", "longest hold"],
        "ended",
    );
    for (number, kind) in kinds.iter().enumerate() {
        let of_kind: Vec<&Outcome> =
            outcomes.iter().filter(|outcome| outcome.kind == number).collect();
        if !of_kind.is_empty() {
            print_kind(kind.name, &of_kind);
        }
    }
}

fn print_kind(name: &str, outcomes: &[&Outcome]) {
    let guests = outcomes.len();
    let mut endings = BTreeMap::<&str, usize>::new();
    for outcome in outcomes {
        *endings.entry(&outcome.ending).or_default() += 1;
    }
    let endings: Vec<String> =
        endings.iter().map(|(ending, count)| format!("{count} × {ending}")).collect();
    let mean = |part: fn(&Outcome) -> u64| {
        outcomes.iter().map(|outcome| part(outcome)).sum::<u64>() / guests as u64
    };
    let mean_time = |part: fn(&Outcome) -> Duration| {
        let sum: Duration = outcomes.iter().map(|outcome| part(outcome)).sum();
        ms(sum / guests as u32)
    };
    let longest = outcomes.iter().map(|outcome| outcome.longest).max().unwrap_or_default();
    line(
        [
            name,
            &guests.to_string(),
            &mean(|outcome| outcome.slices).to_string(),
            &mean(|outcome| outcome.fuel).to_string(),
            &mean_time(|outcome| outcome.computing),
            &mean_time(|outcome| outcome.elapsed),
            &ms(longest),
        ],
        &endings.join(", "),
    );
}

fn line([kind, guests, slices, fuel, computing, elapsed, longest]: [&str; 7], ended: &str) {
    println!(
        "{kind:12} {guests:>6} {slices:>7} {fuel:>10} {computing:>12} {elapsed:>14} {longest:>13}   {ended}"
    );
}

fn ms(duration: Duration) -> String {
    format!("{:.3} ms", duration.as_secs_f64() * 1e3)
}
