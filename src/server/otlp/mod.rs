//! Telemetry of OpenTelemetry (OTLP), read into records of the ledger.
//!
//! | telemetry | record |
//! |---|---|
//! | a span without a parent | a run: its id is the trace's, its type the span's name |
//! | any other span | an event: its type is the span's name, and it has a duration |
//! | an event of a span, a log record | an event |
//! | the same with `exception.*`, a log record of severity `ERROR` or above | an error |
//!
//! Everything of a trace is of the run with the trace's id. What the ledger has no field for is
//! kept in the metadata, the payload or the detail.
//!
//! A request is read in two steps. The lists that hold the spans and log records are walked in
//! place; each of those is then read by itself, and one that cannot be is refused while the others
//! are taken. So no more than one is ever held in the form that it is read into, whatever a short
//! body claims to hold.

mod any;
mod export;
mod json;
mod proto;
mod records;
mod spans;
mod walk;

use records::Rest;
use serde_json::{Map, Value};

pub(super) use export::{Encoding, Export, Signal, take};

/// The most events of one span: a sender's own bound is 128, unless it was told otherwise.
const MAX_EVENTS: usize = 1000;

const TOO_MANY_EVENTS: &str = "a span has more than 1000 events";

/// How many links of a span are kept; the rest count as dropped. A sender's own bound is the same
/// as for events.
const MAX_LINKS: usize = 1000;

/// Attributes by their names.
type Attributes = Map<String, Value>;

/// What a span or a log record was told by: the same for many of them.
#[derive(Debug, Default, PartialEq)]
struct Source {
    /// The attributes of the service, its host and its process.
    resource: Attributes,
    /// The library or logger.
    scope: String,
    rest: Rest,
}

/// A span. An id is empty where there is none.
#[derive(Debug, Default, PartialEq)]
struct Span {
    trace_id: Vec<u8>,
    span_id: Vec<u8>,
    parent: Vec<u8>,
    name: String,
    kind: i32,
    start: u64,
    end: u64,
    attributes: Attributes,
    events: Vec<SpanEvent>,
    /// Other spans, of whichever trace.
    links: Vec<Value>,
    /// How many more there were.
    dropped_links: u64,
    /// As spans have it: 2 is an error.
    status: i32,
    message: String,
    rest: Rest,
}

/// Something that happened in a span.
#[derive(Debug, Default, PartialEq)]
struct SpanEvent {
    time: u64,
    name: String,
    attributes: Attributes,
    rest: Rest,
}

/// A line of a log.
#[derive(Debug, Default, PartialEq)]
struct LogRecord {
    time: u64,
    /// When it was seen, for those who do not know when it was.
    observed: u64,
    severity: i32,
    severity_text: String,
    body: Value,
    attributes: Attributes,
    trace_id: Vec<u8>,
    span_id: Vec<u8>,
    event_name: String,
    rest: Rest,
}

/// Why a span or a log record is not taken, or a whole request.
type Refusal = std::borrow::Cow<'static, str>;
