//! The operators of vectors by what they take and give: all but `v128.const`, in the text format.

/// Of a vector, a vector.
pub(crate) const UNARY: &str = "
    v128.not i8x16.abs i8x16.neg i8x16.popcnt i16x8.extadd_pairwise_i8x16_s
    i16x8.extadd_pairwise_i8x16_u i16x8.abs i16x8.neg i16x8.extend_low_i8x16_s
    i16x8.extend_high_i8x16_s i16x8.extend_low_i8x16_u i16x8.extend_high_i8x16_u
    i32x4.extadd_pairwise_i16x8_s i32x4.extadd_pairwise_i16x8_u i32x4.abs i32x4.neg
    i32x4.extend_low_i16x8_s i32x4.extend_high_i16x8_s i32x4.extend_low_i16x8_u
    i32x4.extend_high_i16x8_u i64x2.abs i64x2.neg i64x2.extend_low_i32x4_s
    i64x2.extend_high_i32x4_s i64x2.extend_low_i32x4_u i64x2.extend_high_i32x4_u f32x4.ceil
    f32x4.floor f32x4.trunc f32x4.nearest f32x4.abs f32x4.neg f32x4.sqrt f64x2.ceil f64x2.floor
    f64x2.trunc f64x2.nearest f64x2.abs f64x2.neg f64x2.sqrt i32x4.trunc_sat_f32x4_s
    i32x4.trunc_sat_f32x4_u f32x4.convert_i32x4_s f32x4.convert_i32x4_u
    i32x4.trunc_sat_f64x2_s_zero i32x4.trunc_sat_f64x2_u_zero f64x2.convert_low_i32x4_s
    f64x2.convert_low_i32x4_u f32x4.demote_f64x2_zero f64x2.promote_low_f32x4";

/// Of two vectors, a vector.
pub(crate) const BINARY: &str = "
    i8x16.swizzle i8x16.eq i8x16.ne i8x16.lt_s i8x16.lt_u i8x16.gt_s i8x16.gt_u i8x16.le_s
    i8x16.le_u i8x16.ge_s i8x16.ge_u i16x8.eq i16x8.ne i16x8.lt_s i16x8.lt_u i16x8.gt_s
    i16x8.gt_u i16x8.le_s i16x8.le_u i16x8.ge_s i16x8.ge_u i32x4.eq i32x4.ne i32x4.lt_s
    i32x4.lt_u i32x4.gt_s i32x4.gt_u i32x4.le_s i32x4.le_u i32x4.ge_s i32x4.ge_u i64x2.eq
    i64x2.ne i64x2.lt_s i64x2.gt_s i64x2.le_s i64x2.ge_s f32x4.eq f32x4.ne f32x4.lt f32x4.gt
    f32x4.le f32x4.ge f64x2.eq f64x2.ne f64x2.lt f64x2.gt f64x2.le f64x2.ge v128.and v128.andnot
    v128.or v128.xor i8x16.narrow_i16x8_s i8x16.narrow_i16x8_u i8x16.add i8x16.add_sat_s
    i8x16.add_sat_u i8x16.sub i8x16.sub_sat_s i8x16.sub_sat_u i8x16.min_s i8x16.min_u
    i8x16.max_s i8x16.max_u i8x16.avgr_u i16x8.q15mulr_sat_s i16x8.narrow_i32x4_s
    i16x8.narrow_i32x4_u i16x8.add i16x8.add_sat_s i16x8.add_sat_u i16x8.sub i16x8.sub_sat_s
    i16x8.sub_sat_u i16x8.mul i16x8.min_s i16x8.min_u i16x8.max_s i16x8.max_u i16x8.avgr_u
    i16x8.extmul_low_i8x16_s i16x8.extmul_high_i8x16_s i16x8.extmul_low_i8x16_u
    i16x8.extmul_high_i8x16_u i32x4.add i32x4.sub i32x4.mul i32x4.min_s i32x4.min_u i32x4.max_s
    i32x4.max_u i32x4.dot_i16x8_s i32x4.extmul_low_i16x8_s i32x4.extmul_high_i16x8_s
    i32x4.extmul_low_i16x8_u i32x4.extmul_high_i16x8_u i64x2.add i64x2.sub i64x2.mul
    i64x2.extmul_low_i32x4_s i64x2.extmul_high_i32x4_s i64x2.extmul_low_i32x4_u
    i64x2.extmul_high_i32x4_u f32x4.add f32x4.sub f32x4.mul f32x4.div f32x4.min f32x4.max
    f32x4.pmin f32x4.pmax f64x2.add f64x2.sub f64x2.mul f64x2.div f64x2.min f64x2.max f64x2.pmin
    f64x2.pmax";

