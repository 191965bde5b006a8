//! Spans and events of the `tracing` crate.

mod new_ids;
mod state;
mod trace;
mod visit;

use std::fmt;
use std::sync::{Arc, OnceLock};

use tracing_core::dispatcher::{Dispatch, WeakDispatch};
use tracing_core::span::{Attributes, Id as SpanId, Record};
use tracing_core::{Event as TracingEvent, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::{LookupSpan, SpanRef};

use crate::embed::ids::Ids;
use crate::embed::json;
use crate::embed::recorder::Recorder;
use crate::embed::spans;
use crate::embed::within::Within;
use crate::limits::MAX_NAME_BYTES;
use crate::model::{Body, ErrorRecord, Event, Json, Severity};

use state::{OpenRun, SpanState, States};
use trace::TraceOf;
use visit::{Of, Said, with_said};

/// The field that marks a run unless another is named.
const RUN_FIELD: &str = "runledger.run";

/// A layer of `tracing` that records into the ledger.
///
/// A span with the field `runledger.run` is a run: of that type, or of the span's name where the
/// field says nothing. It is opened with the span, patched when fields of the span are recorded,
/// and closed with the last clone of the span, on whatever thread. Its fields are its metadata. How
/// it ends, the first of these that holds says: the field `runledger.status`; `otel.status_code`,
/// `OK` or `ERROR`; an event of the level `ERROR` in it, or a panic that unwinds it: `failed`; else
/// `success`. A run in a run has that as its parent.
///
/// An event is an event: its type is the field `runledger.type`, else the event's name, else its
/// target; its fields are its payload, each of its type. One of the level `ERROR` is an error: its
/// type is the field `error.type` or `exception.type`, else the type of the field that holds an
/// error, else the target, and its stack is `exception.stacktrace`, `stack` or `backtrace`.
///
/// The fields `run_id`, `trace_id`, `project_id` and `user_id` of a span hold for all that happens
/// in it; those of an event for itself. One that is recorded later (`Span::record`) holds from then
/// on, but not in spans that were begun in it before: those have what held when they began. A span
/// without a parent begins a trace, unless [`LedgerLayer::trace_ids`] knows of one.
///
/// It works beside other layers and below a filter of its own (`with_filter`), and disables nothing
/// for others. A run whose opening a filter lets pass is closed, by the recorder that opened it,
/// also where a `reload` has put another layer in its place or none. What happens in the run from
/// then on is that layer's, which knows of the run only if it has the same recorder.
///
/// ```
/// use runledger::embed::{LedgerLayer, Recorder};
/// use runledger::{Durability, Ledger, Status};
/// use tracing_subscriber::layer::SubscriberExt;
/// # let dir = tempfile::tempdir()?;
/// let ledger = Ledger::open(dir.path().join("ledger"))?;
/// let recorder = Recorder::in_place(&ledger, Durability::Interval);
/// let subscriber = tracing_subscriber::registry().with(LedgerLayer::new(recorder));
/// tracing::subscriber::with_default(subscriber, || {
///     let run = tracing::info_span!("backup", runledger.run = "nightly-backup", host = "db1");
///     let _run = run.entered();
///     tracing::info!(rows = 12_004, "table dumped");
///     tracing::error!(error.type = "TimeoutError", "no answer from db2");
/// });
/// assert_eq!(ledger.query().record_type("nightly-backup").status(Status::Failed).count()?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct LedgerLayer {
    recorder: Recorder,
    /// By this the layer knows its own states of spans.
    key: usize,
    run_field: &'static str,
    run_targets: Vec<String>,
    trace_of: Option<Arc<TraceOf>>,
    /// The subscriber that it is a part of.
    dispatch: OnceLock<WeakDispatch>,
}

impl fmt::Debug for LedgerLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LedgerLayer").field("recorder", &self.recorder).finish_non_exhaustive()
    }
}

impl LedgerLayer {
    /// A layer that hands everything to this recorder.
    #[must_use]
    pub fn new(recorder: Recorder) -> Self {
        let key = recorder.identity();
        Self {
            recorder,
            key,
            run_field: RUN_FIELD,
            run_targets: Vec::new(),
            trace_of: None,
            dispatch: OnceLock::new(),
        }
    }

    /// Names the field that marks a run, `runledger.run` unless it is named.
    #[must_use]
    pub const fn run_field(mut self, name: &'static str) -> Self {
        self.run_field = name;
        self
    }

    /// Makes each span of this target a run, too: of the field's type, of `otel.name`, or of the
    /// span's name.
    #[must_use]
    pub fn run_target(mut self, target: impl Into<String>) -> Self {
        self.run_targets.push(target.into());
        self
    }

