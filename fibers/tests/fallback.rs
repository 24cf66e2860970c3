//! Guards where the system refuses lightweight ones. Alone in its file: it locks the process's
//! memory.

#![cfg(target_os = "linux")]

use lampwick_fibers::{Guards, Resident, StackPoolConfig};

/// Locked pages take no lightweight guard, which is how any kernel can be made to refuse.
#[test]
fn a_refused_guard_falls_back_to_protection() {
    // SAFETY: asks for what is mapped from now on to stay in memory once it is touched.
    if unsafe { libc::mlockall(libc::MCL_FUTURE | libc::MCL_ONFAULT) } != 0 {
        return; // not allowed here
    }
    let pool = StackPoolConfig::new().stack_size(32 << 10).stacks_per_slab(4).build().unwrap();
    let mut fibers: Vec<_> = (0..10).map(|_| Resident::new(pool.take().unwrap())).collect();
    assert_eq!(pool.guards(), Guards::Protected);
    for (n, fiber) in fibers.iter_mut().enumerate() {
        assert_eq!(fiber.run_blocking(|_| n), n);
    }
    let bottom = fibers[5].stack().bottom();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let guard = maps.lines().find(|line| line.contains(&format!("-{:x} ", bottom.addr())));
    assert!(guard.is_some_and(|line| line.contains(" ---p ")), "{guard:?}");
    drop(fibers);
    assert_eq!(pool.live(), 0);
}
