//! Beyond 4 GiB: memories that grow there, atomic operators, waits, vectors, segments and the host's
//! accesses, and two memories at a time.

use lampwick::{Instance, MemoryType, Module, SharedMemory, Store, Trap, TrapCode, WaitResult};

use crate::support::{async_metered, block_on, count_pending, engine};

const GIB: u64 = 1 << 30;

/// Operators of several kinds on a memory that is put before them.
const OPERATORS: &str = r#"
    (func (export "load") (param i64) (result i64) (i64.load (local.get 0)))
    (func (export "load8") (param i64) (result i32) (i32.load8_u (local.get 0)))
    (func (export "store") (param i64 i64) (i64.store (local.get 0) (local.get 1)))
    (func (export "vector") (param i64 i64)
        (v128.store (local.get 0) (i64x2.splat (local.get 1))))
    (func (export "lane") (param i64) (result i64)
        (i64x2.extract_lane 1 (v128.load (local.get 0))))
    (func (export "add") (param i64 i64) (result i64)
        (i64.atomic.rmw.add (local.get 0) (local.get 1)))
    (func (export "wait") (param i64 i32 i64) (result i32)
        (memory.atomic.wait32 (local.get 0) (local.get 1) (local.get 2)))
    (func (export "notify") (param i64) (result i32)
        (memory.atomic.notify (local.get 0) (i32.const -1)))
    (func (export "init") (param i64) (memory.init $d (local.get 0) (i32.const 1) (i32.const 3)))
    (func (export "grow") (param i64) (result i64) (memory.grow (local.get 0)))
    (func (export "size") (result i64) memory.size)
    (data $d "0123"))"#;

fn code(trap: Trap) -> Option<TrapCode> {
    trap.trap_code()
}

#[test]
fn a_memory_grows_past_4_gib_and_keeps_its_bytes() {
    let text = format!("(module (memory (export \"m\") i64 65535) {OPERATORS}");
    let usual = engine(|config| _ = config.wasm_threads(true));
    let explicit = engine(|config| {
        config.wasm_threads(true);
        config.static_memory_maximum_size(0).static_memory_guard_size(0);
        config.dynamic_memory_guard_size(0).dynamic_memory_reserved_for_growth(0);
    });
    for engine in [usual, explicit] {
        let mut store = Store::new(&engine, ());
        let module = Module::new(&engine, &text).unwrap();
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let memory = instance.get_memory(&mut store, "m").unwrap();
        let get = instance.get_typed_func::<u64, u64, _>(&mut store, "load").unwrap();
        let byte = instance.get_typed_func::<u64, u32, _>(&mut store, "load8").unwrap();
        let set = instance.get_typed_func::<(u64, u64), (), _>(&mut store, "store").unwrap();
        let vector = instance.get_typed_func::<(u64, u64), (), _>(&mut store, "vector").unwrap();
        let lane = instance.get_typed_func::<u64, u64, _>(&mut store, "lane").unwrap();
        let init = instance.get_typed_func::<u64, (), _>(&mut store, "init").unwrap();
        let grow = instance.get_typed_func::<u64, i64, _>(&mut store, "grow").unwrap();

        set.call(&mut store, (16, 0xaaaa)).unwrap();
        let last = 4 * GIB - 65_536 - 8;
        set.call(&mut store, (last, 0xbbbb)).unwrap();
        assert_eq!(
            code(get.call(&mut store, last + 1).unwrap_err()),
            Some(TrapCode::MemoryOutOfBounds)
        );
        // To 4 GiB exactly, then past it, then by more than 4 GiB at once.
        for (delta, before) in [(1, 65_535), (1, 65_536), (1 << 16, 65_537)] {
            let end = (before + delta) << 16;
            assert_eq!(grow.call(&mut store, delta).unwrap(), before as i64);
            assert_eq!(memory.data_size(&store) as u64, end);
            assert_eq!(get.call(&mut store, 16).unwrap(), 0xaaaa);
            assert_eq!(get.call(&mut store, last).unwrap(), 0xbbbb);
            assert_eq!(get.call(&mut store, end - 8).unwrap(), 0);
            let trap = get.call(&mut store, end - 7).unwrap_err();
            assert_eq!(code(trap), Some(TrapCode::MemoryOutOfBounds), "{end:#x}");
            let trap = vector.call(&mut store, (end - 15, 0)).unwrap_err();
            assert_eq!(code(trap), Some(TrapCode::MemoryOutOfBounds), "{end:#x}");
        }
        // Across the border itself, and what is a small number modulo 2^32.
        set.call(&mut store, (4 * GIB - 4, 0x8877_6655_4433_2211)).unwrap();
        assert_eq!(byte.call(&mut store, 4 * GIB).unwrap(), 0x55);
        assert_eq!(byte.call(&mut store, 0).unwrap(), 0);
        vector.call(&mut store, (8 * GIB + 32, 7)).unwrap();
        assert_eq!(lane.call(&mut store, 8 * GIB + 32).unwrap(), 7);
        init.call(&mut store, 6 * GIB).unwrap();
        let mut bytes = [0; 4];
        memory.read(&store, 6 * GIB as usize, &mut bytes).unwrap();
        assert_eq!(&bytes, b"123\0");
        memory.write(&mut store, 6 * GIB as usize + 1, b"high").unwrap();
        assert_eq!(get.call(&mut store, 6 * GIB).unwrap(), u64::from_le_bytes(*b"1high\0\0\0"));
        assert_eq!(get.call(&mut store, 2 * GIB).unwrap(), 0);
    }
}

