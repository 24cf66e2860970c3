//! How an engine lays memories out.

use crate::types::MemoryType;
use crate::vm::layout::MemoryStyle;

/// How an engine lays memories out, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemorySettings {
    pub(crate) static_maximum: u64,
    pub(crate) static_guard: u64,
    pub(crate) dynamic_guard: u64,
    pub(crate) dynamic_growth: u64,
    pub(crate) guard_before: bool,
}

impl MemorySettings {
    /// The style of a memory of this type.
    pub(super) fn style(&self, ty: &MemoryType) -> MemoryStyle {
        MemoryStyle::of(ty, self.static_maximum, self.static_guard)
    }

    /// Bytes that a static memory reserves in all.
    pub(super) fn static_reservation(&self) -> usize {
        (self.static_maximum + self.static_guard) as usize + self.before()
    }

    /// Bytes before a memory's first byte that always fault.
    pub(super) fn before(&self) -> usize {
        if self.guard_before { self.static_guard as usize } else { 0 }
    }
}
