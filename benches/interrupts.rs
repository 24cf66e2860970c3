//! What does it cost that guests can be interrupted, or have deadlines?
//!
//! `spin` is a loop of three operators, the worst case of a check at loop heads; `fib` has nothing
//! but function entries; the others are programs of `tests/guests`. Compare interleaved runs only.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use lampwick::{Config, Engine, Instance, Module, Store, Val};

/// A guest: its name, its module, the function to call, and the arguments of a call of some
/// milliseconds.
struct Guest(&'static str, &'static [u8], &'static str, &'static [i32]);

const SPIN: &[u8] = br#"(module (func (export "run") (param i32)
    (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))"#;

const GUESTS: &[Guest] = &[
    Guest("spin", SPIN, "run", &[10_000_000]),
    Guest("fib", include_bytes!("../tests/guests/fib.wasm"), "fib", &[25]),
    Guest("sieve", include_bytes!("../tests/guests/sieve.wasm"), "run", &[1_000_000]),
    Guest("sort", include_bytes!("../tests/guests/sort.wasm"), "run", &[10_000]),
    Guest("json", include_bytes!("../tests/guests/json.wasm"), "run", &[10]),
];

/// What is on: a name, fuel, interrupts, epochs.
const COMBINATIONS: &[(&str, bool, bool, bool)] = &[
    ("neither", false, false, false),
    ("interrupts", false, true, false),
    ("epochs", false, false, true),
    ("both", false, true, true),
    ("fuel", true, false, false),
    ("fuel and interrupts", true, true, false),
    ("fuel and both", true, true, true),
];

fn checks(c: &mut Criterion) {
    for Guest(name, wasm, function, args) in GUESTS {
        let args: Vec<Val> = args.iter().map(|&arg| Val::I32(arg)).collect();
        let mut group = c.benchmark_group(*name);
        for &(label, fuel, interrupts, epochs) in COMBINATIONS {
            let mut config = Config::new();
            config.consume_fuel(fuel).interruptable(interrupts).epoch_interruption(epochs);
            let engine = Engine::new(&config).unwrap();
            let module = Module::new(&engine, wasm).unwrap();
            let mut store = Store::new(&engine, ());
            if fuel {
                store.add_fuel(u64::MAX).unwrap();
            }
            store.set_epoch_deadline(u64::MAX);
            let instance = Instance::new(&mut store, &module, &[]).unwrap();
            let func = instance.get_func(&mut store, function).unwrap();
            group.bench_function(BenchmarkId::from_parameter(label), |b| {
                b.iter(|| func.call(&mut store, &args).unwrap());
            });
        }
    }
}

criterion_group!(benches, checks);
criterion_main!(benches);
