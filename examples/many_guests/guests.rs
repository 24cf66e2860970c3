//! The kinds of guests, and the life of one guest.

use anyhow::{Context as _, Result};
use lampwick::{Config, Engine, Instance, Module, Store, Trap, Val};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::{Duration, Instant};

/// A guest gives way after this much fuel: some microseconds of computing.
const SLICE: u64 = 20_000;

/// So many slices a guest may burn, far more than those need that end by themselves.
const INJECTIONS: u64 = 10_000;

/// So many slices an endless guest may burn. When they are gone it traps.
const ENDLESS_INJECTIONS: u64 = 1_000;

/// How a guest ends that used up its injections.
pub(crate) const OUT_OF_FUEL: &str = "all fuel consumed by WebAssembly";

/// Counts for ever.
const ENDLESS: &str = r#"
(module (func (export "run") (local i64)
  (loop $again
    (local.set 0 (i64.add (local.get 0) (i64.const 1)))
    (br $again))))
"#;

/// Reads memory, word by word, until there is none.
const OVERRUN: &str = r#"
(module (memory 1) (func (export "run") (local i32)
  (loop $again
    (drop (i32.load (local.get 0)))
    (local.set 0 (i32.add (local.get 0) (i32.const 4)))
    (br $again))))
"#;

/// Many guests run the same module, each in a store of its own.
#[derive(Clone)]
pub(crate) struct Kind {
    number: usize,
    pub(crate) name: &'static str,
    module: Module,
    export: &'static str,
    arguments: &'static [Val],
    /// How many slices of fuel it may burn.
    pub(crate) injections: u64,
    /// The ending that is expected of it.
    pub(crate) ends: &'static str,
}

/// How one guest fared.
pub(crate) struct Outcome {
    /// The number of its kind.
    pub(crate) kind: usize,
    pub(crate) ending: String,
    /// How often its fuel was gone and it gave way.
    pub(crate) slices: u64,
    pub(crate) fuel: u64,
    /// The time it had a worker, the longest such time without giving way, and the time it took in
    /// all.
    pub(crate) computing: Duration,
    pub(crate) longest: Duration,
    pub(crate) elapsed: Duration,
}

/// Compiles the module of each kind, once.
pub(crate) fn compile() -> Result<Vec<Kind>> {
    let mut config = Config::new();
    config.async_support(true).consume_fuel(true);
    let engine = Engine::new(&config)?;
    let mut kinds = Vec::new();
    let mut kind = |name, wasm: &[u8], export, arguments, ends| -> Result<()> {
        let module = Module::new(&engine, wasm)?;
        let injections = if ends == OUT_OF_FUEL { ENDLESS_INJECTIONS } else { INJECTIONS };
        kinds.push(Kind { number: kinds.len(), name, module, export, arguments, injections, ends });
        Ok(())
    };
    macro_rules! guest {
        ($name:literal) => {
            include_bytes!(concat!("../../tests/guests/", $name, ".wasm"))
        };
    }
    kind("short: fib", guest!("fib"), "fib", &[Val::I32(15)], "returned 610")?;
    kind("short: json", guest!("json"), "run", &[Val::I32(1)], "returned -5510070295072438863")?;
    kind(
        "long: ray",
        guest!("ray"),
        "render",
        &[Val::I32(160), Val::I32(120)],
        "returned 887949453",
    )?;
    kind("long: hash", guest!("hash"), "run", &[Val::I32(1)], "returned 248218895")?;
    kind("endless", ENDLESS.as_bytes(), "run", &[], OUT_OF_FUEL)?;
    kind("trap", OVERRUN.as_bytes(), "run", &[], "out of bounds memory access")?;
    Ok(kinds)
}

/// Runs one guest to its end, whichever that is.
pub(crate) async fn run(kind: Kind) -> Result<Outcome> {
    let start = Instant::now();
    let mut store = Store::new(kind.module.engine(), ());
    store.out_of_fuel_async_yield(kind.injections, SLICE);
    let (mut slices, mut computing, mut longest) = (0, Duration::ZERO, Duration::ZERO);
    let result = {
        let mut guest = pin!(async {
            let instance = Instance::new_async(&mut store, &kind.module, &[]).await?;
            let func = instance.get_func(&mut store, kind.export).context("no such export")?;
            func.call_async(&mut store, kind.arguments).await
        });
        // Fuel is the only thing that a guest of ours waits for: each pending poll is a slice.
        poll_fn(|context| {
            let start = Instant::now();
            let poll = guest.as_mut().poll(context);
            slices += u64::from(poll.is_pending());
            computing += start.elapsed();
            longest = longest.max(start.elapsed());
            poll
        })
        .await
    };
    let fuel = store.fuel_consumed().context("the engine meters")?;
    let ending = ending(result)?;
    Ok(Outcome {
        kind: kind.number,
        ending,
        slices,
        fuel,
        computing,
        longest,
        elapsed: start.elapsed(),
    })
}

/// The outcome of a call in words. An error that is no trap stays one.
fn ending(result: Result<Box<[Val]>>) -> Result<String> {
    Ok(match result {
        Ok(values) => match values[..] {
            [Val::I32(value)] => format!("returned {value}"),
            [Val::I64(value)] => format!("returned {value}"),
            _ => "returned".to_string(),
        },
        Err(error) => {
            let reason = error.downcast::<Trap>()?.display_reason().to_string();
            reason.trim_start_matches("wasm trap: ").to_string()
        }
    })
}
