//! Tables of records, in bytes that may be a part of a file: records consist of little-endian words
//! and are sorted by the first.

/// The record that begins with this offset.
pub(super) fn find<const LEN: usize>(records: &[u8], pc: u32) -> Option<&[u8; LEN]> {
    let (records, _) = records.as_chunks();
    let index = records.binary_search_by_key(&pc, |record| word(record, 0)).ok()?;
    Some(&records[index])
}

/// The word at this place of a record.
pub(super) fn word(record: &[u8], index: usize) -> u32 {
    record.as_chunks().0.get(index).copied().map_or(0, u32::from_le_bytes)
}

/// The words as bytes.
pub(super) fn join<const WORDS: usize, const LEN: usize>(words: [u32; WORDS]) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    for (place, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
        *place = word.to_le_bytes();
    }
    bytes
}
