//! The command line.

use anyhow::Result;
use lexopt::prelude::*;
use std::num::NonZeroUsize;

const HELP: &str = "\
Runs many WebAssembly guests at once: short ones, long ones, endless ones, and ones that trap.

Usage: many_guests [OPTIONS]

Options:
      --guests N    how many guests, of all kinds by turns (1000)
      --workers N   how many threads the tokio runtime has (2)
  -h, --help        print this
";

pub(crate) struct Options {
    pub(crate) guests: usize,
    pub(crate) workers: usize,
}

/// What the command line asks for; nothing where it only asked for help.
pub(crate) fn parse() -> Result<Option<Options>> {
    let mut options = Options { guests: 1000, workers: 2 };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("guests") => options.guests = parser.value()?.parse::<NonZeroUsize>()?.get(),
            Long("workers") => options.workers = parser.value()?.parse::<NonZeroUsize>()?.get(),
            Short('h') | Long("help") => {
                print!("{HELP}");
                return Ok(None);
            }
            _ => return Err(argument.unexpected().into()),
        }
    }
    Ok(Some(options))
}
