//! `jit-<pid>.dump`: functions with their code and source lines.
//!
//! The format is that of Linux, `tools/perf/Documentation/jitdump-specification.txt`. `perf record`
//! notices the file because it is mapped executable; `perf inject` makes an object file of each
//! function.

use std::env;
use std::fs::File;
use std::io::Write;
use std::sync::Mutex;

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};

use super::{Function, file};
use crate::vm::marker::Marker;

/// `JiTD`, in the byte order of the machine.
const MAGIC: u32 = 0x4a69_5444;
const VERSION: u32 = 1;
const HEADER_LEN: u32 = 40;
/// `EM_X86_64`.
const MACHINE: u32 = 62;

const JIT_CODE_LOAD: u32 = 0;
const JIT_CODE_DEBUG_INFO: u32 = 2;

/// The bytes of a record before what its kind defines: kind, length, time.
const RECORD_HEADER_LEN: usize = 16;

static DUMP: Mutex<Option<Dump>> = Mutex::new(None);

struct Dump {
    /// A fork has another file.
    pid: u32,
    file: File,
    /// Numbers the functions.
    next: u64,
    _marker: Marker,
}

/// Creates the file, unless that was done.
pub(super) fn open() -> Result<()> {
    with_dump(|_| Ok(()))
}

/// Adds functions.
pub(super) fn write(functions: &[Function<'_>]) -> Result<()> {
    with_dump(|dump| functions.iter().try_for_each(|function| dump.function(function)))
}

fn with_dump(run: impl FnOnce(&mut Dump) -> Result<()>) -> Result<()> {
    let mut dump = DUMP.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let pid = std::process::id();
    if let Some(dump) = dump.as_mut().filter(|dump| dump.pid == pid) {
        return run(dump);
    }
    run(dump.insert(Dump::new(pid)?))
}

impl Dump {
    fn new(pid: u32) -> Result<Self> {
        let path = env::current_dir()?.join(format!("jit-{pid}.dump"));
        let file = file::create(&path);
        let mut file = file.with_context(|| format!("cannot create `{}`", path.display()))?;
        let mut header = Fields::default();
        for field in [MAGIC, VERSION, HEADER_LEN, MACHINE, 0, pid] {
            header.u32(field);
        }
        header.u64(now());
        header.u64(0); // flags
        file.write_all(&header.0)?;
        let marker = Marker::new(&file);
        let marker = marker.with_context(|| format!("cannot map `{}`", path.display()))?;
        Ok(Self { pid, file, next: 0, _marker: marker })
    }

    fn function(&mut self, function: &Function<'_>) -> Result<()> {
        let mut records = Fields::default();
        if !function.lines.is_empty() {
            records.record(JIT_CODE_DEBUG_INFO, |fields| fields.debug_info(function));
        }
        let (pid, number) = (self.pid, self.next);
        records.record(JIT_CODE_LOAD, |fields| {
            fields.u32(pid);
            fields.u32(rustix::thread::gettid().as_raw_nonzero().get() as u32);
            fields.u64(function.address as u64); // where it was made
            fields.u64(function.address as u64); // where it is
            fields.u64(function.code.len() as u64);
            fields.u64(number);
            fields.text(&function.name);
            fields.0.extend_from_slice(function.code);
        });
        self.file.write_all(&records.0)?;
        self.next += 1;
        Ok(())
    }
}

/// Nanoseconds of the clock that `perf record -k mono` uses.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Fields in the byte order of the machine.
#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn u32(&mut self, value: u32) {
        self.0.extend(value.to_ne_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.extend(value.to_ne_bytes());
    }

    /// A text and the zero that ends it; names hold none.
    fn text(&mut self, text: &str) {
        self.0.extend(text.bytes());
        self.0.push(0);
    }

    /// A record with its header.
    fn record(&mut self, kind: u32, body: impl FnOnce(&mut Self)) {
        let mut fields = Self::default();
        body(&mut fields);
        self.u32(kind);
        self.u32((RECORD_HEADER_LEN + fields.0.len()) as u32);
        self.u64(now());
        self.0.append(&mut fields.0);
    }

    fn debug_info(&mut self, function: &Function<'_>) {
        self.u64(function.address as u64);
        self.u64(function.lines.len() as u64);
        for (address, line) in &function.lines {
            self.u64(*address as u64);
            self.u32(line.line);
            self.u32(0); // discriminator
            self.text(&line.file);
        }
    }
}
