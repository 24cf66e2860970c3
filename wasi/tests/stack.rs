//! A guest that calls the host with nothing left of its own stack.

use lampwick::{Config, Engine, Linker, Module, Store, Trap, TrapCode, Val};
use lampwick_wasi::{
    DirPerms, FilePerms, I32Exit, MemoryOutputPipe, WasiCtx, WasiCtxBuilder, add_to_linker,
};
use tempfile::tempdir;

use crate::support::{FUNCTIONS, READ};

/// Arguments with which the host does what it is there for. Other functions get zeros.
fn arguments(name: &str) -> Vec<i64> {
    const IOVS: i64 = 64;
    const PATH: i64 = 128;
    const NEW: i64 = 136;
    const LINK: i64 = 144;
    const OUT: i64 = 512;
    match name {
        "fd_write" => vec![1, IOVS, 1, OUT],
        "fd_read" => vec![0, IOVS, 1, OUT],
        "fd_readdir" => vec![3, 1024, 1024, 0, OUT],
        "fd_filestat_get" | "fd_fdstat_get" | "fd_prestat_get" => vec![3, OUT],
        "fd_prestat_dir_name" => vec![3, OUT, 99],
        "fd_filestat_set_times" => vec![3, 1, 1, 5],
        "fd_sync" | "fd_datasync" => vec![3],
        "path_open" => vec![3, 1, PATH, 4, 0, READ, 0, 0, OUT],
        "path_filestat_get" => vec![3, 1, PATH, 4, OUT],
        "path_filestat_set_times" => vec![3, 1, PATH, 4, 1, 1, 5],
        "path_create_directory" => vec![3, NEW, 3],
        "path_remove_directory" => vec![3, NEW, 3],
        "path_link" => vec![3, 0, PATH, 4, 3, NEW, 4],
        "path_symlink" => vec![PATH, 4, 3, NEW, 2],
        "path_readlink" => vec![3, LINK, 4, OUT, 99],
        "path_rename" => vec![3, PATH, 4, 3, PATH, 4],
        "path_unlink_file" => vec![3, NEW, 2],
        "poll_oneoff" => vec![2048, 4096, 1, OUT],
        "random_get" => vec![OUT, 4096],
        "clock_time_get" => vec![1, 0, OUT],
        "args_get" | "environ_get" => vec![OUT, 1024],
        _ => vec![],
    }
}

/// A module that descends until its stack is full, and calls a function of the host at one depth.
fn text(name: &str, params: &str) -> String {
    let types: Vec<_> = params.chars().map(|ty| if ty == 'i' { "i32" } else { "i64" }).collect();
    let mut values = arguments(name);
    values.resize(types.len(), 0);
    let pushes: String =
        types.iter().zip(values).map(|(ty, value)| format!("({ty}.const {value})")).collect();
    let (result, call) = match name {
        "proc_exit" => ("", format!("(call $host {pushes})")),
        _ => ("(result i32)", format!("(global.set $errno (call $host {pushes}))")),
    };
    format!(
        r#"(module
            (import "wasi_snapshot_preview1" "{name}"
                (func $host (param {}) {result}))
            (memory (export "memory") 1)
            (data (i32.const 64) "\00\04\00\00\10\00\00\00")
            (data (i32.const 128) "file")
            (data (i32.const 136) "nnnn")
            (data (i32.const 144) "link")
            (global $depth (export "depth") (mut i32) (i32.const 0))
            (global $errno (export "errno") (mut i32) (i32.const -1))
            (func $down (export "down") (param $at i32)
                (global.set $depth (i32.add (global.get $depth) (i32.const 1)))
                (if (i32.eq (global.get $depth) (local.get $at)) (then {call}))
                (call $down (local.get $at))
                (global.set $depth (i32.sub (global.get $depth) (i32.const 1)))))"#,
        types.join(" ")
    )
}

/// The engine's least stack for the host is enough for each function.
#[tokio::test]
async fn each_function_needs_less_stack_than_the_host_has() {
    let mut config = Config::new();
    config.async_support(true);
    config.max_wasm_stack(64 << 10).unwrap().async_stack_size(128 << 10).unwrap();
    let engine = Engine::new(&config).unwrap();
    let mut linker = Linker::new(&engine);
    add_to_linker(&mut linker, |ctx: &mut WasiCtx| ctx).unwrap();
    let dir = tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "contents").unwrap();
    std::os::unix::fs::symlink("file", dir.path().join("link")).unwrap();
    for (name, params) in FUNCTIONS {
        let module = Module::new(&engine, text(name, params)).unwrap();
        let mut builder = WasiCtxBuilder::new();
        builder.stdin(&b"input"[..]).stdout(MemoryOutputPipe::new(100)).arg("a").env("B", "c");
        builder.preopened_dir(dir.path(), "/", DirPerms::all(), FilePerms::all()).unwrap();
        let mut store = Store::new(&engine, builder.build());
        let instance = linker.instantiate_async(&mut store, &module).await.unwrap();
        let down = instance.get_typed_func::<i32, (), _>(&mut store, "down").unwrap();
        let depth = instance.get_global(&mut store, "depth").unwrap();
        let errno = instance.get_global(&mut store, "errno").unwrap();
        let overflow = |trap: &Trap| trap.trap_code() == Some(TrapCode::StackOverflow);
        let trap = down.call_async(&mut store, -1).await.unwrap_err();
        assert!(overflow(&trap), "{name}: {trap}");
        let deepest = depth.get(&mut store).unwrap_i32();
        assert!(deepest > 100, "{name}: {deepest}");
        depth.set(&mut store, Val::I32(0)).unwrap();
        let trap = down.call_async(&mut store, deepest).await.unwrap_err();
        let exited = I32Exit::of(&trap).is_some();
        assert!(exited == (name == "proc_exit") && exited != overflow(&trap), "{name}: {trap}");
        let errno = errno.get(&mut store).unwrap_i32();
        assert!(errno >= 0 || exited, "{name} was not called");
        assert!(errno == 0 || arguments(name).is_empty(), "{name}: {errno}");
    }
}
