//! The types of what has a size: tables and linear memories.

use std::fmt;

use anyhow::{Result, bail};

use super::ValType;

/// The type of a table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TableType {
    pub(super) element: ValType,
    pub(super) minimum: u64,
    pub(super) maximum: Option<u64>,
    pub(super) is_64: bool,
}

impl TableType {
    /// A table type with 32-bit indices from its element type and its limits in elements.
    ///
    /// # Panics
    ///
    /// Panics if `element` is not a reference type.
    pub fn new(element: ValType, minimum: u32, maximum: Option<u32>) -> Self {
        Self::with_limits(element, minimum.into(), maximum.map(u64::from), false)
    }

    /// A table type with 64-bit indices from its element type and its limits in elements.
    ///
    /// No table has more than 10,000,000 elements, whatever its type says.
    ///
    /// ```
    /// use lampwick::{TableType, ValType};
    ///
    /// let ty = TableType::new64(ValType::FuncRef, 1, Some(1 << 40));
    /// assert!(ty.is_64());
    /// assert_eq!((ty.maximum64(), ty.maximum()), (Some(1 << 40), Some(u32::MAX)));
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if `element` is not a reference type.
    pub fn new64(element: ValType, minimum: u64, maximum: Option<u64>) -> Self {
        Self::with_limits(element, minimum, maximum, true)
    }

    /// A type with limits as they are kept.
    pub(crate) fn with_limits(
        element: ValType,
        minimum: u64,
        maximum: Option<u64>,
        is_64: bool,
    ) -> Self {
        assert!(element.is_ref(), "the elements of a table are references, not {element}");
        Self { element: element.normal(), minimum, maximum, is_64 }
    }

    /// The type of the elements.
    pub fn element(&self) -> ValType {
        self.element
    }

    /// Whether indices have 64 bits.
    pub fn is_64(&self) -> bool {
        self.is_64
    }

    /// The least number of elements; `u32::MAX` where it is more, see [`minimum64`](Self::minimum64).
    pub fn minimum(&self) -> u32 {
        saturated(self.minimum)
    }

    /// The greatest number of elements, if there is a bound; `u32::MAX` where it is more, see
    /// [`maximum64`](Self::maximum64).
    pub fn maximum(&self) -> Option<u32> {
        self.maximum.map(saturated)
    }

    /// The least number of elements, whatever the width of indices.
    pub fn minimum64(&self) -> u64 {
        self.minimum
    }

    /// The greatest number of elements, if there is a bound, whatever the width of indices.
    pub fn maximum64(&self) -> Option<u64> {
        self.maximum
    }
}

fn saturated(elements: u64) -> u32 {
    elements.try_into().unwrap_or(u32::MAX)
}

impl fmt::Display for TableType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_64 { "64-bit table" } else { "table" };
        write!(f, "{kind} of {} ({}, ", self.element, at_least(self.minimum))?;
        write!(f, "{})", at_most(self.maximum))
    }
}

/// The base-2 logarithm of the size of ordinary pages, in bytes (core specification, 4.2.8).
const PAGE_LOG2: u8 = 16;

/// The type of a linear memory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MemoryType {
    pub(super) minimum: u64,
    pub(super) maximum: Option<u64>,
    pub(super) is_64: bool,
    pub(super) page_log2: u8,
}

impl MemoryType {
    /// A memory type with 32-bit addresses from its limits in pages of 64 KiB.
    pub fn new(minimum: u32, maximum: Option<u32>) -> Self {
        let (minimum, maximum) = (minimum.into(), maximum.map(u64::from));
        Self { minimum, maximum, is_64: false, page_log2: PAGE_LOG2 }
    }

