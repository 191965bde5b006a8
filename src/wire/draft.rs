//! A line in the making: what its keys have given so far, whichever their order.

use std::borrow::Cow;
use std::str::FromStr;

use serde::Deserialize;

use crate::error::Error;
use crate::limits::{MAX_ID_BYTES, MAX_JSON_DEPTH, MAX_NAME_BYTES};
use crate::model::{
    ActorType, Body, ErrorRecord, Event, Id, Json, Kind, Run, RunError, Severity, Status, Subject,
    Timestamp,
};
use crate::wire::key::{Key, KeySet};
use crate::wire::line_error::clip;
use crate::wire::{LineError, ParseOptions};

/// A JSON value that is not kept as text.
pub(super) enum Scalar<'a> {
    /// `null`, which is the same as nothing.
    Null,
    /// A string.
    Text(Cow<'a, str>),
    /// A whole number that is not negative.
    Whole(u64),
    /// Anything else, by its name.
    Other(&'static str),
}

/// The values of a line's keys.
#[derive(Default)]
pub(super) struct Draft<'a> {
    /// What the line says it is.
    pub(super) kind: Option<Kind>,
    given: KeySet,
    type_name: Option<Cow<'a, str>>,
    status: Option<Status>,
    severity: Option<Severity>,
    ts: Option<Timestamp>,
    created_at: Option<Timestamp>,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    trace_id: Option<Id<'a>>,
    run_id: Option<Id<'a>>,
    project_id: Option<Id<'a>>,
    user_id: Option<Id<'a>>,
    parent_run_id: Option<Id<'a>>,
    actor_id: Option<Id<'a>>,
    actor_type: Option<ActorType>,
    attempt: Option<u32>,
    subject: Option<Subject<'a>>,
    error_type: Option<Cow<'a, str>>,
    message: Option<Cow<'a, str>>,
    stack: Option<Cow<'a, str>>,
    endpoint: Option<Cow<'a, str>>,
    /// Metadata, payload or detail: each kind has one of them.
    json: Option<Json<'a>>,
    result: Option<Json<'a>>,
}

impl<'a> Draft<'a> {
    /// Notes that the line has this key.
    pub(super) fn note(&mut self, key: Key) -> Result<(), LineError> {
        if self.given.insert(key) {
            Ok(())
        } else {
            Err(LineError::DuplicateKey { key: key.name() })
        }
    }

    /// Takes the value of a key that holds text or a number.
    pub(super) fn set(&mut self, key: Key, value: Scalar<'a>) -> Result<(), LineError> {
        let text = match value {
            Scalar::Null => return Ok(()),
            Scalar::Text(text) if key != Key::Attempt => text,
            Scalar::Whole(number) if key == Key::Attempt => {
                self.attempt = Some(attempt(number)?);
                return Ok(());
            }
            other => return Err(wrong_type(key, &other)),
        };
        match key {
            Key::Kind => self.kind = Some(name(key, &text)?),
            Key::Type => self.type_name = Some(bounded(key, text)?),
            Key::Status => self.status = Some(name(key, &text)?),
            Key::Severity => self.severity = Some(name(key, &text)?),
            Key::ActorType => self.actor_type = Some(name(key, &text)?),
            Key::Ts => self.ts = Some(time(key, &text)?),
            Key::CreatedAt => self.created_at = Some(time(key, &text)?),
            Key::StartedAt => self.started_at = Some(time(key, &text)?),
            Key::FinishedAt => self.finished_at = Some(time(key, &text)?),
            Key::TraceId => self.trace_id = Some(id(key, text)?),
            Key::RunId => self.run_id = Some(id(key, text)?),
            Key::ProjectId => self.project_id = Some(id(key, text)?),
            Key::UserId => self.user_id = Some(id(key, text)?),
            Key::ParentRunId => self.parent_run_id = Some(id(key, text)?),
            Key::ActorId => self.actor_id = Some(id(key, text)?),
            Key::ErrorType => self.error_type = Some(text),
            Key::Message => self.message = Some(text),
            Key::Stack => self.stack = Some(text),
            Key::Endpoint => self.endpoint = Some(text),
            // The other keys are not handed to this function: they hold JSON, or are not read.
            _ => {}
        }
        Ok(())
    }

