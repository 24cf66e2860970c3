//! What a suspended guest takes, and what is said when there is no room for another.
//!
//! Memory and limits are a process's, so each check runs in one of its own: this binary again, with
//! one ignored test.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::ptr;
use std::task::Poll;

use lampwick::{Caller, Config, Engine, Func, Instance, Linker, Memory, MemoryType, Module, Store};

use crate::alone;
use crate::support::{async_metered, asynchronous, block_on, engine, pend, poll};

type Guest = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

const BARE: &str = r#"(module (func (export "run") (loop (br 0))))"#;
const ONE_PAGE: &str = r#"(module (memory 1) (func (export "run")
    (loop (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1))) (br 0))))"#;

fn start(engine: &Engine, module: &Module) -> Guest {
    let (mut store, module) = (Store::new(engine, ()), module.clone());
    store.out_of_fuel_async_yield(u64::MAX, 1000);
    Box::pin(async move {
        let instance = Instance::new_async(&mut store, &module, &[]).await?;
        let run = instance.get_typed_func::<(), (), _>(&mut store, "run")?;
        Ok(run.call_async(&mut store, ()).await?)
    })
}

/// Short stacks and memories that reserve nothing beyond their size.
fn small(config: &mut Config) {
    config.async_support(true).consume_fuel(true);
    config.max_wasm_stack(10 << 10).unwrap().async_stack_size(74 << 10).unwrap();
    config.static_memory_maximum_size(0).dynamic_memory_reserved_for_growth(0);
    config.static_memory_guard_size(0).dynamic_memory_guard_size(0);
}

/// Bytes on the heap, and bytes of all in memory.
fn held() -> (usize, usize) {
    // SAFETY: it takes nothing and answers numbers.
    let heap = unsafe { libc::mallinfo2() };
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let resident: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    (heap.uordblks + heap.hblkhd, resident * 4096)
}

/// Bytes of each of many suspended guests: on the heap, and in all, without page tables.
fn bytes_for_each(wat: &str) -> (usize, usize) {
    const COUNT: usize = 4000;
    let engine = engine(small);
    let module = Module::new(&engine, wat).unwrap();
    let mut guests = Vec::with_capacity(COUNT);
    let mut more = |count: usize| {
        for _ in 0..count {
            let mut guest = start(&engine, &module);
            // Without fuel at first, it stops before it touches anything.
            assert!(poll(guest.as_mut()).is_pending() && poll(guest.as_mut()).is_pending());
            guests.push(guest);
        }
    };
    more(200);
    let before = held();
    more(COUNT - 200);
    let after = held();
    let each = |after: usize, before: usize| (after - before) / (COUNT - 200);
    let each = (each(after.0, before.0), each(after.1, before.1));
    println!("bytes on the heap, in all: {each:?}");
    each
}

/// The stack's page; where the switch is the portable one, the store is on the heap.
const STACK: usize = 4096;
const STORE: usize = if cfg!(feature = "portable-switch") { 600 } else { 0 };

#[test]
fn a_guest_takes_the_pages_that_it_touches_and_little_else() {
    alone::run("density::a_bare_guest_alone");
    alone::run("density::a_guest_with_one_page_alone");
}

#[test]
#[ignore = "run by `a_guest_takes_the_pages_that_it_touches_and_little_else`"]
fn a_bare_guest_alone() {
    let (heap, all) = bytes_for_each(BARE);
    assert!(heap <= STORE + 430, "{heap} bytes on the heap");
    assert!(all <= STACK + STORE + 600, "{all} bytes in memory");
}

#[test]
#[ignore = "run by `a_guest_takes_the_pages_that_it_touches_and_little_else`"]
fn a_guest_with_one_page_alone() {
    let (heap, all) = bytes_for_each(ONE_PAGE);
    assert!(heap <= STORE + 590, "{heap} bytes on the heap");
    assert!(all <= STACK + 4096 + STORE + 760, "{all} bytes in memory");
}

#[test]
fn without_address_space_the_error_says_so() {
    alone::run("density::no_address_space_alone");
}

#[test]
#[ignore = "run by `without_address_space_the_error_says_so`"]
fn no_address_space_alone() {
    let engine = async_metered();
    let module = Module::new(&engine, ONE_PAGE).unwrap();
    let mut guests: Vec<Guest> = Vec::new();
    let refusal = loop {
        let mut guest = start(&engine, &module);
        match poll(guest.as_mut()) {
            Poll::Pending => guests.push(guest),
            Poll::Ready(result) => break format!("{:#}", result.unwrap_err()),
        }
    };
    println!("{} guests, then: {refusal}", guests.len());
    assert!(guests.len() >= 16_000, "{} guests", guests.len());
    assert!(refusal.contains("GiB of address space in use and no room for"), "{refusal}");
    // The others do not mind, and where one goes, there is room for another.
    assert!(poll(guests[0].as_mut()).is_pending());
    drop(guests.swap_remove(1));
    assert!(poll(start(&engine, &module).as_mut()).is_pending());
}

/// The error of one more memory.
fn refusal(store: &mut Store<()>) -> String {
    let error = Memory::new(store, MemoryType::new(1, None)).unwrap_err();
    format!("{error:#}")
}

#[test]
fn without_mappings_the_error_says_so() {
    alone::run("density::no_mappings_alone");
}

