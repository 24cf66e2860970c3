//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

pub(crate) const HELP: &str = "\
Generated modules, run by Lampwick and by the interpreter wasmi, which must agree; and, for what wasmi
has not, by Lampwick in two ways.

Usage: cargo test -p lampwick-differential -- [OPTIONS]

  --seed N      the first seed; each module has the next (default 1)
  --modules N   how many modules (default 10000)
  --alone N     how many modules run by Lampwick alone (default 3000)
  --rounds N    how often all operators are run by themselves, each time with other operands
                (default 16)
  --way NAME    run all modules in ways whose names contain this, rather than in all by turns
  --save FILE   write the module of the first seed to a file; with `--modules 0` that of Lampwick alone
  --help        print this and stop
";

/// Modules of a run without options. Its shares are checked, too (`report`).
pub(crate) const MODULES: u64 = 10_000;

/// The same for those that Lampwick runs alone.
pub(crate) const ALONE: u64 = 3_000;

/// Rounds of all operators, of a run without options.
const ROUNDS: u64 = 16;

/// What the command line asks for.
pub(crate) enum Wish {
    Help,
    List,
    Run(Options),
}

pub(crate) struct Options {
    pub(crate) seed: u64,
    pub(crate) modules: u64,
    pub(crate) alone: u64,
    pub(crate) rounds: u64,
    pub(crate) way: Option<String>,
    pub(crate) save: Option<PathBuf>,
    /// Where the child process notes what it is at; the parent has none.
    pub(crate) notes: Option<PathBuf>,
}

impl Options {
    /// Options of other test binaries, which `cargo test` passes to this one as well, are ignored.
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Wish, String> {
        let mut options = Self {
            seed: 1,
            modules: MODULES,
            alone: ALONE,
            rounds: ROUNDS,
            way: None,
            save: None,
            notes: None,
        };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--help" | "-h" => return Ok(Wish::Help),
                "--list" => return Ok(Wish::List),
                "--seed" => options.seed = value(&argument, arguments.next())?,
                "--modules" => options.modules = value(&argument, arguments.next())?,
                "--alone" => options.alone = value(&argument, arguments.next())?,
                "--rounds" => options.rounds = value(&argument, arguments.next())?,
                "--way" => options.way = Some(value(&argument, arguments.next())?),
                "--save" => options.save = Some(value(&argument, arguments.next())?),
                "--child" => options.notes = Some(value(&argument, arguments.next())?),
                _ => {}
            }
        }
        Ok(Wish::Run(options))
    }

    /// The command that runs one module again, or one round of operators.
    pub(crate) fn repeat(work: Work, seed: u64, way: &str) -> String {
        let (modules, alone, rounds) = match work {
            Work::Module => (1, 0, 0),
            Work::Alone => (0, 1, 0),
            Work::Operators => (0, 0, 1),
        };
        format!(
            "cargo test -p lampwick-differential -- --seed {seed} --modules {modules} \
             --alone {alone} --rounds {rounds} --way \"{way}\""
        )
    }

    /// What the worker does who comes as this one, and with which seed. Rounds of operators are long,
    /// and therefore first.
    pub(crate) fn turn(&self, turn: u64) -> Option<(Work, u64)> {
        let parts = [
            (Work::Operators, self.rounds),
            (Work::Module, self.modules),
            (Work::Alone, self.alone),
        ];
        let mut turn = turn;
        for (work, number) in parts {
            match turn.checked_sub(number) {
                None => return Some((work, self.seed.wrapping_add(turn))),
                Some(behind) => turn = behind,
            }
        }
        None
    }
}

/// What is done with a seed.
#[derive(Clone, Copy)]
pub(crate) enum Work {
    /// A generated module is run.
    Module,
    /// A generated module is run by Lampwick alone.
    Alone,
    /// Each operator is run.
    Operators,
}

fn value<V: FromStr>(option: &str, argument: Option<String>) -> Result<V, String>
where
    V::Err: std::fmt::Display,
{
    let text = argument.ok_or_else(|| format!("`{option}` needs a value"))?;
    text.parse().map_err(|error| format!("`{option} {text}`: {error}"))
}
