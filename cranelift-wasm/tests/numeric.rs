//! Computation: results at the edges of each operator's domain, and division checks.

mod common;

use common::native::Module;
use common::{Env, count, translate};

/// Evaluates an operator on constants in a parameter-taking function, so that nothing is folded.
fn eval(operator: &str, params: &str, result: &str, args: &[u64]) -> u64 {
    let gets: String = (0..args.len()).map(|i| format!("(local.get {i})")).collect();
    let mut module = Module::new(&format!(
        "(module (func (param {params}) (result {result}) ({operator} {gets})))"
    ));
    let word = module.call(0, args)[0];
    match result {
        "i32" | "f32" => word & 0xffff_ffff,
        _ => word,
    }
}

fn i32_1(operator: &str, x: i32) -> i32 {
    eval(operator, "i32", "i32", &[x as u32 as u64]) as i32
}

fn i32_2(operator: &str, x: i32, y: i32) -> i32 {
    eval(operator, "i32 i32", "i32", &[x as u32 as u64, y as u32 as u64]) as i32
}

fn i64_2(operator: &str, x: i64, y: i64) -> i64 {
    eval(operator, "i64 i64", "i64", &[x as u64, y as u64]) as i64
}

fn f64_1(operator: &str, x: f64) -> f64 {
    f64::from_bits(eval(operator, "f64", "f64", &[x.to_bits()]))
}

fn f64_2(operator: &str, x: f64, y: f64) -> f64 {
    let args = [x.to_bits(), y.to_bits()];
    f64::from_bits(eval(operator, "f64 f64", "f64", &args))
}

fn from_f64(operator: &str, result: &str, x: f64) -> u64 {
    eval(operator, "f64", result, &[x.to_bits()])
}

#[test]
fn integers() {
    assert_eq!(i32_2("i32.add", i32::MAX, 1), i32::MIN);
    assert_eq!(i32_2("i32.sub", i32::MIN, 1), i32::MAX);
    assert_eq!(i64_2("i64.mul", 1 << 40, 1 << 24), 0);
    assert_eq!(i32_2("i32.shl", 1, 33), 2);
    assert_eq!(i32_2("i32.shr_s", -8, 33), -4);
    assert_eq!(i32_2("i32.shr_u", -8, 33), 0x7fff_fffc);
    assert_eq!(i64_2("i64.shl", 1, 65), 2);
    assert_eq!(i32_2("i32.rotl", 0x4000_0001, 34), 5);
    assert_eq!(i32_2("i32.rotr", 1, 33), i32::MIN);
    assert_eq!(i32_1("i32.clz", 0), 32);
    assert_eq!(i32_1("i32.ctz", 0), 32);
    assert_eq!(i32_1("i32.popcnt", -1), 32);
    assert_eq!(i32_1("i32.eqz", 0), 1);
    assert_eq!(i32_1("i32.eqz", 7), 0);
    assert_eq!(i32_1("i32.extend8_s", 0x1ff), -1);
    assert_eq!(i32_1("i32.extend16_s", 0x17fff), 0x7fff);
    assert_eq!(eval("i64.extend32_s", "i64", "i64", &[0x1_8000_0000]), 0xffff_ffff_8000_0000);
    assert_eq!(eval("i64.extend_i32_s", "i32", "i64", &[0xffff_ffff]), u64::MAX);
    assert_eq!(eval("i64.extend_i32_u", "i32", "i64", &[0xffff_ffff]), 0xffff_ffff);
    assert_eq!(eval("i32.wrap_i64", "i64", "i32", &[0x1_0000_0002]), 2);
}

#[test]
fn divisions() {
    assert_eq!(i32_2("i32.div_s", -7, 2), -3);
    assert_eq!(i32_2("i32.rem_s", -7, 2), -1);
    assert_eq!(i32_2("i32.rem_s", i32::MIN, -1), 0);
    assert_eq!(i64_2("i64.rem_s", i64::MIN, -1), 0);
    assert_eq!(i32_2("i32.div_u", -1, 2), i32::MAX);
    assert_eq!(i32_2("i32.rem_u", -1, 2), 1);
}

