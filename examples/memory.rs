//! The host reads and writes a guest's linear memory.

use lampwick::{Engine, Instance, Module, Store};

const GUEST: &str = r#"(module
    (memory (export "memory") 1 3)
    (func (export "sum") (param $at i32) (param $len i32) (result i32)
        (local $sum i32)
        (loop $next
            (if (local.get $len) (then
                (local.set $sum (i32.add (local.get $sum) (i32.load8_u (local.get $at))))
                (local.set $at (i32.add (local.get $at) (i32.const 1)))
                (local.set $len (i32.sub (local.get $len) (i32.const 1)))
                (br $next))))
        (local.get $sum))
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))"#;

const PAGE: usize = 65_536;

fn main() -> anyhow::Result<()> {
    let engine = Engine::default();
    // The store's data: how many bytes we gave to the guest.
    let mut store = Store::new(&engine, 0);
    let instance = Instance::new(&mut store, &Module::new(&engine, GUEST)?, &[])?;
    let memory = instance.get_memory(&mut store, "memory").expect("the guest exports it");
    let sum = instance.get_typed_func::<(u32, u32), u32, _>(&mut store, "sum")?;
    let grow = instance.get_typed_func::<u32, i32, _>(&mut store, "grow")?;

    // Copies, with checked bounds.
    memory.write(&mut store, 100, &[1, 2, 3, 4])?;
    assert_eq!(sum.call(&mut store, (100, 4))?, 10);
    let mut bytes = [0; 2];
    memory.read(&store, 101, &mut bytes)?;
    assert_eq!(bytes, [2, 3]);
    let error = memory.write(&mut store, PAGE - 1, &[5, 6]).unwrap_err();
    println!("refused: {error}");

    // The bytes themselves, alone and together with our data. The borrow of the store ends before
    // the guest runs again.
    memory.data_mut(&mut store)[..3].fill(7);
    let (data, given) = memory.data_and_store_mut(&mut store);
    data[3..6].fill(1);
    *given += 6;
    assert_eq!(memory.data(&store)[..7], [7, 7, 7, 1, 1, 1, 0]);
    assert_eq!(sum.call(&mut store, (0, 7))?, 24);
    assert_eq!(*store.data(), 6);

    // Both sides can make it larger, up to its maximum of three pages.
    assert_eq!((memory.size(&store), memory.data_size(&store)), (1, PAGE));
    assert_eq!(memory.grow(&mut store, 1)?, 1);
    assert_eq!(grow.call(&mut store, 1)?, 2);
    assert_eq!(grow.call(&mut store, 1)?, -1, "the guest is told that there is no more");
    println!("refused: {}", memory.grow(&mut store, 1).unwrap_err());
    assert_eq!(memory.size(&store), 3);
    assert_eq!(memory.data(&store)[3 * PAGE - 1], 0, "new pages are zeros");

    // A guest that reads beyond its memory traps.
    let trap = sum.call(&mut store, (3 * PAGE as u32 - 1, 2)).unwrap_err();
    println!("{trap}");
    assert!(trap.to_string().contains("out of bounds memory access"));
    Ok(())
}
