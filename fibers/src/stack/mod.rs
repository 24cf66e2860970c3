//! Stacks: slabs of them with guards, and the pool that lends them.

mod annex;
mod config;
mod guard;
mod lent;
mod pool;
mod slab;

pub use annex::Annex;
pub use config::StackPoolConfig;
pub use guard::Guards;
pub use lent::Stack;
pub use pool::StackPool;

use std::io;

/// Why no stack could be had. Each text names the limit that was met.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StackError {
    /// The pool lends as many stacks as its configuration allows.
    #[error("all {max} stacks of the pool are in use (its configured maximum)")]
    Exhausted {
        /// The configured maximum.
        max: usize,
    },
    /// The configuration asks for something that no address space holds.
    #[error("a slab of {stacks} stacks of {size} bytes each exceeds the address space")]
    TooLarge {
        /// Bytes of one stack, without its guard.
        size: usize,
        /// Stacks in one slab.
        stacks: usize,
    },
    /// The system gave no memory for a slab.
    #[error(
        "mapping {bytes} bytes for a slab of stacks failed (limits: address space, \
         vm.max_map_count, overcommit): {source}"
    )]
    Map {
        /// Bytes asked for.
        bytes: usize,
        /// The system's answer.
        source: io::Error,
    },
    /// The system gave no guard.
    #[error(
        "guarding {bytes} bytes below a stack failed (limit: vm.max_map_count, \
         two mappings for each guard without MADV_GUARD_INSTALL): {source}"
    )]
    Guard {
        /// Bytes of the guard.
        bytes: usize,
        /// The system's answer.
        source: io::Error,
    },
}

/// The system's page size in bytes.
fn page_size() -> usize {
    // SAFETY: sysconf reads a constant of the system.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).ok().filter(|size| size.is_power_of_two()).unwrap_or(4096)
}
