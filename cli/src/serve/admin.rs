//! The administrator's address: metrics, and the status page.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use hyper::http::HeaderValue;
use hyper::{Method, Request, Response, StatusCode};
use metrics::gauge;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;

use super::answer::{Body, Server, failure, respond};

/// The status page, which asks for `/status.json` each second.
const PAGE: &str = include_str!("status.html");

/// What the administrator's address answers from.
pub(super) struct Admin {
    server: Arc<Server>,
    metrics: PrometheusHandle,
    began: Instant,
}

#[derive(Serialize)]
struct Status {
    /// Seconds since the server began.
    uptime: f64,
    routes: Vec<RouteStatus>,
}

#[derive(Serialize)]
struct RouteStatus {
    path: String,
    program: String,
    guests: usize,
    running: usize,
    requests: u64,
    failures: u64,
    /// Units that were burned so far.
    fuel: u64,
    /// Latencies of the last requests, in milliseconds.
    median: f64,
    worst_of_100: f64,
}

impl Admin {
    pub(super) fn new(server: Arc<Server>, metrics: PrometheusHandle) -> Self {
        Self { server, metrics, began: Instant::now() }
    }

    fn status(&self) -> Status {
        let routes = self.server.routes.iter().map(|route| {
            let (running, fuel) = route.counts.running_and_fuel();
            RouteStatus {
                path: route.config.path.clone(),
                program: route.config.program.display().to_string(),
                guests: route.limits().guests,
                running,
                requests: route.counts.requests(),
                failures: route.counts.failures(),
                fuel,
                median: route.counts.latency(0.5).as_secs_f64() * 1e3,
                worst_of_100: route.counts.latency(0.99).as_secs_f64() * 1e3,
            }
        });
        let mut routes: Vec<_> = routes.collect();
        routes.sort_by(|a, b| a.path.cmp(&b.path));
        Status { uptime: self.began.elapsed().as_secs_f64(), routes }
    }

    /// All metrics, with what is looked up only now.
    fn render(&self) -> String {
        for route in self.server.routes.iter() {
            let (running, _) = route.counts.running_and_fuel();
            gauge!("lampwick_guests_running", "route" => route.config.path.clone())
                .set(running as f64);
        }
        let engine = self.server.engine.stats();
        gauge!("lampwick_stacks").set(engine.stacks as f64);
        gauge!("lampwick_stacks_idle").set(engine.idle_stacks as f64);
        gauge!("lampwick_memory_reservations").set(engine.reservations as f64);
        gauge!("lampwick_guests_suspended").set(engine.suspended as f64);
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        gauge!("lampwick_tasks").set(tasks as f64);
        self.metrics.render()
    }
}

/// Answers a request of the administrator's.
pub(super) async fn answer(
    admin: Arc<Admin>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(failure(StatusCode::METHOD_NOT_ALLOWED));
    }
    let mut response = match request.uri().path() {
        "/" => respond(StatusCode::OK, "text/html; charset=utf-8", PAGE),
        "/metrics" => respond(StatusCode::OK, "text/plain; version=0.0.4", admin.render()),
        "/status.json" => match serde_json::to_vec(&admin.status()) {
            Ok(json) => respond(StatusCode::OK, "application/json", json),
            Err(_) => failure(StatusCode::INTERNAL_SERVER_ERROR),
        },
        _ => failure(StatusCode::NOT_FOUND),
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
             connect-src 'self'",
        ),
    );
    Ok(response)
}
