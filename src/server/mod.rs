//! The REST server: the ledger over HTTP, for programs in other languages and on other machines.
//!
//! [`App`] is the service, [`serve`] its connections. The routes are described by the OpenAPI
//! document that they are made from, at `/openapi.json`. Who asks shows a bearer token, and sees
//! the records of its own user and projects alone; nothing of the ledger is reached but through
//! `access`, which sees to that. `page` shows the same to people with a browser, who are let in by
//! the same tokens.
//!
//! ```
//! use runledger::Ledger;
//! use runledger::server::{App, Auth, Config, serve};
//! # let dir = tempfile::tempdir()?;
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(async {
//! let ledger = Ledger::open(dir.path().join("ledger"))?;
//! let app = App::new(ledger, Config::new(Auth::Off))?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let stop = async { /* until a signal comes */ };
//! serve(&app, listener, stop).await?;
//! app.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod access;
mod access_log;
mod app;
mod auth;
mod config;
mod document;
mod input;
mod limits;
mod listen;
mod metrics;
mod once;
mod otlp;
mod pace;
mod page;
mod pool;
mod problem;
mod reply;
mod routes;
mod shape;
mod stream;
mod unpack;
mod words;

pub use app::App;
pub use auth::{Minted, Scope, mint};
pub use config::{Auth, Config, ConfigError, Level, Rates, Settings, Tokens};
pub use listen::serve;
pub use page::{Links, Report};
