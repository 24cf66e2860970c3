//! Good requests beside hostile guests, and many of them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
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

/// Sends requests on one connection, and checks each answer.
fn ask(stream: &mut TcpStream, count: usize) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    for _ in 0..count {
        stream.write_all(b"GET /hello HTTP/1.1\r\nhost: test\r\n\r\n").unwrap();
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert_eq!(line, "HTTP/1.1 200 OK\r\n");
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).unwrap();
        }
        let mut body = [0; 16];
        reader.read_exact(&mut body).unwrap();
        assert_eq!(&body, b"6\r\nhello\n\r\n0\r\n\r\n");
    }
}

#[test]
fn many_requests_leave_nothing_behind() {
    let server = Server::new(&site());
    let mut stream = server.connect();
    ask(&mut stream, 500);
    let before = server.resident();
    ask(&mut stream, 2_000);
    let grown = server.resident().saturating_sub(before);
    // A page of wasm for each would be 128 MiB.
    assert!(grown < 8 << 20, "it grew by {grown} bytes");
    let requests = server.metric("lampwick_requests_total{route=\"/hello\",status=\"200\"}");
    assert_eq!(requests, Some(2_500.0));
}
