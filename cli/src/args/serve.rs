//! Arguments of `lampwick serve`.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum, ValueHint};

use super::values::{MOST_WORKERS, duration};

/// Arguments of `lampwick serve`.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  lampwick serve --listen 127.0.0.1:8080 --admin 127.0.0.1:9090 site")]
#[command(
    after_long_help = "Each request runs a fresh instance of its route's program as CGI 1.1 does: variables of \
the request in the environment, its body on the standard input, headers and body of the answer on the standard \
output. What the program writes to its standard error is logged.

Routes and their limits are in DIR/lampwick.toml; without that file, DIR/NAME.wasm or NAME.wat answers /NAME:

  [defaults]            # for routes that do not say otherwise
  fuel = 1000000000     # units that a request may burn
  slice = 100000        # units after which others run
  memory = \"64MiB\"
  time = \"10s\"          # from the request's head to the end of the answer
  guests = 64           # requests at a time; more get status 503
  buffer = \"1MiB\"       # of a body without a length, see below

  [[route]]
  path = \"/hello\"       # this path, and all below it
  program = \"hello.wasm\"
  env = { LANG = \"C\" }
  dirs = [\"data::/data\"]
  write = false         # whether the program may write there
  time = \"2s\"

A body that comes in chunks, without a length, is read before its program begins, so that CONTENT_LENGTH can tell how \
long it is: one beyond `buffer` gets status 413, one that takes too long 408. With `buffer = \"0\"` the program begins at \
once, has no CONTENT_LENGTH, and reads to the end.

A program whose answer is the one header `Location`, with a path, hands its request on: the server answers as if it had \
been asked for that path with GET.

The status page is http://ADMIN/, what Prometheus reads http://ADMIN/metrics. The server ends at SIGINT or SIGTERM, \
when all requests that it has are answered.

Example:
  lampwick serve --listen 127.0.0.1:8080 --admin 127.0.0.1:9090 site"
)]
pub struct ServeArgs {
    /// The directory with the programs, and perhaps lampwick.toml
    #[arg(value_hint = ValueHint::DirPath)]
    pub dir: PathBuf,
    /// Where to answer requests; port 0 is any free one; the first line on the standard output
    /// names both addresses
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Where to answer with metrics and the status page
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
    pub admin: SocketAddr,
    /// How long requests may go on when the server is told to end
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub grace: Duration,
    /// How long a client may take for the head of a request, be idle between two, or take nothing
    /// of an answer, until its connection is closed
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub client_timeout: Duration,
    /// The most connections at a time; others wait
    #[arg(long, value_name = "COUNT", default_value = "1024")]
    pub connections: NonZeroUsize,
    /// Threads that programs run on [default: one for each processor]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=MOST_WORKERS))]
    pub workers: Option<u16>,
    /// What to log, on the standard error
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log: Level,
}

/// How much to log.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Level {
    /// What needs somebody's attention
    Error,
    /// Also requests that failed
    Warn,
    /// Also every request
    Info,
    /// Also what only developers of Lampwick want to know
    Debug,
}
