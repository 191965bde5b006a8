//! Protobuf: spans and log records from their bytes.
//!
//! The few messages of OTLP are read where they lie. A message reader that is made from their
//! definitions would build all of a request before it could be counted, and a request is mostly the
//! sender's choice: two bytes claim a span.

use serde_json::Value;

use crate::server::otlp::records::Rest;
use crate::server::otlp::{Attributes, LogRecord, Refusal, Source, Span, SpanEvent, any};
use crate::server::otlp::{MAX_EVENTS, MAX_LINKS, TOO_MANY_EVENTS};

/// How deep values of attributes may lie in one another.
const MAX_DEPTH: usize = 32;

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Held<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

/// The fields of a message in their order, each with its number. Ends after the first error.
pub(super) struct Fields<'a>(&'a [u8]);

/// The fields of a message.
pub(super) const fn fields(message: &[u8]) -> Fields<'_> {
    Fields(message)
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Held<'a>), Refusal>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.ok_or_else(|| "its protobuf is cut off or malformed".into()))
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Held<'a>)> {
        let key = self.varint()?;
        let held = match key & 7 {
            0 => Held::Varint(self.varint()?),
            1 => Held::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Held::Bytes(self.take(length)?)
            }
            5 => Held::Fixed32(u32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            // Groups went out of use before there was OTLP.
            _ => return None,
        };
        (key >> 3 > 0).then_some((key >> 3, held))
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

/// The last of the messages with this number, or none of them, which is an empty one.
pub(super) fn last(message: &[u8], number: u64) -> Result<&[u8], Refusal> {
    let mut found: &[u8] = &[];
    for field in fields(message) {
        if let (at, Held::Bytes(bytes)) = field?
            && at == number
        {
            found = bytes;
        }
    }
    Ok(found)
}

/// What tells of the spans or log records of a resource and one of its scopes.
pub(super) fn source(resource: &[u8], scope: &[u8]) -> Result<Source, Refusal> {
    let mut source = Source::default();
    for field in fields(resource) {
        match field? {
            (1, Held::Bytes(bytes)) => attribute(bytes, &mut source.resource)?,
            (2, Held::Varint(count)) => {
                source.rest.add_number("resource_dropped_attributes_count", count);
            }
            _ => {}
        }
    }
    let mut attributes = Attributes::new();
    for field in fields(scope) {
        match field? {
            (1, Held::Bytes(bytes)) => source.scope = text(bytes)?,
            (2, Held::Bytes(bytes)) => source.rest.add("scope_version", text(bytes)?),
            (3, Held::Bytes(bytes)) => attribute(bytes, &mut attributes)?,
            (4, Held::Varint(count)) => {
                source.rest.add_number("scope_dropped_attributes_count", count)
            }
            _ => {}
        }
    }
    source.rest.add("scope_attributes", attributes);
    Ok(source)
}

pub(super) fn span(message: &[u8]) -> Result<Span, Refusal> {
    let (mut span, mut more_links) = (Span::default(), 0);
    for field in fields(message) {
        match field? {
            (1, Held::Bytes(bytes)) => span.trace_id = bytes.to_vec(),
            (2, Held::Bytes(bytes)) => span.span_id = bytes.to_vec(),
            (3, Held::Bytes(bytes)) => span.rest.add("trace_state", text(bytes)?),
            (4, Held::Bytes(bytes)) => span.parent = bytes.to_vec(),
            (5, Held::Bytes(bytes)) => span.name = text(bytes)?,
            (6, Held::Varint(number)) => span.kind = enumerated(number),
            (7, Held::Fixed64(time)) => span.start = time,
            (8, Held::Fixed64(time)) => span.end = time,
            (9, Held::Bytes(bytes)) => attribute(bytes, &mut span.attributes)?,
            (10, Held::Varint(count)) => span.rest.add_number("dropped_attributes_count", count),
            (11, Held::Bytes(_)) if span.events.len() == MAX_EVENTS => {
                return Err(TOO_MANY_EVENTS.into());
            }
            (11, Held::Bytes(bytes)) => span.events.push(span_event(bytes)?),
            (12, Held::Varint(count)) => span.rest.add_number("dropped_events_count", count),
            (13, Held::Bytes(_)) if span.links.len() == MAX_LINKS => more_links += 1,
            (13, Held::Bytes(bytes)) => span.links.push(link(bytes)?),
            (14, Held::Varint(count)) => span.dropped_links = count,
            (15, Held::Bytes(bytes)) => {
                for field in fields(bytes) {
                    match field? {
                        (2, Held::Bytes(bytes)) => span.message = text(bytes)?,
                        (3, Held::Varint(number)) => span.status = enumerated(number),
                        _ => {}
                    }
                }
            }
            (16, Held::Fixed32(flags)) => span.rest.add_number("flags", flags),
            _ => {}
        }
    }
    span.dropped_links = span.dropped_links.saturating_add(more_links);
    Ok(span)
}

