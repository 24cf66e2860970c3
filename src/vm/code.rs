//! Machine code in memory: written, then executable, never both.

use std::fmt;
use std::io;
use std::ops::Range;

use lampwick_fibers::Shared;
use thin_vec::ThinVec;

use super::layout::{SiteTable, TrapSite};
use super::mapping::Mapping;

/// A text that can be executed, and what is known of its addresses.
pub(crate) struct Code {
    pages: Mapping,
    /// The text in the pages.
    text: Range<usize>,
    sites: SiteTable,
}

impl Code {
    /// Copies a text to pages of its own and makes them executable.
    ///
    /// # Errors
    ///
    /// Fails if the system has no memory or no mapping left.
    pub(crate) fn publish(text: &[u8], sites: SiteTable) -> io::Result<Self> {
        let pages = Mapping::copy(text)?;
        pages.make_executable(0..text.len())?;
        Ok(Self { pages, text: 0..text.len(), sites })
    }

    /// Makes a text executable where it is, which is in `pages`; or a copy of it, where that is not
    /// allowed.
    ///
    /// # Errors
    ///
    /// Fails if the system has no memory or no mapping left.
    ///
    /// # Panics
    ///
    /// Panics if the text does not lie in the pages.
    pub(crate) fn publish_in(pages: &Mapping, text: &[u8], sites: SiteTable) -> io::Result<Self> {
        let range = pages.find(text);
        match pages.make_executable(range.clone()) {
            Ok(()) => Ok(Self { pages: pages.clone(), text: range, sites }),
            Err(_) => Self::publish(text, sites),
        }
    }

    /// The text.
    pub(crate) fn text(&self) -> &[u8] {
        &self.pages.as_ref()[self.text.clone()]
    }

    /// The addresses of the text.
    pub(crate) fn range(&self) -> Range<usize> {
        let addresses = self.text().as_ptr_range();
        addresses.start.addr()..addresses.end.addr()
    }

    /// The address of an offset in the text.
    pub(crate) fn at(&self, offset: u32) -> *const u8 {
        let text = self.text();
        assert!((offset as usize) < text.len(), "offset {offset} outside of the text");
        text.as_ptr().wrapping_add(offset as usize)
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

/// The code that a store may run.
///
/// Each field changes by the write of one word, since the signal handler may look at it at any
/// time. Most stores have one module, for which nothing is allocated.
#[derive(Debug, Default)]
pub(crate) struct CodeMap {
    first: Option<Shared<Code>>,
    /// Sorted by address, and replaced as a whole.
    others: ThinVec<Shared<Code>>,
}

impl CodeMap {
    /// Adds code, unless it is there.
    pub(crate) fn insert(&mut self, code: &Shared<Code>) {
        let Some(first) = &self.first else {
            self.first = Some(code.local());
            return;
        };
        let start = code.range().start;
        if first.range().start == start {
            return;
        }
        if let Err(index) = self.others.binary_search_by_key(&start, |code| code.range().start) {
            let mut others = ThinVec::with_capacity(self.others.len() + 1);
            others.extend(self.others.iter().cloned());
            others.insert(index, code.local());
            drop(std::mem::replace(&mut self.others, others));
        }
    }

    /// The code that holds an address.
    fn find(&self, pc: usize) -> Option<&Shared<Code>> {
        let holds = |code: &&Shared<Code>| code.range().contains(&pc);
        self.first.as_ref().filter(holds).or_else(|| {
            let after = self.others.partition_point(|code| code.range().start <= pc);
            self.others[..after].last().filter(holds)
        })
    }

    /// The trap site at exactly this address. Async-signal-safe.
    pub(super) fn trap_site(&self, pc: usize) -> Option<TrapSite> {
        let code = self.find(pc)?;
        code.sites.trap((pc - code.range().start) as u32)
    }

    /// The address of the text in which the call is that returns to `pc`, and what is known of that
    /// text.
    ///
    /// # Panics
    ///
    /// Panics if the call is in none.
    pub(super) fn sites(&self, pc: usize) -> (usize, &SiteTable) {
        let code = self.find(pc).expect("a frame of wasm is one of this code");
        (code.range().start, &code.sites)
    }

    /// How many bytes below its frame pointer the frame that a call returns to at `pc` holds
    /// references to values of the host.
    pub(super) fn stack_map(&self, pc: usize) -> impl Iterator<Item = usize> {
        let code = self.find(pc);
        debug_assert!(code.is_some(), "a frame of wasm is one of this code");
        code.into_iter().flat_map(move |code| {
            code.sites.stack_maps().distances((pc - code.range().start) as u32)
        })
    }
}
