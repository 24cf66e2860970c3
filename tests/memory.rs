//! Linear memories, from both sides.

use std::sync::Arc;

use lampwick::{
    AsContext, AsContextMut, Caller, Engine, Extern, Func, Instance, InstanceAllocationStrategy,
    Memory, MemoryType, Module, Store, TrapCode, Val,
};

use crate::host_memory::engine_with;
use crate::support::{async_metered, block_on, engine, instantiate};

const PAGE: usize = 1 << 16;

/// Static memories, dynamic ones with room to grow in, and dynamic ones that move whenever they
/// grow; each also in a pool and made by the host.
fn engines() -> [Engine; 8] {
    [
        engine(|config| {
            config.allocation_strategy(InstanceAllocationStrategy::pooling());
        }),
        engine(|config| {
            config.allocation_strategy(InstanceAllocationStrategy::pooling());
            config.static_memory_maximum_size(0).static_memory_guard_size(0);
        }),
        engine_with(Arc::default(), |_| {}),
        engine_with(Arc::default(), |config| {
            config.static_memory_maximum_size(0);
        }),
        Engine::default(),
        engine(|config| {
            config.static_memory_maximum_size(0);
        }),
        engine(|config| {
            config.static_memory_maximum_size(0).dynamic_memory_reserved_for_growth(0);
            config.dynamic_memory_guard_size(0).guard_before_linear_memory(false);
        }),
        engine(|config| {
            config.static_memory_maximum_size(1 << 20).static_memory_guard_size(0);
        }),
    ]
}

const GUEST: &str = r#"(module
    (memory (export "memory") 1 10) (data (i32.const 8) "data")
    (func (export "load") (param i32) (result i32) local.get 0 i32.load)
    (func (export "load far") (param i32) (result i32) local.get 0 i32.load offset=0x10000)
    (func (export "store") (param i32 i32) local.get 0 local.get 1 i32.store)
    (func (export "size") (result i32) memory.size)
    (func (export "grow") (param i32) (result i32) local.get 0 memory.grow)
    (func (export "grow and use") (param i32) (result i32)
        (local $sum i32) (local $round i32)
        i32.const 0 i32.const 7 i32.store
        loop
            local.get 0 memory.grow drop
            ;; The last byte of what there is now, and what was there before.
            memory.size i32.const 16 i32.shl i32.const 4 i32.sub i32.const 5 i32.store
            local.get $sum i32.const 0 i32.load i32.add
            memory.size i32.const 16 i32.shl i32.const 4 i32.sub i32.load i32.add local.set $sum
            local.get $round i32.const 1 i32.add local.tee $round i32.const 4 i32.lt_u br_if 0
        end
        local.get $sum))"#;

#[test]
fn guest_and_host_see_the_same_bytes() {
    for engine in engines() {
        let (mut store, instance) = instantiate(&engine, GUEST);
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        assert_eq!(memory.data(&store)[8..12], *b"data");
        assert_eq!((memory.size(&store), memory.data_size(&store)), (1, PAGE));
        let load = instance.get_typed_func::<i32, i32, _>(&mut store, "load").unwrap();
        memory.write(&mut store, 100, &[1, 2, 3, 4]).unwrap();
        assert_eq!(load.call(&mut store, 100).unwrap(), 0x0403_0201);
        let write = instance.get_typed_func::<(i32, i32), (), _>(&mut store, "store").unwrap();
        write.call(&mut store, (PAGE as i32 - 4, -2)).unwrap();
        let mut buffer = [0; 4];
        memory.read(&store, PAGE - 4, &mut buffer).unwrap();
        assert_eq!(buffer, [0xfe, 0xff, 0xff, 0xff]);
        memory.data_mut(&mut store)[0] = 9;
        let (data, ()) = memory.data_and_store_mut(&mut store);
        assert_eq!(data[0], 9);
        assert_eq!(memory.data_ptr(&store).cast_const(), memory.data(&store).as_ptr());
    }
}

