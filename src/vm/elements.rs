//! The elements of a table: a list that grows without being copied.
//!
//! A guest picks how often its tables grow and how large they are, and the price of one growth must
//! not be that of the whole table. Few elements are in a list like any other. Beyond that they lie at
//! the start of a reservation that has room for all that the table can have, of which more and more
//! is made accessible; what is not written to costs no memory.

use std::ops::{Deref, DerefMut, Range};
use std::ptr::{self, NonNull};
use std::slice;

use super::memory::Reservation;

/// The most bytes of elements that are copied where there is no more room for them.
const MAX_COPIED: usize = 64 << 10;
/// How much of a reservation is made accessible at a time, in bytes.
const STEP: usize = 1 << 20;

/// What can be an element.
///
/// # Safety
///
/// All bytes zero must be [`NULL`](Self::NULL), and any element may go to another thread.
pub(super) unsafe trait Element: Copy {
    /// What elements are at first.
    const NULL: Self;

    /// Whether this is such a one.
    fn is_null(self) -> bool;
}

// SAFETY: a null pointer's bytes are zero; whoever uses a pointer has the store.
unsafe impl<T> Element for *mut T {
    const NULL: Self = ptr::null_mut();

    fn is_null(self) -> bool {
        ptr::eq(self, Self::NULL)
    }
}

// SAFETY: a number.
unsafe impl Element for u32 {
    const NULL: Self = 0;

    fn is_null(self) -> bool {
        self == Self::NULL
    }
}

/// There is no room for more elements.
#[derive(Debug)]
pub(super) struct NoRoom;

#[derive(Debug)]
enum Room<T> {
    /// A boxed slice of ours, of as many elements as there is room for. It is no `Box`, whose
    /// elements nobody but its owner may touch: machine code does.
    Few(NonNull<[T]>),
    /// The reservation, and how many elements at its start are accessible.
    Many(Reservation, usize),
}

impl<T: Element> Room<T> {
    /// Room for a few nulls.
    fn few(len: usize) -> Result<Self, NoRoom> {
        let mut list = Vec::new();
        list.try_reserve_exact(len).map_err(|_| NoRoom)?;
        list.resize(len, T::NULL);
        Ok(Self::Few(NonNull::from(Box::leak(list.into_boxed_slice()))))
    }
}

impl<T> Drop for Room<T> {
    fn drop(&mut self) {
        if let Self::Few(list) = self {
            // SAFETY: leaked by `few`, and dropped once.
            drop(unsafe { Box::from_raw(list.as_ptr()) });
        }
    }
}

/// The elements of a table. Behind them there may be room in which some are being prepared.
#[derive(Debug)]
pub(super) struct Elements<T> {
    room: Room<T>,
    len: usize,
    /// From here on there is nothing but nulls.
    written: usize,
}

impl<T: Element> Elements<T> {
    /// So many nulls, of `maximum` elements that there can be.
    pub(super) fn new(len: usize, maximum: usize) -> Result<Self, NoRoom> {
        let mut this = Self { room: Room::few(len.min(Self::MAX_FEW))?, len: 0, written: 0 };
        this.reserve(len, maximum)?;
        this.len = len;
        Ok(this)
    }

    const MAX_FEW: usize = MAX_COPIED / size_of::<T>();

    fn base(&self) -> NonNull<T> {
        match &self.room {
            Room::Few(list) => list.cast(),
            Room::Many(reservation, _) => {
                NonNull::new(reservation.base().cast()).expect("reservations are not at null")
            }
        }
    }

    fn capacity(&self) -> usize {
        match &self.room {
            Room::Few(list) => list.len(),
            Room::Many(_, accessible) => *accessible,
        }
    }

    /// Makes room for `len` elements, of `maximum` that there can be. Those that there are may move.
    pub(super) fn reserve(&mut self, len: usize, maximum: usize) -> Result<(), NoRoom> {
        assert!(len <= maximum, "no more than there can be");
        if len <= self.capacity() {
            return Ok(());
        }
        if let Room::Many(reservation, accessible) = &mut self.room {
            return make_accessible::<T>(reservation, accessible, len);
        }
        let room = if len <= Self::MAX_FEW {
            Room::few(len.max(2 * self.len).min(maximum).min(Self::MAX_FEW))?
        } else {
            let reservation = Reservation::new(0, maximum * size_of::<T>()).map_err(|_| NoRoom)?;
            let mut accessible = 0;
            make_accessible::<T>(&reservation, &mut accessible, len)?;
            Room::Many(reservation, accessible)
        };
        let all = self.len.max(self.written);
        let old = std::mem::replace(&mut self.room, room);
        if let Room::Few(old) = &old {
            // SAFETY: there is room for more than the old list had.
            unsafe { self.base().copy_from_nonoverlapping(old.cast(), all) };
        }
        Ok(())
    }

