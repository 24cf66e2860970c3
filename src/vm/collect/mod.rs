//! A collection: what guests can still reach stays, the rest is dropped.
//!
//! Roots are the tables and globals of the store, and the frames of wasm of every activation: of those
//! that wait for another one, and of those whose futures were forgotten. What an element segment
//! holds is in a constant global as well, which is where it came from. In a frame, stack maps tell which words are references that
//! the guest will use again. The code generator puts whatever is live over a call into such words,
//! and frames are only ever looked at while a call leaves wasm, suspended or not.
//!
//! Structs, arrays and exceptions are followed to what they refer to, wherever they were found; those that
//! the host holds are roots, too. Values of the host it holds by `ExternRef`, not by index. The only indexes that are elsewhere are
//! those of arguments, results and operands of builtins on their way; nothing collects while they
//! are.

mod marks;
mod sweep;

use lampwick_fibers::Cancelled;

use self::marks::Marks;
use super::activation;
use super::layout::ValRaw;
use super::pace::Pace;
use super::store::Store;

/// What finding a frame's map takes, in words of tables.
const WORK_PER_FRAME: usize = 32;

// What it takes in the units of a `Pace` (`cargo bench --bench polls`).
const PER_WORD: usize = 4;
const PER_FRAME: usize = 32;
const PER_OBJECT: usize = 64;
const PER_REFERENCE: usize = 16;
const PER_HELD: usize = 16;

impl Store {
    /// Lets a collection make room before `more` values become references.
    ///
    /// # Panics
    ///
    /// As for [`Self::collect`].
    #[inline]
    pub(crate) fn make_room(&mut self, more: usize) {
        if more > 0 && self.is_full(more) {
            self.collect();
        }
    }

    /// Whether there should be a collection before so many more values become references.
    #[inline]
    pub(crate) fn is_full(&self, more: usize) -> bool {
        self.externs.as_ref().is_some_and(|externs| externs.is_full(more))
    }

    /// Drops the values that no guest can reach.
    ///
    /// # Panics
    ///
    /// With the panic of a value's drop code, when all is done.
    #[cold]
    pub(crate) fn collect(&mut self) {
        // SAFETY: the store is ours.
        let collected = unsafe { Self::collect_at(self, &mut Pace::straight()) };
        collected.expect("nobody cancels");
    }

    /// The same at a pace. What was not collected when it is cancelled stays for the next time.
    ///
    /// # Safety
    ///
    /// The store must be live, nothing of it borrowed, and nobody may use it before this ends, but
    /// where it suspends for what a store's owner can do without the store.
    ///
    /// # Errors
    ///
    /// [`Cancelled`] from the pace.
    ///
    /// # Panics
    ///
    /// As for [`Self::collect`].
    pub(crate) unsafe fn collect_at(this: *mut Self, pace: &mut Pace<'_>) -> Result<(), Cancelled> {
        // SAFETY: by contract.
        unsafe { Self::collect_beside(this, &[], pace) }
    }

    /// The same beside arguments of a call that have been converted and are in no frame yet. What they
    /// are is not known here: a number among them that could be a reference is taken for one.
    ///
    /// # Safety
    ///
    /// As for [`Self::collect_at`].
    ///
    /// # Errors
    ///
    /// As for [`Self::collect_at`].
    ///
    /// # Panics
    ///
    /// As for [`Self::collect`].
    #[cold]
    pub(crate) unsafe fn collect_beside(
        this: *mut Self,
        arguments: &[ValRaw],
        pace: &mut Pace<'_>,
    ) -> Result<(), Cancelled> {
        // SAFETY: by contract; each borrow ends before the pace may suspend.
        unsafe {
            if !(*this).has_collected() {
                return Ok(());
            }
            let mut marks = Marks::new(&*this);
            arguments.iter().for_each(|argument| marks.mark_if_any(argument.to_u64() as u32));
            Self::mark_tables(this, &mut marks, pace)?;
            Self::mark_globals(this, &mut marks, pace)?;
            Self::mark_frames(this, &mut marks, pace)?;
            Self::mark_held(this, &mut marks, pace)?;
            while let Some(references) = marks.follow() {
                pace.spend(PER_OBJECT + references * PER_REFERENCE)?;
            }
            let work = marks.externs.work();
            if let Some(objects) = (*this).objects.as_deref_mut() {
                sweep::objects(&raw mut objects.heap, &mut marks.objects, work, pace)?;
            }
            if let Some(exceptions) = (*this).exceptions.as_deref_mut() {
                sweep::exceptions(&raw mut *exceptions, &marks.exceptions, work, pace)?;
            }
            match (*this).externs.as_deref_mut() {
                Some(externs) => sweep::externs(&raw mut *externs, &marks, pace),
                None => Ok(()),
            }
        }
    }