/// Of a vector and an i32, a vector.
pub(crate) const SHIFTS: &str = "
    i8x16.shl i8x16.shr_s i8x16.shr_u i16x8.shl i16x8.shr_s i16x8.shr_u i32x4.shl i32x4.shr_s
    i32x4.shr_u i64x2.shl i64x2.shr_s i64x2.shr_u";

/// Of a vector, an i32.
pub(crate) const TESTS: &str = "
    v128.any_true i8x16.all_true i8x16.bitmask i16x8.all_true i16x8.bitmask i32x4.all_true
    i32x4.bitmask i64x2.all_true i64x2.bitmask";

/// Of a value of the type of a lane, a vector.
pub(crate) const SPLATS: &str = "
    i8x16.splat i16x8.splat i32x4.splat i64x2.splat f32x4.splat f64x2.splat";

/// Of a vector, a lane, whose number follows.
pub(crate) const EXTRACTS: &str = "
    i8x16.extract_lane_s i8x16.extract_lane_u i16x8.extract_lane_s i16x8.extract_lane_u
    i32x4.extract_lane i64x2.extract_lane f32x4.extract_lane f64x2.extract_lane";

/// Of a vector and a lane, a vector; the number of the lane follows.
pub(crate) const REPLACES: &str = "
    i8x16.replace_lane i16x8.replace_lane i32x4.replace_lane i64x2.replace_lane
    f32x4.replace_lane f64x2.replace_lane";

/// Of an address, a vector.
pub(crate) const LOADS: &str = "
    v128.load v128.load8x8_s v128.load8x8_u v128.load16x4_s v128.load16x4_u v128.load32x2_s
    v128.load32x2_u v128.load8_splat v128.load16_splat v128.load32_splat v128.load64_splat
    v128.load32_zero v128.load64_zero";

/// Of an address and a vector, a vector; the number of the lane follows.
pub(crate) const LANE_LOADS: &str = "
    v128.load8_lane v128.load16_lane v128.load32_lane v128.load64_lane";

/// Of an address and a vector, nothing; the number of the lane follows.
pub(crate) const LANE_STORES: &str = "
    v128.store8_lane v128.store16_lane v128.store32_lane v128.store64_lane";

/// Relaxed ones, of a vector.
pub(crate) const RELAXED_UNARY: &str = "
    i32x4.relaxed_trunc_f32x4_s i32x4.relaxed_trunc_f32x4_u i32x4.relaxed_trunc_f64x2_s_zero
    i32x4.relaxed_trunc_f64x2_u_zero";

/// Relaxed ones, of two vectors.
pub(crate) const RELAXED_BINARY: &str = "
    i8x16.relaxed_swizzle f32x4.relaxed_min f32x4.relaxed_max f64x2.relaxed_min
    f64x2.relaxed_max i16x8.relaxed_q15mulr_s i16x8.relaxed_dot_i8x16_i7x16_s";

/// Relaxed ones, of three vectors.
pub(crate) const RELAXED_TERNARY: &str = "
    f32x4.relaxed_madd f32x4.relaxed_nmadd f64x2.relaxed_madd f64x2.relaxed_nmadd
    i8x16.relaxed_laneselect i16x8.relaxed_laneselect i32x4.relaxed_laneselect
    i64x2.relaxed_laneselect i32x4.relaxed_dot_i8x16_i7x16_add_s";

