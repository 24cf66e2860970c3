//! Each kind of memory by itself.

use super::*;

fn settings(static_maximum: u64) -> MemorySettings {
    MemorySettings {
        static_maximum,
        static_guard: 1 << 16,
        dynamic_guard: 1 << 16,
        dynamic_growth: 1 << 16,
        guard_before: true,
    }
}

fn source(static_maximum: u64) -> MemorySource {
    MemorySource::new(settings(static_maximum), None, None)
}

/// A source with `count` slots for memories of at most `pages`.
fn pool(static_maximum: u64, count: usize, pages: u64) -> MemorySource {
    let settings = settings(static_maximum);
    let stride = MemorySlots::stride(&settings, pages).unwrap();
    let slots = Arc::new(MemorySlots::new(&settings, stride, count).unwrap());
    MemorySource::new(settings, Some(PooledMemories { slots, pages }), None)
}

fn ty(minimum: u32, maximum: Option<u32>) -> MemoryType {
    MemoryType::new(minimum, maximum)
}

fn bytes(memory: &mut Memory) -> &mut [u8] {
    let VMMemory { base, len } = memory.definition();
    // SAFETY: the memory is borrowed for as long as the slice.
    unsafe { std::slice::from_raw_parts_mut(base, len) }
}

#[test]
fn the_next_guest_sees_zeros() {
    for (minimum, next) in [(2, 1), (1, 2), (3, 3)] {
        let source = source(4 << 16);
        let mut memory = source.memory(&ty(minimum, Some(4))).unwrap();
        memory.grow(1).unwrap();
        bytes(&mut memory).fill(0xaa);
        drop(memory);
        assert_eq!(source.idles.count(), 1);
        let mut memory = source.memory(&ty(next, Some(4))).unwrap();
        assert!(bytes(&mut memory).iter().all(|&byte| byte == 0));
        assert_eq!(source.idles.count(), 0, "the reservation was used again");
    }
}

#[test]
fn a_dynamic_memory_keeps_its_bytes_when_it_moves() {
    let mut memory = source(0).memory(&ty(1, None)).unwrap();
    assert!(matches!(memory.bytes, Bytes::Moving(_)));
    bytes(&mut memory).fill(7);
    let before = memory.definition().base;
    assert_eq!(memory.grow(1).unwrap(), 1);
    assert_eq!(memory.definition().base, before, "within the reserve for growth");
    assert_eq!(memory.grow(100).unwrap(), 2);
    let (old, new) = bytes(&mut memory).split_at(1 << 16);
    assert!(old.iter().all(|&byte| byte == 7) && new.iter().all(|&byte| byte == 0));
    assert_eq!(memory.pages(), 102);
}

#[test]
fn growth_ends_at_the_maximum() {
    let mut memory = source(1 << 20).memory(&ty(1, Some(2))).unwrap();
    assert_eq!(memory.grow(1).unwrap(), 1);
    let error = memory.grow(1).unwrap_err().to_string();
    assert_eq!(error, "a memory of 2 pages cannot grow by 1: its maximum is 2");
    assert!(memory.grow(u64::MAX).is_err());
    assert_eq!(memory.pages(), 2);
}

#[test]
fn memories_that_move_stay_apart() {
    // A hole that one thread leaves behind is where another thread's mapping comes to lie.
    let source = source(0);
    std::thread::scope(|scope| {
        for byte in 1..=4 {
            let source = &source;
            scope.spawn(move || {
                for _ in 0..200 {
                    let mut memory = source.memory(&ty(1, None)).unwrap();
                    for _ in 0..8 {
                        bytes(&mut memory).fill(byte);
                        let (old, len) = (memory.grow(2).unwrap() as usize, 1 << 16);
                        let (kept, new) = bytes(&mut memory).split_at(old * len);
                        assert!(kept.iter().step_by(4096).all(|&found| found == byte));
                        assert!(new.iter().step_by(4096).all(|&found| found == 0));
                    }
                }
            });
        }
    });
}

