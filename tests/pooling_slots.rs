//! The slots of a pool keep nothing of who had them before, and nobody reaches another's.

use std::collections::HashSet;

use lampwick::{
    Engine, Instance, InstanceAllocationStrategy, InstanceLimits, Module, ModuleLimits,
    PoolingAllocationStrategy, Store, TrapCode, Val,
};

use crate::pooling::{exhausted, pool, pooling};
use crate::support::{Rng, engine, instantiate, rounds};

const PAGE: usize = 1 << 16;

#[test]
fn the_next_guest_finds_zeros() {
    let mut rng = Rng::new("the_next_guest_finds_zeros");
    for static_maximum in [1 << 32, 16 << 16, 0] {
        let engine = engine(|config| {
            let limits = ModuleLimits { memory_pages: 16, ..ModuleLimits::default() };
            config.allocation_strategy(pooling(2, limits));
            config.static_memory_maximum_size(static_maximum);
        });
        for _ in 0..rounds(30) {
            let (pages, elements) = (rng.below(9), rng.below(50));
            let text = format!(
                r#"(module (memory (export "memory") {pages}) (table (export "table") {elements} externref))"#
            );
            let (mut store, instance) = instantiate(&engine, &text);
            let memory = instance.get_memory(&mut store, "memory").unwrap();
            let table = instance.get_table(&mut store, "table").unwrap();
            let clean = |store: &Store<()>| memory.data(store).iter().all(|&byte| byte == 0);
            assert!(clean(&store), "{pages} pages");
            memory.grow(&mut store, rng.below(8)).unwrap();
            assert!(clean(&store), "{pages} pages grown to {}", memory.size(&store));
            memory.data_mut(&mut store).fill(0xaa);
            for index in 0..table.size(&store) {
                let element = table.get(&mut store, index).unwrap();
                assert!(matches!(element, Val::ExternRef(None)));
                table.set(&mut store, index, lampwick::ExternRef::new("secret").into()).unwrap();
            }
        }
    }
}

#[test]
fn what_a_larger_guest_had_is_out_of_bounds_for_the_next() {
    for engine in [pool(1), Engine::default()] {
        let guest = |pages: u32| {
            let text = format!(
                r#"(module (memory {pages}) (func (export "load") (param i32) local.get 0 i32.load drop))"#
            );
            let (mut store, instance) = instantiate(&engine, &text);
            let load = instance.get_typed_func::<u32, (), _>(&mut store, "load").unwrap();
            for page in 0..20 {
                let result = load.call(&mut store, page << 16);
                let trap = result.err().and_then(|trap| trap.trap_code());
                let expected = (page >= pages).then_some(TrapCode::MemoryOutOfBounds);
                assert_eq!(trap, expected, "page {page} of {pages}");
            }
        };
        [9, 4, 0, 12, 2].into_iter().for_each(guest);
    }
}

#[test]
fn no_guest_reaches_the_next_slot() {
    for (static_maximum, guard) in [(4 << 16, 1 << 16), (4 << 16, 0), (0, 0)] {
        let engine = engine(|config| {
            let limits = ModuleLimits { memory_pages: 4, ..ModuleLimits::default() };
            config.allocation_strategy(pooling(3, limits));
            config.static_memory_maximum_size(static_maximum).static_memory_guard_size(guard);
            config.dynamic_memory_guard_size(0).guard_before_linear_memory(false);
        });
        let text = r#"(module (memory (export "memory") 4 4)
            (func (export "load") (param i32) (result i32) local.get 0 i32.load8_u)
            (func (export "load far") (param i32) (result i32)
                local.get 0 i32.load8_u offset=0x10000)
            (func (export "fill") (param i32)
                local.get 0 i32.const 1 i32.const 1 memory.fill))"#;
        let mut guests: Vec<_> = (0..3).map(|_| instantiate(&engine, text)).collect();
        for (store, instance) in &mut guests {
            let memory = instance.get_memory(&mut *store, "memory").unwrap();
            memory.data_mut(&mut *store).fill(0xaa);
        }
        for (store, instance) in &mut guests {
            let load = instance.get_typed_func::<i32, i32, _>(&mut *store, "load").unwrap();
            let far = instance.get_typed_func::<i32, i32, _>(&mut *store, "load far").unwrap();
            let fill = instance.get_typed_func::<i32, (), _>(&mut *store, "fill").unwrap();
            assert_eq!(load.call(&mut *store, 4 * PAGE as i32 - 1).unwrap(), 0xaa);
            // The starts of all pages that the other slots may lie at, from both ends.
            for page in (4..40).chain(-16..0) {
                let place = page << 16;
                let results = [
                    load.call(&mut *store, place).map(drop),
                    far.call(&mut *store, place - PAGE as i32).map(drop),
                    fill.call(&mut *store, place),
                ];
                for result in results {
                    let code = result.unwrap_err().trap_code();
                    assert_eq!(code, Some(TrapCode::MemoryOutOfBounds), "page {page}");
                }
            }
        }
    }
}

