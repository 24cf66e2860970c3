//! What the operators of vectors may choose: the bits of NaNs, and what relaxed ones answer.

use lampwick::{Config, Engine, Module, Val};

use crate::simd_operators::{Case, all};
use crate::simd_results::module;
use crate::support::{Change, engine, instantiate};

const CANONICAL_32: u32 = 0x7fc0_0000;
const CANONICAL_64: u64 = 0x7ff8_0000_0000_0000;

/// Whether each lane is no NaN or the canonical one.
fn is_canonical(value: u128, doubles: bool) -> bool {
    if doubles {
        let lanes = [value as u64, (value >> 64) as u64];
        lanes.iter().all(|&lane| !f64::from_bits(lane).is_nan() || lane == CANONICAL_64)
    } else {
        let mut lanes = (0..4).map(|lane| (value >> (32 * lane)) as u32);
        lanes.all(|lane| !f32::from_bits(lane).is_nan() || lane == CANONICAL_32)
    }
}

#[test]
fn nans_of_vectors_are_canonical_where_they_are_to_be() {
    let names = |names: &str, ty: &str| -> Vec<String> {
        names.split(' ').map(|name| format!("{ty}.{name}")).collect()
    };
    let of_each = "ceil floor trunc nearest sqrt add sub mul div min max relaxed_madd relaxed_nmadd
        relaxed_min relaxed_max";
    let of_each = of_each.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut wanted = names(&of_each, "f32x4");
    wanted.extend(names(&of_each, "f64x2"));
    wanted.push("f32x4.demote_f64x2_zero".into());
    wanted.push("f64x2.promote_low_f32x4".into());
    let cases: Vec<Case> =
        all(true).into_iter().filter(|case| wanted.contains(&case.operator)).collect();
    assert_eq!(cases.len(), 32);
    let nans = [0x7fc0_0001_u32, 0xffc0_0000, 0x7f80_0001, 0xffff_ffff, 0x7fc0_0000, 0x3f80_0000];
    let wide = [0x7ff8_0000_0000_0001_u64, u64::MAX, 0x7ff0_0000_0000_0001, 0x3ff0_0000_0000_0000];
    let vectors: Vec<u128> = nans
        .iter()
        .map(|&nan| (0..4).fold(0, |vector, lane| vector | u128::from(nan) << (32 * lane)))
        .chain(wide.iter().map(|&nan| u128::from(nan) << 64 | u128::from(nan)))
        .collect();
    let mut met_others = 0;
    for canonical in [true, false] {
        let engine = engine(|config| {
            config.cranelift_nan_canonicalization(canonical);
        });
        let (mut store, instance) = instantiate(&engine, &module(&cases));
        for (index, case) in cases.iter().enumerate() {
            let function = instance.get_func(&mut store, &index.to_string()).unwrap();
            for (&one, &other) in
                vectors.iter().flat_map(|one| vectors.iter().map(move |other| (one, other)))
            {
                let args = [one, other, one].map(Val::V128);
                let results = function.call(&mut store, &args[..case.params.len()]).unwrap();
                let value = results[0].unwrap_v128();
                let is_canonical = is_canonical(value, case.operator.starts_with("f64x2"));
                assert!(is_canonical || !canonical, "{case:?} {one:#x} {other:#x}: {value:#x}");
                met_others += usize::from(!is_canonical);
            }
        }
    }
    assert!(met_others > 100, "the operands make other NaNs where they may: {met_others}");
}

fn singles(lanes: [f32; 4]) -> u128 {
    lanes.iter().rev().fold(0, |vector, lane| vector << 32 | u128::from(lane.to_bits()))
}

fn doubles(lanes: [f64; 2]) -> u128 {
    u128::from(lanes[1].to_bits()) << 64 | u128::from(lanes[0].to_bits())
}

fn words(lanes: [i16; 8]) -> u128 {
    lanes.iter().rev().fold(0, |vector, lane| vector << 16 | u128::from(*lane as u16))
}

fn integers(lanes: [i32; 4]) -> u128 {
    lanes.iter().rev().fold(0, |vector, lane| vector << 32 | u128::from(*lane as u32))
}

