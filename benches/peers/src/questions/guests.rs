//! What does fuel cost a guest that computes, and how good is the code it runs?

use crate::engines::{self, Allocation};
use crate::kernels::{GUESTS, KERNELS, Kernel, VECTORS};
use crate::measure::{self, Contender, Effort, Samples, drive, time};
use crate::report::{Bound, Report, Row, Unit};
use anyhow::{Context as _, Result, bail, ensure};

/// The most that metering may cost the worst of all, metered time ÷ unmetered.
const METERING: Bound = Bound::AtMost(1.5);

/// How much slower than the peer's unmetered code may be.
const UNMETERED: Bound = Bound::RatioAtMost(1.03);

/// One kernel's rounds.
struct Measured {
    name: &'static str,
    ours: Samples,
    ours_metered: Samples,
    theirs: Samples,
    theirs_metered: Samples,
}

impl Measured {
    fn metering(&self) -> Samples {
        self.ours_metered.ratio(&self.ours)
    }

    fn their_metering(&self) -> Samples {
        self.theirs_metered.ratio(&self.theirs)
    }
}

pub fn run(report: &mut Report) -> Result<()> {
    let mut all = Vec::new();
    for (question, kernels) in [("guests of tests/guests", &GUESTS[..]), ("kernels", &KERNELS[..])]
    {
        for kernel in kernels {
            let measured = measure(kernel).with_context(|| kernel.name)?;
            rows(question, &measured, report);
            all.push(measured);
        }
    }
    sums(&all, report);
    vectors(report)
}

/// Kernels of vectors, with an aim of their own.
fn vectors(report: &mut Report) -> Result<()> {
    const QUESTION: &str = "kernels of vectors";
    let mut all = Vec::new();
    for kernel in &VECTORS {
        let measured = measure(kernel).with_context(|| kernel.name)?;
        rows(QUESTION, &measured, report);
        all.push(measured);
    }
    let beside: Vec<Samples> = all.iter().map(|it| it.ours.ratio(&it.theirs)).collect();
    let at = worst(&beside);
    let work = format!("kernels of vectors, ours ÷ wasmtime's, worst ({})", all[at].name);
    report.push(Row::new(QUESTION, work, Unit::Times, &beside[at]).aim(Bound::AtMost(1.05)));
    Ok(())
}

/// The place of the samples with the largest median.
fn worst(several: &[Samples]) -> usize {
    let medians = several.iter().map(Samples::median).enumerate();
    medians.max_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(at, _)| at)
}

fn rows(question: &str, measured: &Measured, report: &mut Report) {
    let Measured { name, ours, ours_metered, theirs, theirs_metered } = measured;
    let row = |what: &str, unit, ours: &Samples, theirs: &Samples| {
        Row::new(question, format!("{name}{what}"), unit, ours).beside(ours, theirs, None)
    };
    report.push(row("", Unit::Milliseconds, ours, theirs).mark(UNMETERED));
    report.push(row(", metered", Unit::Milliseconds, ours_metered, theirs_metered));
    let (metering, their_metering) = (measured.metering(), measured.their_metering());
    report
        .push(row(", metered ÷ unmetered", Unit::Times, &metering, &their_metering).mark(METERING));
}

/// The aims, which are about all guests and kernels together.
fn sums(all: &[Measured], report: &mut Report) {
    const QUESTION: &str = "guests and kernels together";
    let of =
        |samples: fn(&Measured) -> Samples| -> Vec<Samples> { all.iter().map(samples).collect() };
    let metering = of(Measured::metering);
    let their_metering = of(Measured::their_metering);
    let beside = of(|it| it.ours.ratio(&it.theirs));
    let beside_metered = of(|it| it.ours_metered.ratio(&it.theirs_metered));

    let (ours, theirs) = (Samples::mean(&metering), Samples::mean(&their_metering));
    let row =
        Row::new(QUESTION, "guests and kernels, metered ÷ unmetered, mean", Unit::Times, &ours);
    report.push(row.beside(&ours, &theirs, None).aim(Bound::AtMost(1.15)));

    let (at, their_at) = (worst(&metering), worst(&their_metering));
    let names = if at == their_at {
        all[at].name.to_string()
    } else {
        format!("{}; theirs: {}", all[at].name, all[their_at].name)
    };
    let (ours, theirs) = (&metering[at], &their_metering[their_at]);
    let row = Row::new(QUESTION, format!("the same, worst ({names})"), Unit::Times, ours);
    report.push(row.beside(ours, theirs, None).aim(METERING));

    let row = |work: String, samples: &Samples| Row::new(QUESTION, work, Unit::Times, samples);
    let mean = "guests and kernels, ours ÷ wasmtime's, mean:";
    report.push(
        row(format!("{mean} metered"), &Samples::mean(&beside_metered)).aim(Bound::AtMost(0.85)),
    );
    report.push(row(format!("{mean} unmetered"), &Samples::mean(&beside)));
    let at = worst(&beside);
    let work = format!("the same, worst: unmetered ({})", all[at].name);
    report.push(row(work, &beside[at]).aim(Bound::AtMost(1.03)));
}

