//! A part of a stack's topmost page for whoever uses the stack.
//!
//! A fiber touches the top of its stack and little else. What lives about as long as the fiber can
//! lie beside it, in the same page:
//!
//! ```text
//! top of the slot   ┌─────────────────────────┐
//!                   │ how many shares are left│
//!                   │ the annex               │
//! Stack::top() ──►  ├─────────────────────────┤
//!                   │ frames of the fiber     │
//! ```
//!
//! The stack and its annex each have a share in the slot, and either may go first: a fiber that is
//! dropped half-way takes nothing away from the annex, and one that was forgotten keeps the slot
//! for ever.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

use super::Stack;
use crate::switch;

/// What the count of shares takes, so that both ends of the annex are aligned.
const HEADER: usize = 16;

/// The most bytes of an annex: half a page is left to the fiber.
const MAX: usize = 2048 - HEADER;

/// Bytes at the top of a stack that are not the fiber's. Made by [`Stack::with_annex`].
pub struct Annex(Stack);

impl Stack {
    /// Cuts `bytes` off the top, which are the annex's until it is dropped. The slot is lent
    /// again when both stack and annex are dropped, in whatever order.
    ///
    /// # Errors
    ///
    /// Gives the stack back as it was when `bytes` exceed 2,032, when there is an annex already, and
    /// on the portable switch, which wants whole pages.
    pub fn with_annex(self, bytes: usize) -> Result<(Self, Annex), Self> {
        if bytes > MAX || self.has_annex() || switch::NAME == "portable" {
            return Err(self);
        }
        let (stack, other) = self.split((bytes.next_multiple_of(16) + HEADER) as u32);
        // SAFETY: the header lies in the slot, which is ours, and in which nobody else is yet.
        unsafe { stack.shares().write(AtomicU32::new(2)) };
        Ok((stack, Annex(other)))
    }

    /// Where shares are counted, if there is an annex.
    fn shares(&self) -> *mut AtomicU32 {
        self.end().wrapping_sub(HEADER).cast()
    }

    /// Gives the share of a stack or annex up, and answers whether it was the last.
    ///
    /// # Safety
    ///
    /// There is an annex, and the share was not given up yet.
    pub(super) unsafe fn give_share_up(&self) -> bool {
        // SAFETY: the header was written when the shares were made, and stays until the last of
        // them is given up. What the other one did with the slot happened before it gave up its own.
        unsafe { (*self.shares()).fetch_sub(1, Ordering::AcqRel) == 1 }
    }
}

impl Annex {
    /// The first byte of the annex, aligned to 16 bytes. What is there is whatever the slot's last
    /// user left.
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        self.0.top()
    }

    /// How many bytes the annex has: at least as many as were asked for.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.end().addr() - HEADER - self.0.top().addr()
    }
}

impl fmt::Debug for Annex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Annex")
            .field("start", &self.as_ptr())
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Resident, StackPool};

    #[test]
    fn a_slot_is_lent_again_when_stack_and_annex_are_gone() {
        for annex_first in [false, true] {
            let pool = StackPool::new();
            let Ok((stack, annex)) = pool.take().unwrap().with_annex(100) else {
                assert_eq!(switch::NAME, "portable");
                return;
            };
            assert!(annex.size() >= 100 && annex.as_ptr().addr() % 16 == 0);
            let mut fiber = Resident::new(stack);
            // SAFETY: the annex has as many bytes, and nobody else uses them.
            let bytes = unsafe { std::slice::from_raw_parts_mut(annex.as_ptr(), annex.size()) };
            bytes.fill(0xaa);
            assert_eq!(fiber.run_blocking(|_| std::hint::black_box([7_u8; 5000])[4000]), 7);
            assert!(bytes.iter().all(|&byte| byte == 0xaa), "the fiber is below its annex");
            assert_eq!((pool.live(), pool.idle()), (1, 0));
            if annex_first {
                drop(annex);
                assert_eq!((pool.live(), pool.idle()), (1, 0));
                drop(fiber);
            } else {
                drop(fiber);
                assert_eq!((pool.live(), pool.idle()), (1, 0));
                drop(annex);
            }
            assert_eq!((pool.live(), pool.idle()), (0, 1));
        }
    }

    #[test]
    fn there_is_one_annex_of_at_most_half_a_page() {
        let stack = StackPool::new().take().unwrap();
        let top = stack.top();
        let stack = stack.with_annex(MAX + 1).unwrap_err();
        assert_eq!(stack.top(), top);
        let Ok((stack, annex)) = stack.with_annex(MAX) else { return };
        assert_eq!((annex.size(), stack.top().addr() % 16), (MAX, 0));
        assert!(stack.with_annex(1).is_err());
    }
}
