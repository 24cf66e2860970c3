//! The sizes of small objects, and what of a heap code makes them from.

/// Objects that are larger have blocks of their own.
pub(crate) const MAX_CELL: u32 = 8 << 10;

/// Up to here each multiple of 16 has a class; above there are four for each power of two, so that at
/// most a fifth of a cell is wasted.
const FINE: u32 = 256;

/// How many classes there are.
pub(crate) const CLASSES: usize = class_of(MAX_CELL) + 1;

/// What is left of a store's heap until something else is to be done than to take a cell.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct VMHeap {
    /// Bytes of objects that may be made before the next collection.
    pub(crate) budget: u64,
    /// For each class the first free cell, or zero; each has the next one in its `len`. More may be free
    /// elsewhere.
    pub(crate) free: [u32; CLASSES],
}

/// The class of objects of so many bytes, which are not zero.
pub(crate) const fn class_of(size: u32) -> usize {
    let last = size - 1;
    if size <= FINE {
        return (last / 16) as usize;
    }
    let log = last.ilog2();
    let quarter = (last >> (log - 2)) - 4;
    (FINE / 16 + 4 * (log - FINE.ilog2()) + quarter) as usize
}

/// The bytes of a cell of a class.
pub(crate) const fn size_of_cell(class: usize) -> u32 {
    let class = class as u32;
    if class < FINE / 16 {
        return 16 * (class + 1);
    }
    let above = class - FINE / 16;
    (above % 4 + 5) << (above / 4 + FINE.ilog2() - 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_size_has_the_smallest_cell_that_holds_it() {
        for size in 1..=MAX_CELL {
            let class = class_of(size);
            assert!(size_of_cell(class) >= size, "{size}");
            assert!(class == 0 || size_of_cell(class - 1) < size, "{size}");
            assert_eq!(size_of_cell(class) % 16, 0);
        }
        assert_eq!((CLASSES, size_of_cell(CLASSES - 1)), (36, MAX_CELL));
    }
}
