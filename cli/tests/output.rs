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

/// The long flags of a command, as its help has them.
fn flags(help: &str) -> Vec<&str> {
    let words = help.lines().filter(|line| line.trim_start().starts_with('-'));
    let words = words.flat_map(|line| line.split([' ', ',', '=']));
    words.filter_map(|word| word.strip_prefix("--").filter(|flag| !flag.is_empty())).collect()
}

#[test]
fn the_manual_and_shells_know_every_flag() {
    let place = Workplace::new();
    let manual = place.run(&["man"]).succeeded();
    let scripts = ["bash", "zsh", "fish"]
        .map(|shell| (shell, place.run(&["completions", shell]).succeeded()));
    for command in COMMANDS {
        let help = place.run(&[command, "--help"]).succeeded();
        let section = format!(".SH \"LAMPWICK {}\"", command.to_uppercase());
        let (_, section) = manual.split_once(&section).unwrap();
        let section = section.split(".SH \"LAMPWICK").next().unwrap();
        assert!(flags(&help).contains(&"help"), "{help}");
        for flag in flags(&help).into_iter().filter(|&flag| flag != "help") {
            let escaped = format!("\\-\\-{}", flag.replace('-', "\\-"));
            assert!(section.contains(&escaped), "{command} --{flag} is not in the manual");
            for (shell, script) in &scripts {
                let flag =
                    if *shell == "fish" { format!("-l {flag} ") } else { format!("--{flag}") };
                assert!(script.contains(&flag), "{command} {flag} is not in {shell}'s script");
            }
        }
    }
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
