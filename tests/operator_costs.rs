//! Tables of what operators cost: exact, and part of what an artifact is for.

use lampwick::{Engine, Instance, Module, OperatorClass, OperatorCosts, OptLevel, Store, TrapCode};

use OperatorClass::{
    Allocation, Branch, Bulk, Call, CallIndirect, Constant, Conversion, Division, FunctionEntry,
    Global, Grow, Integer, Load, Local, Reference, Select, Size, Table, Throw,
};

use crate::fuel_random::{Mode, Seen, execute, first_difference, seen};
use crate::interpreter::{Exit, Machine};
use crate::operator_classes::{distinct, sum};
use crate::oracle::{Maker, Program};
use crate::oracle_text::text;
use crate::support::{Change, Rng, block_on, engine, metered, rounds, trap};

/// A synchronous engine with these costs.
pub(crate) fn with_costs(costs: &OperatorCosts) -> Engine {
    engine(|config| {
        config.consume_fuel(true).operator_cost(costs.clone());
    })
}

/// An async engine with these costs.
pub(crate) fn async_with_costs(costs: &OperatorCosts) -> Engine {
    engine(|config| {
        config.async_support(true).consume_fuel(true).operator_cost(costs.clone());
    })
}

/// What stands around the bodies of [`CASES`].
const PRELUDE: &str = r#"
    (type $nothing (func)) (memory 1 2) (data $data "0123456789")
    (table $table 20 40 funcref) (elem (i32.const 1) $empty) (elem $elem func $empty $empty)
    (global $global (mut i32) (i32.const 0)) (func $empty)
"#;

/// Bodies, the classes of what a call of each executes beside the entry, what it charges by size,
/// and how it ends.
type Case = (&'static str, &'static [OperatorClass], u64, Option<TrapCode>);

const CASES: &[Case] = &[
    ("", &[], 0, None),
    ("nop block loop end end i32.const 1 drop return", &[Constant], 0, None),
    ("i64.const 1 f32.const 1 f64.const 1 drop drop drop", &[Constant; 3], 0, None),
    ("(local i32) local.get 0 local.tee 0 local.set 0", &[Local; 3], 0, None),
    ("global.get $global global.set $global", &[Global; 2], 0, None),
    (
        "i32.const 1 i32.const 2 i32.const 0 select drop",
        &[Constant, Constant, Constant, Select],
        0,
        None,
    ),
    (
        "ref.null func ref.null func i32.const 0 select (result funcref) ref.is_null drop",
        &[Reference, Reference, Constant, Select, Reference],
        0,
        None,
    ),
    ("ref.func $empty drop", &[Reference], 0, None),
    ("i32.const 1 if else end", &[Constant, Branch], 0, None),
    ("i32.const 1 br_if 0 i32.const 2 drop", &[Constant, Branch], 0, None),
    ("i32.const 0 br_if 0 i32.const 2 drop", &[Constant, Branch, Constant], 0, None),
    ("block br 0 end i32.const 0 br_table 0", &[Branch, Constant, Branch], 0, None),
    ("call $empty", &[Call, FunctionEntry], 0, None),
    (
        "i32.const 1 call_indirect (type $nothing)",
        &[Constant, CallIndirect, FunctionEntry],
        0,
        None,
    ),
    (
        "i32.const 0 call_indirect (type $nothing)",
        &[Constant, CallIndirect],
        0,
        Some(TrapCode::IndirectCallToNull),
    ),
    ("i32.const 1 table.get 0 drop", &[Constant, Table], 0, None),
    ("i32.const 0 ref.null func table.set 0", &[Constant, Reference, Table], 0, None),
    ("memory.size drop table.size 0 drop", &[Size; 2], 0, None),
    ("i32.const 1 memory.grow drop", &[Constant, Grow], 1, None),
    ("ref.null func i32.const 16 table.grow 0 drop", &[Reference, Constant, Grow], 2, None),
    ("data.drop $data elem.drop $elem", &[Bulk; 2], 0, None),
    // In line, short, and in chunks.
    (
        "i32.const 0 i32.const 1 i32.const 128 memory.fill",
        &[Constant, Constant, Constant, Bulk],
        2,
        None,
    ),
    (
        "i32.const 0 i32.const 1 i32.const 640 memory.copy",
        &[Constant, Constant, Constant, Bulk],
        10,
        None,
    ),
    (
        "i32.const 0 i32.const 1 i32.const 65536 memory.fill",
        &[Constant, Constant, Constant, Bulk],
        1024,
        None,
    ),
    (
        "i32.const 1 i32.const 1 i32.const 65536 memory.fill",
        &[Constant, Constant, Constant, Bulk],
        1024,
        Some(TrapCode::MemoryOutOfBounds),
    ),
    (
        "i32.const 0 i32.const 0 i32.const 10 memory.init $data",
        &[Constant, Constant, Constant, Bulk],
        0,
        None,
    ),
    (
        "i32.const 0 i32.const 0 i32.const 2 table.init $elem",
        &[Constant, Constant, Constant, Bulk],
        0,
        None,
    ),
    (
        "i32.const 4 ref.null func i32.const 16 table.fill 0",
        &[Constant, Reference, Constant, Bulk],
        2,
        None,
    ),
    (
        "i32.const 0 i32.const 1 i32.const 16 table.copy",
        &[Constant, Constant, Constant, Bulk],
        2,
        None,
    ),
    // What traps is paid, and nothing behind it.
    (
        "i32.const -1 i32.load drop i32.const 1 drop",
        &[Constant, Load],
        0,
        Some(TrapCode::MemoryOutOfBounds),
    ),
    (
        "i32.const 1 i32.const 0 i32.div_s drop i32.const 1 drop",
        &[Constant, Constant, Division],
        0,
        Some(TrapCode::IntegerDivisionByZero),
    ),
    (
        "f32.const nan i32.trunc_f32_s drop",
        &[Constant, Conversion],
        0,
        Some(TrapCode::BadConversionToInteger),
    ),
    ("i32.const 1 drop unreachable", &[Constant], 0, Some(TrapCode::UnreachableCodeReached)),
];

