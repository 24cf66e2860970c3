//! Fuel bounds what a guest may compute, and tells exactly what it did.

use lampwick::{Config, Engine, Instance, Module, Store};

const GUEST: &str = r#"(module
    (func $fib (export "fib") (param $n i32) (result i32)
        (if (result i32) (i32.lt_u (local.get $n) (i32.const 2))
            (then (local.get $n))
            (else (i32.add
                (call $fib (i32.sub (local.get $n) (i32.const 1)))
                (call $fib (i32.sub (local.get $n) (i32.const 2)))))))
    (func (export "forever") (loop $again (br $again))))"#;

fn main() -> anyhow::Result<()> {
    let engine = Engine::new(Config::new().consume_fuel(true))?;
    let module = Module::new(&engine, GUEST)?;
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[])?;
    let fib = instance.get_typed_func::<u32, u32, _>(&mut store, "fib")?;

    // A new store has no fuel, and nothing runs without.
    let trap = fib.call(&mut store, 0).unwrap_err();
    assert!(trap.to_string().contains("all fuel consumed by WebAssembly"));

    // The same call burns the same fuel, always.
    store.add_fuel(100_000)?;
    let mut burned = Vec::new();
    for _ in 0..3 {
        let before = store.fuel_consumed().expect("the engine counts fuel");
        assert_eq!(fib.call(&mut store, 10)?, 55);
        burned.push(store.fuel_consumed().unwrap() - before);
    }
    println!("fib(10) burns {} units", burned[0]);
    assert!(burned.iter().all(|units| *units == burned[0]));

    // One unit for the entry and one for each operator but those that are free: fib(0) enters a
    // function, compares (3 operators), decides (1) and gets its result (1).
    let before = store.fuel_consumed().unwrap();
    assert_eq!(fib.call(&mut store, 0)?, 0);
    assert_eq!(store.fuel_consumed().unwrap() - before, 6);

    // The host can burn fuel itself, for what it does on behalf of the guest.
    let left = store.consume_fuel(1_000)?;
    println!("{left} units are left");
    println!("refused: {}", store.consume_fuel(left).unwrap_err());

    // A guest that never ends, ends when its fuel does.
    let forever = instance.get_typed_func::<(), (), _>(&mut store, "forever")?;
    let trap = forever.call(&mut store, ()).unwrap_err();
    println!("{trap}");
    assert!(trap.to_string().contains("all fuel consumed by WebAssembly"));
    assert!(store.fuel_consumed().unwrap() >= 100_000);

    // With more fuel the store goes on.
    store.add_fuel(100_000)?;
    assert_eq!(fib.call(&mut store, 10)?, 55);
    Ok(())
}
