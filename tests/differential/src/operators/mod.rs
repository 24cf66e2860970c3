//! Every operator by itself, with many operands: a generator of whole modules meets the rare ones
//! too seldom.
//!
//! The module of a seed has a few functions for each operator. One takes all operands from memory, in
//! the others some are constants, for which compilers have other instructions. A function's argument
//! says which operands of the memory it takes: among these are the ends of each type's range, what is
//! beside them, and arbitrary bits.

mod operands;
mod table;

use std::collections::BTreeMap;

use arbitrary::Unstructured;
use fastrand::Rng;

use crate::compare::{Outcome, Tally};
use crate::side::{Stop, Value};
use crate::ways::Way;
use table::Row;

/// Functions for each operator.
const VARIANTS: u32 = 3;

/// Groups of operands in a memory, one for each call.
const GROUPS: u32 = 48;

/// The bytes of a group: three vectors, and what an access may reach behind them.
const GROUP: u32 = 64;

/// Where stores go.
const SCRATCH: u32 = GROUPS * GROUP + 64;

/// Runs each operator on both sides, with operands that depend on the seed.
pub fn compare_operators(way: &Way, seed: u64) -> Outcome {
    compare(&module(seed), way)
}

/// Calls each function of an operator with each group of operands, on both sides.
pub fn compare(wasm: &[u8], way: &Way) -> Outcome {
    let (ours, theirs) = match (way.compile_ours(wasm), way.compile_theirs(wasm)) {
        (Ok(ours), Ok(theirs)) => (ours, theirs),
        (Err(error), _) => return Outcome::Differed(format!("not accepted by ours: {error:#}")),
        (_, Err(error)) => return Outcome::Differed(format!("not accepted by theirs: {error}")),
    };
    let (mut ours_run, mut theirs_run) = (way.ours(&ours, 1_000), way.theirs(&theirs, 1_000));
    for made in [ours_run.instantiate(), theirs_run.instantiate()] {
        if let Err(stop) = made {
            return Outcome::Differed(format!("the instantiation: {stop:?}"));
        }
    }
    let mut tally = Tally::default();
    for export in ours.exports() {
        for group in 0..GROUPS {
            let arguments = [Value::I32(group as i32)];
            let ours = ours_run.call(export.name(), &arguments);
            let theirs = theirs_run.call(export.name(), &arguments);
            if ours != theirs {
                let name = export.name();
                let text = format!("{name} with group {group}: ours {ours:x?}, theirs {theirs:x?}");
                return Outcome::Differed(text);
            }
            match ours {
                Ok(_) => tally.returned += 1,
                Err(Stop::Trap(_)) => tally.trapped += 1,
                Err(stop) => return Outcome::Differed(format!("{}: {stop:?}", export.name())),
            }
        }
    }
    Outcome::Agreed(tally)
}

/// The module of a seed, with all operators.
pub fn module(seed: u64) -> Vec<u8> {
    module_of(seed, all())
}

/// The module that some bytes make, with a few operators.
///
/// # Errors
///
/// Fails if there are too few bytes.
pub fn some(bytes: &mut Unstructured<'_>) -> arbitrary::Result<Vec<u8>> {
    const SOME: u32 = 16;
    let (seed, all): (u64, Vec<_>) = (bytes.arbitrary()?, all().collect());
    let mut operators = BTreeMap::new();
    for _ in 0..bytes.int_in_range(1..=SOME)? {
        let index = bytes.choose_index(all.len())?;
        operators.insert(index, all[index]);
    }
    Ok(module_of(seed, operators.into_values()))
}

/// All operators, each with its row.
fn all() -> impl Iterator<Item = (Row, &'static str)> {
    let rows = [table::SCALAR, table::VECTOR, table::RELAXED].concat();
    rows.into_iter().flat_map(|row| row.3.split_whitespace().map(move |name| (row, name)))
}

