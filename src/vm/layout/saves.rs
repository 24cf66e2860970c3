//! Which registers frames hold for their callers, so that a throw can give them back.

use bytes::Bytes;

use super::records::word;

/// The machine's numbers of the registers that functions preserve, the frame pointer aside: rbx, r12
/// to r15. The last one is pinned where fuel is counted, and then nobody saves it.
pub(crate) const PRESERVED: [u8; 5] = [3, 12, 13, 14, 15];

/// What a frame holds a register in.
const WORD: u32 = 8;

/// The part of a frame that holds registers is a multiple of this.
const ALIGN: u32 = 16;

/// The bits of a set.
const SET: u32 = (1 << PRESERVED.len()) - 1;

/// A function's start and its set.
type Record = [u8; 2 * size_of::<u32>()];

/// Which of the [`PRESERVED`] registers a function saves in its frame: a bit for each.
///
/// They lie below the frame pointer, in their order from below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SavedRegisters(u8);

impl SavedRegisters {
    /// The set of the registers of these machine's numbers, if all are preserved ones.
    pub(crate) fn of(registers: impl IntoIterator<Item = u8>) -> Option<Self> {
        registers.into_iter().try_fold(Self::default(), |Self(set), register| {
            let index = PRESERVED.iter().position(|&known| known == register)?;
            Some(Self(set | 1 << index))
        })
    }

    /// How many bytes below the frame pointer the part of the frame begins that holds them.
    pub(crate) fn size(self) -> u32 {
        (self.0.count_ones() * WORD).next_multiple_of(ALIGN)
    }

    /// Where each is: its index among the preserved ones, and how many bytes below the frame pointer.
    #[inline]
    pub(crate) fn places(self) -> impl Iterator<Item = (usize, u32)> {
        let (mut rest, mut distance) = (self.0, self.size() + WORD);
        std::iter::from_fn(move || {
            let index = (rest != 0).then(|| rest.trailing_zeros() as usize)?;
            rest &= rest - 1;
            distance -= WORD;
            Some((index, distance))
        })
    }
}

/// The registers that the functions of a text save, in bytes that may be a part of a file: a [`Record`]
/// for each function that saves others than the one before, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SaveTable(Bytes);

impl SaveTable {
    /// The table of functions that start at these offsets in the text, which are sorted.
    pub(super) fn new(functions: &[(u32, SavedRegisters)]) -> Self {
        debug_assert!(functions.is_sorted_by_key(|&(start, _)| start));
        let mut words: Vec<u32> = Vec::new();
        for &(start, SavedRegisters(set)) in functions {
            if words.last().copied().unwrap_or(0) != u32::from(set) {
                words.extend([start, u32::from(set)]);
            }
        }
        Self(words.into_iter().flat_map(u32::to_le_bytes).collect::<Vec<u8>>().into())
    }

    /// The table in these bytes, if they may be one.
    pub(super) fn from_bytes(bytes: Bytes) -> Option<Self> {
        bytes.len().is_multiple_of(size_of::<Record>()).then_some(Self(bytes))
    }

    /// The bytes of the table.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// What the function saves whose call returns to this offset.
    pub(crate) fn of(&self, return_address: u32) -> SavedRegisters {
        let (records, _): (&[Record], _) = self.0.as_chunks();
        // A return address lies behind its function's start, and may be that of the next one.
        let after = records.partition_point(|record| word(record, 0) < return_address);
        let set = after.checked_sub(1).map_or(0, |last| word(&records[last], 1));
        SavedRegisters((set & SET) as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_lie_one_above_the_other() {
        let places = |registers: &[u8]| {
            let set = SavedRegisters::of(registers.iter().copied()).expect("preserved ones");
            (set.size(), set.places().collect::<Vec<_>>())
        };
        assert_eq!(places(&[]), (0, vec![]));
        assert_eq!(places(&[12]), (16, vec![(1, 16)]));
        assert_eq!(places(&[14, 3, 12]), (32, vec![(0, 32), (1, 24), (3, 16)]));
        assert_eq!(places(&PRESERVED), (48, vec![(0, 48), (1, 40), (2, 32), (3, 24), (4, 16)]));
        assert_eq!(SavedRegisters::of([3, 0]), None);
    }

    #[test]
    fn functions_are_found_by_return_addresses() {
        let none = SavedRegisters::default();
        let [two, all] = [&[3, 14][..], &PRESERVED].map(|registers| {
            SavedRegisters::of(registers.iter().copied()).expect("preserved ones")
        });
        let functions = [(0, none), (32, two), (64, two), (96, none), (132, all), (1 << 30, none)];
        let table = SaveTable::new(&functions);
        assert_eq!(table.bytes().len(), 4 * size_of::<Record>());
        let bytes = Bytes::copy_from_slice(table.bytes());
        let table = SaveTable::from_bytes(bytes.clone()).expect("the same");
        for (return_address, set) in [
            (1, none),
            (32, none),
            (33, two),
            (64, two),
            (96, two),
            (97, none),
            (1000, all),
            (1 << 30, all),
            (u32::MAX, none),
        ] {
            assert_eq!(table.of(return_address), set, "at {return_address}");
        }
        assert_eq!(SaveTable::default().of(7), none);
        assert!(SaveTable::from_bytes(bytes.slice(1..)).is_none());
    }
}
