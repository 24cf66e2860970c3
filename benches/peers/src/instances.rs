//! What does it cost to make an instance, and to make one, call it once and drop it?

use crate::engines::{self, Allocation};
use crate::measure::{Contender, drive, time};
use crate::table::Score;
use crate::versus::{self, Contest};
use anyhow::Result;

/// A small guest with two pages of memory and two data segments.
const GUEST: &str = r#"
(module
  (memory (export "memory") 2)
  (data (i32.const 16) "a first segment of data")
  (data (i32.const 70000) "a second segment, on the second page")
  (func (export "add") (param i32 i32) (result i32)
    (i32.add (local.get 0) (local.get 1)))
  (func (export "add_in_memory") (param i32 i32) (result i32)
    (i32.store (i32.const 1024) (local.get 0))
    (i32.add (i32.load (i32.const 1024)) (local.get 1))))
"#;

/// What is called before the instance is dropped.
type Call = Option<&'static str>;

pub fn run(score: &mut Score) -> Result<()> {
    let contest = |work, call: Call| -> Result<Contest> {
        Ok(Contest {
            work,
            aim: None,
            ours: ours(call)?,
            on_demand: theirs(call, Allocation::OnDemand)?,
            pooled: Some(theirs(call, Allocation::Pooled)?),
        })
    };
    let contests = vec![
        contest("store and instance, dropped", None)?,
        contest("the same with one call_async", Some("add"))?,
        contest("the same with a call that writes a page", Some("add_in_memory"))?,
    ];
    versus::run("Instances of 2 pages with 2 data segments", contests, score)
}

fn ours(call: Call) -> Result<Contender> {
    use lampwick::{Linker, Module, Store};
    let engine = engines::ours(false)?;
    let module = Module::new(&engine, GUEST)?;
    let linker = Linker::new(&engine);
    let one = async move || {
        let mut store = Store::new(&engine, ());
        let instance = linker.instantiate_async(&mut store, &module).await?;
        if let Some(name) = call {
            let add = instance.get_typed_func::<(i32, i32), i32, _>(&mut store, name)?;
            add.call_async(&mut store, (1, 2)).await?;
        }
        anyhow::Ok(())
    };
    Ok(Box::new(move |times| time(|| (0..times).try_for_each(|_| drive(one())))))
}

fn theirs(call: Call, allocation: Allocation) -> Result<Contender> {
    use wasmtime::{Linker, Module, Store};
    let engine = engines::theirs(false, allocation)?;
    let module = Module::new(&engine, GUEST)?;
    let pre = Linker::new(&engine).instantiate_pre(&module)?;
    let one = async move || {
        let mut store = Store::new(&engine, ());
        let instance = pre.instantiate_async(&mut store).await?;
        if let Some(name) = call {
            let add = instance.get_typed_func::<(i32, i32), i32>(&mut store, name)?;
            add.call_async(&mut store, (1, 2)).await?;
        }
        anyhow::Ok(())
    };
    Ok(Box::new(move |times| time(|| (0..times).try_for_each(|_| drive(one())))))
}