/// All forms of access, by whatever stands for the store. Adds one page and answers the last byte
/// of what there was, which it sets to `mark`.
fn use_all_forms(mut store: impl AsContextMut<Data = u32>, memory: Memory, mark: u8) -> u8 {
    let pages = memory.size(&store);
    let end = memory.data_size(&store);
    assert_eq!(end, pages as usize * PAGE);
    let last = memory.data(store.as_context())[end - 1];
    memory.data_mut(store.as_context_mut())[end - 1] = mark;
    let mut byte = [0];
    memory.read(&store, end - 1, &mut byte).unwrap();
    assert_eq!(byte, [mark]);
    let (data, host) = memory.data_and_store_mut(store.as_context_mut());
    *host += u32::from(data[end - 1]);
    memory.write(&mut store, end - 2, &[mark + 1]).unwrap();
    // SAFETY: the memory has more than one byte, and does not move while it is read.
    let before_last = unsafe { memory.data_ptr(&store).add(end - 2).read() };
    assert_eq!(before_last, mark + 1);
    assert_eq!(memory.grow(&mut store, 1).unwrap(), pages);
    assert_eq!(memory.ty(&store).minimum(), pages + 1);
    assert_eq!(memory.data(store.as_context())[end..], [0; PAGE]);
    last
}

#[test]
fn all_forms_from_stores_contexts_and_callers() {
    let wat = r#"(module (import "" "" (func $host)) (memory (export "memory") 1)
        (func (export "run") (result i32)
            (i32.store8 (i32.const 65535) (i32.const 40))
            call $host
            (i32.load8_u (i32.const 65535))))"#;
    for engine in engines() {
        let mut store = Store::new(&engine, 0_u32);
        let host = Func::wrap(&mut store, |mut caller: Caller<'_, u32>| {
            let memory = caller.get_export("memory").and_then(Extern::into_memory).unwrap();
            assert_eq!(use_all_forms(&mut caller, memory, 50), 40);
            assert_eq!(memory.data(&caller)[PAGE - 1], 50);
            assert_eq!(memory.data_and_store_mut(&mut caller).1, &50);
            assert_eq!(use_all_forms(caller, memory, 60), 0);
        });
        let module = Module::new(&engine, wat).unwrap();
        let instance = Instance::new(&mut store, &module, &[host.into()]).unwrap();
        let run = instance.get_typed_func::<(), i32, _>(&mut store, "run").unwrap();
        assert_eq!(run.call(&mut store, ()).unwrap(), 50);
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        assert_eq!((memory.size(&store), *store.data()), (3, 110));
        assert_eq!(use_all_forms(&mut store, memory, 70), 0);
        assert_eq!(use_all_forms(store.as_context_mut(), memory, 80), 0);
        let mut context = store.as_context_mut();
        assert_eq!(use_all_forms(&mut context, memory, 90), 0);
        assert_eq!((memory.size(context.as_context()), *context.data()), (6, 350));
        assert_eq!(use_all_forms(store, memory, 100), 0);
    }
}

#[test]
fn an_async_host_function_grows_its_callers_memory() {
    let engine = async_metered();
    let mut store = Store::new(&engine, ());
    store.add_fuel(1000).unwrap();
    let host = Func::wrap0_async(&mut store, |mut caller: Caller<'_, ()>| {
        Box::new(async move {
            let memory = caller.get_export("memory").and_then(Extern::into_memory).unwrap();
            let old = memory.grow_async(&mut caller, 2).await.unwrap();
            crate::support::pend(1).await;
            memory.data_mut(&mut caller)[3 * PAGE - 1] = 9;
            old
        })
    });
    let wat = r#"(module (import "" "" (func $host (result i64))) (memory (export "memory") 1)
        (func (export "run") (result i64 i32)
            call $host (i32.load8_u (i32.const 196607))))"#;
    let module = Module::new(&engine, wat).unwrap();
    let instance = block_on(Instance::new_async(&mut store, &module, &[host.into()])).unwrap();
    let run = instance.get_typed_func::<(), (u64, i32), _>(&mut store, "run").unwrap();
    assert_eq!(block_on(run.call_async(&mut store, ())).unwrap(), (1, 9));
}

