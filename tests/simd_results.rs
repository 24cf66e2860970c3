//! The operators of vectors answer the same on every machine, however they are compiled.

use std::collections::BTreeSet;

use lampwick::{Config, Engine, Instance, Store, Val};

use crate::simd_operators::{Case, all};
use crate::support::{Change, Rng, engine, instantiate, rounds};

/// A module with a function for each case, by its number.
pub(crate) fn module(cases: &[Case]) -> String {
    let functions: String =
        cases.iter().enumerate().map(|(index, case)| case.function(&index.to_string())).collect();
    format!("(module (memory (export \"m\") 1) {functions})")
}

/// An engine whose code uses less of the processor.
fn without(features: &[&str]) -> Engine {
    engine(|config: &mut Config| {
        for feature in features {
            // SAFETY: a machine can always do without.
            unsafe { config.cranelift_flag_set(feature, "false") }.unwrap();
        }
    })
}

/// Bits that matter to some operator: edges of integers, infinities, NaNs, zeros, all the same.
fn lane(rng: &mut Rng) -> u64 {
    match rng.below(6) {
        0 => rng.next(),
        1 => [0, u64::MAX, 1 << 63, 0x7fff_ffff_ffff_ffff, 0x8000_0000_8000_0000]
            [rng.below(5) as usize],
        2 => (rng.below(1000) as f64 - 500.0).to_bits(),
        3 => [f64::NAN, f64::INFINITY, -0.0, f64::MIN_POSITIVE, 4e9, -3e9][rng.below(6) as usize]
            .to_bits(),
        4 => {
            let single = [f32::NAN, f32::NEG_INFINITY, -0.0, 1.5, 3e9, -2.5][rng.below(6) as usize];
            u64::from(single.to_bits()) << 32 | u64::from((rng.below(100) as f32).to_bits())
        }
        _ => rng.next() & 0x8080_7f7f_0101_ffff,
    }
}

fn operand(rng: &mut Rng, ty: &str) -> Val {
    match ty {
        "v128" => Val::V128(u128::from(lane(rng)) << 64 | u128::from(lane(rng))),
        "i32" => Val::I32(lane(rng) as i32),
        "i64" => Val::I64(lane(rng) as i64),
        "f32" => Val::F32(lane(rng) as u32),
        "f64" => Val::F64(lane(rng)),
        other => panic!("{other}"),
    }
}

/// What a call of a case answers, and the first bytes of the memory then.
fn answer(store: &mut Store<()>, instance: Instance, index: usize, args: &[Val]) -> String {
    let function = instance.get_func(&mut *store, &index.to_string()).unwrap();
    let results = function.call(&mut *store, args).unwrap();
    let memory = instance.get_memory(&mut *store, "m").unwrap();
    format!("{results:?} {:?}", &memory.data(&*store)[..64])
}

#[test]
fn the_list_of_operators_is_complete() {
    let names = |relaxed| -> BTreeSet<String> {
        let name = |case: Case| case.operator.split(' ').next().unwrap().to_owned();
        all(relaxed).into_iter().map(name).collect()
    };
    // The one that is missing is `v128.const`.
    assert_eq!((names(false).len(), names(true).len()), (235, 255));
}

#[test]
fn results_do_not_depend_on_the_machine_or_the_compiler() {
    let mut rng = Rng::new("results_do_not_depend_on_the_machine_or_the_compiler");
    let avx512 =
        ["has_avx512vl", "has_avx512dq", "has_avx512f", "has_avx512bitalg", "has_avx512vbmi"];
    let avx = ["has_avx2", "has_fma", "has_avx"];
    let sse42 = ["has_sse42", "has_popcnt", "has_lzcnt", "has_bmi1", "has_bmi2"];
    let engines = [
        Engine::default(),
        without(&avx512),
        without(&[&avx512[..], &avx].concat()),
        without(&[&avx512[..], &avx, &sse42].concat()),
        engine(|config| {
            config.cranelift_opt_level(lampwick::OptLevel::None).consume_fuel(true);
        }),
        engine(|config| {
            config.static_memory_maximum_size(0);
        }),
    ];
    let cases = all(false);
    let mut guests = engines.map(|engine| {
        let (mut store, instance) = instantiate(&engine, &module(&cases));
        let _ = store.add_fuel(u64::MAX);
        (store, instance)
    });
    for _ in 0..rounds(20) {
        for (index, case) in cases.iter().enumerate() {
            let args: Vec<Val> = case
                .params
                .iter()
                .enumerate()
                .map(|(place, ty)| match operand(&mut rng, ty) {
                    // Addresses, which lie in the part of the memory that is looked at.
                    Val::I32(value)
                        if place == 0 && !case.operator.contains("splat")
                            || case.operator.contains("load") =>
                    {
                        Val::I32(value & 31)
                    }
                    value => value,
                })
                .collect();
            let mut answers =
                guests.iter_mut().map(|(store, instance)| answer(store, *instance, index, &args));
            let expected = answers.next().unwrap();
            for (engine, answer) in answers.enumerate() {
                // The bits of NaNs are the machine's choice.
                assert_eq!(answer, expected, "{case:?} {args:x?}, engine {}", engine + 1);
            }
        }
    }
}

