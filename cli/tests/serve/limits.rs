//! Good requests beside hostile guests, and many of them.

use std::io::Write as _;
use std::time::{Duration, Instant};

use super::client::Server;
use crate::guests;

fn site() -> Vec<(&'static str, String)> {
    let config = r#"
        [defaults]
        time = "4s"
        fuel = 90000000000000
        [[route]]
        path = "/hello"
        program = "hello.wat"
        [[route]]
        path = "/loops"
        program = "loops.wat"
        guests = 4
        [[route]]
        path = "/takes"
        program = "takes.wat"
        memory = "16MiB"
        [[route]]
        path = "/slow"
        program = "slow.wat"
    "#;
    vec![
        ("lampwick.toml", config.to_owned()),
        ("hello.wat", guests::says("Content-Type: text/plain\n\nhello\n", 0)),
        ("loops.wat", guests::loops("")),
        ("takes.wat", guests::takes_memory()),
        // It writes for as long as somebody reads.
        ("slow.wat", guests::says_forever("Content-Type: text/plain\n\n")),
    ]
}

#[test]
fn good_requests_are_answered_in_time_beside_hostile_guests() {
    let server = Server::new(&site());
    std::thread::scope(|scope| {
        let server = &server;
        for _ in 0..4 {
            scope.spawn(move || assert_eq!(server.get("/loops").status, 504));
        }
        scope.spawn(move || {
            for _ in 0..10 {
                assert_eq!(server.get("/takes").status, 502);
            }
        });
        let running = "lampwick_guests_running{route=\"/loops\"}";
        server.until(|server| server.metric(running) == Some(4.0));
        // A client that takes nothing of an answer without end, until the guest's time is up.
        let mut stalled = server.connect();
        stalled.write_all(b"GET /slow HTTP/1.1\r\nhost: test\r\n\r\n").unwrap();
        assert_eq!(server.get("/loops").status, 503, "a fifth is too many");
        let mut slowest = Duration::ZERO;
        for _ in 0..50 {
            let began = Instant::now();
            assert_eq!(server.get("/hello").body, "hello\n");
            slowest = slowest.max(began.elapsed());
        }
        assert!(slowest < Duration::from_secs(2), "the slowest took {slowest:?}");
        let slow = "lampwick_guests_running{route=\"/slow\"}";
        server.until(|server| server.metric(slow) == Some(0.0));
    });
    let lost = server.metric("lampwick_requests_total{route=\"/hello\",status=\"200\"}");
    assert_eq!(lost, Some(50.0));
}
