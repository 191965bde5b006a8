//! Connections: accepted one by one, bounded in number and in patience, and drained at the end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tower::ServiceExt;

use crate::server::app::App;
use crate::server::pace;

/// The most that a connection may hold of a request's headers, in bytes.
const MAX_HEADERS: usize = 32 << 10;

/// How long a client may take nothing of an answer.
const TAKES_NOTHING: Duration = Duration::from_secs(60);

/// How long to wait when the system gives no more connections.
const PAUSE: Duration = Duration::from_millis(100);

/// How often the key file is looked at for a change.
const TIDY: Duration = Duration::from_secs(5);

/// How long requests wait to be noted in the ledger.
const LOG: Duration = Duration::from_millis(200);

/// Serves the routes on this listener until `stop` is done; then no connection is taken any more,
/// and those that are open are given [`Config::drain`](crate::server::Config::drain) to end what
/// they are at. The ledger stays open: [`App::close`] closes it.
///
/// Gives how many connections were cut off because they did not end in time.
///
/// # Errors
/// Those of the listener's socket.
pub async fn serve(
    app: &App,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) -> io::Result<usize> {
    let router = app.router();
    let config = app.config();
    let connections = Arc::new(Semaphore::new(config.connections.min(Semaphore::MAX_PERMITS)));
    let graceful = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(config.read_timeout)
        .max_buf_size(MAX_HEADERS);
    let upkeep = tokio::spawn(tidy(app.clone()));
    let log = config.access_log.then(|| tokio::spawn(log(app.clone())));
    let mut tasks = tokio::task::JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        while tasks.try_join_next().is_some() {}
        let permit = tokio::select! {
            () = &mut stop => break,
            permit = Arc::clone(&connections).acquire_owned() => permit.map_err(io::Error::other)?,
        };
        let (stream, address) = tokio::select! {
            () = &mut stop => break,
            taken = listener.accept() => match taken {
                Ok(taken) => taken,
                // A connection that is gone already, or too many open files.
                Err(_) => {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
        };
        let serving = graceful.watch(connection(&http, &router, stream, address));
        tasks.spawn(async move {
            // What breaks a connection is its client's affair.
            let _ = serving.await;
            drop(permit);
        });
    }
    drop(listener);
    upkeep.abort();
    log.iter().for_each(tokio::task::JoinHandle::abort);
    app.stop();
    // What is still open after that is cut off.
    let _ = tokio::time::timeout(config.drain, graceful.shutdown()).await;
    while tasks.try_join_next().is_some() {}
    let left = tasks.len();
    tasks.shutdown().await;
    Ok(left)
}

/// The HTTP of one connection.
fn connection(
    http: &http1::Builder,
    router: &Router,
    stream: TcpStream,
    address: SocketAddr,
) -> http1::Connection<TokioIo<TcpStream>, impl HyperService + use<>> {
    // An answer is not held back for more to come; where that cannot be said it is only later.
    let _ = stream.set_nodelay(true);
    // One who takes nothing of an answer is given up; else it is by the system's own patience.
    let patience = u32::try_from(TAKES_NOTHING.as_millis()).unwrap_or(u32::MAX);
    let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, patience);
    let router = router.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let router = router.clone();
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(address));
            let answer = router.oneshot(request).await;
            answer.map(|answer| answer.map(|body| pace::paced(body, pace::PATIENCE)))
        }
    });
    http.serve_connection(TokioIo::new(stream), service)
}

/// A service of hyper's that answers with axum's bodies.
trait HyperService:
    hyper::service::Service<
        Request<Incoming>,
        Response = Response<Body>,
        Error = Infallible,
        Future: Send,
    >
{
}

impl<S> HyperService for S where
    S: hyper::service::Service<
            Request<Incoming>,
            Response = Response<Body>,
            Error = Infallible,
            Future: Send,
        >
{
}

async fn log(app: App) {
    loop {
        tokio::time::sleep(LOG).await;
        let app = app.clone();
        // What panics here has lost what it was to note.
        let _ = tokio::task::spawn_blocking(move || app.log()).await;
    }
}

async fn tidy(app: App) {
    loop {
        tokio::time::sleep(TIDY).await;
        let app = app.clone();
        // A look that panics is one that found nothing.
        let _ = tokio::task::spawn_blocking(move || app.tidy()).await;
    }
}
