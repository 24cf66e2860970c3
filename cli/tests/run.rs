//! `lampwick run`: exit codes, streams, signals, limits, as a shell user expects them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::guests;
use crate::support::{Ran, Workplace};

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

#[test]
fn exit_codes_pass_through() {
    for (status, code) in [(0, 0), (3, 3), (255, 255), (256, 1), (u32::MAX, 255)] {
        let place = Workplace::new().with("p.wat", guests::says("hi\n", status));
        let ran = place.run(&["run", "p.wat"]);
        assert_eq!((ran.code, &*ran.stdout, &*ran.stderr), (Some(code), "hi\n", ""));
    }
}

#[test]
fn a_trap_prints_its_backtrace_and_exits_134() {
    let place = Workplace::new().with("p.wat", guests::traps("before\n"));
    let ran = place.run(&["run", "p.wat"]);
    assert_eq!((ran.code, &*ran.stdout), (Some(134), "before\n"), "{ran:?}");
    for words in ["error: `p.wat` failed: wasm trap: unreachable", "wasm backtrace:", "p!fails"] {
        assert!(ran.stderr.contains(words), "{words}: {ran:?}");
    }
}

#[test]
fn limits_end_programs() {
    let place = Workplace::new()
        .with("loops.wat", guests::loops(""))
        .with("takes.wat", guests::takes_memory());
    let words = ["`loops.wat` failed: all fuel consumed", "wasm backtrace:"];
    place.run(&["run", "--fuel", "100000", "loops.wat"]).failed(134, &words);
    let words = ["`loops.wat` was ended: its time, 50ms, was up"];
    place.run(&["run", "--timeout", "50ms", "loops.wat"]).failed(1, &words);
    let ran = place.run(&["run", "--max-memory", "1MiB", "takes.wat"]);
    assert_eq!(ran.code, Some(16), "{ran:?}");
}

