//! Metrics, and the status page.

use serde_json::Value;

use super::client::Server;
use crate::guests;

fn status(server: &Server) -> Value {
    serde_json::from_str(&server.admin("/status.json").body).unwrap()
}

#[test]
fn routes_and_what_they_took_are_told() {
    let hello = guests::says("Content-Type: text/plain\n\nhello\n", 0);
    let server = Server::new(&[("hello.wat", hello), ("traps.wat", guests::traps(""))]);
    assert_eq!(server.get("/hello").status, 200);
    assert_eq!(server.get("/traps").status, 502);
    server.until(|server| status(server)["routes"][0]["requests"] == 1);
    let told = status(&server);
    let (hello, traps) = (&told["routes"][0], &told["routes"][1]);
    assert_eq!((&hello["path"], &traps["path"]), (&"/hello".into(), &"/traps".into()));
    assert_eq!((&hello["failures"], &traps["failures"]), (&0.into(), &1.into()));
    assert_eq!((&hello["running"], &hello["guests"]), (&0.into(), &64.into()));
    assert!(hello["fuel"].as_u64().unwrap() > 0 && hello["median"].as_f64().unwrap() > 0.0);
    for (metric, value) in [
        ("lampwick_requests_total{route=\"/hello\",status=\"200\"}", 1.0),
        ("lampwick_requests_total{route=\"/traps\",status=\"502\"}", 1.0),
        ("lampwick_guests_total{route=\"/traps\",end=\"trapped\"}", 1.0),
        ("lampwick_guests_running{route=\"/hello\"}", 0.0),
        ("lampwick_request_seconds_count{route=\"/hello\"}", 1.0),
    ] {
        assert_eq!(server.metric(metric), Some(value), "{metric}");
    }
}

#[test]
fn fuel_is_told_while_a_guest_still_runs() {
    let config = "[[route]]\npath = \"/loops\"\nprogram = \"loops.wat\"\ntime = \"50s\"\n\
        fuel = 90000000000000\n";
    let loops = guests::loops("");
    let server = Server::new(&[("loops.wat", loops), ("lampwick.toml", config.to_owned())]);
    let mut stream = server.connect();
    std::io::Write::write_all(&mut stream, b"GET /loops HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
    let fuel = |server: &Server| status(server)["routes"][0]["fuel"].as_u64().unwrap();
    server.until(|server| fuel(server) > 0);
    let before = fuel(&server);
    server.until(|server| fuel(server) > before);
    assert_eq!(status(&server)["routes"][0]["running"], 1);
}

#[test]
fn the_page_asks_for_nothing_from_elsewhere() {
    let server = Server::new(&[("hello.wat", guests::says("", 0))]);
    let page = server.admin("/");
    assert_eq!(page.status, 200);
    assert!(page.head.contains("content-security-policy: default-src 'none'"), "{}", page.head);
    assert!(page.body.contains("fetch(\"status.json\")"));
    // Apart from the name of SVG's elements.
    let links = page.body.replace("http://www.w3.org/2000/svg", "");
    assert!(!links.contains("http://") && !links.contains("https://"), "{links}");
    assert_eq!(server.admin("/elsewhere").status, 404);
}
