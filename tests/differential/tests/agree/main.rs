//! Generated modules agree: ten thousand seeds, each in one of the ways to run, on all cores.
//!
//! The modules run in a process of their own, so that one which ends the process is told by its
//! seed, too.

mod options;
mod report;
mod workers;

use std::process::{Command, ExitCode};

use options::{Options, Wish};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match Options::parse(arguments.iter().cloned()) {
        Ok(Wish::Run(options)) => match &options.notes {
            Some(notes) => workers::run(&options, notes),
            None => supervise(&arguments),
        },
        Ok(Wish::List) => {
            println!("agree: test");
            ExitCode::SUCCESS
        }
        Ok(Wish::Help) => {
            print!("{}", options::HELP);
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}\n\n{}", options::HELP);
            ExitCode::from(2)
        }
    }
}

/// Runs the modules in a child process; tells which ones it ran when it was killed.
fn supervise(arguments: &[String]) -> ExitCode {
    let notes = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("files can be made");
    let executable = std::env::current_exe().expect("the system knows our file");
    let mut child = Command::new(executable);
    child.args(arguments).arg("--child").arg(notes.path());
    let status = child.status().expect("a process can be made");
    if let Some(code) = status.code() {
        return ExitCode::from(u8::try_from(code).unwrap_or(1));
    }
    eprintln!("the process was ended ({status}) while it ran one of these:");
    for repeat in workers::noted(notes.path()) {
        eprintln!("    {repeat}");
    }
    ExitCode::FAILURE
}
