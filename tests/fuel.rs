//! The exact costs of small modules, by the rules of `Store::add_fuel`.

use lampwick::{Engine, Func, Module, ModuleLimits, OptLevel, Store, TrapCode};

use crate::pooling::pooling;
use crate::support::{Change, block_on, count_pending, engine, metered, trap};

/// How a case ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Returns,
    Traps(TrapCode),
    HostFails,
}
use End::{HostFails, Returns, Traps};

/// What stands around the body of each case.
const PRELUDE: &str = r#"
    (type $nothing (func)) (type $other (func (param i64)))
    (import "" "fail" (func $fail))
    (memory 1 4) (data $data "0123456789")
    (table $table 20 40 funcref) (elem (i32.const 1) $empty) (elem $elem func $empty $empty)
    (global $global (mut i32) (i32.const 0))
    (func $empty) (func $three (result i32) i32.const 1 i32.const 2 i32.add)
    (func $recurse
        global.get $global i32.const 1 i32.add global.set $global call $recurse)
    (export "global" (global $global))
"#;

/// Bodies of functions, and what a call of each costs, 1 for the entry included.
const CASES: &[(&str, u64, End)] = &[
    ("", 1, Returns),
    // What is free.
    ("nop", 1, Returns),
    ("block end loop end block loop nop end end", 1, Returns),
    ("return", 1, Returns),
    ("unreachable", 1, Traps(TrapCode::UnreachableCodeReached)),
    ("i32.const 1 drop", 2, Returns),
    ("i32.const 1 drop unreachable", 2, Traps(TrapCode::UnreachableCodeReached)),
    // Unreachable code.
    ("return i32.const 1 drop", 1, Returns),
    ("block br 0 i32.const 1 drop end", 2, Returns),
    ("unreachable i32.const 1 drop", 1, Traps(TrapCode::UnreachableCodeReached)),
    ("block br 0 loop i32.const 1 if nop else br 1 end end end i32.const 1 drop", 3, Returns),
    // Branches.
    ("i32.const 1 if i32.const 5 drop else nop end", 4, Returns),
    ("i32.const 0 if i32.const 5 drop end", 3, Returns),
    ("i32.const 0 if nop else i32.const 5 drop i32.const 5 drop end", 5, Returns),
    ("block i32.const 1 br_if 0 i32.const 2 drop end", 3, Returns),
    ("block i32.const 0 br_if 0 i32.const 2 drop end", 4, Returns),
    ("block block i32.const 0 br_table 0 1 end i32.const 7 drop end", 4, Returns),
    ("block block i32.const 1 br_table 0 1 end i32.const 7 drop end", 3, Returns),
    ("block block i32.const 99 br_table 0 0 1 end i32.const 7 drop end", 3, Returns),
    ("i32.const 1 if return end i32.const 1 drop", 3, Returns),
    ("i32.const 1 br_if 0 i32.const 2 drop", 3, Returns),
    // Loops: 2 to begin with, then 5 for each round.
    (
        "(local i32) i32.const 10 local.set 0
         loop local.get 0 i32.const 1 i32.sub local.tee 0 br_if 0 end",
        53,
        Returns,
    ),
    // 7 for each of 16 rounds, then a load outside of the page.
    (
        "(local i32) loop
            local.get 0 i32.load drop local.get 0 i32.const 4096 i32.add local.set 0 br 0 end",
        115,
        Traps(TrapCode::MemoryOutOfBounds),
    ),
    // The same with a store, at an address that is only partly outside.
    (
        "(local i32) i32.const 4089 local.set 0 loop
            local.get 0 i64.const 1 i64.store offset=1 local.get 0 i32.const 4096 i32.add local.set 0
            br 0 end",
        1 + 2 + 15 * 8 + 3,
        Traps(TrapCode::MemoryOutOfBounds),
    ),
    // Variables, constants, parametric operators.
    ("(local i32 i64) local.get 0 local.tee 0 local.set 0 local.get 1 drop", 5, Returns),
    ("global.get $global global.set $global", 3, Returns),
    ("i32.const 1 i32.const 2 i32.const 0 select drop", 5, Returns),
    ("f32.const 1 f64.const 2 i64.const 3 drop drop drop", 4, Returns),
    ("ref.null extern ref.is_null drop ref.func $empty drop", 4, Returns),
    // Traps: the operator that traps is paid.
    ("i32.const 1 i32.const 0 i32.div_s drop", 4, Traps(TrapCode::IntegerDivisionByZero)),
    ("i64.const 1 i64.const 0 i64.rem_u drop", 4, Traps(TrapCode::IntegerDivisionByZero)),
    ("i32.const 0x80000000 i32.const -1 i32.div_s drop", 4, Traps(TrapCode::IntegerOverflow)),
    ("f32.const nan i32.trunc_f32_s drop", 3, Traps(TrapCode::BadConversionToInteger)),
    ("f64.const 1e30 i64.trunc_f64_u drop", 3, Traps(TrapCode::IntegerOverflow)),
    ("i32.const -1 i32.load drop", 3, Traps(TrapCode::MemoryOutOfBounds)),
    ("i32.const 20 table.get 0 drop", 3, Traps(TrapCode::TableOutOfBounds)),
    ("i32.const 20 ref.null func table.set 0", 4, Traps(TrapCode::TableOutOfBounds)),
    ("i32.const 0 call_indirect (type $nothing)", 3, Traps(TrapCode::IndirectCallToNull)),
    ("i32.const 20 call_indirect (type $nothing)", 3, Traps(TrapCode::TableOutOfBounds)),
    ("i64.const 0 i32.const 1 call_indirect (type $other)", 4, Traps(TrapCode::BadSignature)),
    // Calls.
    ("call $empty", 3, Returns),
    ("call $three drop call $three drop", 11, Returns),
    ("i32.const 1 call_indirect (type $nothing)", 4, Returns),
    ("i32.const 5 drop call $fail i32.const 1 drop", 3, HostFails),
    // Work that the guest sizes.
    ("memory.size drop table.size 0 drop data.drop $data elem.drop $elem", 5, Returns),
    ("i32.const 3 memory.grow drop", 6, Returns),
    ("i32.const 0 memory.grow drop", 3, Returns),
    ("i32.const 70000 memory.grow drop", 70_003, Returns),
    ("i32.const -1 memory.grow drop", 3 + 0xffff_ffff, Returns),
    ("i32.const 0 i32.const 1 i32.const 63 memory.fill", 5, Returns),
    ("i32.const 0 i32.const 1 i32.const 64 memory.fill", 6, Returns),
    ("i32.const 0 i32.const 1 i32.const 65536 memory.fill", 5 + 1024, Returns),
    ("i32.const 1 i32.const 1 i32.const 65536 memory.fill", 5 + 1024, Traps(TrapCode::MemoryOutOfBounds)),
    ("i32.const 0 i32.const 1 i32.const -1 memory.fill", 5 + 0x3ff_ffff, Traps(TrapCode::MemoryOutOfBounds)),
    ("i32.const 9 i32.const 0 i32.const 200 memory.copy", 8, Returns),
    ("i32.const 9 i32.const 0 i32.const 128 memory.copy", 7, Returns),
    (
        "i32.const 0 i32.const 65500 i32.const 100 memory.copy i32.const 0 drop",
        6,
        Traps(TrapCode::MemoryOutOfBounds),
    ),
    (
        "i32.const 65500 i32.const 0 i32.const 128 memory.fill i32.const 0 drop",
        7,
        Traps(TrapCode::MemoryOutOfBounds),
    ),
    ("i32.const 9 i32.const 0 i32.const 65528 memory.copy", 5 + 1023, Traps(TrapCode::MemoryOutOfBounds)),
    ("i32.const 0 i32.const 0 i32.const 10 memory.init $data", 5, Returns),
    ("i32.const 0 i32.const 0 i32.const 640 memory.init $data", 15, Traps(TrapCode::MemoryOutOfBounds)),
    ("i32.const 4 ref.null func i32.const 15 table.fill 0", 6, Returns),
    ("i32.const 4 ref.null func i32.const 17 table.fill 0", 7, Traps(TrapCode::TableOutOfBounds)),
    ("i32.const 0 i32.const 1 i32.const 16 table.copy", 7, Returns),
    ("i32.const 0 i32.const 1 i32.const 80 table.copy", 15, Traps(TrapCode::TableOutOfBounds)),
    ("i32.const 0 i32.const 0 i32.const 2 table.init $elem", 5, Returns),
    ("i32.const 0 i32.const 0 i32.const 8 table.init $elem", 6, Traps(TrapCode::TableOutOfBounds)),
    ("ref.null func i32.const 9 table.grow 0 drop", 5, Returns),
    ("ref.null func i32.const 800 table.grow 0 drop", 104, Returns),
];

