//! What profilers of native code are told. Each test looks at what a process of its own left.

use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::Ordering;

use lampwick::{Config, Engine, Func, Instance, Module, ProfilingStrategy, Store};
use linux_perf_data::jitdump::{JitDumpReader, JitDumpRecord};

use crate::alone;
use crate::support::{engine, note_faults};

/// In C++, with debug information.
const LINES: &[u8] = include_bytes!("guests/lines.wasm");

/// Runs guests under a profiler, and prints where they trapped.
fn profiled(strategy: ProfilingStrategy) {
    let engine = engine(|config| {
        config.profiler(strategy).unwrap();
    });
    let mut store = Store::new(&engine, ());
    let host = Func::wrap(&mut store, |number: i64| number);
    let pc = note_faults(&mut store);
    let module = Module::new_with_name(&engine, LINES, "guest").unwrap();
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let run = instance.get_typed_func::<(i32, i32), i32, _>(&mut store, "run").unwrap();
    assert_eq!(run.call(&mut store, (6, 3)).unwrap(), 7);
    let sum = instance.get_typed_func::<i32, i32, _>(&mut store, "sum").unwrap();
    assert_eq!(sum.call(&mut store, 10).unwrap(), 130);
    run.call(&mut store, (1, 0)).unwrap_err();
    println!("divided at {}", pc.load(Ordering::Relaxed));

    let wat = r#"(module (import "" "" (func (param i64) (result i64)))
        (func (export "run") unreachable) (func $"two\0alines" (export "other")))"#;
    let module = Module::new(&engine, wat).unwrap();
    let instance = Instance::new(&mut store, &module, &[host.into()]).unwrap();
    let run = instance.get_func(&mut store, "run").unwrap();
    run.call(&mut store, &[]).unwrap_err();
    println!("unreachable at {}", pc.load(Ordering::Relaxed));
}

#[test]
#[ignore = "run by `a_perf_map_names_functions`"]
fn perf_map_alone() {
    profiled(ProfilingStrategy::PerfMap);
}

#[test]
#[ignore = "run by `a_jit_dump_has_code_and_lines`"]
fn jit_dump_alone() {
    profiled(ProfilingStrategy::JitDump);
}

#[test]
#[ignore = "run by `a_file_that_cannot_be_created_is_an_error`"]
fn link_alone() {
    let path = format!("jit-{}.dump", std::process::id());
    std::os::unix::fs::symlink("elsewhere", &path).unwrap();
    let mut config = Config::new();
    config.profiler(ProfilingStrategy::JitDump).unwrap();
    let error = format!("{:#}", Engine::new(&config).unwrap_err());
    assert!(error.contains("cannot create") && error.contains(&path), "{error}");
    assert!(!Path::new("elsewhere").exists());
    println!("refused");
}

/// A process that ran one of the tests above in a folder of its own.
struct Alone {
    pid: u32,
    output: String,
    folder: PathBuf,
}

