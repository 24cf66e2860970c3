#![doc = include_str!("../README.md")]
//!
//! ```
//! use lampwick::Config;
//! use lampwick_wast::{Fuel, Script, Way, execute};
//!
//! # fn main() -> anyhow::Result<()> {
//! let script = r#"
//!     (module (func (export "add") (param i32 i32) (result i32)
//!         (i32.add (local.get 0) (local.get 1))))
//!     (assert_return (invoke "add" (i32.const 1) (i32.const 2)) (i32.const 3))
//!     (assert_return (invoke "add" (i32.const 1) (i32.const 2)) (i32.const 4))"#;
//! let script = Script::read(script, |_line| false)?;
//! let way = Way::new("fuel off", Fuel::Off, &Config::new())?;
//! let outcome = execute("add.wast", &script, &way, &mut Vec::new(), 0);
//! assert_eq!((outcome.passed, outcome.failed), (1, 1));
//! assert!(outcome.failures[0].starts_with("5: result 0: expected I32(4)"));
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod drive;
mod runner;
mod script;
mod spectest;
mod values;
mod way;

pub use drive::{Panicked, catching, record_panics};
pub use runner::{Outcome, execute};
pub use script::Script;
pub use way::{Fuel, Way};