fn measure(kernel: &'static Kernel) -> Result<Measured> {
    let entrants =
        [ours(kernel, false)?, ours(kernel, true)?, theirs(kernel, false)?, theirs(kernel, true)?];
    let answers = entrants.each_ref().map(|(answer, _)| *answer);
    ensure!(answers == [answers[0]; 4], "answers differ: {answers:x?}");
    let contenders = entrants.into_iter().map(|(_, contender)| contender).collect();
    let samples = measure::interleave(contenders, Effort::USUAL)?;
    let [ours, ours_metered, theirs, theirs_metered] =
        <[Samples; 4]>::try_from(samples).unwrap_or_else(|_| unreachable!("four contenders"));
    Ok(Measured { name: kernel.name, ours, ours_metered, theirs, theirs_metered })
}

/// Our entrant: the bits of its answer, and the call to be timed.
fn ours(kernel: &'static Kernel, metered: bool) -> Result<(u64, Contender)> {
    use lampwick::{Instance, Module, Store, Val};
    let engine = engines::ours(metered)?;
    let module = Module::new(&engine, kernel.wasm)?;
    let mut store = Store::new(&engine, ());
    if metered {
        store.add_fuel(u64::MAX)?;
    }
    let instance = drive(Instance::new_async(&mut store, &module, &[]))?;
    if let Some(initialize) = instance.get_func(&mut store, "_initialize") {
        drive(initialize.call_async(&mut store, &[]))?;
    }
    let func = instance.get_func(&mut store, kernel.export).context("no such export")?;
    let arguments: Vec<Val> = kernel.arguments.iter().map(|&argument| Val::I32(argument)).collect();
    let answer = match drive(func.call_async(&mut store, &arguments))?[0] {
        Val::I32(bits) => bits as u64,
        Val::I64(bits) => bits as u64,
        Val::F64(bits) => bits,
        _ => bail!("it answers something else"),
    };
    let contender = move |times| {
        time(|| {
            for _ in 0..times {
                drive(func.call_async(&mut store, &arguments))?;
            }
            Ok(())
        })
    };
    Ok((answer, Box::new(contender)))
}

/// The peer's entrant.
fn theirs(kernel: &'static Kernel, metered: bool) -> Result<(u64, Contender)> {
    use wasmtime::{Instance, Module, Store, Val};
    let engine = engines::theirs(metered, Allocation::OnDemand)?;
    let module = Module::new(&engine, kernel.wasm)?;
    let mut store = Store::new(&engine, ());
    if metered {
        store.set_fuel(u64::MAX)?;
    }
    let instance = drive(Instance::new_async(&mut store, &module, &[]))?;
    if let Some(initialize) = instance.get_func(&mut store, "_initialize") {
        drive(initialize.call_async(&mut store, &[], &mut []))?;
    }
    let func = instance.get_func(&mut store, kernel.export).context("no such export")?;
    let arguments: Vec<Val> = kernel.arguments.iter().map(|&argument| Val::I32(argument)).collect();
    let mut results = [Val::I32(0)];
    drive(func.call_async(&mut store, &arguments, &mut results))?;
    let answer = match results[0] {
        Val::I32(bits) => bits as u64,
        Val::I64(bits) => bits as u64,
        Val::F64(bits) => bits,
        _ => bail!("it answers something else"),
    };
    let contender = move |times| {
        time(|| {
            for _ in 0..times {
                drive(func.call_async(&mut store, &arguments, &mut results))?;
            }
            Ok(())
        })
    };
    Ok((answer, Box::new(contender)))
}
