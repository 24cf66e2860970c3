//! The report as a file, and as a part of the README.

use crate::report::Report;
use crate::{plots, table};
use anyhow::{Context as _, Result};
use std::path::Path;

/// Between these lines of the README are the table and the plots, and nothing else.
const BEGIN: &str = "<!-- benches/peers begins -->\n";
const END: &str = "<!-- benches/peers ends -->\n";

pub fn read(file: &Path) -> Result<Report> {
    let text = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is no report", file.display()))
}

pub fn write(report: &Report, file: &Path) -> Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let text = serde_json::to_string_pretty(report)? + "\n";
    std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))
}

/// Where `--publish` puts everything, from the project's root.
pub const FOLDER: &str = "docs/performance";

/// The whole table beside the README's, which has the aims only.
pub fn write_table(report: &Report, folder: &Path) -> Result<()> {
    let file = folder.join("table.txt");
    std::fs::write(&file, table::text(report) + "\n")
        .with_context(|| format!("writing {}", file.display()))
}

pub fn put_into_readme(report: &Report, file: &Path) -> Result<()> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let parts = text.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    });
    let (before, after) = parts.with_context(|| {
        format!("{} has no table between `{}` and `{}`", file.display(), BEGIN.trim(), END.trim())
    })?;
    let table = table::markdown(report);
    let whole =
        format!("All rows, with minimum and maximum: [`{FOLDER}/table.txt`]({FOLDER}/table.txt).");
    let plots = plots::markdown(report, FOLDER);
    std::fs::write(file, format!("{before}{BEGIN}\n{table}\n{whole}\n\n{plots}\n{END}{after}"))
        .with_context(|| format!("writing {}", file.display()))
}
