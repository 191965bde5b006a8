//! What the server was asked, and how it failed, in the ledger itself.
//!
//! A request is noted when it is answered, and appended a moment later, with others, off its path:
//! nobody waits for it. What comes faster than it can be appended is dropped, and counted.

use std::collections::VecDeque;
use std::time::Duration;

use axum::body::HttpBody;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;
use parking_lot::Mutex;
use serde::Serialize;

use crate::ledger::{Durability, Ledger};
use crate::model::{ActorType, Body, ErrorRecord, Event, Id, Json, Severity, Timestamp};
use crate::server::app::App;
use crate::storage::{Disk, Storage};

/// How many requests may wait to be appended.
const MOST: usize = 1 << 16;

/// How many are appended at a time.
const AT_ONCE: usize = 1000;

/// Who asked, once that is known: the handler's to say, and noted here.
#[derive(Clone, Default)]
pub(super) struct Who(std::sync::Arc<Mutex<Option<String>>>);

impl Who {
    pub(super) fn is(&self, name: &str) {
        *self.0.lock() = Some(name.to_owned());
    }
}

/// What is wrong, of an answer that is the server's fault.
#[derive(Clone)]
pub(super) struct Fault {
    pub(super) what: String,
    pub(super) is_panic: bool,
}

/// Requests that wait to be appended.
#[derive(Default)]
pub(super) struct AccessLog(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    requests: VecDeque<Asked>,
    dropped: u64,
}

/// A request that was answered.
struct Asked {
    at: Timestamp,
    who: Option<String>,
    fault: Option<Fault>,
    told: Told,
}

/// What the payload of its event says.
#[derive(Default, Serialize)]
struct Told {
    method: String,
    /// As it stands in the document: what was asked for may hold secrets, and has no end of forms.
    route: String,
    /// [`GONE`] when it was not answered.
    status: u16,
    duration_ms: f64,
    /// Bytes of the body that came, by its own account.
    #[serde(skip_serializing_if = "Option::is_none")]
    received: Option<u64>,
    /// Bytes of the body that went, before it was compressed; unknown of one that is a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    sent: Option<u64>,
    /// How many requests before this one could not be noted.
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped: Option<u64>,
}

/// Notes a request and its answer.
pub(super) async fn note(State(app): State<App>, mut request: Request, next: Next) -> Response {
    if app.access_log().is_none() {
        return next.run(request).await;
    }
    let mut asking = Asking::new(app, &request);
    request.extensions_mut().insert(asking.who.clone());
    let response = next.run(request).await;
    asking.fault = response.extensions().get::<Fault>().cloned();
    asking.told.status = response.status().as_u16();
    asking.told.sent = response.body().size_hint().exact();
    response
}

/// The status of a request whose client went away before the answer. It may be done all the same.
const GONE: u16 = 499;

/// A request until it is answered or its client goes away: then it is noted.
struct Asking {
    app: App,
    began: Duration,
    who: Who,
    fault: Option<Fault>,
    told: Told,
}

impl Asking {
    fn new(app: App, request: &Request) -> Self {
        let route = request.extensions().get::<MatchedPath>();
        let length = request.headers().get(header::CONTENT_LENGTH);
        let told = Told {
            method: request.method().as_str().chars().take(20).collect(),
            route: route.map_or("none", MatchedPath::as_str).to_owned(),
            status: GONE,
            duration_ms: 0.0,
            received: length.and_then(|length| length.to_str().ok()?.parse().ok()),
            sent: None,
            dropped: None,
        };
        Self { app, began: Disk.monotonic(), who: Who::default(), fault: None, told }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let Some(log) = self.app.access_log() else { return };
        let duration_ms = millis(Disk.monotonic().saturating_sub(self.began));
        log.push(Asked {
            at: Timestamp::from_nanos(Disk.now()),
            who: self.who.0.lock().take(),
            fault: self.fault.take(),
            told: Told { duration_ms, ..std::mem::take(&mut self.told) },
        });
    }
}

/// Milliseconds, to a thousandth.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

impl AccessLog {
    fn push(&self, mut asked: Asked) {
        let mut waiting = self.0.lock();
        if waiting.requests.len() >= MOST {
            waiting.dropped += 1;
            return;
        }
        asked.told.dropped = Some(std::mem::take(&mut waiting.dropped)).filter(|count| *count > 0);
        waiting.requests.push_back(asked);
    }

    /// Appends what waits. It reaches the kernel; nobody was promised more.
    pub(super) fn append(&self, ledger: &Ledger) {
        loop {
            let batch: Vec<Asked> = {
                let mut waiting = self.0.lock();
                let count = waiting.requests.len().min(AT_ONCE);
                waiting.requests.drain(..count).collect()
            };
            if batch.is_empty() {
                return;
            }
            let bodies: Vec<Body<'_>> = batch.iter().flat_map(Asked::bodies).collect();
            // Where the ledger takes nothing, there is nowhere to say so.
            let _ = ledger.append_each(&bodies, Durability::Os);
        }
    }
}

impl Asked {
    /// An event, and an error where the server is at fault. They are of no user, so that only who
    /// sees everything sees them.
    fn bodies(&self) -> impl Iterator<Item = Body<'_>> {
        let Told { method, route, status, .. } = &self.told;
        let mut event = Event::new("http.request")
            .message(format!("{method} {route} {status}"))
            .severity(match status {
                500.. => Severity::Error,
                400.. => Severity::Warning,
                _ => Severity::Info,
            })
            .created_at(self.at);
        event.payload = Json::from_value(&self.told).ok();
        if let Some(who) = self.who.as_deref().and_then(|who| Id::new(who).ok()) {
            event = event.actor_type(ActorType::User).actor_id(who);
        }
        let error = (*status >= 500).then(|| {
            let what = self.fault.as_ref().map_or("", |fault| fault.what.as_str());
            let is_panic = self.fault.as_ref().is_some_and(|fault| fault.is_panic);
            let (name, severity) = match is_panic {
                true => ("http.panic".to_owned(), Severity::Critical),
                false => (format!("http.{status}"), Severity::Error),
            };
            let error = ErrorRecord::new(name, what).severity(severity).created_at(self.at);
            error.endpoint(format!("{method} {route}"))
        });
        std::iter::once(event.into()).chain(error.map(Body::Error))
    }
}
