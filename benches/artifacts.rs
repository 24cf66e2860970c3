//! What does it save that a module was compiled before?
//!
//! For the largest program of `tests/guests`, and for one of many functions that is made here:
//! compiling on one core and on all, `deserialize`, `deserialize_file`, and finding it in a cache.

use std::fs;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use lampwick::{Config, Engine, Module};

const JSON: &[u8] = include_bytes!("../tests/guests/json.wasm");

/// Functions of a large module.
const FUNCTIONS: usize = 10_000;

/// A module of many functions, each of some 200 operators, a third of which access memory.
fn large() -> Vec<u8> {
    let step = "(i32.store offset=8 (local.get 0) (i32.add (i32.load offset=4 (local.get 0)) \
                (i32.mul (local.get 0) (i32.const 77777))))";
    let function = format!("(func (param i32) {})", step.repeat(24));
    let text = format!("(module (memory 1) {})", function.repeat(FUNCTIONS));
    wat::parse_str(text).unwrap()
}

fn artifacts(c: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    let guests = [("json", JSON.to_vec(), 100), ("large", large(), 10)];
    for (name, wasm, samples) in guests {
        let engine = Engine::default();
        let artifact = engine.precompile_module(&wasm).unwrap();
        let file = directory.path().join(name);
        fs::write(&file, &artifact).unwrap();
        println!("{name}: {} bytes of wasm, {} of artifact", wasm.len(), artifact.len());
        let mut group = c.benchmark_group(name);
        group.sample_size(samples);
        for (cores, parallel) in [("one core", false), ("all cores", true)] {
            let engine = Engine::new(Config::new().parallel_compilation(parallel)).unwrap();
            group.bench_function(BenchmarkId::new("compile", cores), |b| {
                b.iter(|| Module::new(&engine, &wasm).unwrap());
            });
        }
        group.bench_function("serialize", |b| {
            let module = Module::new(&engine, &wasm).unwrap();
            b.iter(|| module.serialize().unwrap());
        });
        group.bench_function("deserialize", |b| {
            // SAFETY: what `precompile_module` gave.
            b.iter(|| unsafe { Module::deserialize(&engine, &artifact) }.unwrap());
        });
        group.bench_function("deserialize_file", |b| {
            // SAFETY: as above, in a file that nobody changes.
            b.iter(|| unsafe { Module::deserialize_file(&engine, &file) }.unwrap());
        });
        group.bench_function("cache", |b| {
            let toml = directory.path().join("config.toml");
            let cache = directory.path().join("cache");
            fs::write(&toml, format!("[cache]\ndirectory = {cache:?}")).unwrap();
            let engine = Engine::new(Config::new().cache_config_load(toml).unwrap()).unwrap();
            Module::new(&engine, &wasm).unwrap();
            b.iter(|| Module::new(&engine, &wasm).unwrap());
        });
        group.finish();
    }
}

criterion_group!(benches, artifacts);
criterion_main!(benches);
