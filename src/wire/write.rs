//! Records to lines.

use std::fmt::Display;
use std::io::{self, Write};

use crate::model::{Body, ErrorRecord, Event, Id, IdForm, Json, Owner, Record, Run, Timestamp};

/// Writes a record as one JSON object and a line feed.
///
/// The keys stand in one order, and what is absent is left out: `seq`, `kind`, `ts`, `type`,
/// `status` or `severity`, the ids, `recorded_at`, `supersedes`, then what the kind has of its own,
/// text before JSON. `ts` of a run is the newest of its times. `duration_ms` has up to six digits
/// of fraction. JSON values are written as they were stored, their line breaks replaced by spaces.
/// [`parse_line`](crate::wire::parse_line) reads the line again.
///
/// The writer is called for each key: hand in one that is buffered.
///
/// # Errors
/// Those of the writer.
pub fn write_record(record: &Record<'_>, out: &mut impl Write) -> io::Result<()> {
    let place = Place { recorded_at: record.recorded_at, supersedes: record.supersedes };
    let mut line = Line { out, first: true, place: Some(place) };
    line.plain("seq", record.seq)?;
    write(line, &record.body)
}

/// Writes a record that has no place in a ledger yet: as [`write_record`] does, without `seq`,
/// `recorded_at` and `supersedes`.
///
/// # Errors
/// Those of the writer.
pub fn write_body(body: &Body<'_>, out: &mut impl Write) -> io::Result<()> {
    write(Line { out, first: true, place: None }, body)
}

fn write(mut line: Line<'_, impl Write>, body: &Body<'_>) -> io::Result<()> {
    line.quoted("kind", body.kind())?;
    match body {
        Body::Run(run) => write_run(&mut line, body, run)?,
        Body::Event(event) => write_event(&mut line, body, event)?,
        Body::Error(error) => write_error(&mut line, body, error)?,
    }
    line.out.write_all(b"}\n")
}

fn write_run(line: &mut Line<'_, impl Write>, body: &Body<'_>, run: &Run<'_>) -> io::Result<()> {
    line.time("ts", run.newest_time().or(run.at))?;
    line.text("type", Some(&run.run_type))?;
    line.quoted("status", run.status)?;
    line.belongings(body)?;
    line.id("parent_run_id", run.parent_run_id.as_ref())?;
    if let Some(attempt) = run.attempt {
        line.plain("attempt", attempt)?;
    }
    if let Some(subject) = &run.subject {
        line.key("subject")?;
        let mut inner = line.inner();
        inner.text("kind", Some(subject.kind()))?;
        inner.id("id", Some(subject.id()))?;
        line.out.write_all(b"}")?;
    }
    line.time("created_at", run.created_at)?;
    line.time("started_at", run.started_at)?;
    line.time("finished_at", run.finished_at)?;
    if let Some(nanos) = run.duration_nanos() {
        line.plain("duration_ms", Millis(nanos))?;
    }
    if let Some(owner) = &run.owner {
        write_owner(line, owner)?;
    }
    if let Some(error) = &run.error {
        line.text("error_type", error.error_type.as_deref())?;
        line.text("message", Some(&error.message))?;
        line.text("stack", error.stack.as_deref())?;
    }
    line.json("metadata", run.metadata.as_ref())?;
    line.json("result", run.result.as_ref())
}

fn write_owner(line: &mut Line<'_, impl Write>, owner: &Owner<'_>) -> io::Result<()> {
    line.key("owner")?;
    let mut inner = line.inner();
    inner.text("host", Some(&owner.host))?;
    if let Some(process) = &owner.process {
        inner.plain("pid", process.pid)?;
        inner.plain("began", process.began)?;
        inner.quoted("boot_id", process.boot())?;
        inner.plain("namespace", process.namespace)?;
    }
    inner.time("lease_until", owner.lease_until)?;
    line.out.write_all(b"}")
}

fn write_event(
    line: &mut Line<'_, impl Write>,
    body: &Body<'_>,
    event: &Event<'_>,
) -> io::Result<()> {
    line.time("ts", event.created_at)?;
    line.text("type", Some(&event.event_type))?;
    if let Some(severity) = event.severity {
        line.quoted("severity", severity)?;
    }
    line.belongings(body)?;
    if let Some(actor_type) = event.actor_type {
        line.quoted("actor_type", actor_type)?;
    }
    line.id("actor_id", event.actor_id.as_ref())?;
    line.text("message", event.message.as_deref())?;
    line.json("payload", event.payload.as_ref())
}

