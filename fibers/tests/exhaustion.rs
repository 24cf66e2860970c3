//! A process that has used up its mappings. Alone in its file: beside it nothing could allocate.

#![cfg(target_os = "linux")]

use lampwick_fibers::{Guards, StackPoolConfig};

#[test]
fn running_out_of_mappings_is_an_error_and_leaves_the_pool_usable() {
    let limit: usize =
        std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap().trim().parse().unwrap();
    if limit > 100_000 {
        return; // this system sets another limit first
    }
    let pool = StackPoolConfig::new().stack_size(8192).guards(Guards::Protected).build().unwrap();
    let mut stacks = Vec::with_capacity(limit);
    let error = loop {
        match pool.take() {
            Ok(stack) => stacks.push(stack),
            Err(error) => break error,
        }
    };
    // Room for the system's own mappings before anything else is done.
    stacks.truncate(stacks.len() - 1000);
    assert!(error.to_string().contains("vm.max_map_count"), "{error}");
    let live = stacks.len();
    assert_eq!(pool.live(), live);
    assert!(live > limit / 4, "{live} stacks of {limit} mappings");
    stacks.push(pool.take().unwrap());
    drop(stacks);
    assert_eq!(pool.live(), 0);
}
