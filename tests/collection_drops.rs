//! Collections and the drop code of values, which is the embedder's and may do anything.

use std::mem::forget;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use lampwick::{Engine, ExternRef, Store, TypedFunc, Val};

use crate::collection_guests::{Guest, linker, setups};
use crate::support::{instantiate, panic_of};

/// Counts that it is dropped, and panics then.
struct Bomb(Arc<AtomicUsize>);

impl Drop for Bomb {
    fn drop(&mut self) {
        let before = self.0.fetch_add(1, Ordering::SeqCst);
        // A panic, without the noise.
        resume_unwind(Box::new(format!("bomb {before}")));
    }
}

#[test]
fn drop_code_that_panics_harms_nobody() {
    let engine = Engine::default();
    let dropped = Arc::new(AtomicUsize::new(0));
    let bomb = || Val::from(ExternRef::new(Bomb(dropped.clone())));
    let (mut store, instance) = instantiate(
        &engine,
        r#"(module (table (export "t") 300 externref) (func (export "take") (param externref)))"#,
    );
    let table = instance.get_table(&mut store, "t").unwrap();
    let take = instance.get_func(&mut store, "take").unwrap();
    for index in 0..300 {
        table.set(&mut store, index, bomb()).unwrap();
    }
    table.fill(&mut store, 1, Val::null(), 299).unwrap();
    assert_eq!(panic_of(|| store.gc()), "bomb 0");
    assert_eq!(dropped.load(Ordering::SeqCst), 299, "all of them, once");
    store.gc();
    // The collection that a call makes.
    let mut panicked = 0;
    for _ in 0..1000 {
        let args = [bomb()];
        let call = AssertUnwindSafe(|| take.call(&mut store, &args));
        panicked += usize::from(catch_unwind(call).is_err());
        let _ = catch_unwind(AssertUnwindSafe(|| drop(args)));
    }
    assert!((1..=10).contains(&panicked), "{panicked}");
    let value = table.get(&mut store, 0).unwrap().unwrap_externref().unwrap();
    assert!(value.data().is::<Bomb>());
    assert!(catch_unwind(AssertUnwindSafe(|| drop(store))).is_err());
    // All but the one that is held here.
    assert_eq!(dropped.load(Ordering::SeqCst), 300 + 1000 - 1);
    forget(value);
}

#[test]
fn drop_code_may_run_guests_of_another_store() {
    struct Runs(TypedFunc<i32, i32>, Mutex<Store<()>>, Arc<AtomicUsize>);
    impl Drop for Runs {
        fn drop(&mut self) {
            let answer = self.0.call(&mut *self.1.lock().unwrap(), 20).unwrap();
            self.2.fetch_add(answer as usize, Ordering::SeqCst);
        }
    }
    let other = Engine::default();
    let sum = Arc::new(AtomicUsize::new(0));
    let setup = &setups()[0];
    let mut linker = linker(&setup.engine);
    let adder = sum.clone();
    linker
        .func_wrap("", "runs", move || {
            let (mut store, instance) = instantiate(
                &other,
                r#"(module (func (export "f") (param i32) (result i32)
                    (i32.add (local.get 0) (i32.const 1))))"#,
            );
            let func = instance.get_typed_func::<i32, i32, _>(&mut store, "f").unwrap();
            Some(ExternRef::new(Runs(func, store.into(), adder.clone())))
        })
        .unwrap();
    let mut guest = Guest::new(
        setup,
        &linker,
        r#"(import "" "runs" (func $runs (result externref)))"#,
        r#"(func (export "run") (local externref)
            (local.set 0 (call $make (i32.const 5)))
            (drop (call $runs)) call $churn (drop (call $runs)) call $churn
            (call $see (local.get 0) (i32.const 5)))"#,
    );
    guest.call("run", &[]).unwrap();
    assert_eq!(sum.load(Ordering::SeqCst), 42);
}
