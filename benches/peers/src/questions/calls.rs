//! What does a call cost: from the host into a live instance, and from a guest to the host?

use crate::engines::{self, Allocation};
use crate::measure::{Contender, Effort, drive, time};
use crate::report::{Bound, Report, Unit};
use crate::versus::{self, Contest};
use anyhow::Result;

/// A function to call, and one that calls the host `times` times.
const GUEST: &str = r#"
(module
  (import "host" "next" (func $next (param i32) (result i32)))
  (func (export "add") (param i32 i32) (result i32)
    (i32.add (local.get 0) (local.get 1)))
  (func (export "run") (param $times i64) (result i32)
    (local $value i32)
    (loop $again
      (local.set $value (call $next (local.get $value)))
      (local.set $times (i64.sub (local.get $times) (i64.const 1)))
      (br_if $again (i64.ne (local.get $times) (i64.const 0))))
    (local.get $value)))
"#;

/// Which kind of function the host offers as `next`.
#[derive(Clone, Copy)]
enum Host {
    Synchronous,
    /// Async, with a future that is ready at its first poll.
    Ready,
}

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
        ns("TypedFunc::call of add", 15.0, our_sync_add()?, their_sync_add()?, None),
        ns(
            "call_async of add on a live instance",
            50.0,
            our_add()?,
            their_add(Allocation::OnDemand)?,
            Some(their_add(Allocation::Pooled)?),
        ),
        ns(
            "host call, synchronous closure",
            4.0,
            our_host_calls(Host::Synchronous)?,
            their_host_calls(Host::Synchronous, Allocation::OnDemand)?,
            None,
        ),
        ns(
            "host call, async closure ready at once",
            25.0,
            our_host_calls(Host::Ready)?,
            their_host_calls(Host::Ready, Allocation::OnDemand)?,
            Some(their_host_calls(Host::Ready, Allocation::Pooled)?),
        ),
    ];
    contests.into_iter().try_for_each(|contest| versus::run("calls, unmetered", contest, report))
}

fn our_instance(host: Host) -> Result<(lampwick::Store<()>, lampwick::Instance)> {
    use lampwick::{Caller, Linker, Module, Store};
    let engine = engines::ours(false)?;
    let module = Module::new(&engine, GUEST)?;
    let mut store = Store::new(&engine, ());
    let mut linker = Linker::new(&engine);
    match host {
        Host::Synchronous => {
            linker.func_wrap("host", "next", |value: i32| value.wrapping_add(1))?
        }
        Host::Ready => {
            linker.func_wrap1_async("host", "next", |_: Caller<'_, ()>, value: i32| {
                Box::new(async move { value.wrapping_add(1) })
            })?
        }
    };
    let instance = drive(linker.instantiate_async(&mut store, &module))?;
    Ok((store, instance))
}

fn their_instance(
    host: Host,
    allocation: Allocation,
) -> Result<(wasmtime::Store<()>, wasmtime::Instance)> {
    use wasmtime::{Caller, Linker, Module, Store};
    let engine = engines::theirs(false, allocation)?;
    let module = Module::new(&engine, GUEST)?;
    let mut store = Store::new(&engine, ());
    let mut linker = Linker::new(&engine);
    match host {
        Host::Synchronous => {
            linker.func_wrap("host", "next", |value: i32| value.wrapping_add(1))?
        }
        Host::Ready => {
            linker.func_wrap_async("host", "next", |_: Caller<'_, ()>, (value,): (i32,)| {
                Box::new(async move { value.wrapping_add(1) })
            })?
        }
    };
    let instance = drive(linker.instantiate_async(&mut store, &module))?;
    Ok((store, instance))
}

fn our_sync_add() -> Result<Contender> {
    use lampwick::{Linker, Module, Store};
    let engine = engines::ours_synchronous()?;
    let module = Module::new(&engine, GUEST)?;
    let mut store = Store::new(&engine, ());
    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "next", |value: i32| value.wrapping_add(1))?;
    let instance = linker.instantiate(&mut store, &module)?;
    let add = instance.get_typed_func::<(i32, i32), i32, _>(&mut store, "add")?;
    Ok(Box::new(move |times| {
        time(|| {
            for i in 0..times as i32 {
                add.call(&mut store, (i, 1))?;
            }
            Ok(())
        })
    }))
}

fn their_sync_add() -> Result<Contender> {
    use wasmtime::{Linker, Module, Store};
    let engine = engines::theirs(false, Allocation::OnDemand)?;
    let module = Module::new(&engine, GUEST)?;
    let mut store = Store::new(&engine, ());
    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "next", |value: i32| value.wrapping_add(1))?;
    let instance = linker.instantiate(&mut store, &module)?;
    let add = instance.get_typed_func::<(i32, i32), i32>(&mut store, "add")?;
    Ok(Box::new(move |times| {
        time(|| {
            for i in 0..times as i32 {
                add.call(&mut store, (i, 1))?;
            }
            Ok(())
        })
    }))
}

fn our_add() -> Result<Contender> {
    let (mut store, instance) = our_instance(Host::Synchronous)?;
    let add = instance.get_typed_func::<(i32, i32), i32, _>(&mut store, "add")?;
    Ok(Box::new(move |times| {
        time(|| {
            drive(async {
                for i in 0..times as i32 {
                    add.call_async(&mut store, (i, 1)).await?;
                }
                Ok(())
            })
        })
    }))
}

fn their_add(allocation: Allocation) -> Result<Contender> {
    let (mut store, instance) = their_instance(Host::Synchronous, allocation)?;
    let add = instance.get_typed_func::<(i32, i32), i32>(&mut store, "add")?;
    Ok(Box::new(move |times| {
        time(|| {
            drive(async {
                for i in 0..times as i32 {
                    add.call_async(&mut store, (i, 1)).await?;
                }
                Ok(())
            })
        })
    }))
}

fn our_host_calls(host: Host) -> Result<Contender> {
    let (mut store, instance) = our_instance(host)?;
    let run = instance.get_typed_func::<i64, i32, _>(&mut store, "run")?;
    Ok(Box::new(move |times| time(|| Ok(drive(run.call_async(&mut store, times as i64))?))))
}

fn their_host_calls(host: Host, allocation: Allocation) -> Result<Contender> {
    let (mut store, instance) = their_instance(host, allocation)?;
    let run = instance.get_typed_func::<i64, i32>(&mut store, "run")?;
    Ok(Box::new(move |times| time(|| Ok(drive(run.call_async(&mut store, times as i64))?))))
}
