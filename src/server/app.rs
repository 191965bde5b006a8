//! The service: what its handlers share, its routes, and what is done to every request.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::cors::CorsLayer;
use tower_http::decompression::RequestDecompressionLayer;
use utoipa_axum::router::OpenApiRouter;

use crate::error::Error;
use crate::ledger::Ledger;
use crate::server::access::Store;
use crate::server::access_log::{self, AccessLog, Fault};
use crate::server::auth::Gate;
use crate::server::config::{Config, ConfigError};
use crate::server::limits::Limits;
use crate::server::metrics::{self, Metrics};
use crate::server::once::{self, Answers};
use crate::server::pool::Pool;
use crate::server::problem::{self, Kind, MEDIA_TYPE, Problem};
use crate::server::{document, page, routes, unpack};

/// How many bytes the bodies that are held at a time may take, all together, and what bulks are
/// answered, of which as much may be kept.
pub(super) const MAX_BODIES: usize = (256 << 20) + once::MAX_BYTES;

/// What every handler is given. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Shared>);

struct Shared {
    store: Arc<Store>,
    gate: Gate,
    pool: Pool,
    config: Config,
    /// True once the server is to stop.
    stopping: watch::Sender<bool>,
    /// One for each that may follow.
    followers: Arc<Semaphore>,
    /// One for each KiB that bodies may take.
    bodies: Arc<Semaphore>,
    limits: Limits,
    answers: Answers,
    metrics: Metrics,
    /// Where it is asked for.
    access_log: Option<AccessLog>,
    forms: page::Forms,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("config", &self.0.config).finish_non_exhaustive()
    }
}

impl App {
    /// The service over this ledger.
    ///
    /// # Errors
    /// [`ConfigError::Keys`] when the keys cannot be read or used.
    pub fn new(ledger: Ledger, config: Config) -> Result<Self, ConfigError> {
        let metrics = Metrics::new();
        Ok(Self(Arc::new(Shared {
            store: Arc::new(Store::new(ledger, metrics.appended())),
            gate: Gate::new(&config)?,
            pool: Pool::new(config.workers),
            stopping: watch::Sender::new(false),
            followers: Arc::new(Semaphore::new(config.followers.min(Semaphore::MAX_PERMITS))),
            bodies: Arc::new(Semaphore::new(MAX_BODIES >> 10)),
            limits: Limits::new(&config.rates),
            answers: Answers::default(),
            metrics,
            access_log: config.access_log.then(AccessLog::default),
            forms: page::Forms::new(),
            config,
        })))
    }

    /// The routes, for a server of one's own or for a test without one.
    pub fn router(&self) -> Router {
        let (router, _) = api().split_for_parts();
        self.layered(router.merge(page::routes(self)).with_state(self.clone()))
    }

    /// Routes of one's own, handled as those of the server are: what they refuse becomes a problem,
    /// a panic in one is an answer, and bodies are compressed. Nobody is asked for a token there.
    pub fn layered(&self, routes: Router) -> Router {
        let (with, lost) = (self.clone(), self.clone());
        routes
            .route_layer(middleware::from_fn_with_state(with.clone(), once::once))
            .layer(middleware::from_fn_with_state(with.clone(), metrics::measure))
            .fallback(move |request: Request| async move { page::lost(&lost, &request) })
            .layer(RequestDecompressionLayer::new())
            .layer(middleware::from_fn(unpack::unpack))
            .layer(CompressionLayer::new())
            .layer(middleware::from_fn_with_state(with, bound))
            .layer(CatchPanicLayer::custom(panicked))
            .layer(middleware::from_fn(finish))
            .layer(self.cors())
            .layer(middleware::from_fn_with_state(self.clone(), access_log::note))
    }

    /// What pages of other origins may ask: nothing, unless they are named.
    fn cors(&self) -> CorsLayer {
        let origins = self.0.config.cors.iter();
        let origins: Vec<HeaderValue> = origins.filter_map(|it| it.parse().ok()).collect();
        if origins.is_empty() {
            return CorsLayer::new();
        }
        let asked = ["authorization", "content-type", "idempotency-key", "last-event-id"];
        let told = ["etag", "location", "retry-after", "idempotency-replayed"];
        CorsLayer::new()
            .allow_origin(origins)
            .allow_methods([Method::GET, Method::POST, Method::DELETE])
            .allow_headers(asked.map(HeaderName::from_static))
            .expose_headers(told.map(HeaderName::from_static))
            .max_age(Duration::from_secs(600))
    }

