//! What programs took, as a table.

use std::fmt::Write as _;

use super::program::Ended;

/// A row for each program.
pub(super) fn table(ended: &[Ended]) -> String {
    const HEAD: [&str; 8] =
        ["program", "exit", "fuel", "slices", "time", "on workers", "longest", "peak memory"];
    let rows = ended.iter().map(|it| {
        let stats = &it.stats;
        [
            it.name.escape_debug().to_string(),
            it.code().to_string(),
            stats.fuel.to_string(),
            stats.slices.to_string(),
            format!("{:.1?}", it.took),
            format!("{:.1?}", stats.busy),
            format!("{:.1?}", stats.longest_poll),
            format!("{}", bytesize::ByteSize(stats.peak_memory)),
        ]
    });
    let rows: Vec<[String; 8]> = std::iter::once(HEAD.map(str::to_owned)).chain(rows).collect();
    let mut text = String::new();
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            let width = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
            let _ = match column {
                0 => write!(text, "{cell:<width$}"),
                _ => write!(text, "  {cell:>width$}"),
            };
        }
        text.push('\n');
    }
    text
}
