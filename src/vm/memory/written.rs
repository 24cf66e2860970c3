//! What of a memory may differ from what it started with: nothing but the module's data, as long as no
//! guest has run and the host had no hand in it. Then there is little to clear.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

const PAGE: usize = 4096;

/// Pages that were written, a bit for each; all of them stand for not knowing.
#[derive(Debug, Default)]
pub(super) struct Written(AtomicU32);

const ANY: u32 = u32::MAX;

impl Written {
    /// Notes bytes that are being written.
    pub(super) fn note(&self, bytes: Range<usize>) {
        if bytes.is_empty() {
            return;
        }
        let (first, last) = (bytes.start / PAGE, (bytes.end - 1) / PAGE);
        let bits = match u32::try_from(last) {
            Ok(last @ ..=31) => (ANY >> (31 - last)) & (ANY << first),
            _ => ANY,
        };
        self.0.fetch_or(bits, Relaxed);
    }

    /// Notes that anything may be written from now on. May be called beside others.
    pub(super) fn note_any(&self) {
        self.0.store(ANY, Relaxed);
    }

    /// The pages that were written, if they are known.
    pub(super) fn pages(&self) -> Option<Pages> {
        let bits = self.0.load(Relaxed);
        (bits != ANY && bits.count_ones() <= MAX_PAGES).then_some(Pages(bits))
    }
}

/// More pages are not worth keeping, nor filling one by one.
const MAX_PAGES: u32 = 16;

/// Some pages of the first 32 of a memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pages(u32);

impl Pages {
    /// The bytes of each.
    pub(super) fn ranges(self) -> impl Iterator<Item = Range<usize>> {
        let pages = (0..32).filter(move |page| self.0 & (1 << page) != 0);
        pages.map(|page| page * PAGE..(page + 1) * PAGE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(written: &Written) -> Option<Vec<usize>> {
        Some(written.pages()?.ranges().map(|range| range.start / PAGE).collect())
    }

    #[test]
    fn pages_are_those_of_the_bytes() {
        let written = Written::default();
        assert_eq!(pages(&written), Some(vec![]));
        written.note(70_000..70_000);
        assert_eq!(pages(&written), Some(vec![]));
        written.note(PAGE - 1..PAGE);
        assert_eq!(pages(&written), Some(vec![0]));
        written.note(31 * PAGE + 5..32 * PAGE);
        assert_eq!(pages(&written), Some(vec![0, 31]));
        written.note(3 * PAGE - 1..4 * PAGE + 1);
        assert_eq!(pages(&written), Some(vec![0, 2, 3, 4, 31]));
    }

    #[test]
    fn too_many_pages_and_what_lies_behind_are_not_known() {
        for range in [0..17 * PAGE, 32 * PAGE..32 * PAGE + 1, 0..32 * PAGE] {
            let written = Written::default();
            written.note(range.clone());
            assert!(written.pages().is_none(), "{range:?}");
            written.note(0..1);
            assert!(written.pages().is_none(), "{range:?}");
        }
        let written = Written::default();
        written.note_any();
        assert!(written.pages().is_none());
    }
}