/// Configurations that change the machine code most.
const CHANGES: [Change; 3] = [
    |_| {},
    |config| {
        config.cranelift_opt_level(OptLevel::None);
    },
    // Explicit bounds.
    |config| {
        config.static_memory_maximum_size(0).dynamic_memory_reserved_for_growth(0);
    },
];

fn tables() -> Vec<OperatorCosts> {
    let dear = OperatorCosts::uniform(u16::MAX);
    vec![distinct(), OperatorCosts::new(), OperatorCosts::uniform(0), dear]
}

fn bodies() -> String {
    let body = |(index, (body, ..)): (usize, &Case)| format!("(func (export \"{index}\") {body})");
    format!("(module {PRELUDE} {})", CASES.iter().enumerate().map(body).collect::<String>())
}

#[test]
fn each_operator_costs_what_its_class_does() {
    for (costs, change) in tables().iter().flat_map(|costs| CHANGES.map(|change| (costs, change))) {
        let engine = engine(|config| {
            change(config.consume_fuel(true).operator_cost(costs.clone()));
        });
        let module = Module::new(&engine, bodies()).unwrap();
        for (index, &(body, classes, by_size, code)) in CASES.iter().enumerate() {
            let mut store = Store::new(&engine, ());
            store.add_fuel(u64::MAX).unwrap();
            let instance = Instance::new(&mut store, &module, &[]).unwrap();
            let before = store.fuel_consumed().unwrap();
            let run = instance.get_func(&mut store, &index.to_string()).unwrap();
            let ended = run.call(&mut store, &[]).err().and_then(|error| trap(error).trap_code());
            let burned = store.fuel_consumed().unwrap() - before;
            let expected = sum(costs, &[FunctionEntry]) + sum(costs, classes) + by_size;
            assert_eq!((ended, burned), (code, expected), "{body} {costs:?}");
        }
    }
}

#[test]
fn slices_change_no_cost() {
    for costs in tables() {
        for slice in [17, 100_000] {
            let engine = async_with_costs(&costs);
            let module = Module::new(&engine, bodies()).unwrap();
            for (index, &(body, classes, by_size, _)) in CASES.iter().enumerate() {
                let mut store = Store::new(&engine, ());
                store.out_of_fuel_async_yield(u64::MAX, slice);
                let instance = block_on(Instance::new_async(&mut store, &module, &[])).unwrap();
                let before = store.fuel_consumed().unwrap();
                let run = instance.get_func(&mut store, &index.to_string()).unwrap();
                drop(block_on(run.call_async(&mut store, &[])));
                let burned = store.fuel_consumed().unwrap() - before;
                let expected = sum(&costs, &[FunctionEntry]) + sum(&costs, classes) + by_size;
                assert_eq!(burned, expected, "{body} {costs:?} {slice}");
            }
        }
    }
}

/// A random table. Locals always cost something, so that no run of free operators is long.
fn random_costs(rng: &mut Rng) -> OperatorCosts {
    let mut costs = OperatorCosts::new();
    for &class in OperatorClass::ALL {
        let units = if rng.one_in(6) { 0 } else { rng.below(12) as u16 };
        costs = costs.with(class, if class == Local { units.max(1) } else { units });
    }
    costs
}

