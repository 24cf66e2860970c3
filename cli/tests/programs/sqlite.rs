//! SQLite's shell, whose databases survive their guests. By itself it locks a database by making the
//! directory `NAME.lock`; with `-vfs unix-none` it takes no locks.

use super::{Program, fuel, script};
use crate::support::{Ran, Workplace};

static SQLITE: Program = Program::new("sqlite");

/// Runs statements on `x.db`, of which no other guest knows.
fn alone(place: &Workplace, options: &[&str], sql: &str) -> Ran {
    let options = [&["--dir", "."], options].concat();
    SQLITE.run_with(place, &options, &["-vfs", "unix-none", "x.db", sql])
}

#[test]
fn a_script_prints_what_it_does_elsewhere() {
    let scripts = [script!("given.csv"), script!("said.sql")];
    for slice in ["1000000", "5003"] {
        let place = Workplace::new().with_scripts(&scripts);
        let options = ["--dir", ".", "--slice", slice];
        let ran = SQLITE.run_fed(&place, &options, &["shop.db"], include_str!("shop.sql"));
        assert_eq!(ran.stdout, include_str!("shop.out"), "slices of {slice}");
        assert_eq!((&*ran.stderr, ran.code), (include_str!("shop.err"), Some(1)));
        let said = std::fs::read_to_string(place.path("said.txt")).unwrap();
        assert_eq!(said, "x: to a file\n");

        // What it dumps is the same database again.
        let dump = SQLITE.run(&place, &["shop.db", ".dump"]).succeeded();
        assert!(dump.contains("INSERT INTO customer VALUES(3,'O''Hara',NULL);"), "{dump}");
        SQLITE.run_fed(&place, &["--dir", "."], &["copy.db"], &dump).succeeded();
        assert_eq!(SQLITE.run(&place, &["copy.db", ".dump"]).succeeded(), dump);
        assert!(!place.path("shop.db.lock").exists() && !place.path("shop.db-journal").exists());
    }
}

#[test]
fn exit_codes_and_messages_are_its_own() {
    let place = Workplace::new();
    let run = |args: &[&str]| SQLITE.run(&place, args);
    run(&["x.db", "SELECT nope"]).failed(1, &["no such column: nope"]);
    run(&["-bail", "x.db", "SELECT * FROM none"]).failed(1, &["no such table: none"]);
    run(&["none/x.db", "SELECT 1 FROM sqlite_schema"]).failed(1, &["unable to open database file"]);
    run(&["-nope"]).failed(1, &["unknown option: -nope"]);
    run(&[":memory:", ".exit 7"]).failed(7, &[]);
    run(&[":memory:", ".shell ls"]).failed(1, &["shell"]);
    let place =
        Workplace::new().with("text.db", "this is no database, but long enough for one".repeat(30));
    let ran = SQLITE.run(&place, &["text.db", "SELECT * FROM sqlite_schema"]);
    assert!(ran.code != Some(0) && ran.stderr.contains("file is not a database"), "{ran:?}");
}

#[test]
fn a_read_only_directory_stays_as_it_is() {
    let place = Workplace::new();
    alone(&place, &[], "CREATE TABLE t(v); INSERT INTO t VALUES (1), (2)").succeeded();
    let before = std::fs::read(place.path("x.db")).unwrap();
    let run = |args: &[&str]| SQLITE.run_with(&place, &["--dir-read-only", "."], args);
    let sum = run(&["-vfs", "unix-none", "x.db", "SELECT sum(v) FROM t"]);
    assert_eq!(sum.succeeded(), "3\n");
    let write = "INSERT INTO t VALUES (3)";
    let ran = run(&["-vfs", "unix-none", "x.db", write]);
    ran.failed(1, &["attempt to write a readonly database"]);
    // It cannot take its lock.
    run(&["x.db", write]).failed(10, &["disk I/O error"]);
    let ran = run(&["new.db", "CREATE TABLE t(v)"]);
    assert!(ran.code != Some(0) && ran.stderr.contains("unable to open database file"), "{ran:?}");
    assert!(std::fs::read(place.path("x.db")).unwrap() == before);
    assert!(!place.path("new.db").exists() && !place.path("x.db.lock").exists());
}

/// A database of 400 rows, each with the value 0.
fn zeros(place: &Workplace) -> Vec<u8> {
    let rows = "CREATE TABLE t(v, pad);
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400)
        INSERT INTO t SELECT 0, hex(zeroblob(150)) FROM n";
    alone(place, &[], rows).succeeded();
    std::fs::read(place.path("x.db")).unwrap()
}

/// The least and the greatest value, and whether the database is whole.
const LOOK: &str = "SELECT min(v), max(v), count(*) FROM t; PRAGMA integrity_check";
/// Makes all values 1; with so small a cache that pages reach the file before it commits.
const SPILLS: &str = "PRAGMA cache_size = 4; BEGIN; UPDATE t SET v = v + 1, pad = pad || v; COMMIT";
/// The same with all pages in memory until then.
const KEEPS: &str = "BEGIN; UPDATE t SET v = v + 1, pad = pad || v; COMMIT";

