//! WASI preview 1 for Lampwick's guests, on tokio.
//!
//! A program that was compiled for `wasm32-wasi` (now `wasm32-wasip1`) finds its arguments,
//! environment, files, clocks, sockets and random numbers here. While it waits, its fiber is
//! suspended and the worker is free; files are read and written on tokio's blocking pool. It sees
//! only what it was given: directories with their permissions, streams, sockets.
//!
//! # What is left to the host
//!
//! - Space: a program that may write may fill the disk; a quota of the file system bounds it. What it
//!   may hold of the host's memory and descriptors, [`WasiLimits`] bounds.
//! - Time: a program may wait for ever. Dropping the future of its call ends that.
//! - Threads: each call that reads or writes a file takes one of the runtime's
//!   [blocking threads](tokio::runtime::Builder::max_blocking_threads) while it lasts; a program has one such
//!   call at a time.
//! - Links: a program may make symbolic links that lead upwards. It cannot follow them out of its
//!   directory; another program of the host's might.
//!
//! # What preview 1 does not have
//!
//! - Names that are not UTF-8: the standard's paths are. Such names of the host's appear in
//!   listings, but a path with one is `EILSEQ`, so that what they name cannot be opened.
//! - Addresses: a program can neither connect nor bind. It is given
//!   [listeners](WasiCtxBuilder::preopened_listener),
//!   [connections](WasiCtxBuilder::preopened_stream), and [sockets for
//!   datagrams](WasiCtxBuilder::preopened_datagrams) that are connected to one other end.
//! - Threads: what `wasm32-wasip1-threads` makes imports `wasi.thread-spawn` and a shared memory,
//!   which are another proposal's. Such modules cannot be linked.
//! - The time that a program took of a processor, as one clock for all hosts:
//!   [`cpu_clock`](WasiCtxBuilder::cpu_clock) says what programs are told here.
//!
//! # Example
//!
//! ```
//! use lampwick::{Config, Engine, Linker, Module, Store};
//! use lampwick_wasi::{I32Exit, MemoryOutputPipe, WasiCtx, WasiCtxBuilder, add_to_linker};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> anyhow::Result<()> {
//! let engine = Engine::new(Config::new().async_support(true))?;
//! let module = Module::new(
//!     &engine,
//!     r#"(module
//!         (import "wasi_snapshot_preview1" "fd_write"
//!             (func $write (param i32 i32 i32 i32) (result i32)))
//!         (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
//!         (memory (export "memory") 1)
//!         (data (i32.const 0) "\10\00\00\00\06\00\00\00")  ;; one buffer: 6 bytes at 16
//!         (data (i32.const 16) "hello\n")
//!         (func (export "_start")
//!             (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
//!             (call $exit (i32.const 3))))"#,
//! )?;
//! let mut linker = Linker::new(&engine);
//! add_to_linker(&mut linker, |ctx: &mut WasiCtx| ctx)?;
//!
//! let output = MemoryOutputPipe::new(1024);
//! let ctx = WasiCtxBuilder::new().arg("hello").stdout(output.clone()).build();
//! let mut store = Store::new(&engine, ctx);
//! let instance = linker.instantiate_async(&mut store, &module).await?;
//! let start = instance.get_typed_func::<(), (), _>(&mut store, "_start")?;
//! let trap = start.call_async(&mut store, ()).await.unwrap_err();
//! assert_eq!(I32Exit::of(&trap).map(|exit| exit.0), Some(3));
//! assert_eq!(output.contents(), "hello\n");
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod bindings;
mod builder;
mod clocks;
mod ctx;
mod dir;
mod errno;
mod exit;
mod file;
mod filestat;
mod io;
mod limits;
mod linker;
mod lists;
mod pace;
mod paths;
mod perms;
mod pipe;
mod poll;
mod preview1;
mod readdir;
mod socket;
mod stdio;
mod table;

pub use builder::WasiCtxBuilder;
pub use clocks::{HostMonotonicClock, HostWallClock};
pub use ctx::WasiCtx;
pub use exit::I32Exit;
pub use limits::WasiLimits;
pub use linker::add_to_linker;
pub use perms::{DirPerms, FilePerms};
pub use pipe::MemoryOutputPipe;
