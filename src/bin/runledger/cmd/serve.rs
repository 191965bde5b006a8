use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::{FalseyValueParser, TypedValueParser};
use runledger::Options;
use runledger::server::{App, Config, Level, Settings, serve};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::context::{self, Context};
use crate::exit::{Failure, Outcome, say};
use crate::writer;

/// Serve the ledger over HTTP until a signal says to stop
///
/// Programs are answered under /v1, as /openapi.json says; a browser is shown pages, from / on.
///
/// Each flag can be given as RUNLEDGER_… in the environment or, with underscores, in the file that
/// --config names; a flag goes before the environment, and that before the file. SIGTERM and SIGINT
/// let requests end, sync and close the ledger.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A TOML file with what the flags leave out
    #[arg(long, value_name = "FILE", env = "RUNLEDGER_CONFIG")]
    config: Option<PathBuf>,
    /// Address to listen on [default: 127.0.0.1:7878]
    #[arg(long, value_name = "ADDRESS", env = "RUNLEDGER_LISTEN")]
    listen: Option<SocketAddr>,
    /// Let in everyone on this machine, without tokens [env: RUNLEDGER_NO_AUTH]
    #[arg(long, conflicts_with_all = ["secret_file", "jwks_file"])]
    no_auth: bool,
    /// Take tokens signed by HS256 with the secret in this file [env: RUNLEDGER_SECRET_FILE]
    #[arg(long, value_name = "FILE", conflicts_with = "jwks_file")]
    secret_file: Option<PathBuf>,
    /// Take tokens signed by RS256, ES256 or EdDSA with a key of this JWKS document
    /// [env: RUNLEDGER_JWKS_FILE]
    #[arg(long, value_name = "FILE")]
    jwks_file: Option<PathBuf>,
    /// Take tokens of this issuer alone
    #[arg(long, value_name = "ISS", env = "RUNLEDGER_ISSUER")]
    issuer: Option<String>,
    /// Take tokens for this audience alone
    #[arg(long, value_name = "AUD", env = "RUNLEDGER_AUDIENCE")]
    audience: Option<String>,
    /// What an append reaches before its answer: sync, os or interval [default: interval]
    #[arg(long, value_name = "LEVEL", env = "RUNLEDGER_DURABILITY", value_parser = level)]
    durability: Option<Level>,
    /// How long a record's body may be, in bytes [default: 1 MiB]
    #[arg(long, value_name = "BYTES", env = "RUNLEDGER_MAX_BODY_BYTES")]
    max_body_bytes: Option<usize>,
    /// Seconds that a request may take to come, and one more for each 8,000 bytes [default: 10]
    #[arg(long, value_name = "S", env = "RUNLEDGER_READ_TIMEOUT_S")]
    read_timeout_s: Option<u64>,
    /// Requests at work in the ledger at a time [default: 64]
    #[arg(long, value_name = "N", env = "RUNLEDGER_WORKERS")]
    workers: Option<usize>,
    /// Connections that may be open at a time [default: 1024]
    #[arg(long, value_name = "N", env = "RUNLEDGER_CONNECTIONS")]
    connections: Option<usize>,
    /// Seconds that requests may take to end when it stops [default: 10]
    #[arg(long, value_name = "S", env = "RUNLEDGER_DRAIN_S")]
    drain_s: Option<u64>,
    /// How long a body of many records may be, in bytes [default: 64 MiB]
    #[arg(long, value_name = "BYTES", env = "RUNLEDGER_MAX_BULK_BYTES")]
    max_bulk_bytes: Option<usize>,
    /// Clients that may follow the ledger at a time [default: 256]
    #[arg(long, value_name = "N", env = "RUNLEDGER_FOLLOWERS")]
    followers: Option<usize>,
    /// Requests a second of one address; 0 for any number [default: 2000]
    #[arg(long, value_name = "N", env = "RUNLEDGER_RATE_PER_ADDRESS")]
    rate_per_address: Option<u32>,
    /// Requests a second of one user; 0 for any number [default: 1000]
    #[arg(long, value_name = "N", env = "RUNLEDGER_RATE_PER_USER")]
    rate_per_user: Option<u32>,
    /// Clean-ups a minute of one user; 0 for any number [default: 6]
    #[arg(long, value_name = "N", env = "RUNLEDGER_CLEANUPS_PER_MINUTE")]
    cleanups_per_minute: Option<u32>,
    /// Let pages of this origin ask, such as https://example.org; may be given several times
    #[arg(long, value_name = "ORIGIN", env = "RUNLEDGER_CORS", value_delimiter = ',')]
    cors: Vec<String>,
    /// Show /metrics without a token [env: RUNLEDGER_OPEN_METRICS]
    #[arg(long, value_name = "BOOL", value_parser = yes_or_no())]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    open_metrics: Option<bool>,
    /// Note each request as an event in the ledger, and each fault of the server as an error
    /// [env: RUNLEDGER_ACCESS_LOG]
    #[arg(long, value_name = "BOOL", value_parser = yes_or_no())]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    access_log: Option<bool>,
}