    /// A memory type with 64-bit addresses from its limits in pages of 64 KiB.
    ///
    /// ```
    /// use lampwick::{Memory, MemoryType, Store};
    ///
    /// # fn main() -> anyhow::Result<()> {
    /// let mut store = Store::<()>::default();
    /// let memory = Memory::new(&mut store, MemoryType::new64(1, Some(1 << 40)))?;
    /// assert!(memory.ty(&store).is_64());
    /// assert_eq!(memory.grow(&mut store, 2)?, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn new64(minimum: u64, maximum: Option<u64>) -> Self {
        Self { minimum, maximum, is_64: true, page_log2: PAGE_LOG2 }
    }

    /// The same type with pages of so many bytes, in which its limits are counted, and the sizes of
    /// such memories; see [`Config::wasm_custom_page_sizes`](crate::Config::wasm_custom_page_sizes).
    ///
    /// ```
    /// use lampwick::{Memory, MemoryType, Store};
    ///
    /// # fn main() -> anyhow::Result<()> {
    /// let mut store = Store::<()>::default();
    /// let memory = Memory::new(&mut store, MemoryType::new(100, None).with_page_size(1)?)?;
    /// assert_eq!((memory.size(&store), memory.data_size(&store)), (100, 100));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Fails unless `bytes` is 1 or 65,536, the sizes that there are.
    pub fn with_page_size(mut self, bytes: u64) -> Result<Self> {
        self.page_log2 = match bytes {
            1 => 0,
            65_536 => PAGE_LOG2,
            _ => bail!("pages of memories have 1 or 65536 bytes, not {bytes}"),
        };
        Ok(self)
    }

    /// Whether addresses have 64 bits.
    pub fn is_64(&self) -> bool {
        self.is_64
    }

    /// The size of a page in bytes.
    pub fn page_size(&self) -> u64 {
        1 << self.page_log2
    }

    /// The same as a power of two.
    pub(crate) fn page_log2(&self) -> u8 {
        self.page_log2
    }

    /// The least size in pages.
    pub fn minimum(&self) -> u64 {
        self.minimum
    }

    /// The greatest size in pages, if there is a bound.
    pub fn maximum(&self) -> Option<u64> {
        self.maximum
    }

    /// The same type with other limits, in pages.
    pub(crate) fn with_limits(&self, minimum: u64, maximum: Option<u64>) -> Self {
        Self { minimum, maximum, ..*self }
    }

    /// The least size in bytes, saturated.
    pub(crate) fn minimum_bytes(&self) -> u64 {
        self.bytes(self.minimum)
    }

    /// The greatest size in bytes that the type allows, or that there can be.
    pub(crate) fn maximum_bytes(&self) -> u64 {
        let most = most_pages(self.is_64, self.page_log2);
        self.bytes(self.maximum.map_or(most, |maximum| maximum.min(most)))
    }

    /// So many pages in bytes, saturated.
    pub(crate) fn bytes(&self, pages: u64) -> u64 {
        pages.saturating_mul(self.page_size())
    }
}

/// No memory with 64-bit addresses is larger, in bytes: half of a process's address space, so that
/// sums of a few sizes never overflow.
const MAX_BYTES_64: u64 = 1 << 46;

/// The most pages of a memory, whatever its type says. Its size must fit an address, too, which
/// only matters where pages are bytes.
pub(crate) fn most_pages(is_64: bool, page_log2: u8) -> u64 {
    if is_64 { MAX_BYTES_64 >> page_log2 } else { ((1 << 32) >> page_log2).min(u32::MAX.into()) }
}

impl fmt::Display for MemoryType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_64 { "64-bit memory" } else { "memory" };
        let pages = if self.page_log2 == 0 { "pages of 1 byte" } else { "pages" };
        write!(f, "{kind} ({} {pages}, {})", at_least(self.minimum), at_most(self.maximum))
    }
}

fn at_least(minimum: u64) -> String {
    format!("at least {minimum}")
}

fn at_most(maximum: Option<u64>) -> String {
    maximum.map_or_else(|| "no maximum".to_owned(), |maximum| format!("at most {maximum}"))
}