/// The addresses of memories whose stores are dropped one after the other.
fn addresses(strategy: PoolingAllocationStrategy) -> Vec<usize> {
    let engine = engine(|config| {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling {
            strategy,
            module_limits: ModuleLimits::default(),
            instance_limits: InstanceLimits { count: 100 },
        });
    });
    let address = |_| {
        let (mut store, instance) = instantiate(&engine, r#"(module (memory (export "m") 1))"#);
        instance.get_memory(&mut store, "m").unwrap().data_ptr(&store) as usize
    };
    (0..64).map(address).collect()
}

#[test]
fn strategies_choose_slots_as_they_say() {
    let next: HashSet<_> =
        addresses(PoolingAllocationStrategy::NextAvailable).into_iter().collect();
    assert_eq!(next.len(), 1, "the slot that was freed last");
    // 64 choices of 100 slots: fewer than 20 different ones come once in 10^30 tries.
    let relative = |addresses: Vec<usize>| {
        let first = *addresses.iter().min().unwrap();
        addresses.iter().map(|address| address - first).collect::<Vec<_>>()
    };
    let random = relative(addresses(PoolingAllocationStrategy::Random));
    assert!(random.iter().collect::<HashSet<_>>().len() > 20, "{random:x?}");
    let again = relative(addresses(PoolingAllocationStrategy::Random));
    assert_ne!(random, again, "another engine chooses otherwise");
}

#[test]
fn two_threads_share_four_slots() {
    let engine = pool(4);
    let module = Module::new(&engine, r#"(module (memory (export "m") 1 9))"#).unwrap();
    let seed = Rng::new("two_threads_share_four_slots").next();
    std::thread::scope(|scope| {
        for thread in 0..2_u8 {
            let (engine, module) = (&engine, &module);
            scope.spawn(move || {
                let mut rng = Rng::seeded(seed ^ u64::from(thread));
                let mut stores: Vec<Store<u8>> = Vec::new();
                for round in 0..rounds(2_000) {
                    let mut store = Store::new(engine, round as u8);
                    match Instance::new(&mut store, module, &[]) {
                        Ok(instance) => {
                            let memory = instance.get_memory(&mut store, "m").unwrap();
                            memory.grow(&mut store, rng.below(3)).unwrap();
                            let data = memory.data_mut(&mut store);
                            assert!(data.iter().step_by(64).all(|&byte| byte == 0));
                            data.iter_mut().step_by(64).for_each(|byte| *byte = thread + 1);
                            stores.push(store);
                        }
                        Err(error) => assert_eq!(exhausted(&error), (4, 0)),
                    }
                    // Two for each thread: neither can starve the other for good.
                    while stores.len() > 2 || (!stores.is_empty() && rng.one_in(3)) {
                        stores.swap_remove(rng.below(stores.len() as u64) as usize);
                    }
                }
            });
        }
    });
    let mut store = Store::new(&engine, 0);
    for _ in 0..4 {
        Instance::new(&mut store, &module, &[]).unwrap();
    }
    assert_eq!(exhausted(&Instance::new(&mut store, &module, &[]).unwrap_err()), (4, 4));
}
