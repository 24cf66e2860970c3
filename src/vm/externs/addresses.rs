//! The index of each value by its address: a hash table that grows bit by bit.
//!
//! A guest picks how many entries there are, and one more must not cost as much as all. So the
//! table is one of small tables, found by the first bits of the hash ("extendible hashing": Fagin,
//! Nievergelt, Pippenger, Strong, 1979); the one that is full is cut in two.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// The most entries of one of the tables: what one of 1,024 places has room for.
const MAX_ENTRIES: usize = 896;
/// The most bits of the hash that tell tables apart; a table of more than its share just grows.
const MAX_BITS: u32 = 24;

/// A table of things by address.
pub(crate) type ByAddress<V> = HashMap<usize, V, BuildHasherDefault<AddressHasher>>;

/// Addresses with these first bits of their hashes.
#[derive(Default)]
struct Part {
    bits: u32,
    entries: ByAddress<u32>,
}

/// Indexes by address.
pub(super) struct Addresses {
    parts: Vec<Part>,
    /// The place of the part for each value of the first `bits` bits of a hash.
    directory: Vec<u32>,
    bits: u32,
}

impl Default for Addresses {
    fn default() -> Self {
        Self { parts: vec![Part::default()], directory: vec![0], bits: 0 }
    }
}

impl Addresses {
    /// The place of the part in which an address is.
    #[inline]
    fn part(&self, address: usize) -> usize {
        self.directory[prefix(address, self.bits)] as usize
    }

    #[inline]
    pub(super) fn get(&self, address: usize) -> Option<u32> {
        self.parts[self.part(address)].entries.get(&address).copied()
    }

    pub(super) fn insert(&mut self, address: usize, index: u32) {
        let mut part = self.part(address);
        while self.parts[part].entries.len() >= limit(part) && self.parts[part].bits < MAX_BITS {
            self.split(part, address);
            part = self.part(address);
        }
        self.parts[part].entries.insert(address, index);
    }

    pub(super) fn remove(&mut self, address: usize) {
        let part = self.part(address);
        self.parts[part].entries.remove(&address);
    }

    /// Cuts the part, in which this address is, in two by the next bit of the hash.
    fn split(&mut self, part: usize, address: usize) {
        let former = self.parts[part].bits;
        if former == self.bits {
            self.directory = self.directory.iter().flat_map(|&part| [part, part]).collect();
            self.bits += 1;
        }
        let old = &mut self.parts[part];
        old.bits += 1;
        // Tables that have their room from the start never move their entries to grow.
        let mut second = ByAddress::with_capacity_and_hasher(MAX_ENTRIES, Default::default());
        let is_second = |address: &usize, _: &mut u32| prefix(*address, former + 1) & 1 == 1;
        second.extend(old.entries.extract_if(is_second));
        let new = self.parts.len() as u32;
        self.parts.push(Part { bits: former + 1, entries: second });
        // The places of a part are one range, whose second half is now the new one's.
        let half = 1 << (self.bits - former - 1);
        let start = prefix(address, former) * 2 * half;
        self.directory[start + half..start + 2 * half].fill(new);
    }

    /// How many parts there are.
    pub(super) fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Gives memory of a part back that it no longer needs.
    pub(super) fn shrink(&mut self, part: usize) {
        let Part { entries, .. } = &mut self.parts[part];
        if entries.capacity() > 4 * entries.len() {
            entries.shrink_to_fit();
        }
    }

    /// Gives back what parts take that hold nothing.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.parts.iter().map(|part| part.entries.capacity()).sum()
    }
}

/// How many entries a part may have. Addresses are spread so evenly that parts with one limit would all be
/// full at the same time.
fn limit(part: usize) -> usize {
    const LEAST: usize = MAX_ENTRIES / 2;
    LEAST + part.wrapping_mul(317) % LEAST
}

/// The first bits of an address's hash; others than those by which a table finds its entries.
#[inline]
fn prefix(address: usize, bits: u32) -> usize {
    let hash = (address as u64 >> 3).wrapping_mul(0xd6e8_feb8_6659_fd93);
    // By 64 in two steps.
    (hash >> (63 - bits) >> 1) as usize
}

/// Hashes addresses, which guests do not choose: a multiplication spreads them.
#[derive(Default)]
pub(crate) struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only addresses are hashed");
    }

    #[inline]
    fn write_usize(&mut self, address: usize) {
        // The low bits choose the bucket and the high ones tell entries apart.
        let product = (address as u64 >> 3).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product ^ (product >> 32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_not_cut_all_at_once() {
        let (mut addresses, mut most) = (Addresses::default(), 0);
        for number in 0..300 {
            let before = addresses.parts();
            for number in number * 1_000..(number + 1) * 1_000 {
                addresses.insert((1 << 44) + number * 48, number as u32);
            }
            most = most.max(addresses.parts() - before);
        }
        // There are some 400 in the end.
        assert!(most < 20, "{most} of {} parts for 1,000 entries", addresses.parts());
    }

    #[test]
    fn every_address_is_found_again() {
        // Neighbours on the heap, far apart, and both from the end.
        for step in [16, 48, 4096, 1 << 20, (1 << 20) + 16] {
            let mut addresses = Addresses::default();
            let address = |number: usize| (1 << 44) + number * step;
            for number in 0..100_000 {
                assert_eq!(addresses.get(address(number)), None);
                addresses.insert(address(number), number as u32);
            }
            let found = |addresses: &Addresses, number| addresses.get(address(number));
            assert!((0..100_000).all(|number| found(&addresses, number) == Some(number as u32)));
            let most = addresses.parts.iter().map(|part| part.entries.len()).max();
            assert!(most <= Some(MAX_ENTRIES), "steps of {step}: {most:?}");
            assert!(addresses.parts() < 1000, "steps of {step}: {}", addresses.parts());
            (0..100_000).step_by(2).for_each(|number| addresses.remove(address(number)));
            (0..addresses.parts()).for_each(|part| addresses.shrink(part));
            assert!((0..100_000).all(|number| {
                found(&addresses, number) == (number % 2 == 1).then_some(number as u32)
            }));
        }
    }
}
