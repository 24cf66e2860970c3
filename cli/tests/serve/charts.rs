//! The status page in a browser.

use std::io::Write as _;
use std::process::Command;

use super::client::Server;
use crate::guests;

/// What the browser makes of the page after some seconds of its own time.
fn page(address: &str) -> String {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=8000"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(["--dump-dom", &format!("http://{address}/")])
        .output()
        .expect("Chromium is installed");
    String::from_utf8(output.stdout).unwrap()
}

/// The heights of the first line of a chart, as it was drawn.
fn heights(page: &str, chart: &str) -> Vec<String> {
    let (_, rest) = page.split_once(&format!("data-chart=\"{chart}\"")).expect("the chart");
    let (_, points) = rest.split_once("points=\"").expect("its line");
    let (points, _) = points.split_once('"').unwrap();
    points.split(' ').map(|point| point.split_once(',').unwrap().1.to_owned()).collect()
}

#[test]
#[ignore = "needs Chromium; CI has it and runs this"]
fn the_charts_move() {
    let config = "[[route]]\npath = \"/loops\"\nprogram = \"loops.wat\"\ntime = \"50s\"\n\
        fuel = 90000000000000\n";
    let loops = guests::loops("");
    let server = Server::new(&[("loops.wat", loops), ("lampwick.toml", config.to_owned())]);
    let mut stream = server.connect();
    stream.write_all(b"GET /loops HTTP/1.1\r\nhost: test\r\n\r\n").unwrap();
    server.until(|server| server.metric("lampwick_guests_running{route=\"/loops\"}") == Some(1.0));
    let page = page(server.admin_address());
    assert!(page.contains("1 of 64"), "{page}");
    let fuel = heights(&page, "fuel");
    assert!(fuel.len() > 3, "{fuel:?}");
    assert!(fuel.iter().any(|height| *height != fuel[0]), "{fuel:?}");
}