    /// Closes the ledger: what was appended is synced and sealed, and nothing is taken any more. To
    /// be called when no request is at work.
    ///
    /// # Errors
    /// As for [`Ledger::close`].
    pub fn close(&self) -> Result<(), Error> {
        self.stop();
        self.log();
        self.0.store.close()
    }

    /// Reads the keys anew when their file has changed, and forgets who has not asked for long.
    /// [`serve`](crate::server::serve) calls it every few seconds.
    pub fn tidy(&self) {
        self.0.gate.look();
        self.0.limits.tidy();
        self.0.answers.tidy();
        self.log();
    }

    /// Appends what is to be noted of the requests so far, where that is asked for.
    /// [`serve`](crate::server::serve) calls it several times a second.
    pub fn log(&self) {
        if let Some(log) = &self.0.access_log {
            self.0.store.log(log);
        }
    }

    pub(super) fn access_log(&self) -> Option<&AccessLog> {
        self.0.access_log.as_ref()
    }

    /// Ends the answers that would else go on for ever. [`serve`](crate::server::serve) calls it
    /// when it is to stop.
    pub fn stop(&self) {
        self.0.stopping.send_replace(true);
    }

    pub(super) fn stopping(&self) -> watch::Receiver<bool> {
        self.0.stopping.subscribe()
    }

    pub(super) fn appended(&self) -> watch::Receiver<()> {
        self.0.store.appended()
    }

    /// A place among those that follow.
    pub(super) fn follower(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.0.followers).try_acquire_owned().map_err(|_| {
            let detail = "too many follow the ledger already";
            Problem::new(Kind::Unavailable, detail).retry_after(10)
        })
    }

    /// Room for so many KiB of a body.
    pub(super) fn room_for_bodies(&self, kib: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let room = u32::try_from(kib).unwrap_or(u32::MAX);
        Arc::clone(&self.0.bodies).try_acquire_many_owned(room).map_err(|_| {
            let detail = "too much is being sent by all clients together";
            Problem::new(Kind::Unavailable, detail).retry_after(1)
        })
    }

    pub(super) fn store(&self) -> Arc<Store> {
        Arc::clone(&self.0.store)
    }

    pub(super) fn gate(&self) -> &Gate {
        &self.0.gate
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub(super) fn answers(&self) -> &Answers {
        &self.0.answers
    }

    pub(super) fn forms(&self) -> &page::Forms {
        &self.0.forms
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.0.pool
    }

    /// What the server was told.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.0.config
    }
}

/// The routes and the document that describes them, from one place.
pub(super) fn api() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(document::head()).merge(routes::all())
}

/// What is answered when a handler panics. The process goes on.
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
    let fault = Fault { what: text.to_owned(), is_panic: true };
    let told = "the request failed; others are not affected";
    let mut response = Problem::new(Kind::Internal, told).into_response();
    response.extensions_mut().insert(fault);
    response
}

/// Turns away who asks too often, before anything else is looked at.
async fn bound(State(app): State<App>, request: Request, next: Next) -> Response {
    let address = request.extensions().get::<ConnectInfo<SocketAddr>>();
    match address.map_or(Ok(()), |address| app.limits().address(address.0.ip())) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// The last that happens to every answer: a refusal of a layer below becomes a problem, and the
/// headers are set that keep a browser from doing more with it than show it.
async fn finish(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        let media = response.headers().get(header::CONTENT_TYPE);
        let is_page = response.extensions().get::<page::Shown>().is_some();
        if !is_page && media.is_none_or(|media| media != MEDIA_TYPE) {
            let kept = response.headers().get(header::ALLOW).cloned();
            response = problem::of_status(status).into_response();
            *response.status_mut() = status;
            if let Some(allow) = kept {
                response.headers_mut().insert(header::ALLOW, allow);
            }
        }
    }
    let headers = response.headers_mut();
    for (name, value) in SECURITY {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

const SECURITY: [(HeaderName, &str); 6] = [
    (header::CACHE_CONTROL, "private, no-cache"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];
