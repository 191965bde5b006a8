//! What spans and log records have in common when they become records.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::limits::MAX_NAME_BYTES;
use crate::model::{ActorType, Body, ErrorRecord, Event, Id, Json, Severity, Timestamp};
use crate::server::otlp::{Attributes, LogRecord, Refusal, Source};

/// The severity number from which on a log record is an error.
const ERROR: i32 = 17;

/// What a span or a log record becomes.
pub(super) struct Told {
    /// The trace and the span, when there is a run among them.
    pub(super) run: Option<(Id<'static>, String)>,
    pub(super) bodies: Vec<Body<'static>>,
}

impl Told {
    fn one(body: Body<'static>) -> Self {
        Self { run: None, bodies: vec![body] }
    }
}

/// A time that is known.
pub(super) fn time(nanos: u64) -> Result<Option<Timestamp>, Refusal> {
    match i64::try_from(nanos) {
        Ok(0) => Ok(None),
        Ok(nanos) => Ok(Some(Timestamp::from_nanos(nanos))),
        Err(_) => Err(format!("the time {nanos} is after the year 2262").into()),
    }
}

/// The id of a trace, unless it is none: of the wrong length, or zeros.
pub(super) fn trace(bytes: &[u8]) -> Option<Id<'static>> {
    let bytes: [u8; 16] = bytes.try_into().ok()?;
    (bytes != [0; 16]).then(|| Id::from_hex_bytes(bytes))
}

/// The id of a span in digits, unless it is none.
pub(super) fn span_id(bytes: &[u8]) -> Option<String> {
    let bytes: [u8; 8] = bytes.try_into().ok()?;
    (bytes != [0; 8]).then(|| format!("{:016x}", u64::from_be_bytes(bytes)))
}

/// The first of these names that is one, cut to the length of types.
pub(super) fn name(names: &[&str], otherwise: &'static str) -> String {
    let name = names.iter().find(|name| !name.is_empty()).unwrap_or(&otherwise);
    name.get(..name.floor_char_boundary(MAX_NAME_BYTES)).unwrap_or(otherwise).to_owned()
}

/// A text of the attributes, which are then without it.
pub(super) fn take(attributes: &mut Attributes, key: &str) -> Option<String> {
    match attributes.get(key) {
        Some(Value::String(_)) => match attributes.remove(key) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// What has no field of its own, by its name.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Rest(Attributes);

impl From<Rest> for Value {
    fn from(rest: Rest) -> Self {
        Self::Object(rest.0)
    }
}

impl Rest {
    /// That of a span, an event of one or a log record, with what it was told by.
    pub(super) fn new(source: &Source, attributes: Attributes, own: Self) -> Self {
        let mut rest = own;
        rest.0.extend(source.rest.0.clone());
        rest.add("resource", Value::Object(source.resource.clone()));
        rest.add("scope", Value::from(source.scope.as_str()));
        rest.add("attributes", Value::Object(attributes));
        rest
    }

    /// Adds a value, unless it says nothing.
    pub(super) fn add(&mut self, key: &str, value: impl Into<Value>) {
        let value = value.into();
        let says_nothing = match &value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Object(object) => object.is_empty(),
            _ => false,
        };
        if !says_nothing {
            self.0.insert(key.to_owned(), value);
        }
    }

    /// Adds a number, unless it is 0: that is how protobuf has none.
    pub(super) fn add_number(&mut self, key: &str, number: impl Into<u64>) {
        self.add(key, Some(number.into()).filter(|number| *number > 0));
    }

    pub(super) fn json(self) -> Result<Option<Json<'static>>, Refusal> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let text = serde_json::to_string(&self.0).map_err(|err| err.to_string())?;
        Ok(Some(Json::parse(text).map_err(|err| err.to_string())?))
    }
}

/// What the attributes of an exception say.
pub(super) struct Exception {
    pub(super) error_type: Option<String>,
    pub(super) message: Option<String>,
    pub(super) stack: Option<String>,
}

impl Exception {
    /// Takes it from the attributes, if it is there.
    pub(super) fn take(attributes: &mut Attributes) -> Option<Self> {
        let [error_type, message, stack] = ["type", "message", "stacktrace"]
            .map(|key| take(attributes, &format!("exception.{key}")));
        let is_one = error_type.is_some() || message.is_some();
        if !is_one {
            // A stack alone says what happened nowhere; it stays an attribute.
            if let Some(stack) = stack {
                attributes.insert("exception.stacktrace".to_owned(), json!(stack));
            }
            return None;
        }
        Some(Self { error_type, message, stack })
    }
}

