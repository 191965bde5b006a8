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
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tower::ServiceExt;

use crate::server::app::App;
use crate::server::pace::{self, Paced};

/// The most that a connection may hold of a request's headers, in bytes.
const MAX_HEADERS: usize = 32 << 10;

/// How many bytes of an answer the system is given ahead of those that it can send. It takes more
/// when half of them went, and else when a third did of megabytes, which may take minutes.
const AHEAD: u32 = 128 << 10;

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
        tune(&stream);
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

/// How the system is to treat a connection. What it cannot be told it does in its own way.
fn tune(stream: &TcpStream) {
    // An answer is not held back for more to come; where that cannot be said it is only later.
    let _ = stream.set_nodelay(true);
    // One who is gone is given up. The system takes one who reads slowly into a small window for
    // gone, too, so that it is given long: the pace is judged above it.
    let patience = u32::try_from((pace::PATIENCE * 10).as_millis()).unwrap_or(u32::MAX);
    let _ = rustix::net::sockopt::set_tcp_user_timeout(stream, patience);
    // What it has taken is on its way, or is soon: its pace is the client's.
    let _ = SockRef::from(stream).set_tcp_notsent_lowat(AHEAD);
}

/// The HTTP of one connection.
fn connection<S: AsyncRead + AsyncWrite + Unpin>(
    http: &http1::Builder,
    router: &Router,
    stream: S,
    address: SocketAddr,
) -> http1::Connection<TokioIo<Paced<S>>, impl HyperService + use<S>> {
    let router = router.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let router = router.clone();
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(address));
            let answer = router.oneshot(request).await;
            answer.map(|answer| answer.map(pace::in_pieces))
        }
    });
    http.serve_connection(TokioIo::new(Paced::new(stream)), service)
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::Instant;

    use super::*;
    use crate::ledger::Ledger;
    use crate::server::app::MAX_BODIES;
    use crate::server::{Auth, Config};

    /// How a client takes an answer of some 2 MB, after its first megabyte: so many bytes, each
    /// time that so much time went by.
    struct Taking {
        bytes: usize,
        every: Duration,
    }

    /// Takes the answer of a bulk in this way, and gives how long that took and whether it is
    /// whole. After ten minutes it is left.
    async fn take(app: &App, taking: Taking) -> (Duration, bool) {
        let (mut client, server) = duplex(64 << 10);
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let http = http1::Builder::new();
        let serving = tokio::spawn(connection(&http, &app.router(), server, address));
        let head = "POST /v1/bulk HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                    Content-Type: application/x-ndjson\r\nContent-Length: 20000\r\n\r\n";
        client.write_all(head.as_bytes()).await.unwrap();
        client.write_all("x\n".repeat(10_000).as_bytes()).await.unwrap();
        client.read_exact(&mut vec![0; 1 << 20]).await.unwrap();
        assert!(app.room_for_bodies(MAX_BODIES >> 10).is_err(), "the answer has no room");
        tokio::time::pause();
        let begun = Instant::now();
        let mut end = Vec::new();
        while !serving.is_finished() && begun.elapsed() < Duration::from_secs(600) {
            tokio::time::sleep(taking.every).await;
            take_some(&mut client, taking.bytes, &mut end).await;
        }
        let taken = begun.elapsed();
        tokio::time::resume();
        serving.abort();
        client.read_to_end(&mut end).await.unwrap();
        (taken, serving.await.is_ok_and(|served| served.is_ok()))
    }

    async fn take_some(client: &mut DuplexStream, bytes: usize, end: &mut Vec<u8>) {
        let mut some = client.take(bytes as u64);
        some.read_to_end(end).await.unwrap();
    }

    /// A client that took much of an answer fast had earned time by it, in which it could hold the
    /// rest with a byte now and then; and a write that waits was not judged at all.
    #[test]
    fn an_answer_is_held_no_longer_than_its_client_keeps_pace() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path().join("ledger")).unwrap();
        let app = App::new(ledger, Config::new(Auth::Off)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let second = Duration::from_secs(1);
        for (bytes, every, keeps_pace) in [
            (0, second, false),
            (1000, second, false),
            // A byte just before it would be given up.
            (1, second * 59, false),
            (10_000, second, true),
            // As the system has it: nothing for long, and then much.
            (400_000, second * 40, true),
        ] {
            let (taken, is_whole) = runtime.block_on(take(&app, Taking { bytes, every }));
            assert_eq!(is_whole, keeps_pace, "{bytes} each {every:?}: {taken:?}");
            assert!(keeps_pace || taken < second * 120, "{bytes} each {every:?}: {taken:?}");
            assert!(app.room_for_bodies(MAX_BODIES >> 10).is_ok(), "{bytes} each {every:?}");
        }
    }

    /// A client that reads nothing had megabytes taken for it, of which a third was to be read
    /// before the system took more: one that kept pace would have seemed to take nothing.
    #[test]
    fn the_system_takes_little_ahead_of_the_client() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            tune(&stream);
            let mut taken = 0;
            // Once nothing is taken for a second, there is no more room.
            let second = Duration::from_secs(1);
            while tokio::time::timeout(second, stream.writable()).await.is_ok() {
                taken += stream.try_write(&[b'x'; 32 << 10]).unwrap_or_default();
            }
            assert!((1..1 << 20).contains(&taken), "{taken}");
        });
    }
}
