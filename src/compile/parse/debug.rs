//! The sections of DWARF. They are taken as they are: who reads them must not trust them.

use crate::compile::info::DebugSections;

/// The sections that say which source line and function an address belongs to.
const NAMES: [&str; 10] = [
    ".debug_abbrev",
    ".debug_addr",
    ".debug_aranges",
    ".debug_info",
    ".debug_line",
    ".debug_line_str",
    ".debug_ranges",
    ".debug_rnglists",
    ".debug_str",
    ".debug_str_offsets",
];

/// Takes note of a custom section, and keeps its bytes if told to. Of two with one name the first
/// counts.
pub(super) fn read(debug: &mut DebugSections, name: &str, bytes: &[u8], keep: bool) {
    if !NAMES.contains(&name) {
        return;
    }
    debug.present |= name == ".debug_info" || name == ".debug_line";
    if keep && debug.sections.iter().all(|(known, _)| known != name) {
        debug.sections.push((name.to_owned(), bytes.to_vec()));
    }
}
