//! What an embedder may limit, and limits that are plain numbers.

use async_trait::async_trait;

/// How many instances, tables and memories a store may have where its limiter does not say.
pub(crate) const DEFAULT_COUNT: usize = 10_000;

/// Decides what a store may grow to; set by [`Store::limiter`](crate::Store::limiter).
///
/// It is asked about each memory and table when one is made, by an instantiation or by the host,
/// and when one is to grow, by a guest or by the host. A growth by nothing is not asked about.
///
/// A limiter that panics does so in place of the operator or method that asked it: the panic of a
/// limiter that a guest's operator asked arrives where the call of the guest is awaited.
///
/// ```
/// use lampwick::{Engine, Memory, MemoryType, ResourceLimiter, Store};
///
/// /// What all memories of a store may have together, in bytes.
/// struct Budget(usize);
///
/// impl ResourceLimiter for Budget {
///     fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> bool {
///         let permitted = desired - current <= self.0;
///         self.0 -= if permitted { desired - current } else { 0 };
///         permitted
///     }
///
///     fn table_growing(&mut self, _: u32, desired: u32, _: Option<u32>) -> bool {
///         desired <= 1_000
///     }
/// }
///
/// # fn main() -> anyhow::Result<()> {
/// let mut store = Store::new(&Engine::default(), Budget(3 << 16));
/// store.limiter(|budget| budget);
/// let memory = Memory::new(&mut store, MemoryType::new(2, None))?;
/// assert!(memory.grow(&mut store, 2).is_err());
/// assert_eq!(memory.grow(&mut store, 1)?, 2);
/// # Ok(())
/// # }
/// ```
pub trait ResourceLimiter {
    /// Whether a memory of `current` bytes may grow to `desired` bytes.
    ///
    /// `current` is 0 for a memory that is being made. `maximum` is the maximum of the memory's
    /// type, in bytes, if it has one. `desired` may lie beyond it: then the growth fails
    /// whatever the answer is.
    ///
    /// On `false` a guest's `memory.grow` answers -1; [`Memory::grow`](crate::Memory::grow),
    /// [`Memory::new`](crate::Memory::new) and instantiations fail.
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> bool;

    /// Told that a memory could not be made or grown although
    /// [`memory_growing`](Self::memory_growing) permitted it: it is beyond its maximum, or the
    /// system has no memory left. By default nothing is done.
    fn memory_grow_failed(&mut self, error: &anyhow::Error) {
        let _ = error;
    }

    /// Whether a table of `current` elements may grow to `desired` elements.
    ///
    /// `current` is 0 for a table that is being made. `maximum` is the maximum of the table's type,
    /// if it has one. `desired` may lie beyond it, and is `u32::MAX` where more was wanted:
    /// then the growth fails whatever the answer is.
    ///
    /// On `false` a guest's `table.grow` answers -1; [`Table::grow`](crate::Table::grow),
    /// [`Table::new`](crate::Table::new) and instantiations fail.
    fn table_growing(&mut self, current: u32, desired: u32, maximum: Option<u32>) -> bool;

    /// Told that a table could not be made or grown although [`table_growing`](Self::table_growing)
    /// permitted it. By default nothing is done.
    fn table_grow_failed(&mut self, error: &anyhow::Error) {
        let _ = error;
    }

    /// The most instances that the store may have, 10,000 by default. It is read whenever one is to
    /// be made.
    fn instances(&self) -> usize {
        DEFAULT_COUNT
    }

    /// The most tables that the store may have, those of the host included; 10,000 by default. It
    /// is read whenever one is to be made.
    fn tables(&self) -> usize {
        DEFAULT_COUNT
    }

    /// The most memories that the store may have, those of the host included; 10,000 by default. It
    /// is read whenever one is to be made.
    fn memories(&self) -> usize {
        DEFAULT_COUNT
    }
}

/// A [`ResourceLimiter`] that may wait before it answers; set by
/// [`Store::limiter_async`](crate::Store::limiter_async).
///
/// While the answer to a guest's `memory.grow` or `table.grow` is pending the guest's fiber is
/// suspended. If the call is dropped meanwhile the answer's future is dropped with it, and nothing
/// grows.
///
/// Implementations take the attribute `lampwick::async_trait`:
///
/// ```
/// use lampwick::{ResourceLimiterAsync, async_trait};
///
/// struct Patient(usize);
///
/// #[async_trait]
/// impl ResourceLimiterAsync for Patient {
///     async fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> bool {
///         tokio::task::yield_now().await;
///         desired <= self.0
///     }
///
///     async fn table_growing(&mut self, _: u32, _: u32, _: Option<u32>) -> bool {
///         true
///     }
/// }
/// ```
#[async_trait]
pub trait ResourceLimiterAsync {
    /// As [`ResourceLimiter::memory_growing`].
    async fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> bool;

