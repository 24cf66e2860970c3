//! What does counting fuel cost, and what does it cost to yield when it is gone?
//!
//! The guests are the programs of `tests/guests`, each without and with fuel. Compare interleaved
//! runs only; `benches/peers` has the same beside another runtime.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use lampwick::{Config, Engine, Instance, Module, Store, Val};

/// A guest: its name, its module, the function to call, and the arguments of a call of a few
/// milliseconds.
struct Guest(&'static str, &'static [u8], &'static str, &'static [i32]);

const GUESTS: &[Guest] = &[
    Guest("fib", include_bytes!("../tests/guests/fib.wasm"), "fib", &[25]),
    Guest("hash", include_bytes!("../tests/guests/hash.wasm"), "run", &[1]),
    Guest("json", include_bytes!("../tests/guests/json.wasm"), "run", &[10]),
    Guest("nbody", include_bytes!("../tests/guests/nbody.wasm"), "run", &[10_000]),
    Guest("ray", include_bytes!("../tests/guests/ray.wasm"), "render", &[64, 48]),
    Guest("sieve", include_bytes!("../tests/guests/sieve.wasm"), "run", &[1_000_000]),
    Guest("sort", include_bytes!("../tests/guests/sort.wasm"), "run", &[10_000]),
    Guest("x25519", include_bytes!("../tests/guests/x25519.wasm"), "run", &[3]),
];

fn metering(c: &mut Criterion) {
    for Guest(name, wasm, function, args) in GUESTS {
        let args: Vec<Val> = args.iter().map(|&arg| Val::I32(arg)).collect();
        let mut group = c.benchmark_group(*name);
        for metered in [false, true] {
            let engine = Engine::new(Config::new().consume_fuel(metered)).unwrap();
            let module = Module::new(&engine, wasm).unwrap();
            let mut store = Store::new(&engine, ());
            if metered {
                store.add_fuel(u64::MAX).unwrap();
            }
            let instance = Instance::new(&mut store, &module, &[]).unwrap();
            let func = instance.get_func(&mut store, function).unwrap();
            let label = if metered { "metered" } else { "unmetered" };
            group.bench_function(BenchmarkId::from_parameter(label), |b| {
                b.iter(|| func.call(&mut store, &args).unwrap());
            });
        }
    }
}

/// A guest that loops for ever on slices of 1,000: each poll is one yield and one resume around a
/// slice, which the row with slices of 100,000 helps to subtract.
fn yields(c: &mut Criterion) {
    let engine = Engine::new(Config::new().async_support(true).consume_fuel(true)).unwrap();
    let module = Module::new(&engine, r#"(module (func (export "run") (loop (br 0))))"#).unwrap();
    let mut context = Context::from_waker(Waker::noop());
    for slice in [10, 1_000, 100_000] {
        let mut store = Store::new(&engine, ());
        store.out_of_fuel_async_yield(u64::MAX, slice);
        let start = pin!(Instance::new_async(&mut store, &module, &[])).poll(&mut context);
        let Poll::Ready(Ok(instance)) = start else { unreachable!("nothing to wait for") };
        let run = instance.get_typed_func::<(), (), _>(&mut store, "run").unwrap();
        let mut call = pin!(run.call_async(&mut store, ()));
        c.bench_function(&format!("yield after {slice}"), |b| {
            b.iter(|| assert!(call.as_mut().poll(&mut context).is_pending()));
        });
    }
}

criterion_group!(benches, metering, yields);
criterion_main!(benches);