/// Operators, operands of which the specification leaves the results open, and the result of the
/// deterministic profile.
fn open_questions() -> Vec<(&'static str, Vec<u128>, u128)> {
    let (tiny, big) = (f32::EPSILON, 1.0 + f32::EPSILON);
    let (f, d) = (f32::NAN, f64::NAN);
    // Rounded once there is something left, rounded twice there is not.
    let left = big.mul_add(big, -(1.0 + 2.0 * tiny));
    assert!(left != 0.0 && big * big == 1.0 + 2.0 * tiny);
    let wide = 1.0 + f64::EPSILON;
    let left_wide = wide.mul_add(wide, -(1.0 + 2.0 * f64::EPSILON));
    let (low, high) = (i32::MIN, i32::MAX);
    vec![
        (
            "i8x16.relaxed_swizzle",
            vec![u128::MAX, 0x10 | 0x7f << 8 | 0x0f << 16 | 0x80 << 24],
            !0xff00_ffff,
        ),
        (
            "i32x4.relaxed_trunc_f32x4_s",
            vec![singles([f, 3e9, -3e9, 1.9])],
            integers([0, high, low, 1]),
        ),
        (
            "i32x4.relaxed_trunc_f32x4_u",
            vec![singles([f, -1.0, 5e9, 3e9])],
            integers([0, 0, -1, 3_000_000_000_u32 as i32]),
        ),
        ("i32x4.relaxed_trunc_f64x2_s_zero", vec![doubles([d, 3e9])], integers([0, high, 0, 0])),
        ("i32x4.relaxed_trunc_f64x2_u_zero", vec![doubles([-1.0, 5e9])], integers([0, -1, 0, 0])),
        (
            "f32x4.relaxed_madd",
            vec![singles([big; 4]), singles([big; 4]), singles([-(1.0 + 2.0 * tiny); 4])],
            singles([left; 4]),
        ),
        (
            "f32x4.relaxed_nmadd",
            vec![singles([-big; 4]), singles([big; 4]), singles([-(1.0 + 2.0 * tiny); 4])],
            singles([left; 4]),
        ),
        (
            "f64x2.relaxed_madd",
            vec![doubles([wide; 2]), doubles([wide; 2]), doubles([-(1.0 + 2.0 * f64::EPSILON); 2])],
            doubles([left_wide; 2]),
        ),
        (
            "f64x2.relaxed_nmadd",
            vec![
                doubles([-wide; 2]),
                doubles([wide; 2]),
                doubles([-(1.0 + 2.0 * f64::EPSILON); 2]),
            ],
            doubles([left_wide; 2]),
        ),
        ("i8x16.relaxed_laneselect", vec![u128::MAX, 0, 0x80 | 0x0f << 8], 0x0f80),
        ("i16x8.relaxed_laneselect", vec![u128::MAX, 0, 0x8000 | 0x00ff << 16], 0x00ff_8000),
        ("i32x4.relaxed_laneselect", vec![u128::MAX, 0, 0x8000_0000], 0x8000_0000),
        ("i64x2.relaxed_laneselect", vec![u128::MAX, 0, 1 << 63], 1 << 63),
        ("f32x4.relaxed_min", vec![singles([0.0; 4]), singles([-0.0; 4])], singles([-0.0; 4])),
        ("f32x4.relaxed_max", vec![singles([-0.0; 4]), singles([0.0; 4])], singles([0.0; 4])),
        ("f64x2.relaxed_min", vec![doubles([0.0; 2]), doubles([-0.0; 2])], doubles([-0.0; 2])),
        ("f64x2.relaxed_max", vec![doubles([-0.0; 2]), doubles([0.0; 2])], doubles([0.0; 2])),
        (
            "i16x8.relaxed_q15mulr_s",
            vec![words([i16::MIN; 8]), words([i16::MIN; 8])],
            words([i16::MAX; 8]),
        ),
        // The second operand's lanes have eight bits, and are signed.
        (
            "i16x8.relaxed_dot_i8x16_i7x16_s",
            vec![u128::from_le_bytes([2; 16]), u128::from_le_bytes([0xff; 16])],
            words([-4; 8]),
        ),
        (
            "i32x4.relaxed_dot_i8x16_i7x16_add_s",
            vec![u128::from_le_bytes([2; 16]), u128::from_le_bytes([0xff; 16]), integers([100; 4])],
            integers([92; 4]),
        ),
    ]
}