fn yes_or_no() -> FalseyValueParser {
    FalseyValueParser::new()
}

fn level(text: &str) -> Result<Level, String> {
    match text {
        "sync" => Ok(Level::Sync),
        "os" => Ok(Level::Os),
        "interval" => Ok(Level::Interval),
        _ => Err("expected sync, os or interval".to_owned()),
    }
}

impl Args {
    fn settings(&self) -> Settings {
        let mut settings = Settings::default();
        settings.listen = self.listen;
        settings.no_auth = self.no_auth.then_some(true);
        settings.secret_file.clone_from(&self.secret_file);
        settings.jwks_file.clone_from(&self.jwks_file);
        settings.issuer.clone_from(&self.issuer);
        settings.audience.clone_from(&self.audience);
        settings.durability = self.durability;
        settings.max_body_bytes = self.max_body_bytes;
        settings.read_timeout_s = self.read_timeout_s;
        settings.workers = self.workers;
        settings.connections = self.connections;
        settings.drain_s = self.drain_s;
        settings.max_bulk_bytes = self.max_bulk_bytes;
        settings.followers = self.followers;
        settings.rate_per_address = self.rate_per_address;
        settings.rate_per_user = self.rate_per_user;
        settings.cleanups_per_minute = self.cleanups_per_minute;
        settings.cors = (!self.cors.is_empty()).then(|| self.cors.clone());
        settings.open_metrics = self.open_metrics;
        settings.access_log = self.access_log;
        settings
    }
}

/// What the environment says of who may use the server, and of what is on or off. A flag goes
/// before it: clap would take two of them for a conflict, and an empty variable for one with a
/// value.
fn environment() -> Settings {
    let path = |name| context::variable(name).map(PathBuf::from);
    let is_on = |name| {
        let value = context::variable(name)?;
        yes_or_no().parse_ref(&clap::Command::new("serve"), None, &value).ok()
    };
    let mut settings = Settings::default();
    settings.no_auth = is_on("RUNLEDGER_NO_AUTH");
    settings.secret_file = path("RUNLEDGER_SECRET_FILE");
    settings.jwks_file = path("RUNLEDGER_JWKS_FILE");
    settings.open_metrics = is_on("RUNLEDGER_OPEN_METRICS");
    settings.access_log = is_on("RUNLEDGER_ACCESS_LOG");
    settings
}

pub(crate) fn run(args: &Args, ctx: &Context) -> Result<Outcome, Failure> {
    let refused = |err: runledger::server::ConfigError| Failure::Usage(err.to_string());
    let file = args.config.as_deref().map(Settings::read).transpose().map_err(refused)?;
    let settings = args.settings().over(environment()).over(file.unwrap_or_default());
    let config = Config::from_settings(settings).map_err(refused)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(config.workers + 8)
        .build()
        .map_err(|source| Failure::Io { what: "start threads".to_owned(), source })?;
    let ledger = Options::new().durability(config.durability).open(ctx.dir())?;
    writer::tell(&ledger);
    let app = App::new(ledger, config).map_err(refused)?;
    let left = runtime.block_on(listen(&app))?;
    if left > 0 {
        say(&format!("{left} connections were cut off"));
    }
    // Work that nobody waits for any more ends before the ledger is closed.
    drop(runtime);
    app.close()?;
    Ok(Outcome::Done)
}

/// Serves until a signal comes.
async fn listen(app: &App) -> Result<usize, Failure> {
    let address = app.config().listen;
    let failed = |what: String| move |source| Failure::Io { what, source };
    let mut term = signal(SignalKind::terminate()).map_err(failed("wait for signals".into()))?;
    let mut int = signal(SignalKind::interrupt()).map_err(failed("wait for signals".into()))?;
    let listener =
        TcpListener::bind(address).await.map_err(failed(format!("listen on {address}")))?;
    let address = listener.local_addr().map_err(failed(format!("listen on {address}")))?;
    let mut out = io::stdout();
    // Requests are served also where nobody reads that.
    let _ = writeln!(out, "listening on http://{address}").and_then(|()| out.flush());
    // Who is not started by systemd has nobody to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let stop = async {
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    };
    serve(app, listener, stop).await.map_err(failed(format!("serve on {address}")))
}
