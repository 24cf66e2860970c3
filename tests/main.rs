//! The integration tests, a file for each topic.

mod api;
mod artifacts;
mod artifacts_refused;
mod bad_input;
#[cfg(feature = "cache")]
mod cache;
#[cfg(feature = "cache")]
mod cache_config;
mod call_hooks;
mod compile_bombs;
mod epochs;
mod externref;
mod forget;
mod fuel;
mod fuel_calls;
mod fuel_modern;
mod fuel_random;
mod globals;
mod host_functions;
mod hostile;
mod interpreter;
mod interrupts;
mod limits;
mod linker;
mod linker_modules;
mod linker_pre;
mod matrix;
mod matrix_tokio;
mod memory;
mod multi_value;
mod oracle;
mod oracle_text;
mod programs;
mod recursion;
mod signals;
mod soak;
mod support;
mod table;
mod traps;
mod yields;
