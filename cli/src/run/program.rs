//! One program, from its file to its end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use lampwick::{Engine, InstancePre, Linker, Module, Store, StoreStats, Trap};
use lampwick_wasi::{DirPerms, FilePerms, WasiCtx, WasiCtxBuilder};
use tokio::sync::watch;

use super::invoke::{self, Call};
use super::streams::{self, BrokenPipe};
use super::trace::Trace;
use crate::args::RunArgs;
use crate::args::values::DirMapping;
use crate::failure::Failure;
use crate::limit::MemoryLimit;

/// What the store of a program holds.
pub(super) struct Host {
    ctx: WasiCtx,
    limit: MemoryLimit,
}

/// What all programs need.
pub(super) struct Shared {
    engine: Engine,
    linker: Linker<Host>,
}

impl Shared {
    pub(super) fn new(engine: &Engine) -> Result<Self, Failure> {
        let mut linker = Linker::new(engine);
        lampwick_wasi::add_to_linker(&mut linker, |host: &mut Host| &mut host.ctx)
            .map_err(Failure::other)?;
        Ok(Self { engine: engine.clone(), linker })
    }
}

/// A program that is ready to run.
pub(super) struct Program {
    name: String,
    store: Store<Host>,
    program: InstancePre<Host>,
    call: Call,
    timeout: Option<Duration>,
}

/// How a program ended, and what it took.
pub(super) struct Ended {
    pub(super) name: String,
    /// Its own exit code, unless it failed.
    exit: u8,
    pub(super) failure: Option<Failure>,
    pub(super) stats: StoreStats,
    /// From its start to its end.
    pub(super) took: Duration,
}

impl Ended {
    /// The exit code for the shell.
    pub(super) fn code(&self) -> u8 {
        self.failure.as_ref().map_or(self.exit, Failure::code)
    }
}

impl Program {
    /// A program with these arguments. Only one may have the `input`.
    pub(super) fn new(
        shared: &Arc<Shared>,
        path: &str,
        module: Module,
        arguments: &[String],
        args: &RunArgs,
        input: bool,
        pipe: &BrokenPipe,
    ) -> Result<Self, Failure> {
        let call = Call::new(&module, path, args.invoke.as_deref(), arguments)?;
        let mut ctx = WasiCtxBuilder::new();
        ctx.arg(path).args(arguments).envs(&args.env);
        streams::give(&mut ctx, input, pipe);
        give_dirs(&mut ctx, args)?;
        let limit = MemoryLimit::new(args.max_memory);
        let mut store = Store::new(&shared.engine, Host { ctx: ctx.build(), limit });
        store.limiter(|host| &mut host.limit);
        store.set_name(path);
        let fuel = args.fuel.unwrap_or(u64::MAX);
        store
            .set_fuel(fuel)
            .and_then(|()| store.fuel_async_yield_interval(Some(args.slice)))
            .map_err(Failure::other)?;
        let program = shared
            .linker
            .instantiate_pre(&mut store, &module)
            .map_err(|error| unlinked(error, path))?;
        Ok(Self { name: path.to_owned(), store, program, call, timeout: args.timeout })
    }

    /// Runs it to its end, or until it is `told` to end; `index` is its place among all programs.
    pub(super) async fn run(
        self,
        index: usize,
        trace: Option<Trace>,
        mut told: watch::Receiver<u8>,
    ) -> Ended {
        let Self { name, mut store, program, call, timeout } = self;
        let began = Instant::now();
        let guest = invoke::run(&mut store, &program, &call);
        let guest = Trace::follow(trace, guest, format!("{index}: {name}"));
        let time_up = async {
            match timeout {
                Some(limit) => {
                    tokio::time::sleep(limit).await;
                    limit
                }
                None => std::future::pending().await,
            }
        };
        let (exit, failure) = tokio::select! {
            result = guest => end_of(result, &name),
            limit = time_up => {
                let error = anyhow!("`{name}` was ended: its time, {limit:?}, was up");
                (0, Some(Failure::other(error)))
            }
            // Its exit code is the signal's, as that of the whole command.
            _ = told.changed() => (*told.borrow(), None),
        };
        let took = began.elapsed();
        Ended { name, exit, failure, stats: store.stats(), took }
    }
}

/// Why a program cannot be linked.
pub fn unlinked(error: anyhow::Error, path: &str) -> Failure {
    Failure::misuse(error.context(format!("cannot link `{path}`")))
        .hint("programs may import the functions of wasi_snapshot_preview1, and nothing else")
}

/// The exit code of a program, or what it failed with.
fn end_of(result: Result<()>, name: &str) -> (u8, Option<Failure>) {
    let Err(error) = result else { return (0, None) };
    if let Some(status) = error.downcast_ref::<Trap>().and_then(Trap::i32_exit_status) {
        // No status of a failure becomes that of a success.
        let code = u8::try_from(status).unwrap_or_else(|_| (status as u8).max(1));
        return (code, None);
    }
    (0, Some(Failure::guest(error.context(format!("`{name}` failed")))))
}

fn give_dirs(ctx: &mut WasiCtxBuilder, args: &RunArgs) -> Result<(), Failure> {
    let mut give = |dir: &DirMapping, dirs, files| -> Result<(), Failure> {
        let given = ctx.preopened_dir(&dir.host, &dir.guest, dirs, files);
        given.map(drop).map_err(Failure::misuse)
    };
    for dir in &args.dirs {
        give(dir, DirPerms::all(), FilePerms::all())?;
    }
    for dir in &args.read_only_dirs {
        give(dir, DirPerms::READ, FilePerms::READ)?;
    }
    Ok(())
}
