//! The body of a request, on its way to a guest.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::StatusCode;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderValue};
use tokio::io::{AsyncWriteExt as _, DuplexStream};
use tokio::time::{Instant, timeout_at};

/// What a guest reads.
pub(super) enum Input {
    /// What comes from the client, as it comes.
    Stream(Incoming),
    /// All that came, or nothing.
    Whole(Bytes),
}

/// Why a body is refused.
pub(super) type Refusal = (StatusCode, String);

impl Input {
    /// Takes a request's body, and puts its length into the headers: CGI 1.1 promises it to guests.
    ///
    /// One whose length only its end tells is waited for until then, and kept, if it is no longer
    /// than `most`. With 0 it has no length, and is passed on as it comes.
    pub(super) async fn new(
        body: Incoming,
        headers: &mut HeaderMap,
        most: u64,
        until: Instant,
    ) -> Result<Self, Refusal> {
        // What a client says of the length beside chunks is not true.
        let told = headers.remove(CONTENT_LENGTH).is_some();
        let length = match body.size_hint().exact() {
            Some(length) => {
                if told || length > 0 {
                    headers.insert(CONTENT_LENGTH, length.into());
                }
                return Ok(Self::Stream(body));
            }
            None if most == 0 => return Ok(Self::Stream(body)),
            None => usize::try_from(most).unwrap_or(usize::MAX),
        };
        let whole = timeout_at(until, Limited::new(body, length).collect()).await;
        let bytes = match whole {
            Ok(Ok(collected)) => collected.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                let reason = format!("its body has no length, and more than {most} bytes");
                return Err((StatusCode::PAYLOAD_TOO_LARGE, reason));
            }
            Ok(Err(error)) => {
                return Err((StatusCode::BAD_REQUEST, format!("its body is broken: {error}")));
            }
            Err(_) => {
                let reason = "its body has no length, and did not end in time".to_owned();
                return Err((StatusCode::REQUEST_TIMEOUT, reason));
            }
        };
        headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        Ok(Self::Whole(bytes))
    }

    /// Passes it on to the guest, which may care to read less. Never ends, so that the guest's end
    /// is what is waited for.
    pub(super) async fn pump(self, mut to: DuplexStream) -> Infallible {
        match self {
            Self::Whole(bytes) => drop(to.write_all(&bytes).await),
            Self::Stream(mut body) => {
                while let Some(Ok(frame)) = body.frame().await {
                    let Ok(data) = frame.into_data() else { continue };
                    if to.write_all(&data).await.is_err() {
                        break;
                    }
                }
            }
        }
        drop(to);
        std::future::pending().await
    }
}
