//! The integration tests, a file for each topic.

mod support;

mod forget;
mod fuel;
mod fuel_calls;
mod fuel_random;
mod interpreter;
mod matrix;
mod matrix_tokio;
mod oracle;
mod oracle_text;
mod traps;
mod yields;
