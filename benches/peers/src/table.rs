//! The report as text: one table for terminals, and one in Markdown with the medians.

use crate::report::{Bound, Report, Row, Spread, Unit};
use std::fmt::Write as _;

const HEADS: [&str; 7] =
    ["work", "lampwick", "wasmtime", "pooled", "ours ÷ theirs", "ours ÷ pooled", "aim"];

/// All rows with `min–median–max`, under their questions; the last line counts the aims.
pub fn text(report: &Report) -> String {
    let mut lines: Vec<Vec<String>> = vec![HEADS.map(String::from).into()];
    let mut question = "";
    for row in &report.rows {
        if row.question != question {
            question = &row.question;
            lines.push(vec![]);
            lines.push(vec![question.to_string()]);
        }
        lines.push(cells(row, spread));
    }
    let width = |column: usize| {
        let cells = lines.iter().filter(|cells| cells.len() > 1).filter_map(|it| it.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..HEADS.len()).map(width).collect();
    let mut text = format!(
        "{}; beside {}; min–median–max, judged by the median\n\n",
        report.machine, report.peer
    );
    for cells in &lines {
        let mut line = String::new();
        for (column, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            line += &match column {
                0 => format!("{cell:width$}"),
                _ => format!("   {cell:>width$}"),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    let (met, all) = report.aims();
    // Writing to a string does not fail.
    let _ = write!(text, "\n{met} of {all} aims met");
    text
}

/// The medians of what there are aims for, as a table of Markdown.
pub fn markdown(report: &Report) -> String {
    let mut text = format!("| {} |\n|{}\n", HEADS.join(" | "), "---|".repeat(HEADS.len()));
    for row in report.rows.iter().filter(|row| row.is_aim) {
        let median = |spread: Spread, size: f64| number(spread.median / size);
        text += &format!("| {} |\n", cells(row, median).join(" | "));
    }
    let (met, all) = report.aims();
    text + &format!("\n{met} of {all} aims met, beside {}, on {}.\n", report.peer, report.machine)
}

fn cells(row: &Row, show: impl Fn(Spread, f64) -> String) -> Vec<String> {
    let size = row.unit.size();
    let cell = |spread: Option<Spread>, size: f64| spread.map_or("–".into(), |it| show(it, size));
    let unit = if row.unit == Unit::Times { "" } else { row.unit.name() };
    let with_unit = if unit.is_empty() { String::new() } else { format!(", {unit}") };
    vec![
        format!("{}{with_unit}", row.work),
        cell(Some(row.ours), size),
        cell(row.on_demand, size),
        cell(row.pooled, size),
        cell(row.ratio, 1.0),
        cell(row.pooled_ratio, 1.0),
        verdict(row),
    ]
}

/// Aims always show; what only adds to one shows where it is short.
fn verdict(row: &Row) -> String {
    let (Some(bound), Some(is_met)) = (row.bound, row.is_met()) else { return "–".into() };
    let bound = match bound {
        Bound::AtMost(most) => format!("≤ {most}"),
        Bound::AtLeast(least) => format!("≥ {least}"),
        Bound::RatioAtMost(most) => format!("≤ {most} × theirs"),
    };
    match (is_met, row.is_aim) {
        (true, true) => format!("{bound} met"),
        (true, false) => String::new(),
        (false, _) => format!("{bound} SHORT"),
    }
}

fn spread(spread: Spread, size: f64) -> String {
    let Spread { min, median, max } = spread;
    format!("{}–{}–{}", number(min / size), number(median / size), number(max / size))
}

fn number(value: f64) -> String {
    let digits = if value < 10.0 {
        2
    } else if value < 100.0 {
        1
    } else {
        0
    };
    format!("{value:.digits$}")
}
