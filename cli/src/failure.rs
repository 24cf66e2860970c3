//! How a command fails: what is printed, and with which exit code it ends.

use std::fmt;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};

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

    /// What the user can do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Prints the failure on the standard error.
    pub fn report(&self) -> ExitCode {
        anstream::eprintln!("{self}");
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
        let note = Style::new().bold().fg_color(Some(AnsiColor::Cyan.into()));
        write!(f, "{error}error:{error:#} ")?;
        for (index, cause) in self.error.chain().enumerate() {
            let colon = if index == 0 { "" } else { ": " };
            write!(f, "{colon}{cause}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n{note}hint:{note:#} {hint}")?;
        }
        Ok(())
    }
}
