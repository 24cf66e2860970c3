//! How a pool is made.

use super::slab::Layout;
use super::{Guards, StackError, StackPool, page_size};

/// How a [`StackPool`] is made: sizes and limits.
///
/// ```
/// use lampwick_fibers::StackPoolConfig;
///
/// let pool = StackPoolConfig::new().stack_size(64 << 10).max_stacks(1000).build()?;
/// let stack = pool.take()?;
/// assert!(stack.size() >= 64 << 10);
/// # Ok::<(), lampwick_fibers::StackError>(())
/// ```
#[derive(Clone, Debug)]
pub struct StackPoolConfig {
    stack_size: usize,
    guard_size: usize,
    stacks_per_slab: u32,
    pub(super) max_stacks: usize,
    pub(super) max_warm: usize,
    pub(super) warm_per_worker: usize,
    pub(super) max_empty_slabs: usize,
    pub(super) guards: Guards,
}

impl Default for StackPoolConfig {
    fn default() -> Self {
        Self {
            stack_size: 256 << 10,
            guard_size: 4 << 10,
            stacks_per_slab: 256,
            max_stacks: usize::MAX,
            max_warm: 128,
            warm_per_worker: 0,
            max_empty_slabs: 1,
            guards: Guards::Automatic,
        }
    }
}

impl StackPoolConfig {
    /// The defaults: 256 KiB for each stack, 256 stacks in a slab, as many as memory allows.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Usable bytes of each stack, without the guard. Rounded up to whole pages, at least two.
    #[must_use]
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = bytes;
        self
    }

    /// Bytes of the guard below each stack. Rounded up to whole pages, at least one.
    ///
    /// Rust touches every page of a large frame in order and so always meets a guard of one page;
    /// C code that was compiled without stack probes may jump over it.
    #[must_use]
    pub fn guard_size(mut self, bytes: usize) -> Self {
        self.guard_size = bytes;
        self
    }

    /// How many stacks share one mapping. At least one.
    #[must_use]
    pub fn stacks_per_slab(mut self, stacks: u32) -> Self {
        self.stacks_per_slab = stacks.max(1);
        self
    }

    /// How many stacks may be lent at a time; more are refused with [`StackError::Exhausted`].
    #[must_use]
    pub fn max_stacks(mut self, stacks: usize) -> Self {
        self.max_stacks = stacks;
        self
    }

    /// How many returned stacks keep the pages they touched.
    ///
    /// The pages of all others are given back to the system, one call for each return. A warm
    /// stack is lent without a page fault and holds at most its size in memory.
    #[must_use]
    pub fn max_warm(mut self, stacks: usize) -> Self {
        self.max_warm = stacks;
        self
    }

    /// How many returned stacks threads keep beside those of [`max_warm`](Self::max_warm), each
    /// group of threads so many for itself: threads that take and return a few stacks in turn then
    /// do not wait for each other. There are twice to four times as many groups as processors, 32
    /// at most. None at first.
    ///
    /// Nothing is lost with a thread: where no other stack is idle, these are lent to any thread.
    /// They keep their slabs mapped until [`StackPool::trim`].
    #[must_use]
    pub fn warm_per_worker(mut self, stacks: usize) -> Self {
        self.warm_per_worker = stacks;
        self
    }

    /// How many slabs stay mapped although none of their stacks is lent.
    #[must_use]
    pub fn max_empty_slabs(mut self, slabs: usize) -> Self {
        self.max_empty_slabs = slabs;
        self
    }

    /// How guards are made.
    #[must_use]
    pub fn guards(mut self, guards: Guards) -> Self {
        self.guards = guards;
        self
    }

    /// Makes the pool. Maps nothing yet.
    ///
    /// # Errors
    ///
    /// [`StackError::TooLarge`] when a slab of these sizes exceeds the address space.
    pub fn build(self) -> Result<StackPool, StackError> {
        let too_large =
            StackError::TooLarge { size: self.stack_size, stacks: self.stacks_per_slab as usize };
        let page = page_size();
        let pages = |bytes: usize, least: usize| bytes.max(least).checked_next_multiple_of(page);
        let (Some(guard), Some(usable)) =
            (pages(self.guard_size, 1), pages(self.stack_size, page + 1))
        else {
            return Err(too_large);
        };
        let layout = Layout { guard, usable, stacks: self.stacks_per_slab };
        layout.bytes()?;
        Ok(StackPool::with(layout, self))
    }
}
