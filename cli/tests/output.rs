//! What all commands have in common: help, completions, the manual, closed outputs.

use std::process::Stdio;

use crate::support::Workplace;

const COMMANDS: &[&str] = &["run", "serve", "compile", "inspect", "wast", "completions"];

#[test]
fn every_command_has_help_with_an_example() {
    let place = Workplace::new();
    for command in COMMANDS {
        let text = place.run(&[command, "--help"]).succeeded();
        assert!(
            text.contains("Example") && text.contains(&format!("  lampwick {command}")),
            "{text}"
        );
    }
}

#[test]
fn the_manual_has_every_command() {
    let manual = Workplace::new().run(&["man"]).succeeded();
    assert!(manual.starts_with(".ie"), "{manual}");
    for command in COMMANDS {
        let section = format!(".SH \"LAMPWICK {}\"", command.to_uppercase());
        assert!(manual.contains(&section), "{section}");
    }
}

#[test]
fn shells_learn_the_commands() {
    let place = Workplace::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = place.run(&["completions", shell]).succeeded();
        assert!(COMMANDS.iter().all(|command| script.contains(command)), "{script}");
    }
    place.run(&["completions", "tcsh"]).failed(2, &["'tcsh'", "bash"]);
}

#[test]
fn there_are_no_colours_without_a_terminal() {
    let place = Workplace::new();
    for args in [["inspect", "gone"].as_slice(), &["--help"], &["bogus"]] {
        let ran = place.run(args);
        assert!(!ran.stderr.contains('\u{1b}') && !ran.stdout.contains('\u{1b}'), "{ran:?}");
    }
}

#[test]
fn whoever_closes_the_output_has_read_enough() {
    let place = Workplace::new();
    let mut child =
        place.command(&["man"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stderr, b"", "{output:?}");
    assert_eq!(output.status.code(), Some(0));
}
