//! What does a slice cost when ten thousand guests take turns, too many for any cache?
//!
//! Three such crowds do not fit into one process: each reserves a third of the address space, and
//! the mappings of two would exceed the kernel's limit. So each lives in a child, and the rounds of
//! the children interleave.

use crate::engines::{self, Allocation};
use crate::measure::{Contender, Effort, drive};
use crate::report::{Bound, Report, Unit};
use crate::versus::{self, Contest};
use anyhow::{Context as _, Result, bail, ensure};
use std::future::Future;
use std::io::{BufRead, BufReader, Write};
use std::pin::Pin;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

const GUESTS: u32 = 10_000;

/// The fuel of a slice.
const SLICE: u64 = 1_000;

/// Counts for ever, 5 fuel for each number; its one page of memory is touched once.
const GUEST: &str = r#"
(module
  (memory 1)
  (func (export "run") (local $count i64)
    (i64.store (i32.const 0) (i64.const 1))
    (loop $again
      (local.set $count (i64.add (local.get $count) (i64.const 1)))
      (br $again))))
"#;

/// Who is in the crowd, as the child is told by its argument.
const OURS: &str = "lampwick";
const ON_DEMAND: &str = "wasmtime";
const POOLED: &str = "wasmtime-pooled";

/// A call that never ends; it answers whether it ended by running out of fuel.
type Call = Pin<Box<dyn Future<Output = bool>>>;

pub fn run(report: &mut Report) -> Result<()> {
    let contest = Contest {
        work: "a slice of 1,000 fuel, round robin over 10,000 guests".into(),
        unit: Unit::Microseconds,
        // A round goes around the crowd several times.
        effort: Effort { rounds: 21, round: Duration::from_millis(40) },
        aim: Some(Bound::AtMost(0.6)),
        ours: child(OURS)?,
        on_demand: child(ON_DEMAND)?,
        pooled: Some(child(POOLED)?),
    };
    versus::run("crowds", contest, report)
}

/// Starts a child that waits for numbers of slices and answers nanoseconds. It ends with its input.
fn child(kind: &str) -> Result<Contender> {
    struct Crowd {
        process: Child,
        input: ChildStdin,
        output: BufReader<ChildStdout>,
    }
    impl Drop for Crowd {
        fn drop(&mut self) {
            // It has nothing to lose, and may have ended by itself.
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
    let mut process = Command::new(std::env::current_exe()?)
        .args(["--crowd", kind])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let input = process.stdin.take().context("a child with an input")?;
    let output = BufReader::new(process.stdout.take().context("a child with an output")?);
    let mut crowd = Crowd { process, input, output };
    let kind = kind.to_owned();
    Ok(Box::new(move |times| {
        writeln!(crowd.input, "{times}").with_context(|| format!("the crowd of {kind} is gone"))?;
        let mut line = String::new();
        crowd.output.read_line(&mut line)?;
        let nanoseconds = line.trim().parse();
        Ok(Duration::from_nanos(nanoseconds.with_context(|| format!("{kind} said {line:?}"))?))
    }))
}

/// What the child does.
pub fn serve(kind: &str) -> Result<()> {
    let mut crowd = match kind {
        OURS => ours()?,
        ON_DEMAND => theirs(Allocation::OnDemand)?,
        POOLED => theirs(Allocation::Pooled)?,
        _ => bail!("no crowd `{kind}`"),
    };
    let mut context = Context::from_waker(Waker::noop());
    // Each has started before anything is timed.
    for call in &mut crowd {
        ensure!(call.as_mut().poll(&mut context).is_pending(), "a guest ended");
    }
    let mut next = 0;
    for line in std::io::stdin().lines() {
        let times: u64 = line?.trim().parse()?;
        let start = Instant::now();
        for _ in 0..times {
            ensure!(crowd[next].as_mut().poll(&mut context).is_pending(), "a guest ended");
            next = (next + 1) % crowd.len();
        }
        println!("{}", start.elapsed().as_nanos());
    }
    Ok(())
}

fn ours() -> Result<Vec<Call>> {
    use lampwick::{Instance, Module, Store};
    let engine = engines::ours(true)?;
    let module = Module::new(&engine, GUEST)?;
    let call = |_| -> Result<Call> {
        let mut store = Store::new(&engine, ());
        store.add_fuel(SLICE)?;
        store.out_of_fuel_async_yield(u64::MAX, SLICE);
        let instance = drive(Instance::new_async(&mut store, &module, &[]))?;
        let run = instance.get_typed_func::<(), (), _>(&mut store, "run")?;
        Ok(Box::pin(async move { run.call_async(&mut store, ()).await.is_err() }))
    };
    (0..GUESTS).map(call).collect()
}

fn theirs(allocation: Allocation) -> Result<Vec<Call>> {
    use wasmtime::{Instance, Module, Store};
    let engine = engines::theirs_for(true, allocation, GUESTS)?;
    let module = Module::new(&engine, GUEST)?;
    let call = |_| -> Result<Call> {
        let mut store = Store::new(&engine, ());
        store.set_fuel(u64::MAX)?;
        store.fuel_async_yield_interval(Some(SLICE))?;
        let instance = drive(Instance::new_async(&mut store, &module, &[]))?;
        let run = instance.get_typed_func::<(), ()>(&mut store, "run")?;
        Ok(Box::pin(async move { run.call_async(&mut store, ()).await.is_err() }))
    };
    (0..GUESTS).map(call).collect()
}