#[test]
fn reads_and_writes_are_checked() {
    let mut store = Store::<()>::default();
    let memory = Memory::new(&mut store, MemoryType::new(1, None)).unwrap();
    let mut buffer = [1; 8];
    for (offset, len, fits) in [
        (0, 0, true),
        (PAGE, 0, true),
        (PAGE + 1, 0, false),
        (PAGE - 8, 8, true),
        (PAGE - 7, 8, false),
        (usize::MAX, 1, false),
        (usize::MAX - 3, 8, false),
    ] {
        let buffer = &mut buffer[..len];
        assert_eq!(memory.read(&store, offset, buffer).is_ok(), fits, "{offset}, {len}");
        assert_eq!(memory.write(&mut store, offset, buffer).is_ok(), fits, "{offset}, {len}");
    }
    assert!(memory.data(&store).iter().all(|byte| *byte == 0));
    let text = memory.read(&store, PAGE, &mut [0; 3]).unwrap_err().to_string();
    assert_eq!(text, "out of bounds memory access: 3 bytes at 0x10000 of a memory of 65536 bytes");
    let empty = Memory::new(&mut store, MemoryType::new(0, Some(0))).unwrap();
    assert!(empty.data(&store).is_empty() && empty.grow(&mut store, 1).is_err());
    assert_eq!(empty.grow(&mut store, 0).unwrap(), 0);
}

#[test]
fn types_of_memories_with_64_bit_addresses() {
    let ty = MemoryType::new64(1, Some(1 << 40));
    assert!(ty.is_64() && !MemoryType::new(1, None).is_64());
    assert_eq!((ty.minimum(), ty.maximum()), (1, Some(1 << 40)));
    assert_eq!(ty.to_string(), "64-bit memory (at least 1 pages, at most 1099511627776)");
    assert_ne!(MemoryType::new64(1, Some(2)), MemoryType::new(1, Some(2)));
}

#[test]
fn every_access_outside_traps() {
    for engine in engines() {
        let (mut store, instance) = instantiate(&engine, GUEST);
        let load = instance.get_typed_func::<i32, i32, _>(&mut store, "load").unwrap();
        let far = instance.get_typed_func::<i32, i32, _>(&mut store, "load far").unwrap();
        let write = instance.get_typed_func::<(i32, i32), (), _>(&mut store, "store").unwrap();
        let grow = instance.get_typed_func::<i32, i32, _>(&mut store, "grow").unwrap();
        for pages in 1..4_i64 {
            let end = pages * PAGE as i64;
            for place in [
                end - 3,
                end - 1,
                end,
                end + 1,
                end + 4096,
                1 << 20,
                1 << 31,
                (1 << 32) - 4,
                (1 << 32) - 1,
            ] {
                let place = place as i32;
                let out = Some(TrapCode::MemoryOutOfBounds);
                assert_eq!(load.call(&mut store, place).unwrap_err().trap_code(), out);
                assert_eq!(write.call(&mut store, (place, 1)).unwrap_err().trap_code(), out);
                assert_eq!(far.call(&mut store, place).unwrap_err().trap_code(), out);
            }
            load.call(&mut store, (end - 4) as i32).unwrap();
            write.call(&mut store, ((end - 4) as i32, 1)).unwrap();
            assert_eq!(far.call(&mut store, (end - 4) as i32 - PAGE as i32).is_ok(), pages > 1);
            assert_eq!(i64::from(grow.call(&mut store, 1).unwrap()), pages);
        }
    }
}

#[test]
fn growth_from_both_sides() {
    for engine in engines() {
        let (mut store, instance) = instantiate(&engine, GUEST);
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        let grow = instance.get_typed_func::<i32, i32, _>(&mut store, "grow").unwrap();
        let size = instance.get_typed_func::<(), i32, _>(&mut store, "size").unwrap();
        memory.data_mut(&mut store).fill(3);
        assert_eq!(memory.grow(&mut store, 2).unwrap(), 1);
        assert_eq!(grow.call(&mut store, 3).unwrap(), 3);
        assert_eq!((size.call(&mut store, ()).unwrap(), memory.size(&store)), (6, 6));
        let (old, new) = memory.data(&store).split_at(PAGE);
        assert!(old.iter().all(|byte| *byte == 3) && new.iter().all(|byte| *byte == 0));
        assert_eq!(memory.data_size(&store), 6 * PAGE);
        for delta in [5, 0x7fff_ffff, -1] {
            assert_eq!(grow.call(&mut store, delta).unwrap(), -1);
        }
        for delta in [5, u64::MAX, 1 << 48] {
            let text = memory.grow(&mut store, delta).unwrap_err().to_string();
            assert!(text.contains("6 pages") && text.contains("maximum is 10"), "{text}");
        }
        let ty = memory.ty(&store);
        assert_eq!((ty.minimum(), ty.maximum()), (6, Some(10)));
        assert_eq!(grow.call(&mut store, 4).unwrap(), 6);
        assert_eq!(memory.grow(&mut store, 0).unwrap(), 10);
    }
}