#[test]
fn a_slot_shows_nothing_of_its_last_memory() {
    // Static and dynamic, shrinking and growing, more accessible than is kept and less.
    for (static_maximum, pages) in [(8 << 16, 8), (0, 8), (0, 300)] {
        let pool = pool(static_maximum, 2, pages);
        for (minimum, delta, next) in [(2, 1, 1), (1, 2, 2), (3, 0, 3), (0, 5, 6), (1, 280, 281)] {
            let (minimum, next) = (minimum.min(pages as u32), next.min(pages as u32));
            let mut memory = pool.memory_of_instance(&ty(minimum, None), 1).unwrap();
            let grown = memory.grow(delta).is_ok();
            bytes(&mut memory).fill(0xaa);
            drop(memory);
            let mut memory = pool.memory_of_instance(&ty(next, None), 1).unwrap();
            assert!(bytes(&mut memory).iter().all(|&byte| byte == 0), "{next} of {pages}");
            assert_eq!(grown, u64::from(minimum) + delta <= pages);
            let room = pages - memory.pages();
            memory.grow(room).unwrap();
            assert!(bytes(&mut memory).iter().all(|&byte| byte == 0), "{room} of {pages} more");
        }
    }
}

#[test]
fn slots_stay_apart() {
    for static_maximum in [4 << 16, 0] {
        let pool = pool(static_maximum, 4, 4);
        let mut memories: Vec<_> =
            (0..4).map(|slot| pool.memory_of_instance(&ty(4, Some(4)), slot).unwrap()).collect();
        for (memory, byte) in memories.iter_mut().zip(1..) {
            bytes(memory).fill(byte);
        }
        for (memory, byte) in memories.iter_mut().zip(1..) {
            assert!(bytes(memory).iter().all(|&found| found == byte));
        }
        let bases: Vec<_> = memories.iter().map(|memory| memory.base() as usize).collect();
        assert!(bases.windows(2).all(|pair| pair[1] - pair[0] > 4 << 16), "{bases:x?}");
    }
}

#[test]
fn a_slot_whose_pages_are_locked_is_used_again() {
    let pool = pool(4 << 16, 1, 4);
    let mut memory = pool.memory_of_instance(&ty(1, None), 0).unwrap();
    bytes(&mut memory).fill(0xaa);
    // SAFETY: the page is accessible and ours.
    unsafe { rustix::mm::mlock(memory.base().cast(), 4096) }.unwrap();
    drop(memory);
    let mut memory = pool.memory_of_instance(&ty(2, None), 0).unwrap();
    assert!(bytes(&mut memory).iter().all(|&byte| byte == 0));
}

#[test]
fn the_pool_bounds_what_types_do_not() {
    let pool = pool(1 << 20, 1, 2);
    let error = pool.memory_of_instance(&ty(3, None), 0).unwrap_err().to_string();
    assert_eq!(error, "the pool's limit `memory_pages` is 2, but 3 are asked for");
    let mut memory = pool.memory_of_instance(&ty(1, None), 0).unwrap();
    assert!(matches!(memory.grow(2), Err(GrowError::Limit(_))));
    assert!(matches!(memory.grow(u64::MAX), Err(GrowError::Maximum { .. })));
    assert_eq!(memory.grow(1).unwrap(), 1);
}

#[test]
fn idle_memories_keep_few_pages() {
    // Each guest is smaller than the last one, and touches the pages that the next one has not.
    let guests = (1..=40).rev().map(|pages| ty(pages, Some(40)));
    let source = source(40 << 16);
    let pool = pool(40 << 16, 1, 40);
    for guest in guests {
        for memory in [source.memory(&guest), pool.memory_of_instance(&guest, 0)] {
            let mut memory = memory.unwrap();
            let (base, len) = (memory.base(), 40 << 16);
            let top = bytes(&mut memory).len() - 12 * 4096;
            bytes(&mut memory)[top..].fill(0xaa);
            drop(memory);
            let mut there = vec![0; len / 4096];
            // SAFETY: the reservations are of this size, and stay with their sources.
            let status = unsafe { libc::mincore(base.cast(), len, there.as_mut_ptr()) };
            assert_eq!(status, 0);
            let there = there.iter().filter(|page| **page & 1 != 0).count();
            assert!(there <= 16, "{there} pages of {guest}");
        }
    }
}
