//! The command `lampwick`: runs, compiles, inspects and serves WebAssembly programs.

#![deny(unsafe_code)]
#![expect(unreachable_pub, reason = "a binary has no users; the build script reads `args`, too")]

mod args;
mod compile;
mod engine;
mod failure;
mod inspect;
mod limit;
mod load;
mod run;
mod serve;
mod signals;
mod wast;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use args::{Cli, Command};
use failure::Failure;

/// The manual page, from the build script.
const MANUAL: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/lampwick.1"));

fn main() -> ExitCode {
    // Misuse of options ends in there, with exit code 2.
    let result = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Serve(args) => serve::serve(&args),
        Command::Compile(args) => compile::compile(&args),
        Command::Inspect(args) => inspect::inspect(&args),
        Command::Wast(args) => wast::wast(&args),
        Command::Completions(args) => {
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Cli::command(), "lampwick", &mut script);
            print(&script)
        }
        Command::Man => print(MANUAL),
    };
    result.unwrap_or_else(|failure| failure.report())
}

/// Prints on the standard output. Whoever closes it early has read enough.
fn print(text: &[u8]) -> Result<ExitCode, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::other(anyhow::Error::new(error).context("cannot write the output")))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}
