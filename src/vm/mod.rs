//! What machine code sees and calls.

pub(crate) mod activation;
mod arch;
pub(crate) mod backtrace;
pub(crate) mod builtins;
pub(crate) mod code;
mod collect;
pub(crate) mod control;
mod elements;
pub(crate) mod externs;
pub(crate) mod fuel;
pub(crate) mod gdb;
pub(crate) mod hooks;
pub(crate) mod host;
pub(crate) mod instance;
pub(crate) mod interrupts;
pub(crate) mod layout;
pub(crate) mod limits;
pub(crate) mod mapping;
pub(crate) mod marker;
pub(crate) mod memory;
pub(crate) mod pace;
pub(crate) mod segments;
pub(crate) mod signals;
pub(crate) mod store;
pub(crate) mod supply;
pub(crate) mod table;
