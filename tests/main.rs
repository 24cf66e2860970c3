//! The integration tests, a file for each topic.

mod api;
mod artifacts;
mod artifacts_refused;
mod bad_input;
#[cfg(feature = "cache")]
mod cache;
#[cfg(feature = "cache")]
mod cache_config;
#[cfg(feature = "call-hook")]
mod call_hooks;
mod collection;
mod collection_calls;
mod collection_drops;
mod collection_random;
mod compile_bombs;
mod contract;
mod epochs;
mod externref;
mod forget;
mod fuel;
mod fuel_calls;
mod fuel_modern;
mod fuel_random;
mod globals;
mod host_functions;
mod host_memory;
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
mod pooling;
mod pooling_slots;
mod pooling_waits;
mod ported;
mod programs;
mod recursion;
mod settings;
mod signals;
mod soak;
mod support;
mod table;
mod traps;
mod yields;
