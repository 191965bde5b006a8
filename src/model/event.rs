use std::borrow::Cow;

use crate::model::{ActorType, Id, Json, Origin, Severity, Timestamp, setters};

/// Something that happened, usually in a run.
///
/// ```
/// use runledger::{Event, Json, Severity};
/// let event = Event::new("mail.sent")
///     .severity(Severity::Info)
///     .payload(Json::parse(r#"{"to":"a@example.org"}"#)?);
/// assert_eq!(event.event_type, "mail.sent");
/// # Ok::<(), runledger::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event<'a> {
    /// What happened, such as `mail.sent`; 1 to 256 bytes.
    pub event_type: Cow<'a, str>,
    /// The particulars.
    pub payload: Option<Json<'a>>,
    /// For people to read.
    pub message: Option<Cow<'a, str>>,
    /// How bad it is.
    pub severity: Option<Severity>,
    /// The trace it belongs to.
    pub trace_id: Option<Id<'a>>,
    /// The project it belongs to.
    pub project_id: Option<Id<'a>>,
    /// The run it belongs to.
    pub run_id: Option<Id<'a>>,
    /// The user it belongs to.
    pub user_id: Option<Id<'a>>,
    /// Who caused it.
    pub actor_type: Option<ActorType>,
    /// Which user, or which part of the system.
    pub actor_id: Option<Id<'a>>,
    /// When it happened; the time of the append when absent.
    pub created_at: Option<Timestamp>,
    /// Where it was first, when it was merged from another ledger.
    pub origin: Option<Origin>,
}

impl<'a> Event<'a> {
    /// An event of this type.
    #[must_use]
    pub fn new(event_type: impl Into<Cow<'a, str>>) -> Self {
        Self {
            event_type: event_type.into(),
            payload: None,
            message: None,
            severity: None,
            trace_id: None,
            project_id: None,
            run_id: None,
            user_id: None,
            actor_type: None,
            actor_id: None,
            created_at: None,
            origin: None,
        }
    }

    setters! {
        /// Sets the particulars.
        payload: payload = Json<'a> => Some;
        /// Sets the text for people.
        message: message = Cow<'a, str> => Some;
        /// Sets how bad it is.
        severity: severity = Severity => Some;
        /// Sets the trace.
        trace_id: trace_id = Id<'a> => Some;
        /// Sets the project.
        project_id: project_id = Id<'a> => Some;
        /// Sets the run.
        run_id: run_id = Id<'a> => Some;
        /// Sets the user it belongs to.
        user_id: user_id = Id<'a> => Some;
        /// Sets who caused it.
        actor_type: actor_type = ActorType => Some;
        /// Sets which user or part caused it.
        actor_id: actor_id = Id<'a> => Some;
        /// Sets when it happened.
        created_at: created_at = Timestamp => Some;
    }

    /// The same event, borrowing nothing.
    #[must_use]
    pub fn into_owned(self) -> Event<'static> {
        Event {
            event_type: Cow::Owned(self.event_type.into_owned()),
            payload: self.payload.map(Json::into_owned),
            message: self.message.map(|text| Cow::Owned(text.into_owned())),
            severity: self.severity,
            trace_id: self.trace_id.map(Id::into_owned),
            project_id: self.project_id.map(Id::into_owned),
            run_id: self.run_id.map(Id::into_owned),
            user_id: self.user_id.map(Id::into_owned),
            actor_type: self.actor_type,
            actor_id: self.actor_id.map(Id::into_owned),
            created_at: self.created_at,
            origin: self.origin,
        }
    }

    /// The same event, borrowing from this one.
    #[must_use]
    pub fn borrowed(&self) -> Event<'_> {
        Event {
            event_type: Cow::Borrowed(&self.event_type),
            payload: self.payload.as_ref().map(Json::borrowed),
            message: self.message.as_deref().map(Cow::Borrowed),
            severity: self.severity,
            trace_id: self.trace_id.as_ref().map(Id::borrowed),
            project_id: self.project_id.as_ref().map(Id::borrowed),
            run_id: self.run_id.as_ref().map(Id::borrowed),
            user_id: self.user_id.as_ref().map(Id::borrowed),
            actor_type: self.actor_type,
            actor_id: self.actor_id.as_ref().map(Id::borrowed),
            created_at: self.created_at,
            origin: self.origin,
        }
    }
}
