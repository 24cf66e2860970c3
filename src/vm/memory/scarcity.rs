//! Which limit was met where the system refuses memory. It answers `ENOMEM` for each of them.

use std::fmt;
use std::io;
use std::ptr;

use rustix::mm::{self, MapFlags, MprotectFlags, ProtFlags};
use rustix::process::{Resource, getrlimit};

/// A limit of the process or the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scarcity {
    /// No hole of this many bytes is left between mappings.
    AddressSpace(usize),
    /// The resource limit on address space, in bytes.
    ResourceLimit(u64),
    /// As many mappings as the kernel lets a process have.
    Mappings,
    /// None of these: the machine's memory, or what the kernel lets be committed of it.
    Memory,
}

impl Scarcity {
    /// The limit behind an error of a mapping of so many bytes, or of a part of it.
    ///
    /// A few system calls, whatever the process has: guests choose how often they fail.
    pub(super) fn behind(error: &io::Error, len: usize) -> Self {
        if error.raw_os_error() != Some(libc::ENOMEM) {
            return Self::Memory;
        }
        // What is behind an error is what stops a mapping of no consequence, or of this length.
        let small = probe(2 * PAGE).is_err();
        if !small && probe(len.max(2 * PAGE)).is_ok() {
            return Self::Memory;
        }
        let limit = getrlimit(Resource::As).current;
        let least = if small { 2 * PAGE } else { len } as u64;
        match limit {
            Some(limit) if address_space().saturating_add(least) > limit => {
                Self::ResourceLimit(limit)
            }
            _ if small => Self::Mappings,
            _ => Self::AddressSpace(len),
        }
    }
}

const PAGE: usize = 4096;

/// Does for a moment what a memory does: maps a range, and makes a part of it accessible.
fn probe(len: usize) -> rustix::io::Result<()> {
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    // SAFETY: a fresh mapping overlaps nothing, nobody else knows of it, and it is unmapped here.
    unsafe {
        let start = mm::mmap_anonymous(ptr::null_mut(), len, ProtFlags::empty(), flags)?;
        let split = mm::mprotect(start, PAGE, MprotectFlags::READ | MprotectFlags::WRITE);
        mm::munmap(start, len)?;
        split
    }
}

/// The bytes of address space that the process has mapped, as far as the system tells.
fn address_space() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")?.strip_suffix("kB"));
    size.and_then(|kib| kib.trim().parse::<u64>().ok()).unwrap_or(0) << 10
}

impl fmt::Display for Scarcity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddressSpace(len) => write!(
                f,
                "the process has {} GiB of address space in use and no room for {len} bytes more; \
                 memories take less with a smaller `Config::static_memory_maximum_size` and \
                 smaller guards",
                address_space() >> 30
            ),
            Self::ResourceLimit(limit) => write!(
                f,
                "the process may have {limit} bytes of address space (RLIMIT_AS, `ulimit -v`) and \
                 has {} in use",
                address_space()
            ),
            Self::Mappings => {
                let limit = std::fs::read_to_string("/proc/sys/vm/max_map_count");
                let limit = limit.as_deref().map_or("its maximum of", str::trim);
                write!(
                    f,
                    "the process has {limit} mappings, all that it may have; raise \
                     `vm.max_map_count`, or keep memories in a pool \
                     (`Config::allocation_strategy`)"
                )
            }
            Self::Memory => f.write_str("the machine has too little, or lets no more be committed"),
        }
    }
}