#[test]
fn comparisons() {
    assert_eq!(i32_2("i32.lt_s", -1, 0), 1);
    assert_eq!(i32_2("i32.lt_u", -1, 0), 0);
    assert_eq!(i32_2("i32.ge_u", -1, 0), 1);
    let less = |x: f64, y: f64| {
        let args = [x.to_bits(), y.to_bits()];
        eval("f64.lt", "f64 f64", "i32", &args)
    };
    assert_eq!(less(1.0, 2.0), 1);
    assert_eq!(less(2.0, 1.0), 0);
    assert_eq!(less(f64::NAN, 1.0), 0);
}

/// The opposite of a comparison with NaN is true, whether it is branched on, selected by or used.
#[test]
fn negated_comparisons_of_nan() {
    let mut module = Module::new(
        "(module
            (func (param f64 f64) (result i32) (i32.eqz (f64.lt (local.get 0) (local.get 1))))
            (func (param f64 f64) (result i32)
                (if (result i32) (i32.eqz (f64.ge (local.get 0) (local.get 1)))
                    (then (i32.const 1)) (else (i32.const 0))))
            (func (param f64 f64) (result i32)
                (select (i32.const 1) (i32.const 0)
                    (i32.eqz (i32.eqz (i32.eqz (f64.ne (local.get 0) (local.get 1))))))))",
    );
    let nan = f64::NAN.to_bits();
    let one = 1f64.to_bits();
    let two = 2f64.to_bits();
    let mut all = |x, y| {
        let mut call = |function| module.call(function, &[x, y])[0] as i32;
        [call(0), call(1), call(2)]
    };
    assert_eq!(all(nan, one), [1, 1, 0]);
    assert_eq!(all(one, nan), [1, 1, 0]);
    assert_eq!(all(one, two), [0, 1, 0]);
    assert_eq!(all(two, one), [1, 0, 0]);
    assert_eq!(all(one, one), [1, 0, 1]);
}

#[test]
fn floats() {
    assert_eq!(f64_1("f64.nearest", 2.5), 2.0);
    assert_eq!(f64_1("f64.nearest", -0.5).to_bits(), (-0.0f64).to_bits());
    assert_eq!(f64_1("f64.trunc", -1.9), -1.0);
    assert_eq!(f64_1("f64.ceil", -0.1).to_bits(), (-0.0f64).to_bits());
    assert_eq!(f64_1("f64.floor", -0.1), -1.0);
    assert_eq!(f64_1("f64.neg", 0.0).to_bits(), (-0.0f64).to_bits());
    assert_eq!(f64_2("f64.min", -0.0, 0.0).to_bits(), (-0.0f64).to_bits());
    assert_eq!(f64_2("f64.max", -0.0, 0.0).to_bits(), 0.0f64.to_bits());
    assert!(f64_2("f64.min", f64::NAN, 1.0).is_nan());
    assert!(f64_2("f64.max", 1.0, f64::NAN).is_nan());
    assert_eq!(f64_2("f64.copysign", 3.0, -0.0), -3.0);
    assert!(f64_1("f64.sqrt", -1.0).is_nan());
}