    /// Takes the value of a key that holds JSON, as the text that was read and checked.
    pub(super) fn set_json(&mut self, key: Key, text: &'a str) -> Result<(), LineError> {
        if text == "null" {
            return Ok(());
        }
        let Some(json) = Json::checked(text) else {
            return Err(LineError::TooDeep { key: key.name(), limit: MAX_JSON_DEPTH });
        };
        match key {
            Key::Subject => self.subject = Some(subject(text)?),
            Key::Result => self.result = Some(json),
            _ => self.json = Some(json),
        }
        Ok(())
    }

    /// Makes the record of it.
    pub(super) fn finish(mut self, options: &ParseOptions) -> Result<Body<'a>, LineError> {
        let kind = self.kind.or(options.kind);
        let kind = kind.ok_or_else(|| missing(Key::Kind, "run, event or error"))?;
        if let Some(key) = self.given.foreign_to(kind).filter(|_| !options.lenient) {
            return Err(foreign(key, kind));
        }
        let type_name =
            self.type_name.take().ok_or_else(|| missing(Key::Type, "a type such as mail.sent"))?;
        match kind {
            Kind::Run => self.run(type_name).map(Body::Run),
            Kind::Event => self.event(type_name).map(Body::Event),
            Kind::Error => self.error(type_name, options.lenient).map(Body::Error),
        }
    }

    fn run(self, run_type: Cow<'a, str>) -> Result<Run<'a>, LineError> {
        let run_id = self.run_id.ok_or_else(|| missing(Key::RunId, "the id of the run"))?;
        let status = self
            .status
            .ok_or_else(|| missing(Key::Status, "a status such as running, success or failed"))?;
        let error = (self.message.is_some() || self.stack.is_some() || self.error_type.is_some())
            .then(|| RunError {
                error_type: self.error_type,
                message: self.message.unwrap_or_default(),
                stack: self.stack,
            });
        Ok(Run {
            run_id,
            run_type,
            status,
            at: self.ts,
            trace_id: self.trace_id,
            project_id: self.project_id,
            user_id: self.user_id,
            parent_run_id: self.parent_run_id,
            attempt: self.attempt,
            subject: self.subject,
            created_at: self.created_at,
            started_at: self.started_at,
            finished_at: self.finished_at,
            error,
            metadata: self.json,
            result: self.result,
            owner: None,
            origin: None,
        })
    }

    fn event(self, event_type: Cow<'a, str>) -> Result<Event<'a>, LineError> {
        let created_at = self.moment()?;
        Ok(Event {
            event_type,
            payload: self.json,
            message: self.message,
            severity: self.severity,
            trace_id: self.trace_id,
            project_id: self.project_id,
            run_id: self.run_id,
            user_id: self.user_id,
            actor_type: self.actor_type,
            actor_id: self.actor_id,
            created_at,
            origin: None,
        })
    }

    fn error(self, error_type: Cow<'a, str>, lenient: bool) -> Result<ErrorRecord<'a>, LineError> {
        let created_at = self.moment()?;
        let severity = self.severity.unwrap_or(Severity::Error);
        if severity < Severity::Warning {
            return Err(LineError::UnknownName {
                key: "severity of an error",
                value: severity.name().to_owned(),
                expected: "warning error critical".to_owned(),
            });
        }
        let message = match self.message {
            None if !lenient => return Err(missing(Key::Message, "what the error says")),
            message => message.unwrap_or_default(),
        };
        Ok(ErrorRecord {
            error_type,
            message,
            stack: self.stack,
            detail: self.json,
            severity,
            trace_id: self.trace_id,
            project_id: self.project_id,
            run_id: self.run_id,
            user_id: self.user_id,
            endpoint: self.endpoint,
            created_at,
            fingerprint: None,
            origin: None,
        })
    }

    /// When an event or error happened: `ts`, or its other name.
    fn moment(&self) -> Result<Option<Timestamp>, LineError> {
        match (self.ts, self.created_at) {
            (Some(ts), Some(created_at)) if ts != created_at => Err(LineError::TimesDiffer),
            (ts, created_at) => Ok(ts.or(created_at)),
        }
    }
}

/// The refusal of a key that belongs to another kind.
pub(super) fn foreign(key: Key, kind: Kind) -> LineError {
    LineError::ForeignKey { key: key.name(), kind, owners: key.owners() }
}

fn missing(key: Key, expected: &'static str) -> LineError {
    LineError::MissingKey { key: key.name(), expected }
}

fn wrong_type(key: Key, value: &Scalar<'_>) -> LineError {
    let found = match value {
        Scalar::Null => "null",
        Scalar::Text(_) => "a string",
        Scalar::Whole(_) => "a number",
        Scalar::Other(name) => name,
    };
    let expected = match key {
        Key::Attempt => "a whole number from 1, without quotes",
        _ => "a string, in quotes",
    };
    LineError::WrongType { key: key.name(), found, expected }
}

/// A value that is one of a few names.
fn name<T: FromStr<Err = Error>>(key: Key, text: &str) -> Result<T, LineError> {
    text.parse().map_err(|err| LineError::UnknownName {
        key: key.name(),
        value: clip(text),
        expected: expectation(err).trim_start_matches("one of: ").to_owned(),
    })
}

fn time(key: Key, text: &str) -> Result<Timestamp, LineError> {
    text.parse().map_err(|err| LineError::Time {
        key: key.name(),
        value: clip(text),
        expected: expectation(err),
    })
}

fn id<'a>(key: Key, text: Cow<'a, str>) -> Result<Id<'a>, LineError> {
    within(key, &text, MAX_ID_BYTES)?;
    // The length is all that an id can be refused for.
    Id::new(text).map_err(|_| length(key, "", MAX_ID_BYTES))
}

