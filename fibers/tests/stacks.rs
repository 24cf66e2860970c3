//! The pool: limits, reuse, guards, and what it leaves behind in the address space.

#![cfg(target_os = "linux")]

mod common;

use common::Random;
use lampwick_fibers::{Guards, Resident, Stack, StackError, StackPool, StackPoolConfig};
use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Tests that count the process's mappings must not run beside others.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn config() -> StackPoolConfig {
    StackPoolConfig::new().stack_size(32 << 10).stacks_per_slab(16)
}

/// Mappings that the harness's own threads may come and go with.
const SLACK: usize = 20;

fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

/// Bytes of physical memory behind a range.
fn resident_bytes(start: *mut u8, bytes: usize) -> usize {
    let page = 4096;
    let mut answer = vec![0_u8; bytes / page];
    // SAFETY: the range is mapped, and the answer has a byte for each of its pages.
    let status = unsafe { libc::mincore(start.cast(), bytes, answer.as_mut_ptr()) };
    assert_eq!(status, 0, "{}", std::io::Error::last_os_error());
    answer.iter().filter(|&&byte| byte & 1 == 1).count() * page
}

fn fill(stack: &Stack) {
    // SAFETY: the stack is ours, and nothing runs on it.
    unsafe { stack.bottom().write_bytes(0xa5, stack.size()) }
}

#[test]
fn sizes_are_rounded_up_to_pages() {
    let _alone = alone();
    for (asked, size) in [(0, 8192), (1, 8192), (8192, 8192), (8193, 12288), (65536, 65536)] {
        let pool = config().stack_size(asked).build().unwrap();
        let stack = pool.take().unwrap();
        assert_eq!((stack.size(), pool.stack_size()), (size, size), "asked for {asked}");
        assert_eq!(stack.top().addr() - stack.bottom().addr(), size);
        assert_eq!(stack.bottom().addr() % 4096, 0);
        fill(&stack);
    }
    for asked in [usize::MAX, usize::MAX / 2, 1 << 62] {
        let error = config().stack_size(asked).build().unwrap_err();
        assert!(matches!(error, StackError::TooLarge { .. }), "{error}");
    }
}

#[test]
fn the_configured_maximum_is_an_error_that_names_it() {
    let _alone = alone();
    let pool = config().max_stacks(3).build().unwrap();
    let stacks: Vec<_> = (0..3).map(|_| pool.take().unwrap()).collect();
    let error = pool.take().unwrap_err();
    assert!(matches!(error, StackError::Exhausted { max: 3 }));
    assert_eq!(error.to_string(), "all 3 stacks of the pool are in use (its configured maximum)");
    drop(stacks);
    assert_eq!((pool.live(), pool.idle()), (0, 3));
    assert!(pool.take().is_ok());
    let none = config().max_stacks(0).build().unwrap();
    assert!(matches!(none.take(), Err(StackError::Exhausted { max: 0 })));
}

#[test]
fn an_impossible_mapping_is_an_error() {
    let _alone = alone();
    let pool = config().stack_size(1 << 55).stacks_per_slab(1).build().unwrap();
    let error = pool.take().unwrap_err();
    assert!(matches!(error, StackError::Map { .. }), "{error}");
    assert_eq!((pool.live(), pool.slabs()), (0, 0));
}

#[test]
fn the_last_returned_stack_is_lent_first() {
    let _alone = alone();
    let pool = config().build().unwrap();
    let (first, second) = (pool.take().unwrap(), pool.take().unwrap());
    let (a, b) = (first.bottom(), second.bottom());
    drop(first);
    drop(second);
    let again = pool.take().unwrap();
    assert_eq!(again.bottom(), b);
    assert_eq!(pool.take().unwrap().bottom(), a);
}

