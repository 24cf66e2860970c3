//! Each kind of memory by itself.

use super::moving::LARGE;
use super::*;
use crate::vm::pace::Pace;

pub(super) fn settings(static_maximum: u64) -> MemorySettings {
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
    memory.note_exposed();
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

/// Whether the byte at this address can be read, by a system call that says so.
fn is_readable(address: *const u8) -> bool {
    let (_reader, writer) = std::io::pipe().unwrap();
    // SAFETY: the kernel reads one byte, or finds that it cannot.
    unsafe { libc::write(std::os::fd::AsRawFd::as_raw_fd(&writer), address.cast(), 1) == 1 }
}

/// Directories of page tables move as wholes, beyond what is accessible.
#[test]
fn a_large_dynamic_memory_moves_and_ends_where_it_ended() {
    const GIB: usize = 1 << 30;
    let mut memory = source(0).memory(&ty(1, None)).unwrap();
    let mut moves = 0;
    for len in [300 << 20, GIB - (1 << 16), GIB + (5 << 20), 4 * GIB - (1 << 16)] {
        let before = memory.definition();
        memory.grow(((len - before.len) >> 16) as u64).unwrap();
        let now = memory.definition();
        moves += usize::from(now.base != before.base && before.len >= LARGE);
        assert_eq!(now.len, len);
        let end = now.base.wrapping_add(len);
        let behind = [0, 1 << 16, 3 << 20, 200 << 20];
        for behind in behind.into_iter().filter(|it| len + it < len.next_multiple_of(GIB)) {
            assert!(!is_readable(end.wrapping_add(behind)), "{behind} behind {len}");
        }
        let bytes = bytes(&mut memory);
        assert!(bytes[before.len..].iter().step_by(1 << 20).all(|&byte| byte == 0), "new: {len}");
        for at in (0..before.len).step_by(10 << 20).skip(1) {
            assert_eq!(bytes[at - 1], (at >> 20) as u8, "at {at} of {len}");
        }
        for at in (0..len).step_by(10 << 20).skip(1) {
            bytes[at - 1] = (at >> 20) as u8;
        }
        bytes[len - 1] = 0;
    }
    assert!(moves >= 1, "no directory has moved");
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
            let mut memory = pool.memory_of_instance(&ty(minimum, None), 1, None).unwrap();
            let grown = memory.grow(delta).is_ok();
            bytes(&mut memory).fill(0xaa);
            drop(memory);
            let mut memory = pool.memory_of_instance(&ty(next, None), 1, None).unwrap();
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
        let mut memories: Vec<_> = (0..4)
            .map(|slot| pool.memory_of_instance(&ty(4, Some(4)), slot, None).unwrap())
            .collect();
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
    let mut memory = pool.memory_of_instance(&ty(1, None), 0, None).unwrap();
    bytes(&mut memory).fill(0xaa);
    // SAFETY: the page is accessible and ours.
    unsafe { rustix::mm::mlock(memory.base().cast(), 4096) }.unwrap();
    drop(memory);
    let mut memory = pool.memory_of_instance(&ty(2, None), 0, None).unwrap();
    assert!(bytes(&mut memory).iter().all(|&byte| byte == 0));
}

#[test]
fn the_pool_bounds_what_types_do_not() {
    let pool = pool(1 << 20, 1, 2);
    let error = pool.memory_of_instance(&ty(3, None), 0, None).unwrap_err().to_string();
    assert_eq!(error, "the pool's limit `memory_pages` is 2, but 3 are asked for");
    let mut memory = pool.memory_of_instance(&ty(1, None), 0, None).unwrap();
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
        for memory in [source.memory(&guest), pool.memory_of_instance(&guest, 0, None)] {
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

/// The image of a memory with these bytes at the start of its second page, up to the end of the
/// fourth.
fn image(source: &MemorySource, byte: u8) -> Shared<MemoryImage> {
    let part = [byte; 3 << 16];
    let parts = [(1 << 16, &part[..])].into_iter();
    source.image(parts, &mut Pace::straight()).unwrap().unwrap()
}

/// Whether a memory is what one with this image starts as; with none for zero.
fn is_new(memory: &mut Memory, byte: u8) -> bool {
    assert_eq!(memory.has_image(), byte != 0);
    let mut expected = vec![0; bytes(memory).len()];
    if byte != 0 {
        expected[1 << 16..4 << 16].fill(byte);
    }
    bytes(memory) == expected
}

#[test]
fn every_guest_starts_with_its_own_image_whoever_was_there_before() {
    let _alone = image::tests::alone();
    let source = source(64 << 16);
    let (first, second) = (image(&source, 1), image(&source, 2));
    let ask = |image| source.memory_of_instance(&ty(5, Some(64)), 0, image).unwrap();
    // How many of its pages a guest writes to, and by how much its memory grows before.
    let lives = [(1, 0), (10, 0), (10, 0), (1, 3), (16, 0), (17, 0), (80, 0), (3, 1), (80, 40)];
    for (pages, delta) in lives.into_iter().chain(lives) {
        let guests = [(Some(&first), 1), (None, 0), (Some(&first), 1), (Some(&second), 2)];
        // Each twice, so that the second finds what the first left of its image.
        for (image, byte) in guests.into_iter().flat_map(|guest| [guest; 2]) {
            let mut memory = ask(image);
            assert!(is_new(&mut memory, byte), "{byte} after {pages} pages and {delta}");
            memory.grow(delta).unwrap();
            assert!(is_new(&mut memory, byte), "{byte} grown by {delta}");
            let len = bytes(&mut memory).len();
            for page in 0..pages {
                // Spread over the memory, at any place of a page.
                bytes(&mut memory)[len / pages * page + page * 251 % 4096] = 0xaa;
            }
        }
    }
    assert_eq!(source.idles.count(), 1, "one was enough");
}

#[test]
fn a_guest_of_the_same_module_gets_the_image_as_it_is_mapped() {
    let _alone = image::tests::alone();
    let source = source(64 << 16);
    let image = image(&source, 1);
    let place = |byte| {
        let image = (byte != 0).then_some(&image);
        let mut memory = source.memory_of_instance(&ty(5, Some(64)), 0, image).unwrap();
        assert!(is_new(&mut memory, byte));
        bytes(&mut memory)[2 << 16] = 0xaa;
        memory
    };
    let (with_image, without) = (place(1), place(0));
    let (its_base, other_base) = (with_image.base().addr(), without.base().addr());
    drop((with_image, without));
    assert_eq!(place(1).base().addr(), its_base);
    assert_eq!(place(0).base().addr(), other_base);
    assert_eq!(place(1).base().addr(), its_base);
}

#[test]
fn what_has_a_module_s_image_goes_with_the_module() {
    let _alone = image::tests::alone();
    let source = source(64 << 16);
    let image = image(&source, 1);
    let memories: Vec<_> = (0..20)
        .map(|_| source.memory_of_instance(&ty(5, Some(64)), 0, Some(&image)).unwrap())
        .collect();
    let other = source.memory(&ty(1, Some(1))).unwrap();
    let last = source.memory_of_instance(&ty(5, Some(64)), 0, Some(&image)).unwrap();
    drop((memories, other));
    assert_eq!(source.idles.count(), 21);
    drop(image);
    assert_eq!(source.idles.count(), 21, "a guest still has it");
    drop(last);
    assert_eq!(source.idles.count(), 1, "that without an image");
}

#[test]
fn single_bytes_of_small_memories_are_found() {
    let mut random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0) | 1;
    println!("seed {random}");
    let source = source(4 << 16);
    let mut next = || {
        // xorshift
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as usize
    };
    for round in 0..300 {
        let mut memory = source.memory(&ty(2, Some(4))).unwrap();
        assert!(is_new(&mut memory, 0), "round {round}");
        let len = bytes(&mut memory).len();
        for _ in 0..next() % 20 {
            let page = next() % (len / 4096) * 4096;
            let at = [0, 1, 4094, 4095, next() % 4096][next() % 5];
            bytes(&mut memory)[page + at] = 1 << (next() % 8);
        }
    }
}

#[test]
fn large_memories_are_kept_within_bounds() {
    let source = source(1 << 32);
    // 20 MiB each, and one with 512 MiB.
    let memories: Vec<_> = (0..100).map(|_| source.memory(&ty(320, None)).unwrap()).collect();
    drop(memories);
    assert_eq!(source.idles.count(), 51, "1 GiB");
    drop(source.memory(&ty(8192, None)).unwrap());
    assert_eq!(source.idles.count(), 50, "what it took is gone with it");
    let memories: Vec<_> = (0..60).map(|_| source.memory(&ty(1, None)).unwrap()).collect();
    drop(memories);
    assert_eq!(source.idles.count(), 60);
    let memories: Vec<_> = (0..200).map(|_| source.memory(&ty(320, None)).unwrap()).collect();
    drop(memories);
    assert_eq!(source.idles.count(), 51, "1 GiB again");
}

#[test]
fn reservations_that_a_thread_kept_are_used_when_it_has_ended() {
    let source = source(1 << 16);
    let some =
        |count| (0..count).map(|_| source.memory(&ty(1, Some(1))).unwrap()).collect::<Vec<_>>();
    for _ in 0..5 {
        std::thread::scope(|scope| scope.spawn(|| drop(some(30))).join().unwrap());
        assert_eq!(source.idles.count(), 30);
    }
    let all = some(30);
    assert_eq!(source.idles.count(), 0);
    drop(all);
}

#[test]
fn few_idle_memories_keep_all_their_pages() {
    let source = source(2 << 16);
    let some = || (0..200).map(|_| source.memory(&ty(2, Some(2))).unwrap()).collect::<Vec<_>>();
    let mut bases: Vec<_> = some().iter().map(|memory| memory.base()).collect();
    for round in 0..3 {
        for (index, mut memory) in some().into_iter().enumerate() {
            bytes(&mut memory)[(index + round) % 32 * 4096] = 0xaa;
        }
    }
    bases.retain(|base| {
        let mut there = [0; 32];
        // SAFETY: the reservations stay with their source.
        let status = unsafe { libc::mincore(base.cast(), 32 * 4096, there.as_mut_ptr()) };
        assert_eq!(status, 0);
        there.iter().filter(|page| **page & 1 != 0).count() > 16
    });
    assert!(bases.len() <= 8, "{} memories", bases.len());
}
