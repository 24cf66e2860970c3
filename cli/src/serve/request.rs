//! What a guest learns of its request: the meta-variables of CGI 1.1 (RFC 3875).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use hyper::header::{self, HeaderMap};
use hyper::http::request::Parts;
use percent_encoding::percent_decode_str;

/// Headers that are no business of the guest's: they are about the connection, have variables of
/// their own, or (`Proxy`) would be taken for a setting of the guest's as `HTTP_PROXY`.
const KEPT_BACK: &[&str] = &[
    "connection",
    "content-length",
    "content-type",
    "keep-alive",
    "proxy",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Where a request came from, and to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) client: SocketAddr,
    pub(super) server: SocketAddr,
}

/// The variables of a request for a route with this path, `rest` of whose path is beyond it; or
/// nothing, where they cannot be told as text.
pub(super) fn variables(
    request: &Parts,
    ends: Ends,
    route: &str,
    rest: &str,
    id: u64,
) -> Option<Vec<(String, String)>> {
    let path_info = percent_decode_str(rest).decode_utf8().ok().filter(|it| !it.contains('\0'))?;
    let mut variables: BTreeMap<String, String> = headers(&request.headers);
    let mut set = |name: &str, value: String| drop(variables.insert(name.to_owned(), value));
    set("GATEWAY_INTERFACE", "CGI/1.1".to_owned());
    set("SERVER_SOFTWARE", format!("lampwick/{}", env!("CARGO_PKG_VERSION")));
    set("SERVER_PROTOCOL", format!("{:?}", request.version));
    set("SERVER_NAME", server_name(request, ends));
    set("SERVER_PORT", ends.server.port().to_string());
    set("REMOTE_ADDR", ends.client.ip().to_string());
    set("REQUEST_METHOD", request.method.as_str().to_owned());
    set("REQUEST_ID", format_id(id));
    set("SCRIPT_NAME", if route == "/" { String::new() } else { route.to_owned() });
    set("PATH_INFO", path_info.into_owned());
    set("QUERY_STRING", request.uri.query().unwrap_or_default().to_owned());
    for (name, header) in
        [("CONTENT_TYPE", header::CONTENT_TYPE), ("CONTENT_LENGTH", header::CONTENT_LENGTH)]
    {
        if let Some(value) = request.headers.get(header).and_then(|value| value.to_str().ok()) {
            set(name, value.to_owned());
        }
    }
    Some(variables.into_iter().collect())
}

/// A request's id as logs and guests have it.
pub(super) fn format_id(id: u64) -> String {
    format!("{id:08x}")
}

/// Headers as variables. One with an underscore could pass for another and is left out, as is what
/// is no text.
fn headers(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for name in headers.keys() {
        if KEPT_BACK.contains(&name.as_str()) || name.as_str().contains('_') {
            continue;
        }
        let separator = if name == header::COOKIE { "; " } else { ", " };
        let values: Vec<_> =
            headers.get_all(name).iter().filter_map(|it| it.to_str().ok()).collect();
        let variable = format!("HTTP_{}", name.as_str().to_uppercase().replace('-', "_"));
        variables.insert(variable, values.join(separator));
    }
    variables
}

/// What the client calls the server, if that can be a name, else the server's address.
fn server_name(request: &Parts, ends: Ends) -> String {
    let host = request.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = host.and_then(|host| host.parse::<hyper::http::uri::Authority>().ok());
    authority.map_or_else(|| ends.server.ip().to_string(), |it| it.host().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(uri: &str, headers: &[(&str, &str)], rest: &str) -> Option<BTreeMap<String, String>> {
        let mut request = hyper::Request::builder().uri(uri);
        for &(name, value) in headers {
            request = request.header(name, value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let ends = Ends {
            client: "192.0.2.7:99".parse().unwrap(),
            server: "127.0.0.1:8080".parse().unwrap(),
        };
        Some(variables(&parts, ends, "/app", rest, 10)?.into_iter().collect())
    }

    #[test]
    fn a_request_is_told_as_variables() {
        let headers = [
            ("host", "example.org:80"),
            ("x-a", "1"),
            ("x-a", "2"),
            ("content-type", "text/plain"),
        ];
        let told = told("/app/a%20b?x=%20", &headers, "/a%20b").unwrap();
        for (name, value) in [
            ("SCRIPT_NAME", "/app"),
            ("PATH_INFO", "/a b"),
            ("QUERY_STRING", "x=%20"),
            ("SERVER_NAME", "example.org"),
            ("SERVER_PORT", "8080"),
            ("REMOTE_ADDR", "192.0.2.7"),
            ("REQUEST_METHOD", "GET"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("HTTP_X_A", "1, 2"),
            ("CONTENT_TYPE", "text/plain"),
            ("REQUEST_ID", "0000000a"),
        ] {
            assert_eq!(told.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert!(!told.contains_key("CONTENT_LENGTH") && !told.contains_key("HTTP_CONTENT_TYPE"));
    }

    #[test]
    fn headers_cannot_pass_for_others_or_for_settings() {
        let headers =
            [("proxy", "http://evil"), ("x_forwarded_for", "me"), ("connection", "close")];
        let told = told("/app", &headers, "").unwrap();
        let passed: Vec<_> = told.keys().filter(|name| name.starts_with("HTTP_")).collect();
        assert!(passed.is_empty(), "{passed:?}");
    }

    #[test]
    fn paths_that_are_no_text_are_refused() {
        assert!(told("/app/%00", &[], "/%00").is_none());
        assert!(told("/app/%ff", &[], "/%ff").is_none());
    }
}
