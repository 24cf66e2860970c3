use super::*;
use crate::vm::layout::ObjectLayout;

/// A type of structs with nothing but a head, and one of arrays of references.
fn types() -> [Box<VMType>; 2] {
    [
        ObjectLayout::Struct { size: 16, references: Box::default() },
        ObjectLayout::Array { shift: 2, references: true },
    ]
    .map(|layout| Box::new(VMType::new(0, 1, &[], layout)))
}

fn heap(blocks: usize) -> Heap {
    let maximum = (blocks * BLOCK) as u64;
    let mut heap = Heap::new(ObjectSettings { maximum, stress: false }).unwrap();
    heap.grow(blocks * BLOCK);
    heap
}

/// Makes an object, all of whose fields must be zero.
fn make(heap: &mut Heap, ty: &VMType, size: usize, len: u32) -> Option<u32> {
    let place = heap.place(size)?;
    (0..place.unclean).for_each(|block| heap.clean(place, block));
    // SAFETY: the types outlive the heap in each test, and sizes are those of the types or larger.
    let at = unsafe { heap.finish(place, ty, len) };
    let fields = heap.object(at).wrapping_add(1).cast::<u8>();
    // SAFETY: these are the bytes of the object behind its head.
    let fields = unsafe { std::slice::from_raw_parts_mut(fields, size - 16) };
    assert!(fields.iter().all(|&byte| byte == 0), "a new object is zero");
    fields.fill(0xff);
    Some(at)
}

fn sweep(heap: &mut Heap, mut marks: Marks) -> usize {
    heap.begin_sweep();
    let left = (0..heap.len()).map(|block| heap.sweep(&mut marks, block)).sum();
    let mut keep = heap.end_sweep(left, 0);
    for block in 0..heap.len() {
        if heap.is_spare(block, &mut keep) {
            heap.give_back(block).unwrap();
        }
    }
    left
}

#[test]
fn cells_and_blocks_are_used_again_and_are_zero_then() {
    let [object, _] = types();
    let mut heap = heap(8);
    for size in [16, 24, 256, 257, 8 << 10, (8 << 10) + 1, BLOCK, 3 * BLOCK - 16] {
        let mut count = None;
        for _ in 0..3 {
            let made = std::iter::from_fn(|| make(&mut heap, &object, size, 0)).count();
            assert_eq!(*count.get_or_insert(made), made, "{size} bytes");
            assert!(made > 0);
            let marks = Marks::new(Some(&heap));
            assert_eq!(sweep(&mut heap, marks), 0);
        }
    }
}

#[test]
fn what_is_marked_stays_where_it_is() {
    let [object, _] = types();
    let mut heap = heap(2);
    let made: Vec<_> = std::iter::from_fn(|| make(&mut heap, &object, 48, 0)).collect();
    assert!(made.len() > 2 * (BLOCK / 48) - 4);
    let mut marks = Marks::new(Some(&heap));
    made.iter().step_by(3).for_each(|&at| marks.mark(&heap, at));
    sweep(&mut heap, marks);
    assert!(made.iter().enumerate().all(|(index, &at)| heap.is_object(at) == (index % 3 == 0)));
    let again = std::iter::from_fn(|| make(&mut heap, &object, 48, 0)).count();
    assert_eq!(again, made.len() - made.len().div_ceil(3));
}

#[test]
fn only_starts_of_objects_are_marked() {
    let [object, array] = types();
    let mut heap = heap(8);
    let small = make(&mut heap, &object, 48, 0).unwrap();
    let large = make(&mut heap, &array, 2 * BLOCK, 0).unwrap();
    for at in (0..9 * BLOCK as u32).chain([u32::MAX, u32::MAX - 15]) {
        assert_eq!(heap.is_object(at), at == small || at == large, "{at:#x}");
    }
}

#[test]
fn references_are_followed_part_by_part() {
    let [object, array] = types();
    let mut heap = heap(8);
    let elements = 10_000_u32;
    let large = make(&mut heap, &array, 16 + 4 * elements as usize, elements).unwrap();
    let to: Vec<_> = (0..elements).map(|_| make(&mut heap, &object, 16, 0).unwrap()).collect();
    let fields = heap.object(large).wrapping_add(1).cast::<u32>();
    // SAFETY: the array has as many elements.
    unsafe { fields.copy_from_nonoverlapping(to.as_ptr(), to.len()) };
    let mut marks = Marks::new(Some(&heap));
    marks.mark(&heap, large);
    let mut most = 0;
    while let Some(count) = marks.follow(&heap, |marks, at| marks.mark(&heap, at)) {
        most = most.max(count);
    }
    assert!(most <= 1024);
    assert!(to.iter().all(|&at| marks.is_set(at)));
}

#[test]
fn it_is_as_large_as_it_may_be_and_no_larger() {
    let [object, _] = types();
    let mut heap = Heap::new(ObjectSettings { maximum: 10 * BLOCK as u64, stress: false }).unwrap();
    assert!(make(&mut heap, &object, 16, 0).is_none());
    while heap.can_grow(heap.growth_for(100)) {
        heap.grow(heap.growth_for(100));
        make(&mut heap, &object, BLOCK, 0).unwrap();
    }
    assert_eq!(heap.size(), 10 * BLOCK);
    assert!(!heap.can_grow(heap.growth_for(11 * BLOCK)));
    let all = Heap::new(ObjectSettings::default()).unwrap();
    assert!(all.can_grow(MAX_BYTES - BLOCK) && !all.can_grow(MAX_BYTES));
}

#[test]
fn free_blocks_go_back_to_the_system_but_for_a_reserve() {
    let [object, array] = types();
    let mut heap = heap(100);
    let (small, large) = (48, 30 * BLOCK - 16);
    for _ in 0..3 {
        let kept = make(&mut heap, &object, small, 0).unwrap();
        while make(&mut heap, &object, small, 0).is_some_and(|at| (at as usize) < 60 * BLOCK) {}
        make(&mut heap, &array, large, 0).unwrap();
        assert!(heap.touched() >= 90 * BLOCK);
        let mut marks = Marks::new(Some(&heap));
        marks.mark(&heap, kept);
        assert_eq!(sweep(&mut heap, marks), small);
        assert_eq!(heap.touched(), MIN_THRESHOLD + BLOCK);
        assert_eq!(heap.size(), 100 * BLOCK, "what it may use stays");
        assert!(heap.is_object(kept));
        let none = Marks::new(Some(&heap));
        sweep(&mut heap, none);
    }
}
