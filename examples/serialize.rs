//! Modules are compiled once, kept in files, and used from there without compiling.

use std::fs;
use std::time::Instant;

use lampwick::{Config, Engine, Instance, Module, Store};

const GUEST: &str = r#"(module
    (memory (export "memory") 1)
    (data (i32.const 0) "from a file")
    (func (export "first") (result i32) (i32.load8_u (i32.const 0))))"#;

fn main() -> anyhow::Result<()> {
    let directory = std::env::temp_dir().join(format!("lampwick-example-{}", std::process::id()));
    fs::create_dir(&directory)?;
    let file = directory.join("guest.artifact");
    let outcome = artifact(&file).and_then(|()| cache(&directory));
    fs::remove_dir_all(&directory)?;
    outcome
}

/// An artifact that we look after ourselves.
fn artifact(file: &std::path::Path) -> anyhow::Result<()> {
    // Perhaps on another machine, at build time: `Module::serialize` gives the same bytes.
    let bytes = Engine::default().precompile_module(GUEST.as_bytes())?;
    fs::write(file, &bytes)?;
    println!("the artifact has {} bytes", bytes.len());

    // The file is mapped, not read.
    let engine = Engine::default();
    // SAFETY: the file is the one just written, and nobody changes it while it is in use.
    let module = unsafe { Module::deserialize_file(&engine, file)? };
    assert_eq!(run(&engine, &module)?, i32::from(b'f'));

    // An engine that would have made other code does not take it, and says why.
    let metered = Engine::new(Config::new().consume_fuel(true))?;
    // SAFETY: as above.
    let error = unsafe { Module::deserialize_file(&metered, file) }.unwrap_err();
    println!("refused: {error:#}");

    // Nor is a damaged one taken.
    let damaged = &bytes[..bytes.len() - 1];
    // SAFETY: an artifact of ours, which was damaged by accident.
    let error = unsafe { Module::deserialize(&engine, damaged) }.unwrap_err();
    println!("refused: {error:#}");
    Ok(())
}

/// Or the engine does all that by itself.
fn cache(directory: &std::path::Path) -> anyhow::Result<()> {
    let file = directory.join("config.toml");
    let cache = directory.join("cache");
    fs::write(&file, format!("[cache]\ndirectory = {cache:?}\nfiles-total-size-limit = \"64Mi\""))?;
    for attempt in ["compiled", "found in the cache"] {
        // As if the program were started anew.
        let engine = Engine::new(Config::new().cache_config_load(&file)?)?;
        let start = Instant::now();
        let module = Module::new(&engine, GUEST)?;
        println!("{attempt} in {:?}", start.elapsed());
        assert_eq!(run(&engine, &module)?, i32::from(b'f'));
        assert_eq!(fs::read_dir(&cache)?.count(), 1);
    }
    Ok(())
}

fn run(engine: &Engine, module: &Module) -> anyhow::Result<i32> {
    let mut store = Store::new(engine, ());
    let instance = Instance::new(&mut store, module, &[])?;
    let first = instance.get_typed_func::<(), i32, _>(&mut store, "first")?;
    Ok(first.call(&mut store, ())?)
}
