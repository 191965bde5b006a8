//! What the server has done, for Prometheus.

use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::server::app::App;
use crate::storage::{Disk, Storage};

/// The ends of the buckets of time, in seconds.
const BUCKETS: [f64; 11] = [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

/// Of which route a number is: as it stands in the document, never as it was asked for, so that
/// there are only so many.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    method: String,
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    method: String,
    route: String,
    status: u16,
}

/// The numbers.
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<Outcome, Counter>,
    seconds: Family<Route, Histogram, fn() -> Histogram>,
    at_work: Gauge,
    appended: Counter,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let requests = Family::default();
        let histogram: fn() -> Histogram = || Histogram::new(BUCKETS);
        let seconds = Family::new_with_constructor(histogram);
        let (at_work, appended) = (Gauge::default(), Counter::default());
        let mut registry = Registry::with_prefix("runledger");
        registry.register("http_requests", "Requests by route and status", requests.clone());
        registry.register_with_unit(
            "http_request_duration",
            "Time to the head of the answer",
            Unit::Seconds,
            seconds.clone(),
        );
        registry.register("http_requests_at_work", "Requests without an answer", at_work.clone());
        registry.register("records_appended", "Records appended over HTTP", appended.clone());
        Self { registry, requests, seconds, at_work, appended }
    }

    /// Counts the records that were appended.
    pub(super) fn appended(&self) -> Counter {
        self.appended.clone()
    }

    /// All numbers as text.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // A string takes what is written to it.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// Lowers the gauge also when the client goes away before the answer.
struct AtWork<'m>(&'m Gauge);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Counts a request and its time.
pub(super) async fn measure(State(app): State<App>, request: Request, next: Next) -> Response {
    let metrics = app.metrics();
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let method = match request.method().as_str() {
        known @ ("GET" | "HEAD" | "POST" | "DELETE" | "OPTIONS") => known.to_owned(),
        _ => "other".to_owned(),
    };
    let began = Disk.monotonic();
    metrics.at_work.inc();
    let response = {
        let _at_work = AtWork(&metrics.at_work);
        next.run(request).await
    };
    let took: Duration = Disk.monotonic().saturating_sub(began);
    let status = response.status().as_u16();
    let labels = Route { method: method.clone(), route: route.clone() };
    metrics.seconds.get_or_create(&labels).observe(took.as_secs_f64());
    metrics.requests.get_or_create(&Outcome { method, route, status }).inc();
    response
}
