//! Requests: read, appended, and answered in the encoding that they came in.

use std::collections::HashSet;

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::error::Error;
use crate::ledger::Durability;
use crate::model::{Body, Id};
use crate::server::access::{Failure, Pen};
use crate::server::app::App;
use crate::server::input::{self, Held};
use crate::server::otlp::records::Told;
use crate::server::otlp::walk::{self, Broken, Item, MAX_ITEMS};
use crate::server::otlp::{Refusal, Source, json, proto, records, spans};
use crate::server::problem::{Kind, Problem};

/// How long the attributes of a resource and the name of a scope may be, in bytes: they are kept
/// with each record that they tell of.
const MAX_SOURCE: usize = 8 << 10;

/// After how many bytes of a request its records are appended.
const AT_ONCE: usize = 256 << 10;

/// How long the reason of a refusal may be, in characters.
const MAX_REASON: usize = 300;

/// How a request is written, and its answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::server) enum Encoding {
    Protobuf,
    Json,
}

/// What a request holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::server) enum Signal {
    Traces,
    Logs,
}

/// A request as it came in.
pub(in crate::server) struct Export {
    encoding: Encoding,
    body: Held,
    /// How long a span or a log record may be.
    max_item: usize,
}

/// What became of a request.
pub(in crate::server) struct Taken {
    encoding: Encoding,
    signal: Signal,
    refused: usize,
    /// Why the first was refused.
    reason: String,
}

impl FromRequest<App> for Export {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let encoding = encoding(request.headers())?;
        let config = app.config();
        let body = input::whole(app, request.into_body(), config.max_bulk_bytes).await?;
        Ok(Self { encoding, body, max_item: config.max_body_bytes })
    }
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, Problem> {
    let is = |media| input::check_type(headers, media).is_ok();
    match () {
        () if is(PROTOBUF) => Ok(Encoding::Protobuf),
        () if is(JSON) => Ok(Encoding::Json),
        () => {
            let detail = format!("send the body with Content-Type: {PROTOBUF} or {JSON}");
            Err(Problem::new(Kind::MediaType, detail).field("content-type"))
        }
    }
}

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// Takes the spans or log records of a request, each on its own merits.
pub(in crate::server) fn take(
    pen: &Pen<'_>,
    export: &Export,
    signal: Signal,
    durability: Durability,
) -> Result<Taken, Failure> {
    let Export { encoding, body, .. } = export;
    let items = walk::items(*encoding, signal, &body.bytes).map_err(|broken| match broken {
        Broken::Malformed(why) => Problem::new(Kind::Body, why),
        Broken::TooMany => {
            let detail = format!("the request has more than {MAX_ITEMS} of them; send it in parts");
            Problem::new(Kind::TooLarge, detail)
        }
    })?;
    let mut batch = Batch {
        pen,
        durability,
        bodies: Vec::new(),
        of: Vec::new(),
        runs: HashSet::new(),
        bytes: 0,
        waiting: 0,
        accepted: 0,
        is_in_part: false,
        reason: String::new(),
        unread: None,
    };
    let done = batch.take(export, signal, &items);
    let (refused, reason) = batch.end(items.len(), done)?;
    Ok(Taken { encoding: *encoding, signal, refused, reason })
}

impl Item<'_> {
    /// True when both were told by the same: they lie in one list.
    fn is_of_the_same(&self, other: &Self) -> bool {
        std::ptr::eq(self.resource, other.resource) && std::ptr::eq(self.scope, other.scope)
    }
}

fn source(encoding: Encoding, item: &Item<'_>) -> Result<Source, Refusal> {
    if item.resource.len() + item.scope.len() > MAX_SOURCE {
        return Err(
            format!("its resource and scope are over the limit of {MAX_SOURCE} bytes").into()
        );
    }
    match encoding {
        Encoding::Protobuf => proto::source(item.resource, item.scope),
        Encoding::Json => json::source(item.resource, item.scope),
    }
}

/// The records of a span or a log record.
fn read(encoding: Encoding, signal: Signal, item: &[u8], source: &Source) -> Result<Told, Refusal> {
    match (signal, encoding) {
        (Signal::Traces, Encoding::Protobuf) => spans::of_span(proto::span(item)?, source),
        (Signal::Traces, Encoding::Json) => spans::of_span(json::span(item)?, source),
        (Signal::Logs, Encoding::Protobuf) => records::of_log(proto::log_record(item)?, source),
        (Signal::Logs, Encoding::Json) => records::of_log(json::log_record(item)?, source),
    }
}

/// What is appended together.
struct Batch<'p> {
    pen: &'p Pen<'p>,
    durability: Durability,
    bodies: Vec<Body<'static>>,
    /// Of which span or log record each of them is, by where its first one stands.
    of: Vec<usize>,
    /// The runs among them.
    runs: HashSet<Id<'static>>,
    bytes: usize,
    /// How many spans or log records they are of.
    waiting: usize,
    /// How many are in the ledger whole.
    accepted: usize,
    /// True once something of the request may have been appended.
    is_in_part: bool,
    /// Why the first was refused.
    reason: String,
    /// Why the first was whose run could not be read, which may pass.
    unread: Option<Problem>,
}

