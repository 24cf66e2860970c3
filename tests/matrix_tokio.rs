//! The matrix on tokio's two runtimes: many guests at once, each in a task of its own.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lampwick::{Caller, Engine, Linker, Module, Store};

use crate::matrix::{EVENTS, End, Maker, ends};
use crate::support::{Census, asynchronous, block_on, panic_text};

/// Runs all fields of the matrix as tasks at the same time, and more that must not notice.
async fn all_fields_at_once() {
    let maker = Maker::new();
    let done = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();
    for event in EVENTS {
        for end in ends() {
            let label = format!("{event:?}, {end:?}");
            let mut guest = maker.guest(event, end);
            let census = guest.store.data().clone();
            let done = done.clone();
            let task = tokio::spawn(async move {
                let result = guest.call().await;
                guest.check_end(&label, result);
                guest.check_store(&label).await;
                done.fetch_add(1, Ordering::SeqCst);
            });
            tasks.push((end, census, task));
        }
    }
    let (mut panics, mut others) = (0, 0);
    for (end, census, task) in tasks {
        match (end, task.await) {
            (End::Panics(_), Err(error)) => {
                assert_eq!(panic_text(&*error.into_panic()), "the host panics");
                panics += 1;
            }
            (End::Panics(_), Ok(())) => panic!("the panic did not arrive"),
            (_, result) => {
                result.unwrap();
                others += 1;
            }
        }
        assert_eq!(census.alive(), 0, "{end:?}: {} values", census.made());
    }
    assert_eq!((panics, others), (3 * EVENTS.len(), done.load(Ordering::SeqCst)));
}

#[tokio::test(flavor = "current_thread")]
async fn on_one_thread() {
    all_fields_at_once().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_many_threads() {
    tokio::spawn(all_fields_at_once()).await.unwrap();
}

/// A guest that waits for a timer of tokio's, many times, with a token in hand.
fn sleeper(engine: &Engine, rounds: i32) -> (Store<Census>, impl Future<Output = ()> + use<>) {
    let mut linker = Linker::<Census>::new(engine);
    linker
        .func_wrap0_async("", "sleep", |caller: Caller<'_, Census>| {
            let token = caller.data().token();
            Box::new(async move {
                tokio::time::sleep(Duration::from_micros(100)).await;
                tokio::task::yield_now().await;
                drop(token);
            })
        })
        .unwrap();
    let module = format!(
        r#"(module (import "" "sleep" (func $sleep))
            (func (export "run") (local i32) i32.const {rounds} local.set 0
                loop call $sleep local.get 0 i32.const 1 i32.sub local.tee 0 br_if 0 end))"#
    );
    let module = Module::new(engine, module).unwrap();
    let census = Census::default();
    let mut store = Store::new(engine, census.clone());
    let observer = Store::new(engine, census);
    let future = async move {
        let instance = linker.instantiate_async(&mut store, &module).await.unwrap();
        let run = instance.get_typed_func::<(), (), _>(&mut store, "run").unwrap();
        run.call_async(&mut store, ()).await.unwrap();
    };
    (observer, future)
}

/// Guests that sleep, of which every second is aborted in the midst.
async fn aborted_tasks() {
    let engine = asynchronous();
    let mut tasks = Vec::new();
    for index in 0..40 {
        let aborted = index % 2 == 0;
        let (observer, run) = sleeper(&engine, if aborted { i32::MAX } else { 5 });
        tasks.push((aborted, observer, tokio::spawn(run)));
    }
    tokio::time::sleep(Duration::from_millis(5)).await;
    for (aborted, observer, task) in tasks {
        if aborted {
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
        } else {
            task.await.unwrap();
            assert_eq!(observer.data().made(), 5);
        }
        assert_eq!(observer.data().alive(), 0);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn aborted_on_one_thread() {
    aborted_tasks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn aborted_on_many_threads() {
    tokio::spawn(aborted_tasks()).await.unwrap();
}

#[test]
fn a_runtime_that_goes_takes_its_guests_along() {
    for threads in [0, 3] {
        let runtime = match threads {
            0 => tokio::runtime::Builder::new_current_thread().enable_time().build(),
            threads => tokio::runtime::Builder::new_multi_thread()
                .worker_threads(threads)
                .enable_time()
                .build(),
        }
        .unwrap();
        let engine = asynchronous();
        let observers: Vec<_> = (0..20)
            .map(|_| {
                let (observer, run) = sleeper(&engine, i32::MAX);
                drop(runtime.spawn(run));
                observer
            })
            .collect();
        let reached = runtime.block_on(async {
            let all = || observers.iter().all(|observer| observer.data().made() > 2);
            for _ in 0..10_000 {
                if all() {
                    return true;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            false
        });
        assert!(reached, "the guests run");
        drop(runtime);
        assert!(observers.iter().all(|observer| observer.data().alive() == 0));
    }
    // Nothing of the engine is left in a bad state.
    let engine = asynchronous();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(sleeper(&engine, 3).1);
    block_on(async {});
}
