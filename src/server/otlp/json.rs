//! JSON: spans and log records from their text. Keys that are not known here are passed over, and
//! one that is null is as if it were not there, as protobuf's JSON has it.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use serde_json::Value;

use crate::server::otlp::records::Rest;
use crate::server::otlp::{Attributes, LogRecord, Refusal, Source, Span, SpanEvent, any};
use crate::server::otlp::{MAX_EVENTS, MAX_LINKS, TOO_MANY_EVENTS};

/// A whole number, as one or, where it may have more than 53 bits, as text.
struct Whole(i128);

/// Any number, or the name of one that JSON has no digits for.
struct Float(f64);

/// An id: hexadecimal digits.
struct Hex(Vec<u8>);

/// Reads a type of this module from one text or number.
struct Scalar<T>(fn(Given<'_>) -> Option<T>, &'static str);

enum Given<'a> {
    Text(&'a str),
    Whole(i128),
    Float(f64),
}

impl<T> Visitor<'_> for Scalar<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.1)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        self.0(Given::Text(text)).ok_or_else(|| E::custom(format!("expected {}", self.1)))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        let taken = self.0(Given::Whole(number.into()));
        taken.ok_or_else(|| E::custom(format!("expected {}", self.1)))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        let taken = self.0(Given::Whole(number.into()));
        taken.ok_or_else(|| E::custom(format!("expected {}", self.1)))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        let taken = self.0(Given::Float(number));
        taken.ok_or_else(|| E::custom(format!("expected {}", self.1)))
    }
}

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        let read = |given: Given<'_>| match given {
            Given::Text(text) => text.parse().ok().map(Self),
            Given::Whole(number) => Some(Self(number)),
            Given::Float(_) => None,
        };
        json.deserialize_any(Scalar(read, "a whole number"))
    }
}

impl<'de> Deserialize<'de> for Float {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        let read = |given: Given<'_>| match given {
            Given::Text("Infinity") => Some(Self(f64::INFINITY)),
            Given::Text("-Infinity") => Some(Self(f64::NEG_INFINITY)),
            Given::Text(text) => text.parse().ok().map(Self),
            #[expect(clippy::cast_precision_loss, reason = "a float is what it is to be")]
            Given::Whole(number) => Some(Self(number as f64)),
            Given::Float(number) => Some(Self(number)),
        };
        json.deserialize_any(Scalar(read, "a number"))
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        let read = |given: Given<'_>| match given {
            Given::Text(text) => unhex(text).map(Self),
            _ => None,
        };
        json.deserialize_any(Scalar(read, "an id in hexadecimal digits"))
    }
}

/// The id of another span: one that is none says nothing, and costs no more than itself.
fn of_other<'de, D: Deserializer<'de>>(json: D) -> Result<Option<Hex>, D::Error> {
    Ok(Value::deserialize(json)?.as_str().and_then(unhex).map(Hex))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let (pairs, rest) = text.as_bytes().as_chunks();
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    rest.is_empty().then(|| bytes.collect())?
}

#[derive(Deserialize)]
struct KeyValue {
    key: Option<String>,
    value: Option<AnyValue>,
}

#[derive(Deserialize)]
struct List<T> {
    values: Option<Vec<T>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnyValue {
    string_value: Option<String>,
    bool_value: Option<bool>,
    int_value: Option<Whole>,
    double_value: Option<Float>,
    array_value: Option<List<AnyValue>>,
    kvlist_value: Option<List<KeyValue>>,
    bytes_value: Option<String>,
}

impl From<AnyValue> for Value {
    fn from(value: AnyValue) -> Self {
        let list = |values: List<AnyValue>| values.values.unwrap_or_default().into_iter();
        let text = value.string_value.or(value.bytes_value).map(Self::from);
        text.or(value.bool_value.map(Self::from))
            .or(value.int_value.map(|number| match i64::try_from(number.0) {
                Ok(number) => Self::from(number),
                Err(_) => Self::from(number.0.to_string()),
            }))
            .or(value.double_value.map(|number| any::float(number.0)))
            .or(value.array_value.map(|values| list(values).map(Self::from).collect()))
            .or(value.kvlist_value.map(|pairs| Self::Object(attributes(pairs.values))))
            .unwrap_or_default()
    }
}

fn attributes(pairs: Option<Vec<KeyValue>>) -> Attributes {
    let pairs = pairs.unwrap_or_default().into_iter();
    pairs
        .map(|pair| (pair.key.unwrap_or_default(), pair.value.map_or(Value::Null, Value::from)))
        .collect()
}

fn read<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(json).map_err(|err| err.to_string().into())
}