impl Batch<'_> {
    fn take(&mut self, export: &Export, signal: Signal, items: &[Item<'_>]) -> Result<(), Failure> {
        let Export { encoding, max_item, .. } = export;
        let mut known: Option<(&Item<'_>, Result<Source, Refusal>)> = None;
        for item in items {
            let source = match &known {
                Some((before, source)) if before.is_of_the_same(item) => source,
                _ => &known.insert((item, source(*encoding, item))).1,
            };
            let told = match source {
                Err(why) => Err(why.clone()),
                Ok(_) if item.item.len() > *max_item => {
                    Err(format!("it is over the limit of {max_item} bytes").into())
                }
                Ok(source) => read(*encoding, signal, item.item, source),
            };
            match told {
                Err(why) => self.refuse(&why),
                Ok(told) => self.add(told, item.item.len())?,
            }
        }
        self.append()
    }

    fn add(&mut self, told: Told, bytes: usize) -> Result<(), Failure> {
        if let Some((trace, span)) = &told.run {
            // It may be one that waits to be appended, too.
            if !self.runs.insert(trace.clone()) {
                self.append()?;
            }
            match self.span_of(trace) {
                Ok(known) if known.as_ref() == Some(span) => {
                    // The same span, sent again by one who has not had the answer.
                    self.accepted += 1;
                    return Ok(());
                }
                // What is damaged is not known to be the same.
                Ok(_) | Err(Failure::Ledger(Error::Damaged { .. })) => {}
                Err(failure @ Failure::Ledger(Error::Io { .. })) => {
                    self.fail(failure);
                    return Ok(());
                }
                Err(failure) => return Err(failure),
            }
        }
        let first = self.bodies.len();
        self.of.extend(told.bodies.iter().map(|_| first));
        self.bodies.extend(told.bodies);
        self.waiting += 1;
        self.bytes += bytes;
        if self.bytes >= AT_ONCE { self.append() } else { Ok(()) }
    }

    /// The span that the run of a trace was made of, where there is one.
    fn span_of(&self, trace: &Id<'_>) -> Result<Option<String>, Failure> {
        let Some(stored) = self.pen.own_run(&trace.to_string())? else { return Ok(None) };
        let Body::Run(run) = stored.record()?.body else { return Ok(None) };
        Ok(spans::span_of(&run))
    }

    fn append(&mut self) -> Result<(), Failure> {
        if self.bodies.is_empty() {
            return Ok(());
        }
        self.bytes = 0;
        self.runs.clear();
        let bodies = std::mem::take(&mut self.bodies);
        let of = std::mem::take(&mut self.of);
        let results = self.pen.append_each(bodies, self.durability)?;
        self.accepted += std::mem::take(&mut self.waiting);
        let mut last = None;
        for (result, of) in results.into_iter().zip(of) {
            match result {
                Ok(_) => self.is_in_part = true,
                // One that was refused in part counts once.
                Err(failure) => {
                    self.accepted -= usize::from(last.replace(of) != Some(of));
                    self.fail(failure);
                }
            }
        }
        Ok(())
    }

    /// Notes that one was refused for this.
    fn fail(&mut self, failure: Failure) {
        let is_unread = matches!(failure, Failure::Ledger(Error::Io { .. }));
        let problem = self.again(failure);
        self.refuse(problem.detail());
        if is_unread {
            self.unread.get_or_insert(problem);
        }
    }

    /// What is told of a failure. Who sends telemetry sends it again at a few statuses alone, of
    /// which 507 and 500 are none.
    fn again(&self, failure: Failure) -> Problem {
        let may_pass = matches!(failure, Failure::Ledger(Error::NoSpace { .. } | Error::Io { .. }));
        let mut problem = self.pen.told(failure);
        if !may_pass {
            return problem;
        }
        problem.kind = Kind::Unavailable;
        problem.retry_after(60)
    }

    fn refuse(&mut self, why: &str) {
        if self.reason.is_empty() {
            self.reason = why.chars().take(MAX_REASON).collect();
        }
    }

    /// How many of so many are refused, and why the first was. Once something of a request may have
    /// been appended, nothing is answered at which all of it would be sent again.
    fn end(mut self, items: usize, done: Result<(), Failure>) -> Result<(usize, String), Failure> {
        let is_stopped = done.is_err();
        let failed = match done {
            Err(failure) => {
                self.is_in_part |= matches!(failure, Failure::InPart(_));
                Some(self.again(failure))
            }
            Ok(()) => self.unread.take(),
        };
        match failed {
            Some(problem) if !self.is_in_part => return Err(problem.into()),
            Some(mut problem) if is_stopped && self.accepted == 0 => {
                problem.kind = Kind::Internal;
                return Err(problem.after("some of it may have been appended").into());
            }
            Some(problem) => self.refuse(problem.detail()),
            None => {}
        }
        Ok((items - self.accepted, self.reason))
    }
}

impl IntoResponse for Taken {
    fn into_response(self) -> Response {
        let Self { encoding, signal, refused, reason } = self;
        let (media, body) = match encoding {
            Encoding::Protobuf => (PROTOBUF, proto::answer(refused, &reason)),
            Encoding::Json if refused == 0 => (JSON, b"{}".to_vec()),
            Encoding::Json => {
                let count = match signal {
                    Signal::Traces => "rejectedSpans",
                    Signal::Logs => "rejectedLogRecords",
                };
                // A number of 64 bits is a text in protobuf's JSON.
                let partial = json!({count: refused.to_string(), "errorMessage": reason});
                (JSON, json!({"partialSuccess": partial}).to_string().into_bytes())
            }
        };
        let media = [(header::CONTENT_TYPE, HeaderValue::from_static(media))];
        (StatusCode::OK, media, body).into_response()
    }
}
