//! From a request to its answer.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, TRANSFER_ENCODING};
use hyper::http::HeaderValue;
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use lampwick::Engine;
use tokio::io::duplex;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{Instrument as _, Span};

use super::body::Input;
use super::exchange::{Exchange, Outcome};
use super::guest::{self, Job};
use super::request::{self, Ends, format_id};
use super::routes::Routes;

/// Bytes that lie between a guest and its client, in either direction.
const PIPE: usize = 64 << 10;

/// So often one request is handed on from route to route.
const REDIRECTS: usize = 10;

pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What answers requests.
pub(super) struct Server {
    pub(super) engine: Engine,
    pub(super) routes: Routes,
    pub(super) next: AtomicU64,
}

/// Answers a request.
pub(super) async fn answer(
    server: Arc<Server>,
    ends: Ends,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let id = server.next.fetch_add(1, Relaxed);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let span = tracing::info_span!("request", id = %format_id(id), %method, ?path);
    Ok(follow(server, ends, request, id).instrument(span).await)
}

/// Answers a request by its route, or by the one that this hands it on to, and so forth.
async fn follow(
    server: Arc<Server>,
    ends: Ends,
    request: Request<Incoming>,
    id: u64,
) -> Response<Body> {
    let (mut parts, body) = request.into_parts();
    let mut body = Some(body);
    let mut left = REDIRECTS;
    loop {
        match route(&server, ends, &mut parts, body.take(), id, left).await {
            Outcome::Answer(response) => return response,
            Outcome::Redirect(uri) => {
                tracing::info!(to = ?uri.path(), "handed on");
                parts.uri = uri;
                // The body was the first guest's.
                for name in [CONTENT_TYPE, CONTENT_LENGTH, TRANSFER_ENCODING] {
                    parts.headers.remove(name);
                }
                if parts.method != Method::HEAD {
                    parts.method = Method::GET;
                }
                left -= 1;
            }
        }
    }
}

async fn route(
    server: &Server,
    ends: Ends,
    parts: &mut Parts,
    body: Option<Incoming>,
    id: u64,
    redirects: usize,
) -> Outcome {
    let began = Instant::now();
    let path = parts.uri.path().to_owned();
    let Some((route, rest)) = server.routes.find(&path) else {
        tracing::info!(status = 404, "there is no such route");
        return Outcome::Answer(failure(StatusCode::NOT_FOUND));
    };
    let exchange = Exchange { route: route.clone(), began, redirects };
    let limits = route.limits();
    let Ok(place) = route.places.clone().try_acquire_owned() else {
        let reason =
            format!("{} guests of the route run already, the most that may", limits.guests);
        let mut response = exchange.fail(StatusCode::SERVICE_UNAVAILABLE, &reason);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        return Outcome::Answer(response);
    };
    let deadline = began + limits.time;
    // Within the guest's place and time, which bound what is kept of bodies.
    let input = match body {
        None => Input::Whole(Bytes::new()),
        Some(body) => match Input::new(body, &mut parts.headers, limits.buffer, deadline).await {
            Ok(input) => input,
            Err((status, reason)) => return Outcome::Answer(exchange.fail(status, &reason)),
        },
    };
    let variables = request::variables(parts, ends, &route.config.path, rest, id);
    let Some(variables) = variables else {
        let reason = "the path is no text";
        return Outcome::Answer(exchange.fail(StatusCode::BAD_REQUEST, &reason));
    };
    let (stdin, to_guest) = duplex(PIPE);
    let (output, stdout) = duplex(PIPE);
    let job = Job { id, route: route.clone(), place, variables, stdin, stdout, deadline };
    let engine = server.engine.clone();
    // Tasks of a set end when it is dropped: no guest outlives its request.
    let mut guest = JoinSet::new();
    guest.spawn(
        async move {
            tokio::select! {
                biased;
                end = guest::run(engine, job) => end,
                never = input.pump(to_guest) => match never {},
            }
        }
        .instrument(Span::current()),
    );
    exchange.respond(output, guest).await
}

pub(super) fn never(never: Infallible) -> io::Error {
    match never {}
}

/// An answer of the server's own.
pub(super) fn failure(status: StatusCode) -> Response<Body> {
    let text = format!("{status}\n");
    respond(status, "text/plain", text)
}

/// An answer with this body.
pub(super) fn respond(
    status: StatusCode,
    content_type: &'static str,
    text: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = Response::new(Full::new(text.into()).map_err(never).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
