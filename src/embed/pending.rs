//! Records that wait to be written, side by side in buffers that are used again.

use std::borrow::Cow;
use std::sync::Arc;

use crate::embed::append::Outcome;
use crate::error::Error;
use crate::model::{Body, Event, Json, Run, Timestamp};

/// What a record costs of the bound on bytes besides its text.
const OVERHEAD: usize = 256;

/// Buffers that grew beyond this are given back after use.
const KEEP_BYTES: usize = 1 << 20;

/// How much may wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) records: usize,
    pub(super) bytes: usize,
}

#[derive(Debug, Default)]
pub(super) struct Pending {
    records: Vec<Waiting>,
    /// The text of the events, one after the other.
    text: String,
    /// Those who wait for what becomes of a record, by its place.
    replies: Vec<(usize, Arc<Outcome>)>,
    /// What all of it costs.
    pub(super) weight: usize,
    /// True when one of them is to be on stable storage before it is answered.
    pub(super) wants_sync: bool,
}

/// One record.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "most are events, and cost no allocation")]
enum Waiting {
    Event { rest: Event<'static>, text: Spans },
    Other(Box<Body<'static>>),
}

/// Where an event's text ends that begins where the one before has ended.
#[derive(Debug)]
struct Spans {
    start: usize,
    event_type: usize,
    message: usize,
    payload: usize,
}

/// What a record costs of the bound on bytes.
pub(super) fn weight(body: &Body<'_>) -> usize {
    OVERHEAD + body.text_bytes()
}

impl Pending {
    pub(super) const fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Takes a record of this weight.
    pub(super) fn push(&mut self, body: Body<'_>, weight: usize) {
        self.weight += weight;
        let waiting = match body {
            Body::Event(event) => self.event(event),
            other => Waiting::Other(Box::new(other.into_owned())),
        };
        self.records.push(waiting);
    }

    /// Takes a record of which somebody waits to hear.
    pub(super) fn push_with_reply(&mut self, body: Body<'_>, weight: usize, reply: &Arc<Outcome>) {
        self.replies.push((self.records.len(), Arc::clone(reply)));
        self.push(body, weight);
    }

    fn event(&mut self, event: Event<'_>) -> Waiting {
        let mut put = |text: &str| {
            self.text.push_str(text);
            self.text.len()
        };
        let start = put("");
        let event_type = put(&event.event_type);
        let message = put(event.message.as_deref().unwrap_or_default());
        let payload = put(event.payload.as_ref().map_or("", Json::as_str));
        // What is left of it holds no text, but for ids that are no UUID and no number.
        let rest = Event {
            event_type: Cow::Borrowed(""),
            message: event.message.map(|_| Cow::Borrowed("")),
            payload: event.payload.map(|_| Json::trusted("")),
            ..event
        };
        let text = Spans { start, event_type, message, payload };
        Waiting::Event { rest: rest.into_owned(), text }
    }

    /// The records as they are appended. `own` completes the states of runs.
    pub(super) fn bodies<'a>(&'a self, own: impl Fn(&mut Run<'a>)) -> Vec<Body<'a>> {
        let text = |from: usize, to: usize| self.text.get(from..to).unwrap_or_default();
        let body = |waiting: &'a Waiting| match waiting {
            Waiting::Event { rest, text: at } => {
                let mut event = rest.borrowed();
                event.event_type = Cow::Borrowed(text(at.start, at.event_type));
                if event.message.is_some() {
                    event.message = Some(Cow::Borrowed(text(at.event_type, at.message)));
                }
                if event.payload.is_some() {
                    event.payload = Some(Json::trusted(text(at.message, at.payload)));
                }
                Body::Event(event)
            }
            Waiting::Other(other) => match other.borrowed() {
                Body::Run(mut run) => {
                    own(&mut run);
                    Body::Run(run)
                }
                body => body,
            },
        };
        self.records.iter().map(body).collect()
    }

    /// Those who wait for what becomes of a record, by its place.
    pub(super) fn replies(&self) -> impl Iterator<Item = (usize, &Arc<Outcome>)> {
        self.replies.iter().map(|(at, reply)| (*at, reply))
    }

    /// Empties it, and keeps what it was made of.
    pub(super) fn clear(&mut self) {
        self.records.clear();
        self.replies.clear();
        self.text.clear();
        self.text.shrink_to(KEEP_BYTES);
        (self.weight, self.wants_sync) = (0, false);
    }
}

/// Gives a record the time at which it was handed over, where it has none: it is appended later.
pub(super) fn date(body: &mut Body<'_>, now: Timestamp) {
    match body {
        Body::Run(run) => drop(run.at.get_or_insert(now)),
        Body::Event(event) => drop(event.created_at.get_or_insert(now)),
        Body::Error(error) => drop(error.created_at.get_or_insert(now)),
    }
}

impl Drop for Pending {
    /// Nobody waits for ever for what was thrown away.
    fn drop(&mut self) {
        self.replies().for_each(|(_, reply)| reply.set(Err(Error::Closed)));
    }
}
