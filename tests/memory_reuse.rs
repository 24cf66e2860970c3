//! A memory that ended goes to another guest: whatever was written to it, by whom, the next one starts
//! as its module says. What nobody can have written is not cleared, so each way to write is tried.

use lampwick::{
    Caller, Engine, Extern, Func, Instance, Memory, MemoryType, Module, Store, TypedFunc,
};

use crate::support::engine;

/// A page of wasm's, in bytes.
const WASM_PAGE: usize = 65_536;

/// With data here and there, which is copied.
fn small() -> String {
    module(r#"(data (i32.const 5) "here") (data (i32.const 70000) "there")"#)
}

/// With so much data that there is an image.
fn large() -> String {
    module(&format!(r#"(data (i32.const 100) "{}")"#, "a long text ".repeat(5_000)))
}

fn module(data: &str) -> String {
    format!(
        r#"(module
            (memory (export "memory") 2)
            {data}
            (func (export "store") (param i32 i32) (i32.store8 (local.get 0) (local.get 1)))
            (func (export "read") (param i32) (result i32) (i32.load8_u (local.get 0))))"#
    )
}

/// Writes to the memory of an instance, anywhere.
type Write = fn(&mut Store<()>, Instance, Memory);

/// Where: on a page with data and on others.
const PLACES: [usize; 5] = [6, 4096, 70_001, 90_000, 2 * WASM_PAGE - 1];

const WAYS: [(&str, Write); 9] = [
    ("write", |store, _, memory| {
        PLACES.iter().for_each(|&at| memory.write(&mut *store, at, b"!").unwrap());
    }),
    ("data_mut", |store, _, memory| {
        let data = memory.data_mut(&mut *store);
        PLACES.iter().for_each(|&at| data[at] = 0xaa);
    }),
    ("data_and_store_mut", |store, _, memory| {
        let (data, ()) = memory.data_and_store_mut(&mut *store);
        PLACES.iter().for_each(|&at| data[at] = 0xaa);
    }),
    ("data_ptr", |store, _, memory| {
        let start = memory.data_ptr(&*store);
        // SAFETY: the places lie in the memory, of which nothing else is borrowed.
        PLACES.iter().for_each(|&at| unsafe { start.add(at).write(0xaa) });
    }),
    ("a guest", |store, instance, _| {
        let write: TypedFunc<(i32, i32), ()> =
            instance.get_typed_func(&mut *store, "store").unwrap();
        PLACES.iter().for_each(|&at| write.call(&mut *store, (at as i32, 0xaa)).unwrap());
    }),
    ("the start function of another module", |store, _, memory| {
        let text = r#"(module (import "" "" (memory 1))
            (func (i32.store8 (i32.const 90000) (i32.const 1)) (i32.store8 (i32.const 6) (i32.const 1)))
            (start 0))"#;
        let module = Module::new(store.engine(), text).unwrap();
        Instance::new(&mut *store, &module, &[memory.into()]).unwrap();
    }),
    ("the data of another module", |store, _, memory| {
        let text = r#"(module (import "" "" (memory 1))
            (data (i32.const 4094) "over a border") (data (i32.const 90000) "elsewhere"))"#;
        let module = Module::new(store.engine(), text).unwrap();
        Instance::new(&mut *store, &module, &[memory.into()]).unwrap();
    }),
    ("the host, called by the host", |store, _, memory| {
        let func = Func::wrap(&mut *store, move |mut caller: Caller<'_, ()>| {
            PLACES.iter().for_each(|&at| memory.write(&mut caller, at, b"!").unwrap());
        });
        func.call(&mut *store, &[]).unwrap();
    }),
    ("a guest, in what it has grown by", |store, instance, memory| {
        memory.grow(&mut *store, 1).unwrap();
        let write: TypedFunc<(i32, i32), ()> =
            instance.get_typed_func(&mut *store, "store").unwrap();
        write.call(&mut *store, (2 * WASM_PAGE as i32 + 7, 0xaa)).unwrap();
    }),
];

fn start(engine: &Engine, module: &Module) -> (Store<()>, Instance, Memory) {
    let mut store = Store::new(engine, ());
    let instance = Instance::new(&mut store, module, &[]).unwrap();
    let memory = instance.get_memory(&mut store, "memory").unwrap();
    (store, instance, memory)
}

#[test]
fn the_next_guest_finds_what_its_module_says() {
    for text in [small(), large()] {
        let engine = engine(|_| {});
        let module = Module::new(&engine, &text).unwrap();
        let (store, _, memory) = start(&engine, &module);
        let fresh = memory.data(&store).to_vec();
        drop(store);
        for (name, write) in WAYS {
            // Often, since the memory is cleared in another way when it was cleared before.
            for round in 0..4 {
                let (mut store, instance, memory) = start(&engine, &module);
                assert!(memory.data(&store) == fresh, "after {name}, round {round}");
                if round != 2 {
                    write(&mut store, instance, memory);
                }
            }
        }
        let (store, _, memory) = start(&engine, &module);
        assert!(memory.data(&store) == fresh);
    }
}

#[test]
fn memories_of_the_host_start_as_zeros() {
    let engine = engine(|_| {});
    for round in 0..4 {
        let mut store = Store::new(&engine, ());
        let memory = Memory::new(&mut store, MemoryType::new(2, None)).unwrap();
        assert!(memory.data(&store).iter().all(|&byte| byte == 0), "round {round}");
        let text = r#"(module (import "" "" (memory 1)) (data (i32.const 4090) "some bytes"))"#;
        let module = Module::new(&engine, text).unwrap();
        Instance::new(&mut store, &module, &[Extern::Memory(memory)]).unwrap();
        if round % 2 == 1 {
            memory.data_mut(&mut store)[100_000] = 1;
        }
    }
}
