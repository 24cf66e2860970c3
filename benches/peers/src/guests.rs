//! What does fuel cost a guest that computes, and how good is the code it runs?

use crate::engines::{self, Allocation};
use crate::measure::{self, Contender, Samples, drive, time};
use crate::table::{Score, Table, ratio, spread};
use anyhow::{Context as _, Result, bail, ensure};

/// The most that metering may cost: metered time ÷ unmetered time.
const AIM: f64 = 1.3;

/// One call of one guest of `tests/guests`.
struct Kernel {
    name: &'static str,
    wasm: &'static [u8],
    export: &'static str,
    arguments: &'static [i32],
}

macro_rules! kernel {
    ($name:literal, $export:literal, $($argument:literal),+) => {
        Kernel {
            name: concat!($name, " ", $($argument, " "),+),
            wasm: include_bytes!(concat!("../../../tests/guests/", $name, ".wasm")),
            export: $export,
            arguments: &[$($argument),+],
        }
    };
}

const KERNELS: [Kernel; 8] = [
    kernel!("fib", "fib", 27),
    kernel!("sieve", "run", 2000000),
    kernel!("hash", "run", 1),
    kernel!("nbody", "run", 50000),
    kernel!("ray", "render", 160, 120),
    kernel!("json", "run", 10),
    kernel!("x25519", "run", 20),
    kernel!("sort", "run", 20000),
];

pub fn run(score: &mut Score) -> Result<()> {
    let mut table = Table::new(
        "Guests: ms for one call (min–median–max); ratios are medians",
        &[
            "guest",
            "lampwick",
            "metered",
            "÷",
            "wasmtime",
            "metered",
            "÷",
            "ours ÷ theirs",
            "metered",
            "aim",
        ],
    );
    let mut means = [0.0; 4];
    for kernel in &KERNELS {
        let entrants = [
            ours(kernel, false)?,
            ours(kernel, true)?,
            theirs(kernel, false)?,
            theirs(kernel, true)?,
        ];
        let answers = entrants.each_ref().map(|(answer, _)| *answer);
        ensure!(answers == [answers[0]; 4], "{}: answers differ: {answers:x?}", kernel.name);
        let samples =
            measure::interleave(entrants.into_iter().map(|(_, contender)| contender).collect())?;
        let [ours, ours_metered, theirs, theirs_metered] = &samples[..] else {
            unreachable!("four contenders")
        };
        let ratios = [
            ours_metered.ratio(ours),
            theirs_metered.ratio(theirs),
            ours.ratio(theirs),
            ours_metered.ratio(theirs_metered),
        ];
        for (mean, ratio) in means.iter_mut().zip(&ratios) {
            *mean += ratio.median() / KERNELS.len() as f64;
        }
        let ms = |samples: &Samples| spread(samples, 1e6);
        let [metering, their_metering, unmetered, metered] = ratios.each_ref().map(ratio);
        table.row([
            kernel.name.trim_end().to_string(),
            ms(ours),
            ms(ours_metered),
            metering,
            ms(theirs),
            ms(theirs_metered),
            their_metering,
            unmetered,
            metered,
            score.judge(ratios[0].median(), AIM, ""),
        ]);
    }
    let [metering, their_metering, unmetered, metered] = means.map(|mean| format!("{mean:.2}"));
    let none = String::new;
    table.row([
        "mean of the ratios".to_string(),
        none(),
        none(),
        metering,
        none(),
        none(),
        their_metering,
        unmetered,
        metered,
        score.judge(means[0], AIM, ""),
    ]);
    table.print();
    Ok(())
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
    let func = instance.get_func(&mut store, kernel.export).context("no such export")?;
    let arguments: Vec<Val> = kernel.arguments.iter().map(|&argument| Val::I32(argument)).collect();
    let answer = match drive(func.call_async(&mut store, &arguments))?[0] {
        Val::I32(bits) => bits as u64,
        Val::I64(bits) => bits as u64,
        Val::F64(bits) => bits,
        _ => bail!("{} answers something else", kernel.name),
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
    let func = instance.get_func(&mut store, kernel.export).context("no such export")?;
    let arguments: Vec<Val> = kernel.arguments.iter().map(|&argument| Val::I32(argument)).collect();
    let mut results = [Val::I32(0)];
    drive(func.call_async(&mut store, &arguments, &mut results))?;
    let answer = match results[0] {
        Val::I32(bits) => bits as u64,
        Val::I64(bits) => bits as u64,
        Val::F64(bits) => bits,
        _ => bail!("{} answers something else", kernel.name),
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
