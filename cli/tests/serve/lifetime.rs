//! Beginning and ending.

use std::io::Write as _;

use rustix::process::Signal;

use super::client::{Answer, Server};
use crate::guests;
use crate::support::Workplace;

fn site(time: &str) -> Vec<(&'static str, String)> {
    let config =
        format!("[[route]]\npath = \"/echo\"\nprogram = \"echo.wat\"\ntime = \"{time}\"\n");
    vec![("echo.wat", guests::copies("Content-Type: text/plain\n\n")), ("lampwick.toml", config)]
}

const HEAD: &[u8] = b"POST /echo HTTP/1.1\r\nhost: test\r\ncontent-length: 4\r\n\r\nwi";

#[test]
fn what_is_under_way_is_answered_before_the_end() {
    for signal in [Signal::TERM, Signal::INT] {
        let server = Server::new(&site("50s"));
        let mut stream = server.connect();
        stream.write_all(HEAD).unwrap();
        let running = "lampwick_guests_running{route=\"/echo\"}";
        server.until(|server| server.metric(running) == Some(1.0));
        server.signal(signal);
        server.until(|server| server.log().contains("ending"));
        stream.write_all(b"ck").unwrap();
        let answer = Answer::read(stream);
        assert_eq!((answer.status, &*answer.body, answer.whole), (200, "wick", true), "{answer:?}");
        let (status, log) = server.wait();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(log.contains("all requests were answered"), "{log}");
    }
}

#[test]
fn the_grace_is_all_that_requests_get() {
    let server = Server::with_args(&site("50s"), &["--grace", "50ms"]);
    let mut stream = server.connect();
    stream.write_all(HEAD).unwrap();
    let running = "lampwick_guests_running{route=\"/echo\"}";
    server.until(|server| server.metric(running) == Some(1.0));
    server.signal(Signal::TERM);
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("the grace is over"), "{log}");
    assert!(!Answer::read(stream).whole);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let server = Server::with_args(&site("50s"), &["--grace", "50s"]);
    let mut stream = server.connect();
    stream.write_all(HEAD).unwrap();
    let running = "lampwick_guests_running{route=\"/echo\"}";
    server.until(|server| server.metric(running) == Some(1.0));
    server.signal(Signal::INT);
    server.until(|server| server.log().contains("ending"));
    // Nobody new is let in, and who is there may look how it goes.
    let closed = std::net::TcpStream::connect(server.address());
    assert!(closed.is_err(), "{closed:?}");
    assert_eq!(server.metric(running), Some(1.0));
    server.signal(Signal::INT);
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("told to end at once"), "{log}");
}

#[test]
fn addresses_are_told_whatever_is_logged() {
    let server = Server::with_args(&site("1s"), &["--log", "error"]);
    assert!(!server.address().ends_with(":0") && !server.admin_address().ends_with(":0"));
    server.signal(Signal::HUP);
    let (status, log) = server.wait();
    assert_eq!((status.code(), &*log), (Some(0), ""));
}

#[test]
fn a_directory_that_cannot_be_served_is_refused() {
    let hello = guests::says("Content-Type: text/plain\n\nhello\n", 0);
    let refused = |files: &[(&str, &str)], words: &[&str]| {
        let place =
            files.iter().fold(Workplace::new(), |place, (name, text)| place.with(name, text));
        let any = "127.0.0.1:0";
        place.run(&["serve", ".", "--listen", any, "--admin", any]).failed(2, words);
    };
    refused(&[], &["`.` has nothing to serve", "hint:"]);
    refused(&[("lampwick.toml", "[[rout]]")], &["lampwick.toml", "unknown field `rout`", "line 1"]);
    let route = "[[route]]\npath = \"/a\"\nprogram = \"a.wat\"\n";
    refused(&[("lampwick.toml", route)], &["cannot read", "a.wat"]);
    let library = "(module (func (export \"f\")))";
    refused(&[("lampwick.toml", route), ("a.wat", library)], &["is no program", "`_start`"]);
    let dirs = format!("{route}dirs = [\"gone::/gone\"]");
    refused(&[("lampwick.toml", &dirs), ("a.wat", &hello)], &["cannot open the directory", "gone"]);
    Workplace::new().run(&["serve", "gone"]).failed(2, &["cannot read `gone`", "No such file"]);
}

#[test]
fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let hello = guests::says("Content-Type: text/plain\n\nhello\n", 0);
    let place = Workplace::new().with("hello.wat", hello);
    let ran = place.run(&["serve", ".", "--listen", &address, "--admin", "127.0.0.1:0"]);
    ran.failed(2, &[&format!("cannot listen on {address}"), "in use", "hint:", "--listen"]);
}
