//! Bodies of requests: how long they are said to be, and what becomes of those that do not say.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use super::client::{Answer, Server};
use crate::guests;

const CHUNKED: &str =
    "HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\nconnection: close\r\n";

fn site(limits: &str) -> Vec<(&'static str, String)> {
    let config = format!(
        "[defaults]\n{limits}\n[[route]]\npath = \"/env\"\nprogram = \"env.wat\"\n\
         [[route]]\npath = \"/echo\"\nprogram = \"echo.wat\"\n"
    );
    vec![
        ("lampwick.toml", config),
        ("env.wat", guests::tells_environment("Content-Type: text/plain\n\n")),
        ("echo.wat", guests::copies("Content-Type: text/plain\n\n")),
    ]
}

#[test]
fn every_body_has_a_length() {
    let server = Server::new(&site(""));
    let length = |request: String| {
        let answer = server.send(&request);
        assert_eq!(answer.status, 200, "{answer:?}");
        let variables: Vec<_> = answer.body.split_terminator('\0').map(str::to_owned).collect();
        variables.into_iter().find_map(|it| Some(it.strip_prefix("CONTENT_LENGTH=")?.to_owned()))
    };
    let chunks = "\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    assert_eq!(length(format!("POST /env {CHUNKED}{chunks}")).as_deref(), Some("5"));
    assert_eq!(length(format!("POST /env {CHUNKED}\r\n0\r\n\r\n")).as_deref(), Some("0"));
    let plain = "HTTP/1.1\r\nhost: test\r\nconnection: close\r\n";
    let with = |length: &str| format!("POST /env {plain}content-length: {length}\r\n\r\nhi");
    assert_eq!(length(with("2")).as_deref(), Some("2"));
    assert_eq!(length(format!("GET /env {plain}\r\n")), None);
    // Two lengths: the client's word is not taken for it.
    let answer = server.send(&format!("POST /env {CHUNKED}content-length: 99\r\n{chunks}"));
    assert!(!answer.body.contains("CONTENT_LENGTH=99"), "{answer:?}");
    // What was kept is what is read.
    let answer = server.send(&format!("POST /echo {CHUNKED}{chunks}"));
    assert_eq!(answer.body, "abcde");
}

#[test]
fn only_so_much_is_kept() {
    let server = Server::new(&site("buffer = \"10\""));
    let send = |chunk: &str| {
        let len = chunk.len();
        server.send(&format!("POST /echo {CHUNKED}\r\n{len:x}\r\n{chunk}\r\n0\r\n\r\n"))
    };
    assert_eq!(send("ten of ten").body, "ten of ten");
    let answer = send("eleven long");
    assert_eq!(answer.status, 413, "{answer:?}");
    let reason = "its body has no length, and more than 10 bytes";
    server.until(|server| server.log().contains(reason));
    // One that is never whole takes no guest, and not for ever a place.
    let server = Server::new(&site("time = \"2s\"\nguests = 1"));
    let mut stream = server.connect();
    stream.write_all(format!("POST /echo {CHUNKED}\r\n3\r\nabc\r\n").as_bytes()).unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 408");
    assert_eq!(server.metric("lampwick_guests_total{route=\"/echo\",end=\"exited\"}"), None);
    drop(stream);
    assert_eq!(send_to(&server), "abc");
    // A client that is gone in the midst of it leaves its place, too.
    let mut stream = server.connect();
    stream.write_all(format!("POST /echo {CHUNKED}\r\n3\r\nab").as_bytes()).unwrap();
    drop(stream);
    server.until(|server| server.send(&whole()).status == 200);
}

fn whole() -> String {
    format!("POST /echo {CHUNKED}\r\n3\r\nabc\r\n0\r\n\r\n")
}

fn send_to(server: &Server) -> String {
    server.send(&whole()).body
}

#[test]
fn bodies_go_both_ways_while_they_come() {
    let server = Server::new(&site("buffer = \"0\""));
    let mut stream = server.connect();
    stream.write_all(format!("POST /echo {CHUNKED}\r\n3\r\nabc\r\n").as_bytes()).unwrap();
    // The guest's first words are here before the request is whole.
    let mut first = [0; 15];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    // As much as pipes do not hold, so that guest and client must take turns.
    let chunk = "x".repeat(10_000);
    let mut writer = stream.try_clone().unwrap();
    let sent = std::thread::spawn(move || {
        for _ in 0..100 {
            write!(writer, "{:x}\r\n{chunk}\r\n", chunk.len()).unwrap();
        }
        writer.write_all(b"0\r\n\r\n").unwrap();
    });
    let answer = Answer::read(stream);
    sent.join().unwrap();
    assert!(answer.whole);
    assert_eq!(answer.body.len(), 3 + 1_000_000);
    let chunks = "\r\n3\r\nabc\r\n0\r\n\r\n";
    let answer = server.send(&format!("POST /env {CHUNKED}content-length: 9\r\n{chunks}"));
    assert!(!answer.body.contains("CONTENT_LENGTH"), "{answer:?}");
}

#[test]
fn a_client_may_ask_first_whether_its_body_is_wanted() {
    let server = Server::new(&site(""));
    let mut stream = server.connect();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let head = format!("POST /echo {CHUNKED}expect: 100-continue\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut line = [0; 25];
    stream.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"2\r\nok\r\n0\r\n\r\n").unwrap();
    assert_eq!(Answer::read(stream).body, "ok");
}
