//! What does it cost to make an instance, and to make one, call it once and drop it? Does that grow
//! with the module's data, and does it scale to a second worker?

use crate::engines::{self, Allocation};
use crate::measure::{self, Contender, Effort, drive, time};
use crate::report::{Bound, Report, Row, Unit};
use crate::versus::{self, Contest};
use anyhow::{Context as _, Result};
use std::panic::resume_unwind;
use std::sync::{Arc, Barrier};
use std::thread::ScopedJoinHandle;
use std::time::Instant;

const QUESTION: &str = "instances, each with its store, made and dropped";

/// A small guest with two pages of memory and two data segments.
const SMALL: &str = r#"
(module
  (memory (export "memory") 2)
  (data (i32.const 16) "a first segment of data")
  (data (i32.const 70000) "a second segment, on the second page")
  (func (export "add") (param i32 i32) (result i32)
    (i32.add (local.get 0) (local.get 1)))
  (func (export "add_in_memory") (param i32 i32) (result i32)
    (i32.store (i32.const 1024) (local.get 0))
    (i32.add (i32.load (i32.const 1024)) (local.get 1))))
"#;

/// A guest with so much data, which writes to ten pages of the first MiB.
fn with_data(mib: usize) -> String {
    let data = "0123456789abcdef".repeat(mib << 16);
    let pages = mib * 16;
    format!(
        r#"(module (memory {pages}) (data (i32.const 0) "{data}")
            (func (export "touch") (param i32 i32) (result i32)
                (loop
                    (i32.store (local.get 0) (local.get 1))
                    (local.set 0 (i32.add (local.get 0) (i32.const 98304)))
                    (br_if 0 (i32.lt_u (local.get 0) (i32.const 983040))))
                (local.get 0)))"#
    )
}

/// What is called before the instance is dropped.
type Call = Option<&'static str>;

/// Makes an instance, calls it and drops it.
type One = Arc<dyn Fn() -> Result<()> + Send + Sync>;

pub fn run(report: &mut Report) -> Result<()> {
    small(report)?;
    large(report)?;
    two_workers(report)
}

fn small(report: &mut Report) -> Result<()> {
    let mut contest = |work: &str, call: Call, aim| {
        let contest = Contest {
            work: work.into(),
            unit: Unit::Microseconds,
            effort: Effort::USUAL,
            aim,
            ours: repeated(ours(SMALL, call)?),
            on_demand: repeated(theirs(SMALL, call, Allocation::OnDemand)?),
            pooled: Some(repeated(theirs(SMALL, call, Allocation::Pooled)?)),
        };
        versus::run(QUESTION, contest, report)
    };
    contest("an instance of two pages, two data segments", None, Some(Bound::AtMost(1.5)))?;
    contest("the same with one call_async", Some("add"), Some(Bound::AtMost(2.2)))?;
    contest("the same with a call that writes a page", Some("add_in_memory"), None)
}

/// An image of 16 MiB of which ten pages are touched is to cost ten pages: as much as one of 1 MiB
/// does, a tenth more at most.
fn large(report: &mut Report) -> Result<()> {
    let contenders = |mib| -> Result<[Contender; 3]> {
        let wasm = with_data(mib);
        let call = Some("touch");
        Ok([
            repeated(ours(&wasm, call)?),
            repeated(theirs(&wasm, call, Allocation::OnDemand)?),
            repeated(theirs(&wasm, call, Allocation::Pooled)?),
        ])
    };
    let contenders = contenders(1)?.into_iter().chain(contenders(16)?).collect();
    let samples = measure::interleave(contenders, Effort::USUAL)?;
    let [ours, on_demand, pooled, ours_16, on_demand_16, pooled_16] = &samples[..] else {
        unreachable!("six contenders")
    };
    let row = |work: &str, unit, ours, on_demand, pooled| {
        Row::new(QUESTION, work, unit, ours).beside(ours, on_demand, Some(pooled))
    };
    let us = Unit::Microseconds;
    report.push(row("1 MiB of data, ten pages written", us, ours, on_demand, pooled));
    report.push(row("16 MiB of data, ten pages written", us, ours_16, on_demand_16, pooled_16));
    let growth = row(
        "16 MiB of data ÷ 1 MiB, ten pages written",
        Unit::Times,
        &ours_16.ratio(ours),
        &on_demand_16.ratio(on_demand),
        &pooled_16.ratio(pooled),
    );
    report.push(growth.aim(Bound::AtMost(1.1)));
    Ok(())
}

