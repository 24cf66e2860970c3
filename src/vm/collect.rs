//! A collection: what guests can still reach stays, the rest is dropped.
//!
//! Roots are the tables and globals of the store, and the frames of wasm of every activation: of those
//! that wait for another one, and of those whose futures were forgotten. What an element segment
//! holds is in a constant global as well, which is where it came from. In a frame, stack maps tell which words are references that
//! the guest will use again. The code generator puts whatever is live over a call into such words,
//! and frames are only ever looked at while a call leaves wasm, suspended or not.
//!
//! What the host has it holds by `ExternRef`, not by index. The only indexes that are elsewhere are
//! those of arguments, results and operands of builtins on their way; nothing collects while they
//! are.

use super::activation;
use super::externs::Marks;
use super::store::Store;
use crate::types::ValType;

/// What finding a frame's map takes, in words of tables.
const WORK_PER_FRAME: usize = 32;

impl Store {
    /// Lets a collection make room before `more` values become references.
    ///
    /// # Panics
    ///
    /// As for [`Self::collect`].
    #[inline]
    pub(crate) fn make_room(&mut self, more: usize) {
        if self.externs.as_ref().is_some_and(|externs| externs.is_full(more)) {
            self.collect();
        }
    }

    /// Drops the values that no guest can reach.
    ///
    /// # Panics
    ///
    /// With the panic of a value's drop code, when all is done.
    #[cold]
    pub(crate) fn collect(&mut self) {
        let used = self.externs.as_ref().filter(|externs| externs.used() > 0);
        let Some(mut marks) = used.map(|externs| externs.marks()) else { return };
        self.mark_tables_and_globals(&mut marks);
        self.mark_frames(&mut marks);
        let garbage = self.externs.as_mut().map(|externs| externs.sweep(&marks));
        // Last: this runs code of the embedder's.
        drop(garbage);
    }

    fn mark_tables_and_globals(&self, marks: &mut Marks) {
        for table in &self.tables {
            let elements = table.value.externs();
            elements.iter().for_each(|&index| marks.mark(index));
            marks.count(elements.len());
        }
        for global in &self.globals {
            if *global.value.content() == ValType::ExternRef {
                // SAFETY: definitions are live with the store, and machine code is not running.
                let value = unsafe { global.definition.read() };
                let [a, b, c, d, ..] = value.0;
                marks.mark(u32::from_le_bytes([a, b, c, d]));
            }
        }
        marks.count(self.globals.len());
    }

    fn mark_frames(&self, marks: &mut Marks) {
        activation::for_each_frame(self, |pc, fp| {
            for distance in self.code.stack_map(pc) {
                // SAFETY: the frame is that of a function of this code which is at this call, where
                // it holds a reference in this word.
                marks.mark(unsafe { ((fp - distance) as *const u32).read() });
            }
            marks.count(WORK_PER_FRAME);
        });
    }
}
