//! Comma-separated values, quoted as RFC 4180 says, with a line feed at the end of a line.

use std::borrow::Cow;
use std::io::{self, Write};

use crate::model::{Body, ErrorRecord, Event, Kind, Record, Run};
use crate::wire::write::Millis;

const RUN: &[&str] = &[
    "seq",
    "created_at",
    "started_at",
    "finished_at",
    "duration_ms",
    "status",
    "type",
    "run_id",
    "attempt",
    "trace_id",
    "project_id",
    "user_id",
    "parent_run_id",
    "subject",
    "error_type",
    "message",
    "stack",
    "metadata",
    "result",
];

const EVENT: &[&str] = &[
    "seq",
    "ts",
    "severity",
    "type",
    "run_id",
    "trace_id",
    "project_id",
    "user_id",
    "actor_type",
    "actor_id",
    "message",
    "payload",
];

const ERROR: &[&str] = &[
    "seq",
    "ts",
    "severity",
    "type",
    "message",
    "run_id",
    "trace_id",
    "project_id",
    "user_id",
    "endpoint",
    "fingerprint",
    "stack",
    "detail",
];

/// The names of the fields of a kind, as they are in JSON.
#[must_use]
pub const fn header(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Run => RUN,
        Kind::Error => ERROR,
        Kind::Event => EVENT,
    }
}

/// The fields of a record, in the order of its kind's [`header`]. What is absent is empty.
#[must_use]
pub fn fields(record: &Record<'_>) -> Vec<String> {
    match &record.body {
        Body::Run(run) => run_fields(record.seq, run),
        Body::Event(event) => event_fields(record.seq, event),
        Body::Error(error) => error_fields(record.seq, error),
    }
}

fn run_fields(seq: u64, run: &Run<'_>) -> Vec<String> {
    let error = run.error.as_ref();
    vec![
        seq.to_string(),
        some(run.created_at),
        some(run.started_at),
        some(run.finished_at),
        some(run.duration_nanos().map(Millis)),
        run.status.to_string(),
        run.run_type.to_string(),
        run.run_id.to_string(),
        some(run.attempt),
        some(run.trace_id.as_ref()),
        some(run.project_id.as_ref()),
        some(run.user_id.as_ref()),
        some(run.parent_run_id.as_ref()),
        some(run.subject.as_ref()),
        some(error.and_then(|error| error.error_type.as_ref())),
        some(error.map(|error| &error.message)),
        some(error.and_then(|error| error.stack.as_ref())),
        some(run.metadata.as_ref()),
        some(run.result.as_ref()),
    ]
}

fn event_fields(seq: u64, event: &Event<'_>) -> Vec<String> {
    vec![
        seq.to_string(),
        some(event.created_at),
        some(event.severity),
        event.event_type.to_string(),
        some(event.run_id.as_ref()),
        some(event.trace_id.as_ref()),
        some(event.project_id.as_ref()),
        some(event.user_id.as_ref()),
        some(event.actor_type),
        some(event.actor_id.as_ref()),
        some(event.message.as_ref()),
        some(event.payload.as_ref()),
    ]
}

fn error_fields(seq: u64, error: &ErrorRecord<'_>) -> Vec<String> {
    vec![
        seq.to_string(),
        some(error.created_at),
        error.severity.to_string(),
        error.error_type.to_string(),
        error.message.to_string(),
        some(error.run_id.as_ref()),
        some(error.trace_id.as_ref()),
        some(error.project_id.as_ref()),
        some(error.user_id.as_ref()),
        some(error.endpoint.as_ref()),
        some(error.fingerprint),
        some(error.stack.as_ref()),
        some(error.detail.as_ref()),
    ]
}

fn some(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// Writes one line of fields.
///
/// # Errors
/// Those of the writer.
pub fn write_row(fields: &[impl AsRef<str>], out: &mut impl Write) -> io::Result<()> {
    for (at, field) in fields.iter().enumerate() {
        if at > 0 {
            out.write_all(b",")?;
        }
        write_field(field.as_ref(), out)?;
    }
    out.write_all(b"\n")
}

/// The field as a spreadsheet takes it for text: one that begins as a formula does has an
/// apostrophe before it.
#[must_use]
pub fn unexecuted(field: &str) -> Cow<'_, str> {
    match field.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        true => Cow::Owned(format!("'{field}")),
        false => Cow::Borrowed(field),
    }
}

fn write_field(field: &str, out: &mut impl Write) -> io::Result<()> {
    if !field.contains([',', '"', '\n', '\r']) {
        return out.write_all(field.as_bytes());
    }
    out.write_all(b"\"")?;
    out.write_all(field.replace('"', "\"\"").as_bytes())?;
    out.write_all(b"\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Severity, Status};

    #[test]
    fn every_kind_has_as_many_fields_as_names() {
        let run = Run::new("r", "backup", Status::Failed).unwrap();
        assert_eq!(run_fields(1, &run).len(), header(Kind::Run).len());
        assert_eq!(event_fields(1, &Event::new("a")).len(), header(Kind::Event).len());
        let error = ErrorRecord::new("IoError", "no").severity(Severity::Critical);
        assert_eq!(error_fields(1, &error).len(), header(Kind::Error).len());
        assert_eq!(error_fields(7, &error)[..5], ["7", "", "critical", "IoError", "no"]);
    }

    #[test]
    fn what_needs_quotes_has_them() {
        let mut out = Vec::new();
        write_row(&["a", "", "b,c", "say \"hi\"", "two\nlines", "ü"], &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "a,,\"b,c\",\"say \"\"hi\"\"\",\"two\nlines\",ü\n"
        );
    }

    #[test]
    fn what_a_spreadsheet_would_execute_is_text() {
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"] {
            assert_eq!(unexecuted(formula), format!("'{formula}"));
        }
        for text in ["", "a=1", "1-1", "ü", " =1"] {
            assert_eq!(unexecuted(text), text);
        }
    }
}