/// All cases as one module, and each as a function of its own.
fn module(engine: &Engine) -> Module {
    let bodies: Vec<_> = CASES
        .iter()
        .enumerate()
        .map(|(index, (body, ..))| format!("(func (export \"{index}\") {body})"))
        .collect();
    Module::new(engine, format!("(module {PRELUDE} {})", bodies.concat())).unwrap()
}

fn check(
    label: &str,
    index: usize,
    result: anyhow::Result<Box<[lampwick::Val]>>,
    store: &Store<()>,
) {
    let (body, cost, end) = CASES[index];
    let ended = match result {
        Ok(_) => Returns,
        Err(error) => trap(error).trap_code().map_or(HostFails, Traps),
    };
    assert_eq!(ended, end, "{label}: {body}");
    assert_eq!(store.fuel_consumed(), Some(cost), "{label}: {body}");
}

fn fail(store: &mut Store<()>) -> Func {
    Func::wrap(store, || -> Result<(), lampwick::Trap> { Err(lampwick::Trap::new("no")) })
}

/// Configurations under which costs must be the same: those that change the machine code most.
fn configurations() -> Vec<(&'static str, Change)> {
    vec![
        ("default", |_| {}),
        ("without optimization", |config| {
            config.cranelift_opt_level(OptLevel::None);
        }),
        ("dynamic memories", |config| {
            config.static_memory_maximum_size(0).dynamic_memory_reserved_for_growth(0);
        }),
        ("pooling", |config| {
            config.allocation_strategy(pooling(2, ModuleLimits::default()));
        }),
        // Every operator has a source location then.
        ("debugger", |config| {
            config.debug_info(true);
        }),
    ]
}