/// The answer to each open question.
fn answers(engine: &Engine) -> Vec<u128> {
    let questions = open_questions();
    let cases: Vec<Case> = questions
        .iter()
        .map(|(name, ..)| all(true).into_iter().find(|case| case.operator == *name).unwrap())
        .collect();
    let (mut store, instance) = instantiate(engine, &module(&cases));
    let mut answers = Vec::new();
    for (index, (_, operands, _)) in questions.iter().enumerate() {
        let function = instance.get_func(&mut store, &index.to_string()).unwrap();
        let args: Vec<Val> = operands.iter().copied().map(Val::V128).collect();
        answers.push(function.call(&mut store, &args).unwrap()[0].unwrap_v128());
    }
    answers
}

fn deterministic() -> Engine {
    engine(|config| {
        config.relaxed_simd_deterministic(true);
    })
}

#[test]
fn deterministic_relaxed_operators_answer_as_the_specification_says() {
    let questions = open_questions();
    assert_eq!(questions.len(), 20, "one for each relaxed operator");
    for (answer, (name, operands, expected)) in answers(&deterministic()).iter().zip(&questions) {
        assert_eq!(answer, expected, "{name} {operands:x?}: {answer:#x}, not {expected:#x}");
    }
    let unoptimized = engine(|config| {
        config.relaxed_simd_deterministic(true).cranelift_opt_level(lampwick::OptLevel::None);
    });
    assert_eq!(answers(&unoptimized), answers(&deterministic()));
}

#[test]
fn relaxed_operators_answer_what_the_machine_does() {
    let (relaxed, fixed) = (answers(&Engine::default()), answers(&deterministic()));
    let questions = open_questions();
    let differ = |name: &str| {
        let index = questions.iter().position(|(other, ..)| *other == name).unwrap();
        relaxed[index] != fixed[index]
    };
    for name in [
        "i32x4.relaxed_trunc_f32x4_s",
        "i32x4.relaxed_trunc_f64x2_s_zero",
        "i16x8.relaxed_q15mulr_s",
        "i8x16.relaxed_swizzle",
        "i8x16.relaxed_laneselect",
        "i64x2.relaxed_laneselect",
        "f32x4.relaxed_min",
        "i16x8.relaxed_dot_i8x16_i7x16_s",
    ] {
        assert!(differ(name), "{name} does not use what the machine has");
    }
}

#[test]
fn products_with_sums_are_rounded_twice_only_where_they_must() {
    let without_fma: Change = |config| {
        // SAFETY: a machine can always do without.
        unsafe { config.cranelift_flag_set("has_fma", "false") }.unwrap();
    };
    let index =
        open_questions().iter().position(|(name, ..)| *name == "f32x4.relaxed_madd").unwrap();
    assert_eq!(answers(&engine(without_fma))[index], 0);
    let mut config = Config::new();
    without_fma(config.relaxed_simd_deterministic(true));
    let error = Engine::new(&config).unwrap_err().to_string();
    assert!(error.contains("lacks FMA"), "{error}");
    Engine::new(config.wasm_relaxed_simd(false)).unwrap();
    // Canonical NaNs need no such instruction.
    let canonical = engine(|config| {
        without_fma(config.cranelift_nan_canonicalization(true));
    });
    let min = open_questions().iter().position(|(name, ..)| *name == "f32x4.relaxed_min").unwrap();
    assert_eq!(answers(&canonical)[min], open_questions()[min].2);
}

#[test]
fn deterministic_artifacts_are_not_for_others() {
    let artifact = deterministic().precompile_module(b"(module)").unwrap();
    // SAFETY: an artifact of ours.
    let error = unsafe { Module::deserialize(&Engine::default(), &artifact) }.unwrap_err();
    let text = format!("{error:#}");
    assert!(text.contains("`relaxed_simd_deterministic` was `true`"), "{text}");
}
