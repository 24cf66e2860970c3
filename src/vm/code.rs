//! Machine code in memory: written, then executable, never both.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::layout::{SiteTable, TrapSite};

/// A text that can be executed, and what is known of its addresses.
pub(crate) struct Code {
    pages: region::Allocation,
    len: usize,
    sites: SiteTable,
}

// SAFETY: after publication the pages are only read and executed.
unsafe impl Send for Code {}
// SAFETY: as above.
unsafe impl Sync for Code {}

impl Code {
    /// Copies a text to pages of its own and makes them executable.
    ///
    /// # Errors
    ///
    /// Fails if the system has no memory or no mapping left.
    pub(crate) fn publish(text: &[u8], sites: SiteTable) -> anyhow::Result<Self> {
        let len = text.len();
        let mut pages = region::alloc(len.max(1), region::Protection::READ_WRITE)?;
        // SAFETY: the allocation is at least as long as the text and nothing else refers to it;
        // from here on it is never writable again.
        unsafe {
            pages.as_mut_ptr::<u8>().copy_from_nonoverlapping(text.as_ptr(), len);
            region::protect(pages.as_ptr::<u8>(), pages.len(), region::Protection::READ_EXECUTE)?;
        }
        Ok(Self { pages, len, sites })
    }

    /// The text.
    pub(crate) fn text(&self) -> &[u8] {
        // SAFETY: the allocation is at least as long, readable, and never written again.
        unsafe { std::slice::from_raw_parts(self.pages.as_ptr(), self.len) }
    }

    /// The addresses of the text.
    pub(crate) fn range(&self) -> Range<usize> {
        let start = self.pages.as_ptr::<u8>() as usize;
        start..start + self.len
    }

    /// The address of an offset in the text.
    pub(crate) fn at(&self, offset: u32) -> *const u8 {
        assert!((offset as usize) < self.len, "offset {offset} outside of the text");
        self.pages.as_ptr::<u8>().wrapping_add(offset as usize)
    }

    /// What is known of the text's addresses.
    pub(crate) fn sites(&self) -> &SiteTable {
        &self.sites
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Code").field("range", &self.range()).finish_non_exhaustive()
    }
}

/// The code that a store may run, sorted by address.
///
/// It is replaced as a whole, by the write of one word, since the signal handler may look at it at
/// any time.
#[derive(Debug, Default)]
#[expect(clippy::box_collection, reason = "one word")]
pub(crate) struct CodeMap(Box<Vec<Arc<Code>>>);

impl CodeMap {
    /// Adds code, unless it is there.
    pub(crate) fn insert(&mut self, code: &Arc<Code>) {
        let start = code.range().start;
        if let Err(index) = self.0.binary_search_by_key(&start, |code| code.range().start) {
            let mut codes = self.0.clone();
            codes.insert(index, code.clone());
            drop(std::mem::replace(&mut self.0, codes));
        }
    }

    /// The code that holds an address.
    fn find(&self, pc: usize) -> Option<&Arc<Code>> {
        let after = self.0.partition_point(|code| code.range().start <= pc);
        self.0[..after].last().filter(|code| code.range().contains(&pc))
    }

    /// The trap site at exactly this address. Async-signal-safe.
    pub(super) fn trap_site(&self, pc: usize) -> Option<&TrapSite> {
        let code = self.find(pc)?;
        code.sites.trap((pc - code.range().start) as u32)
    }
}