    /// From where on there is nothing but nulls, unless there are elements.
    pub(super) fn written(&self) -> usize {
        self.written
    }

    /// Prepares elements in the room behind those that there are.
    ///
    /// # Panics
    ///
    /// Panics if there is not so much room.
    pub(super) fn prepare(&mut self, range: Range<usize>, value: T) {
        assert!(self.len <= range.start && range.end <= self.capacity(), "in the room behind");
        let end = if value.is_null() { range.end.min(self.written) } else { range.end };
        let Some(count) = end.checked_sub(range.start) else { return };
        // SAFETY: these elements are accessible, and initialized as any bytes are.
        let prepared =
            unsafe { slice::from_raw_parts_mut(self.base().add(range.start).as_ptr(), count) };
        prepared.fill(value);
        self.written = self.written.max(end);
    }

    /// Lets the elements be as many as this; the new ones are prepared.
    ///
    /// # Panics
    ///
    /// Panics if there is not so much room.
    pub(super) fn extend(&mut self, len: usize) {
        assert!(self.len <= len && len <= self.capacity(), "there is room");
        self.len = len;
    }
}

/// Makes the first `len` elements of a reservation accessible, and some more.
fn make_accessible<T>(
    reservation: &Reservation,
    accessible: &mut usize,
    len: usize,
) -> Result<(), NoRoom> {
    let bytes = (len * size_of::<T>()).next_multiple_of(STEP).min(reservation.len());
    reservation.protect(*accessible * size_of::<T>()..bytes, true).map_err(|_| NoRoom)?;
    *accessible = bytes / size_of::<T>();
    Ok(())
}

impl<T: Element> Deref for Elements<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: so many elements are accessible.
        unsafe { slice::from_raw_parts(self.base().as_ptr(), self.len) }
    }
}

impl<T: Element> DerefMut for Elements<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.written = self.written.max(self.len);
        // SAFETY: as above; who may write is who has the elements.
        unsafe { slice::from_raw_parts_mut(self.base().as_ptr(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAXIMUM: usize = 1_000_000;

    fn grow(elements: &mut Elements<u32>, len: usize, value: u32) {
        elements.reserve(len, MAXIMUM).unwrap();
        elements.prepare(elements.len()..len, value);
        elements.extend(len);
    }

    #[test]
    fn elements_stay_through_all_growth() {
        let mut elements = Elements::new(3, MAXIMUM).unwrap();
        elements.copy_from_slice(&[1, 2, 3]);
        let mut expected = vec![1, 2, 3];
        for (round, len) in [5, 5, 100, 16_384, 16_385, 300_000, MAXIMUM].into_iter().enumerate() {
            grow(&mut elements, len, round as u32);
            expected.resize(len, round as u32);
            assert_eq!(*elements, *expected);
        }
        assert!(matches!(elements.room, Room::Many(..)));
    }

    #[test]
    fn what_was_prepared_in_vain_is_not_seen_later() {
        for len in [10, 100_000] {
            let mut elements = Elements::new(len, MAXIMUM).unwrap();
            elements.reserve(2 * len, MAXIMUM).unwrap();
            elements.prepare(len..2 * len - 3, 7);
            // Dropped here, and grown otherwise.
            grow(&mut elements, 3 * len, 0);
            assert!(elements.iter().all(|&element| element == 0));
        }
    }

    #[test]
    fn what_machine_code_wrote_is_not_taken_for_null() {
        let mut elements = Elements::new(5, MAXIMUM).unwrap();
        // SAFETY: there are five.
        unsafe { elements.base().add(4).write(9) };
        grow(&mut elements, 100_000, 0);
        assert_eq!(elements[4], 9);
        assert!(elements[5..].iter().all(|&element| element == 0));
    }

    #[test]
    #[should_panic(expected = "in the room behind")]
    fn nothing_is_prepared_beyond_the_room() {
        Elements::<u32>::new(5, 5).unwrap().prepare(5..6, 1);
    }
}
