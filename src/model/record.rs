use std::borrow::Cow;

use crate::model::{ErrorRecord, Event, Id, Json, Kind, Origin, Run, RunError, Timestamp};

/// What a record holds: handed to an append, and given back by a query.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Body<'a> {
    /// A state of a run.
    Run(Run<'a>),
    /// An event.
    Event(Event<'a>),
    /// An error.
    Error(ErrorRecord<'a>),
}

impl Body<'_> {
    /// Which of the three it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Run(_) => Kind::Run,
            Self::Event(_) => Kind::Event,
            Self::Error(_) => Kind::Error,
        }
    }

    /// Its type.
    #[must_use]
    pub fn type_name(&self) -> &str {
        match self {
            Self::Run(run) => &run.run_type,
            Self::Event(event) => &event.event_type,
            Self::Error(error) => &error.error_type,
        }
    }

    /// How many bytes its texts and its JSON take: what of a record may be long. Its ids, its
    /// subject and its owner do not count, of which each has a bound.
    ///
    /// ```
    /// use runledger::{Body, Event};
    ///
    /// assert_eq!(Body::from(Event::new("mail").message("sent")).text_bytes(), 8);
    /// ```
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        let text = |text: &Option<Cow<'_, str>>| text.as_deref().map_or(0, str::len);
        let json = |json: &Option<Json<'_>>| json.as_ref().map_or(0, |json| json.as_str().len());
        let of_type = self.type_name().len();
        of_type
            + match self {
                Self::Run(run) => {
                    let of_error = |error: &RunError<'_>| {
                        error.message.len() + text(&error.stack) + text(&error.error_type)
                    };
                    let error = run.error.as_ref().map_or(0, of_error);
                    json(&run.metadata) + json(&run.result) + error
                }
                Self::Event(event) => text(&event.message) + json(&event.payload),
                Self::Error(error) => {
                    error.message.len()
                        + text(&error.stack)
                        + text(&error.endpoint)
                        + json(&error.detail)
                }
            }
    }

    /// The trace it belongs to.
    #[must_use]
    pub const fn trace_id(&self) -> Option<&Id<'_>> {
        match self {
            Self::Run(run) => run.trace_id.as_ref(),
            Self::Event(event) => event.trace_id.as_ref(),
            Self::Error(error) => error.trace_id.as_ref(),
        }
    }

    /// The run that it is or belongs to.
    #[must_use]
    pub const fn run_id(&self) -> Option<&Id<'_>> {
        match self {
            Self::Run(run) => Some(&run.run_id),
            Self::Event(event) => event.run_id.as_ref(),
            Self::Error(error) => error.run_id.as_ref(),
        }
    }

    /// The project it belongs to.
    #[must_use]
    pub const fn project_id(&self) -> Option<&Id<'_>> {
        match self {
            Self::Run(run) => run.project_id.as_ref(),
            Self::Event(event) => event.project_id.as_ref(),
            Self::Error(error) => error.project_id.as_ref(),
        }
    }

    /// The user it belongs to.
    #[must_use]
    pub const fn user_id(&self) -> Option<&Id<'_>> {
        match self {
            Self::Run(run) => run.user_id.as_ref(),
            Self::Event(event) => event.user_id.as_ref(),
            Self::Error(error) => error.user_id.as_ref(),
        }
    }

    /// Where it was first, when it was merged from another ledger.
    #[must_use]
    pub const fn origin(&self) -> Option<Origin> {
        match self {
            Self::Run(run) => run.origin,
            Self::Event(event) => event.origin,
            Self::Error(error) => error.origin,
        }
    }

    /// When it came to be. A stored record always has this.
    #[must_use]
    pub const fn created_at(&self) -> Option<Timestamp> {
        match self {
            Self::Run(run) => run.created_at,
            Self::Event(event) => event.created_at,
            Self::Error(error) => error.created_at,
        }
    }

    /// The same record, borrowing from this one.
    #[must_use]
    pub fn borrowed(&self) -> Body<'_> {
        match self {
            Self::Run(run) => Body::Run(run.borrowed()),
            Self::Event(event) => Body::Event(event.borrowed()),
            Self::Error(error) => Body::Error(error.borrowed()),
        }
    }

    /// The same record, borrowing nothing.
    #[must_use]
    pub fn into_owned(self) -> Body<'static> {
        match self {
            Self::Run(run) => Body::Run(run.into_owned()),
            Self::Event(event) => Body::Event(event.into_owned()),
            Self::Error(error) => Body::Error(error.into_owned()),
        }
    }
}

impl<'a> From<Run<'a>> for Body<'a> {
    fn from(run: Run<'a>) -> Self {
        Self::Run(run)
    }
}

impl<'a> From<Event<'a>> for Body<'a> {
    fn from(event: Event<'a>) -> Self {
        Self::Event(event)
    }
}

impl<'a> From<ErrorRecord<'a>> for Body<'a> {
    fn from(error: ErrorRecord<'a>) -> Self {
        Self::Error(error)
    }
}

/// A stored record: its place in the ledger and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record<'a> {
    /// Its sequence number, which is its id: unique in the ledger and never used again.
    pub seq: u64,
    /// When it was appended, by the clock of the machine that appended it.
    pub recorded_at: Timestamp,
    /// The sequence number of the record of the same run that this one takes the place of.
    pub supersedes: Option<u64>,
    /// What it holds.
    pub body: Body<'a>,
}

impl<'a> Record<'a> {
    /// A record at this place, for programs that read segments by themselves.
    #[must_use]
    pub const fn new(
        seq: u64,
        recorded_at: Timestamp,
        supersedes: Option<u64>,
        body: Body<'a>,
    ) -> Self {
        Self { seq, recorded_at, supersedes, body }
    }

    /// The same record, borrowing nothing.
    #[must_use]
    pub fn into_owned(self) -> Record<'static> {
        Record {
            seq: self.seq,
            recorded_at: self.recorded_at,
            supersedes: self.supersedes,
            body: self.body.into_owned(),
        }
    }
}
