//! Where frames of wasm hold references to values of the host.

use bytes::Bytes;

use super::records::{find, join, word};

/// The unit of a map: references are 32-bit indexes.
const SLOT: u32 = 4;

/// For return addresses of calls, as a compiler collects them: which words of the calling frame hold
/// references while the call runs. Every other word of a frame is something else, or no longer
/// used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StackMaps {
    /// Sorted by return address, each once. A call over which no reference is live has none.
    maps: Vec<StackMap>,
    /// The bits of all maps.
    bits: Vec<u32>,
}

/// The map of one call. Bit `i` is that of the slot `deepest - 4 * i` bytes below the frame
/// pointer; there is a bit for each such slot, since a guest picks how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct StackMap {
    /// An offset in the text.
    return_address: u32,
    deepest: u32,
    /// Where its bits are, in words.
    first: u32,
    words: u32,
}

impl StackMaps {
    /// Adds the map of the call that returns to `return_address`, which is behind all others:
    /// `distances` are how many bytes below the frame pointer references lie.
    ///
    /// Answers whether it can be: distances must be multiples of the slot's size.
    #[must_use]
    pub(crate) fn push(&mut self, return_address: u32, distances: &[u32]) -> bool {
        let Some(&deepest) = distances.iter().max() else { return true };
        let shallowest = distances.iter().min().expect("there is a maximum");
        if distances.iter().any(|&distance| distance % SLOT != 0 || distance == 0) {
            return false;
        }
        let words = ((deepest - shallowest) / SLOT) / u32::BITS + 1;
        let mut bits = vec![0_u32; words as usize];
        for &distance in distances {
            let slot = (deepest - distance) / SLOT;
            bits[(slot / u32::BITS) as usize] |= 1 << (slot % u32::BITS);
        }
        // Neighbouring calls mostly have the same references.
        let (first, words) = match self.maps.last() {
            Some(&last) if *self.bits_of(last) == bits => (last.first, last.words),
            _ => {
                let Ok(first) = u32::try_from(self.bits.len()) else { return false };
                self.bits.extend(bits);
                (first, words)
            }
        };
        self.maps.push(StackMap { return_address, deepest, first, words });
        true
    }

    /// Adds the maps of a function that starts at `start` of the text, behind all others.
    ///
    /// Answers whether there is room.
    #[must_use]
    pub(crate) fn append(&mut self, function: &Self, start: u32) -> bool {
        let Ok(base) = u32::try_from(self.bits.len()) else { return false };
        if base.checked_add(function.bits.len() as u32).is_none() {
            return false;
        }
        self.bits.extend_from_slice(&function.bits);
        self.maps.extend(function.maps.iter().map(|&map| StackMap {
            return_address: map.return_address + start,
            first: map.first + base,
            ..map
        }));
        true
    }

    /// The table of all maps.
    pub(super) fn table(&self) -> StackMapTable {
        let record = |map: &StackMap| -> MapRecord {
            join([map.return_address, map.deepest, map.first, map.words])
        };
        let maps: Vec<MapRecord> = self.maps.iter().map(record).collect();
        let bits: Vec<[u8; 4]> = self.bits.iter().map(|word| word.to_le_bytes()).collect();
        StackMapTable { maps: maps.into_flattened().into(), bits: bits.into_flattened().into() }
    }

    fn bits_of(&self, map: StackMap) -> &[u32] {
        &self.bits[map.first as usize..][..map.words as usize]
    }
}

/// The maps of a text, in bytes that may be a part of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StackMapTable {
    /// A [`MapRecord`] for each map, sorted by return address, each once.
    maps: Bytes,
    /// The bits of all maps, in little-endian words.
    bits: Bytes,
}

/// The fields of a [`StackMap`], in order.
type MapRecord = [u8; 16];

impl StackMapTable {
    /// The table of what [`Self::parts`] answered, if it may be that.
    pub(super) fn from_parts([maps, bits]: [Bytes; 2]) -> Option<Self> {
        let (records, rest) = maps.as_chunks::<{ size_of::<MapRecord>() }>();
        let words = bits.len() as u64 / 4;
        let fits = |record| u64::from(word(record, 2)) + u64::from(word(record, 3)) <= words;
        let whole = rest.is_empty() && records.iter().all(|record| fits(record));
        whole.then_some(Self { maps, bits })
    }

    /// What the table consists of.
    pub(super) fn parts(&self) -> [&[u8]; 2] {
        [&self.maps, &self.bits]
    }

    /// How many bytes below the frame pointer of the caller the references lie that are live over
    /// the call that returns to `return_address`.
    pub(crate) fn distances(&self, return_address: u32) -> impl Iterator<Item = usize> {
        let map: Option<&MapRecord> = find(&self.maps, return_address);
        map.into_iter().flat_map(move |map| {
            let [deepest, first, words] = [1, 2, 3].map(|field| word(map, field));
            (0..words).flat_map(move |index| {
                let bits = word(&self.bits, (first + index) as usize);
                let slots = (0..u32::BITS).filter(move |bit| bits & (1 << bit) != 0);
                slots.map(move |bit| (deepest - SLOT * (index * u32::BITS + bit)) as usize)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(maps: &StackMapTable, return_address: u32) -> Vec<usize> {
        let mut distances: Vec<_> = maps.distances(return_address).collect();
        distances.sort_unstable();
        distances
    }

    #[test]
    fn maps_answer_what_was_put_in() {
        let mut maps = StackMaps::default();
        assert!(maps.push(10, &[]));
        assert!(maps.push(20, &[16]));
        assert!(maps.push(30, &[8, 400, 12, 136]));
        assert!(maps.push(40, &[8, 400, 12, 136]));
        assert!(maps.push(50, &[4]));
        let mut text = StackMaps::default();
        for start in [0, 1000] {
            assert!(text.append(&maps, start));
            let parts = text.table().parts().map(Bytes::copy_from_slice);
            let text = StackMapTable::from_parts(parts).expect("the same");
            assert!(sorted(&text, start + 10).is_empty() && sorted(&text, start + 31).is_empty());
            assert_eq!(sorted(&text, start + 20), [16]);
            assert_eq!(sorted(&text, start + 30), [8, 12, 136, 400]);
            assert_eq!(sorted(&text, start + 40), [8, 12, 136, 400]);
            assert_eq!(sorted(&text, start + 50), [4]);
        }
        assert_eq!(maps.bits.len(), 1 + 4 + 1, "equal neighbours share their bits");
        let [records, bits] = text.table().parts().map(Bytes::copy_from_slice);
        let cut = bits.slice(..bits.len() - 4);
        assert!(StackMapTable::from_parts([records.clone(), cut]).is_none());
        assert!(StackMapTable::from_parts([records.slice(..7), bits]).is_none());
    }

    #[test]
    fn slots_are_aligned_and_inside_the_frame() {
        let mut maps = StackMaps::default();
        assert!(!maps.push(10, &[6]) && !maps.push(10, &[8, 0]));
    }
}