#[test]
fn a_memory_that_moves_is_found_again() {
    for engine in engines() {
        let (mut store, instance) = instantiate(&engine, GUEST);
        let run = instance.get_typed_func::<i32, i32, _>(&mut store, "grow and use").unwrap();
        assert_eq!(run.call(&mut store, 1).unwrap(), 4 * (7 + 5));
    }
}

#[test]
fn a_memory_grows_under_its_guest() {
    let wat = r#"(module (import "" "grow" (func $grow)) (memory (export "memory") 1)
        (func (export "run") (param i32) (result i32) (local i32)
            i32.const 16 i32.const 77 i32.store
            loop
                call $grow
                memory.size i32.const 65536 i32.mul i32.const 4 i32.sub local.get 0 i32.store
                local.get 0 i32.const 1 i32.sub local.tee 0 br_if 0
            end
            i32.const 16 i32.load memory.size i32.add))"#;
    for engine in engines() {
        let mut store = Store::new(&engine, ());
        let grow = Func::wrap(&mut store, |mut caller: Caller<'_, ()>| {
            let memory = caller.get_export("memory").and_then(Extern::into_memory).unwrap();
            memory.grow(&mut caller, 1).unwrap();
        });
        let module = Module::new(&engine, wat).unwrap();
        let instance = Instance::new(&mut store, &module, &[grow.into()]).unwrap();
        let run = instance.get_typed_func::<i32, i32, _>(&mut store, "run").unwrap();
        assert_eq!(run.call(&mut store, 20).unwrap(), 77 + 21);
    }
}

#[test]
fn a_shared_memory_is_one() {
    let other = r#"(module (import "" "memory" (memory 1))
        (func (export "run") (param i32) (result i32)
            i32.const 4 local.get 0 i32.store i32.const 1 memory.grow drop
            memory.size i32.const 65536 i32.mul i32.const 4 i32.sub i32.load))"#;
    for engine in engines() {
        let (mut store, instance) = instantiate(&engine, GUEST);
        let memory = instance.get_export(&mut store, "memory").unwrap();
        let module = Module::new(&engine, other).unwrap();
        let other = Instance::new(&mut store, &module, &[memory]).unwrap();
        let run = other.get_typed_func::<i32, i32, _>(&mut store, "run").unwrap();
        let load = instance.get_typed_func::<i32, i32, _>(&mut store, "load").unwrap();
        assert_eq!(run.call(&mut store, 99).unwrap(), 0);
        assert_eq!(load.call(&mut store, 4).unwrap(), 99);
        assert_eq!(load.call(&mut store, 2 * PAGE as i32 - 4).unwrap(), 0, "it grew for both");
        let host = Memory::new(&mut store, MemoryType::new(1, Some(20))).unwrap();
        let third = Instance::new(&mut store, &module, &[host.into()]).unwrap();
        let run = third.get_func(&mut store, "run").unwrap();
        run.call(&mut store, &[Val::I32(55)]).unwrap();
        assert_eq!(host.data(&store)[4], 55);
        assert_eq!(host.size(&store), 2);
    }
}

#[test]
fn the_next_guest_finds_zeros() {
    let engine = Engine::default();
    for round in 0..10 {
        let (mut store, instance) = instantiate(&engine, GUEST);
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        let data = memory.data_mut(&mut store);
        let dirty =
            data.iter().enumerate().find(|(place, byte)| !(8..12).contains(place) && **byte != 0);
        assert_eq!(dirty, None, "round {round}");
        data.fill(0xaa);
        memory.grow(&mut store, 3).unwrap();
        assert!(memory.data(&store)[PAGE..].iter().all(|byte| *byte == 0), "round {round}");
        memory.data_mut(&mut store).fill(0xbb);
    }
}