#[test]
fn a_transaction_that_runs_out_of_fuel_is_rolled_back_by_the_next_guest() {
    let place = Workplace::new();
    let before = zeros(&place);
    let whole = alone(&place, &["--report"], SPILLS);
    let whole_fuel = fuel(&whole);
    whole.succeeded();
    assert_eq!(alone(&place, &[], LOOK).succeeded(), "1|1|400\nok\n");

    let mut hot = 0;
    for part in 1..=16 {
        std::fs::write(place.path("x.db"), &before).unwrap();
        let fuel = (whole_fuel * part / 17).to_string();
        alone(&place, &["--fuel", &fuel], SPILLS).failed(134, &["all fuel consumed"]);
        let torn = std::fs::read(place.path("x.db")).unwrap() != before;
        let journal = place.path("x.db-journal").exists();
        let seen = alone(&place, &[], LOOK).succeeded();
        // A journal's end is the transaction's: what is in the file without one was committed.
        let expected = if journal || !torn { "0|0|400\nok\n" } else { "1|1|400\nok\n" };
        assert_eq!(seen, expected, "part {part}");
        if journal && torn {
            hot += 1;
            assert!(!place.path("x.db-journal").exists(), "part {part}");
            assert!(std::fs::read(place.path("x.db")).unwrap() == before, "part {part}");
        }
    }
    assert!(hot >= 3, "{hot} of 16 guests left a hot journal");
}

#[test]
fn a_torn_journal_leaves_what_was_committed() {
    let place = Workplace::new();
    let before = zeros(&place);
    let whole = alone(&place, &["--report"], KEEPS);
    let fuel = (fuel(&whole) * 3 / 4).to_string();
    whole.succeeded();
    std::fs::write(place.path("x.db"), &before).unwrap();
    alone(&place, &["--fuel", &fuel], KEEPS).failed(134, &["all fuel consumed"]);
    let journal = std::fs::read(place.path("x.db-journal")).unwrap();
    assert!(journal.len() > 8192, "{} bytes", journal.len());
    for cut in [0, 7, 28, 512, 513, 4000, journal.len() / 2, journal.len() - 1, journal.len()] {
        for garbage in [0, 5000] {
            let torn = [&journal[..cut], &vec![0xa5; garbage]].concat();
            std::fs::write(place.path("x.db-journal"), torn).unwrap();
            let seen = alone(&place, &[], LOOK).succeeded();
            assert_eq!(seen, "0|0|400\nok\n", "cut at {cut}, {garbage} bytes of garbage");
            assert!(std::fs::read(place.path("x.db")).unwrap() == before);
        }
    }
}

/// Its lock is a directory, which outlives a guest that was ended, as it would a killed process.
#[test]
fn the_lock_of_an_ended_guest_keeps_others_out_until_it_is_taken_away() {
    let place = Workplace::new();
    let before = zeros(&place);
    let options = ["--dir", ".", "--fuel", "50000000"];
    let never = "BEGIN EXCLUSIVE; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT sum(i) FROM n";
    SQLITE.run_with(&place, &options, &["x.db", never]).failed(134, &["all fuel consumed"]);
    let ran = SQLITE.run(&place, &["x.db", "SELECT count(*) FROM t"]);
    ran.failed(5, &["database is locked"]);
    std::fs::remove_dir(place.path("x.db.lock")).unwrap();
    assert_eq!(SQLITE.run(&place, &["x.db", LOOK]).succeeded(), "0|0|400\nok\n");
    assert!(std::fs::read(place.path("x.db")).unwrap() == before);
}

#[test]
fn guests_side_by_side_take_turns_at_a_database() {
    let place = Workplace::new();
    SQLITE.run(&place, &["x.db", "CREATE TABLE t(v)"]).succeeded();
    let sql = "INSERT INTO t SELECT 1 + ifnull(max(v), 0) FROM t;".repeat(20);
    let guest = [SQLITE.artifact(), "-cmd", ".timeout 60000", "x.db", &sql];
    let options = ["run", "--dir", ".", "--env", "HOME=/", "--jobs", "3"];
    let args = [&options[..], &guest, &[":::"], &guest, &[":::"], &guest].concat();
    place.run(&args).succeeded();
    let seen = SQLITE.run(&place, &["x.db", "SELECT count(*), count(DISTINCT v), max(v) FROM t"]);
    assert_eq!(seen.succeeded(), "60|60|60\n");
}

#[test]
fn memory_runs_out_as_an_error() {
    let place = Workplace::new();
    let sql = "SELECT length(group_concat(hex(zeroblob(50000)))) FROM (WITH RECURSIVE n(i) AS
        (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) SELECT i FROM n); SELECT 6 * 7";
    let options = ["--dir", ".", "--max-memory", "16MiB"];
    let ran = SQLITE.run_fed(&place, &options, &["x.db"], sql);
    assert_eq!((ran.code, &*ran.stdout), (Some(1), "42\n"), "{ran:?}");
    assert!(ran.stderr.contains("out of memory"), "{ran:?}");
}