/// One operator, and what stands around it in a function.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// The operator with its immediates.
    pub(crate) operator: String,
    /// The types of its operands.
    pub(crate) params: Vec<&'static str>,
    /// The type of its result, if it has one.
    pub(crate) result: Option<&'static str>,
}

impl Case {
    fn new(operator: &str, params: &[&'static str], result: Option<&'static str>) -> Self {
        Self { operator: operator.to_owned(), params: params.to_vec(), result }
    }

    /// A function of the operands, exported under this name.
    pub(crate) fn function(&self, name: &str) -> String {
        let gets: String = (0..self.params.len()).map(|n| format!("local.get {n} ")).collect();
        let result = self.result.map_or(String::new(), |ty| format!("(result {ty})"));
        let params = self.params.join(" ");
        format!("(func (export \"{name}\") (param {params}) {result} {gets} {})\n", self.operator)
    }
}

/// The type of the values that lanes are made of, by the name of an operator.
fn lane_type(operator: &str) -> &'static str {
    match &operator[..4] {
        "i64x" => "i64",
        "f32x" => "f32",
        "f64x" => "f64",
        _ => "i32",
    }
}

/// How many lanes the vectors of an operator have: `i16x8.replace_lane`, `v128.load32_lane`.
fn lanes(operator: &str) -> u32 {
    let access = operator.split_once("load").or_else(|| operator.split_once("store"));
    match access {
        Some((_, rest)) => 128 / rest.split('_').next().unwrap().parse::<u32>().unwrap(),
        None => operator.split(['x', '.']).nth(1).unwrap().parse().unwrap(),
    }
}

/// All operators; those with lanes by number with the first and the last.
pub(crate) fn all(relaxed: bool) -> Vec<Case> {
    const V: &str = "v128";
    let mut cases = Vec::new();
    let mut plain = |names: &str, params: &[&'static str], result: Option<&'static str>| {
        cases.extend(names.split_whitespace().map(|name| Case::new(name, params, result)));
    };
    plain(UNARY, &[V], Some(V));
    plain(BINARY, &[V, V], Some(V));
    plain(SHIFTS, &[V, "i32"], Some(V));
    plain(TESTS, &[V], Some("i32"));
    plain("v128.bitselect", &[V, V, V], Some(V));
    plain(LOADS, &["i32"], Some(V));
    plain("v128.store", &["i32", V], None);
    if relaxed {
        plain(RELAXED_UNARY, &[V], Some(V));
        plain(RELAXED_BINARY, &[V, V], Some(V));
        plain(RELAXED_TERNARY, &[V, V, V], Some(V));
    }
    for name in SPLATS.split_whitespace() {
        cases.push(Case::new(name, &[lane_type(name)], Some(V)));
    }
    let shuffles =
        ["0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15", "31 0 16 1 30 2 17 3 9 9 9 9 0 8 16 24"];
    for lanes in shuffles {
        cases.push(Case::new(&format!("i8x16.shuffle {lanes}"), &[V, V], Some(V)));
    }
    let mut by_lane = |names: &str, make: &dyn Fn(&str, String) -> Case| {
        for name in names.split_whitespace() {
            for lane in [0, lanes(name) - 1] {
                cases.push(make(name, format!("{name} {lane}")));
            }
        }
    };
    by_lane(EXTRACTS, &|name, text| Case::new(&text, &[V], Some(lane_type(name))));
    by_lane(REPLACES, &|name, text| Case::new(&text, &[V, lane_type(name)], Some(V)));
    by_lane(LANE_LOADS, &|_, text| Case::new(&text, &["i32", V], Some(V)));
    by_lane(LANE_STORES, &|_, text| Case::new(&text, &["i32", V], None));
    cases
}