fn number(given: Option<Whole>) -> u64 {
    given.and_then(|number| u64::try_from(number.0).ok()).unwrap_or_default()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceOrScope {
    attributes: Option<Vec<KeyValue>>,
    dropped_attributes_count: Option<Whole>,
    name: Option<String>,
    version: Option<String>,
}

/// What tells of the spans or log records of a resource and one of its scopes.
pub(super) fn source(resource: &[u8], scope: &[u8]) -> Result<Source, Refusal> {
    let resource: ResourceOrScope = read(resource)?;
    let scope: ResourceOrScope = read(scope)?;
    let mut rest = Rest::default();
    rest.add_number("resource_dropped_attributes_count", number(resource.dropped_attributes_count));
    rest.add("scope_version", scope.version);
    rest.add("scope_attributes", attributes(scope.attributes));
    rest.add_number("scope_dropped_attributes_count", number(scope.dropped_attributes_count));
    let name = scope.name.unwrap_or_default();
    Ok(Source { resource: attributes(resource.attributes), scope: name, rest })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpanShape {
    trace_id: Option<Hex>,
    span_id: Option<Hex>,
    trace_state: Option<String>,
    parent_span_id: Option<Hex>,
    name: Option<String>,
    kind: Option<i32>,
    start_time_unix_nano: Option<Whole>,
    end_time_unix_nano: Option<Whole>,
    attributes: Option<Vec<KeyValue>>,
    dropped_attributes_count: Option<Whole>,
    events: Option<Vec<EventShape>>,
    dropped_events_count: Option<Whole>,
    links: Option<Vec<LinkShape>>,
    dropped_links_count: Option<Whole>,
    status: Option<StatusShape>,
    flags: Option<Whole>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LinkShape {
    #[serde(default, deserialize_with = "of_other")]
    trace_id: Option<Hex>,
    #[serde(default, deserialize_with = "of_other")]
    span_id: Option<Hex>,
    trace_state: Option<String>,
    attributes: Option<Vec<KeyValue>>,
    dropped_attributes_count: Option<Whole>,
    flags: Option<Whole>,
}

#[derive(Deserialize, Default)]
struct StatusShape {
    message: Option<String>,
    code: Option<i32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventShape {
    time_unix_nano: Option<Whole>,
    name: Option<String>,
    attributes: Option<Vec<KeyValue>>,
    dropped_attributes_count: Option<Whole>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogShape {
    time_unix_nano: Option<Whole>,
    observed_time_unix_nano: Option<Whole>,
    severity_number: Option<i32>,
    severity_text: Option<String>,
    body: Option<AnyValue>,
    attributes: Option<Vec<KeyValue>>,
    dropped_attributes_count: Option<Whole>,
    flags: Option<Whole>,
    trace_id: Option<Hex>,
    span_id: Option<Hex>,
    event_name: Option<String>,
}

fn id(given: Option<Hex>) -> Vec<u8> {
    given.map(|id| id.0).unwrap_or_default()
}

fn time(given: Option<Whole>) -> Result<u64, Refusal> {
    u64::try_from(given.map_or(0, |time| time.0)).map_err(|_| "a time is out of range".into())
}

pub(super) fn span(json: &[u8]) -> Result<Span, Refusal> {
    let shape: SpanShape = read(json)?;
    let status = shape.status.unwrap_or_default();
    let events = shape.events.unwrap_or_default();
    if events.len() > MAX_EVENTS {
        return Err(TOO_MANY_EVENTS.into());
    }
    let links = shape.links.unwrap_or_default();
    let more_links = links.len().saturating_sub(MAX_LINKS) as u64;
    let mut rest = Rest::default();
    rest.add("trace_state", shape.trace_state);
    rest.add_number("dropped_attributes_count", number(shape.dropped_attributes_count));
    rest.add_number("dropped_events_count", number(shape.dropped_events_count));
    rest.add_number("flags", number(shape.flags));
    let events = events.into_iter().map(|event| {
        let mut rest = Rest::default();
        rest.add_number("dropped_attributes_count", number(event.dropped_attributes_count));
        Ok(SpanEvent {
            time: time(event.time_unix_nano)?,
            name: event.name.unwrap_or_default(),
            attributes: attributes(event.attributes),
            rest,
        })
    });
    Ok(Span {
        trace_id: id(shape.trace_id),
        span_id: id(shape.span_id),
        parent: id(shape.parent_span_id),
        name: shape.name.unwrap_or_default(),
        kind: shape.kind.unwrap_or_default(),
        start: time(shape.start_time_unix_nano)?,
        end: time(shape.end_time_unix_nano)?,
        attributes: attributes(shape.attributes),
        events: events.collect::<Result<_, Refusal>>()?,
        links: links.into_iter().take(MAX_LINKS).map(link).collect(),
        dropped_links: number(shape.dropped_links_count).saturating_add(more_links),
        status: status.code.unwrap_or_default(),
        message: status.message.unwrap_or_default(),
        rest,
    })
}

fn link(shape: LinkShape) -> Value {
    let mut link = Rest::default();
    link.add("trace_id", shape.trace_id.map(|id| any::hex(&id.0)));
    link.add("span_id", shape.span_id.map(|id| any::hex(&id.0)));
    link.add("trace_state", shape.trace_state);
    link.add("attributes", attributes(shape.attributes));
    link.add_number("dropped_attributes_count", number(shape.dropped_attributes_count));
    link.add_number("flags", number(shape.flags));
    link.into()
}

pub(super) fn log_record(json: &[u8]) -> Result<LogRecord, Refusal> {
    let shape: LogShape = read(json)?;
    let mut rest = Rest::default();
    rest.add_number("dropped_attributes_count", number(shape.dropped_attributes_count));
    rest.add_number("flags", number(shape.flags));
    Ok(LogRecord {
        time: time(shape.time_unix_nano)?,
        observed: time(shape.observed_time_unix_nano)?,
        severity: shape.severity_number.unwrap_or_default(),
        severity_text: shape.severity_text.unwrap_or_default(),
        body: shape.body.map_or(Value::Null, Value::from),
        attributes: attributes(shape.attributes),
        trace_id: id(shape.trace_id),
        span_id: id(shape.span_id),
        event_name: shape.event_name.unwrap_or_default(),
        rest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_64_bits_come_as_text_or_as_numbers() {
        let whole = |json: &[u8]| read::<Whole>(json).map(|number| number.0).ok();
        for (json, number) in [
            (&br#""18446744073709551615""#[..], Some(i128::from(u64::MAX))),
            (b"18446744073709551615", Some(i128::from(u64::MAX))),
            (br#""-9223372036854775808""#, Some(i128::from(i64::MIN))),
            (b"0", Some(0)),
            (b"1.5", None),
            (b"1e3", None),
            (br#""""#, None),
            (br#""1 ""#, None),
            (b"true", None),
            (b"[1]", None),
        ] {
            assert_eq!(whole(json), number, "{}", String::from_utf8_lossy(json));
        }
        assert!(time(Some(Whole(-1))).is_err() && time(Some(Whole(1 << 64))).is_err());
        assert_eq!(time(None), Ok(0));
    }

    #[test]
    fn ids_are_hexadecimal_digits() {
        assert_eq!(unhex("5B8eff"), Some(vec![0x5b, 0x8e, 0xff]));
        assert_eq!(unhex(""), Some(Vec::new()));
        for text in ["5", "5b8", "5g", "+f", "é"] {
            assert_eq!(unhex(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_null_is_not_there() {
        let json = br#"{"traceId":null,"name":null,"attributes":null,"status":null,"new":[{}],
            "events":[{"name":null,"attributes":[{"key":null,"value":null},{"key":"a"}]}]}"#;
        let span = span(json).unwrap();
        assert_eq!((span.trace_id.len(), span.name.as_str(), span.attributes.len()), (0, "", 0));
        assert!(span.events[0].attributes.values().all(Value::is_null));
    }
}