#[test]
#[ignore = "run by `without_mappings_the_error_says_so`"]
fn no_mappings_alone() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    // Neighbours that differ are mappings of their own.
    let len = 200_000 * 4096;
    // SAFETY: the mapping is fresh, and nobody else uses it.
    let base = unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        libc::mmap(ptr::null_mut(), len, libc::PROT_NONE, flags, -1, 0)
    };
    assert_ne!(base, libc::MAP_FAILED);
    let split = (0..len / 8192).position(|page| {
        // SAFETY: the page is of the mapping.
        unsafe { libc::mprotect(base.byte_add(page * 8192), 4096, libc::PROT_READ) != 0 }
    });
    let error = refusal(&mut store);
    // SAFETY: as above; the process needs mappings to end in good order.
    unsafe { libc::munmap(base, len) };
    if split.is_none() {
        println!("this machine allows more mappings than are made here");
        return;
    }
    println!("{error}");
    assert!(error.contains("mappings, all that it may have; raise `vm.max_map_count`"), "{error}");
    Memory::new(&mut store, MemoryType::new(1, None)).unwrap();
}

#[test]
fn beyond_the_resource_limit_the_error_says_so() {
    alone::run("density::resource_limit_alone");
}

#[test]
#[ignore = "run by `beyond_the_resource_limit_the_error_says_so`"]
fn resource_limit_alone() {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let limit = libc::rlimit { rlim_cur: 4 << 30, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the limit is read, and nothing else.
    unsafe { assert_eq!(libc::setrlimit(libc::RLIMIT_AS, &raw const limit), 0) };
    let error = refusal(&mut store);
    println!("{error}");
    assert!(error.contains("may have 4294967296 bytes of address space (RLIMIT_AS"), "{error}");
}

#[test]
fn a_store_outlives_the_fiber_that_it_lies_beside() {
    let engine = asynchronous();
    let mut linker = Linker::new(&engine);
    linker.func_wrap0_async("", "wait", |_: Caller<'_, [u64; 20]>| Box::new(pend(1))).unwrap();
    let wat = r#"(module (import "" "wait" (func $wait)) (global $g (mut i32) (i32.const 0))
        (func (export "run") (result i32)
            (global.set $g (i32.add (global.get $g) (i32.const 1))) (call $wait) (global.get $g)))"#;
    let module = Module::new(&engine, wat).unwrap();
    let new = |data: u64| {
        let mut store = Store::new(&engine, [data; 20]);
        let pre = linker.instantiate_pre(&mut store, &module).unwrap();
        let instance = block_on(pre.instantiate_async(&mut store)).unwrap();
        let run = instance.get_typed_func::<(), i32, _>(&mut store, "run").unwrap();
        (store, run)
    };
    let mut stores: Vec<_> = (0..20).map(new).collect();
    for (store, run) in &mut stores {
        // Dropped half-way, which gives the fiber up.
        assert!(poll(Box::pin(run.call_async(&mut *store, ())).as_mut()).is_pending());
    }
    // Others, who get whatever stacks are free.
    let mut others: Vec<_> = (100..200).map(new).collect();
    for (store, run) in others.iter_mut().chain(&mut stores) {
        let mut call = Box::pin(run.call_async(&mut *store, ()));
        assert!(poll(call.as_mut()).is_pending());
        assert!(matches!(poll(call.as_mut()), Poll::Ready(Ok(1 | 2))));
    }
    for (data, (store, _)) in (0..20).zip(stores) {
        assert_eq!(store.into_data(), [data; 20]);
    }
}

#[test]
fn data_of_any_size_and_alignment_has_a_home() {
    #[derive(Clone, Copy, PartialEq, Debug)]
    #[repr(align(64))]
    struct Aligned(u8);

    fn check<T: Copy + PartialEq + std::fmt::Debug + 'static>(engine: &Engine, data: T) {
        let mut stores: Vec<_> = (0..3).map(|_| Store::new(engine, data)).collect();
        for store in &mut stores {
            assert_eq!(ptr::from_ref(store.data()).addr() % align_of::<T>(), 0);
            let func = Func::wrap(&mut *store, |caller: Caller<'_, T>| {
                i32::from(std::hint::black_box(*caller.data()) == *caller.data())
            });
            let func = func.typed::<(), i32, _>(&*store).unwrap();
            assert_eq!(func.call(&mut *store, ()).unwrap(), 1);
        }
        for store in stores {
            assert_eq!(store.into_data(), data);
        }
    }
    let engine = Engine::default();
    check(&engine, ());
    check(&engine, [7_u8; 1000]);
    check(&engine, [7_u8; 10_000]);
    check(&engine, Aligned(7));
}

#[test]
fn a_panic_in_the_drop_of_data_gives_the_stack_back() {
    struct Panics(bool);
    impl Drop for Panics {
        fn drop(&mut self) {
            assert!(!self.0, "dropped");
        }
    }
    let engine = Engine::default();
    let mut homes = Vec::new();
    for round in 0..10 {
        let store = Store::new(&engine, Panics(round < 9));
        homes.push(ptr::from_ref(store.data()).addr());
        assert_eq!(round < 9, std::panic::catch_unwind(AssertUnwindSafe(|| drop(store))).is_err());
    }
    // The warmest stack is lent first, so that each store lies where the last one did.
    let in_box = cfg!(feature = "portable-switch");
    assert!(in_box || homes.windows(2).all(|pair| pair[0] == pair[1]), "{homes:x?}");
}
