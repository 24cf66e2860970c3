//! Each operator that computes or accesses memory costs what its class does.

use lampwick::{OperatorClass, OperatorCosts, Val};

use OperatorClass::{
    Constant, Conversion, Division, Float, FloatDivision, FunctionEntry, Integer, Load, Local,
    Multiplication, Vector, VectorFloat, VectorFloatDivision, VectorMultiplication,
};

use crate::fuel::{OPERATORS, STORES};
use crate::operator_costs::with_costs;
use crate::simd_operators;
use crate::support::instantiate;

/// A table in which no two classes, and no two pairs of classes, cost the same.
pub(crate) fn distinct() -> OperatorCosts {
    let mut units = Vec::<u16>::new();
    let mut sums = std::collections::HashSet::new();
    let mut next = 2;
    while units.len() < OperatorClass::ALL.len() {
        let with_next: Vec<u16> = units.iter().map(|one| one + next).chain([2 * next]).collect();
        if with_next.iter().all(|sum| !sums.contains(sum)) && !sums.contains(&next) {
            sums.extend(with_next);
            sums.insert(next);
            units.push(next);
        }
        next += 1;
    }
    let table = OperatorClass::ALL.iter().zip(units);
    table.fold(OperatorCosts::new(), |costs, (&class, units)| costs.with(class, units))
}

pub(crate) fn sum(costs: &OperatorCosts, classes: &[OperatorClass]) -> u64 {
    classes.iter().map(|&class| u64::from(costs.cost(class))).sum()
}

/// The class of a numeric operator or access, by its name.
fn class_by_name(operator: &str) -> OperatorClass {
    let (ty, name) = operator.split_once('.').unwrap();
    let is_float = ty.starts_with('f');
    let first = name.split('_').next().unwrap();
    match first {
        _ if first.starts_with("load") => Load,
        _ if first.starts_with("store") => OperatorClass::Store,
        "wrap" | "trunc" if name != "trunc" => Conversion,
        "extend" | "convert" | "promote" | "demote" | "reinterpret" => Conversion,
        "div" | "sqrt" if is_float => FloatDivision,
        _ if is_float => Float,
        "mul" => Multiplication,
        "div" | "rem" => Division,
        _ => Integer,
    }
}

#[test]
fn every_numeric_operator_and_access_costs_what_its_class_does() {
    let costs = distinct();
    let mut cases = Vec::new();
    for (operands, operators) in OPERATORS {
        for operator in operators.split_whitespace() {
            let mut classes = vec![FunctionEntry, class_by_name(operator)];
            classes.extend(operands.matches("const").map(|_| Constant));
            cases.push((format!("{operands} {operator} drop"), classes));
        }
    }
    for (ty, operators) in STORES {
        for operator in operators.split_whitespace() {
            let body = format!("i32.const 0 {ty}.const 1 {operator}");
            cases.push((body, vec![FunctionEntry, OperatorClass::Store, Constant, Constant]));
        }
    }
    let met = |class| cases.iter().filter(|(_, classes)| classes[1] == class).count();
    assert_eq!([Multiplication, FloatDivision, Division, Conversion].map(met), [2, 4, 8, 33]);
    let functions: String = cases
        .iter()
        .enumerate()
        .map(|(index, (body, _))| format!("(func (export \"{index}\") {body})"))
        .collect();
    let wat = format!("(module (memory 1) {functions})");
    let (mut store, instance) = instantiate(&with_costs(&costs), &wat);
    store.add_fuel(u64::MAX).unwrap();
    for (index, (body, classes)) in cases.iter().enumerate() {
        let before = store.fuel_consumed().unwrap();
        instance.get_func(&mut store, &index.to_string()).unwrap().call(&mut store, &[]).unwrap();
        assert_eq!(store.fuel_consumed().unwrap() - before, sum(&costs, classes), "{body}");
    }
}

/// The class of an operator of vectors, by its name.
fn class_of_vector(operator: &str) -> OperatorClass {
    let (lanes, name) = operator.split_once('.').unwrap();
    let name = name.split(' ').next().unwrap();
    let is_product = ["mul", "dot", "extmul", "q15mul"].iter().any(|word| name.contains(word));
    match name {
        "div" | "sqrt" => VectorFloatDivision,
        _ if name.starts_with("load") => Load,
        _ if name.starts_with("store") => OperatorClass::Store,
        _ if name.contains("lane") && !name.contains("laneselect") => Vector,
        _ if name.contains("convert") || name.contains("demote") || name.contains("promote") => {
            Vector
        }
        "splat" => Vector,
        _ if lanes.starts_with('f') => VectorFloat,
        _ if is_product => VectorMultiplication,
        _ => Vector,
    }
}

#[test]
fn every_operator_of_vectors_costs_what_its_class_does() {
    let costs = distinct();
    let cases = simd_operators::all(true);
    let functions: String =
        cases.iter().enumerate().map(|(index, case)| case.function(&index.to_string())).collect();
    let wat = format!(
        r#"(module (memory 1) {functions} (func (export "const") v128.const i64x2 0 0 drop))"#
    );
    for costs in [&costs, &OperatorCosts::new()] {
        let (mut store, instance) = instantiate(&with_costs(costs), &wat);
        store.add_fuel(u64::MAX).unwrap();
        let mut burned = |name: &str, params: &[&str]| {
            let before = store.fuel_consumed().unwrap();
            let args: Vec<Val> = params.iter().map(|ty| zero(ty)).collect();
            instance.get_func(&mut store, name).unwrap().call(&mut store, &args).unwrap();
            store.fuel_consumed().unwrap() - before
        };
        assert_eq!(burned("const", &[]), sum(costs, &[FunctionEntry, Constant]));
        for (index, case) in cases.iter().enumerate() {
            let mut classes = vec![FunctionEntry, class_of_vector(&case.operator)];
            classes.extend(case.params.iter().map(|_| Local));
            let burned = burned(&index.to_string(), &case.params);
            assert_eq!(burned, sum(costs, &classes), "{case:?}");
        }
    }
}

fn zero(ty: &str) -> Val {
    match ty {
        "v128" => Val::V128(0),
        "i32" => Val::I32(0),
        "i64" => Val::I64(0),
        "f32" => Val::F32(0),
        _ => Val::F64(0),
    }
}