fn link(message: &[u8]) -> Result<Value, Refusal> {
    let (mut link, mut attributes) = (Rest::default(), Attributes::new());
    for field in fields(message) {
        match field? {
            (1, Held::Bytes(bytes)) => link.add("trace_id", any::hex(bytes)),
            (2, Held::Bytes(bytes)) => link.add("span_id", any::hex(bytes)),
            (3, Held::Bytes(bytes)) => link.add("trace_state", text(bytes)?),
            (4, Held::Bytes(bytes)) => attribute(bytes, &mut attributes)?,
            (5, Held::Varint(count)) => link.add_number("dropped_attributes_count", count),
            (6, Held::Fixed32(flags)) => link.add_number("flags", flags),
            _ => {}
        }
    }
    link.add("attributes", attributes);
    Ok(link.into())
}

fn span_event(message: &[u8]) -> Result<SpanEvent, Refusal> {
    let mut event = SpanEvent::default();
    for field in fields(message) {
        match field? {
            (1, Held::Fixed64(time)) => event.time = time,
            (2, Held::Bytes(bytes)) => event.name = text(bytes)?,
            (3, Held::Bytes(bytes)) => attribute(bytes, &mut event.attributes)?,
            (4, Held::Varint(count)) => event.rest.add_number("dropped_attributes_count", count),
            _ => {}
        }
    }
    Ok(event)
}

pub(super) fn log_record(message: &[u8]) -> Result<LogRecord, Refusal> {
    let mut record = LogRecord::default();
    for field in fields(message) {
        match field? {
            (1, Held::Fixed64(time)) => record.time = time,
            (2, Held::Varint(number)) => record.severity = enumerated(number),
            (3, Held::Bytes(bytes)) => record.severity_text = text(bytes)?,
            (5, Held::Bytes(bytes)) => record.body = value(bytes, MAX_DEPTH)?,
            (6, Held::Bytes(bytes)) => attribute(bytes, &mut record.attributes)?,
            (7, Held::Varint(count)) => record.rest.add_number("dropped_attributes_count", count),
            (8, Held::Fixed32(flags)) => record.rest.add_number("flags", flags),
            (9, Held::Bytes(bytes)) => record.trace_id = bytes.to_vec(),
            (10, Held::Bytes(bytes)) => record.span_id = bytes.to_vec(),
            (11, Held::Fixed64(time)) => record.observed = time,
            (12, Held::Bytes(bytes)) => record.event_name = text(bytes)?,
            _ => {}
        }
    }
    Ok(record)
}

/// Adds an attribute from its key and value.
fn attribute(message: &[u8], attributes: &mut Attributes) -> Result<(), Refusal> {
    keyed(message, attributes, MAX_DEPTH)
}

fn keyed(message: &[u8], into: &mut Attributes, depth: usize) -> Result<(), Refusal> {
    let key = text(last(message, 1)?)?;
    into.insert(key, value(last(message, 2)?, depth)?);
    Ok(())
}

fn value(message: &[u8], depth: usize) -> Result<Value, Refusal> {
    let depth = depth.checked_sub(1).ok_or("a value of an attribute is nested too deeply")?;
    let mut found = Value::Null;
    for field in fields(message) {
        found = match field? {
            (1, Held::Bytes(bytes)) => Value::from(text(bytes)?),
            (2, Held::Varint(number)) => Value::from(number != 0),
            (3, Held::Varint(number)) => Value::from(number.cast_signed()),
            (4, Held::Fixed64(bits)) => any::float(f64::from_bits(bits)),
            (5, Held::Bytes(bytes)) => Value::Array(array(bytes, depth)?),
            (6, Held::Bytes(bytes)) => {
                let mut object = Attributes::new();
                for field in fields(bytes) {
                    if let (1, Held::Bytes(bytes)) = field? {
                        keyed(bytes, &mut object, depth)?;
                    }
                }
                Value::Object(object)
            }
            (7, Held::Bytes(bytes)) => any::bytes(bytes),
            _ => found,
        };
    }
    Ok(found)
}

