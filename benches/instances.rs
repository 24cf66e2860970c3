//! What does it cost to make an instance and to drop it, by how much data its module has, on demand
//! and in a pool?
//!
//! Each instance has a store of its own. With `touch`, a call reads one byte of each 4 KiB of the
//! data, which shows what was put off; with `ten`, it writes to ten pages. `workers` shows what two
//! threads that make instances cost each other.

use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use lampwick::{
    Config, Engine, InstanceAllocationStrategy, InstanceLimits, InstancePre, Linker, Module,
    ModuleLimits, Store,
};

/// Two pages of memory with two short data segments.
const SMALL: &str = r#"(module (memory (export "memory") 2)
    (data (i32.const 16) "a first segment of data")
    (data (i32.const 70000) "a second segment, on the second page")
    (func (export "touch") (i32.store8 (i32.const 1024) (i32.load8_u (i32.const 70000))))
    (func (export "ten") (i32.store8 (i32.const 1024) (i32.load8_u (i32.const 70000)))))"#;

/// A module with so many bytes of data.
fn with_data(kib: usize) -> String {
    let pages = kib.div_ceil(64) + 2;
    let data = "0123456789abcdef".repeat(kib * 64);
    format!(
        r#"(module (memory (export "memory") {pages}) (data (i32.const 1024) "{data}")
            (func (export "touch") (local $at i32)
                (loop
                    (drop (i32.load8_u (local.get $at)))
                    (local.set $at (i32.add (local.get $at) (i32.const 4096)))
                    (br_if 0 (i32.lt_u (local.get $at) (i32.const {}))))
            (func (export "ten") (local $at i32)
                (loop
                    (i32.store (local.get $at) (i32.const 1))
                    (local.set $at (i32.add (local.get $at) (i32.const {})))
                    (br_if 0 (i32.lt_u (local.get $at) (i32.const {}))))))"#,
        kib * 1024,
        kib * 1024 / 10,
        kib * 1024,
    )
}

fn engines() -> [(&'static str, Engine); 2] {
    let mut pooled = Config::new();
    pooled.allocation_strategy(InstanceAllocationStrategy::Pooling {
        strategy: Default::default(),
        module_limits: ModuleLimits::default(),
        instance_limits: InstanceLimits { count: 100 },
    });
    [("on demand", Engine::default()), ("pooled", Engine::new(&pooled).unwrap())]
}

/// The life of an instance, with a call.
fn one(engine: &Engine, pre: &InstancePre<()>, call: Option<&str>) {
    let mut store = Store::new(engine, ());
    let instance = pre.instantiate(&mut store).unwrap();
    if let Some(name) = call {
        let func = instance.get_typed_func::<(), (), _>(&mut store, name);
        func.unwrap().call(&mut store, ()).unwrap();
    }
}

/// The time for which each of some workers makes an instance, while all of them do. If they did not
/// mind each other, it would be the same for any number of them.
fn workers(c: &mut Criterion) {
    let mut group = c.benchmark_group("workers");
    for (allocation, engine) in engines() {
        let module = Module::new(&engine, SMALL).unwrap();
        let pre = Linker::new(&engine).instantiate_pre(Store::new(&engine, ()), &module).unwrap();
        for workers in [1, 2] {
            group.bench_function(BenchmarkId::new(allocation, workers), |b| {
                b.iter_custom(|times| {
                    let start = Barrier::new(workers + 1);
                    thread::scope(|scope| {
                        let work = || {
                            start.wait();
                            (0..times).for_each(|_| one(&engine, &pre, Some("touch")));
                        };
                        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
                        start.wait();
                        let started = Instant::now();
                        threads.into_iter().for_each(|thread| thread.join().unwrap());
                        started.elapsed()
                    })
                });
            });
        }
    }
}

fn instances(c: &mut Criterion) {
    let modules = [0, 1, 4, 16, 64, 256, 1024, 8192, 16384].map(|kib| match kib {
        0 => ("small".to_owned(), SMALL.to_owned()),
        _ => (format!("{kib} KiB of data"), with_data(kib)),
    });
    for (name, text) in modules {
        let mut group = c.benchmark_group(name);
        for (allocation, engine) in engines() {
            let module = Module::new(&engine, &text).unwrap();
            let pre =
                Linker::new(&engine).instantiate_pre(Store::new(&engine, ()), &module).unwrap();
            for call in [None, Some("touch"), Some("ten")] {
                let what = call.unwrap_or("made");
                group.bench_function(BenchmarkId::new(allocation, what), |b| {
                    b.iter(|| {
                        one(&engine, &pre, call);
                    });
                });
            }
        }
    }
}

criterion_group!(benches, workers, instances);
criterion_main!(benches);
