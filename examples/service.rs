//! A web service whose requests are runs: axum, with `TraceLayer` of tower-http for the spans.
//!
//! `cargo run --example service --features tracing [DIR [ADDRESS]]` serves on a port of its own,
//! asks itself three times, and shows what the ledger then holds. With an address, such as
//! `127.0.0.1:3000`, it serves there until it is stopped.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use axum::Router;
use axum::extract::Path;
use axum::http::{Request, StatusCode};
use axum::routing::get;
use runledger::embed::{LedgerLayer, OpenRuns, PanicHook, Recorder};
use runledger::{Body, Kind, Ledger};
use tokio::net::TcpListener;
use tower_http::trace::TraceLayer;
use tracing::{error, info, info_span};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let dir = std::env::args().nth(1).unwrap_or_else(|| "service-ledger".to_owned());
    let ledger = Ledger::open(dir)?;
    // Requests wait for no disk. The guard writes what waits when `main` ends.
    let (recorder, guard) = Recorder::queue().start(&ledger)?;
    // A task that panics does not end the service, nor the runs of others.
    let hook = PanicHook::new(&ledger).flushes(&recorder).open_runs(OpenRuns::Leave);
    let panics = hook.install();
    tracing_subscriber::registry()
        .with(LedgerLayer::new(recorder))
        .with(
            tracing_subscriber::fmt::layer()
                .with_filter(tracing_subscriber::filter::LevelFilter::WARN),
        )
        .init();

    let of_request = |request: &Request<axum::body::Body>| {
        let (method, path) = (request.method().as_str(), request.uri().path());
        info_span!("request", runledger.run = "http.request", method, path)
    };
    let app = Router::new()
        .route("/bookings/{id}", get(booking))
        .layer(TraceLayer::new_for_http().make_span_with(of_request));

    let address = std::env::args().nth(2);
    let listener = TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:0")).await?;
    let local = listener.local_addr()?;
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    match address {
        Some(address) => {
            println!("http://{address}/bookings/1042");
            tokio::signal::ctrl_c().await?;
        }
        None => tokio::task::spawn_blocking(move || ask(local)).await??,
    }
    server.abort();
    drop((guard, panics));
    show(&ledger)?;
    ledger.close()?;
    Ok(())
}

async fn booking(Path(id): Path<u32>) -> Result<String, StatusCode> {
    info!(name: "booking.read", booking = id);
    match id {
        0 => {
            error!(error.type = "NoSuchBooking", booking = id, "there is no booking 0");
            Err(StatusCode::NOT_FOUND)
        }
        _ => Ok(format!("booking {id}\n")),
    }
}

/// Asks for three bookings, of which there is one not.
fn ask(address: SocketAddr) -> Outcome<()> {
    for id in [1042, 0, 1043] {
        let mut stream = TcpStream::connect(address)?;
        write!(
            stream,
            "GET /bookings/{id} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )?;
        stream.read_to_string(&mut String::new())?;
    }
    Ok(())
}

fn show(ledger: &Ledger) -> Outcome<()> {
    for record in ledger.query().kind(Kind::Run).limit(3).fetch()?.records() {
        let Body::Run(run) = record?.body else { continue };
        let took = run.duration_nanos().unwrap_or(0) / 1000;
        let metadata = run.metadata.as_ref().map_or("", |json| json.as_str());
        println!("{} {} {took} us {metadata}", run.run_type, run.status);
        for record in
            ledger.query().kind(Kind::Event).run(&run.run_id.to_string()).fetch()?.records()
        {
            println!("    {}", record?.body.type_name());
        }
        if let Some(error) = run.error {
            println!("    {}", error.message);
        }
    }
    Ok(())
}