fn array(message: &[u8], depth: usize) -> Result<Vec<Value>, Refusal> {
    let mut values = Vec::new();
    for field in fields(message) {
        if let (1, Held::Bytes(bytes)) = field? {
            values.push(value(bytes, depth)?);
        }
    }
    Ok(values)
}

fn text(bytes: &[u8]) -> Result<String, Refusal> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "a text in it is not UTF-8".into())
}

/// An enumeration's number: 32 bits of it, as protobuf has it.
fn enumerated(number: u64) -> i32 {
    #[expect(clippy::cast_possible_truncation, reason = "protobuf drops the upper bits as well")]
    let low = number as u32;
    low.cast_signed()
}

/// What is answered when `refused` spans or log records were not taken, of which the first for this
/// reason: the message `ExportTraceServiceResponse` or `ExportLogsServiceResponse`.
pub(super) fn answer(refused: usize, reason: &str) -> Vec<u8> {
    if refused == 0 {
        return Vec::new();
    }
    let mut partial = vec![1 << 3];
    put_varint(refused as u64, &mut partial);
    partial.push(2 << 3 | 2);
    put_varint(reason.len() as u64, &mut partial);
    partial.extend_from_slice(reason.as_bytes());
    let mut answer = vec![1 << 3 | 2];
    put_varint(partial.len() as u64, &mut answer);
    answer.extend(partial);
    answer
}

fn put_varint(mut number: u64, out: &mut Vec<u8>) {
    while let Some(more) = Some(number >> 7).filter(|more| *more > 0) {
        out.push(0x80 | u8::try_from(number & 0x7f).unwrap_or(0));
        number = more;
    }
    out.push(u8::try_from(number & 0x7f).unwrap_or(0));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Vec<Result<(u64, Held<'_>), Refusal>> {
        fields(bytes).collect()
    }

    #[test]
    fn each_wire_type_is_read_and_what_is_cut_off_is_refused() {
        let whole =
            [0x08, 0x96, 0x01, 0x11, 1, 0, 0, 0, 0, 0, 0, 0, 0x1a, 2, b'h', b'i', 0x25, 0, 0, 0, 0];
        let held = [
            (1, Held::Varint(150)),
            (2, Held::Fixed64(1)),
            (3, Held::Bytes(b"hi")),
            (4, Held::Fixed32(0)),
        ];
        assert_eq!(all(&whole), held.map(Ok));
        let ends = [0, 3, 12, 16, 21];
        for end in 0..whole.len() {
            let is_whole = ends.contains(&end);
            assert_eq!(all(&whole[..end]).iter().all(Result::is_ok), is_whole, "cut at {end}");
        }
    }

    #[test]
    fn a_varint_has_64_bits_and_no_more() {
        let of = |bytes: &[u8]| match fields(&[&[0x08], bytes].concat()).next() {
            Some(Ok((1, Held::Varint(number)))) => Some(number),
            _ => None,
        };
        let most = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(of(&most), Some(u64::MAX));
        // Longer than it needs to be, and still within its ten bytes.
        assert_eq!(of(&[0x80, 0x00]), Some(0));
        assert_eq!(of(&[0xff; 10]), None);
        assert_eq!(of(&[0x80; 11]), None);
    }

    #[test]
    fn groups_and_the_field_zero_are_none() {
        for bytes in [&[0x0b][..], &[0x0c], &[0x0e], &[0x0f], &[0x00, 0x00], &[0x02, 0x00]] {
            assert!(all(bytes).iter().all(Result::is_err), "{bytes:?}");
        }
        // A length that no memory has.
        assert!(
            all(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f])
                .pop()
                .unwrap()
                .is_err()
        );
    }

    #[test]
    fn values_are_nested_so_far_and_no_farther() {
        let field = |key: u8, inner: &[u8]| {
            let mut field = vec![key];
            put_varint(inner.len() as u64, &mut field);
            [&field, inner].concat()
        };
        // A value in a list of one.
        let nested = |depth: usize| {
            (0..depth).fold(field(0x0a, b"x"), |inner, _| field(0x2a, &field(0x0a, &inner)))
        };
        assert!(value(&nested(MAX_DEPTH - 1), MAX_DEPTH).is_ok());
        assert!(value(&nested(MAX_DEPTH), MAX_DEPTH).is_err());
    }

    #[test]
    fn an_answer_tells_how_many_and_why() {
        assert_eq!(answer(0, "no"), b"");
        let told = answer(300, "no");
        let partial = last(&told, 1).unwrap();
        assert_eq!(all(partial), [Ok((1, Held::Varint(300))), Ok((2, Held::Bytes(b"no")))]);
    }
}
