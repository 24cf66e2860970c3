//! Tables that make operators free, or dear: no guest computes for nothing, and no count is lost.

use lampwick::OperatorClass::Load;
use lampwick::OperatorCosts;

use crate::operator_costs::{async_with_costs, with_costs};
use crate::support::{count_pending, instantiate, instantiate_async};

/// What one call of a function with this body costs under a table.
fn cost_of(costs: &OperatorCosts, body: &str) -> u64 {
    let wat = format!("(module (memory 1) (func (export \"run\") {body}))");
    let (mut store, instance) = instantiate(&with_costs(costs), &wat);
    store.add_fuel(u64::MAX).unwrap();
    let before = store.fuel_consumed().unwrap();
    let run = instance.get_func(&mut store, "run").unwrap();
    // Some end in a trap.
    drop(run.call(&mut store, &[]));
    store.fuel_consumed().unwrap() - before
}

#[test]
fn each_64th_operator_of_those_that_are_free_costs_one() {
    let free = OperatorCosts::uniform(0);
    let constants = |count| "i32.const 1 drop ".repeat(count);
    for (count, cost) in [(0, 1), (1, 1), (63, 1), (64, 2), (127, 2), (128, 3), (6400, 101)] {
        assert_eq!(cost_of(&free, &constants(count)), cost, "{count} constants");
    }
    // What is of no class does not count, nor does what is never reached.
    let idle = "nop block loop end end ".repeat(1000);
    let unreachable = format!("block br 0 {} end", constants(1000));
    assert_eq!(cost_of(&free, &idle), 1);
    assert_eq!(cost_of(&free, &unreachable), 2);
    // Whatever costs something begins anew; only free ones count.
    let dear = free.clone().with(Load, 5);
    let load = "i32.const 1 i32.load drop ";
    assert_eq!(cost_of(&dear, &[&constants(62), load, &constants(63)].concat()), 1 + 5);
    assert_eq!(cost_of(&dear, &[&constants(63), load, &constants(63)].concat()), 1 + 1 + 5);
    assert_eq!(cost_of(&OperatorCosts::new(), &constants(6400)), 6401);
    // Arms of an `if` are counted where they stand.
    let arms =
        |one, other| format!("i32.const 1 if {} else {} end", constants(one), constants(other));
    assert_eq!(cost_of(&free, &arms(63, 1)), 2);
    assert_eq!(cost_of(&free, &arms(64, 1)), 3);
}

/// Guests that never end, each of which runs as much code as it can between two looks at its fuel
/// where all is free that may be; and how many operators of a class each of its rounds has at the
/// most.
fn endless() -> Vec<(&'static str, String, u64)> {
    let line = "i32.const 1 i32.const 2 i32.add drop ".repeat(1000);
    // Never reaches an operator that costs, if the ways to these are left in time.
    let around = "i32.const 1 if i32.const 1 i32.eqz drop else i32.const 1 drop end ".repeat(1000);
    let evasive = format!("block {0} i32.const 1 br_if 0 {0} end ", "i32.const 1 drop ".repeat(62))
        .repeat(100);
    vec![
        ("a loop", "loop br 0 end".into(), 1),
        ("a loop by condition", "loop i32.const 1 br_if 0 end".into(), 2),
        ("a loop by table", "loop i32.const 0 br_table 0 0 end".into(), 2),
        ("a loop in a loop", "loop loop i32.const 0 br_if 0 end br 0 end".into(), 3),
        ("recursion", "call $run".into(), 1),
        ("tail calls", "return_call $run".into(), 1),
        ("a tail of calls", "loop call $nothing br 0 end".into(), 2),
        ("a long line", format!("loop {line} br 0 end"), 3001),
        ("many ways", format!("loop {around} br 0 end"), 4001),
        ("evasion", format!("loop {evasive} br 0 end"), 12_701),
    ]
}

#[test]
fn where_all_is_free_guests_yield_and_trap_all_the_same() {
    const SLICE: u64 = 200;
    const SLICES: u64 = 20;
    let engine = async_with_costs(&OperatorCosts::uniform(0));
    for (what, body, _) in endless() {
        let wat = format!("(module (func $nothing) (func $run (export \"run\") {body}))");
        let (mut store, instance) = instantiate_async(&engine, &wat);
        store.out_of_fuel_async_yield(SLICES, SLICE);
        let run = instance.get_typed_func::<(), (), _>(&mut store, "run").unwrap();
        let (pending, result) = count_pending(run.call_async(&mut store, ()));
        let text = result.unwrap_err().to_string();
        assert!(text.contains("all fuel consumed by WebAssembly"), "{what}: {text}");
        // What a round overdraws is taken from the next slices.
        assert!((2..=SLICES).contains(&pending), "{what}: {pending}");
    }
}

#[test]
fn a_unit_of_fuel_bounds_what_is_done_for_it() {
    // Two runs of free operators that meet, where ways around a costly one join, at the most.
    const PER_UNIT: u64 = 2 * 64;
    let free = OperatorCosts::uniform(0);
    for (what, body, operators) in endless() {
        if !body.starts_with("loop") {
            continue;
        }
        // The rounds are counted in memory, which is free here, too.
        let count = "i32.const 0 i32.const 0 i32.load i32.const 1 i32.add i32.store ";
        let body = body.replacen("loop ", &format!("loop {count}"), 1);
        let wat = format!(
            "(module (memory (export \"m\") 1) (func $nothing) (func (export \"run\") {body}))"
        );
        let (mut store, instance) = instantiate(&with_costs(&free), &wat);
        store.add_fuel(100_000).unwrap();
        let run = instance.get_typed_func::<(), (), _>(&mut store, "run").unwrap();
        assert!(run.call(&mut store, ()).is_err());
        let memory = instance.get_memory(&mut store, "m").unwrap();
        let rounds = u32::from_le_bytes(memory.data(&store)[..4].try_into().unwrap());
        let burned = store.fuel_consumed().unwrap();
        let done = u64::from(rounds) * (operators + 6);
        assert!(rounds > 10 && done <= burned * PER_UNIT, "{what}: {done} for {burned}");
    }
}

#[test]
fn dear_lines_are_exact() {
    // More than two thousand million units in a line, which ends in traps of each kind.
    let dear = OperatorCosts::uniform(u16::MAX);
    let line = "i32.const 1 drop ".repeat(40_000);
    for (tail, operators) in [
        ("", 0),
        ("i32.const -1 i32.load drop", 2),
        ("i32.const 0 i32.const -1 i32.load i32.store", 3),
        ("i32.const 1 i32.const 0 i32.div_s drop", 3),
        ("unreachable", 0),
    ] {
        let expected = (1 + 40_000 + operators) * u64::from(u16::MAX);
        assert!(expected > 1 << 31);
        assert_eq!(cost_of(&dear, &[&line, tail].concat()), expected, "{tail}");
    }
}
