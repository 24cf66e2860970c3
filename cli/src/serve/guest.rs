//! One instance of a route's program, which answers one request.

use std::fmt;
use std::sync::Arc;

use lampwick::{Engine, Store, Trap, TrapCode};
use lampwick_wasi::{WasiCtx, WasiCtxBuilder};
use metrics::{counter, histogram};
use tokio::io::DuplexStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::log::Lines;
use super::routes::{Route, give_dirs};
use crate::limit::MemoryLimit;

/// What the store of a guest holds.
pub(super) struct Host {
    ctx: WasiCtx,
    limit: MemoryLimit,
}

impl Host {
    pub(super) fn new(ctx: WasiCtx, memory: Option<u64>) -> Self {
        Self { ctx, limit: MemoryLimit::new(memory) }
    }

    pub(super) fn ctx(&mut self) -> &mut WasiCtx {
        &mut self.ctx
    }
}

/// How a guest ended.
#[derive(Clone, Debug)]
pub(super) enum End {
    Exited(i32),
    Trapped(Trap),
    OutOfFuel(u64),
    OutOfTime(std::time::Duration),
    /// The host could not do its part.
    Failed(String),
}

impl End {
    /// A few fixed names, fit for the label of a metric.
    fn label(&self) -> &'static str {
        match self {
            Self::Exited(0) => "exited",
            Self::Exited(_) => "exited with an error",
            Self::Trapped(_) => "trapped",
            Self::OutOfFuel(_) => "out of fuel",
            Self::OutOfTime(_) => "out of time",
            Self::Failed(_) => "failed",
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "it exited with {code}"),
            Self::Trapped(trap) => trap.fmt(f),
            Self::OutOfFuel(fuel) => write!(f, "its fuel, {fuel} units, was gone"),
            Self::OutOfTime(time) => write!(f, "its time, {time:?}, was up"),
            Self::Failed(error) => f.write_str(error),
        }
    }
}

/// What a guest is given.
pub(super) struct Job {
    pub(super) id: u64,
    pub(super) route: Arc<Route>,
    pub(super) place: OwnedSemaphorePermit,
    pub(super) variables: Vec<(String, String)>,
    pub(super) stdin: DuplexStream,
    pub(super) stdout: DuplexStream,
    /// When its time is up.
    pub(super) deadline: Instant,
}

/// A store that is counted as running, and whose account is settled however its guest ends.
struct Running {
    store: Store<Host>,
    route: Arc<Route>,
    id: u64,
    _place: OwnedSemaphorePermit,
}

impl Drop for Running {
    fn drop(&mut self) {
        let stats = self.store.stats();
        self.route.counts.end(self.id, stats.fuel);
        let route = self.route.config.path.clone();
        counter!("lampwick_guest_fuel_total", "route" => route.clone()).increment(stats.fuel);
        counter!("lampwick_guest_slices_total", "route" => route.clone()).increment(stats.slices);
        histogram!("lampwick_guest_busy_seconds", "route" => route.clone()).record(stats.busy);
        histogram!("lampwick_guest_memory_bytes", "route" => route)
            .record(stats.peak_memory as f64);
    }
}

/// Runs a guest to its end. Dropping the future ends it, too.
pub(super) async fn run(engine: Engine, job: Job) -> End {
    let (route, deadline) = (job.route.clone(), job.deadline);
    let time = route.limits().time;
    let end = match Running::new(&engine, job) {
        Err(error) => End::Failed(format!("{error:#}")),
        Ok(mut running) => {
            let call = running.call();
            match tokio::time::timeout_at(deadline, call).await {
                Ok(end) => end,
                Err(_) => End::OutOfTime(time),
            }
        }
    };
    let labels = [("route", route.config.path.clone()), ("end", end.label().to_owned())];
    counter!("lampwick_guests_total", &labels).increment(1);
    end
}

impl Running {
    fn new(engine: &Engine, job: Job) -> anyhow::Result<Self> {
        let Job { id, route, place, variables, stdin, stdout, .. } = job;
        let mut ctx = WasiCtxBuilder::new();
        ctx.arg(route.config.program.to_string_lossy()).envs(&variables);
        for (name, value) in &route.config.env {
            ctx.env(name, value);
        }
        ctx.stdin(stdin).stdout(stdout).stderr(Lines::default());
        give_dirs(&mut ctx, &route.config)?;
        let limits = route.limits();
        let mut store = Store::new(engine, Host::new(ctx.build(), Some(limits.memory)));
        store.limiter(|host| &mut host.limit);
        store.set_fuel(limits.fuel)?;
        store.fuel_async_yield_interval(Some(limits.slice))?;
        route.counts.begin(id, store.fuel_handle()?);
        Ok(Self { store, route, id, _place: place })
    }

    async fn call(&mut self) -> End {
        let route = self.route.clone();
        let store = &mut self.store;
        let start = async {
            let instance = route.program.instantiate_async(&mut *store).await?;
            let start = instance.get_typed_func::<(), (), _>(&mut *store, "_start")?;
            anyhow::Ok(start.call_async(&mut *store, ()).await?)
        };
        match start.await {
            Ok(()) => End::Exited(0),
            Err(error) => self.end_of(error),
        }
    }

    fn end_of(&self, error: anyhow::Error) -> End {
        let Some(trap) = error.downcast_ref::<Trap>() else {
            return End::Failed(format!("{error:#}"));
        };
        if let Some(status) = trap.i32_exit_status() {
            return End::Exited(status);
        }
        match trap.trap_code() {
            None if trap.is_out_of_fuel() => End::OutOfFuel(self.route.limits().fuel),
            None => End::Failed(trap.to_string()),
            Some(TrapCode::Interrupt) => End::Failed("it was interrupted".to_owned()),
            Some(_) => End::Trapped(trap.clone()),
        }
    }
}
