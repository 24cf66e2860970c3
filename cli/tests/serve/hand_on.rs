//! Local redirects: a program hands its request on to another path of the server.

use super::client::Server;
use crate::guests;

fn hands_on(to: &str) -> String {
    guests::says(&format!("Location: {to}\n\n"), 0)
}

#[test]
fn a_path_alone_is_answered_by_the_server() {
    let server = Server::new(&[
        ("old.wat", hands_on("/new/a%20b?x=1")),
        ("older.wat", hands_on("/old")),
        ("new.wat", guests::tells_environment("Content-Type: text/plain\n\n")),
    ]);
    let answer = server.send(
        "POST /older/p?q HTTP/1.1\r\nhost: test\r\ncontent-type: text/x\r\ncontent-length: 2\r\n\
         x-mine: kept\r\nconnection: close\r\n\r\nhi",
    );
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(!answer.head.contains("location"), "{answer:?}");
    let variables: Vec<&str> = answer.body.split_terminator('\0').collect();
    for variable in [
        "REQUEST_METHOD=GET",
        "SCRIPT_NAME=/new",
        "PATH_INFO=/a b",
        "QUERY_STRING=x=1",
        "HTTP_X_MINE=kept",
        "REQUEST_ID=00000001",
    ] {
        assert!(variables.contains(&variable), "{variable}: {variables:?}");
    }
    assert!(!answer.body.contains("CONTENT_"), "{variables:?}");
    server.until(|server| server.log().matches("handed on").count() == 2);
    assert_eq!(server.metric("lampwick_requests_total{route=\"/old\",status=\"302\"}"), Some(1.0));
}

#[test]
fn what_is_for_the_client_goes_to_the_client() {
    let server = Server::new(&[
        ("elsewhere.wat", hands_on("http://example.org/x")),
        ("status.wat", guests::says("Status: 303\nLocation: /new\n\n", 0)),
        ("typed.wat", guests::says("Content-Type: text/html\nLocation: /new\n\n", 0)),
    ]);
    for (path, status, to) in [
        ("/elsewhere", 302, "http://example.org/x"),
        ("/status", 303, "/new"),
        ("/typed", 302, "/new"),
    ] {
        let answer = server.get(path);
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.head.contains(&format!("location: {to}")), "{answer:?}");
    }
}

#[test]
fn handing_on_has_an_end_and_frees_its_places() {
    let config = "[defaults]\nguests = 1\ntime = \"2s\"\n\
        [[route]]\npath = \"/round\"\nprogram = \"round.wat\"\n\
        [[route]]\npath = \"/lost\"\nprogram = \"lost.wat\"\n\
        [[route]]\npath = \"/host\"\nprogram = \"host.wat\"\n\
        [[route]]\npath = \"/nonsense\"\nprogram = \"nonsense.wat\"\n\
        [[route]]\npath = \"/stays\"\nprogram = \"stays.wat\"\n\
        [[route]]\npath = \"/traps\"\nprogram = \"traps.wat\"\n";
    let server = Server::new(&[
        ("lampwick.toml", config.to_owned()),
        ("round.wat", hands_on("/round")),
        ("lost.wat", hands_on("/nowhere")),
        ("host.wat", hands_on("//example.org/x")),
        ("nonsense.wat", hands_on("/a b")),
        // They name a place, and do not end as they should.
        ("stays.wat", guests::loops("Location: /lost\n\n")),
        ("traps.wat", guests::traps("Location: /lost\n\n")),
    ]);
    for _ in 0..2 {
        assert_eq!(server.get("/round").status, 502);
        assert_eq!(server.get("/lost").status, 404);
        // No other host is meant by it.
        assert_eq!(server.get("/host").status, 404);
        assert_eq!(server.get("/nonsense").status, 502);
        assert_eq!(server.get("/traps").status, 502);
    }
    assert_eq!(server.get("/stays").status, 504);
    let round = "lampwick_guests_total{route=\"/round\",end=\"exited\"}";
    assert_eq!(server.metric(round), Some(22.0));
    let log = server.log();
    assert!(log.contains("the request was handed on too often"), "{log}");
    assert!(log.contains("`Location: /a b`"), "{log}");
}
