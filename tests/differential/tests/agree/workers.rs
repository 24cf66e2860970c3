//! The child process: modules on all cores.

use std::any::Any;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use lampwick_differential::generate::Family;
use lampwick_differential::{Outcome, Way, compare, compare_operators, generate, ways, ways_alone};

use crate::options::{ALONE, MODULES, Options, Work};
use crate::report::Report;

/// The generator recurses deeper than the stack of a thread of its own allows.
const STACK: usize = 16 << 20;

/// Runs all modules, and prints what came of it.
pub(crate) fn run(options: &Options, notes: &Path) -> ExitCode {
    if let Some(file) = &options.save {
        let family = if options.modules == 0 { Family::Own } else { Family::Common };
        let wasm = generate::from_seed(family, options.seed);
        fs::write(file, wasm).expect("the file can be written");
    }
    let wanted = |way: &Way| options.way.as_ref().is_none_or(|name| way.name.contains(name));
    let [ways, alone] =
        [ways(), ways_alone()].map(|ways| ways.into_iter().filter(wanted).collect::<Vec<Way>>());
    if ways.is_empty() && (options.rounds, options.modules) != (0, 0)
        || alone.is_empty() && options.alone != 0
    {
        eprintln!("no way to run has such a name: {:?}", options.way);
        return ExitCode::from(2);
    }
    let next = AtomicU64::new(0);
    let reports = [(); 3].map(|()| Mutex::new(Report::default()));
    let [operators, modules, by_itself] = &reports;
    let worker = |index: usize| {
        let note = notes.join(index.to_string());
        while let Some((work, seed)) = options.turn(next.fetch_add(1, Ordering::Relaxed)) {
            let ways = if matches!(work, Work::Alone) { &alone } else { &ways };
            let way = &ways[(seed % ways.len() as u64) as usize];
            let repeat = Options::repeat(work, seed, way.name);
            fs::write(&note, &repeat).expect("a small file can be written");
            let outcome = outcome(work, seed, way);
            let report = match work {
                Work::Module => modules,
                Work::Operators => operators,
                Work::Alone => by_itself,
            };
            report.lock().expect("workers do not panic").add(&repeat, outcome);
        }
    };
    thread::scope(|scope| {
        for index in 0..thread::available_parallelism().map_or(1, usize::from) {
            let builder = thread::Builder::new().stack_size(STACK);
            builder.spawn_scoped(scope, move || worker(index)).expect("the system has a thread");
        }
    });
    let [operators, modules, by_itself] =
        reports.map(|report| report.into_inner().expect("workers do not panic"));
    operators.print("rounds of operators", "agreed");
    modules.print("modules", "agreed");
    by_itself.print("modules", "agreed with themselves");
    let succeeded = operators.agreed_on_all()
        && modules.succeeded(options.modules == MODULES)
        && by_itself.succeeded(options.alone == ALONE);
    ExitCode::from(u8::from(!succeeded))
}

/// What comes of a seed.
fn outcome(work: Work, seed: u64, way: &Way) -> Outcome {
    let compared = AssertUnwindSafe(|| match work {
        Work::Module | Work::Alone => compare(&generate::from_seed(way.family(), seed), way, seed),
        Work::Operators => compare_operators(way, seed),
    });
    catch_unwind(compared)
        .unwrap_or_else(|panic| Outcome::Differed(format!("a panic: {}", text(&*panic))))
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("of another kind")
}

/// What the workers were at, as commands that repeat it.
pub(crate) fn noted(notes: &Path) -> Vec<String> {
    let files = fs::read_dir(notes).into_iter().flatten().flatten();
    files.filter_map(|file| fs::read_to_string(file.path()).ok()).collect()
}