    /// Whether there is anything to collect.
    fn has_collected(&self) -> bool {
        self.objects.is_some()
            || self.externs.as_ref().is_some_and(|externs| externs.used() > 0)
            || self.exceptions.as_ref().is_some_and(|exceptions| exceptions.used() > 0)
    }

    /// # Safety
    ///
    /// As for [`Self::collect_at`]; so for the others.
    unsafe fn mark_tables(
        this: *mut Self,
        marks: &mut Marks,
        pace: &mut Pace<'_>,
    ) -> Result<(), Cancelled> {
        // SAFETY: by contract.
        unsafe {
            for table in 0..(*this).tables.len() {
                let len = (&(*this).tables)[table].value.externs().len();
                pace.parts(len, PER_WORD, |start, len| {
                    let elements = (&(*this).tables)[table].value.externs();
                    elements[start..start + len].iter().for_each(|&index| marks.mark(index));
                })?;
                marks.externs.count(len);
            }
        }
        Ok(())
    }

    unsafe fn mark_globals(
        this: *mut Self,
        marks: &mut Marks,
        pace: &mut Pace<'_>,
    ) -> Result<(), Cancelled> {
        // SAFETY: by contract; definitions are live with the store, and machine code is not
        // running.
        unsafe {
            let len = (*this).globals.len();
            pace.parts(len, PER_WORD, |start, len| {
                for global in &(&(*this).globals)[start..start + len] {
                    if global.value.content().is_collected() {
                        let [a, b, c, d, ..] = global.definition.read().0;
                        marks.mark(u32::from_le_bytes([a, b, c, d]));
                    }
                }
            })?;
            marks.externs.count(len);
        }
        Ok(())
    }

    /// Objects and exceptions that the host holds. It may let go of them meanwhile, and then they stay
    /// until the next time.
    unsafe fn mark_held(
        this: *mut Self,
        marks: &mut Marks,
        pace: &mut Pace<'_>,
    ) -> Result<(), Cancelled> {
        // SAFETY: by contract.
        unsafe {
            if let Some(objects) = (*this).objects.as_deref() {
                let places = objects.begin_held();
                pace.parts(places, PER_HELD, |done, len| {
                    let end = places - done;
                    objects.for_each_held(end - len..end, |reference| marks.mark(reference));
                })?;
            }
            if let Some(exceptions) = (*this).exceptions.as_deref() {
                pace.parts(exceptions.len(), PER_HELD, |start, len| {
                    exceptions.mark_held(&mut marks.exceptions, start..start + len);
                })?;
            }
        }
        Ok(())
    }

    unsafe fn mark_frames(
        this: *mut Self,
        marks: &mut Marks,
        pace: &mut Pace<'_>,
    ) -> Result<(), Cancelled> {
        // SAFETY: by contract.
        unsafe {
            activation::for_each_frame(this, |pc, fp| {
                pace.spend(PER_FRAME)?;
                for distance in (*this).code.stack_map(pc) {
                    // SAFETY: the frame is that of a function of this code which is at this call,
                    // where it holds a reference in this word.
                    marks.mark(((fp - distance) as *const u32).read());
                }
                marks.externs.count(WORK_PER_FRAME);
                Ok(())
            })
        }
    }
}
