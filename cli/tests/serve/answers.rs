//! Requests that guests answer as they should.

use std::io::Write as _;

use super::client::Server;
use crate::guests;

#[test]
fn a_program_answers_with_headers_and_a_body() {
    let text = "Status: 418 Teapot\nContent-Type: text/plain\nX-Wick: 1\n\nshort and stout\n";
    let server = Server::new(&[("tea.wat", guests::says(text, 0))]);
    let answer = server.get("/tea");
    assert_eq!((answer.status, &*answer.body), (418, "short and stout\n"), "{answer:?}");
    assert!(answer.head.contains("\r\nx-wick: 1"), "{answer:?}");
    assert!(answer.whole);
    assert_eq!(server.get("/teapot").status, 404);
    assert_eq!(server.get("/").status, 404);
}

#[test]
fn a_program_learns_of_its_request() {
    let config = r#"
        [[route]]
        path = "/app"
        program = "env.wat"
        env = { COLOR = "red" }
    "#;
    let program = guests::tells_environment("Content-Type: text/plain\n\n");
    let server = Server::new(&[("env.wat", program), ("lampwick.toml", config.to_owned())]);
    let answer = server.send(
        "POST /app/a%20b?q=1 HTTP/1.1\r\nhost: example.org\r\nx-two-words: yes\r\nproxy: evil\r\n\
         content-type: text/x\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi",
    );
    let variables: Vec<&str> = answer.body.split_terminator('\0').collect();
    for variable in [
        "COLOR=red",
        "CONTENT_LENGTH=2",
        "CONTENT_TYPE=text/x",
        "GATEWAY_INTERFACE=CGI/1.1",
        "HTTP_X_TWO_WORDS=yes",
        "PATH_INFO=/a b",
        "QUERY_STRING=q=1",
        "REMOTE_ADDR=127.0.0.1",
        "REQUEST_METHOD=POST",
        "SCRIPT_NAME=/app",
        "SERVER_NAME=example.org",
        "SERVER_PROTOCOL=HTTP/1.1",
    ] {
        assert!(variables.contains(&variable), "{variable}: {variables:?}");
    }
    assert!(!answer.body.contains("HTTP_PROXY"), "{variables:?}");
}

#[test]
fn a_body_that_nobody_reads_costs_nothing() {
    let hello = guests::says("Content-Type: text/plain\n\nhello\n", 0);
    let server = Server::new(&[("hello.wat", hello)]);
    let body = "x".repeat(1_000_000);
    let head = format!("POST /hello HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n", body.len());
    let mut stream = server.connect();
    stream.write_all(format!("{head}connection: close\r\n\r\n").as_bytes()).unwrap();
    // The server may have answered and closed before all of it is sent.
    let _ = stream.write_all(body.as_bytes());
    server.until(|server| server.log().contains("answered"));
    assert_eq!(server.get("/hello").body, "hello\n");
}

#[test]
fn each_request_has_a_fresh_instance() {
    let wat = guests::says("Content-Type: text/plain\n\n0\n", 0);
    // It counts in its memory, behind the headers.
    let wat = wat.replace(
        "(call $say)",
        "(i32.store8 (i32.const 42) (i32.add (i32.load8_u (i32.const 42)) (i32.const 1))) (call $say)",
    );
    let server = Server::new(&[("count.wat", wat)]);
    let answers: Vec<_> = (0..3).map(|_| server.get("/count").body).collect();
    assert_eq!(answers, ["1\n", "1\n", "1\n"]);
}