fn bounded<'a>(key: Key, text: Cow<'a, str>) -> Result<Cow<'a, str>, LineError> {
    within(key, &text, MAX_NAME_BYTES)?;
    Ok(text)
}

fn within(key: Key, text: &str, limit: usize) -> Result<(), LineError> {
    if text.is_empty() || text.len() > limit { Err(length(key, text, limit)) } else { Ok(()) }
}

fn length(key: Key, text: &str, limit: usize) -> LineError {
    LineError::Length { key: key.name(), value: clip(text), bytes: text.len(), limit }
}

fn attempt(number: u64) -> Result<u32, LineError> {
    u32::try_from(number).ok().filter(|&number| number > 0).ok_or(LineError::WrongType {
        key: Key::Attempt.name(),
        found: "a number out of range",
        expected: "a whole number from 1 to 4294967295",
    })
}

/// The two forms of a subject.
#[derive(Deserialize)]
#[serde(untagged)]
enum SubjectShape<'a> {
    Text(#[serde(borrow)] Cow<'a, str>),
    Parts(SubjectParts<'a>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubjectParts<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
}

fn subject<'a>(text: &'a str) -> Result<Subject<'a>, LineError> {
    const FORMS: &str = r#"{"kind":"booking","id":"B-1041"} or "booking:B-1041""#;
    let refused = |expected: String| LineError::Subject { value: clip(text), expected };
    let shape = serde_json::from_str(text).map_err(|_| refused(FORMS.to_owned()))?;
    let (kind, id) = match shape {
        SubjectShape::Parts(parts) => (parts.kind, parts.id),
        SubjectShape::Text(text) => match split(text) {
            Some(parts) => parts,
            None => return Err(refused(FORMS.to_owned())),
        },
    };
    Subject::new(kind, id).map_err(|err| refused(expectation(err)))
}

/// Splits `kind:id`, borrowing where the text is borrowed.
fn split(text: Cow<'_, str>) -> Option<(Cow<'_, str>, Cow<'_, str>)> {
    match text {
        Cow::Borrowed(text) => {
            text.split_once(':').map(|(kind, id)| (Cow::Borrowed(kind), Cow::Borrowed(id)))
        }
        Cow::Owned(text) => {
            let (kind, id) = text.split_once(':')?;
            Some((Cow::Owned(kind.to_owned()), Cow::Owned(id.to_owned())))
        }
    }
}

/// What the model says it would have taken.
fn expectation(err: Error) -> String {
    match err {
        Error::Invalid { expected, .. } => expected,
        other => other.to_string(),
    }
}
