//! What a guest answers: the headers of a CGI response (RFC 3875), and then the body.

use anyhow::{Context as _, Result, ensure};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{StatusCode, Uri};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The most bytes of headers that are read.
const MOST: usize = 32 << 10;

/// Headers that are the server's own: about the connection, not the answer.
const DROPPED: &[&str] =
    &["connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"];

/// The head of an answer, and what was read beyond it.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    /// Whether the guest named the status.
    has_status: bool,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// A guest's output ended within the headers: it may have failed, which tells more.
#[derive(Debug, thiserror::Error)]
#[error("its output ended after {0} bytes, within the headers")]
pub(super) struct Ended(usize);

impl Head {
    /// Reads the head of an answer.
    ///
    /// # Errors
    ///
    /// Fails if the output ends first ([`Ended`]), if the head is too long, or if it is none.
    pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> Result<Self> {
        let mut bytes = Vec::new();
        // Each byte is looked at once: a guest may write them one by one.
        let mut line = 0;
        loop {
            let seen = bytes.len();
            let count = from.take((MOST - seen) as u64).read_buf(&mut bytes).await?;
            if count == 0 {
                ensure!(seen < MOST, "its headers take more than {MOST} bytes");
                return Err(Ended(seen).into());
            }
            for at in seen..bytes.len() {
                if bytes[at] != b'\n' {
                    continue;
                }
                if matches!(&bytes[line..at], b"" | b"\r") {
                    let body = bytes.split_off(at + 1);
                    return Self::parse(&bytes[..line], body);
                }
                line = at + 1;
            }
        }
    }

    fn parse(head: &[u8], body: Vec<u8>) -> Result<Self> {
        let mut status = None;
        let mut headers = HeaderMap::new();
        for line in head.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            let shown = || format!("the header {:?}", String::from_utf8_lossy(line));
            let colon = line.iter().position(|&byte| byte == b':');
            let (name, value) =
                line.split_at(colon.context("it has no colon").with_context(shown)?);
            let value = value[1..].trim_ascii();
            if name.eq_ignore_ascii_case(b"status") {
                ensure!(status.is_none(), "there are two headers `Status`");
                status = Some(parse_status(value).with_context(shown)?);
                continue;
            }
            let name = HeaderName::from_bytes(name).with_context(shown)?;
            let value = HeaderValue::from_bytes(value).with_context(shown)?;
            if !DROPPED.contains(&name.as_str()) {
                headers.append(name, value);
            }
        }
        let has = |name| headers.contains_key(name);
        ensure!(
            status.is_some() || has(header::CONTENT_TYPE) || has(header::LOCATION),
            "it has neither `Content-Type` nor `Location` nor `Status`"
        );
        ensure!(
            headers.get_all(header::CONTENT_LENGTH).iter().count() <= 1,
            "there are two headers `Content-Length`"
        );
        let usual = if has(header::LOCATION) { StatusCode::FOUND } else { StatusCode::OK };
        let has_status = status.is_some();
        Ok(Self { status: status.unwrap_or(usual), has_status, headers, body })
    }

    /// Where within this server the request is handed on to, by a local redirect (RFC 3875, 6.2.2): a
    /// path as the only header. With a status or other headers a location is the client's to go to.
    ///
    /// # Errors
    ///
    /// Fails if it is no path that a request could have.
    pub(super) fn local_redirect(&self) -> Option<Result<Uri>> {
        let location = self.headers.get(header::LOCATION)?.as_bytes();
        if self.has_status || self.headers.len() != 1 || !location.starts_with(b"/") {
            return None;
        }
        let shown = || format!("the header `Location: {}`", String::from_utf8_lossy(location));
        // As the target of a request it is a path even where it begins with two slashes.
        let uri = Uri::builder().path_and_query(location).build();
        Some(uri.with_context(shown))
    }
}

/// A status with or without a reason behind it. Only final ones are answers.
fn parse_status(value: &[u8]) -> Result<StatusCode> {
    let digits = value.split(|&byte| byte == b' ').next().unwrap_or_default();
    let status = StatusCode::from_bytes(digits)?;
    ensure!((200..600).contains(&status.as_u16()), "{status} is no status of an answer");
    Ok(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(mut bytes: &[u8]) -> Result<Head> {
        Head::read(&mut bytes).await
    }

    #[tokio::test]
    async fn heads_are_read_to_the_empty_line() {
        let head = read(b"content-type: text/plain\r\nX-A:1\r\n\r\nbody\n\n").await.unwrap();
        assert_eq!((head.status, &head.body[..]), (StatusCode::OK, &b"body\n\n"[..]));
        assert_eq!(head.headers["x-a"], "1");
        let head = read(b"Status: 404 Not Found\nTransfer-Encoding: x\n\n").await.unwrap();
        assert_eq!((head.status.as_u16(), head.headers.len()), (404, 0));
        let head = read(b"Location: /a\n\n").await.unwrap();
        assert_eq!(head.status, StatusCode::FOUND);
    }

    #[tokio::test]
    async fn only_a_path_alone_is_a_local_redirect() {
        for (bytes, target) in [
            (&b"Location: /a?b=c\n\n"[..], Some("/a?b=c")),
            (b"location:/\n\nignored", Some("/")),
            (b"Location: //elsewhere/x\n\n", Some("//elsewhere/x")),
            (b"Location: /a\nStatus: 303\n\n", None),
            (b"Location: /a\nContent-Type: text/html\n\n", None),
            (b"Location: http://elsewhere/\n\n", None),
            (b"Location: a\n\n", None),
            (b"Status: 200\n\n", None),
        ] {
            let head = read(bytes).await.unwrap();
            let uri = head.local_redirect().map(|uri| uri.unwrap().to_string());
            assert_eq!(uri.as_deref(), target, "{bytes:?}");
        }
        let head = read(b"Location: /a b\n\n").await.unwrap();
        let error = format!("{:#}", head.local_redirect().unwrap().unwrap_err());
        assert!(error.contains("`Location: /a b`"), "{error}");
    }

    #[tokio::test]
    async fn nonsense_is_named() {
        let long = [b"A: ".to_vec(), vec![b'a'; MOST]].concat();
        for (bytes, words) in [
            (&b""[..], "ended after 0 bytes"),
            (b"Content-Type: text/plain\n", "ended after 25 bytes"),
            (b"\n", "neither `Content-Type`"),
            (b"hello\n\n", "\"hello\": it has no colon"),
            (b"X-A: 1\n\n", "neither `Content-Type`"),
            (b"Status: 20\n\n", "Status: 20"),
            (b"Status: 101\n\n", "no status of an answer"),
            (b"Status: 200\nStatus: 201\n\n", "two headers `Status`"),
            (b"Content-Type: a\nX A: 1\n\n", "X A: 1"),
            (b"Content-Type: a\x01b\n\n", "Content-Type"),
            (b"Status: 200\nContent-Length: 1\nContent-Length: 2\n\n", "two headers `Content-Len"),
            (&long, "more than 32768 bytes"),
        ] {
            let error = format!("{:#}", read(bytes).await.unwrap_err());
            assert!(error.contains(words), "{words}: {error}");
        }
    }
}