impl Alone {
    fn run(test: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("lampwick-{test}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let child = alone::command(&format!("profiling::{test}"))
            .current_dir(&folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = child.id();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}");
        Self { pid, output: text, folder }
    }

    /// The number behind these words in the output.
    fn address(&self, words: &str) -> u64 {
        let line = self.output.lines().find_map(|line| Some(line.split_once(words)?.1));
        line.unwrap_or_else(|| panic!("{}", self.output)).trim().parse().unwrap()
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Checks the names of functions, and that the addresses at which guests trapped lie in the
/// functions that did.
fn check(alone: &Alone, functions: &[(String, Range<u64>)]) {
    let at = |address: u64| -> Vec<&str> {
        let holders = functions.iter().filter(|(_, range)| range.contains(&address));
        holders.map(|(name, _)| &**name).collect()
    };
    assert_eq!(at(alone.address("divided at")), ["guest!lines::evaluate(lines::Fraction)"]);
    assert_eq!(at(alone.address("unreachable at")), ["wasm!<wasm function 1>"]);
    let count = |name: &str| functions.iter().filter(|(known, _)| known == name).count();
    for name in [
        "guest!lines::evaluate(int, int)",
        "guest!run",
        "guest!sum",
        "wasm!two?lines",
        "lampwick!<enter [i32 i32] -> [i32]>",
        "lampwick!<exit [i32 i32] -> [i32]>",
        "lampwick!<exit [i64] -> [i64]>",
    ] {
        assert_eq!(count(name), 1, "{name} in {functions:?}");
    }
    let mut ranges: Vec<_> = functions.iter().map(|(_, range)| range).collect();
    ranges.sort_by_key(|range| range.start);
    assert!(ranges.iter().all(|range| range.start < range.end));
    assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start), "{functions:?}");
}

#[test]
fn a_perf_map_names_functions() {
    let alone = Alone::run("perf_map_alone");
    let path = format!("/tmp/perf-{}.map", alone.pid);
    let text = fs::read_to_string(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let functions: Vec<_> = text
        .lines()
        .map(|line| {
            let parts: Vec<_> = line.splitn(3, ' ').collect();
            let [start, len] = [0, 1].map(|part| u64::from_str_radix(parts[part], 16).unwrap());
            (parts[2].to_owned(), start..start + len)
        })
        .collect();
    check(&alone, &functions);
}

#[test]
fn a_jit_dump_has_code_and_lines() {
    let alone = Alone::run("jit_dump_alone");
    let path = alone.folder.join(format!("jit-{}.dump", alone.pid));
    let mut reader = JitDumpReader::new(File::open(path).unwrap()).unwrap();
    assert_eq!((reader.header().pid, reader.header().elf_machine_arch), (alone.pid, 62));
    let mut time = reader.header().timestamp;
    let mut functions = Vec::new();
    let mut lines = Vec::new();
    let mut codes = Vec::new();
    while let Some(record) = reader.next_record().unwrap() {
        assert!(record.timestamp >= time, "records are in the order of time");
        time = record.timestamp;
        match record.parse().unwrap() {
            JitDumpRecord::CodeLoad(load) => {
                assert_eq!((load.pid, load.vma), (alone.pid, load.code_addr));
                assert_eq!(load.code_index, functions.len() as u64);
                let name = String::from_utf8(load.function_name.as_slice().to_vec()).unwrap();
                functions.push((name, load.vma..load.vma + load.code_bytes.len() as u64));
                codes.push(load.code_bytes.as_slice().to_vec());
            }
            JitDumpRecord::CodeDebugInfo(info) => {
                // Those of the function that comes next.
                lines.push((functions.len(), info.code_addr));
                let pc = alone.address("divided at");
                let range = info.entries.first().unwrap().code_addr
                    ..=info.entries.last().unwrap().code_addr;
                if range.contains(&pc) {
                    let entry = info.lookup(pc).unwrap();
                    let file = String::from_utf8(entry.file_path.as_slice().to_vec()).unwrap();
                    println!("{file}:{}", entry.line);
                    assert!(file.ends_with("lines.cpp") && entry.line == 12);
                    lines.push((usize::MAX, pc));
                }
            }
            other => panic!("{other:?}"),
        }
    }
    check(&alone, &functions);
    assert!(lines.iter().any(|(function, _)| *function == usize::MAX), "a line for the division");
    lines.retain(|(function, _)| *function < usize::MAX);
    assert!(lines.len() >= 4, "{lines:?}");
    for (function, address) in lines {
        assert_eq!(functions[function].1.start, address);
    }
    // The code is what ran: at the address of `unreachable` there is a `ud2`.
    let pc = alone.address("unreachable at");
    let place = functions.iter().position(|(_, range)| range.contains(&pc)).unwrap();
    let offset = (pc - functions[place].1.start) as usize;
    assert_eq!(codes[place][offset..offset + 2], [0x0f, 0x0b]);
}

#[test]
fn a_file_that_cannot_be_created_is_an_error() {
    assert!(Alone::run("link_alone").output.contains("refused"));
}

#[test]
#[cfg(not(feature = "vtune"))]
fn without_its_feature_vtune_is_an_error() {
    let text = Config::new().profiler(ProfilingStrategy::VTune).unwrap_err().to_string();
    assert!(text.contains("feature `vtune`"), "{text}");
}

#[test]
#[cfg(feature = "vtune")]
fn with_its_feature_vtune_is_told() {
    profiled(ProfilingStrategy::VTune);
}
