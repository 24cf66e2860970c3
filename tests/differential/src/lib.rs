//! Modules that nobody wrote, run by Lampwick and by an interpreter (`wasmi`), which must agree.
//!
//! [`generate`] makes a module out of bytes, [`compare`] runs it on both [`Side`](side::Side)s: it
//! is instantiated with the same imports, each exported function is called with the same arguments,
//! and after each trap and at the end all exported memories, tables and globals are compared. The
//! generator exports everything, so that nothing a module can change is left out.
//!
//! Generated modules have few of the rare operators. [`compare_operators`] runs each operator that
//! computes by itself, with many operands.
//!
//! # What agreement means
//!
//! - A call returns the same values on both sides, bit by bit. The generator makes NaNs canonical,
//!   since engines may choose their bits.
//! - Or it traps on both, for the same reason ([`Trap`](side::Trap)): division by zero
//!   is not overflow. Texts and backtraces are not compared. Where a segment does
//!   not fit when a module is instantiated, it counts as an access outside of the memory or table.
//! - The host functions were called in the same order with the same arguments, and what was in
//!   memories, tables and globals is the same, also of modules whose instantiation failed
//!   half-way into the host's own memory or table. References are compared by whether they are null, and values
//!   of the host by what they are.
//!
//! Every function and every turn of a loop takes from a counter in the module itself, so that all
//! modules end, on both sides in the same place. Only a limit that one side has and the other has
//! not, such as its stack, makes a module [incomparable](Outcome::Limited).
//!
//! # Alone
//!
//! Typed references, structs, arrays, exceptions and atomic accesses the interpreter has not. Modules
//! that use these Lampwick runs in two ways ([`ways_alone`]), as different as they may be: with and
//! without fuel, in slices, optimized or not, with a collection before each object. The same holds for
//! these, and where both ways count fuel, that agrees as well. What is wrong in the same way in both
//! is not found.

mod compare;
pub mod generate;
mod host;
mod lampwick;
pub mod operators;
pub mod proposals;
mod references;
pub mod side;
mod wasmi;
pub mod ways;

pub use compare::{Outcome, Tally, compare};
pub use operators::compare_operators;
pub use ways::{Way, ways, ways_alone};