#[test]
fn random_programs_cost_what_the_interpreter_says_under_random_tables() {
    let mut rng = Rng::new("random_programs_cost_what_the_interpreter_says_under_random_tables");
    let (mut done, mut dear, mut trapped) = (0, 0, 0);
    while done < rounds(120) {
        let (program, costs) = (Maker::program(&mut rng), random_costs(&mut rng));
        let args = (rng.next() as i32, rng.next() as i64);
        let interpret =
            |fuel| -> Seen { seen(Machine::new(&program, fuel).with_costs(&costs), args) };
        let expected = interpret(u64::MAX);
        if expected.exit == Err(Exit::TooLong) || expected.consumed < 20 {
            continue;
        }
        trapped += usize::from(expected.exit.is_err());
        let plain = seen(Machine::new(&program, u64::MAX), args);
        dear += usize::from(plain.consumed != expected.consumed);
        let change = CHANGES[done % CHANGES.len()];
        let engines = [false, true].map(|is_async| {
            engine(|config| {
                change(config.consume_fuel(true).operator_cost(costs.clone()));
                config.async_support(is_async);
            })
        });
        let fuel = rng.below(expected.consumed + 1);
        let cut = interpret(fuel);
        let mut runs = vec![
            (0, Mode::Fuel(u64::MAX), &expected),
            (1, Mode::Slices(1 + rng.below(200)), &expected),
        ];
        if cut.exit != Err(Exit::TooLong) {
            runs.push((0, Mode::Fuel(fuel), &cut));
        }
        for (index, mode, expected) in runs {
            let got = run_program(&engines[index], &program, args, mode);
            if let Some(difference) = first_difference(&got, expected) {
                panic!("{mode:?}, {args:?}, {costs:?}: {difference}\n{}", text(&program));
            }
        }
        done += 1;
    }
    println!("{done} programs, {dear} at another price, {trapped} of which trap");
    assert!(dear > done * 9 / 10 && trapped > done / 20, "{dear} dear, {trapped} trap");
}

fn run_program(engine: &Engine, program: &Program, args: (i32, i64), mode: Mode) -> Seen {
    execute(engine, &Module::new(engine, text(program)).unwrap(), args, mode)
}

#[test]
fn tables_are_values() {
    assert_eq!(OperatorCosts::default(), OperatorCosts::uniform(1));
    let costs = OperatorCosts::new().with(Division, 20).with(Call, 0);
    let units = |class| costs.cost(class);
    assert_eq!([units(Division), units(Call), units(Integer)], [20, 1, 1]);
    let least = |class: &&OperatorClass| OperatorCosts::uniform(0).cost(**class) == 1;
    let least: Vec<_> = OperatorClass::ALL.iter().filter(least).copied().collect();
    assert_eq!(
        least,
        [
            FunctionEntry,
            OperatorClass::Atomic,
            Branch,
            Call,
            CallIndirect,
            Throw,
            Allocation,
            Grow,
            Bulk
        ]
    );
}

#[test]
fn the_table_of_ones_is_the_default() {
    let guest = text(&Maker::program(&mut Rng::seeded(7)));
    let artifact = |engine: Engine| engine.precompile_module(guest.as_bytes()).unwrap();
    let default = metered();
    let ones = with_costs(&OperatorCosts::uniform(1));
    assert_eq!(artifact(default), artifact(ones));
    // Where nothing is counted the table is nothing.
    let free = engine(|config| {
        config.operator_cost(OperatorCosts::uniform(0));
    });
    assert_eq!(artifact(Engine::default()), artifact(free));
}

#[test]
fn costs_are_part_of_what_an_artifact_is_for() {
    let guest = "(module (func (export \"f\")))";
    for &class in OperatorClass::ALL {
        let maker = with_costs(&OperatorCosts::new().with(class, 30));
        let artifact = maker.precompile_module(guest.as_bytes()).unwrap();
        let deserialize = |user: &Engine| {
            // SAFETY: an artifact of ours.
            unsafe { Module::deserialize(user, &artifact) }.map(drop)
        };
        deserialize(&maker).unwrap();
        deserialize(&async_with_costs(&OperatorCosts::new().with(class, 30))).unwrap();
        let error = format!("{:#}", deserialize(&with_costs(&OperatorCosts::new())).unwrap_err());
        assert!(error.contains("`operator_cost ") && error.contains("was `30`"), "{error}");
        assert!(error.contains("is `1` for the engine"), "{error}");
    }
    // Costs that come to the same are the same.
    let (zero, one) = (OperatorCosts::new().with(Branch, 0), OperatorCosts::new());
    let artifact = with_costs(&zero).precompile_module(guest.as_bytes()).unwrap();
    // SAFETY: an artifact of ours.
    unsafe { Module::deserialize(&with_costs(&one), artifact) }.unwrap();
}