/// The rate of two threads at once ÷ that of one.
fn two_workers(report: &mut Report) -> Result<()> {
    let kinds = [
        ours(SMALL, Some("add"))?,
        theirs(SMALL, Some("add"), Allocation::OnDemand)?,
        theirs(SMALL, Some("add"), Allocation::Pooled)?,
    ];
    let contenders = kinds.iter().flat_map(|one| [at_once(one, 1), at_once(one, 2)]).collect();
    let samples = measure::interleave(contenders, Effort::THREADS)?;
    let speedup = |kind: usize| samples[2 * kind].ratio(&samples[2 * kind + 1]);
    let (ours, on_demand, pooled) = (speedup(0), speedup(1), speedup(2));
    let row = Row::new(QUESTION, "two workers' rate ÷ one's, with a call", Unit::Times, &ours);
    report.push(row.beside(&ours, &on_demand, Some(&pooled)).aim(Bound::AtLeast(1.8)));
    Ok(())
}

fn repeated(one: One) -> Contender {
    Box::new(move |times| time(|| (0..times).try_for_each(|_| one())))
}

/// So many threads share the work; the clock runs from the first's beginning to the last's end.
fn at_once(one: &One, threads: u64) -> Contender {
    let one = one.clone();
    Box::new(move |times| {
        let ready = Barrier::new(threads as usize);
        let work = || -> Result<(Instant, Instant)> {
            ready.wait();
            let begun = Instant::now();
            (0..times.div_ceil(threads)).try_for_each(|_| one())?;
            Ok((begun, Instant::now()))
        };
        let spans = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let join = |worker: ScopedJoinHandle<'_, _>| worker.join();
            let spans = workers.into_iter().map(join);
            spans
                .map(|it| it.unwrap_or_else(|panic| resume_unwind(panic)))
                .collect::<Result<Vec<_>>>()
        })?;
        let begun = spans.iter().map(|span| span.0).min();
        let ended = spans.iter().map(|span| span.1).max();
        let (begun, ended) = begun.zip(ended).context("no worker")?;
        Ok(ended - begun)
    })
}

fn ours(wasm: &str, call: Call) -> Result<One> {
    use lampwick::{Linker, Module, Store};
    let engine = engines::ours(false)?;
    let module = Module::new(&engine, wasm)?;
    let pre = Linker::new(&engine).instantiate_pre(Store::new(&engine, ()), &module)?;
    let one = async move || {
        let mut store = Store::new(&engine, ());
        let instance = pre.instantiate_async(&mut store).await?;
        if let Some(name) = call {
            let func = instance.get_typed_func::<(i32, i32), i32, _>(&mut store, name)?;
            func.call_async(&mut store, (1, 2)).await?;
        }
        anyhow::Ok(())
    };
    Ok(Arc::new(move || drive(one())))
}

fn theirs(wasm: &str, call: Call, allocation: Allocation) -> Result<One> {
    use wasmtime::{Linker, Module, Store};
    let engine = engines::theirs(false, allocation)?;
    let module = Module::new(&engine, wasm)?;
    let pre = Linker::new(&engine).instantiate_pre(&module)?;
    let one = async move || {
        let mut store = Store::new(&engine, ());
        let instance = pre.instantiate_async(&mut store).await?;
        if let Some(name) = call {
            let func = instance.get_typed_func::<(i32, i32), i32>(&mut store, name)?;
            func.call_async(&mut store, (1, 2)).await?;
        }
        anyhow::Ok(())
    };
    Ok(Arc::new(move || drive(one())))
}
