//! Arguments of `lampwick run`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint};

use super::values::{DirMapping, MOST_WORKERS, bytes, duration, variable};

/// Arguments of `lampwick run`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  lampwick run hello.wasm world
  lampwick run --dir data::/data --env LANG=C --timeout 10s tool.wasm /data/in.txt
  lampwick run --invoke add sum.wasm 1 2
  lampwick run --jobs 2 --report a.wasm x ::: b.wasm y ::: c.wasm z")]
pub struct RunArgs {
    /// Let the program use a directory, under this name of its own [default: the same name]
    #[arg(long = "dir", value_name = "HOST[::GUEST]", value_hint = ValueHint::DirPath)]
    pub dirs: Vec<DirMapping>,
    /// The same, but only for reading
    #[arg(long = "dir-read-only", value_name = "HOST[::GUEST]", value_hint = ValueHint::DirPath)]
    pub read_only_dirs: Vec<DirMapping>,
    /// Set a variable of the program's environment, which is empty otherwise
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    pub env: Vec<(String, String)>,
    /// Units of fuel that each program may burn [default: without end]
    #[arg(long, value_name = "UNITS")]
    pub fuel: Option<u64>,
    /// Units of fuel after which a program lets others run
    #[arg(long, value_name = "UNITS", default_value_t = 1_000_000,
        value_parser = clap::value_parser!(u64).range(1..))]
    pub slice: u64,
    /// The time that each program may take, such as 500ms or 2m
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub timeout: Option<Duration>,
    /// The most memory of a program, such as 64MiB: its linear memories and, at 16 bytes for each
    /// element, its tables together
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub max_memory: Option<u64>,
    /// Call this exported function with the arguments as numbers, and print its results
    #[arg(long, value_name = "FUNCTION")]
    pub invoke: Option<String>,
    /// Run several programs, separated by `:::`, side by side, so many at a time. The first has the
    /// standard input; the exit code is that of the first that failed
    #[arg(long, value_name = "COUNT")]
    pub jobs: Option<NonZeroUsize>,
    /// Threads that programs run on [default: one for each processor]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=MOST_WORKERS))]
    pub workers: Option<u16>,
    /// Print on the standard error what each program took
    #[arg(long)]
    pub report: bool,
    /// Write when each program ran, on which worker, for Perfetto (https://ui.perfetto.dev)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub trace: Option<PathBuf>,
    /// The program, in the binary or the text format or as an artifact, and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true,
        value_names = ["PROGRAM", "ARGUMENT"], value_hint = ValueHint::CommandWithArguments)]
    pub program: Vec<String>,
}