fn write_error(
    line: &mut Line<'_, impl Write>,
    body: &Body<'_>,
    error: &ErrorRecord<'_>,
) -> io::Result<()> {
    line.time("ts", error.created_at)?;
    line.text("type", Some(&error.error_type))?;
    line.quoted("severity", error.severity)?;
    line.belongings(body)?;
    line.text("endpoint", error.endpoint.as_deref())?;
    if let Some(fingerprint) = error.fingerprint {
        line.quoted("fingerprint", fingerprint)?;
    }
    line.text("message", Some(&error.message))?;
    line.text("stack", error.stack.as_deref())?;
    line.json("detail", error.detail.as_ref())
}

/// What a ledger says of a record.
struct Place {
    recorded_at: Timestamp,
    supersedes: Option<u64>,
}

/// An object that is being written.
struct Line<'w, W> {
    out: &'w mut W,
    first: bool,
    place: Option<Place>,
}

impl<W: Write> Line<'_, W> {
    /// An object in this one.
    fn inner(&mut self) -> Line<'_, W> {
        Line { out: &mut *self.out, first: true, place: None }
    }

    /// Writes a key and what stands before it.
    fn key(&mut self, key: &str) -> io::Result<()> {
        let before = if self.first { "{\"" } else { ",\"" };
        self.first = false;
        self.out.write_all(before.as_bytes())?;
        self.out.write_all(key.as_bytes())?;
        self.out.write_all(b"\":")
    }

    fn plain(&mut self, key: &str, value: impl Display) -> io::Result<()> {
        self.key(key)?;
        write!(self.out, "{value}")
    }

    /// A value whose text needs no escapes.
    fn quoted(&mut self, key: &str, value: impl Display) -> io::Result<()> {
        self.key(key)?;
        write!(self.out, "\"{value}\"")
    }

    fn time(&mut self, key: &str, time: Option<Timestamp>) -> io::Result<()> {
        time.map_or(Ok(()), |time| self.quoted(key, time))
    }

    fn text(&mut self, key: &str, text: Option<&str>) -> io::Result<()> {
        let Some(text) = text else { return Ok(()) };
        self.key(key)?;
        Ok(serde_json::to_writer(&mut *self.out, text)?)
    }

    fn id(&mut self, key: &str, id: Option<&Id<'_>>) -> io::Result<()> {
        match id.map(|id| (id, id.form())) {
            None => Ok(()),
            Some((_, IdForm::Text(text))) => self.text(key, Some(text)),
            Some((id, _)) => self.quoted(key, id),
        }
    }

    fn json(&mut self, key: &str, json: Option<&Json<'_>>) -> io::Result<()> {
        let Some(json) = json else { return Ok(()) };
        self.key(key)?;
        // In JSON a raw line break can only stand between tokens, where any white space will do.
        let mut pieces = json.as_str().split(['\n', '\r']);
        if let Some(piece) = pieces.next() {
            self.out.write_all(piece.as_bytes())?;
        }
        for piece in pieces {
            self.out.write_all(b" ")?;
            self.out.write_all(piece.as_bytes())?;
        }
        Ok(())
    }

    /// What a record of any kind belongs to, and its place in the ledger.
    fn belongings(&mut self, body: &Body<'_>) -> io::Result<()> {
        self.id("trace_id", body.trace_id())?;
        self.id("run_id", body.run_id())?;
        self.id("project_id", body.project_id())?;
        self.id("user_id", body.user_id())?;
        if let Some(Place { recorded_at, supersedes }) = self.place.take() {
            self.quoted("recorded_at", recorded_at)?;
            supersedes.map_or(Ok(()), |seq| self.plain("supersedes", seq))?;
        }
        let Some(origin) = body.origin() else { return Ok(()) };
        self.key("origin")?;
        let mut inner = self.inner();
        inner.quoted("ledger", origin.ledger_id())?;
        inner.plain("seq", origin.seq)?;
        self.out.write_all(b"}")
    }
}

/// Nanoseconds that print as milliseconds, exactly.
pub(super) struct Millis(pub(super) i64);

impl Display for Millis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let nanos = self.0.unsigned_abs();
        write!(f, "{sign}{}", nanos / 1_000_000)?;
        match nanos % 1_000_000 {
            0 => Ok(()),
            rest => write!(f, ".{}", format!("{rest:06}").trim_end_matches('0')),
        }
    }
}