    /// As [`ResourceLimiter::memory_grow_failed`].
    fn memory_grow_failed(&mut self, error: &anyhow::Error) {
        let _ = error;
    }

    /// As [`ResourceLimiter::table_growing`].
    async fn table_growing(&mut self, current: u32, desired: u32, maximum: Option<u32>) -> bool;

    /// As [`ResourceLimiter::table_grow_failed`].
    fn table_grow_failed(&mut self, error: &anyhow::Error) {
        let _ = error;
    }

    /// As [`ResourceLimiter::instances`].
    fn instances(&self) -> usize {
        DEFAULT_COUNT
    }

    /// As [`ResourceLimiter::tables`].
    fn tables(&self) -> usize {
        DEFAULT_COUNT
    }

    /// As [`ResourceLimiter::memories`].
    fn memories(&self) -> usize {
        DEFAULT_COUNT
    }
}

/// A [`ResourceLimiter`] of fixed numbers, made by [`StoreLimitsBuilder`].
///
/// By default it limits the size of nothing, and instances, tables and memories to 10,000 each.
///
/// ```
/// use lampwick::{Engine, Memory, MemoryType, Store, StoreLimits, StoreLimitsBuilder};
///
/// # fn main() -> anyhow::Result<()> {
/// let limits = StoreLimitsBuilder::new().memory_size(2 << 16).instances(1).build();
/// let mut store: Store<StoreLimits> = Store::new(&Engine::default(), limits);
/// store.limiter(|limits| limits);
/// let memory = Memory::new(&mut store, MemoryType::new(1, None))?;
/// assert_eq!(memory.grow(&mut store, 1)?, 1);
/// assert!(memory.grow(&mut store, 1).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct StoreLimits {
    memory_size: Option<usize>,
    table_elements: Option<u32>,
    instances: usize,
    tables: usize,
    memories: usize,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self {
            memory_size: None,
            table_elements: None,
            instances: DEFAULT_COUNT,
            tables: DEFAULT_COUNT,
            memories: DEFAULT_COUNT,
        }
    }
}

impl ResourceLimiter for StoreLimits {
    fn memory_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> bool {
        self.memory_size.is_none_or(|limit| desired <= limit)
    }

    fn table_growing(&mut self, _current: u32, desired: u32, _maximum: Option<u32>) -> bool {
        self.table_elements.is_none_or(|limit| desired <= limit)
    }

    fn instances(&self) -> usize {
        self.instances
    }

    fn tables(&self) -> usize {
        self.tables
    }

    fn memories(&self) -> usize {
        self.memories
    }
}

/// Makes [`StoreLimits`].
#[derive(Clone, Debug, Default)]
pub struct StoreLimitsBuilder(StoreLimits);

impl StoreLimitsBuilder {
    /// Limits as [`StoreLimits::default`] has them.
    pub fn new() -> Self {
        Self::default()
    }

    /// The most bytes that each memory may have. There is no limit by default.
    pub fn memory_size(mut self, bytes: usize) -> Self {
        self.0.memory_size = Some(bytes);
        self
    }

    /// The most elements that each table may have. There is no limit by default but that of all
    /// tables, 10,000,000.
    pub fn table_elements(mut self, elements: u32) -> Self {
        self.0.table_elements = Some(elements);
        self
    }

    /// The most instances that the store may have; 10,000 by default.
    pub fn instances(mut self, count: usize) -> Self {
        self.0.instances = count;
        self
    }

    /// The most tables that the store may have; 10,000 by default.
    pub fn tables(mut self, count: usize) -> Self {
        self.0.tables = count;
        self
    }

    /// The most memories that the store may have; 10,000 by default.
    pub fn memories(mut self, count: usize) -> Self {
        self.0.memories = count;
        self
    }

    /// The limits.
    pub fn build(self) -> StoreLimits {
        self.0
    }
}
