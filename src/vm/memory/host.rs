//! Memories whose bytes the embedder provides.

use std::fmt;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::settings::MemorySettings;
use crate::types::MemoryType;
use crate::vm::layout::MemoryStyle;

/// What provides the bytes of linear memories, in the engine's place; see
/// [`Config::with_host_memory`](crate::Config::with_host_memory).
///
/// # Safety
///
/// Machine code accesses what [`new_memory`](Self::new_memory) answers without asking anybody. An
/// implementation must keep the whole contract of that method and of [`LinearMemory`]; otherwise a
/// guest can reach memory that is not its own.
pub unsafe trait MemoryCreator: Send + Sync {
    /// Makes a memory of `minimum` bytes, all zero. All sizes here are in bytes.
    ///
    /// - `minimum` and `maximum` are the limits of `ty`, which are in [pages](MemoryType::page_size); `maximum` is
    ///   `None` where the type has none.
    /// - Where `reserved` is `Some`, machine code leaves out checks: from the base, `reserved`
    ///   bytes and then `guard` bytes must belong to the memory for as long as it lives, all of
    ///   them inaccessible but the first [`byte_size`](LinearMemory::byte_size), and the base must
    ///   never change. `maximum`, or 4 GiB without one, is at most `reserved`.
    /// - Where it is `None`, machine code compares each access with the size. The base may change
    ///   in [`grow_to`](LinearMemory::grow_to) and nowhere else; `guard` inaccessible bytes behind
    ///   the end are a second line of defence.
    ///
    /// An inaccessible byte is one whose access raises `SIGSEGV` or `SIGBUS`; the guest then traps.
    ///
    /// # Errors
    ///
    /// The text becomes the source of the error with which the making of the memory, or the
    /// instantiation, fails.
    fn new_memory(
        &self,
        ty: MemoryType,
        minimum: usize,
        maximum: Option<usize>,
        reserved: Option<usize>,
        guard: usize,
    ) -> Result<Box<dyn LinearMemory>, String>;
}

/// The bytes of one linear memory, made by a [`MemoryCreator`]. It is dropped with its store.
///
/// # Safety
///
/// What [`MemoryCreator::new_memory`] demands must hold from then until the value is dropped. All
/// bytes below [`byte_size`](Self::byte_size) must be readable and writable, from every thread, and
/// nothing but the store may change them while it uses them.
pub unsafe trait LinearMemory: Send + Sync + 'static {
    /// The size in bytes: what was asked for last, exactly.
    fn byte_size(&self) -> usize;

    /// The greatest size in bytes that this memory can have, if there is a bound beside that of its
    /// type. Growth beyond it fails without [`grow_to`](Self::grow_to) being called.
    fn maximum_byte_size(&self) -> Option<usize>;

    /// Grows to `new_size` bytes, which are more than there are. What there is stays; what is new
    /// is zero.
    ///
    /// # Errors
    ///
    /// The guest's `memory.grow` then answers -1, and the store's limiter gets the error. Size,
    /// base and bytes must be what they were.
    fn grow_to(&mut self, new_size: usize) -> Result<()>;

    /// The address of the first byte; never null.
    fn as_ptr(&self) -> *mut u8;
}

/// The embedder's memories.
#[derive(Clone)]
pub(crate) struct HostMemories(pub(crate) Arc<dyn MemoryCreator>);

impl fmt::Debug for HostMemories {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostMemories")
    }
}

/// The bytes of a memory of the embedder's, of whose answers those are checked that can be.
pub(super) struct HostBytes {
    memory: Box<dyn LinearMemory>,
    /// What the memory answered last; asking again could give another answer.
    base: *mut u8,
    is_static: bool,
}

// SAFETY: the base belongs to the memory, which is `Send`.
unsafe impl Send for HostBytes {}
// SAFETY: the memory is `Sync`, and the base is used by whoever has the store.
unsafe impl Sync for HostBytes {}

impl fmt::Debug for HostBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostBytes").field("base", &self.base).finish_non_exhaustive()
    }
}

impl HostBytes {
    pub(super) fn new(
        creator: &dyn MemoryCreator,
        settings: &MemorySettings,
        ty: &MemoryType,
    ) -> Result<Self> {
        let minimum = ty.minimum_bytes() as usize;
        let maximum = ty.maximum().map(|_| ty.maximum_bytes() as usize);
        let (reserved, guard) = match settings.style(ty) {
            MemoryStyle::Static { reserved, guard } => (Some(reserved as usize), guard),
            MemoryStyle::Dynamic => (None, settings.dynamic_guard),
        };
        let memory = creator
            .new_memory(ty.clone(), minimum, maximum, reserved, guard as usize)
            .map_err(|text| anyhow!(text))
            .context("the memory creator made no memory")?;
        let mut this = Self { base: memory.as_ptr(), memory, is_static: reserved.is_some() };
        this.check(minimum).context("the memory creator's new memory breaks its contract")?;
        Ok(this)
    }

    pub(super) fn base(&self) -> *mut u8 {
        self.base
    }

    pub(super) fn grow_to(&mut self, len: usize) -> Result<()> {
        if let Some(maximum) = self.memory.maximum_byte_size()
            && len > maximum
        {
            bail!("the host's memory has at most {maximum} bytes, and cannot grow to {len}");
        }
        self.memory.grow_to(len).context("the host's memory did not grow")?;
        self.check(len).context("the host's memory broke its contract when it grew")
    }

    /// Checks what the memory says of itself, and takes over its base.
    fn check(&mut self, len: usize) -> Result<()> {
        let (size, base) = (self.memory.byte_size(), self.memory.as_ptr());
        ensure!(size == len, "it says that it has {size} bytes instead of {len}");
        ensure!(!base.is_null(), "its address is null");
        ensure!(
            !self.is_static || base == self.base,
            "it moved from {:?} to {base:?}, although it is static",
            self.base
        );
        self.base = base;
        Ok(())
    }
}