#[test]
fn only_so_many_idle_stacks_keep_their_pages() {
    let _alone = alone();
    let pool = config().max_warm(2).build().unwrap();
    let stacks: Vec<_> = (0..5).map(|_| pool.take().unwrap()).collect();
    stacks.iter().for_each(fill);
    let ranges: Vec<_> = stacks.iter().map(|stack| (stack.bottom(), stack.size())).collect();
    drop(stacks);
    assert_eq!((pool.warm(), pool.idle()), (2, 5));
    let held = |ranges: &[(*mut u8, usize)]| {
        ranges.iter().map(|&(start, size)| resident_bytes(start, size)).sum::<usize>()
    };
    assert_eq!(held(&ranges), 2 * pool.stack_size());
    // Warm ones go first, and a cold one comes back with zeroes.
    let again: Vec<_> = (0..3).map(|_| pool.take().unwrap()).collect();
    // SAFETY: the stack is ours, its first byte is readable.
    let first = |stack: &Stack| unsafe { stack.bottom().read() };
    assert_eq!(again.iter().map(first).collect::<Vec<_>>(), [0xa5, 0xa5, 0]);
    drop(again);
    pool.trim();
    assert_eq!((pool.warm(), pool.idle(), pool.slabs()), (0, 0, 0));
}

#[test]
fn empty_slabs_go_back_to_the_system() {
    let _alone = alone();
    for keep in [0, 1, 3] {
        let pool = config().max_empty_slabs(keep).build().unwrap();
        let stacks: Vec<_> = (0..16 * 5).map(|_| pool.take().unwrap()).collect();
        assert_eq!((pool.slabs(), pool.live()), (5, 80));
        drop(stacks);
        assert_eq!((pool.slabs(), pool.live(), pool.idle()), (keep, 0, keep * 16));
        let again: Vec<_> = (0..40).map(|_| pool.take().unwrap()).collect();
        assert_eq!(pool.live(), again.len());
    }
}

#[test]
fn what_a_thread_kept_is_lent_to_others_when_it_has_ended() {
    let _alone = alone();
    let pool = config().max_stacks(6).max_warm(0).warm_per_worker(4).build().unwrap();
    let take = |count| (0..count).map(|_| pool.take().unwrap()).collect::<Vec<_>>();
    // Each is of another group than the one before.
    for _ in 0..5 {
        std::thread::scope(|scope| scope.spawn(|| drop(take(6))).join().unwrap());
        assert_eq!((pool.live(), pool.idle(), pool.slabs()), (0, 6, 1));
        assert_eq!(pool.warm(), 4);
    }
    let all = take(6);
    assert_eq!((pool.live(), pool.idle(), pool.warm()), (6, 0, 0));
    let bottoms: HashSet<_> = all.iter().map(Stack::bottom).collect();
    assert_eq!(bottoms.len(), 6, "each is lent once");
    assert!(matches!(pool.take(), Err(StackError::Exhausted { max: 6 })));
    drop(all);
    assert_eq!((pool.live(), pool.idle(), pool.warm()), (0, 6, 4));
    pool.trim();
    assert_eq!((pool.live(), pool.idle(), pool.slabs()), (0, 0, 0));
}

#[test]
fn threads_that_take_each_others_stacks_never_share_one() {
    let _alone = alone();
    let pool = config().max_warm(1).warm_per_worker(1).build().unwrap();
    let lent = Mutex::new(HashSet::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..2_000 {
                    let stacks: Vec<_> = (0..round % 4).map(|_| pool.take().unwrap()).collect();
                    let bottom = |stack: &Stack| stack.bottom().addr();
                    let mut lent_now = lent.lock().unwrap();
                    assert!(stacks.iter().all(|stack| lent_now.insert(bottom(stack))));
                    drop(lent_now);
                    let mut lent_now = lent.lock().unwrap();
                    assert!(stacks.iter().all(|stack| lent_now.remove(&bottom(stack))));
                    drop(lent_now);
                }
            });
        }
    });
    assert_eq!(pool.live(), 0);
    assert!(pool.idle() <= 12, "{}", pool.idle());
}