    fn is_run(&self, metadata: &Metadata<'_>) -> bool {
        metadata.fields().field(self.run_field).is_some()
            || self.run_targets.iter().any(|target| target == metadata.target())
    }

    /// What holds in a span.
    fn ids_of<'s, S: LookupSpan<'s>>(&self, span: &SpanRef<'s, S>) -> Option<Ids> {
        self.settle(span);
        Some(span.extensions().get::<States>()?.get(self.key)?.ids.clone())
    }

    fn begin<'s, S: LookupSpan<'s>>(
        &self,
        attributes: &Attributes<'_>,
        span: &SpanRef<'s, S>,
        said: &mut Said,
    ) {
        attributes.record(said);
        let metadata = attributes.metadata();
        let mut above = span.parent().and_then(|it| self.ids_of(&it)).unwrap_or_default();
        let mut ids = std::mem::take(&mut said.ids);
        let asks = ids.trace.is_none() && self.trace_of.is_some();
        if asks {
            above.trace = None;
        } else {
            let above = || above.trace.clone();
            ids.trace = ids.trace.take().or_else(above).or_else(new_ids::new_trace);
        }
        let is_run = self.is_run(metadata);
        let now = self.recorder.now();
        if is_run && ids.run.is_none() {
            ids.run = new_ids::new_run(now);
        }
        let ids = ids.or(&above);
        let mut run = is_run.then(|| {
            let named = [&said.record_type, &said.otel_name].into_iter().find(|it| !it.is_empty());
            let name = clip(named.map_or(metadata.name(), String::as_str));
            let recorder = self.recorder.clone();
            Box::new(OpenRun::new(recorder, name.to_owned(), above.run, now))
        });
        if let Some(run) = &mut run {
            run.note(said);
        }
        let opened = run.as_ref().and_then(|run| run.open(&ids, now));
        {
            let mut extensions = span.extensions_mut();
            let state = SpanState { ids, run, asks };
            match extensions.get_mut::<States>() {
                Some(states) => states.insert(self.key, state),
                None => {
                    let mut states = States::default();
                    states.insert(self.key, state);
                    extensions.insert(states);
                }
            }
        }
        if let Some(opened) = opened {
            self.recorder.take(Body::Run(opened));
        }
    }

    /// An event of any level but `ERROR`.
    fn event(&self, metadata: &Metadata<'_>, ids: &Ids, said: &mut Said) {
        let mut event = Event::new(record_type(metadata, &said.record_type));
        event.severity = Some(severity(*metadata.level()));
        event.message = (!said.message.is_empty()).then(|| said.message.as_str().into());
        if !said.payload.is_empty() {
            said.payload.insert(0, '{');
            said.payload.push('}');
            event.payload = Some(Json::trusted(said.payload.as_str()));
        }
        let mut body = Body::Event(event);
        ids.lend(&mut body);
        self.recorder.take(body);
    }

    fn error<'s, S: LookupSpan<'s>>(
        &self,
        metadata: &Metadata<'_>,
        ids: &Ids,
        span: Option<&SpanRef<'s, S>>,
        said: &mut Said,
    ) {
        let Said { message, error_text, .. } = said;
        if message.is_empty() {
            std::mem::swap(message, error_text);
        } else if !error_text.is_empty() {
            message.push_str(": ");
            message.push_str(error_text);
        }
        let named = if said.error_type.is_empty() { &said.record_type } else { &said.error_type };
        let error_type = record_type(metadata, named);
        let detail = detail(metadata, span, &said.payload);
        let mut error = ErrorRecord::new(error_type, said.message.as_str());
        error.detail = Some(Json::trusted(detail));
        error.stack = (!said.stack.is_empty()).then(|| said.stack.as_str().into());
        for span in span.into_iter().flat_map(SpanRef::scope) {
            let mut extensions = span.extensions_mut();
            let state = extensions.get_mut::<States>().and_then(|states| states.get_mut(self.key));
            if let Some(run) = state.and_then(|state| state.run.as_mut()) {
                run.note_error(error_type, &error.message);
                break;
            }
        }
        let mut body = Body::Error(error);
        ids.lend(&mut body);
        self.recorder.take(body);
    }
}

