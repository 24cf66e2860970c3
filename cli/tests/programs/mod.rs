//! Real programs, as users of the command run them: `tests/guests/programs/`, which says where they
//! come from. What scripts should print was compared with the same programs built for Linux.

mod lua;
mod quickjs;
mod sqlite;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::support::{Ran, Workplace};

/// A program, compiled once for all tests.
#[derive(Debug)]
struct Program {
    name: &'static str,
    artifact: OnceLock<PathBuf>,
}

impl Program {
    const fn new(name: &'static str) -> Self {
        Self { name, artifact: OnceLock::new() }
    }

    fn artifact(&self) -> &str {
        let artifact = self.artifact.get_or_init(|| {
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/guests/programs");
            let source = source.join(self.name).with_extension("wasm");
            // The command renames it to its place when it is whole: other processes may do the same.
            let artifact = Path::new(env!("CARGO_TARGET_TMPDIR")).join(self.name);
            let artifact = artifact.with_extension("lampwick");
            let (source, output) = (source.to_str().unwrap(), artifact.to_str().unwrap());
            Workplace::new().run(&["compile", source, "-o", output]).succeeded();
            artifact
        });
        artifact.to_str().unwrap()
    }

    /// Runs it in a directory, which is its own as well, with options of the command.
    fn run_with(&self, place: &Workplace, options: &[&str], args: &[&str]) -> Ran {
        self.run_fed(place, options, args, "")
    }

    fn run(&self, place: &Workplace, args: &[&str]) -> Ran {
        self.run_with(place, &["--dir", "."], args)
    }

    /// The same, with something to read.
    fn run_fed(&self, place: &Workplace, options: &[&str], args: &[&str], input: &str) -> Ran {
        let stdin = place.path(".stdin");
        std::fs::write(&stdin, input).unwrap();
        let args = [&["run", "--env", "HOME=/"], options, &[self.artifact()], args].concat();
        let mut command = place.command(&args);
        let command = command.stdin(std::fs::File::open(&stdin).unwrap());
        command.output().expect("the command starts").into()
    }
}

/// The fuel that the report of one program tells.
fn fuel(ran: &Ran) -> u64 {
    let report = ran.stderr.lines().last().unwrap_or_default();
    let fuel = report.split_whitespace().nth(2).and_then(|cell| cell.parse().ok());
    fuel.unwrap_or_else(|| panic!("no report in {ran:?}"))
}

/// A file that lies beside the tests.
macro_rules! script {
    ($name:literal) => {
        ($name, include_str!($name))
    };
}
use script;

impl Workplace {
    /// The same with these files in it.
    fn with_scripts(self, scripts: &[(&str, &str)]) -> Self {
        scripts.iter().fold(self, |place, (name, text)| place.with(name, text))
    }
}
