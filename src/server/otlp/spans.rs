//! Spans as runs and events.

use std::borrow::Cow;

use serde_json::Value;

use crate::model::{Body, Id, Run, RunError, Severity, Status};
use crate::server::otlp::records::{self, Exception, Rest, Told};
use crate::server::otlp::{Refusal, Source, Span, SpanEvent};

/// The code of a span's status that says it has failed.
const FAILED: i32 = 2;

/// The records of a span: its own, and those of its events.
pub(super) fn of_span(mut span: Span, source: &Source) -> Result<Told, Refusal> {
    let trace = records::trace(&span.trace_id).ok_or("a span needs a trace id of 16 bytes")?;
    let id = records::span_id(&span.span_id).ok_or("a span needs an id of 8 bytes")?;
    let is_root = span.parent.iter().all(|byte| *byte == 0);
    let events = std::mem::take(&mut span.events);
    let mut bodies = Vec::with_capacity(1 + events.len());
    let mut last = None;
    for event in events {
        let body = of_event(event, source, &trace, &id)?;
        if let Body::Error(error) = &body {
            let mut of_run = RunError::new(error.message.clone());
            of_run.error_type = Some(error.error_type.clone());
            of_run.stack.clone_from(&error.stack);
            last = Some(of_run);
        }
        bodies.push(body);
    }
    if !is_root {
        bodies.insert(0, of_child(span, source, trace, id)?);
        return Ok(Told { run: None, bodies });
    }
    bodies.insert(0, of_root(span, source, trace.clone(), &id, last)?.into());
    Ok(Told { run: Some((trace, id)), bodies })
}

/// The id of the span that a run was made of.
pub(super) fn span_of(run: &Run<'_>) -> Option<String> {
    let metadata: Value = run.metadata.as_ref()?.to_value().ok()?;
    Some(metadata.get("span_id")?.as_str()?.to_owned())
}

fn rest(span: &mut Span, source: &Source, id: &str) -> Rest {
    let own = std::mem::take(&mut span.rest);
    let mut rest = Rest::new(source, std::mem::take(&mut span.attributes), own);
    if !span.links.is_empty() {
        rest.add("links", std::mem::take(&mut span.links));
    }
    rest.add_number("dropped_links_count", span.dropped_links);
    rest.add("span_id", id);
    rest.add("kind", kind(span.kind).unwrap_or_default());
    rest
}

fn of_root(
    mut span: Span,
    source: &Source,
    trace: Id<'static>,
    id: &str,
    error: Option<RunError<'static>>,
) -> Result<Run<'static>, Refusal> {
    let is_failed = span.status == FAILED;
    let status = if is_failed { Status::Failed } else { Status::Success };
    let mut rest = rest(&mut span, source, id);
    let (start, end) = (records::time(span.start)?, records::time(span.end)?);
    let mut run = Run::with_id(trace.clone(), records::name(&[&span.name], "span"), status);
    if run.run_type != span.name {
        rest.add("name", span.name);
    }
    run.trace_id = Some(trace);
    run.at = end.or(start);
    run.created_at = start;
    run.started_at = start;
    if is_failed {
        let mut error = error.unwrap_or_else(|| RunError::new(""));
        match error.message.is_empty() {
            true => error.message = Cow::Owned(span.message),
            false if error.message != span.message => rest.add("status_message", span.message),
            false => {}
        }
        run.error = Some(error);
    }
    run.metadata = rest.json()?;
    Ok(run)
}

fn of_child(
    mut span: Span,
    source: &Source,
    trace: Id<'static>,
    id: String,
) -> Result<Body<'static>, Refusal> {
    let mut rest = rest(&mut span, source, &id);
    rest.add("parent_span_id", records::span_id(&span.parent));
    let mut event = records::event(records::name(&[&span.name], "span"), source);
    event.created_at = records::time(span.start)?;
    if records::time(span.end)?.is_some() && span.start > 0 {
        // Nanoseconds are kept as the fraction that they are of a millisecond.
        let nanos = i128::from(span.end) - i128::from(span.start);
        #[expect(
            clippy::cast_precision_loss,
            reason = "years of nanoseconds, told in milliseconds"
        )]
        rest.add("duration_ms", nanos as f64 / 1e6);
    }
    if event.event_type != span.name {
        rest.add("name", span.name);
    }
    if span.status == FAILED {
        event.severity = Some(Severity::Error);
    }
    event.message = (!span.message.is_empty()).then_some(Cow::Owned(span.message));
    event.payload = rest.json()?;
    event.run_id = Some(trace.clone());
    event.trace_id = Some(trace);
    Ok(event.into())
}

/// An event of a span as an error or an event.
fn of_event(
    event: SpanEvent,
    source: &Source,
    trace: &Id<'static>,
    span: &str,
) -> Result<Body<'static>, Refusal> {
    let SpanEvent { time, name, mut attributes, rest } = event;
    let at = records::time(time)?;
    let (trace, run) = (Some(trace.clone()), Some(trace.clone()));
    let exception = Exception::take(&mut attributes);
    let name = records::name(&[&name], "event");
    // The span's own record says where it comes from.
    let own = &Source::default();
    if let Some(exception) = exception {
        let (mut error, mut rest) = records::error(exception, name, own, attributes, rest);
        rest.add("span_id", span);
        error.detail = rest.json()?;
        (error.created_at, error.trace_id, error.run_id) = (at, trace, run);
        return Ok(error.into());
    }
    let mut event = records::event(name, source);
    let mut rest = Rest::new(own, attributes, rest);
    rest.add("span_id", span);
    event.payload = rest.json()?;
    (event.created_at, event.trace_id, event.run_id) = (at, trace, run);
    Ok(event.into())
}

/// What the span is to others; `None` where it says nothing.
const fn kind(number: i32) -> Option<&'static str> {
    match number {
        1 => Some("internal"),
        2 => Some("server"),
        3 => Some("client"),
        4 => Some("producer"),
        5 => Some("consumer"),
        _ => None,
    }
}
