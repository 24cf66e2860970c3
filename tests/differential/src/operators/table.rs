//! The operators that compute, or access memory, by their names and types.

/// A row: what names begin with, the operands, the result, and the names.
///
/// Behind `#` is how many lanes an operator picks one of. Operands are types; `from` is an address of
/// operands, `to` one where results may be stored. A result with `~` may be a NaN of any bits, and
/// `to` is what a store leaves.
pub(super) type Row = (&'static str, &'static str, &'static str, &'static str);

pub(super) const SCALAR: &[Row] = &[
    (
        "i32",
        "i32 i32",
        "i32",
        "add sub mul div_s div_u rem_s rem_u and or xor shl shr_s shr_u rotl rotr eq ne lt_s lt_u \
         gt_s gt_u le_s le_u ge_s ge_u",
    ),
    ("i32", "i32", "i32", "clz ctz popcnt eqz extend8_s extend16_s"),
    (
        "i64",
        "i64 i64",
        "i64",
        "add sub mul div_s div_u rem_s rem_u and or xor shl shr_s shr_u rotl rotr",
    ),
    ("i64", "i64 i64", "i32", "eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u"),
    ("i64", "i64", "i64", "clz ctz popcnt extend8_s extend16_s extend32_s"),
    ("i64", "i64", "i32", "eqz"),
    ("f32", "f32 f32", "f32~", "add sub mul div min max"),
    ("f32", "f32 f32", "f32", "copysign"),
    ("f32", "f32", "f32~", "ceil floor trunc nearest sqrt"),
    ("f32", "f32", "f32", "abs neg"),
    ("f32", "f32 f32", "i32", "eq ne lt gt le ge"),
    ("f64", "f64 f64", "f64~", "add sub mul div min max"),
    ("f64", "f64 f64", "f64", "copysign"),
    ("f64", "f64", "f64~", "ceil floor trunc nearest sqrt"),
    ("f64", "f64", "f64", "abs neg"),
    ("f64", "f64 f64", "i32", "eq ne lt gt le ge"),
    ("i32", "i64", "i32", "wrap_i64"),
    (
        "i32",
        "f32",
        "i32",
        "trunc_f32_s trunc_f32_u trunc_sat_f32_s trunc_sat_f32_u reinterpret_f32",
    ),
    ("i32", "f64", "i32", "trunc_f64_s trunc_f64_u trunc_sat_f64_s trunc_sat_f64_u"),
    ("i64", "i32", "i64", "extend_i32_s extend_i32_u"),
    ("i64", "f32", "i64", "trunc_f32_s trunc_f32_u trunc_sat_f32_s trunc_sat_f32_u"),
    (
        "i64",
        "f64",
        "i64",
        "trunc_f64_s trunc_f64_u trunc_sat_f64_s trunc_sat_f64_u reinterpret_f64",
    ),
    ("f32", "i32", "f32", "convert_i32_s convert_i32_u reinterpret_i32"),
    ("f32", "i64", "f32", "convert_i64_s convert_i64_u"),
    ("f32", "f64", "f32~", "demote_f64"),
    ("f64", "i32", "f64", "convert_i32_s convert_i32_u"),
    ("f64", "i64", "f64", "convert_i64_s convert_i64_u reinterpret_i64"),
    ("f64", "f32", "f64~", "promote_f32"),
    ("i32", "from", "i32", "load load8_s load8_u load16_s load16_u"),
    ("i64", "from", "i64", "load load8_s load8_u load16_s load16_u load32_s load32_u"),
    ("f32", "from", "f32", "load"),
    ("f64", "from", "f64", "load"),
    ("i32", "to i32", "to", "store store8 store16"),
    ("i64", "to i64", "to", "store store8 store16 store32"),
    ("f32", "to f32", "to", "store"),
    ("f64", "to f64", "to", "store"),
];