/// A function of three vectors that computes with them on and on, through memory and locals, and
/// around a loop; floats are left out, whose NaNs are the machine's choice.
fn chain(rng: &mut Rng) -> String {
    let is_exact = |case: &&Case| {
        let vectors = case.params.iter().all(|ty| *ty == "v128") && case.result == Some("v128");
        let floats = ["f32x4.", "f64x2."];
        vectors && !floats.iter().any(|ty| case.operator.starts_with(ty))
    };
    let cases = all(false);
    let exact: Vec<&Case> = cases.iter().filter(is_exact).collect();
    let mut body = String::new();
    for step in 0..10 + rng.below(60) {
        match rng.below(12) {
            0 => {
                body += &format!(
                    "i32.const {} local.get {} v128.store ",
                    rng.below(65_000),
                    rng.below(3)
                )
            }
            1 => {
                body += &format!(
                    "i32.const {} v128.load local.set {} ",
                    rng.below(65_000),
                    rng.below(3)
                )
            }
            2 => {
                let (from, to) = (rng.below(3), rng.below(3));
                body += &format!("local.get {from} local.get 3 i16x8.shr_s local.set {to} ");
            }
            3 => {
                let (vector, lane) = (rng.below(3), rng.below(4));
                body += &format!(
                    "local.get {vector} local.get {} i32x4.extract_lane {lane} i32x4.replace_lane {} local.set {vector} ",
                    rng.below(3),
                    rng.below(4)
                );
            }
            4 => {
                let vector = rng.below(3);
                body += &format!(
                    "local.get {} i8x16.bitmask i32.const {step} i32.gt_u if (result v128) local.get {} else local.get {vector} i8x16.popcnt end local.set {vector} ",
                    rng.below(3),
                    rng.below(3)
                );
            }
            _ => {
                let case = exact[rng.below(exact.len() as u64) as usize];
                let gets: String =
                    case.params.iter().map(|_| format!("local.get {} ", rng.below(3))).collect();
                body += &format!("{gets} {} local.set {} ", case.operator, rng.below(3));
            }
        }
    }
    format!(
        r#"(module (memory (export "m") 1) (func (export "run") (param v128 v128 v128) (result v128 v128 v128)
            (local i32) loop {body}
            local.get 3 i32.const 1 i32.add local.tee 3 i32.const 20 i32.lt_u br_if 0 end
            local.get 0 local.get 1 local.get 2))"#
    )
}

#[test]
fn random_chains_compute_the_same_on_each_machine_for_the_same_fuel() {
    let mut rng = Rng::new("random_chains_compute_the_same_on_each_machine_for_the_same_fuel");
    let avx = [
        "has_avx2",
        "has_fma",
        "has_avx",
        "has_avx512vl",
        "has_avx512dq",
        "has_avx512f",
        "has_avx512bitalg",
        "has_avx512vbmi",
    ];
    let changes: [Change; 3] = [
        |_| {},
        |config| {
            config.cranelift_opt_level(lampwick::OptLevel::None);
        },
        |config| {
            config.static_memory_maximum_size(0);
        },
    ];
    let metered = |without: &[&str], change: Change| {
        engine(|config| {
            change(config.consume_fuel(true));
            for feature in without {
                // SAFETY: a machine can always do without.
                unsafe { config.cranelift_flag_set(feature, "false") }.unwrap();
            }
        })
    };
    let mut engines: Vec<Engine> = changes.iter().map(|&change| metered(&[], change)).collect();
    engines.push(metered(&avx, changes[0]));
    for _ in 0..rounds(60) {
        let wat = chain(&mut rng);
        let args: Vec<Val> = (0..3).map(|_| operand(&mut rng, "v128")).collect();
        let run = |engine: &Engine| {
            let (mut store, instance) = instantiate(engine, &wat);
            store.add_fuel(1_000_000).unwrap();
            let run = instance.get_func(&mut store, "run").unwrap();
            let results = run.call(&mut store, &args).unwrap();
            let memory = instance.get_memory(&mut store, "m").unwrap();
            (format!("{results:x?}"), memory.data(&store).to_vec(), store.fuel_consumed())
        };
        let expected = run(&engines[0]);
        for (number, engine) in engines.iter().enumerate().skip(1) {
            assert!(run(engine) == expected, "engine {number}: {args:x?}\n{wat}");
        }
    }
}
