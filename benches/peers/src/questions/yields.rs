//! What does it cost a guest to give way when its slice of fuel is gone?

use crate::engines::{self, Allocation};
use crate::measure::{Contender, Effort, drive, time};
use crate::report::{Bound, Report, Unit};
use crate::versus::{self, Contest};
use anyhow::{Result, ensure};
use lampwick_fibers::switch;
use std::future::Future;
use std::task::{Context, Waker};

/// A guest that never ends by itself, in loops of 1 fuel.
const GUEST: &str = r#"(module (func (export "run") (loop $again (br $again))))"#;

/// The fuel of a slice: little, so that the yield outweighs the computing.
const SLICE: u64 = 10;

pub fn run(report: &mut Report) -> Result<()> {
    let ns = |work: &str, most, ours, on_demand, pooled| Contest {
        work: work.into(),
        unit: Unit::Nanoseconds,
        effort: Effort::USUAL,
        aim: Some(Bound::AtMost(most)),
        ours,
        on_demand,
        pooled,
    };
    let contests = [
        ns("switch alone: resume and suspend", 5.0, our_switches(), their_switches()?, None),
        ns(
            "fuel yield and resume, polled by hand",
            30.0,
            by_hand(Ours::new()?.call(u64::MAX)?),
            by_hand(Theirs::new(Allocation::OnDemand)?.call(u64::MAX)?),
            Some(by_hand(Theirs::new(Allocation::Pooled)?.call(u64::MAX)?)),
        ),
        ns(
            "fuel yield and resume, a tokio task",
            150.0,
            in_tokio(Ours::new()?)?,
            in_tokio(Theirs::new(Allocation::OnDemand)?)?,
            Some(in_tokio(Theirs::new(Allocation::Pooled)?)?),
        ),
    ];
    contests.into_iter().try_for_each(|contest| versus::run("yields", contest, report))
}

/// Makes calls of the guest.
trait Calls: 'static {
    /// A call that yields so many times and then runs out of fuel. It answers whether it did.
    fn call(&self, yields: u64) -> Result<impl Future<Output = bool> + Send + 'static + use<Self>>;
}

struct Ours(lampwick::Engine, lampwick::Module);

impl Ours {
    fn new() -> Result<Self> {
        let engine = engines::ours(true)?;
        let module = lampwick::Module::new(&engine, GUEST)?;
        Ok(Self(engine, module))
    }
}

impl Calls for Ours {
    fn call(&self, yields: u64) -> Result<impl Future<Output = bool> + Send + 'static + use<>> {
        let mut store = lampwick::Store::new(&self.0, ());
        store.add_fuel(SLICE)?;
        store.out_of_fuel_async_yield(yields, SLICE);
        let instance = drive(lampwick::Instance::new_async(&mut store, &self.1, &[]))?;
        let run = instance.get_typed_func::<(), (), _>(&mut store, "run")?;
        Ok(async move { run.call_async(&mut store, ()).await.is_err() })
    }
}

struct Theirs(wasmtime::Engine, wasmtime::Module);

impl Theirs {
    fn new(allocation: Allocation) -> Result<Self> {
        let engine = engines::theirs(true, allocation)?;
        let module = wasmtime::Module::new(&engine, GUEST)?;
        Ok(Self(engine, module))
    }
}

impl Calls for Theirs {
    fn call(&self, yields: u64) -> Result<impl Future<Output = bool> + Send + 'static + use<>> {
        let mut store = wasmtime::Store::new(&self.0, ());
        store.set_fuel(yields.saturating_add(1).saturating_mul(SLICE))?;
        store.fuel_async_yield_interval(Some(SLICE))?;
        let instance = drive(wasmtime::Instance::new_async(&mut store, &self.1, &[]))?;
        let run = instance.get_typed_func::<(), ()>(&mut store, "run")?;
        Ok(async move { run.call_async(&mut store, ()).await.is_err() })
    }
}

/// Polls an endless call with a waker that does nothing. The compiler knows the future's type, so
/// that what is measured is the switch to the guest and back, and no call through a table.
fn by_hand(call: impl Future<Output = bool> + 'static) -> Contender {
    let mut call = Box::pin(call);
    Box::new(move |times| {
        let mut context = Context::from_waker(Waker::noop());
        time(|| {
            for _ in 0..times {
                ensure!(call.as_mut().poll(&mut context).is_pending(), "the guest ended");
            }
            Ok(())
        })
    })
}

/// Awaits calls as tasks of a runtime with one thread.
fn in_tokio(calls: impl Calls) -> Result<Contender> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    Ok(Box::new(move |times| {
        let call = calls.call(times)?;
        time(|| {
            let out_of_fuel = runtime.block_on(async { tokio::spawn(call).await })?;
            ensure!(out_of_fuel, "the guest ended");
            Ok(())
        })
    }))
}

fn our_switches() -> Contender {
    const STACK: usize = 64 * 1024;
    unsafe extern "C" fn entry(parent: switch::Parent, mut word: switch::Word) {
        while !word.is_null() {
            // SAFETY: this runs on the fiber whose entry was given `parent`.
            word = unsafe { parent.suspend(word) };
        }
    }
    let bottom = Box::into_raw(vec![0u128; STACK / 16].into_boxed_slice()).cast::<u8>();
    // SAFETY: the stack is allocated for good, by itself, and aligned to 16 bytes; `entry` needs
    // far less than it, so that there need be no guard.
    let mut fiber = unsafe { switch::Fiber::new(bottom, bottom.add(STACK), entry) };
    let word: switch::Word = std::ptr::dangling_mut();
    Box::new(move |times| {
        time(|| {
            for _ in 0..times {
                // SAFETY: the fiber is at its start or suspended by `entry`, which only hands back
                // the word.
                unsafe { fiber.resume(word) };
            }
            Ok(())
        })
    })
}

fn their_switches() -> Result<Contender> {
    use wasmtime_internal_fiber::{Fiber, FiberStack};
    let stack = FiberStack::new(64 * 1024, false)?;
    let fiber = Fiber::<usize, usize, ()>::new(stack, |mut word, suspend| {
        loop {
            word = suspend.suspend(word);
        }
    });
    // Left suspended when the process ends, as ours is.
    let fiber = std::mem::ManuallyDrop::new(fiber.map_err(|(error, _)| error)?);
    Ok(Box::new(move |times| {
        time(|| {
            for _ in 0..times {
                ensure!(fiber.resume(1) == Err(1), "the fiber ended");
            }
            Ok(())
        })
    }))
}