#[test]
fn every_case_costs_what_the_rules_say() {
    for (label, change) in configurations() {
        let engine = engine(|config| {
            change(config.consume_fuel(true));
        });
        let module = module(&engine);
        for index in 0..CASES.len() {
            let mut store = Store::new(&engine, ());
            let fail = fail(&mut store);
            let instance = lampwick::Instance::new(&mut store, &module, &[fail.into()]).unwrap();
            store.add_fuel(u64::MAX).unwrap();
            let run = instance.get_func(&mut store, &index.to_string()).unwrap();
            let result = run.call(&mut store, &[]);
            check(label, index, result, &store);
        }
    }
}

#[test]
fn slices_change_no_cost() {
    for (label, change) in configurations() {
        let engine = engine(|config| {
            change(config.consume_fuel(true).async_support(true));
        });
        let module = module(&engine);
        for (index, &(_, cost, end)) in CASES.iter().enumerate() {
            // Slices of 1 where that is not millions of them.
            let slice = if cost < 10_000 { 1 } else { cost / 10 };
            let mut store = Store::new(&engine, ());
            let fail = fail(&mut store);
            let imports = [fail.into()];
            let instance = lampwick::Instance::new_async(&mut store, &module, &imports);
            let instance = block_on(instance).unwrap();
            store.out_of_fuel_async_yield(u64::MAX, slice);
            let run = instance.get_func(&mut store, &index.to_string()).unwrap();
            let (pending, result) = count_pending(run.call_async(&mut store, &[]));
            // What takes long by the clock may yield beside.
            let looks = cost / 512;
            assert!(
                pending > 0 && pending <= cost.div_ceil(slice) + looks,
                "{label} {index}: {pending} {end:?}"
            );
            check(label, index, result, &store);
        }
    }
}

