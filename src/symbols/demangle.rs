//! Names as their authors wrote them.

use std::fmt::{self, Write};

/// The most bytes of a name that are shown.
pub(super) const MAX_SHOWN: usize = 1 << 10;

/// The longest name that is demangled, in bytes.
const MAX_MANGLED: usize = 16 << 10;

/// A name for people: demangled if it is Rust's or C++'s, and cut where it is too long to read.
pub(super) fn readable(name: &str) -> String {
    let mut shown = Shown(String::new());
    if name.len() <= MAX_MANGLED && is_mangled(name) {
        let whole = match rustc_demangle::try_demangle(name) {
            // The alternate form leaves out the hash.
            Ok(symbol) => write!(shown, "{symbol:#}").is_ok(),
            Err(_) => cpp(name, &mut shown).is_some(),
        };
        // What is too long when demangled is shown as far as it goes.
        if whole || shown.0.len() == MAX_SHOWN {
            return shown.0;
        }
        shown.0.clear();
    }
    let _ = shown.write_str(name);
    shown.0
}

/// The text up to so many bytes, in one line.
pub(super) fn one_line(text: &str, max: usize) -> String {
    text[..text.floor_char_boundary(max)].chars().map(printable).collect()
}

/// A guest must not be able to write lines of its own into a log or a profiler's file.
fn printable(char: char) -> char {
    if char.is_control() || matches!(char, '\u{2028}' | '\u{2029}') { '?' } else { char }
}

/// Whether a name looks as if it were mangled.
pub(super) fn is_mangled(name: &str) -> bool {
    let name = name.trim_start_matches('_');
    name.starts_with('Z') || name.starts_with('R')
}

fn cpp(name: &str, shown: &mut Shown) -> Option<()> {
    let symbol = cpp_demangle::Symbol::new(name).ok()?;
    symbol.structured_demangle(shown, &cpp_demangle::DemangleOptions::default()).ok()
}

/// Text that is no longer than [`MAX_SHOWN`]: a short mangled name may stand for a text that fits
/// nowhere.
struct Shown(String);

impl Write for Shown {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for char in text.chars() {
            let char = printable(char);
            if self.0.len() + char.len_utf8() > MAX_SHOWN {
                // A character may have been too wide for what was left.
                self.0.extend(std::iter::repeat_n('.', MAX_SHOWN - self.0.len()));
                return Err(fmt::Error);
            }
            self.0.push(char);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rust_and_cpp_are_read() {
        for (mangled, name) in [
            ("_ZN4core3fmt9Formatter3pad17h0123456789abcdefE", "core::fmt::Formatter::pad"),
            ("_RNvCs15kBYyAo9fc_7mycrate7example", "mycrate::example"),
            ("_ZN3foo3barEi", "foo::bar(int)"),
            ("_Z3fooILi3EEvv", "void foo<3>()"),
            ("main", "main"),
            ("Zebra", "Zebra"),
            ("_Z", "_Z"),
            ("Rust", "Rust"),
            ("", ""),
            ("two\nlines\0", "two?lines?"),
        ] {
            assert_eq!(readable(mangled), name);
        }
    }

    #[test]
    fn a_short_name_cannot_become_a_long_text() {
        // Each template argument is the pair of the one before.
        let mut bomb = "_Z1fI1PIS_S_E".to_owned();
        for number in 0..60 {
            let id = format!("S{}_", char::from_digit(number % 36, 36).unwrap().to_uppercase());
            bomb += &format!("1PI{id}{id}E");
        }
        bomb += "Evv";
        assert!(readable(&bomb).len() <= MAX_SHOWN);
        let plain = "é".repeat(MAX_SHOWN);
        let shown = readable(&plain);
        assert!(shown.len() <= MAX_SHOWN && shown.starts_with("éé"));
        assert!(readable(&format!("_R{}", "R".repeat(MAX_MANGLED - 2))).len() <= MAX_SHOWN);
    }
}
