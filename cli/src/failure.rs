//! How a command fails: what is printed, and with which exit code it ends.

use std::fmt;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use lampwick::Trap;

/// The exit code of a program that trapped: what a shell shows for one that was aborted.
pub const TRAPPED: u8 = 134;

/// The exit code after misuse.
const MISUSE: u8 = 2;

/// Why a command could not do what it was asked to.
#[derive(Debug)]
pub struct Failure {
    error: anyhow::Error,
    hint: Option<String>,
    code: u8,
}

impl Failure {
    /// What was asked for cannot be done: exit code 2.
    pub fn misuse(error: impl Into<anyhow::Error>) -> Self {
        Self { error: error.into(), hint: None, code: MISUSE }
    }

    /// Anything else: exit code 1.
    pub fn other(error: impl Into<anyhow::Error>) -> Self {
        Self { error: error.into(), hint: None, code: 1 }
    }

    /// What a guest's call failed with: exit code 134 if it trapped, else 1.
    pub fn guest(error: anyhow::Error) -> Self {
        let trapped = error.downcast_ref::<Trap>().is_some_and(is_trap);
        Self { error, hint: None, code: if trapped { TRAPPED } else { 1 } }
    }

    /// What the user can do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        self.code
    }

    /// Prints the failure on the standard error.
    pub fn report(&self) -> ExitCode {
        anstream::eprintln!("{self}");
        ExitCode::from(self.code)
    }
}

/// Whether a guest's call ended by what a guest did, and not by what the host did for it.
pub fn is_trap(trap: &Trap) -> bool {
    trap.trap_code().is_some() || trap.is_out_of_fuel()
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
        let note = Style::new().bold().fg_color(Some(AnsiColor::Cyan.into()));
        write!(f, "{error}error:{error:#} ")?;
        // A trap's text includes what caused it, and its backtrace comes last.
        let chain = self.error.chain();
        let trap = self.error.chain().position(|cause| cause.is::<Trap>());
        for (index, cause) in chain.enumerate().take(trap.map_or(usize::MAX, |index| index + 1)) {
            let colon = if index == 0 { "" } else { ": " };
            write!(f, "{colon}{cause}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n{note}hint:{note:#} {hint}")?;
        }
        Ok(())
    }
}
