//! Sockets: accepting connections, and ending when the server is told to.

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
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;

use super::admin::{self, Admin};
use super::answer::{self, Server};
use super::request::Ends;
use crate::args::ServeArgs;
use crate::failure::Failure;

/// The time that a client has for a request's head, and that a connection may be idle.
const HEAD: Duration = Duration::from_secs(30);

/// The time that a client may take nothing of its answer.
const STALLED: Duration = Duration::from_secs(30);

/// The longest head of a request, in bytes.
const HEAD_SIZE: usize = 64 << 10;

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
    let address = |listener: &TcpListener| listener.local_addr().map_err(Failure::other);
    let (at, admin_at) = (address(&public)?, address(&private)?);
    for route in server.routes.iter() {
        tracing::info!(path = ?route.config.path, program = ?route.config.program, "route");
    }
    tracing::info!("serving http://{at}/, status and metrics at http://{admin_at}/");
    let admin = Arc::new(Admin::new(server.clone(), metrics.clone()));
    let mut background = JoinSet::new();
    background.spawn(admins(private, admin));
    background.spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            metrics.run_upkeep();
        }
    });
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::other)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::other)?;
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    tokio::select! {
        () = accept(&public, args.connections.get(), &server, &graceful, &mut connections) => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    drop(public);
    let grace = args.grace;
    tracing::info!(?grace, connections = connections.len(), "ending");
    tokio::select! {
        () = graceful.shutdown() => tracing::info!("all requests were answered"),
        () = tokio::time::sleep(grace) => tracing::warn!("the grace is over"),
        _ = interrupt.recv() => tracing::warn!("told to end at once"),
        _ = terminate.recv() => tracing::warn!("told to end at once"),
    }
    connections.shutdown().await;
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

/// Accepts connections, so many at a time.
async fn accept(
    listener: &TcpListener,
    most: usize,
    server: &Arc<Server>,
    graceful: &GracefulShutdown,
    connections: &mut JoinSet<()>,
) {
    let places = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        let (socket, client) = accepted(listener).await;
        let Ok(local) = socket.local_addr() else { continue };
        let ends = Ends { client, server: local };
        let server = server.clone();
        let service = service_fn(move |request| answer::answer(server.clone(), ends, request));
        let connection = http().serve_connection(io(socket), service);
        let connection = graceful.watch(connection);
        connections.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%client, error = format!("{error:#}"), "the connection failed");
            }
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

/// Answers on the administrator's address.
async fn admins(listener: TcpListener, admin: Arc<Admin>) {
    let mut connections = JoinSet::new();
    loop {
        let (socket, _) = accepted(&listener).await;
        while connections.try_join_next().is_some() {}
        let admin = admin.clone();
        let service = service_fn(move |request| admin::answer(admin.clone(), request));
        connections.spawn(async move {
            let _ = http().serve_connection(io(socket), service).await;
        });
    }
}

fn http() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(HEAD_SIZE);
    builder
}

type Io = TokioIo<std::pin::Pin<Box<TimeoutStream<TcpStream>>>>;

/// A connection whose client must take what it is sent.
fn io(socket: TcpStream) -> Io {
    let mut socket = TimeoutStream::new(socket);
    socket.set_write_timeout(Some(STALLED));
    TokioIo::new(Box::pin(socket))
}
