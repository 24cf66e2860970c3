//! The command line.

use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) const HELP: &str = "\
The WebAssembly specification's tests, run with fuel off, with fuel on, async with small slices of
fuel, with memories that need explicit bounds checks, with memories in a pool, and with modules from
artifacts in files.

Usage: cargo test --test spec -- [OPTIONS] [NAMES]...

  NAMES...      execute only files whose path (such as `wasm-v2/i32.wast`) contains one of these
  --seed N      choose slices of fuel by this number, as printed by the run to repeat
  --list        print the paths of the files and stop
  --help        print this and stop
";

/// Options of other test binaries, which `cargo test` passes to this one as well.
const IGNORED: &[&str] =
    &["--nocapture", "--no-capture", "--quiet", "-q", "--exact", "--include-ignored"];

/// What the command line asks for.
pub(crate) enum Wish {
    Help,
    Run(Options),
}

pub(crate) struct Options {
    pub(crate) filters: Vec<String>,
    pub(crate) seed: u64,
    pub(crate) list: bool,
}

impl Options {
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Wish, String> {
        let mut options = Self { filters: Vec::new(), seed: fresh_seed(), list: false };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--help" | "-h" => return Ok(Wish::Help),
                "--list" => options.list = true,
                "--seed" => {
                    let seed = arguments.next().ok_or("`--seed` needs a number")?;
                    options.seed =
                        seed.parse().map_err(|error| format!("`--seed {seed}`: {error}"))?;
                }
                "--test-threads" => drop(arguments.next()),
                option if IGNORED.contains(&option) || option.starts_with("--test-threads=") => {}
                option if option.starts_with('-') => {
                    return Err(format!("unknown option `{option}`"));
                }
                name => options.filters.push(name.to_owned()),
            }
        }
        Ok(Wish::Run(options))
    }
}

/// A seed that differs from run to run, short enough to be typed.
fn fresh_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::from(now.subsec_nanos()) ^ (now.as_secs() & 0xffff)
}
