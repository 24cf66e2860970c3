//! Debug information as `gimli` reads it, with a bound on the work.
//!
//! DWARF is a set of trees that refer to each other. A guest can make a few bytes stand for any
//! amount of work, by having every unit use one long table. So each byte that is read is paid
//! for, however often it is read.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gimli::{Error, LittleEndian, ReaderOffsetId, SectionId};

use crate::compile::{DebugSections, ModuleInfo};

/// The debug information of a module, and how many bytes of it may still be read.
#[derive(Debug)]
pub(super) struct Source {
    info: Arc<ModuleInfo>,
    allowance: AtomicU64,
}

/// The most bytes that are ever allowed at once. A line of a table takes a byte and becomes a
/// row of 24 bytes.
const MAX_ALLOWANCE: u64 = 32 << 20;

impl Source {
    /// Allows a few times as much as reading everything once takes.
    pub(super) fn new(info: Arc<ModuleInfo>) -> Arc<Self> {
        let size: usize = info.debug.sections.iter().map(|(_, bytes)| bytes.len()).sum();
        let allowance = (4 * size as u64 + (64 << 10)).min(MAX_ALLOWANCE);
        Arc::new(Self { info, allowance: allowance.into() })
    }

    /// Where the contents of the code section start in the module.
    pub(super) fn code_start(&self) -> u32 {
        self.debug().code_start
    }

    fn debug(&self) -> &DebugSections {
        &self.info.debug
    }

    /// Allows so much for another look at what was parsed before.
    pub(super) fn allow(&self, bytes: u64) {
        let more = |allowance: u64| Some((allowance + bytes).min(MAX_ALLOWANCE));
        let _ = self.allowance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    fn pay(&self, bytes: usize) -> Result<(), Error> {
        let less = |allowance: u64| allowance.checked_sub(bytes as u64 + 1);
        match self.allowance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::Io),
        }
    }

    /// A section; empty if the module has none of this name.
    pub(super) fn section(self: &Arc<Self>, id: SectionId) -> Reader {
        let index = self.debug().sections.iter().position(|(name, _)| name == id.name());
        let len = index.map_or(0, |index| self.debug().sections[index].1.len());
        Reader { source: self.clone(), section: index.unwrap_or(usize::MAX), range: 0..len }
    }
}

/// A part of a section.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    source: Arc<Source>,
    section: usize,
    /// Within the section.
    range: Range<usize>,
}

impl Reader {
    fn bytes(&self) -> &[u8] {
        match self.source.debug().sections.get(self.section) {
            Some((_, bytes)) => &bytes[self.range.clone()],
            None => &[],
        }
    }

    fn end(&self) -> Error {
        Error::UnexpectedEof(gimli::Reader::offset_id(self))
    }

    /// The first `len` bytes; the reader goes on behind them.
    fn take(&mut self, len: usize) -> Result<Range<usize>, Error> {
        if len > self.range.len() {
            return Err(self.end());
        }
        let middle = self.range.start + len;
        let taken = self.range.start..middle;
        self.range.start = middle;
        Ok(taken)
    }
}

impl gimli::Reader for Reader {
    type Endian = LittleEndian;
    type Offset = usize;

    fn endian(&self) -> LittleEndian {
        LittleEndian
    }

    fn len(&self) -> usize {
        self.range.len()
    }

    fn empty(&mut self) {
        self.range.end = self.range.start;
    }

    fn truncate(&mut self, len: usize) -> Result<(), Error> {
        if len > self.range.len() {
            return Err(self.end());
        }
        self.range.end = self.range.start + len;
        Ok(())
    }

    fn offset_from(&self, base: &Self) -> usize {
        self.range.start.saturating_sub(base.range.start)
    }

    fn offset_id(&self) -> ReaderOffsetId {
        ReaderOffsetId(((self.section as u64) << 48) | self.range.start as u64)
    }

    fn lookup_offset_id(&self, id: ReaderOffsetId) -> Option<usize> {
        let offset = id.0.checked_sub(gimli::Reader::offset_id(self).0)?;
        let offset = usize::try_from(offset).ok()?;
        (offset <= self.range.len()).then_some(offset)
    }

    fn find(&self, byte: u8) -> Result<usize, Error> {
        let found = self.bytes().iter().position(|it| *it == byte);
        self.source.pay(found.unwrap_or(self.range.len()))?;
        found.ok_or_else(|| self.end())
    }

    fn skip(&mut self, len: usize) -> Result<(), Error> {
        self.source.pay(0)?;
        self.take(len).map(drop)
    }

    fn split(&mut self, len: usize) -> Result<Self, Error> {
        let range = self.take(len)?;
        Ok(Self { range, ..self.clone() })
    }

    fn to_slice(&self) -> Result<Cow<'_, [u8]>, Error> {
        self.source.pay(self.range.len())?;
        Ok(self.bytes().into())
    }

    fn to_string(&self) -> Result<Cow<'_, str>, Error> {
        self.source.pay(self.range.len())?;
        std::str::from_utf8(self.bytes()).map(Cow::from).map_err(|_| Error::BadUtf8)
    }

    fn to_string_lossy(&self) -> Result<Cow<'_, str>, Error> {
        self.source.pay(self.range.len())?;
        Ok(String::from_utf8_lossy(self.bytes()))
    }

    fn read_slice(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        self.source.pay(buffer.len())?;
        let range = self.take(buffer.len())?;
        let (_, bytes) = self.source.debug().sections.get(self.section).ok_or(Error::Io)?;
        buffer.copy_from_slice(&bytes[range]);
        Ok(())
    }
}
