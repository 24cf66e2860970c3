//! What does it cost to get into wasm, out of it, and to start a guest?
//!
//! Compare interleaved runs only; `benches/peers` has the same beside another runtime.

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use criterion::{Criterion, criterion_group, criterion_main};
use lampwick::{Caller, Config, Engine, ExternRef, Linker, Module, Store, TypedFunc};

const GUEST: &str = r#"(module
    (import "host" "now" (func $now (param i32) (result i32)))
    (import "host" "later" (func $later (param i32) (result i32)))
    (import "host" "same" (func $same (param externref) (result externref)))
    (import "host" "new" (func $new (result externref)))
    (memory 2)
    (data (i32.const 0) "one segment")
    (data (i32.const 65536) "another")
    (func (export "add") (param i32 i32) (result i32)
        (i32.add (local.get 0) (local.get 1)))
    (func (export "now") (param i32)
        (loop (drop (call $now (local.get 0)))
            (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "same") (param i32 externref)
        (loop (local.set 1 (call $same (local.get 1)))
            (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "new") (param i32)
        (loop (drop (call $new))
            (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "later") (param i32)
        (loop (drop (call $later (local.get 0)))
            (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))"#;

/// How many host calls one call of the guest makes; the time shown is for all of them.
const HOST_CALLS: i32 = 1_000;

/// Polls until the future is ready.
fn finish<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
}

struct Fixture {
    engine: Engine,
    module: Module,
    linker: Linker<()>,
    is_async: bool,
}

impl Fixture {
    fn new(is_async: bool) -> Self {
        let engine = Engine::new(Config::new().async_support(is_async)).unwrap();
        let module = Module::new(&engine, GUEST).unwrap();
        let mut linker = Linker::new(&engine);
        linker.func_wrap("host", "now", |x: i32| x + 1).unwrap();
        linker.func_wrap("host", "same", |value: Option<ExternRef>| value).unwrap();
        linker.func_wrap("host", "new", || Some(ExternRef::new(1_u64))).unwrap();
        if is_async {
            linker
                .func_wrap1_async("host", "later", |_: Caller<'_, ()>, x: i32| {
                    Box::new(async move { x + 1 })
                })
                .unwrap();
        } else {
            linker.func_wrap("host", "later", |x: i32| x + 1).unwrap();
        }
        Self { engine, module, linker, is_async }
    }

    fn typed<P: lampwick::WasmParams, R: lampwick::WasmResults>(
        &self,
        name: &str,
    ) -> (Store<()>, TypedFunc<P, R>) {
        let mut store = Store::new(&self.engine, ());
        let instance = if self.is_async {
            finish(self.linker.instantiate_async(&mut store, &self.module)).unwrap()
        } else {
            self.linker.instantiate(&mut store, &self.module).unwrap()
        };
        let func = instance.get_typed_func(&mut store, name).unwrap();
        (store, func)
    }
}

fn synchronous(c: &mut Criterion) {
    let fixture = Fixture::new(false);
    let (mut store, add) = fixture.typed::<(i32, i32), i32>("add");
    c.bench_function("call", |b| b.iter(|| add.call(&mut store, black_box((1, 2))).unwrap()));
    let (mut store, now) = fixture.typed::<i32, ()>("now");
    c.bench_function("1000 host calls", |b| {
        b.iter(|| now.call(&mut store, HOST_CALLS).unwrap());
    });
    let (mut store, same) = fixture.typed::<(i32, Option<ExternRef>), ()>("same");
    let value = ExternRef::new("value");
    c.bench_function("1000 host calls, a reference there and back", |b| {
        b.iter(|| same.call(&mut store, (HOST_CALLS, Some(value.clone()))).unwrap());
    });
    let (mut store, new) = fixture.typed::<i32, ()>("new");
    c.bench_function("1000 host calls, a new reference each, collected", |b| {
        b.iter(|| new.call(&mut store, HOST_CALLS).unwrap());
    });
}

fn asynchronous(c: &mut Criterion) {
    let fixture = Fixture::new(true);
    let (mut store, add) = fixture.typed::<(i32, i32), i32>("add");
    c.bench_function("call_async", |b| {
        b.iter(|| finish(add.call_async(&mut store, black_box((1, 2)))).unwrap());
    });
    let (mut store, later) = fixture.typed::<i32, ()>("later");
    c.bench_function("1000 async host calls, ready at once", |b| {
        b.iter(|| finish(later.call_async(&mut store, HOST_CALLS)).unwrap());
    });
}

fn start(c: &mut Criterion) {
    let fixture = Fixture::new(true);
    c.bench_function("instantiate and drop", |b| {
        b.iter(|| {
            let mut store = Store::new(&fixture.engine, ());
            finish(fixture.linker.instantiate_async(&mut store, &fixture.module)).unwrap();
        });
    });
    c.bench_function("instantiate, call, drop", |b| {
        b.iter(|| {
            let (mut store, add) = fixture.typed::<(i32, i32), i32>("add");
            finish(add.call_async(&mut store, (1, 2))).unwrap()
        });
    });
}

criterion_group!(benches, synchronous, asynchronous, start);
criterion_main!(benches);
