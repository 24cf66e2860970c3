//! Making what a program sees.

use std::io::IsTerminal;
use std::path::Path;

use anyhow::{Context, Result};
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UdpSocket, UnixListener, UnixStream};

use crate::clocks::{Clocks, HostMonotonicClock, HostWallClock};
use crate::ctx::WasiCtx;
use crate::dir::Directory;
use crate::limits::WasiLimits;
use crate::lists::Strings;
use crate::perms::{self, DirPerms, FilePerms};
use crate::socket::{Listener, Listening, Socket, Stream};
use crate::stdio::{Input, Output, Reader, Writer};
use crate::table::{Descriptor, Kind, Table};

/// Makes a [`WasiCtx`], which by default has nothing: no arguments, no environment, no directory,
/// an empty standard input, and outputs that go nowhere. Clocks and random numbers are the
/// system's.
///
/// ```
/// # fn main() -> anyhow::Result<()> {
/// use lampwick_wasi::{DirPerms, FilePerms, MemoryOutputPipe, WasiCtxBuilder};
///
/// let data = tempfile::tempdir()?;
/// let output = MemoryOutputPipe::new(1 << 20);
/// let ctx = WasiCtxBuilder::new()
///     .args(&["prog.wasm", "-v"])
///     .env("LANG", "C")
///     .stdin(&b"some input"[..])
///     .stdout(output.clone())
///     .preopened_dir(data.path(), "/data", DirPerms::READ, FilePerms::READ)?
///     .build();
/// # Ok(())
/// # }
/// ```
pub struct WasiCtxBuilder {
    args: Vec<String>,
    env: Vec<String>,
    stdin: (Reader, bool),
    stdout: (Writer, bool),
    stderr: (Writer, bool),
    dirs: Vec<Descriptor>,
    sockets: Vec<Descriptor>,
    clocks: Clocks,
    random: Option<Box<dyn RngCore + Send + Sync>>,
    limits: WasiLimits,
}

