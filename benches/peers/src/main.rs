//! The same work on `lampwick` and on `wasmtime`, interleaved, so that the ratios hold on a noisy
//! machine too. `cargo run --release` measures everything and prints one table; `--help` lists what
//! else there is.

mod engines;
mod kernels;
mod measure;
mod plots;
mod publish;
mod questions;
mod report;
mod synchronous;
mod table;
mod versus;

use anyhow::{Context as _, Result, ensure};
use lexopt::prelude::*;
use report::Report;
use std::path::PathBuf;

const HELP: &str = "\
Measures lampwick beside wasmtime. Usage: lampwick-peers [OPTIONS] [QUESTION …]

  QUESTION …     only these: guests, calls, yields, instances, crowd, compile, exceptions,
                 objects
  --module FILE  only how long a module takes to compile
  --json FILE    write what was measured to a file
  --from FILE    show what such a file holds, and measure nothing
  --plots DIR    draw the plots into a folder, with the table
  --readme FILE  replace what is between the markers of a README
  --publish      all of these for the project's own README and docs/performance
                 (after a whole run, or with --from)";

type Question = fn(&mut Report) -> Result<()>;

const QUESTIONS: [(&str, Question); 8] = [
    ("guests", questions::guests::run),
    ("calls", questions::calls::run),
    ("yields", questions::yields::run),
    ("instances", questions::instances::run),
    ("crowd", questions::crowd::run),
    ("compile", questions::compile::run),
    ("exceptions", questions::exceptions::run),
    ("objects", questions::objects::run),
];

/// What the command line asks for.
#[derive(Default)]
struct Wishes {
    questions: Vec<String>,
    module: Option<PathBuf>,
    from: Option<PathBuf>,
    json: Option<PathBuf>,
    plots: Option<PathBuf>,
    readme: Option<PathBuf>,
    /// This process is a crowd of that kind, see `questions::crowd`.
    crowd: Option<String>,
    help: bool,
}

fn main() -> Result<()> {
    let wishes = wishes()?;
    if wishes.help {
        println!("{HELP}");
        return Ok(());
    }
    if let Some(kind) = wishes.crowd {
        return questions::crowd::serve(&kind);
    }
    let report = match (&wishes.from, &wishes.module) {
        (Some(file), _) => publish::read(file)?,
        (None, Some(file)) => {
            let mut report = empty();
            questions::compile::run_file(file, &mut report)?;
            report
        }
        (None, None) => measure_all(&wishes.questions)?,
    };
    println!("{}", table::text(&report));
    if let Some(file) = wishes.json {
        publish::write(&report, &file)?;
    }
    if let Some(folder) = wishes.plots {
        plots::draw(&report, &folder)?;
        publish::write_table(&report, &folder)?;
    }
    if let Some(file) = wishes.readme {
        publish::put_into_readme(&report, &file)?;
    }
    Ok(())
}

fn wishes() -> Result<Wishes> {
    let mut wishes = Wishes::default();
    let mut publish = false;
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("module") => wishes.module = Some(arguments.value()?.into()),
            Long("json") => wishes.json = Some(arguments.value()?.into()),
            Long("from") => wishes.from = Some(arguments.value()?.into()),
            Long("plots") => wishes.plots = Some(arguments.value()?.into()),
            Long("readme") => wishes.readme = Some(arguments.value()?.into()),
            Long("crowd") => wishes.crowd = Some(arguments.value()?.string()?),
            Long("publish") => publish = true,
            Long("help") | Short('h') => wishes.help = true,
            Value(name) => wishes.questions.push(name.string()?),
            _ => return Err(argument.unexpected().into()),
        }
    }
    let known = QUESTIONS.map(|(name, _)| name);
    for name in &wishes.questions {
        let is_known = known.contains(&name.as_str());
        ensure!(is_known, "no question `{name}`; there are: {}", known.join(", "));
    }
    if publish {
        let is_whole = wishes.questions.is_empty() && wishes.module.is_none();
        ensure!(is_whole, "what is published comes from a whole run");
        let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        let folder = root.join(publish::FOLDER);
        wishes.json = Some(folder.join("results.json"));
        wishes.plots = Some(folder);
        wishes.readme = Some(root.join("README.md"));
    }
    Ok(wishes)
}

fn empty() -> Report {
    Report { peer: PEER.into(), machine: machine(), rows: Vec::new() }
}

fn measure_all(wanted: &[String]) -> Result<Report> {
    let mut report = empty();
    for (name, run) in QUESTIONS {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            run(&mut report).with_context(|| name)?;
        }
    }
    Ok(report)
}

/// As `Cargo.toml` fixes it.
const PEER: &str = "wasmtime 48.0.8";

fn machine() -> String {
    let about = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = about.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let model = model.map_or("unknown processor", |(_, model)| model);
    format!("{cores} cores ({model})")
}
