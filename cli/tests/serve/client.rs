//! A server in a directory of its own, and a client that can be slow, rude or early gone.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::Workplace;

/// Longer than anything here takes, so that a test which would hang fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that ends with the test.
pub(super) struct Server {
    child: Child,
    address: String,
    admin: String,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    _place: Workplace,
}

impl Server {
    /// Serves a directory with these files, and waits until it does.
    pub(super) fn new(files: &[(&str, String)]) -> Self {
        Self::with_args(files, &[])
    }

    pub(super) fn with_args(files: &[(&str, String)], more: &[&str]) -> Self {
        let place =
            files.iter().fold(Workplace::new(), |place, (name, text)| place.with(name, text));
        let any = "127.0.0.1:0";
        let args = [&["serve", "--listen", any, "--admin", any, "."], more].concat();
        let mut command = place.command(&args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Some((address, admin)) = addresses(&line) else {
            let ran = child.wait_with_output();
            panic!("it says {line:?} of where it serves: {ran:?}")
        };
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let copy = log.clone();
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut log = copy.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        Self { child, address, admin, log, reader: Some(reader), _place: place }
    }

    pub(super) fn connect(&self) -> TcpStream {
        connect(&self.address)
    }

    /// The answer to `GET`.
    pub(super) fn get(&self, path: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n"))
    }

    /// The answer to a request, on a connection of its own.
    pub(super) fn send(&self, request: &str) -> Answer {
        exchange(self.connect(), request)
    }

    /// The answer of the administrator's address.
    pub(super) fn admin(&self, path: &str) -> Answer {
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        exchange(connect(&self.admin), &request)
    }

    /// Where it serves.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// The administrator's address.
    pub(super) fn admin_address(&self) -> &str {
        &self.admin
    }

    /// The number of a metric, by its name and labels as they are written.
    pub(super) fn metric(&self, name: &str) -> Option<f64> {
        let metrics = self.admin("/metrics").body;
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        value.parse().ok()
    }

    /// Waits until this holds.
    pub(super) fn until(&self, holds: impl Fn(&Self) -> bool) {
        let began = std::time::Instant::now();
        while !holds(self) {
            assert!(began.elapsed() < PATIENCE, "it never held: {}", self.log.lock().unwrap());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(super) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end, and answers how it ended and its whole log.
    pub(super) fn wait(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
        (status, self.log())
    }

    /// Bytes of memory that it has.
    pub(super) fn resident(&self) -> usize {
        let path = format!("/proc/{}/statm", self.child.id());
        let pages = std::fs::read_to_string(path).unwrap();
        pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }

    /// How many files or threads it has, as the system lists them: `fd` or `task`.
    pub(super) fn count(&self, what: &str) -> usize {
        std::fs::read_dir(format!("/proc/{}/{what}", self.child.id())).unwrap().count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where it serves, and where the administrator is served, as the first line says.
fn addresses(line: &str) -> Option<(String, String)> {
    let (address, rest) = line.strip_prefix("serving http://")?.split_once('/')?;
    let (_, admin) = rest.split_once("http://")?;
    Some((address.to_owned(), admin.trim_end().trim_end_matches('/').to_owned()))
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn exchange(mut stream: TcpStream, request: &str) -> Answer {
    stream.write_all(request.as_bytes()).unwrap();
    Answer::read(stream)
}

/// What came back on a connection that the server closed then.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
    /// Whether all of the body came.
    pub(super) whole: bool,
}

impl Answer {
    pub(super) fn read(mut stream: TcpStream) -> Self {
        let mut bytes = Vec::new();
        // A server that cuts an answer may reset the connection.
        let _ = stream.read_to_end(&mut bytes);
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|it| it.parse().ok()).unwrap_or(0);
        let head = head.to_ascii_lowercase();
        let (body, whole) = match head.contains("transfer-encoding: chunked") {
            true => unchunk(body),
            false => (body.to_owned(), true),
        };
        Self { status, head, body, whole }
    }
}

fn unchunk(mut rest: &str) -> (String, bool) {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return (body, true);
        }
        let Some(chunk) = after.get(..size) else { break };
        body.push_str(chunk);
        rest = after.get(size + 2..).unwrap_or("");
    }
    (body, false)
}
