//! The report as drawings: bars for each piece of work, with lines from the least to the most that
//! was measured. Text and lines are of a grey that is legible on white and on black.

use crate::report::{Report, Row, Spread, Unit};
use anyhow::{Context as _, Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::path::Path;

const INK: RGBColor = RGBColor(0x80, 0x80, 0x80);

/// Who a bar belongs to.
const OURS: (&str, RGBColor) = ("lampwick", RGBColor(0xe0, 0x7b, 0x1f));
const ON_DEMAND: (&str, RGBColor) = ("wasmtime", RGBColor(0x4a, 0x7f, 0xd0));
const POOLED: (&str, RGBColor) = ("wasmtime, pooled", RGBColor(0x8a, 0x6f, 0xc8));
const UNMETERED: (&str, RGBColor) = ("unmetered", RGBColor(0x2f, 0x9e, 0x77));
const METERED: (&str, RGBColor) = ("metered", RGBColor(0xe0, 0x7b, 0x1f));

/// One piece of work with a bar for each that has one.
struct Group {
    name: String,
    bars: Vec<Option<Spread>>,
}

struct Plot {
    file: &'static str,
    title: &'static str,
    series: Vec<(&'static str, RGBColor)>,
    groups: Vec<Group>,
    /// Bars are as long as the logarithm of what they show.
    is_logarithmic: bool,
    /// A dashed line across the bars.
    line: Option<f64>,
}

/// Draws whichever plots the report has rows for.
pub fn draw(report: &Report, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    for plot in plots(report) {
        let file = folder.join(plot.file);
        svg(&plot, &file).with_context(|| format!("drawing {}", file.display()))?;
    }
    Ok(())
}

/// The plots as images of Markdown, which are in that folder.
pub fn markdown(report: &Report, folder: &str) -> String {
    let plots =
        plots(report).map(|Plot { title, file, .. }| format!("![{title}]({folder}/{file})\n"));
    plots.collect::<Vec<_>>().join("\n")
}

fn plots(report: &Report) -> impl Iterator<Item = Plot> {
    let plots = [metering(report), code(report), operations(report), compilation(report)];
    plots.into_iter().filter(|plot| !plot.groups.is_empty())
}

fn metering(report: &Report) -> Plot {
    const WHAT: &str = ", metered ÷ unmetered";
    let rows = report.rows.iter();
    let groups = rows.filter_map(|row| {
        let name = row.work.strip_suffix(WHAT)?.to_owned();
        Some(Group { name, bars: vec![Some(row.ours), row.on_demand] })
    });
    Plot {
        file: "metering.svg",
        title: "What fuel costs: metered time ÷ unmetered time",
        series: vec![OURS, ON_DEMAND],
        groups: groups.collect(),
        is_logarithmic: false,
        line: Some(1.0),
    }
}

fn code(report: &Report) -> Plot {
    let is_metered = |row: &Row, name: &str| row.work.strip_suffix(", metered") == Some(name);
    let groups = report.rows.iter().filter_map(|row| {
        let metered = report
            .rows
            .iter()
            .find(|other| other.question == row.question && is_metered(other, &row.work))?;
        let is_kernel = row.unit == Unit::Milliseconds && !row.question.starts_with("compilation");
        is_kernel.then(|| Group { name: row.work.clone(), bars: vec![row.ratio, metered.ratio] })
    });
    Plot {
        file: "code.svg",
        title: "Guests' time: lampwick's ÷ wasmtime's",
        series: vec![UNMETERED, METERED],
        groups: groups.collect(),
        is_logarithmic: false,
        line: Some(1.0),
    }
}

fn operations(report: &Report) -> Plot {
    let small = [Unit::Nanoseconds, Unit::Microseconds];
    let rows = report.rows.iter().filter(|row| small.contains(&row.unit));
    Plot {
        file: "operations.svg",
        title: "Calls, yields, instances: nanoseconds, logarithmic",
        series: vec![OURS, ON_DEMAND, POOLED],
        groups: rows.map(all_bars).collect(),
        is_logarithmic: true,
        line: None,
    }
}

fn compilation(report: &Report) -> Plot {
    let rows = report.rows.iter().filter(|row| row.question.starts_with("compilation"));
    let groups = rows.map(|row| Group { name: row.work.clone(), bars: vec![row.ratio] });
    Plot {
        file: "compilation.svg",
        title: "Time to compile: lampwick's ÷ wasmtime's",
        series: vec![("ratio", OURS.1)],
        groups: groups.collect(),
        is_logarithmic: false,
        line: Some(1.0),
    }
}

fn all_bars(row: &Row) -> Group {
    Group { name: row.work.clone(), bars: vec![Some(row.ours), row.on_demand, row.pooled] }
}

// The layout, in pixels.
const WIDTH: u32 = 900;
const NAMES: i32 = 380;
const RIGHT: i32 = 830;
const TOP: i32 = 70;
const BAR: i32 = 11;
const GAP: i32 = 9;

fn svg(plot: &Plot, file: &Path) -> Result<()> {
    let group_height = BAR * plot.series.len() as i32 + GAP;
    let bottom = TOP + group_height * plot.groups.len() as i32;
    let area = SVGBackend::new(file, (WIDTH, bottom as u32 + 20)).into_drawing_area();
    // Errors of the backend are not `Sync`, as `anyhow` would have them.
    let drawn = draw_on(&area, plot, group_height, bottom).and_then(|()| area.present());
    drawn.map_err(|error| anyhow!("{error}"))
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

fn draw_on<'a>(area: &Area<'a>, plot: &Plot, group_height: i32, bottom: i32) -> Drawn<'a> {
    let text = |size: i32, side| {
        let position = Pos::new(side, VPos::Center);
        TextStyle::from(("sans-serif", size).into_font()).color(&INK).pos(position)
    };
    let label = |label: &str, at: (i32, i32), style: TextStyle| area.draw_text(label, &style, at);
    label(plot.title, (10, 18), text(17, HPos::Left))?;
    for (at, (name, color)) in plot.series.iter().enumerate() {
        let x = NAMES + at as i32 * 150;
        area.draw(&Rectangle::new([(x, 39), (x + 11, 50)], color.filled()))?;
        label(name, (x + 17, 45), text(13, HPos::Left))?;
    }
    let all = plot.groups.iter().flat_map(|group| group.bars.iter().flatten());
    let most = all.map(|spread| spread.max).fold(1.0, f64::max);
    let x = |value: f64| {
        let part = match plot.is_logarithmic {
            true => value.max(1.0).ln() / most.ln().max(f64::MIN_POSITIVE),
            false => value / most,
        };
        NAMES + ((RIGHT - NAMES) as f64 * part) as i32
    };
    for (at, group) in plot.groups.iter().enumerate() {
        let top = TOP + group_height * at as i32;
        let middle = top + (group_height - GAP) / 2;
        label(&group.name, (NAMES - 10, middle), text(13, HPos::Right))?;
        for (at, (bar, (_, color))) in group.bars.iter().zip(&plot.series).enumerate() {
            let Some(Spread { min, median, max }) = *bar else { continue };
            let top = top + BAR * at as i32;
            let corners = [(NAMES, top), (x(median), top + BAR - 1)];
            area.draw(&Rectangle::new(corners, color.filled()))?;
            let middle = top + BAR / 2;
            let range = [(x(min), middle), (x(max), middle)];
            area.draw(&PathElement::new(range, INK.stroke_width(1)))?;
            let value = format!("{median:.*}", usize::from(median < 100.0) * 2);
            label(&value, (x(max) + 6, middle), text(11, HPos::Left))?;
        }
    }
    if let Some(line) = plot.line {
        for y in (TOP - 6..bottom).step_by(8) {
            let dash = [(x(line), y), (x(line), y + 4)];
            area.draw(&PathElement::new(dash, INK.stroke_width(1)))?;
        }
    }
    Ok(())
}
