//! Translates WebAssembly functions to Cranelift IR.
//!
//! This is the role, and the import name, of the crate `cranelift-wasm` that upstream retired; the
//! code is written anew on the current Cranelift. A [`FuncTranslator`] validates one function body
//! and translates it into one CLIF function, operator by operator. Control flow, the operand stack,
//! locals and pure computation are its own; for all that depends on the runtime — calls, memories,
//! tables, globals, references, traps, metering — it asks a [`FuncEnvironment`].
//!
//! It knows the operators of WebAssembly 3.0, and the atomic ones of threads.
//! Any other operator is answered by [`WasmError::Unsupported`]. Memories and tables with
//! 64-bit indexes depend on the environment alone, which is handed each index as it is.
//!
//! A body may be hostile: what it can make translation cost is bounded ([`WasmError::Limit`]), and
//! nesting costs no native stack.
//!
//! # Where to look
//!
//! - `environ`, `memory_environ`, `table_environ`, `object_environ`: the traits that a runtime implements
//! - `func`: the driver, and what unreachable code means
//! - `translation`, `stack`: the state that all operators share
//! - `operator`: the table from operators to methods
//! - `control`, `tail_calls`, `exceptions`, `numeric`, `memory`, `reference`, `objects`: the methods, by families
//! - `atomics`: the operators of threads
//! - `rounds`: short loops, several rounds of which are written in a row
//! - `lines`, `distance`: where lines of very many operators are divided
//! - `simd`: the operators of vectors, by families
//! - `limits`: what a function may use up

#![forbid(unsafe_code)]

mod atomics;
mod control;
mod distance;
mod environ;
mod error;
mod exceptions;
mod func;
mod limits;
mod lines;
mod memory;
mod memory_environ;
mod numeric;
mod object_environ;
mod objects;
mod operator;
mod reference;
mod rounds;
mod simd;
mod stack;
mod table_environ;
mod tail_calls;
mod translation;

pub use environ::{FuncEnvironment, RelaxedSimd, Rounds, Values};
pub use error::{WasmError, WasmResult};
pub use exceptions::Handler;
pub use func::FuncTranslator;
pub use memory_environ::{AtomicAddress, HeapAccess, HeapAddress, MemoryEnvironment, WaitWidth};
pub use object_environ::{ArrayRange, ArraySegment, Extension, ObjectEnvironment};
pub use table_environ::TableEnvironment;