#[test]
fn a_stack_keeps_its_pool_alive() {
    let _alone = alone();
    let pool = config().build().unwrap();
    let stack = pool.take().unwrap();
    let mut fiber = Resident::new(pool.take().unwrap());
    drop(pool);
    fill(&stack);
    assert_eq!(fiber.run_blocking(|_| 1), 1);
    assert_eq!(stack.pool().live(), 2);
}

#[test]
fn mappings_do_not_grow() {
    let _alone = alone();
    for guards in [Guards::Automatic, Guards::Protected] {
        let mut random = Random::new(11);
        let mut after_first = None;
        for round in 0..100 {
            let pool = config().guards(guards).build().unwrap();
            let mut fibers = Vec::new();
            for _ in 0..300 {
                if random.below(3) > 0 {
                    fibers.push(Resident::new(pool.take().unwrap()));
                } else if !fibers.is_empty() {
                    fibers.swap_remove(random.below(fibers.len()));
                }
                if let Some(fiber) = fibers.last_mut() {
                    assert_eq!(fiber.run_blocking(|_| round), round);
                }
            }
            assert_eq!(pool.live(), fibers.len());
            drop(fibers);
            assert_eq!(pool.live(), 0);
            drop(pool);
            let now = mappings();
            let first = *after_first.get_or_insert(now);
            assert!(now <= first + SLACK, "round {round}: {now} mappings, {first} after the first");
        }
    }
}

#[test]
fn lightweight_guards_cost_no_mappings() {
    let _alone = alone();
    let count = |guards| {
        let pool = config().stacks_per_slab(1000).guards(guards).build().unwrap();
        let before = mappings();
        let stacks: Vec<_> = (0..1000).map(|_| pool.take().unwrap()).collect();
        let grown = mappings().saturating_sub(before);
        drop(stacks);
        (grown, pool.guards())
    };
    let (grown, guards) = count(Guards::Automatic);
    match guards {
        Guards::Automatic => assert!(grown <= SLACK, "{grown} mappings for 1,000 stacks"),
        // A kernel before 6.13.
        _ => assert!(grown >= 1900, "{grown} mappings for 1,000 stacks"),
    }
    let (grown, guards) = count(Guards::Protected);
    assert_eq!(guards, Guards::Protected);
    assert!(grown >= 1900, "{grown} mappings for 1,000 stacks");
}

#[test]
fn a_hundred_thousand_stacks_fit_default_limits() {
    let _alone = alone();
    let pool = StackPoolConfig::new().stack_size(64 << 10).stacks_per_slab(1000).build().unwrap();
    drop(pool.take().unwrap());
    if pool.guards() != Guards::Automatic {
        return; // this kernel has no lightweight guards
    }
    let fibers: Vec<_> = (0..100_000).map(|_| Resident::new(pool.take().unwrap())).collect();
    assert_eq!((pool.live(), pool.slabs()), (100_000, 100));
    drop(fibers);
    assert_eq!((pool.live(), pool.slabs()), (0, 1));
}

#[test]
fn handles_and_stacks_move_between_threads() {
    let _alone = alone();
    let pool = config().max_warm(8).build().unwrap();
    std::thread::scope(|scope| {
        let (send, receive) = std::sync::mpsc::channel::<Stack>();
        for seed in 1..=4 {
            let (pool, send): (StackPool, _) = (pool.clone(), send.clone());
            scope.spawn(move || {
                let mut random = Random::new(seed);
                for _ in 0..2000 {
                    let stack = pool.take().unwrap();
                    // SAFETY: the stack is ours, its top word is writable.
                    unsafe { stack.top().cast::<u64>().sub(1).write(random.next()) };
                    if random.below(2) == 0 {
                        send.send(stack).unwrap();
                    }
                }
            });
        }
        drop(send);
        receive.into_iter().for_each(drop);
    });
    assert_eq!(pool.live(), 0);
    assert!(pool.slabs() <= 1);
}
