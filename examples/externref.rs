//! Guests hold references to values of the host, pass them on, and cannot look into them.

use anyhow::{Result, anyhow};
use lampwick::{Engine, ExternRef, Linker, Module, Store, Trap, Val};
use std::sync::Mutex;

const GUEST: &str = r#"(module
    (import "log" "append" (func $append (param externref i32)))
    (table $logs (export "logs") 2 externref)
    (global $last (export "last") (mut externref) (ref.null extern))
    (func (export "keep") (param $at i32) (param $log externref)
        (table.set $logs (local.get $at) (local.get $log))
        (global.set $last (local.get $log)))
    (func (export "write") (param $at i32) (param $number i32)
        (call $append (table.get $logs (local.get $at)) (local.get $number)))
    (func (export "is_kept") (param $at i32) (result i32)
        (i32.eqz (ref.is_null (table.get $logs (local.get $at))))))"#;

type Log = Mutex<Vec<i32>>;

fn append(log: Option<ExternRef>, number: i32) -> Result<(), Trap> {
    let log = log.ok_or_else(|| Trap::new("a guest wrote to no log"))?;
    let log = log.data().downcast_ref::<Log>().ok_or_else(|| anyhow!("this is no log"))?;
    log.lock().unwrap().push(number);
    Ok(())
}

fn main() -> Result<()> {
    let engine = Engine::default();
    let mut linker = Linker::new(&engine);
    linker.func_wrap("log", "append", append)?;
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &Module::new(&engine, GUEST)?)?;
    let keep = instance.get_typed_func::<(u32, Option<ExternRef>), (), _>(&mut store, "keep")?;
    let write = instance.get_typed_func::<(u32, i32), (), _>(&mut store, "write")?;
    let is_kept = instance.get_typed_func::<u32, i32, _>(&mut store, "is_kept")?;

    // The guest keeps a reference in its table, and uses it in a later call.
    let log = ExternRef::new(Log::default());
    keep.call(&mut store, (0, Some(log.clone())))?;
    for number in 1..=3 {
        write.call(&mut store, (0, number))?;
    }
    let numbers = log.data().downcast_ref::<Log>().unwrap().lock().unwrap().clone();
    println!("the guest wrote {numbers:?}");
    assert_eq!(numbers, [1, 2, 3]);

    // Null is a reference, too, and other values than logs are found out by the host function.
    let trap = write.call(&mut store, (1, 4)).unwrap_err();
    assert!(trap.to_string().contains("a guest wrote to no log"));
    keep.call(&mut store, (1, Some(ExternRef::new("not a log"))))?;
    let trap = write.call(&mut store, (1, 4)).unwrap_err();
    assert!(trap.to_string().contains("this is no log"));

    // The host finds the same references in the guest's global and table, and puts others there.
    let last = instance.get_global(&mut store, "last").unwrap();
    let last = last.get(&mut store).unwrap_externref().unwrap();
    assert_eq!(last.data().downcast_ref::<&str>(), Some(&"not a log"));
    let logs = instance.get_table(&mut store, "logs").unwrap();
    let first = logs.get(&mut store, 0).unwrap().unwrap_externref().unwrap();
    assert!(first.ptr_eq(&log) && !first.ptr_eq(&last));
    logs.set(&mut store, 0, Val::null())?;
    assert_eq!(is_kept.call(&mut store, 0)?, 0);
    assert_eq!(is_kept.call(&mut store, 1)?, 1);

    // What guests can no longer reach is dropped at a collection: here is the last reference.
    drop(first);
    store.gc();
    assert_eq!(log.strong_count(), 1);
    Ok(())
}
