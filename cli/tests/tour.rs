//! The tour in the README, command by command.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use crate::support::Workplace;

const README: &str = include_str!("../../README.md");

/// The tour as a script, and what it must print: the lines of its blocks that begin with `$`, with
/// what belongs to them, and the others.
fn tour() -> (String, Vec<&'static str>) {
    let (_, rest) = README.split_once("<!-- the tour begins -->").expect("a tour");
    let (tour, _) = rest.split_once("<!-- the tour ends -->").expect("its end");
    let (mut script, mut expected) = (String::new(), Vec::new());
    let (mut inside, mut document) = (false, false);
    for line in tour.lines() {
        let command = line.strip_prefix("$ ").filter(|_| inside && !document);
        match line {
            "```console" => inside = true,
            "```" => inside = false,
            _ if !inside => {}
            _ if document || command.is_some() => {
                script += command.unwrap_or(line);
                script.push('\n');
                document = (document && line != "END") || line.ends_with("<<'END'");
            }
            line => expected.push(line),
        }
    }
    (script, expected)
}

fn free_address() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

#[test]
fn the_tour_does_what_it_shows() {
    let (script, expected) = tour();
    assert!(expected.contains(&"504 Gateway Timeout"), "the tour was not read: {script}");
    // The usual ports may be taken here. Both are held until both are known, so that they differ.
    let (public, admin) = (free_address(), free_address());
    let here =
        |text: &str| text.replace("127.0.0.1:8080", &public.1).replace("127.0.0.1:9090", &admin.1);
    let script = here(&script);
    let expected: Vec<String> = expected.into_iter().map(here).collect();
    drop((public, admin));
    let place = Workplace::new();
    let built = Path::new(env!("CARGO_BIN_EXE_lampwick")).parent().unwrap();
    let path = std::env::var("PATH").unwrap();
    // CI has the command installed, as the tour has.
    let installed = std::env::split_paths(&path).any(|dir| dir.join("lampwick").is_file());
    let path = if installed { path } else { format!("{}:{path}", built.display()) };
    let output = Command::new("bash")
        .args(["-e", "-m", "-c", &script])
        .current_dir(place.dir())
        .env("PATH", path)
        .output()
        .expect("there is a shell");
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    let mut lines = stdout.lines();
    for line in expected {
        assert!(lines.any(|it| it == line), "{line} does not follow in {stdout}\n{stderr}");
    }
}
