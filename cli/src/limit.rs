//! A bound on all memory of a guest together.

use anyhow::Error;
use lampwick::ResourceLimiter;

/// What an element of a table is taken for, in bytes: no kind of reference takes more.
const ELEMENT: u64 = 16;

/// Lets memories and tables grow to a number of bytes, all of them together.
///
/// Each of its own would not do: a guest may have thousands.
#[derive(Debug)]
pub struct MemoryLimit {
    bound: u64,
    used: u64,
    /// What was granted last, to be given back if there was no memory for it after all.
    granted: u64,
}

impl MemoryLimit {
    /// A bound of this many bytes; without one, what memories and tables declare is their limit.
    pub fn new(bound: Option<u64>) -> Self {
        Self { bound: bound.unwrap_or(u64::MAX), used: 0, granted: 0 }
    }

    fn grow(&mut self, by: u64) -> bool {
        self.granted = 0;
        let Some(used) = self.used.checked_add(by).filter(|&used| used <= self.bound) else {
            return false;
        };
        (self.used, self.granted) = (used, by);
        true
    }

    fn give_back(&mut self) {
        self.used -= std::mem::take(&mut self.granted);
    }
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> bool {
        self.grow(desired.saturating_sub(current) as u64)
    }

    fn memory_grow_failed(&mut self, _: &Error) {
        self.give_back();
    }

    fn table_growing(&mut self, current: u32, desired: u32, _: Option<u32>) -> bool {
        self.grow(u64::from(desired.saturating_sub(current)) * ELEMENT)
    }

    fn table_grow_failed(&mut self, _: &Error) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_and_tables_share_the_bound() {
        let mut limit = MemoryLimit::new(Some(150_000));
        assert!(limit.memory_growing(0, 65_536, None));
        assert!(limit.memory_growing(0, 65_536, None));
        assert!(!limit.memory_growing(65_536, 131_072, None), "three pages are too many");
        assert!(limit.table_growing(0, 1_000, None));
        assert!(!limit.table_growing(1_000, 2_000, None), "2,000 elements are too many");
    }

    #[test]
    fn what_could_not_be_had_is_given_back_once() {
        let mut limit = MemoryLimit::new(Some(65_536));
        assert!(limit.memory_growing(0, 65_536, None));
        limit.memory_grow_failed(&Error::msg("the system has none"));
        limit.memory_grow_failed(&Error::msg("the system has none"));
        assert!(limit.memory_growing(0, 65_536, None));
        // A refusal gives nothing back of what was granted before.
        assert!(!limit.memory_growing(65_536, 131_072, None));
        limit.memory_grow_failed(&Error::msg("refused"));
        assert!(!limit.table_growing(0, 1, None));
    }
}
