//! What the fields of a span or an event say.

use std::cell::RefCell;
use std::error::Error;
use std::fmt::{self, Write};

use tracing_core::field::{Field, Visit};

use crate::embed::ids::Ids;
use crate::embed::json;
use crate::model::{Id, dyn_name, sources};

/// Buffers that grew beyond this are given back after use.
const KEEP_BYTES: usize = 64 << 10;

/// Whose fields they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Of {
    #[default]
    Event,
    /// Of an event of the level `ERROR`.
    Error,
    Span,
}

/// The fields: those that the ledger has a place for, and the others as JSON.
#[derive(Debug, Default)]
pub(super) struct Said {
    of: Of,
    /// The field that marks a run.
    marker: &'static str,
    pub(super) ids: Ids,
    /// The members of an object.
    pub(super) payload: String,
    pub(super) message: String,
    /// `runledger.type`, or what the field says that marks a run.
    pub(super) record_type: String,
    pub(super) status: String,
    /// Of an error: its type, what it says besides the message, and where it happened.
    pub(super) error_type: String,
    pub(super) error_text: String,
    pub(super) stack: String,
    /// `otel.name`, `otel.status_code` and `otel.status_description` of a span.
    pub(super) otel_name: String,
    pub(super) otel_status: String,
    pub(super) otel_description: String,
    /// The text of a value that may become an id.
    scratch: String,
    /// The members of a span's object, each by itself: a later value takes the place of an earlier.
    pub(super) members: Vec<(&'static str, String)>,
}

thread_local! {
    static SAID: RefCell<Option<Box<Said>>> = const { RefCell::new(None) };
}

/// Lends the thread's buffers.
pub(super) fn with_said<R>(of: Of, marker: &'static str, work: impl FnOnce(&mut Said) -> R) -> R {
    let lent = SAID.try_with(RefCell::take).ok().flatten();
    let mut said = lent.unwrap_or_default();
    said.reset(of, marker);
    let result = work(&mut said);
    if said.payload.capacity() + said.message.capacity() + said.stack.capacity() <= KEEP_BYTES {
        // A thread that ends needs them no more.
        let _ = SAID.try_with(|kept| kept.replace(Some(said)));
    }
    result
}

impl Said {
    fn reset(&mut self, of: Of, marker: &'static str) {
        (self.of, self.marker, self.ids) = (of, marker, Ids::default());
        for text in [
            &mut self.payload,
            &mut self.message,
            &mut self.record_type,
            &mut self.status,
            &mut self.error_type,
            &mut self.error_text,
            &mut self.stack,
            &mut self.otel_name,
            &mut self.otel_status,
            &mut self.otel_description,
        ] {
            text.clear();
        }
        self.members.clear();
    }

    /// Where the text of a field goes that is no part of the payload.
    fn place(&mut self, name: &str) -> Option<&mut String> {
        match (self.of, name) {
            (Of::Event | Of::Error, "message") => Some(&mut self.message),
            (Of::Event | Of::Error, "runledger.type" | "log.target") => Some(&mut self.record_type),
            (Of::Event | Of::Error, "log.module_path" | "log.file" | "log.line") => {
                self.scratch.clear();
                Some(&mut self.scratch)
            }
            (Of::Error, "error.type" | "exception.type") => Some(&mut self.error_type),
            (Of::Error, "exception.message") => Some(&mut self.error_text),
            (Of::Error, "stack" | "backtrace" | "exception.stacktrace") => Some(&mut self.stack),
            (Of::Span, "runledger.status") => Some(&mut self.status),
            (Of::Span, "otel.name") => Some(&mut self.otel_name),
            (Of::Span, "otel.status_code") => Some(&mut self.otel_status),
            (Of::Span, "otel.status_description" | "otel.status_message") => {
                Some(&mut self.otel_description)
            }
            (Of::Span, name) if name == self.marker => Some(&mut self.record_type),
            _ => None,
        }
    }

