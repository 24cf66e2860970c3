//! Many threads share an engine, a compiled module and a linker; each guest has a store of its own.

use lampwick::{Caller, Engine, InstancePre, Linker, Module, Store};
use std::thread;

const GUEST: &str = r#"(module
    (import "host" "found" (func $found (param i32)))
    (func (export "primes") (param $from i32) (param $to i32)
        (local $divisor i32)
        (loop $candidate
            (local.set $divisor (i32.const 2))
            (block $composite
                (loop $next
                    (if (i32.le_u (i32.mul (local.get $divisor) (local.get $divisor)) (local.get $from))
                        (then
                            (br_if $composite
                                (i32.eqz (i32.rem_u (local.get $from) (local.get $divisor))))
                            (local.set $divisor (i32.add (local.get $divisor) (i32.const 1)))
                            (br $next))))
                (call $found (local.get $from)))
            (local.set $from (i32.add (local.get $from) (i32.const 1)))
            (br_if $candidate (i32.lt_u (local.get $from) (local.get $to))))))"#;

const THREADS: u32 = 8;
const GUESTS: u32 = 25;
const NUMBERS: u32 = 100;

/// Runs a guest whose store's data are the primes that it finds.
fn guest(pre: &InstancePre<Vec<u32>>, engine: &Engine, from: u32) -> anyhow::Result<Vec<u32>> {
    let mut store = Store::new(engine, Vec::new());
    let instance = pre.instantiate(&mut store)?;
    let primes = instance.get_typed_func::<(u32, u32), (), _>(&mut store, "primes")?;
    primes.call(&mut store, (from, from + NUMBERS))?;
    Ok(store.into_data())
}

fn main() -> anyhow::Result<()> {
    let engine = Engine::default();
    let module = Module::new(&engine, GUEST)?;
    let mut linker = Linker::new(&engine);
    linker.func_wrap("host", "found", |mut caller: Caller<'_, Vec<u32>>, prime: u32| {
        caller.data_mut().push(prime);
    })?;
    // Imports are found and checked once, not for each guest.
    let pre = linker.instantiate_pre(Store::new(&engine, Vec::new()), &module)?;

    let primes = thread::scope(|scope| {
        let work = |thread| {
            let (pre, engine) = (&pre, &engine);
            scope.spawn(move || -> anyhow::Result<Vec<u32>> {
                let mut primes = Vec::new();
                for number in 0..GUESTS {
                    let from = 2 + (thread * GUESTS + number) * NUMBERS;
                    primes.extend(guest(pre, engine, from)?);
                }
                Ok(primes)
            })
        };
        let threads: Vec<_> = (0..THREADS).map(work).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Result<Vec<_>, _>>()
    })?
    .concat();

    println!("{} guests on {THREADS} threads found {} primes", THREADS * GUESTS, primes.len());
    assert_eq!(primes[..6], [2, 3, 5, 7, 11, 13]);
    assert_eq!(primes.len(), 2_262, "there are as many below 20,002");
    assert!(primes.is_sorted());
    Ok(())
}
