//! Operands: the ends of ranges, what is beside them, and arbitrary bits.

use fastrand::Rng;

use super::{GROUP, GROUPS};

const INTEGERS: [i64; 16] = [
    0,
    1,
    -1,
    2,
    0x7f,
    0x80,
    0x7fff,
    0x8000,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    i64::MAX,
    i64::MIN,
    i64::MIN + 1,
    -0x8000_0001,
];

const FLOATS: [f64; 24] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    1.5,
    2.5,
    -2.5,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
    f64::MIN_POSITIVE,
    5e-324,
    f64::MAX,
    1.175_494_350_822_287_5e-38,
    3.402_823_466_385_288_6e38,
    2_147_483_647.5,
    -2_147_483_648.9,
    4_294_967_295.5,
    9_223_372_036_854_774_784.0,
    9_223_372_036_854_775_808.0,
    -9_223_372_036_854_777_856.0,
    18_446_744_073_709_551_616.0,
];

/// The data segment that has all groups.
pub(super) fn segment(rng: &mut Rng) -> String {
    let vectors = GROUPS * GROUP / 16;
    let bytes: String = (0..vectors)
        .flat_map(|_| vector(rng).to_le_bytes())
        .map(|byte| format!("\\{byte:02x}"))
        .collect();
    format!("(data (i32.const 0) \"{bytes}\")\n")
}

/// Sixteen bytes: lanes of one type, of which each is at an end of its range or arbitrary.
fn vector(rng: &mut Rng) -> u128 {
    let width = [8, 16, 32, 64, 32, 64, 128][rng.usize(..7)];
    let floats = width >= 32 && rng.bool();
    let mut bits = 0;
    for _ in 0..128 / width {
        let lane = match (width, floats) {
            (128, _) => rng.u128(..),
            (32, true) => u128::from((float(rng) as f32).to_bits()),
            (64, true) => u128::from(float(rng).to_bits()),
            _ => u128::from(integer(rng) as u64) & ((1 << width) - 1),
        };
        bits = if width == 128 { lane } else { bits << width | lane };
    }
    bits
}

fn integer(rng: &mut Rng) -> i64 {
    match rng.u8(..4) {
        0 => rng.i64(..),
        1 => rng.i64(-70..70),
        _ => INTEGERS[rng.usize(..INTEGERS.len())],
    }
}

/// A number, or the one beside it.
fn float(rng: &mut Rng) -> f64 {
    let float = match rng.u8(..4) {
        0 => rng.i32(-1_000..1_000) as f64 / 4.0,
        _ => FLOATS[rng.usize(..FLOATS.len())],
    };
    match rng.u8(..4) {
        0 => f64::from_bits(float.to_bits().wrapping_add(1)),
        1 => f64::from_bits(float.to_bits().wrapping_sub(1)),
        _ => float,
    }
}

/// A constant of a type.
pub(super) fn constant(rng: &mut Rng, ty: &str) -> String {
    match ty {
        "i32" => format!("(i32.const {})", integer(rng) as i32),
        "i64" => format!("(i64.const {})", integer(rng)),
        "f32" => {
            format!("(f32.reinterpret_i32 (i32.const {}))", (float(rng) as f32).to_bits() as i32)
        }
        "f64" => format!("(f64.reinterpret_i64 (i64.const {}))", float(rng).to_bits() as i64),
        _ => {
            let bits = vector(rng);
            format!("(v128.const i64x2 {} {})", bits as i64, (bits >> 64) as i64)
        }
    }
}
