//! Lua's interpreter, whose errors are exceptions of WebAssembly 3.0 (by way of `longjmp`).

use super::{Program, fuel, script};
use crate::support::{Ran, Workplace};

static LUA: Program = Program::new("lua");

const FEATURES: (&str, &str) = script!("features.lua");
const BENCHMARK: (&str, &str) = script!("benchmark.lua");

/// Runs a line of Lua in an empty directory.
fn line(options: &[&str], text: &str) -> Ran {
    LUA.run_with(&Workplace::new(), options, &["-e", text])
}

#[test]
fn the_language_is_what_it_is_elsewhere() {
    let place = Workplace::new().with_scripts(&[FEATURES]);
    for slice in ["1000000", "1009"] {
        let options = ["--dir", ".", "--slice", slice];
        let text = LUA.run_with(&place, &options, &["features.lua"]).succeeded();
        assert_eq!(text, include_str!("features.lua.out"), "slices of {slice}");
    }
}

#[test]
fn results_and_fuel_do_not_depend_on_slices() {
    let place = Workplace::new().with_scripts(&[BENCHMARK]);
    let burned = ["10000000", "20011"].map(|slice| {
        let options = ["--dir", ".", "--report", "--slice", slice];
        let ran = LUA.run_with(&place, &options, &["benchmark.lua"]);
        let burned = fuel(&ran);
        // Solutions for seven queens; what the benchmarks game says of these sizes.
        assert_eq!(ran.succeeded(), "queens\t40\nfannkuch\t228\t16\nspectral\t1.274167288\n");
        burned
    });
    assert!(burned[0] > 100_000_000 && burned[0] == burned[1], "{burned:?}");
}

#[test]
fn exit_codes_and_messages_are_its_own() {
    let trace = "stack traceback:\n\t[C]: in function 'error'\n";
    line(&[], "local function f() error('bad') end f()")
        .failed(1, &["(command line):1: bad", trace]);
    line(&[], "error({})").failed(1, &["(error object is a table value)", trace]);
    line(&[], "x =").failed(1, &["(command line):1: unexpected symbol near <eof>"]);
    line(&[], "os.exit(7)").failed(7, &[]);
    line(&[], "os.exit(false)").failed(1, &[]);
    assert_eq!(line(&[], "os.exit(true)").succeeded(), "");
    let place = Workplace::new();
    let ran = LUA.run(&place, &["none.lua"]);
    ran.failed(1, &["cannot open none.lua: No such file or directory"]);
    // A script on its input, which may read what is left of it.
    let script = "print(...) os.exit(#arg)";
    let ran = LUA.run_fed(&place, &[], &["-", "a", "b c"], script);
    assert_eq!((ran.code, &*ran.stdout), (Some(2), "a\tb c\n"), "{ran:?}");
    let echo = "for text in io.lines() do io.write(text:upper(), '\\n') end io.stderr:write('end')";
    let ran = LUA.run_fed(&place, &[], &["-e", echo], "one\ntwo");
    assert_eq!((ran.code, &*ran.stdout, &*ran.stderr), (Some(0), "ONE\nTWO\n", "end"));
}

#[test]
fn files_are_read_and_written_where_a_directory_was_given() {
    let place = Workplace::new().with("given", "1 2.5 0x10 rest\nsecond\n").with(
        "io.lua",
        r#"local f <close> = assert(io.open("given"))
        print(f:read("n", "n", "n", "l", "L", "a"))
        print(f:seek("set", 2), f:read(3), f:seek("cur"), f:seek("end"))
        local w = assert(io.open("made", "w+b"))
        w:setvbuf("full", 64)
        for i = 1, 1000 do w:write(i, "\n") end
        w:seek("set", 0); print(w:read("n"), w:seek("end")); w:close()
        for line in io.lines("made", "n") do if line == 3 then break end end
        local a = io.open("made", "a"); a:write("last"); a:close()
        assert(os.rename("made", "kept")); print(io.open("made"))
        print(pcall(f.write, w, "x")); print(f:write("x"))
        print(io.type(w), io.type(f), io.open("/etc/passwd"))
        print(pcall(io.lines, "../secret"))"#,
    );
    let text = LUA.run(&place, &["io.lua"]).succeeded();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..3], ["1\t2.5\t16\t rest\tsecond", "\t", "2\t2.5\t5\t23"], "{text}");
    assert_eq!(lines[3..5], ["1\t3893", "nil\tmade: No such file or directory\t44"], "{text}");
    assert_eq!(lines[5], "false\tattempt to use a closed file");
    assert!(lines[6].starts_with("nil\t"), "{text}");
    assert_eq!(lines[7], "closed file\tfile\tnil\t/etc/passwd: No such file or directory\t44");
    assert!(lines[8].starts_with("false\tcannot open file '../secret' ("), "{text}");
    let kept = std::fs::read_to_string(place.path("kept")).unwrap();
    assert!(kept.starts_with("1\n2\n") && kept.ends_with("1000\nlast") && kept.len() == 3897);
    let write = "print(io.open('new', 'w')) print(io.open('given', 'a')) print(os.remove('given'))";
    let ran = LUA.run_with(&place, &["--dir-read-only", "."], &["-e", write]);
    let text = ran.succeeded();
    assert!(
        text.lines().count() == 3 && text.lines().all(|line| line.starts_with("nil\t")),
        "{text}"
    );
    assert!(!place.path("new").exists());
}

/// Its own limits are errors that scripts catch.
#[test]
fn memory_and_recursion_run_out_as_errors() {
    let text = r#"local kept = {}
        print(pcall(function() for i = 1, 1e9 do kept[i] = ("x"):rep(1000) .. i end end))
        kept = nil
        collectgarbage()
        print(#("y"):rep(1000), collectgarbage("count") < 3000)"#;
    let ran = line(&["--max-memory", "8MiB"], text);
    assert_eq!(ran.succeeded(), "false\tnot enough memory\n1000\ttrue\n");
    let text = r#"print((select(2, load(("("):rep(500))):match("overflow")))
        print(pcall(string.find, ("a"):rep(300000), (".-"):rep(300000) .. "b"))
        local function again() return string.gsub("x", "x", again) end
        print(pcall(again))"#;
    let expected = "overflow\nfalse\tpattern too complex\nfalse\tC stack overflow\n";
    assert_eq!(line(&[], text).succeeded(), expected);
}

/// The command's limits are no errors that scripts catch.
#[test]
fn protected_calls_do_not_catch_the_hosts_limits() {
    let text = "while true do pcall(function() while true do end end) print('caught') end";
    line(&["--fuel", "10000000"], text).failed(134, &["all fuel consumed"]);
    line(&["--timeout", "300ms"], text).failed(1, &["its time, 300ms, was up"]);
}