impl<S> Layer<S> for LedgerLayer
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    fn on_register_dispatch(&self, subscriber: &Dispatch) {
        // The first counts: a layer is a part of one subscriber.
        let _ = self.dispatch.set(subscriber.downgrade());
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &SpanId, context: Context<'_, S>) {
        let Some(_within) = Within::begin() else { return };
        let Some(span) = context.span(id) else { return };
        with_said(Of::Span, self.run_field, |said| self.begin(attributes, &span, said));
    }

    fn on_record(&self, id: &SpanId, values: &Record<'_>, context: Context<'_, S>) {
        let Some(_within) = Within::begin() else { return };
        let Some(span) = context.span(id) else { return };
        let now = self.recorder.now();
        let patched = with_said(Of::Span, self.run_field, |said| {
            values.record(said);
            let mut extensions = span.extensions_mut();
            let state = extensions.get_mut::<States>()?.get_mut(self.key)?;
            let mut ids = std::mem::take(&mut said.ids);
            if state.run.is_some() {
                // A run stays the one that it was opened as.
                ids.run = None;
            }
            state.ids = ids.or(&state.ids);
            spans::change(id.into_u64(), &state.ids);
            let run = state.run.as_mut()?;
            run.note(said);
            run.open(&state.ids, now)
        });
        if let Some(patched) = patched {
            self.recorder.take(Body::Run(patched));
        }
    }

    fn on_event(&self, event: &TracingEvent<'_>, context: Context<'_, S>) {
        let Some(_within) = Within::begin() else { return };
        let metadata = event.metadata();
        let is_error = *metadata.level() == Level::ERROR;
        let span = context.event_span(event);
        let of = if is_error { Of::Error } else { Of::Event };
        with_said(of, self.run_field, |said| {
            event.record(said);
            let own = std::mem::take(&mut said.ids);
            let ids = match span.as_ref().and_then(|span| self.ids_of(span)) {
                Some(above) => own.or(&above),
                None => own,
            };
            match is_error {
                true => self.error(metadata, &ids, span.as_ref(), said),
                false => self.event(metadata, &ids, said),
            }
        });
    }

    fn on_enter(&self, id: &SpanId, context: Context<'_, S>) {
        let are_followed = spans::are_followed();
        if !are_followed && self.trace_of.is_none() {
            return;
        }
        let Some(_within) = Within::begin() else { return };
        let ids = context.span(id).and_then(|span| self.ids_of(&span));
        if are_followed {
            spans::enter(id.into_u64(), ids.unwrap_or_default());
        }
    }

    fn on_exit(&self, id: &SpanId, _context: Context<'_, S>) {
        spans::exit(id.into_u64());
    }

    fn on_close(&self, id: SpanId, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        {
            let Some(_within) = Within::begin() else { return };
            self.settle(&span);
        }
        let state = span.extensions_mut().get_mut::<States>().and_then(|it| it.remove(self.key));
        // None of the span's locks is held as its run ends.
        drop(state);
    }
}

/// The type of an event: what it says, else its name where it was given one, else its target.
fn record_type<'a>(metadata: &'a Metadata<'_>, said: &'a str) -> &'a str {
    let name = metadata.name();
    // The name that `tracing` gives tells the file and the line, which change.
    let given = !name.starts_with("event ") && !name.starts_with("log ");
    let name = if given { name } else { metadata.target() };
    clip(if said.is_empty() { name } else { said })
}

/// As much of the beginning as a type can have.
fn clip(name: &str) -> &str {
    name.get(..name.floor_char_boundary(MAX_NAME_BYTES)).unwrap_or_default()
}

fn severity(level: Level) -> Severity {
    match level {
        Level::ERROR => Severity::Error,
        Level::WARN => Severity::Warning,
        Level::INFO => Severity::Info,
        Level::DEBUG => Severity::Debug,
        Level::TRACE => Severity::Trace,
    }
}

/// The particulars of an error: its fields, the spans that it happened in, and where.
fn detail<'s, S: LookupSpan<'s>>(
    metadata: &Metadata<'_>,
    span: Option<&SpanRef<'s, S>>,
    payload: &str,
) -> String {
    let mut text = String::from("{");
    if !payload.is_empty() {
        json::key(&mut text, "fields");
        json::plain(&mut text, format_args!("{{{payload}}}"));
    }
    if let Some(span) = span {
        json::key(&mut text, "spans");
        text.push('[');
        for span in span.scope().from_root() {
            json::comma(&mut text);
            json::string(&mut text, span.name());
        }
        text.push(']');
    }
    json::key(&mut text, "target");
    json::string(&mut text, metadata.target());
    if let Some(file) = metadata.file() {
        json::key(&mut text, "file");
        json::string(&mut text, file);
    }
    if let Some(line) = metadata.line() {
        json::key(&mut text, "line");
        json::plain(&mut text, format_args!("{line}"));
    }
    text.push('}');
    text
}
