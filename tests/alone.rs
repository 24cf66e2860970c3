//! Tests in processes of their own: this binary again, with one ignored test.
//!
//! For what other tests of the binary, which run at the same time, would disturb, and for what ends
//! the process.

use std::process::{Command, Output};

/// The command that runs an ignored test, such as `soak::this_alone`, with what it prints.
pub(crate) fn command(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"]);
    command
}

/// Runs an ignored test, which must pass, and answers what it printed.
pub(crate) fn run(test: &str) -> String {
    passed(command(test).output().unwrap())
}

/// What an ignored test printed, which must have passed.
pub(crate) fn passed(output: Output) -> String {
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "{}\n{text}", output.status);
    assert!(text.contains("1 passed"), "the test was not found\n{text}");
    text
}
