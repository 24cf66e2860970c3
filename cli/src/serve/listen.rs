//! Sockets: accepting connections, and ending when the server is told to.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;

use super::admin::{self, Admin};
use super::answer::{self, Server};
use super::request::Ends;
use crate::args::ServeArgs;
use crate::failure::Failure;
use crate::signals::Signals;

/// Bytes of a request's head, at the most as many again: so much is read at a time.
const HEAD_SIZE: usize = 64 << 10;

/// Connections of administrators at a time: whoever takes them all takes nothing from clients.
const ADMINS: usize = 64;

/// How long to wait where the system has no more connections to give.
const PAUSE: Duration = Duration::from_millis(100);

/// How often metrics are put in order.
const UPKEEP: Duration = Duration::from_secs(5);

/// Answers until a signal comes, and then what is under way.
pub(super) async fn serve(
    args: &ServeArgs,
    server: Arc<Server>,
    metrics: PrometheusHandle,
) -> Result<(), Failure> {
    let public = listen(args.listen).await?;
    let private = listen(args.admin).await?;
    let mut signals = Signals::new().map_err(Failure::other)?;
    announce(&public, &private, &server)?;
    let patience = args.client_timeout;
    let mut background = JoinSet::new();
    let admin = Arc::new(Admin::new(server.clone(), metrics.clone()));
    background.spawn(async move {
        let mut connections = JoinSet::new();
        let serve = |socket, _| {
            let admin = admin.clone();
            let service = service_fn(move |request| admin::answer(admin.clone(), request));
            let connection = http(patience).serve_connection(io(socket, patience), service);
            async move { drop(connection.await) }
        };
        accept(&private, ADMINS, &mut connections, serve).await;
    });
    background.spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            metrics.run_upkeep();
        }
    });
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let serve = |socket, ends: Ends| {
        let server = server.clone();
        let service = service_fn(move |request| answer::answer(server.clone(), ends, request));
        let connection = http(patience).serve_connection(io(socket, patience), service);
        let connection = graceful.watch(connection);
        async move {
            if let Err(error) = connection.await {
                let client = ends.client;
                tracing::debug!(%client, error = format!("{error:#}"), "the connection failed");
            }
        }
    };
    tokio::select! {
        () = accept(&public, args.connections.get(), &mut connections, serve) => {}
        _ = signals.next() => {}
    }
    drop(public);
    let grace = args.grace;
    tracing::info!(?grace, connections = connections.len(), "ending");
    tokio::select! {
        () = graceful.shutdown() => tracing::info!("all requests were answered"),
        () = tokio::time::sleep(grace) => tracing::warn!("the grace is over"),
        _ = signals.next() => tracing::warn!("told to end at once"),
    }
    connections.shutdown().await;
    Ok(())
}

/// Says where it serves, on the standard output, whatever is logged: a script that lets the system
/// choose ports reads them there.
fn announce(public: &TcpListener, private: &TcpListener, server: &Server) -> Result<(), Failure> {
    let address = |listener: &TcpListener| listener.local_addr().map_err(Failure::other);
    let (at, admin_at) = (address(public)?, address(private)?);
    let line = format!("serving http://{at}/, status and metrics at http://{admin_at}/\n");
    crate::print(line.as_bytes())?;
    for route in server.routes.iter() {
        tracing::info!(path = ?route.config.path, program = ?route.config.program, "route");
    }
    Ok(())
}

async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        let used = error.kind() == std::io::ErrorKind::AddrInUse;
        let failure =
            Failure::misuse(anyhow!(error).context(format!("cannot listen on {address}")));
        if !used {
            return failure;
        }
        failure.hint("another program has the port: `--listen` and `--admin` choose others")
    })
}

/// Accepts connections, so many at a time; others wait.
async fn accept<F: Future<Output = ()> + Send + 'static>(
    listener: &TcpListener,
    most: usize,
    connections: &mut JoinSet<()>,
    serve: impl Fn(TcpStream, Ends) -> F,
) {
    let places = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        let (socket, client) = accepted(listener).await;
        let Ok(server) = socket.local_addr() else { continue };
        let connection = serve(socket, Ends { client, server });
        connections.spawn(async move {
            connection.await;
            drop(place);
        });
    }
}

/// The next connection. That there are too many for the system ends by itself.
async fn accepted(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await.context("cannot accept a connection") {
            Ok((socket, client)) => {
                // Answers come in several writes, none of which is to wait for the others.
                let _ = socket.set_nodelay(true);
                return (socket, client);
            }
            Err(error) => {
                tracing::error!("{error:#}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// HTTP, for clients that send a head within this time, or another one on the same connection.
fn http(patience: Duration) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(patience).max_buf_size(HEAD_SIZE);
    builder
}

type Io = TokioIo<std::pin::Pin<Box<TimeoutStream<TcpStream>>>>;

/// A connection whose client must take some of what it is sent within this time.
fn io(socket: TcpStream, patience: Duration) -> Io {
    let mut socket = TimeoutStream::new(socket);
    socket.set_write_timeout(Some(patience));
    TokioIo::new(Box::pin(socket))
}
