//! Where a guest trapped: functions, files and lines, from the guest's own debug information.
//!
//! Other guests of this kind come from a compiler that was told `-g`. Without
//! `Config::wasm_backtrace_details` the environment decides: `LAMPWICK_BACKTRACE_DETAILS=1`.

use anyhow::Context;
use lampwick::{Config, Engine, Instance, Module, Store, Trap, TrapCode, WasmBacktraceDetails};

fn main() -> anyhow::Result<()> {
    let mut config = Config::new();
    config.wasm_backtrace_details(WasmBacktraceDetails::Enable);
    let engine = Engine::new(&config)?;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guests/lines.wasm");
    let module = Module::from_file(&engine, path)?;
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[])?;
    let run = instance.get_typed_func::<(i32, i32), i32, _>(&mut store, "run")?;

    // What is put around a trap stays with it.
    let result = run.call(&mut store, (1, 0)).context("dividing one by zero");
    let trap = Trap::from(result.expect_err("nobody can"));
    println!("{trap}\n");

    assert_eq!(trap.trap_code(), Some(TrapCode::IntegerDivisionByZero));
    for frame in trap.trace() {
        for symbol in frame.symbols() {
            let line = symbol.line().context("the guest has lines")?;
            println!("line {line}: {}", symbol.name().unwrap_or("?"));
        }
    }
    Ok(())
}
