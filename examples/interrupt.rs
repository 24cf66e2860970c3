//! Two ways to stop a guest that does not stop by itself: interrupt it, or give it a deadline.
//!
//! `cargo run --release --example interrupt`

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use lampwick::{Config, Engine, Instance, Module, Store, TrapCode, TypedFunc};

const GUEST: &str = r#"(module
    (func (export "spin") (loop (br 0)))
    (func (export "answer") (result i32) (i32.const 42)))"#;

type Spin = TypedFunc<(), ()>;

async fn guest(engine: &Engine, module: &Module) -> Result<(Store<()>, Instance, Spin)> {
    let mut store = Store::new(engine, ());
    store.set_epoch_deadline(u64::MAX);
    let instance = Instance::new_async(&mut store, module, &[]).await?;
    let spin = instance.get_typed_func::<(), (), _>(&mut store, "spin")?;
    Ok((store, instance, spin))
}

/// A watchdog's thread interrupts one guest.
async fn interrupted(engine: &Engine, module: &Module) -> Result<()> {
    let (mut store, instance, spin) = guest(engine, module).await?;
    let handle = store.interrupt_handle()?;
    let watchdog = thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        handle.interrupt();
    });
    let trap = spin.call_async(&mut store, ()).await.unwrap_err();
    assert_eq!(trap.trap_code(), Some(TrapCode::Interrupt));
    println!("{trap}");
    watchdog.join().expect("the watchdog does not panic");

    // The interrupt is consumed: the next call runs as usual.
    let answer = instance.get_typed_func::<(), i32, _>(&mut store, "answer")?;
    println!("the same instance answers {}", answer.call_async(&mut store, ()).await?);
    Ok(())
}

/// One clock serves all guests of an engine: each yields in every epoch, so that they share the
/// thread.
async fn with_deadlines(engine: &Engine, module: &Module) -> Result<()> {
    let done = Arc::new(AtomicBool::new(false));
    let clock = thread::spawn({
        let (engine, done) = (engine.clone(), done.clone());
        move || {
            while !done.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(1));
                engine.increment_epoch();
            }
        }
    });
    let mut tasks = Vec::new();
    for _ in 0..3 {
        let (mut store, _, spin) = guest(engine, module).await?;
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        tasks.push(tokio::spawn(async move {
            // Endless guests that yield can be dropped like any future.
            let time = Duration::from_millis(50);
            tokio::time::timeout(time, spin.call_async(&mut store, ())).await.is_err()
        }));
    }
    for task in tasks {
        println!("a guest ran out of time: {}", task.await?);
    }
    done.store(true, Ordering::Relaxed);
    clock.join().expect("the clock does not panic");
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut config = Config::new();
    config.async_support(true).interruptable(true).epoch_interruption(true);
    let engine = Engine::new(&config)?;
    let module = Module::new(&engine, GUEST)?;
    interrupted(&engine, &module).await?;
    with_deadlines(&engine, &module).await
}
