//! Guests whose `run` does its work as often as it is told, in synchronous stores without fuel.

use crate::engines;
use crate::measure::{Contender, Effort, time};
use crate::report::{Report, Unit};
use crate::versus::{self, Contest};
use anyhow::Result;

/// Measures a guest on both sides.
pub fn run(question: &str, work: &str, guest: &str, report: &mut Report) -> Result<()> {
    let contest = Contest {
        work: work.into(),
        unit: Unit::Nanoseconds,
        effort: Effort::USUAL,
        aim: None,
        ours: ours(guest)?,
        on_demand: theirs(guest)?,
        pooled: None,
    };
    versus::run(question, contest, report)
}

fn ours(text: &str) -> Result<Contender> {
    use lampwick::{Linker, Module, Store};
    let engine = engines::ours_synchronous()?;
    let module = Module::new(&engine, text)?;
    let mut store = Store::new(&engine, ());
    let instance = Linker::new(&engine).instantiate(&mut store, &module)?;
    let run = instance.get_typed_func::<i64, i64, _>(&mut store, "run")?;
    Ok(Box::new(move |times| time(|| Ok(run.call(&mut store, times as i64)?))))
}

fn theirs(text: &str) -> Result<Contender> {
    use wasmtime::{Linker, Module, Store};
    let engine = engines::theirs_with_objects()?;
    let module = Module::new(&engine, text)?;
    let mut store = Store::new(&engine, ());
    let instance = Linker::new(&engine).instantiate(&mut store, &module)?;
    let run = instance.get_typed_func::<i64, i64>(&mut store, "run")?;
    Ok(Box::new(move |times| time(|| Ok(run.call(&mut store, times as i64)?))))
}