/// An error of a trace.
pub(super) fn error(
    exception: Exception,
    name: String,
    source: &Source,
    mut attributes: Attributes,
    rest: Rest,
) -> (ErrorRecord<'static>, Rest) {
    let error_type =
        self::name(&[exception.error_type.as_deref().unwrap_or_default(), &name], "error");
    let mut error = ErrorRecord::new(error_type, exception.message.unwrap_or_default());
    error.stack = exception.stack.map(Cow::Owned);
    let endpoint = ["http.route", "url.path", "http.target"];
    error.endpoint = endpoint.iter().find_map(|key| take(&mut attributes, key)).map(Cow::Owned);
    (error, Rest::new(source, attributes, rest))
}

/// An event, done by the service.
pub(super) fn event(name: String, source: &Source) -> Event<'static> {
    let mut event = Event::new(name);
    let service = source.resource.get("service.name").and_then(Value::as_str).unwrap_or_default();
    if let Ok(service) = Id::new(service.to_owned()) {
        event.actor_type = Some(ActorType::System);
        event.actor_id = Some(service);
    }
    event
}

/// A log record as an error or an event.
pub(super) fn of_log(log: LogRecord, source: &Source) -> Result<Told, Refusal> {
    let LogRecord { mut attributes, body, severity, severity_text, mut rest, .. } = log;
    let severity = if severity == 0 { number_of(&severity_text) } else { severity };
    let said = of_number(severity).map_or("", Severity::name);
    if !said.starts_with(&severity_text.to_ascii_lowercase()) {
        rest.add("severity_text", severity_text);
    }
    let at = time(if log.time == 0 { log.observed } else { log.time })?;
    let trace = trace(&log.trace_id);
    let exception = Exception::take(&mut attributes);
    let event_name = take(&mut attributes, "event.name").unwrap_or_default();
    let name = name(&[&log.event_name, &event_name, &source.scope], "log");
    let (text, body) = match body {
        Value::String(text) => (text, Value::Null),
        body => (String::new(), body),
    };
    if exception.is_none() && severity < ERROR {
        let mut event = event(name, source);
        event.severity = of_number(severity);
        event.message = (!text.is_empty()).then_some(Cow::Owned(text));
        let mut rest = Rest::new(source, attributes, rest);
        rest.add("body", body);
        rest.add("span_id", span_id(&log.span_id));
        event.payload = rest.json()?;
        event.created_at = at;
        event.run_id.clone_from(&trace);
        event.trace_id = trace;
        return Ok(Told::one(event.into()));
    }
    let mut exception =
        exception.unwrap_or(Exception { error_type: None, message: None, stack: None });
    // The line of the log, unless the exception says it already.
    let body = match &exception.message {
        Some(message) if *message != text && !text.is_empty() => text.into(),
        Some(_) => body,
        None => {
            exception.message = Some(text);
            body
        }
    };
    let (mut error, mut rest) = error(exception, name, source, attributes, rest);
    error.severity = match of_number(severity) {
        Some(Severity::Critical) => Severity::Critical,
        Some(Severity::Error) | None => Severity::Error,
        Some(_) => Severity::Warning,
    };
    rest.add("body", body);
    rest.add("span_id", span_id(&log.span_id));
    error.detail = rest.json()?;
    error.created_at = at;
    error.run_id.clone_from(&trace);
    error.trace_id = trace;
    Ok(Told::one(error.into()))
}

/// The number of a severity that is given as text alone; 0 for one that is not known.
fn number_of(text: &str) -> i32 {
    match text.trim_end_matches(|it: char| it.is_ascii_digit()).to_ascii_uppercase().as_str() {
        "TRACE" => 1,
        "DEBUG" => 5,
        "INFO" | "INFORMATION" | "NOTICE" => 9,
        "WARN" | "WARNING" => 13,
        "ERROR" | "ERR" => ERROR,
        "FATAL" | "CRITICAL" | "ALERT" | "EMERGENCY" => 21,
        _ => 0,
    }
}

/// Four numbers each; 0 is none, and there are none above 24.
fn of_number(severity: i32) -> Option<Severity> {
    match severity {
        1..=4 => Some(Severity::Trace),
        5..=8 => Some(Severity::Debug),
        9..=12 => Some(Severity::Info),
        13..=16 => Some(Severity::Warning),
        17..=20 => Some(Severity::Error),
        21.. => Some(Severity::Critical),
        _ => None,
    }
}