#[test]
fn guests_wait_and_count_above_4_gib() {
    let engine = engine(|config| _ = config.wasm_threads(true));
    let pages = (5 * GIB) >> 16;
    let memory = SharedMemory::new(&engine, MemoryType::shared64(pages, pages)).unwrap();
    let text = format!("(module (import \"\" \"m\" (memory i64 1 {pages} shared)) {OPERATORS}");
    let mut store = Store::new(&engine, ());
    let module = Module::new(&engine, text).unwrap();
    let instance = Instance::new(&mut store, &module, &[memory.clone().into()]).unwrap();
    let wait = instance.get_typed_func::<(u64, u32, i64), u32, _>(&mut store, "wait").unwrap();
    let notify = instance.get_typed_func::<u64, u32, _>(&mut store, "notify").unwrap();
    let add = instance.get_typed_func::<(u64, u64), u64, _>(&mut store, "add").unwrap();
    let high = 4 * GIB + 64;
    for (before, after) in [(0, 3), (3, 6)] {
        assert_eq!(add.call(&mut store, (high, 3)).unwrap(), before);
        assert_eq!(memory.atomic_wait64(high, after + 1, None).unwrap(), WaitResult::Mismatch);
    }
    assert_eq!(wait.call(&mut store, (high, 6, 0)).unwrap(), 2);
    assert_eq!(wait.call(&mut store, (64, 6, 0)).unwrap(), 1, "the low address has another value");
    // Who waits at the same address modulo 2^32 is somebody else.
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| memory.atomic_wait32(high, 6, None).unwrap());
        while memory.atomic_notify(high, 1).unwrap() == 0 {
            assert_eq!(notify.call(&mut store, 64).unwrap(), 0);
        }
        assert_eq!(waiter.join().unwrap(), WaitResult::Ok);
    });
    let outside = Some(TrapCode::MemoryOutOfBounds);
    for address in [5 * GIB, 1 << 33, 1 << 63, u64::MAX - 7] {
        assert_eq!(code(add.call(&mut store, (address, 1)).unwrap_err()), outside);
        assert_eq!(code(wait.call(&mut store, (address, 0, 0)).unwrap_err()), outside);
        assert_eq!(code(notify.call(&mut store, address).unwrap_err()), outside);
    }
    assert_eq!(
        code(add.call(&mut store, (high + 4, 1)).unwrap_err()),
        Some(TrapCode::HeapMisaligned)
    );
}

/// Lengths have 64 bits, too: charged as a whole, refused as a whole, and done in parts.
#[test]
fn bulk_operators_above_4_gib_are_charged_and_cut_into_parts() {
    let text = r#"(module
        (memory $a i64 65600) (memory $b (export "b") i64 65600)
        (func (export "fill") (param i64 i64)
            (memory.fill $b (local.get 0) (i32.const 5) (local.get 1)))
        (func (export "copy") (param i64 i64 i64)
            (memory.copy $a $b (local.get 0) (local.get 1) (local.get 2)))
        (func (export "a") (param i64) (result i32) (i32.load8_u $a (local.get 0))))"#;
    let engine = async_metered();
    let mut store = Store::new(&engine, ());
    store.add_fuel(1 << 40).unwrap();
    let module = Module::new(&engine, text).unwrap();
    let instance = block_on(Instance::new_async(&mut store, &module, &[])).unwrap();
    let fill = instance.get_typed_func::<(u64, u64), (), _>(&mut store, "fill").unwrap();
    let copy = instance.get_typed_func::<(u64, u64, u64), (), _>(&mut store, "copy").unwrap();
    let byte = instance.get_typed_func::<u64, u32, _>(&mut store, "a").unwrap();
    let (high, len) = (4 * GIB - (1 << 20), 3 << 20);
    let (pending, result) = count_pending(fill.call_async(&mut store, (high, len)));
    result.unwrap();
    assert!(pending > 1, "a large fill suspends");
    let before = store.fuel_consumed().unwrap();
    block_on(copy.call_async(&mut store, (high + 7, high, len))).unwrap();
    let burned = store.fuel_consumed().unwrap() - before;
    for (address, expected) in
        [(high + 6, 0), (high + 7, 5), (high + 6 + len, 5), (high + 7 + len, 0)]
    {
        assert_eq!(
            block_on(byte.call_async(&mut store, address)).unwrap(),
            expected,
            "{address:#x}"
        );
    }
    // A length above 2^32 is not one below it: it costs more, and does not fit.
    let before = store.fuel_consumed().unwrap();
    let trap = block_on(copy.call_async(&mut store, (8, 0, (4 << 30) + (4 << 20)))).unwrap_err();
    assert_eq!(code(trap), Some(TrapCode::MemoryOutOfBounds));
    assert!(store.fuel_consumed().unwrap() - before > 100 * burned);
    assert_eq!(block_on(byte.call_async(&mut store, high + 6)).unwrap(), 0);
}