/// Operators that take these constants and give one value.
pub(crate) const OPERATORS: &[(&str, &str)] = &[
    (
        "i32.const 7 i32.const 3",
        "i32.add i32.sub i32.mul i32.div_s i32.div_u i32.rem_s i32.rem_u i32.and i32.or i32.xor i32.shl
         i32.shr_s i32.shr_u i32.rotl i32.rotr i32.eq i32.ne i32.lt_s i32.lt_u i32.gt_s i32.gt_u i32.le_s
         i32.le_u i32.ge_s i32.ge_u",
    ),
    (
        "i64.const 7 i64.const 3",
        "i64.add i64.sub i64.mul i64.div_s i64.div_u i64.rem_s i64.rem_u i64.and i64.or i64.xor i64.shl
         i64.shr_s i64.shr_u i64.rotl i64.rotr i64.eq i64.ne i64.lt_s i64.lt_u i64.gt_s i64.gt_u i64.le_s
         i64.le_u i64.ge_s i64.ge_u",
    ),
    (
        "f32.const 7 f32.const 3",
        "f32.add f32.sub f32.mul f32.div f32.min f32.max f32.copysign f32.eq f32.ne f32.lt f32.gt f32.le
         f32.ge",
    ),
    (
        "f64.const 7 f64.const 3",
        "f64.add f64.sub f64.mul f64.div f64.min f64.max f64.copysign f64.eq f64.ne f64.lt f64.gt f64.le
         f64.ge",
    ),
    (
        "i32.const 7",
        "i32.eqz i32.clz i32.ctz i32.popcnt i32.extend8_s i32.extend16_s i64.extend_i32_s
         i64.extend_i32_u f32.convert_i32_s f32.convert_i32_u f64.convert_i32_s f64.convert_i32_u
         f32.reinterpret_i32 i32.load i32.load8_s i32.load8_u i32.load16_s i32.load16_u i64.load
         i64.load8_s i64.load8_u i64.load16_s i64.load16_u i64.load32_s i64.load32_u f32.load f64.load",
    ),
    (
        "i64.const 7",
        "i64.eqz i64.clz i64.ctz i64.popcnt i64.extend8_s i64.extend16_s i64.extend32_s i32.wrap_i64
         f32.convert_i64_s f32.convert_i64_u f64.convert_i64_s f64.convert_i64_u f64.reinterpret_i64",
    ),
    (
        "f32.const 7",
        "f32.abs f32.neg f32.ceil f32.floor f32.trunc f32.nearest f32.sqrt i32.trunc_f32_s i32.trunc_f32_u
         i64.trunc_f32_s i64.trunc_f32_u i32.trunc_sat_f32_s i32.trunc_sat_f32_u i64.trunc_sat_f32_s
         i64.trunc_sat_f32_u f64.promote_f32 i32.reinterpret_f32",
    ),
    (
        "f64.const 7",
        "f64.abs f64.neg f64.ceil f64.floor f64.trunc f64.nearest f64.sqrt i32.trunc_f64_s i32.trunc_f64_u
         i64.trunc_f64_s i64.trunc_f64_u i32.trunc_sat_f64_s i32.trunc_sat_f64_u i64.trunc_sat_f64_s
         i64.trunc_sat_f64_u f32.demote_f64 i64.reinterpret_f64",
    ),
];

pub(crate) const STORES: &[(&str, &str)] = &[
    ("i32", "i32.store i32.store8 i32.store16"),
    ("i64", "i64.store i64.store8 i64.store16 i64.store32"),
    ("f32", "f32.store"),
    ("f64", "f64.store"),
];

#[test]
fn every_numeric_operator_and_access_costs_one() {
    let engine = metered();
    let mut functions = Vec::new();
    for (operands, operators) in OPERATORS {
        let cost = 2 + operands.matches("const").count() as u64;
        for operator in operators.split_whitespace() {
            functions.push((cost, format!("{operands} {operator} drop")));
        }
    }
    for (ty, operators) in STORES {
        for operator in operators.split_whitespace() {
            functions.push((4, format!("i32.const 0 {ty}.const 1 {operator}")));
        }
    }
    assert_eq!(functions.len(), 159, "operators of WebAssembly 2.0 beside constants and SIMD");
    let bodies: String = functions
        .iter()
        .enumerate()
        .map(|(index, (_, body))| format!("(func (export \"{index}\") {body})\n"))
        .collect();
    let module = Module::new(&engine, format!("(module (memory 1) {bodies})")).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = lampwick::Instance::new(&mut store, &module, &[]).unwrap();
    store.add_fuel(10_000).unwrap();
    for (index, (cost, body)) in functions.iter().enumerate() {
        let before = store.fuel_consumed().unwrap();
        instance.get_func(&mut store, &index.to_string()).unwrap().call(&mut store, &[]).unwrap();
        assert_eq!(store.fuel_consumed().unwrap() - before, *cost, "{body}");
    }
}

#[test]
fn stack_overflow_costs_the_functions_that_were_entered() {
    let engine = metered();
    let module =
        Module::new(&engine, format!("(module {PRELUDE} (export \"run\" (func $recurse)))"));
    let mut store = Store::new(&engine, ());
    let fail = fail(&mut store);
    let instance = lampwick::Instance::new(&mut store, &module.unwrap(), &[fail.into()]).unwrap();
    store.add_fuel(u64::MAX).unwrap();
    let run = instance.get_func(&mut store, "run").unwrap();
    let trap = trap(run.call(&mut store, &[]).unwrap_err());
    assert_eq!(trap.trap_code(), Some(TrapCode::StackOverflow));
    let global = instance.get_global(&mut store, "global").unwrap();
    let entered = global.get(&mut store).unwrap_i32() as u64;
    assert!(entered > 1000, "{entered}");
    assert_eq!(store.fuel_consumed(), Some(6 * entered));
}
