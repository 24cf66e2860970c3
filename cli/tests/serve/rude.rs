//! Clients that take what they can get: connections, time, the server's patience with their heads.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::client::Server;
use crate::guests;

fn site() -> Vec<(&'static str, String)> {
    vec![("hello.wat", guests::says("Content-Type: text/plain\n\nhello\n", 0))]
}

/// Whether the server closed the connection, which it has to before long.
fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn heads_that_come_slowly_lose_their_connection() {
    let args = ["--client-timeout", "300ms", "--connections", "2"];
    let server = Server::with_args(&site(), &args);
    let begin = |words: &[u8]| {
        let mut stream = server.connect();
        stream.write_all(words).unwrap();
        stream
    };
    // They take all connections that there are: one says nothing, one never comes to the end.
    let mut silent = begin(b"");
    let slow = begin(b"GET /hello HTTP/1.1\r\n");
    let mut writer = slow.try_clone().unwrap();
    let drip = std::thread::spawn(move || {
        while writer.write_all(b"x: y\r\n").is_ok() {
            // The client's own pace, which nothing depends on.
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    assert_eq!(server.get("/hello").body, "hello\n");
    assert!(is_closed(&mut silent));
    drip.join().unwrap();
    drop(slow);
    // Nor is one kept for ever that was used once.
    let mut used = begin(b"GET /hello HTTP/1.1\r\nhost: test\r\n\r\n");
    assert!(is_closed(&mut used));
}

#[test]
fn heads_are_only_so_long() {
    let server = Server::new(&site());
    let get = |more: &str| {
        server.send(&format!("GET /hello HTTP/1.1\r\nhost: t\r\n{more}connection: close\r\n\r\n"))
    };
    assert_eq!(get(&format!("x-long: {}\r\n", "y".repeat(30_000))).status, 200);
    assert_eq!(get(&format!("x-long: {}\r\n", "y".repeat(150_000))).status, 431);
    assert_eq!(get(&"x: y\r\n".repeat(1_000)).status, 431);
    let long = format!("GET /{} HTTP/1.1\r\nhost: t\r\n\r\n", "y".repeat(150_000));
    assert!(matches!(server.send(&long).status, 414 | 431));
    assert_eq!(server.send("nonsense\r\n\r\n").status, 400);
    assert_eq!(get("").body, "hello\n");
}

#[test]
fn administrators_have_so_many_connections_at_a_time() {
    let server = Server::new(&site());
    let admin = || TcpStream::connect(server.admin_address()).unwrap();
    let held: Vec<_> = (0..64).map(|_| admin()).collect();
    let mut next = admin();
    next.write_all(b"GET / HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n").unwrap();
    // It is not answered for as long as those before it are there, and clients are.
    next.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut first = [0; 12];
    assert_eq!(next.read(&mut first).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    assert_eq!(server.get("/hello").body, "hello\n");
    drop(held);
    next.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    next.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
}

#[test]
fn reasons_have_the_id_that_the_guest_was_told() {
    let env = guests::tells_environment("Content-Type: text/plain\n\n");
    let server = Server::new(&[("env.wat", env), ("traps.wat", guests::traps(""))]);
    let id = |answer: &str| {
        let id = answer.split_terminator('\0').find_map(|it| it.strip_prefix("REQUEST_ID="));
        id.expect("it is among the variables").to_owned()
    };
    let first = id(&server.get("/env").body);
    assert_eq!(server.get("/traps").status, 502);
    let third = id(&server.get("/env").body);
    let failed = u64::from_str_radix(&first, 16).unwrap() + 1;
    assert_eq!(u64::from_str_radix(&third, 16).unwrap(), failed + 1);
    server.until(|server| server.log().matches("answered").count() == 2);
    let log = server.log();
    let reason = log.lines().find(|line| line.contains("unreachable")).unwrap();
    assert!(reason.contains(&format!("id={failed:08x}")), "{reason}");
    assert!(log.lines().any(|line| line.contains("answered") && line.contains(&first)), "{log}");
}
