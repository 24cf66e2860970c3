//! `lampwick run`.

mod invoke;
mod program;
mod report;
mod streams;
mod trace;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use lampwick::Engine;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::args::RunArgs;
use crate::failure::Failure;
use crate::signals::Signals;
use crate::{engine, load};

pub use invoke::check_program;
pub use program::unlinked;

use program::{Ended, Program, Shared};
use streams::BrokenPipe;
use trace::Trace;

/// What separates programs that run side by side.
const SEPARATOR: &str = ":::";

/// Runs programs to their ends.
pub fn run(args: &RunArgs) -> Result<ExitCode, Failure> {
    let engine = engine::engine().map_err(Failure::other)?;
    let pipe = BrokenPipe::default();
    let programs = programs(args, &engine, &pipe)?;
    let trace = args.trace.as_deref().map(Trace::create).transpose().map_err(Failure::misuse)?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(workers) = args.workers {
        runtime.worker_threads(workers.into());
    }
    let runtime = runtime
        .thread_name_fn(trace::worker_name)
        .enable_all()
        .build()
        .context("cannot start workers")
        .map_err(Failure::other)?;
    let at_a_time = args.jobs.map_or(1, |jobs| jobs.get().min(Semaphore::MAX_PERMITS));
    let outcome = runtime.block_on(run_all(programs, at_a_time, trace.clone(), pipe));
    // A thread may be waiting for input that nobody wants any more.
    runtime.shutdown_background();
    let (ended, signal) = outcome?;
    if let Some(trace) = trace {
        trace.finish().map_err(Failure::other)?;
    }
    let several = ended.len() > 1;
    for (name, failure) in ended.iter().filter_map(|it| Some((&it.name, it.failure.as_ref()?))) {
        if several {
            eprint!("{name}: ");
        }
        failure.report();
    }
    if args.report {
        eprint!("{}", report::table(&ended));
    }
    let code = ended.iter().map(Ended::code).find(|&code| code != 0).unwrap_or(0);
    Ok(ExitCode::from(signal.unwrap_or(code)))
}

/// The programs of the command line. Whatever is wrong with one of them is found before any runs.
fn programs(args: &RunArgs, engine: &Engine, pipe: &BrokenPipe) -> Result<Vec<Program>, Failure> {
    let lines: Vec<&[String]> = match args.jobs {
        Some(_) => args.program.split(|word| word == SEPARATOR).collect(),
        None => vec![&args.program],
    };
    let shared = Arc::new(Shared::new(engine)?);
    let mut programs = Vec::new();
    for (index, line) in lines.into_iter().enumerate() {
        let [path, arguments @ ..] = line else {
            let error = anyhow!("there is no program on one side of `{SEPARATOR}`");
            return Err(Failure::misuse(error));
        };
        refuse_option(path)?;
        let module = load::module(engine, Path::new(path))?;
        let program = Program::new(&shared, path, module, arguments, args, index == 0, pipe)?;
        programs.push(program);
    }
    Ok(programs)
}

/// What begins with a dash and is no file was meant for an option, which the command line takes for
/// the program where it does not know it.
fn refuse_option(path: &str) -> Result<(), Failure> {
    if !path.starts_with('-') || Path::new(path).exists() {
        return Ok(());
    }
    Err(Failure::misuse(anyhow!("there is no option `{path}`"))
        .hint("`lampwick run --help` shows all of them"))
}

/// Runs all programs, so many at a time. Answers how each ended, in their order, and the exit code
/// if a signal ended them all.
async fn run_all(
    programs: Vec<Program>,
    at_a_time: usize,
    trace: Option<Trace>,
    pipe: BrokenPipe,
) -> Result<(Vec<Ended>, Option<u8>), Failure> {
    let mut signals = Signals::new().map_err(Failure::other)?;
    let turns = Arc::new(Semaphore::new(at_a_time));
    let (end, told) = watch::channel(0);
    let mut running = JoinSet::new();
    for (index, program) in programs.into_iter().enumerate() {
        let (turns, trace, mut told) = (turns.clone(), trace.clone(), told.clone());
        running.spawn(async move {
            let _turn = tokio::select! {
                turn = turns.acquire_owned() => turn,
                _ = told.changed() => return None,
            };
            Some((index, program.run(index, trace, told).await))
        });
    }
    let (mut ended, mut signal) = (Vec::new(), None);
    loop {
        let code = tokio::select! {
            biased;
            kind = signals.next(), if signal.is_none() => streams::code_after(kind),
            () = pipe.broken(), if signal.is_none() => streams::BROKEN_PIPE,
            program = running.join_next() => match program {
                Some(program) => {
                    ended.extend(program.map_err(Failure::other)?);
                    continue;
                }
                None => break,
            },
        };
        // Programs end where they are, and those that wait for their turn do not begin.
        signal = Some(code);
        end.send_replace(code);
    }
    ended.sort_by_key(|(index, _)| *index);
    Ok((ended.into_iter().map(|(_, ended)| ended).collect(), signal))
}
