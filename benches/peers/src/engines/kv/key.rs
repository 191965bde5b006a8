//! How records are indexed by an engine that knows only keys and values.
//!
//! An entry of the index is a field, its value, the time and the number of the record, so that a
//! range of it holds the records of one value in the order of time. Number and time are big-endian,
//! so that bytes sort as they do.

use runledger::{Body, Fingerprint, Id, IdForm, Kind, Timestamp};

/// A field by which records are found. Type, tag, project and user are kept apart by kind.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub(super) enum Field {
    Time = 1,
    Type = 2,
    Tag = 3,
    Trace = 4,
    Run = 5,
    Project = 6,
    User = 7,
    Fingerprint = 8,
}

/// Bytes of time and number at the end of an entry.
const TAIL: usize = 16;

pub(super) fn time(out: &mut Vec<u8>) {
    out.push(Field::Time as u8);
}

pub(super) fn text(out: &mut Vec<u8>, field: Field, kind: Kind, text: &str) {
    out.extend_from_slice(&[field as u8, kind.code()]);
    out.extend_from_slice(text.as_bytes());
    // No text is the beginning of another.
    out.push(0);
}

pub(super) fn tag(out: &mut Vec<u8>, kind: Kind, tag: u8) {
    out.extend_from_slice(&[Field::Tag as u8, kind.code(), tag]);
}

pub(super) fn id(out: &mut Vec<u8>, field: Field, id: &Id<'_>) {
    out.push(field as u8);
    bare_id(out, id);
}

pub(super) fn bare_id(out: &mut Vec<u8>, id: &Id<'_>) {
    match id.form() {
        IdForm::Text(text) => {
            out.push(0);
            out.extend_from_slice(text.as_bytes());
            out.push(0);
        }
        IdForm::Uuid(bytes) => {
            out.push(1);
            out.extend_from_slice(bytes);
        }
        IdForm::Hex(bytes) => {
            out.push(2);
            out.extend_from_slice(bytes);
        }
    }
}

/// The end of an entry.
pub(super) fn tail(out: &mut Vec<u8>, created_at: Timestamp, number: u64) {
    bound(out, created_at);
    out.extend_from_slice(&number.to_be_bytes());
}

/// Where the entries of a time begin.
pub(super) fn bound(out: &mut Vec<u8>, time: Timestamp) {
    out.extend_from_slice(&(time.as_nanos() ^ i64::MIN).to_be_bytes());
}

/// The number of the record that an entry is of.
pub(in crate::engines) fn number(entry: &[u8]) -> u64 {
    entry.last_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// True when the record that an entry is of came to be before this.
pub(super) fn created_before(entry: &[u8], time: Timestamp) -> bool {
    let at = entry.len().checked_sub(TAIL).and_then(|at| entry.get(at..));
    let created_at = at.and_then(|tail| tail.first_chunk::<8>());
    let bound = (time.as_nanos() ^ i64::MIN).to_be_bytes();
    created_at.is_some_and(|created_at| *created_at < bound)
}

/// What follows on all entries that begin with this.
pub(super) fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    end.extend_from_slice(&[0xff; TAIL + 1]);
    end
}

/// Every entry of a record, without its end, and what is to be known without reading the record:
/// the tag for its type, its kind for those fields that all kinds share.
pub(super) fn entries(body: &Body<'_>, tag_code: u8, mut enter: impl FnMut(&[u8], u8)) {
    let kind = body.kind();
    let mut out = Vec::with_capacity(64);
    let mut entry = |fill: &mut dyn FnMut(&mut Vec<u8>), value: u8| {
        out.clear();
        fill(&mut out);
        enter(&out, value);
    };
    entry(&mut time, kind.code());
    entry(&mut |out| text(out, Field::Type, kind, body.type_name()), tag_code);
    if tag_code != 0 {
        entry(&mut |out| tag(out, kind, tag_code), 0);
    }
    for (field, value) in [(Field::Trace, body.trace_id()), (Field::Run, body.run_id())] {
        if let Some(value) = value {
            entry(&mut |out| id(out, field, value), kind.code());
        }
    }
    for (field, value) in [(Field::Project, body.project_id()), (Field::User, body.user_id())] {
        if let Some(value) = value {
            entry(&mut |out| text(out, field, kind, &value.to_string()), 0);
        }
    }
    if let Body::Error(error) = body {
        let stack = error.stack.as_deref();
        let fingerprint = Fingerprint::of(&error.error_type, &error.message, stack);
        let fill = |out: &mut Vec<u8>| {
            out.push(Field::Fingerprint as u8);
            out.extend_from_slice(&fingerprint.hash.to_be_bytes());
        };
        entry(&mut { fill }, 0);
    }
}