#[test]
fn a_dropped_bulk_operator_leaves_the_memory_whole() {
    let engine = async_metered();
    let (mut store, instance) = crate::support::instantiate_async(
        &engine,
        r#"(module (memory (export "memory") 20)
            (func (export "fill") (param i32) i32.const 0 local.get 0 memory.size i32.const 65536 i32.mul memory.fill))"#,
    );
    store.out_of_fuel_async_yield(u64::MAX, 1024);
    let fill = instance.get_typed_func::<i32, (), _>(&mut store, "fill").unwrap();
    let memory = instance.get_memory(&mut store, "memory").unwrap();
    for polls in 1..10 {
        let mut call = Box::pin(fill.call_async(&mut store, polls));
        (0..polls).for_each(|_| assert!(crate::support::poll(call.as_mut()).is_pending()));
        drop(call);
        // The host may do anything now, such as moving what the operator was working on.
        memory.grow(&mut store, 1).unwrap();
        let size = memory.data_size(&store);
        let done = memory.data(&store).iter().filter(|byte| i32::from(**byte) == polls).count();
        // Chunks are whole pages of the system's.
        assert!(done < size && done % 4096 == 0, "{done}");
    }
    block_on(fill.call_async(&mut store, 100)).unwrap();
    assert!(memory.data(&store).iter().all(|byte| *byte == 100));
}

#[test]
fn copies_and_fills_of_short_constant_lengths() {
    let lengths: Vec<usize> = (0..=40).chain([63, 64, 65, 100, 127, 128, 129, 140]).collect();
    let functions: String = lengths
        .iter()
        .map(|len| {
            format!(
                r#"(func (export "copy{len}") (param i32 i32)
                    local.get 0 local.get 1 i32.const {len} memory.copy)
                (func (export "fill{len}") (param i32 i32)
                    local.get 0 local.get 1 i32.const {len} memory.fill)"#
            )
        })
        .collect();
    let wat = format!(r#"(module (memory (export "memory") 1 2) {functions})"#);
    for engine in engines() {
        let (mut store, instance) = instantiate(&engine, &wat);
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        let data = memory.data_mut(&mut store);
        data.iter_mut()
            .enumerate()
            .for_each(|(place, byte)| *byte = (place * 7 + place / 256) as u8);
        for &len in &lengths {
            let name = format!("copy{len}");
            let copy = instance.get_typed_func::<(u32, u32), (), _>(&mut store, &name).unwrap();
            let name = format!("fill{len}");
            let fill = instance.get_typed_func::<(u32, u32), (), _>(&mut store, &name).unwrap();
            let mut expected = memory.data(&store).to_vec();
            for (to, from) in [(100, 90), (90, 100), (300, 299), (299, 300), (5, 5), (1000, 0)] {
                expected.copy_within(from..from + len, to);
                copy.call(&mut store, (to as u32, from as u32)).unwrap();
            }
            let last = PAGE - len;
            expected.copy_within(20..20 + len, last);
            copy.call(&mut store, (last as u32, 20)).unwrap();
            expected.copy_within(last.., 2000);
            copy.call(&mut store, (2000, last as u32)).unwrap();
            expected[3000..3000 + len].fill(len as u8);
            fill.call(&mut store, (3000, 0xff00 + len as u32)).unwrap();
            for outside in [last as u32 + 1, PAGE as u32 + 1, u32::MAX - 100, u32::MAX] {
                let results = [
                    copy.call(&mut store, (outside, 0)),
                    copy.call(&mut store, (0, outside)),
                    fill.call(&mut store, (outside, 1)),
                ];
                for result in results {
                    let code = result.unwrap_err().trap_code();
                    assert_eq!(code, Some(TrapCode::MemoryOutOfBounds), "{len} bytes at {outside}");
                }
            }
            assert!(memory.data(&store) == expected, "{len} bytes");
        }
    }
}
