//! The command on a terminal.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::Child;

use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};

use crate::guests;
use crate::support::Workplace;

/// The user's end of a terminal on which the command runs.
struct Terminal {
    user: File,
    child: Child,
}

impl Terminal {
    fn new(place: &Workplace, args: &[&str]) -> Self {
        let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        unlockpt(&user).unwrap();
        let name = ptsname(&user, Vec::new()).unwrap();
        let open = || {
            let mut options = File::options();
            options.read(true).write(true).open(name.to_str().unwrap()).unwrap()
        };
        let mut command = place.command(args);
        let child = command.stdin(open()).stdout(open()).stderr(open()).spawn().unwrap();
        Self { user: user.into(), child }
    }

    fn types(&mut self, keys: &[u8]) {
        self.user.write_all(keys).unwrap();
    }

    /// All that is shown until the command ends, and its exit code.
    fn shown(mut self) -> (String, Option<i32>) {
        let mut shown = Vec::new();
        // Where nobody has the other end any more, reading is an error.
        let _ = self.user.read_to_end(&mut shown);
        (String::from_utf8(shown).unwrap(), self.child.wait().unwrap().code())
    }
}

#[test]
fn a_guest_reads_what_is_typed_to_the_end() {
    let place = Workplace::new().with("p.wat", guests::copies("ready\n"));
    let mut terminal = Terminal::new(&place, &["run", "p.wat"]);
    // The end of a line, and Ctrl-D, are the terminal's to tell.
    terminal.types(b"typed\n\x04");
    let (shown, code) = terminal.shown();
    assert_eq!(code, Some(0), "{shown:?}");
    // What is typed is shown, and what the guest makes of it.
    assert_eq!(shown.matches("typed\r\n").count(), 2, "{shown:?}");
    assert!(shown.contains("ready\r\n"), "{shown:?}");
}

#[test]
fn colours_are_for_terminals() {
    let place = Workplace::new();
    let (shown, code) = Terminal::new(&place, &["inspect", "gone"]).shown();
    assert!(code == Some(2) && shown.contains("\u{1b}["), "{shown:?}");
    let (shown, _) = Terminal::new(&place, &["run", "--help"]).shown();
    assert!(shown.contains("\u{1b}["), "{shown:?}");
}
