//! Routes that are ready to serve, and what is counted of each.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lampwick::{Engine, FuelHandle, InstancePre, Linker, Store};
use lampwick_wasi::{DirPerms, FilePerms, WasiCtxBuilder};
use tokio::sync::Semaphore;

use super::config::{self, Limits};
use super::guest::Host;
use crate::failure::Failure;
use crate::{load, run};

/// So many latencies are kept for the status page.
const LATENCIES: usize = 512;

/// A path with the program that answers it.
pub(super) struct Route {
    pub(super) config: config::Route,
    pub(super) program: InstancePre<Host>,
    /// A permit for each request that may run.
    pub(super) places: Arc<Semaphore>,
    pub(super) counts: Counts,
}

/// What happened on a route.
#[derive(Default)]
pub(super) struct Counts {
    requests: AtomicU64,
    failures: AtomicU64,
    /// Fuel of guests that are gone.
    fuel: AtomicU64,
    /// Those that run, for what they have burned so far.
    running: Mutex<HashMap<u64, FuelHandle>>,
    latencies: Mutex<VecDeque<Duration>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Counts {
    pub(super) fn begin(&self, id: u64, fuel: FuelHandle) {
        lock(&self.running).insert(id, fuel);
    }

    pub(super) fn end(&self, id: u64, fuel: u64) {
        // Under the lock, so that nobody sees the guest's fuel twice or not at all.
        let mut running = lock(&self.running);
        running.remove(&id);
        self.fuel.fetch_add(fuel, Relaxed);
    }

    /// Counts an answer, or a failure.
    pub(super) fn answered(&self, latency: Duration, failed: bool) {
        self.requests.fetch_add(1, Relaxed);
        self.failures.fetch_add(u64::from(failed), Relaxed);
        let mut latencies = lock(&self.latencies);
        if latencies.len() == LATENCIES {
            latencies.pop_front();
        }
        latencies.push_back(latency);
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }

    /// Guests that run, and the fuel that all guests have burned.
    pub(super) fn running_and_fuel(&self) -> (usize, u64) {
        let running = lock(&self.running);
        let now: u64 = running.values().map(FuelHandle::consumed).fold(0, u64::saturating_add);
        (running.len(), now.saturating_add(self.fuel.load(Relaxed)))
    }

    /// The latency that this part of the last requests did not exceed.
    pub(super) fn latency(&self, part: f64) -> Duration {
        let mut latencies: Vec<_> = lock(&self.latencies).iter().copied().collect();
        latencies.sort();
        let last = latencies.len().saturating_sub(1);
        latencies.get((last as f64 * part).round() as usize).copied().unwrap_or_default()
    }
}

/// All routes, those with the longest paths first.
pub(super) struct Routes(Vec<Arc<Route>>);

impl Routes {
    /// Compiles the programs of all routes.
    pub(super) fn new(engine: &Engine, configs: Vec<config::Route>) -> Result<Self, Failure> {
        let mut linker = Linker::new(engine);
        lampwick_wasi::add_to_linker(&mut linker, Host::ctx).map_err(Failure::other)?;
        let mut routes = Vec::new();
        for config in configs {
            routes.push(Arc::new(Route::new(engine, &linker, config)?));
        }
        routes.sort_by_key(|route| std::cmp::Reverse(route.config.path.len()));
        Ok(Self(routes))
    }

    /// The route of a path, and what of it is beyond the route.
    pub(super) fn find<'a>(&self, path: &'a str) -> Option<(&Arc<Route>, &'a str)> {
        self.0.iter().find_map(|route| {
            let rest = match route.config.path.as_str() {
                "/" => path,
                prefix => path.strip_prefix(prefix)?,
            };
            (rest.is_empty() || rest.starts_with('/')).then_some((route, rest))
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.0.iter()
    }
}

impl Route {
    fn new(engine: &Engine, linker: &Linker<Host>, config: config::Route) -> Result<Self, Failure> {
        let module = load::module(engine, &config.program)?;
        let shown = config.program.display().to_string();
        run::check_program(&module, &shown)?;
        let mut store = Store::new(engine, Host::new(WasiCtxBuilder::new().build(), None));
        let program = linker
            .instantiate_pre(&mut store, &module)
            .map_err(|error| run::unlinked(error, &shown))?;
        // A directory that is missing is found now, not by the first request.
        give_dirs(&mut WasiCtxBuilder::new(), &config).map_err(Failure::misuse)?;
        let places = Arc::new(Semaphore::new(config.limits.guests));
        Ok(Self { config, program, places, counts: Counts::default() })
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.config.limits
    }
}

/// Gives a guest the directories of its route.
pub(super) fn give_dirs(ctx: &mut WasiCtxBuilder, config: &config::Route) -> anyhow::Result<()> {
    let (dirs, files) = match config.write {
        true => (DirPerms::all(), FilePerms::all()),
        false => (DirPerms::READ, FilePerms::READ),
    };
    for dir in &config.dirs {
        ctx.preopened_dir(&dir.host, &dir.guest, dirs, files)?;
    }
    Ok(())
}