#[test]
fn streams_are_the_shells() {
    let place = Workplace::new().with("p.wat", guests::copies(""));
    let mut child = place
        .command(&["run", "p.wat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It answers at once, while there may be more to read.
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in ["first", "second"] {
        writeln!(stdin, "{line}").unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), line);
    }
    drop(stdin);
    assert!(lines.next().is_none());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn arguments_and_environment_are_what_was_given() {
    let place = Workplace::new()
        .with("args.wat", guests::tells_arguments())
        .with("env.wat", guests::tells_environment(""));
    let text = place.run(&["run", "args.wat", "-x", "--fuel", "--", "a b"]).succeeded();
    assert_eq!(text, "args.wat\0-x\0--fuel\0--\0a b\0");
    let text = place.run(&["run", "--env", "A=1", "--env", "B=x=y", "env.wat"]).succeeded();
    assert_eq!(text, "A=1\0B=x=y\0");
    place.run(&["run", "--env", "=1", "env.wat"]).failed(2, &["expected NAME=VALUE"]);
}

#[test]
fn directories_are_given_with_or_without_the_right_to_write() {
    const NOT_CAPABLE: i32 = 76;
    const BAD_DESCRIPTOR: i32 = 8;
    let place = Workplace::new().with("p.wat", guests::makes_a_directory());
    assert_eq!(place.run(&["run", "p.wat"]).code, Some(BAD_DESCRIPTOR));
    let ran = place.run(&["run", "--dir-read-only", ".::/", "p.wat"]);
    assert_eq!(ran.code, Some(NOT_CAPABLE), "{ran:?}");
    assert!(!place.path("made").exists());
    place.run(&["run", "--dir", ".::/data", "p.wat"]).succeeded();
    assert!(place.path("made").is_dir());
    let words = ["cannot open the directory `gone`", "No such file"];
    place.run(&["run", "--dir", "gone", "p.wat"]).failed(2, &words);
}

#[test]
fn signals_end_programs_that_compute_and_that_wait() {
    for (guest, signal, code) in [
        (guests::loops("ready\n"), Signal::INT, 130),
        (guests::loops("ready\n"), Signal::TERM, 143),
        (guests::loops("ready\n"), Signal::HUP, 129),
        (guests::copies("ready\n"), Signal::INT, 130),
    ] {
        let place = Workplace::new().with("p.wat", guest);
        let mut command = place.command(&["run", "--report", "p.wat"]);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
        kill_process(pid(&child), signal).unwrap();
        // Its input stays open: nobody waits for what is still to come.
        let _stdin = child.stdin.take();
        let ran: Ran = child.wait_with_output().unwrap().into();
        assert_eq!(ran.code, Some(code), "{ran:?}");
        let row = ran.stderr.lines().nth(1).unwrap_or_default();
        let mut cells = row.split_whitespace();
        assert_eq!(
            (cells.next(), cells.next()),
            (Some("p.wat"), Some(&*code.to_string())),
            "{row}"
        );
    }
}

/// As `nohup` has it, and shells that begin something in the background.
#[test]
fn signals_that_are_ignored_stay_so() {
    let place = Workplace::new().with("p.wat", guests::copies("ready\n"));
    let command = env!("CARGO_BIN_EXE_lampwick");
    let script = format!("trap '' HUP INT; exec {command} run p.wat");
    let mut child = Command::new("sh")
        .args(["-c", &script])
        .current_dir(place.dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
    for signal in [Signal::HUP, Signal::INT] {
        kill_process(pid(&child), signal).unwrap();
    }
    // It still answers.
    child.stdin.as_mut().unwrap().write_all(b"again\n").unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
    assert_eq!(&line, b"again\n");
    kill_process(pid(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn whoever_closes_the_pipe_ends_the_program() {
    let place = Workplace::new().with("p.wat", guests::says_forever("again\n"));
    let mut command = place.command(&["run", "p.wat"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = [0; 6];
    child.stdout.take().unwrap().read_exact(&mut line).unwrap();
    let ran: Ran = child.wait_with_output().unwrap().into();
    assert_eq!((ran.code, &*ran.stderr), (Some(141), ""), "{ran:?}");
}

#[test]
fn functions_are_invoked_with_numbers() {
    let place = Workplace::new().with(
        "m.wat",
        r#"(module (global $ready (mut i64) (i64.const 0))
            (func (export "_initialize") (global.set $ready (i64.const 100)))
            (func (export "mix") (param i32 i64 f64) (result i64 f64)
                (i64.add (global.get $ready)
                    (i64.add (i64.extend_i32_s (local.get 0)) (local.get 1)))
                (local.get 2)))"#,
    );
    let text = place.run(&["run", "--invoke", "mix", "m.wat", "-1", "5", "0.5"]).succeeded();
    assert_eq!(text, "104\n0.5\n");
    let text = place.run(&["run", "--invoke", "mix", "m.wat", "4294967295", "5", "2"]).succeeded();
    assert_eq!(text, "104\n2\n");
    let mix = |args: &[&str], words: &str| {
        let args = [&["run", "--invoke", "mix", "m.wat"], args].concat();
        place.run(&args).failed(2, &[words]);
    };
    mix(&["1"], "`mix` takes 3 arguments, 1 are given");
    mix(&["x", "1", "1"], "`x` is no i32");
    mix(&["4294967296", "1", "1"], "`4294967296` is no i32");
    let words = ["exports no function `mux`", "hint:", "`mix`"];
    place.run(&["run", "--invoke", "mux", "m.wat"]).failed(2, &words);
}

#[test]
fn modules_that_are_no_programs_are_refused() {
    let place = Workplace::new()
        .with("library.wat", r#"(module (func (export "f")) (func (export "g")))"#)
        .with("start.wat", r#"(module (func (export "_start") (param i32)))"#)
        .with("import.wat", r#"(module (import "env" "f" (func)) (func (export "_start")))"#);
    let words =
        ["`library.wat` is no program", "`_start`", "hint: it exports `f`, `g`", "--invoke"];
    place.run(&["run", "library.wat"]).failed(2, &words);
    place.run(&["run", "start.wat"]).failed(2, &["its `_start` takes"]);
    let words = ["cannot link `import.wat`", "`env::f`", "hint:", "wasi_snapshot_preview1"];
    place.run(&["run", "import.wat"]).failed(2, &words);
    place.run(&["run", "gone.wasm"]).failed(2, &["cannot read `gone.wasm`"]);
}

#[test]
fn artifacts_run_as_they_are() {
    let place = Workplace::new().with("p.wat", guests::says("hi\n", 3));
    place.run(&["compile", "p.wat"]).succeeded();
    std::fs::remove_file(place.path("p.wat")).unwrap();
    let ran = place.run(&["run", "p.lampwick"]);
    assert_eq!((ran.code, &*ran.stdout), (Some(3), "hi\n"), "{ran:?}");
    std::fs::rename(place.path("p.lampwick"), place.path("p.wasm")).unwrap();
    place.run(&["run", "p.wasm"]).failed(2, &["`p.wasm` is named as a module"]);
}
