//! Summaries and listings as text for people.

use std::fmt::Write as _;

use super::code::Listing;
use super::summary::{Function, Summary};

/// No more functions than this are listed, the largest.
const LARGEST: usize = 10;

pub(super) fn summary(summary: &Summary) -> String {
    let mut text = String::new();
    let Summary { file, kind, name, sizes, imports, exports, functions } = summary;
    let mut line = |it: String| {
        text.push_str(&it);
        text.push('\n');
    };
    let called = name.as_ref().map(|name| format!(", called {name:?}")).unwrap_or_default();
    line(format!("{file}: {kind}{called}, {} bytes", sizes.file));
    if !sizes.sections.is_empty() {
        line("\nsections:".to_owned());
        for (section, size) in &sizes.sections {
            line(format!("  {size:>10}  {section}"));
        }
    }
    line(format!("\nimports: {}", imports.len()));
    for import in imports {
        let (module, name) = (import.module.escape_debug(), import.name.escape_debug());
        line(format!("  {:<8}  {module}.{name}  {}", import.kind, import.ty));
    }
    line(format!("\nexports: {}", exports.len()));
    for export in exports {
        line(format!("  {:<8}  {}  {}", export.kind, export.name.escape_debug(), export.ty));
    }
    line(format!(
        "\nfunctions: {}, with {} bytes of machine code",
        functions.len(),
        sizes.machine_code
    ));
    let mut largest: Vec<&Function> = functions.iter().collect();
    largest.sort_by_key(|function| std::cmp::Reverse(function.machine_code));
    for function in largest.iter().take(LARGEST) {
        let name = function.name.as_deref().or(function.exports.first().map(String::as_str));
        let name = name.unwrap_or("").escape_debug();
        line(format!("  {:>10}  {}  {name}", function.machine_code, function.index));
    }
    if let Some(more @ 1..) = functions.len().checked_sub(LARGEST) {
        line(format!("  and {more} smaller ones"));
    }
    text
}

/// Wasm on the left margin, its machine code below it, indented.
pub(super) fn listing(listing: &Listing) -> String {
    let mut text = String::new();
    let name = listing.name.as_deref().unwrap_or("").escape_debug();
    let _ = writeln!(
        text,
        "function {} {name}: {} bytes of machine code",
        listing.index, listing.machine_code
    );
    if let Some(note) = listing.note {
        let _ = writeln!(text, "({note})");
    }
    for part in &listing.parts {
        match (part.offset, &part.wasm) {
            (Some(offset), Some(wasm)) => {
                let _ = writeln!(text, "{offset:#8x}  {wasm}");
            }
            (Some(offset), None) => {
                let _ = writeln!(text, "{offset:#8x}");
            }
            (None, _) => text.push_str("          ;; ways in and out\n"),
        }
        for instruction in &part.instructions {
            let _ = writeln!(text, "    {:>6x}:  {}", instruction.offset, instruction.text);
        }
    }
    text
}