impl Default for WasiCtxBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for WasiCtxBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WasiCtxBuilder")
            .field("args", &self.args)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl WasiCtxBuilder {
    /// A builder of what sees nothing.
    pub fn new() -> Self {
        Self {
            args: Vec::new(),
            env: Vec::new(),
            stdin: (Box::new(tokio::io::empty()), false),
            stdout: (Box::new(tokio::io::sink()), false),
            stderr: (Box::new(tokio::io::sink()), false),
            dirs: Vec::new(),
            sockets: Vec::new(),
            clocks: Clocks::new(),
            random: None,
            limits: WasiLimits::default(),
        }
    }

    /// Adds an argument. The first one is the program's name.
    ///
    /// # Panics
    ///
    /// Panics if it contains a zero byte, which no argument can.
    pub fn arg(&mut self, arg: impl AsRef<str>) -> &mut Self {
        self.args.push(without_zero(arg.as_ref()).to_owned());
        self
    }

    /// Adds arguments.
    ///
    /// # Panics
    ///
    /// Panics if one contains a zero byte.
    pub fn args(&mut self, args: &[impl AsRef<str>]) -> &mut Self {
        for arg in args {
            self.arg(arg);
        }
        self
    }

    /// Adds the host's own arguments, its program's name first.
    ///
    /// # Panics
    ///
    /// Panics if one is not Unicode.
    pub fn inherit_args(&mut self) -> &mut Self {
        self.args.extend(std::env::args());
        self
    }

    /// Adds a variable to the environment.
    ///
    /// # Panics
    ///
    /// Panics if the name or value contains a zero byte.
    pub fn env(&mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> &mut Self {
        let (name, value) = (without_zero(name.as_ref()), without_zero(value.as_ref()));
        self.env.push(format!("{name}={value}"));
        self
    }

    /// Adds variables to the environment.
    ///
    /// # Panics
    ///
    /// Panics if a name or value contains a zero byte.
    pub fn envs(&mut self, env: &[(impl AsRef<str>, impl AsRef<str>)]) -> &mut Self {
        for (name, value) in env {
            self.env(name, value);
        }
        self
    }

    /// Adds the host's own environment, but for what is not Unicode.
    pub fn inherit_env(&mut self) -> &mut Self {
        for (name, value) in std::env::vars_os() {
            if let (Some(name), Some(value)) = (name.to_str(), value.to_str()) {
                self.env(name, value);
            }
        }
        self
    }

    /// What the program reads as standard input. A `&'static [u8]` or a [`std::io::Cursor`] will do.
    pub fn stdin(&mut self, stdin: impl AsyncRead + Send + Sync + Unpin + 'static) -> &mut Self {
        self.stdin = (Box::new(stdin), false);
        self
    }

    /// Where standard output goes. It is flushed after each write of the program's.
    pub fn stdout(&mut self, stdout: impl AsyncWrite + Send + Sync + Unpin + 'static) -> &mut Self {
        self.stdout = (Box::new(stdout), false);
        self
    }

    /// Where standard error goes. It is flushed after each write of the program's.
    pub fn stderr(&mut self, stderr: impl AsyncWrite + Send + Sync + Unpin + 'static) -> &mut Self {
        self.stderr = (Box::new(stderr), false);
        self
    }

    /// Gives the program the host's own standard input.
    ///
    /// A thread of the runtime's blocking pool reads it. It may keep what comes after a program that
    /// was dropped while it waited, and a runtime that is dropped waits for it, unless by
    /// [`shutdown_background`](tokio::runtime::Runtime::shutdown_background).
    pub fn inherit_stdin(&mut self) -> &mut Self {
        self.stdin = (Box::new(tokio::io::stdin()), std::io::stdin().is_terminal());
        self
    }

    /// Gives the program the host's own standard output.
    pub fn inherit_stdout(&mut self) -> &mut Self {
        self.stdout = (Box::new(tokio::io::stdout()), std::io::stdout().is_terminal());
        self
    }

    /// Gives the program the host's own standard error.
    pub fn inherit_stderr(&mut self) -> &mut Self {
        self.stderr = (Box::new(tokio::io::stderr()), std::io::stderr().is_terminal());
        self
    }

    /// Gives the program all three of the host's own streams.
    pub fn inherit_stdio(&mut self) -> &mut Self {
        self.inherit_stdin().inherit_stdout().inherit_stderr()
    }

    /// Opens a directory of the host's, which the program finds as `guest_path`. It can name nothing
    /// outside of it, and do there no more than the permissions say.
    ///
    /// # Errors
    ///
    /// Fails if there is no such directory, or it cannot be opened.
    pub fn preopened_dir(
        &mut self,
        host_path: impl AsRef<Path>,
        guest_path: impl AsRef<str>,
        dir_perms: DirPerms,
        file_perms: FilePerms,
    ) -> Result<&mut Self> {
        let host_path = host_path.as_ref();
        let dir = Dir::open_ambient_dir(host_path, ambient_authority())
            .with_context(|| format!("cannot open the directory `{}`", host_path.display()))?;
        let guest_path = without_zero(guest_path.as_ref()).to_owned();
        let kind = Kind::Directory(Directory::new(dir, Some(guest_path)));
        let (base, inheriting) = perms::of_preopened(dir_perms, file_perms);
        let mut descriptor = Descriptor::new(kind, base);
        descriptor.inheriting = inheriting;
        self.dirs.push(descriptor);
        Ok(self)
    }

    /// Gives the program a socket on which it may accept connections. Its number follows those of
    /// the directories, in the order in which sockets are given.
    pub fn preopened_listener(&mut self, listener: TcpListener) -> &mut Self {
        self.listener(Listening::Tcp(listener))
    }

    /// As [`preopened_listener`](Self::preopened_listener), for connections on the same machine.
    pub fn preopened_unix_listener(&mut self, listener: UnixListener) -> &mut Self {
        self.listener(Listening::Unix(listener))
    }

    /// Gives the program a connection. Its number is as that of
    /// [`preopened_listener`](Self::preopened_listener).
    pub fn preopened_stream(&mut self, stream: TcpStream) -> &mut Self {
        self.connection(Socket::Tcp(stream))
    }

    /// As [`preopened_stream`](Self::preopened_stream), to a process on the same machine.
    pub fn preopened_unix_stream(&mut self, stream: UnixStream) -> &mut Self {
        self.connection(Socket::Unix(stream))
    }

    /// Gives the program a socket for datagrams, with a number as that of
    /// [`preopened_listener`](Self::preopened_listener).
    ///
    /// Preview 1 has no addresses: the socket must be [connected](UdpSocket::connect) to the one other
    /// end that the program is to talk with; where it is not, sending is `EDESTADDRREQ`. A datagram is
    /// sent and received by one call; one that is longer than
    /// [`WasiLimits::buffered_bytes`] cannot be sent, which is `EMSGSIZE`.
    pub fn preopened_datagrams(&mut self, socket: UdpSocket) -> &mut Self {
        self.connection(Socket::Udp(socket))
    }

    fn listener(&mut self, listener: Listening) -> &mut Self {
        let kind = Kind::Listener(Listener::new(listener));
        self.sockets.push(Descriptor::new(kind, perms::OF_LISTENERS));
        self
    }

    fn connection(&mut self, socket: Socket) -> &mut Self {
        let kind = Kind::Stream(Stream::new(socket));
        self.sockets.push(Descriptor::new(kind, perms::OF_SOCKETS));
        self
    }

    /// The clock by which the program measures time and waits.
    pub fn monotonic_clock(&mut self, clock: impl HostMonotonicClock + 'static) -> &mut Self {
        self.clocks.monotonic = Box::new(clock);
        self.clocks.monotonic_is_given = true;
        self
    }

    /// The clock that tells the program what it took of a processor: `CLOCK_PROCESS_CPUTIME_ID` and
    /// `CLOCK_THREAD_CPUTIME_ID`, which are one, since a program has one thread. Nobody waits for
    /// it, so that its [`sleep`](HostMonotonicClock::sleep) is not used.
    ///
    /// By default it is the [time on workers](lampwick::Caller::busy) where the engine keeps
    /// [accounts](lampwick::Config::accounts), and else the monotonic clock, as in C libraries for
    /// WASI: the time that went by is the most that a program can have used. Where the monotonic
    /// clock was replaced it is that one in any case, so that a run with clocks of its own is
    /// repeatable.
    pub fn cpu_clock(&mut self, clock: impl HostMonotonicClock + 'static) -> &mut Self {
        self.clocks.cpu = Some(Box::new(clock));
        self
    }

    /// The clock that tells the program the date.
    pub fn wall_clock(&mut self, clock: impl HostWallClock + 'static) -> &mut Self {
        self.clocks.wall = Box::new(clock);
        self
    }

    /// Where the program's random numbers come from. By default it is a generator of the kind that
    /// cryptography can rely on, with a seed from the system.
    pub fn secure_random(&mut self, random: impl RngCore + Send + Sync + 'static) -> &mut Self {
        self.random = Some(Box::new(random));
        self
    }

    /// What the program may ask for.
    pub fn limits(&mut self, limits: WasiLimits) -> &mut Self {
        self.limits = limits;
        self
    }

    /// Makes it. The builder is then as new.
    ///
    /// # Panics
    ///
    /// Panics if the limit of open files does not admit the three streams and what was preopened,
    /// or if the system has no random numbers.
    pub fn build(&mut self) -> WasiCtx {
        let Self { args, env, stdin, stdout, stderr, dirs, sockets, clocks, random, limits } =
            std::mem::take(self);
        let mut table = Table::new(limits.open_files);
        let input = Input::new(stdin.0, stdin.1, limits.buffered_bytes.min(8 << 10));
        let streams = [
            Descriptor::new(Kind::Input(input), perms::OF_INPUT),
            Descriptor::new(Kind::Output(Output::new(stdout.0, stdout.1)), perms::OF_OUTPUT),
            Descriptor::new(Kind::Output(Output::new(stderr.0, stderr.1)), perms::OF_OUTPUT),
        ];
        // Programs look for directories from 3 on, and end at what is none.
        for descriptor in streams.into_iter().chain(dirs).chain(sockets) {
            let fits = table.insert(descriptor);
            assert!(fits.is_ok(), "more is open from the start than {} files", limits.open_files);
        }
        let (args, env) = (Strings::new(args), Strings::new(env));
        let random = random.unwrap_or_else(|| Box::new(StdRng::from_os_rng()));
        WasiCtx { args, env, table, clocks, random, limits }
    }
}

fn without_zero(text: &str) -> &str {
    assert!(!text.contains('\0'), "a zero byte in {text:?}");
    text
}
