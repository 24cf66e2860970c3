//! The integration tests, a file for each topic.

mod api;
mod bad_input;
mod compile_bombs;
mod externref;
mod forget;
mod fuel;
mod fuel_calls;
mod fuel_random;
mod globals;
mod host_functions;
mod hostile;
mod interpreter;
mod linker;
mod matrix;
mod matrix_tokio;
mod memory;
mod multi_value;
mod oracle;
mod oracle_text;
mod recursion;
mod signals;
mod soak;
mod support;
mod table;
mod traps;
mod yields;
