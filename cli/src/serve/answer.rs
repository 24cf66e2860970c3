//! From a request to its answer.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::{Bytes, BytesMut};
use futures::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_TYPE, RETRY_AFTER};
use hyper::http::HeaderValue;
use hyper::{Request, Response, StatusCode};
use lampwick::Engine;
use metrics::{counter, histogram};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{Instrument as _, Span};

use super::guest::{self, End, Job};
use super::request::{self, Ends, format_id};
use super::response::Head;
use super::routes::{Route, Routes};

/// Bytes that lie between a guest and its client, in either direction.
const PIPE: usize = 64 << 10;

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
    Ok(route(server, ends, request, id).instrument(span).await)
}

async fn route(
    server: Arc<Server>,
    ends: Ends,
    request: Request<Incoming>,
    id: u64,
) -> Response<Body> {
    let began = Instant::now();
    let path = request.uri().path().to_owned();
    let Some((route, rest)) = server.routes.find(&path) else {
        tracing::info!(status = 404, "there is no such route");
        return failure(StatusCode::NOT_FOUND);
    };
    let exchange = Exchange { route: route.clone(), began };
    let (parts, body) = request.into_parts();
    let variables = request::variables(&parts, ends, &route.config.path, rest, id);
    let Some(variables) = variables else {
        return exchange.fail(StatusCode::BAD_REQUEST, &"the path is no text");
    };
    let Ok(place) = route.places.clone().try_acquire_owned() else {
        let most = route.limits().guests;
        let reason = format!("{most} guests of the route run already, the most that may");
        let mut response = exchange.fail(StatusCode::SERVICE_UNAVAILABLE, &reason);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        return response;
    };
    let (stdin, input) = duplex(PIPE);
    let (output, stdout) = duplex(PIPE);
    let deadline = began + route.limits().time;
    let job = Job { id, route: route.clone(), place, variables, stdin, stdout, deadline };
    let engine = server.engine.clone();
    // Tasks of a set end when it is dropped: no guest outlives its request.
    let mut guest = JoinSet::new();
    guest.spawn(
        async move {
            let body = pump(body, input);
            tokio::select! {
                biased;
                end = guest::run(engine, job) => end,
                // Never: the body waits for the guest's end when it is through.
                never = body => match never {},
            }
        }
        .instrument(Span::current()),
    );
    exchange.respond(output, guest).await
}

/// Passes the request's body on to the guest. It may be longer than the guest cares to read.
async fn pump(mut body: Incoming, mut input: DuplexStream) -> Infallible {
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        if input.write_all(&data).await.is_err() {
            break;
        }
    }
    drop(input);
    std::future::pending().await
}

/// A request on its way to its answer.
struct Exchange {
    route: Arc<Route>,
    began: Instant,
}

impl Exchange {
    /// Answers with what the guest writes.
    async fn respond(self, mut output: DuplexStream, mut guest: JoinSet<End>) -> Response<Body> {
        let head = match Head::read(&mut output).await {
            Ok(head) => head,
            Err(error) => {
                // Whoever wrote nonsense and goes on is not waited for.
                drop(output);
                let end = if format!("{error}").contains("ended") {
                    end_of(&mut guest).await
                } else {
                    None
                };
                return match end {
                    Some(end @ (End::OutOfTime(_) | End::OutOfFuel(_))) => {
                        self.fail(StatusCode::GATEWAY_TIMEOUT, &end)
                    }
                    Some(End::Exited(0)) | None => {
                        self.fail(StatusCode::BAD_GATEWAY, &format!("no answer: {error:#}"))
                    }
                    Some(end) => self.fail(StatusCode::BAD_GATEWAY, &end),
                };
            }
        };
        let mut response = Response::new(Full::from(Bytes::new()).map_err(never).boxed_unsync());
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        let first = Bytes::from(head.body);
        let rest = Rest { exchange: self, status: head.status, output, guest };
        *response.body_mut() = rest.body(first);
        response
    }

    /// Answers that there is no answer, and logs why.
    fn fail(self, status: StatusCode, reason: &dyn std::fmt::Display) -> Response<Body> {
        let reason = reason.to_string();
        tracing::warn!(status = status.as_u16(), %reason, "the request failed");
        self.count(status, true);
        failure(status)
    }

    fn count(&self, status: StatusCode, failed: bool) {
        let latency = self.began.elapsed();
        self.route.counts.answered(latency, failed);
        let route = self.route.config.path.clone();
        let labels = [("route", route.clone()), ("status", status.as_u16().to_string())];
        counter!("lampwick_requests_total", &labels).increment(1);
        histogram!("lampwick_request_seconds", "route" => route).record(latency);
    }
}

/// How a guest ended.
async fn end_of(guest: &mut JoinSet<End>) -> Option<End> {
    match guest.join_next().await? {
        Ok(end) => Some(end),
        Err(error) => Some(End::Failed(format!("the guest's task failed: {error}"))),
    }
}

/// The rest of an answer, while the guest writes it.
struct Rest {
    exchange: Exchange,
    status: StatusCode,
    output: DuplexStream,
    guest: JoinSet<End>,
}

impl Rest {
    /// The body of the answer, which begins with these bytes.
    fn body(self, first: Bytes) -> Body {
        let span = Span::current();
        let frames = stream::try_unfold((Some(first), self), move |(first, mut rest)| {
            async move {
                if let Some(first) = first.filter(|first| !first.is_empty()) {
                    return Ok(Some((Frame::data(first), (None, rest))));
                }
                let mut bytes = BytesMut::with_capacity(8 << 10);
                if rest.output.read_buf(&mut bytes).await? > 0 {
                    return Ok(Some((Frame::data(bytes.freeze()), (None, rest))));
                }
                rest.end().await.map(|()| None)
            }
            .instrument(span.clone())
        });
        StreamBody::new(frames).boxed_unsync()
    }

    /// Ends the answer: as whole if the guest did its part, else by cutting the connection, so that
    /// the client does not take it for whole.
    async fn end(&mut self) -> io::Result<()> {
        let end = end_of(&mut self.guest).await;
        let status = self.status.as_u16();
        let failed = !matches!(end, Some(End::Exited(_)));
        self.exchange.count(self.status, failed);
        match end {
            Some(End::Exited(0)) => {
                tracing::info!(status, took = ?self.exchange.began.elapsed(), "answered");
                Ok(())
            }
            Some(end @ End::Exited(_)) => {
                tracing::warn!(status, "answered, but {end}");
                Ok(())
            }
            end => {
                let reason = end.map(|end| end.to_string()).unwrap_or_default();
                tracing::warn!(status, %reason, "the answer was cut");
                // What was answered so far is sent only when the body lets the connection wait.
                tokio::task::yield_now().await;
                Err(io::Error::other("the guest failed"))
            }
        }
    }
}

fn never(never: Infallible) -> io::Error {
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