    fn id(&mut self, name: &str) -> Option<&mut Option<Id<'static>>> {
        match name {
            "run_id" => Some(&mut self.ids.run),
            "trace_id" => Some(&mut self.ids.trace),
            "project_id" => Some(&mut self.ids.project),
            "user_id" => Some(&mut self.ids.user),
            _ => None,
        }
    }

    /// Where the JSON of a field goes.
    fn value(&mut self, name: &'static str) -> &mut String {
        if self.of != Of::Span {
            json::key(&mut self.payload, name);
            return &mut self.payload;
        }
        let known = self.members.iter().position(|(key, _)| *key == name);
        let at = known.unwrap_or_else(|| {
            self.members.push((name, String::new()));
            self.members.len() - 1
        });
        match self.members.get_mut(at) {
            Some((_, value)) => {
                value.clear();
                value
            }
            None => &mut self.payload,
        }
    }

    /// Takes what prints: `text` as a text, `plain` as what it is in JSON.
    fn take(&mut self, name: &'static str, text: fmt::Arguments<'_>, is_plain: bool) {
        if let Some(place) = self.place(name) {
            place.clear();
            // An error is that of what is printed: as much of it as there is, is kept.
            let _ = place.write_fmt(text);
            return;
        }
        if self.take_id(name, text) {
            return;
        }
        let value = self.value(name);
        match is_plain {
            true => json::plain(value, text),
            false => json::printed(value, text),
        }
    }

    /// True when the field is an id, and its text can be one.
    fn take_id(&mut self, name: &'static str, text: fmt::Arguments<'_>) -> bool {
        if self.id(name).is_none() {
            return false;
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let _ = scratch.write_fmt(text);
        let id = Id::new(&*scratch).map(Id::into_owned).ok();
        self.scratch = scratch;
        let is_id = id.is_some();
        if let (true, Some(place)) = (is_id, self.id(name)) {
            *place = id;
        }
        is_id
    }

    /// Keeps what the fields `error` and `err` of an error say: it is the message where there is no
    /// other, and else follows it.
    fn note_error(&mut self, name: &str, text: fmt::Arguments<'_>) {
        if self.of == Of::Error && matches!(name, "error" | "err") && self.error_text.is_empty() {
            let _ = self.error_text.write_fmt(text);
        }
    }
}

impl Visit for Said {
    fn record_f64(&mut self, field: &Field, value: f64) {
        match self.place(field.name()) {
            Some(_) => self.take(field.name(), format_args!("{value}"), false),
            None => json::float(self.value(field.name()), value),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.take(field.name(), format_args!("{value}"), true);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.take(field.name(), format_args!("{value}"), true);
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.take(field.name(), format_args!("{value}"), true);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.take(field.name(), format_args!("{value}"), true);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        // A run that is marked by `true` has the name of its span.
        if !(self.of == Of::Span && field.name() == self.marker) {
            self.take(field.name(), format_args!("{value}"), true);
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.note_error(field.name(), format_args!("{value}"));
        if let Some(place) = self.place(field.name()) {
            place.clear();
            place.push_str(value);
        } else if !self.take_id(field.name(), format_args!("{value}")) {
            json::string(self.value(field.name()), value);
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.note_error(field.name(), format_args!("{value}"));
        self.take(field.name(), format_args!("{value}"), false);
        if self.of == Of::Error && self.error_type.is_empty() {
            self.error_type = dyn_name(value);
        }
        if self.of != Of::Span && value.source().is_some() {
            json::key(&mut self.payload, "error.sources");
            self.payload.push('[');
            for source in sources(value.source()) {
                json::comma(&mut self.payload);
                json::string(&mut self.payload, &source);
            }
            self.payload.push(']');
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.note_error(field.name(), format_args!("{value:?}"));
        self.take(field.name(), format_args!("{value:?}"), false);
    }
}