fn module_of(seed: u64, operators: impl Iterator<Item = (Row, &'static str)>) -> Vec<u8> {
    let mut rng = Rng::with_seed(seed);
    let mut text = format!("(module (memory 1) {}", operands::segment(&mut rng));
    for (row, name) in operators {
        for variant in 0..VARIANTS {
            text += &function(&mut rng, row, name, variant);
        }
    }
    text.push(')');
    wat::parse_str(&text).expect("the table's rows are right")
}

/// A function that executes an operator. Only the first variant has no constants.
fn function(
    rng: &mut Rng,
    (prefix, params, result, _): Row,
    operator: &str,
    variant: u32,
) -> String {
    let immediates = match operator.split_once('#') {
        Some((_, lanes)) => format!(" {}", rng.u32(..lanes.parse::<u32>().expect("a number"))),
        None if operator == "shuffle" => (0..16).map(|_| format!(" {}", rng.u32(..32))).collect(),
        None => String::new(),
    };
    let operator = operator.split('#').next().expect("split yields one at least");
    let offset = rng.u32(..16);
    let operands: String = params
        .split_whitespace()
        .enumerate()
        .map(|(place, ty)| match ty {
            "from" => group_address(offset),
            "to" => format!("(i32.const {})", SCRATCH + offset),
            _ if variant > 0 && rng.bool() => operands::constant(rng, ty),
            _ => format!("({ty}.load offset={} {})", 16 * place, group_address(0)),
        })
        .collect();
    // Where memory is accessed, part of the address may be the operator's.
    let is_access = params.starts_with("from") || params.starts_with("to");
    let memarg = if is_access { format!(" offset={}", rng.u32(..16)) } else { String::new() };
    let computed = format!("({prefix}.{operator}{memarg}{immediates} {operands})");
    let (ty, body) = match result {
        "to" => ("v128", format!("{computed} (v128.load offset=8 (i32.const {SCRATCH}))")),
        "f32~" | "f64~" => (&result[..3], canonical(&result[..3], &computed)),
        "f32x4~" | "f64x2~" => ("v128", canonical_lanes(&result[..5], &computed)),
        ty => (ty, computed),
    };
    format!(
        "(func (export \"{prefix}.{operator}, variant {variant}\") (param i32) (result {ty}) \
         (local $r {ty}) {body})\n"
    )
}

/// The address of the operands that a function's argument picks.
fn group_address(offset: u32) -> String {
    format!("(i32.add (i32.mul (local.get 0) (i32.const {GROUP})) (i32.const {offset}))")
}

/// A float whose NaNs are one.
fn canonical(ty: &str, value: &str) -> String {
    format!(
        "(local.set $r {value}) (select ({ty}.const nan) (local.get $r) \
         ({ty}.ne (local.get $r) (local.get $r)))"
    )
}

fn canonical_lanes(shape: &str, value: &str) -> String {
    let nans = if shape == "f32x4" { "nan nan nan nan" } else { "nan nan" };
    format!(
        "(local.set $r {value}) (v128.bitselect (v128.const {shape} {nans}) (local.get $r) \
         ({shape}.ne (local.get $r) (local.get $r)))"
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use wasmparser::{Parser, Payload};

    /// Operators that compute, or access a memory, by the names that the standard's proposals give
    /// them.
    macro_rules! known {
        ($(@$proposal:ident $op:ident $({ $($arg:ident: $ty:ty),* })? => $visit:ident ($($ann:tt)*))*) => {
            &[$((stringify!($proposal), stringify!($op), stringify!($visit))),*]
        };
    }

    const SCALAR: &[(&str, &str, &str)] = wasmparser::for_each_visit_operator!(known);
    const VECTOR: &[(&str, &str, &str)] = wasmparser::for_each_visit_simd_operator!(known);

    #[test]
    fn every_operator_that_computes_is_in_the_table() {
        let wasm = super::module(1);
        let mut found = BTreeSet::new();
        for payload in Parser::new(0).parse_all(&wasm) {
            if let Payload::CodeSectionEntry(body) = payload.unwrap() {
                for operator in body.get_operators_reader().unwrap() {
                    let text = format!("{:?}", operator.unwrap());
                    let end = text.find(|c: char| !c.is_alphanumeric()).unwrap_or(text.len());
                    found.insert(text[..end].to_owned());
                }
            }
        }
        let is_ours = |proposal: &str, visit: &str| match proposal {
            "mvp" => ["i32", "i64", "f32", "f64"].iter().any(|ty| visit[6..].starts_with(ty)),
            "sign_extension" | "saturating_float_to_int" | "simd" | "relaxed_simd" => true,
            _ => false,
        };
        let missing: Vec<_> = SCALAR
            .iter()
            .chain(VECTOR)
            .filter(|(proposal, op, visit)| is_ours(proposal, visit) && !found.contains(*op))
            .collect();
        assert!(found.len() > 400, "{}", found.len());
        assert!(missing.is_empty(), "{missing:?}");
    }
}
