//! Short loops are written in several rounds: whatever a guest burns, wherever it yields and traps, is
//! as in code that looks at the counter in each round, which interruptable code does.

use std::pin::pin;
use std::task::Poll;

use lampwick::{Config, Engine, FrameInfo, Instance, Module, OperatorClass, OperatorCosts, Store};

use crate::support::{block_on, engine, poll};

/// Each export takes the number of rounds, or what decides it.
const LOOPS: &str = r#"(module
    (memory 1)
    (data (i32.const 64) "a text that is not very long\00")
    (func (export "count") (param i32) (result i32) (local i32)
        (loop (local.set 1 (i32.add (local.get 1) (local.get 0)))
            (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (local.get 1))
    (func (export "test first") (param i32) (result i32) (local i32)
        (block (loop
            (br_if 1 (i32.ge_u (local.get 1) (local.get 0)))
            (local.set 1 (i32.add (local.get 1) (i32.const 1)))
            (br 0)))
        (local.get 1))
    (func (export "length") (param i32) (result i32) (local i32)
        (loop (if (i32.load8_u offset=64 (local.get 1))
            (then (local.set 1 (i32.add (local.get 1) (i32.const 1))) (br 1))))
        (local.get 1))
    (func (export "fault") (param i32) (result i32) (local i32)
        (local.set 1 (i32.sub (i32.const 65536) (i32.shl (local.get 0) (i32.const 2))))
        (loop (i32.store (local.get 1) (i32.add (i32.load (local.get 1)) (i32.const 1)))
            (local.set 1 (i32.add (local.get 1) (i32.const 4)))
            (br 0))
        (unreachable))
    (func (export "fault in the store") (param i32) (result i32)
        (loop (i32.store offset=65532 (local.get 0)
                (i32.load (i32.and (local.get 0) (i32.const 255))))
            (local.set 0 (i32.sub (local.get 0) (i32.const 3)))
            (br_if 0 (i32.gt_s (local.get 0) (i32.const -20))))
        (local.get 0))
    (func (export "divide") (param i32) (result i32)
        (loop (drop (i32.div_s (i32.const 7) (local.get 0)))
            (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
            (br 0))
        (unreachable))
    (func (export "convert") (param i32) (result i32)
        (loop (local.set 0 (i32.sub
                (i32.trunc_f32_u (f32.convert_i32_s (local.get 0))) (i32.const 1)))
            (br 0))
        (unreachable))
    (func (export "collatz") (param i32) (result i32) (local i32)
        (loop (local.set 1 (i32.add (local.get 1) (i32.const 1)))
            (local.set 0 (if (result i32) (i32.and (local.get 0) (i32.const 1))
                (then (i32.add (i32.mul (local.get 0) (i32.const 3)) (i32.const 1)))
                (else (i32.shr_u (local.get 0) (i32.const 1)))))
            (br_if 0 (i32.gt_u (local.get 0) (i32.const 1))))
        (local.get 1))
    (func (export "two ways around") (param i32) (result i32) (local i32)
        (loop
            (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
            (br_if 0 (i32.eq (i32.and (local.get 0) (i32.const 3)) (i32.const 1)))
            (local.set 1 (i32.add (local.get 1) (local.get 0)))
            (br_if 0 (i32.gt_s (local.get 0) (i32.const 0))))
        (local.get 1))
    (func (export "ways out") (param i32) (result i32) (local i32)
        (block $out
            (block $two (block $three
                (loop
                    (local.set 1 (i32.add (local.get 1) (i32.const 1)))
                    (br_if $two (i32.eq (local.get 1) (i32.const 9)))
                    (br_if $three (i32.eq (local.get 1) (local.get 0)))
                    (br_if $out (i32.gt_u (local.get 1) (i32.const 14)))
                    (br_if 0 (i32.ne (local.get 0) (i32.const 6))))
                (return (i32.const 1)))
                (return (i32.const 2)))
            (return (i32.const 3)))
        (i32.const 4))
    (func (export "values") (param i32) (result i32)
        (i32.const 100) (i32.const 1) (local.get 0)
        (loop (param i32 i32) (result i32 i32)
            (i32.sub (i32.const 1))
            (local.tee 0)
            (i32.add)
            (local.get 0)
            (br_if 0 (local.get 0)))
        (i32.add) (i32.add))
    (func (export "return from within") (param i32) (result i32)
        (loop
            (if (i32.eqz (local.get 0)) (then (return (i32.const 77))))
            (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
            (br 0))
        (unreachable))
    (func (export "unreachable within") (param i32) (result i32)
        (loop
            (if (i32.eqz (local.get 0)) (then (unreachable)))
            (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
            (br 0))
        (unreachable))
    (func (export "nested") (param i32) (result i32) (local i32 i32)
        (loop
            (local.set 1 (local.get 0))
            (loop
                (local.set 2 (i32.add (local.get 2) (i32.const 1)))
                (br_if 1 (i32.eq (local.get 2) (i32.const 11)))
                (br_if 0 (i32.gt_s (local.tee 1 (i32.sub (local.get 1) (i32.const 1)))
                    (i32.const 0))))
            (br_if 0 (i32.gt_s (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))
                (i32.const 0))))
        (local.get 2))"#;

/// A loop in whose midst a row of operators that are free becomes too long.
fn after_a_row() -> String {
    let row = "(drop (local.get 0))".repeat(60);
    format!(
        r#"(func (export "after a row") (param i32) (result i32) {row}
            (loop
                (local.set 0 (i32.sub (i32.xor (local.get 0) (i32.const 0)) (i32.const 1)))
                (br_if 0 (local.get 0)))
            (local.get 0)))"#
    )
}

/// Each function is long enough to have its loops written in rounds, which make it longer.
fn text() -> String {
    let padding = "(nop) ".repeat(400);
    LOOPS
        .replace("(result i32)\n", &format!("(result i32) {padding}\n"))
        .replace("(local i32)\n", &format!("(local i32) {padding}\n"))
        + &after_a_row()
}

const NAMES: [&str; 15] = [
    "after a row",
    "count",
    "test first",
    "length",
    "fault",
    "fault in the store",
    "divide",
    "convert",
    "collatz",
    "two ways around",
    "ways out",
    "values",
    "return from within",
    "unreachable within",
    "nested",
];

/// All that can be seen of a call.
struct Seen {
    result: Result<i32, String>,
    burned: Option<u64>,
    /// What was burned at each yield.
    yields: Vec<u64>,
}

fn call(engine: &Engine, module: &Module, name: &str, argument: i32, slice: u64) -> Seen {
    let mut store = Store::new(engine, ());
    store.add_fuel(3_000).unwrap();
    store.fuel_async_yield_interval(Some(slice)).unwrap();
    let instance = block_on(Instance::new_async(&mut store, module, &[])).unwrap();
    let run = instance.get_typed_func::<i32, i32, _>(&mut store, name).unwrap();
    let handle = store.fuel_handle().unwrap();
    let mut yields = Vec::new();
    let result = {
        let mut call = pin!(run.call_async(&mut store, argument));
        loop {
            match poll(call.as_mut()) {
                Poll::Ready(result) => break result,
                Poll::Pending => yields.push(handle.consumed()),
            }
        }
    };
    let result = result.map_err(|trap| {
        let place = trap.trace().first().map(FrameInfo::module_offset);
        format!("{:?} at {place:?}", trap.trap_code())
    });
    Seen { result, burned: store.fuel_consumed(), yields }
}

fn with_costs(costs: OperatorCosts, change: fn(&mut Config)) -> Engine {
    engine(|config| {
        config.async_support(true).consume_fuel(true).operator_cost(costs);
        change(config);
    })
}

fn compare(costs: OperatorCosts, slices: impl Iterator<Item = u64> + Clone) {
    let in_rounds = with_costs(costs.clone(), |_| {});
    let one_by_one = with_costs(costs, |config| {
        config.interruptable(true);
    });
    let modules = [&in_rounds, &one_by_one].map(|engine| Module::new(engine, text()).unwrap());
    for name in NAMES {
        for argument in (1..=13).chain([1_000]) {
            for slice in slices.clone() {
                let seen = call(&in_rounds, &modules[0], name, argument, slice);
                let wanted = call(&one_by_one, &modules[1], name, argument, slice);
                let what = format!("{name} {argument}, slices of {slice}");
                assert_eq!(seen.result, wanted.result, "{what}");
                assert_eq!(seen.burned, wanted.burned, "{what}");
                assert!(seen.yields == wanted.yields, "yields of {what}");
            }
        }
    }
}

#[test]
fn rounds_burn_yield_and_trap_as_one_by_one() {
    compare(OperatorCosts::new(), [1, 7, 20, 33, 61, 10_000].into_iter());
}

#[test]
fn rounds_of_a_table_of_costs_do_so() {
    let costs = OperatorCosts::uniform(0)
        .with(OperatorClass::Load, 5)
        .with(OperatorClass::Multiplication, 9)
        .with(OperatorClass::Branch, 2);
    compare(costs, [3, 25, 10_000].into_iter());
}
