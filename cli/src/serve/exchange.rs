//! A guest's part in a request: from the first byte that it writes to its end.

use std::io;
use std::sync::Arc;

use anyhow::Error;
use bytes::{Bytes, BytesMut};
use futures::stream;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use hyper::{Response, StatusCode, Uri};
use metrics::{counter, histogram};
use tokio::io::{AsyncReadExt as _, DuplexStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{Instrument as _, Span};

use super::answer::{Body, failure, never};
use super::guest::End;
use super::response::{Ended, Head};
use super::routes::Route;

/// What becomes of a request.
pub(super) enum Outcome {
    Answer(Response<Body>),
    /// It is handed on to another path of this server.
    Redirect(Uri),
}

/// A request on its way to its answer.
pub(super) struct Exchange {
    pub(super) route: Arc<Route>,
    pub(super) began: Instant,
    /// How often the request may still be handed on.
    pub(super) redirects: usize,
}

impl Exchange {
    /// Answers with what the guest writes, or hands the request on to where it says.
    pub(super) async fn respond(
        self,
        mut output: DuplexStream,
        mut guest: JoinSet<End>,
    ) -> Outcome {
        let head = match Head::read(&mut output).await {
            Ok(head) => head,
            Err(error) => {
                // Whoever wrote nonsense and goes on is not waited for.
                drop(output);
                let end = if error.is::<Ended>() { end_of(&mut guest).await } else { None };
                return Outcome::Answer(self.unanswered(end, &error));
            }
        };
        if let Some(to) = head.local_redirect() {
            return self.redirect(to, output, guest).await;
        }
        let mut response = Response::new(Full::from(Bytes::new()).map_err(never).boxed_unsync());
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        let first = Bytes::from(head.body);
        let rest = Rest { exchange: self, status: head.status, output, guest };
        *response.body_mut() = rest.body(first);
        Outcome::Answer(response)
    }

    /// Hands the request on, when the guest has ended as it should: what it still writes is nobody's.
    async fn redirect(
        self,
        to: anyhow::Result<Uri>,
        mut output: DuplexStream,
        mut guest: JoinSet<End>,
    ) -> Outcome {
        let to = match to {
            Ok(_) if self.redirects == 0 => Err(Error::msg("the request was handed on too often")),
            to => to,
        };
        let to = match to {
            Ok(to) => to,
            Err(error) => return Outcome::Answer(self.unanswered(None, &error)),
        };
        // It fails only where the other end does, which is here.
        let _ = tokio::io::copy(&mut output, &mut tokio::io::sink()).await;
        match end_of(&mut guest).await {
            Some(End::Exited(_)) => {
                self.count(StatusCode::FOUND, false);
                Outcome::Redirect(to)
            }
            end => Outcome::Answer(self.unanswered(end, &Error::msg("its end is not known"))),
        }
    }

    /// The failure of a guest that ended so, or answered what is wrong.
    fn unanswered(self, end: Option<End>, error: &Error) -> Response<Body> {
        match end {
            Some(end @ (End::OutOfTime(_) | End::OutOfFuel(_))) => {
                self.fail(StatusCode::GATEWAY_TIMEOUT, &end)
            }
            Some(End::Exited(0)) | None => {
                self.fail(StatusCode::BAD_GATEWAY, &format!("no answer: {error:#}"))
            }
            Some(end) => self.fail(StatusCode::BAD_GATEWAY, &end),
        }
    }

    /// Answers that there is no answer, and logs why.
    pub(super) fn fail(self, status: StatusCode, reason: &dyn std::fmt::Display) -> Response<Body> {
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
