//! Guests that do not answer as they should: the right status, the reason in the log, and nothing
//! else is affected.

use super::client::Server;
use crate::guests;

fn hello() -> (&'static str, String) {
    ("hello.wat", guests::says("Content-Type: text/plain\n\nhello\n", 0))
}

#[test]
fn failures_have_their_status_and_their_reason() {
    let config = |name: &str, more: &str| {
        format!("[[route]]\npath = \"/{name}\"\nprogram = \"{name}.wat\"\ntime = \"1s\"\n{more}\n")
    };
    let routes = [
        ("loops", guests::loops(""), "fuel = 9000000000000", 504, "its time, 1s, was up"),
        ("burns", guests::loops(""), "fuel = 100000", 504, "its fuel, 100000 units, was gone"),
        ("traps", guests::traps(""), "", 502, "wasm trap: unreachable"),
        ("mute", guests::says("", 0), "", 502, "no answer: its output ended after 0 bytes"),
        ("cut", guests::says("Content-Type: text/plain\n", 0), "", 502, "within the headers"),
        ("chats", guests::says("hello there\n\n", 0), "", 502, "it has no colon"),
        ("floods", guests::says_forever("X-A: 1\n"), "", 502, "more than 32768 bytes"),
        ("fails", guests::says("", 9), "", 502, "it exited with 9"),
        ("takes", guests::takes_memory(), "memory = \"1MiB\"", 502, "it exited with 16"),
        ("waits", guests::copies(""), "", 504, "its time, 1s, was up"),
    ];
    let mut files: Vec<(&str, String)> = vec![hello()];
    let names: Vec<String> = routes.iter().map(|it| format!("{}.wat", it.0)).collect();
    let mut document = config("hello", "");
    for ((name, program, more, ..), file) in routes.iter().zip(&names) {
        files.push((file, program.clone()));
        document += &config(name, more);
    }
    files.push(("lampwick.toml", document));
    let server = Server::new(&files);
    std::thread::scope(|scope| {
        for (name, _, _, status, reason) in &routes {
            let server = &server;
            scope.spawn(move || {
                // A body that never comes to an end is waited for in vain.
                let answer = server.send(&format!(
                    "POST /{name} HTTP/1.1\r\nhost: test\r\ncontent-length: 9\r\nconnection: close\r\n\r\n"
                ));
                assert_eq!(answer.status, *status, "{name}: {answer:?}");
                let path = format!("path=\"/{name}\"");
                let says = |line: &str| line.contains(&path) && line.contains(reason);
                server.until(|server| server.log().lines().any(says));
            });
        }
        for _ in 0..10 {
            assert_eq!(server.get("/hello").body, "hello\n");
        }
    });
    assert_eq!(server.get("/hello").body, "hello\n");
}

#[test]
fn an_answer_that_ends_early_is_not_taken_for_whole() {
    let text = "Content-Type: text/plain\n\nbegun";
    let server = Server::new(&[("traps.wat", guests::traps(text)), hello()]);
    let answer = server.get("/traps");
    assert_eq!((answer.status, &*answer.body, answer.whole), (200, "begun", false), "{answer:?}");
    server.until(|server| server.log().contains("the answer was cut"));
    assert_eq!(server.get("/hello").body, "hello\n");
}

#[test]
fn lies_about_the_length_stay_on_their_connection() {
    let long = guests::says("Content-Type: text/plain\nContent-Length: 3\n\nhello\n", 0);
    let short = guests::says("Content-Type: text/plain\nContent-Length: 99\n\nhello\n", 0);
    let server = Server::new(&[("long.wat", long), ("short.wat", short), hello()]);
    for path in ["/long", "/short"] {
        let answer = server.get(path);
        assert!(answer.body.len() <= 6, "{answer:?}");
        assert_eq!(server.get("/hello").body, "hello\n");
    }
}

#[test]
fn a_guest_that_complains_fills_no_log() {
    let server = Server::new(&[("shouts.wat", guests::complains("Content-Type: text/plain\n\n."))]);
    assert_eq!(server.get("/shouts").body, ".");
    server.until(|server| server.log().contains("answered"));
    let log = server.log();
    assert_eq!(log.matches("the guest says").count(), 100, "{log}");
    assert!(log.contains("no more of them are logged"), "{log}");
    // What it writes cannot pass for a terminal's commands.
    assert!(!log.contains('\u{1b}') && log.contains(r"\u{1b}"), "{log}");
}

#[test]
fn clients_that_go_away_end_their_guests() {
    let config = "[defaults]\ntime = \"50s\"\nfuel = 90000000000000\n\
        [[route]]\npath = \"/loops\"\nprogram = \"loops.wat\"\nguests = 1\n";
    let loops = guests::loops("Content-Type: text/plain\n\nbegun\n");
    let server = Server::new(&[("loops.wat", loops), ("lampwick.toml", config.to_owned())]);
    let running = "lampwick_guests_running{route=\"/loops\"}";
    for _ in 0..2 {
        let mut stream = server.connect();
        let request = b"GET /loops HTTP/1.1\r\nhost: test\r\n\r\n";
        std::io::Write::write_all(&mut stream, request).unwrap();
        server.until(|server| server.metric(running) == Some(1.0));
        assert_eq!(server.get("/loops").status, 503);
        drop(stream);
        server.until(|server| server.metric(running) == Some(0.0));
    }
}