pub(super) const VECTOR: &[Row] = &[
    ("v128", "v128", "v128", "not"),
    ("v128", "v128 v128", "v128", "and andnot or xor"),
    ("v128", "v128 v128 v128", "v128", "bitselect"),
    ("v128", "v128", "i32", "any_true"),
    (
        "i8x16",
        "v128 v128",
        "v128",
        "eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u add sub add_sat_s add_sat_u sub_sat_s \
         sub_sat_u min_s min_u max_s max_u avgr_u swizzle shuffle narrow_i16x8_s narrow_i16x8_u",
    ),
    (
        "i16x8",
        "v128 v128",
        "v128",
        "eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u add sub mul add_sat_s add_sat_u sub_sat_s \
         sub_sat_u min_s min_u max_s max_u avgr_u narrow_i32x4_s narrow_i32x4_u q15mulr_sat_s \
         extmul_low_i8x16_s extmul_high_i8x16_s extmul_low_i8x16_u extmul_high_i8x16_u",
    ),
    (
        "i32x4",
        "v128 v128",
        "v128",
        "eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u add sub mul min_s min_u max_s max_u \
         dot_i16x8_s extmul_low_i16x8_s extmul_high_i16x8_s extmul_low_i16x8_u extmul_high_i16x8_u",
    ),
    (
        "i64x2",
        "v128 v128",
        "v128",
        "eq ne lt_s gt_s le_s ge_s add sub mul extmul_low_i32x4_s extmul_high_i32x4_s \
         extmul_low_i32x4_u extmul_high_i32x4_u",
    ),
    ("i8x16", "v128", "v128", "abs neg popcnt"),
    (
        "i16x8",
        "v128",
        "v128",
        "abs neg extend_low_i8x16_s extend_high_i8x16_s extend_low_i8x16_u extend_high_i8x16_u \
         extadd_pairwise_i8x16_s extadd_pairwise_i8x16_u",
    ),
    (
        "i32x4",
        "v128",
        "v128",
        "abs neg extend_low_i16x8_s extend_high_i16x8_s extend_low_i16x8_u extend_high_i16x8_u \
         extadd_pairwise_i16x8_s extadd_pairwise_i16x8_u trunc_sat_f32x4_s trunc_sat_f32x4_u \
         trunc_sat_f64x2_s_zero trunc_sat_f64x2_u_zero",
    ),
    (
        "i64x2",
        "v128",
        "v128",
        "abs neg extend_low_i32x4_s extend_high_i32x4_s extend_low_i32x4_u extend_high_i32x4_u",
    ),
    ("i8x16", "v128", "i32", "all_true bitmask extract_lane_s#16 extract_lane_u#16"),
    ("i16x8", "v128", "i32", "all_true bitmask extract_lane_s#8 extract_lane_u#8"),
    ("i32x4", "v128", "i32", "all_true bitmask extract_lane#4"),
    ("i64x2", "v128", "i32", "all_true bitmask"),
    ("i64x2", "v128", "i64", "extract_lane#2"),
    ("f32x4", "v128", "f32", "extract_lane#4"),
    ("f64x2", "v128", "f64", "extract_lane#2"),
    ("i8x16", "v128 i32", "v128", "shl shr_s shr_u replace_lane#16"),
    ("i16x8", "v128 i32", "v128", "shl shr_s shr_u replace_lane#8"),
    ("i32x4", "v128 i32", "v128", "shl shr_s shr_u replace_lane#4"),
    ("i64x2", "v128 i32", "v128", "shl shr_s shr_u"),
    ("i64x2", "v128 i64", "v128", "replace_lane#2"),
    ("f32x4", "v128 f32", "v128", "replace_lane#4"),
    ("f64x2", "v128 f64", "v128", "replace_lane#2"),
    ("i8x16", "i32", "v128", "splat"),
    ("i16x8", "i32", "v128", "splat"),
    ("i32x4", "i32", "v128", "splat"),
    ("i64x2", "i64", "v128", "splat"),
    ("f32x4", "f32", "v128", "splat"),
    ("f64x2", "f64", "v128", "splat"),
    ("f32x4", "v128 v128", "v128", "eq ne lt gt le ge pmin pmax"),
    ("f64x2", "v128 v128", "v128", "eq ne lt gt le ge pmin pmax"),
    ("f32x4", "v128 v128", "f32x4~", "add sub mul div min max"),
    ("f64x2", "v128 v128", "f64x2~", "add sub mul div min max"),
    ("f32x4", "v128", "f32x4~", "ceil floor trunc nearest sqrt demote_f64x2_zero"),
    ("f64x2", "v128", "f64x2~", "ceil floor trunc nearest sqrt promote_low_f32x4"),
    ("f32x4", "v128", "v128", "abs neg convert_i32x4_s convert_i32x4_u"),
    ("f64x2", "v128", "v128", "abs neg convert_low_i32x4_s convert_low_i32x4_u"),
    (
        "v128",
        "from",
        "v128",
        "load load8x8_s load8x8_u load16x4_s load16x4_u load32x2_s load32x2_u load8_splat \
         load16_splat load32_splat load64_splat load32_zero load64_zero",
    ),
    ("v128", "from v128", "v128", "load8_lane#16 load16_lane#8 load32_lane#4 load64_lane#2"),
    ("v128", "to v128", "to", "store store8_lane#16 store16_lane#8 store32_lane#4 store64_lane#2"),
];

/// Those whose results the deterministic profile fixes.
pub(super) const RELAXED: &[Row] = &[
    ("i8x16", "v128 v128", "v128", "relaxed_swizzle"),
    ("i16x8", "v128 v128", "v128", "relaxed_q15mulr_s relaxed_dot_i8x16_i7x16_s"),
    ("i32x4", "v128 v128 v128", "v128", "relaxed_dot_i8x16_i7x16_add_s relaxed_laneselect"),
    ("i8x16", "v128 v128 v128", "v128", "relaxed_laneselect"),
    ("i16x8", "v128 v128 v128", "v128", "relaxed_laneselect"),
    ("i64x2", "v128 v128 v128", "v128", "relaxed_laneselect"),
    (
        "i32x4",
        "v128",
        "v128",
        "relaxed_trunc_f32x4_s relaxed_trunc_f32x4_u relaxed_trunc_f64x2_s_zero \
         relaxed_trunc_f64x2_u_zero",
    ),
    ("f32x4", "v128 v128 v128", "f32x4~", "relaxed_madd relaxed_nmadd"),
    ("f64x2", "v128 v128 v128", "f64x2~", "relaxed_madd relaxed_nmadd"),
    ("f32x4", "v128 v128", "f32x4~", "relaxed_min relaxed_max"),
    ("f64x2", "v128 v128", "f64x2~", "relaxed_min relaxed_max"),
];
