//! How long does it take to compile a module, on all cores, metered and not?

use crate::engines::{self, Allocation};
use crate::kernels::{GUESTS, SQLITE};
use crate::measure::{Contender, Effort, time};
use crate::report::{Bound, Report, Unit};
use crate::versus::{self, Contest};
use anyhow::Result;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

/// The made-up functions of a module of some 10 MB, which takes longer than its size says where
/// anything takes more than a function at a time.
const LARGE: u32 = 100_000;

/// Binary modules that are compiled one after the other.
type Modules = Arc<Vec<Vec<u8>>>;

pub fn run(report: &mut Report) -> Result<()> {
    let guests = GUESTS.iter().map(|guest| guest.wasm.to_vec()).collect();
    let large = vec![wat::parse_str(synthetic(LARGE))?];
    let synthetic = vec![wat::parse_str(synthetic(4_000))?];
    let works: [(&str, Vec<Vec<u8>>, Effort); 4] = [
        ("the guests of tests/guests", guests, Effort::USUAL),
        ("SQLite", vec![SQLITE.to_vec()], Effort::LONG),
        ("4,000 made-up functions", synthetic, Effort::LONG),
        ("100,000 made-up functions", large, Effort::HUGE),
    ];
    works
        .into_iter()
        .try_for_each(|(work, modules, effort)| contests(work, modules, effort, report))
}

/// Only for a module of somebody's, in the binary or the text format.
pub fn run_file(file: &Path, report: &mut Report) -> Result<()> {
    let wasm = wat::parse_file(file)?;
    contests(&file.display().to_string(), vec![wasm], Effort::HUGE, report)
}

fn contests(work: &str, modules: Vec<Vec<u8>>, effort: Effort, report: &mut Report) -> Result<()> {
    let kib = modules.iter().map(Vec::len).sum::<usize>() / 1024;
    let modules = Arc::new(modules);
    for metered in [false, true] {
        let how = if metered { ", metered" } else { "" };
        let contest = Contest {
            work: format!("compiling {work}, {kib} KiB{how}"),
            unit: Unit::Milliseconds,
            effort,
            aim: Some(Bound::RatioAtMost(1.0)),
            ours: ours(metered, modules.clone())?,
            on_demand: theirs(metered, modules.clone())?,
            pooled: None,
        };
        versus::run("compilation on all cores", contest, report)?;
    }
    Ok(())
}

fn ours(metered: bool, modules: Modules) -> Result<Contender> {
    let engine = engines::ours(metered)?;
    Ok(Box::new(move |times| {
        time(|| {
            for wasm in (0..times).flat_map(|_| modules.iter()) {
                lampwick::Module::new(&engine, wasm)?;
            }
            Ok(())
        })
    }))
}

fn theirs(metered: bool, modules: Modules) -> Result<Contender> {
    let engine = engines::theirs(metered, Allocation::OnDemand)?;
    Ok(Box::new(move |times| {
        time(|| {
            for wasm in (0..times).flat_map(|_| modules.iter()) {
                wasmtime::Module::new(&engine, wasm)?;
            }
            Ok(())
        })
    }))
}

/// A module with so many functions of loops, branches, memory and calls. Their lengths and shapes
/// come from a generator that always starts the same.
fn synthetic(functions: u32) -> String {
    let mut seed = 1u32;
    let mut random = move |below: u32| {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        seed % below
    };
    let mut text = String::from("(module (memory 1)\n");
    for function in 0..functions {
        text += "(func (param i32 i64) (result i64) (local i32 i64)\n";
        for _ in 0..2 + random(8) {
            statement(&mut text, function, &mut random);
        }
        text += "(i64.add (local.get 1) (local.get 3)))\n";
    }
    text + ")"
}

fn statement(text: &mut String, function: u32, random: &mut impl FnMut(u32) -> u32) {
    let number = random(1 << 16);
    // Writing to a string does not fail.
    let _ = match random(5) {
        0 => writeln!(
            text,
            "(local.set 2 (i32.xor (i32.rotl (local.get 0) (i32.const 7)) (i32.const {number})))"
        ),
        1 => writeln!(
            text,
            "(i64.store offset={number} (i32.and (local.get 2) (i32.const 255)) (local.get 1))"
        ),
        2 => writeln!(
            text,
            "(if (i32.lt_u (local.get 0) (i32.const {number}))
               (then (local.set 3 (i64.mul (local.get 1) (i64.const {number}))))
               (else (local.set 0 (i32.shr_u (local.get 0) (i32.const 3)))))"
        ),
        3 => writeln!(
            text,
            "(loop (local.set 3 (i64.add (local.get 3) (i64.load32_u offset={number} (local.get 0))))
               (br_if 0 (local.tee 0 (i32.shr_u (local.get 0) (i32.const 1)))))"
        ),
        _ => writeln!(
            text,
            "(local.set 1 (call {} (local.get 2) (local.get 3)))",
            random(function + 1)
        ),
    };
}