#[test]
fn conversions() {
    assert_eq!(from_f64("i32.trunc_f64_s", "i32", -2_147_483_648.9), 0x8000_0000);
    assert_eq!(from_f64("i32.trunc_f64_u", "i32", 4_294_967_295.9), 0xffff_ffff);
    assert_eq!(from_f64("i32.trunc_f64_u", "i32", -0.9), 0);
    assert_eq!(from_f64("i64.trunc_f64_u", "i64", 1.5e19), 15_000_000_000_000_000_000);
    assert_eq!(from_f64("i32.trunc_sat_f64_s", "i32", 1e10), 0x7fff_ffff);
    assert_eq!(from_f64("i32.trunc_sat_f64_u", "i32", -1.0), 0);
    assert_eq!(from_f64("i64.trunc_sat_f64_s", "i64", f64::NAN), 0);
    assert_eq!(from_f64("i64.trunc_sat_f64_u", "i64", 1e30), u64::MAX);
    let words = [u64::MAX];
    let converted = |operator, params| f64::from_bits(eval(operator, params, "f64", &words));
    assert_eq!(converted("f64.convert_i64_u", "i64"), 18_446_744_073_709_551_616.0);
    assert_eq!(converted("f64.convert_i64_s", "i64"), -1.0);
    assert_eq!(converted("f64.convert_i32_u", "i32"), 4_294_967_295.0);
    let single = 1.1f32;
    let promoted = eval("f64.promote_f32", "f32", "f64", &[single.to_bits().into()]);
    assert_eq!(f64::from_bits(promoted), f64::from(single));
    let demoted = eval("f32.demote_f64", "f64", "f32", &[1e300f64.to_bits()]);
    assert_eq!(f32::from_bits(demoted as u32), f32::INFINITY);
    let bits = 0x7fa0_1234;
    assert_eq!(eval("i32.reinterpret_f32", "f32", "i32", &[bits]), bits);
    assert_eq!(eval("f32.reinterpret_i32", "i32", "f32", &[bits]), bits);
}

fn traps(operator: &str, divisor: &str) -> usize {
    let mut env = Env::new();
    env.explicit_division = true;
    let ty = &operator[..3];
    let func = translate(
        &mut env,
        &format!(
            "(module (func (param {ty} {ty}) (result {ty})
                ({operator} (local.get 0) ({divisor}))))"
        ),
    );
    count(&func, "trapnz")
}

#[test]
fn known_divisors_need_no_checks() {
    for (divisor, signed, other) in [
        ("local.get 1", 2, 1),
        ("i32.const 3", 0, 0),
        ("i32.const -3", 0, 0),
        ("i32.const -1", 1, 0),
        ("i32.const 0", 1, 1),
    ] {
        assert_eq!(traps("i32.div_s", divisor), signed, "{divisor}");
        for operator in ["i32.div_u", "i32.rem_s", "i32.rem_u"] {
            assert_eq!(traps(operator, divisor), other, "{operator} {divisor}");
        }
        let wide = divisor.replace("i32", "i64");
        assert_eq!(traps("i64.div_s", &wide), signed, "{wide}");
    }
}

#[test]
fn checked_divisions_divide() {
    let mut env = Env::new();
    env.explicit_division = true;
    let mut module = Module::with_env(
        &mut env,
        "(module (func (param i32 i32) (result i32) (i32.div_s (local.get 0) (local.get 1))))",
    );
    assert_eq!(module.call_i32(0, &[i32::MIN, 1]), [i32::MIN]);
    assert_eq!(module.call_i32(0, &[7, -1]), [-7]);
    assert_eq!(module.call_i32(0, &[i32::MIN, 2]), [i32::MIN / 2]);
}

#[test]
fn loads_and_stores() {
    let mut module = Module::new(
        "(module (memory 1)
            (func (param i64)
                (i64.store (i32.const 8) (local.get 0))
                (i32.store8 offset=16 (i32.const 0) (i32.wrap_i64 (local.get 0)))
                (i64.store16 offset=2 (i32.const 16) (local.get 0))
                (i64.store32 offset=4 (i32.const 16) (local.get 0))
                (f64.store (i32.const 24) (f64.load (i32.const 8))))
            (func (result i32 i32 i32 i32)
                (i32.load8_s (i32.const 8)) (i32.load8_u (i32.const 8))
                (i32.load16_s (i32.const 8)) (i32.load16_u (i32.const 8)))
            (func (result i64 i64 i64 i64)
                (i64.load32_s (i32.const 8)) (i64.load32_u (i32.const 8))
                (i64.load (i32.const 16)) (i64.load (i32.const 24))))",
    );
    let word = 0x8182_8384_f586_8788_u64;
    module.call(0, &[word]);
    let narrow = [0xffff_ff88_u32, 0x88, 0xffff_8788, 0x8788];
    assert_eq!(module.call_i32(1, &[]), narrow.map(|word| word as i32));
    let wide = [0xffff_ffff_f586_8788, 0xf586_8788, 0xf586_8788_8788_0088, word];
    assert_eq!(module.call(2, &[]), wide);
}
