//! The integration tests, a file for each topic.

mod support;

mod fuel;
mod fuel_calls;
mod fuel_random;
mod interpreter;
mod oracle;
mod oracle_text;
mod traps;
mod yields;
