//! `lampwick run --jobs`, `--report` and `--trace`.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;

use serde_json::Value;

use crate::guests;
use crate::support::{Ran, Workplace};

#[test]
fn programs_run_side_by_side_on_one_worker() {
    let place = Workplace::new()
        .with("copies.wat", guests::copies(""))
        .with("loops.wat", guests::loops("begun\n"));
    let args = ["run", "--jobs", "2", "--workers", "1", "copies.wat", ":::", "loops.wat"];
    let mut command = place.command(&args);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().as_deref(), Some("begun"));
    // The second never ends by itself; the first answers line by line all the same.
    let mut stdin = child.stdin.take().unwrap();
    for line in ["one", "two", "three", "four"] {
        writeln!(stdin, "{line}").unwrap();
        assert_eq!(lines.next().as_deref(), Some(line));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn no_more_run_at_a_time_than_asked_for() {
    let place = Workplace::new()
        .with("loops.wat", guests::loops("begun\n"))
        .with("says.wat", guests::says("said\n", 0));
    let ran =
        place.run(&["run", "--jobs", "1", "--timeout", "200ms", "loops.wat", ":::", "says.wat"]);
    assert_eq!((ran.code, &*ran.stdout), (Some(1), "begun\nsaid\n"), "{ran:?}");
}

#[test]
fn the_first_failure_in_order_gives_the_exit_code() {
    let place = Workplace::new()
        .with("good.wat", guests::says("", 0))
        .with("traps.wat", guests::traps(""))
        .with("seven.wat", guests::says("", 7));
    let run = |programs: &[&str]| place.run(&[&["run", "--jobs", "9"], programs].concat());
    assert_eq!(run(&["good.wat", ":::", "good.wat"]).code, Some(0));
    assert_eq!(run(&["good.wat", ":::", "seven.wat", ":::", "traps.wat"]).code, Some(7));
    let ran = run(&["traps.wat", ":::", "seven.wat"]);
    assert_eq!(ran.code, Some(134));
    assert!(ran.stderr.starts_with("traps.wat: error:"), "{ran:?}");
    run(&["good.wat", ":::"]).failed(2, &["no program on one side of `:::`"]);
    run(&["good.wat", ":::", "gone.wat"]).failed(2, &["`gone.wat`"]);
}

#[test]
fn separators_are_arguments_without_jobs() {
    let place = Workplace::new().with("args.wat", guests::tells_arguments());
    let text = place.run(&["run", "args.wat", ":::", "x"]).succeeded();
    assert_eq!(text, "args.wat\0:::\0x\0");
}

/// The rows of a report, by column.
fn rows(ran: &Ran) -> Vec<BTreeMap<String, String>> {
    // Cells are two spaces apart at least.
    let cells = |line: &str| -> Vec<String> {
        line.split("  ").map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned).collect()
    };
    let mut lines = ran.stderr.lines().skip_while(|line| !line.starts_with("program"));
    let head = cells(lines.next().expect("a report"));
    lines.map(|line| head.iter().cloned().zip(cells(line)).collect()).collect()
}

#[test]
fn reports_tell_what_each_program_took() {
    let place = Workplace::new()
        .with("loops.wat", guests::loops(""))
        .with("takes.wat", guests::takes_memory());
    let args = ["run", "--report", "--fuel", "1000000", "--slice", "1000", "--jobs", "2"];
    let limit = ["--max-memory", "1MiB", "loops.wat", ":::", "takes.wat"];
    let ran = place.run(&[&args[..], &limit[..]].concat());
    let rows = rows(&ran);
    assert_eq!(rows.len(), 2, "{ran:?}");
    let (loops, takes) = (&rows[0], &rows[1]);
    assert_eq!((&*loops["program"], &*loops["exit"]), ("loops.wat", "134"));
    assert_eq!((&*takes["program"], &*takes["exit"]), ("takes.wat", "16"));
    let number = |text: &str| text.parse::<u64>().unwrap();
    // Fuel is looked at once in each round of the loop.
    assert!((1_000_000..1_000_010).contains(&number(&loops["fuel"])), "{ran:?}");
    assert!((990..=1_000).contains(&number(&loops["slices"])), "{ran:?}");
    assert_eq!(&*takes["peak memory"], "1.0 MiB");
    // What burns the same is reported as the same.
    let again = place.run(&[&args[..], &limit[..]].concat());
    assert_eq!(self::rows(&again)[0]["fuel"], loops["fuel"]);
}

#[test]
fn traces_tell_when_each_program_ran_on_which_worker() {
    let place = Workplace::new().with("loops.wat", guests::loops(""));
    let args =
        ["run", "--trace", "t.json", "--workers", "2", "--slice", "10000", "--fuel", "1000000"];
    let programs = ["--jobs", "2", "loops.wat", ":::", "loops.wat"];
    assert_eq!(place.run(&[&args[..], &programs[..]].concat()).code, Some(134));
    let text = std::fs::read_to_string(place.path("t.json")).unwrap();
    let events: Vec<Value> = serde_json::from_str(&text).unwrap();
    let mut workers: BTreeMap<u64, Vec<(f64, f64)>> = BTreeMap::new();
    let mut polls: BTreeMap<String, usize> = BTreeMap::new();
    for event in events.iter().filter(|event| event["ph"] == "X") {
        let (from, took) = (event["ts"].as_f64().unwrap(), event["dur"].as_f64().unwrap());
        workers.entry(event["tid"].as_u64().unwrap()).or_default().push((from, from + took));
        *polls.entry(event["name"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    // A slice of the trace for each slice of fuel.
    let names: Vec<_> = polls.keys().map(String::as_str).collect();
    assert_eq!(names, ["0: loops.wat", "1: loops.wat"]);
    assert!(polls.values().all(|&count| count >= 100), "{polls:?}");
    let named = events.iter().filter(|event| event["ph"] == "M");
    let named: Vec<_> = named.map(|event| event["tid"].as_u64().unwrap()).collect();
    assert!(named.len() == workers.len() && named.iter().all(|it| workers.contains_key(it)));
    // A worker does one thing at a time.
    for slices in workers.values_mut() {
        slices.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(slices.windows(2).all(|pair| pair[0].1 <= pair[1].0 + 1e-6), "{slices:?}");
    }
}

#[test]
fn a_trace_that_cannot_be_written_is_named_before_anything_runs() {
    let place = Workplace::new().with("says.wat", guests::says("said\n", 0));
    let words = ["cannot create `gone/t.json`"];
    place.run(&["run", "--trace", "gone/t.json", "says.wat"]).failed(2, &words);
}
