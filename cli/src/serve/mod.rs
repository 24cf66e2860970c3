//! `lampwick serve`.

mod admin;
mod answer;
mod body;
mod config;
mod exchange;
mod guest;
mod listen;
mod log;
mod request;
mod response;
mod routes;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::Context as _;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::args::ServeArgs;
use crate::engine;
use crate::failure::Failure;

use answer::Server;
use routes::Routes;

/// Upper bounds of the histograms' buckets, in seconds: from a tenth of a millisecond to half a minute.
const SECONDS: &[f64] =
    &[1e-4, 2.5e-4, 1e-3, 2.5e-3, 1e-2, 2.5e-2, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0];

/// The same in bytes: from a page to a gibibyte.
const BYTES: &[f64] = &[65_536.0, 1_048_576.0, 16_777_216.0, 67_108_864.0, 1_073_741_824.0];

/// Serves the programs of a directory until it is told to end.
pub fn serve(args: &ServeArgs) -> Result<ExitCode, Failure> {
    let engine = engine::engine().map_err(Failure::other)?;
    let configs = config::load(&args.dir).map_err(|error| {
        Failure::misuse(error).hint("`lampwick serve --help` shows what a directory may hold")
    })?;
    let routes = Routes::new(&engine, configs)?;
    log::init(args.log);
    let metrics = metrics().map_err(Failure::other)?;
    let server = Arc::new(Server { engine, routes, next: AtomicU64::new(1) });
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(workers) = args.workers {
        runtime.worker_threads(workers.into());
    }
    let runtime = runtime.enable_all().build().context("cannot start workers");
    let runtime = runtime.map_err(Failure::other)?;
    let outcome = runtime.block_on(listen::serve(args, server, metrics));
    runtime.shutdown_background();
    outcome.map(|()| ExitCode::SUCCESS)
}

fn metrics() -> anyhow::Result<PrometheusHandle> {
    use metrics_exporter_prometheus::Matcher;
    PrometheusBuilder::new()
        .set_buckets(SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), BYTES)?
        .install_recorder()
        .context("cannot count")
}
