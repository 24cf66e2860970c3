//! Runs a program with the folder that it is started in as its `/`, to be read only.
//!
//! `cargo run -p lampwick-wasi --example run -- prog.wasm argument…`; without arguments, a program of
//! the tests. The exit status is the program's.

use std::process::ExitCode;

use anyhow::{Context, Result};
use lampwick::{Config, Engine, Linker, Module, Store};
use lampwick_wasi::{DirPerms, FilePerms, I32Exit, WasiCtx, WasiCtxBuilder, add_to_linker};

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    if args.is_empty() {
        args.push(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guests/hello.wasm").into());
    }
    let engine = Engine::new(Config::new().async_support(true).consume_fuel(true))?;
    let module = Module::from_file(&engine, &args[0])?;
    let mut linker = Linker::new(&engine);
    add_to_linker(&mut linker, |ctx: &mut WasiCtx| ctx)?;

    let mut builder = WasiCtxBuilder::new();
    builder.args(&args).inherit_stdio();
    builder.preopened_dir(".", "/", DirPerms::READ, FilePerms::READ)?;
    let mut store = Store::new(&engine, builder.build());
    // It may run for as long as it wants to; others have their turn after each 100,000 units.
    store.out_of_fuel_async_yield(u64::MAX, 100_000);

    let instance = linker.instantiate_async(&mut store, &module).await?;
    let start = instance
        .get_typed_func::<(), (), _>(&mut store, "_start")
        .with_context(|| format!("`{}` is no command", args[0]))?;
    match start.call_async(&mut store, ()).await {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(trap) => match I32Exit::of(&trap) {
            Some(exit) => Ok(ExitCode::from(exit.0 as u8)),
            None => Err(trap.into()),
        },
    }
}
