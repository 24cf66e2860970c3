//! Modules that use one another: a reactor that stays, and a command that is new for each call.

use lampwick::{Caller, Engine, Linker, Module, Store};

/// Draws numbers. `_initialize` makes it a reactor: instantiated once, and its state stays.
const RANDOM: &str = r#"(module
    (import "host" "seed" (func $seed (result i32)))
    (global $state (mut i32) (i32.const 0))
    (func (export "_initialize") (global.set $state (call $seed)))
    (func (export "next") (result i32)
        (global.set $state
            (i32.add (i32.mul (global.get $state) (i32.const 1103515245)) (i32.const 12345)))
        (i32.shr_u (global.get $state) (i32.const 16))))"#;

/// Throws a die and counts its throws. `_start` makes it a command: the count is always one.
const DICE: &str = r#"(module
    (import "random" "next" (func $next (result i32)))
    (global $throws (mut i32) (i32.const 0))
    (func (export "_start"))
    (func (export "throw") (result i32 i32)
        (global.set $throws (i32.add (global.get $throws) (i32.const 1)))
        (i32.add (i32.rem_u (call $next) (i32.const 6)) (i32.const 1))
        (global.get $throws)))"#;

fn throws(seed: i32) -> anyhow::Result<Vec<i32>> {
    let engine = Engine::default();
    let mut store = Store::new(&engine, seed);
    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "seed", |caller: Caller<'_, i32>| *caller.data())?;
    linker.module(&mut store, "random", &Module::new(&engine, RANDOM)?)?;
    linker.module(&mut store, "dice", &Module::new(&engine, DICE)?)?;

    let names = linker.iter(&mut store).map(|(module, name, _)| format!("{module}::{name}"));
    let names: Vec<_> = names.collect();
    let expected =
        ["dice::_start", "dice::throw", "host::seed", "random::_initialize", "random::next"];
    assert_eq!(names, expected);

    // What is defined can be had without a module that imports it.
    let throw = linker.get(&mut store, "dice", Some("throw")).and_then(|item| item.into_func());
    let throw = throw.expect("the command exports it").typed::<(), (i32, i32), _>(&store)?;
    let mut dice = Vec::new();
    for _ in 0..10 {
        let (die, throws) = throw.call(&mut store, ())?;
        assert!((1..=6).contains(&die));
        assert_eq!(throws, 1, "every call has an instance of its own");
        dice.push(die);
    }
    Ok(dice)
}

fn main() -> anyhow::Result<()> {
    let dice = throws(7)?;
    println!("{dice:?}");
    assert_eq!(dice, throws(7)?, "the same seed gives the same throws");
    assert_ne!(dice, throws(8)?);
    assert!(dice.windows(2).any(|pair| pair[0] != pair[1]), "the generator keeps its state");
    Ok(())
}
