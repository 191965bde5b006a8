use std::borrow::Cow;

use crate::error::Result;
use crate::model::{Id, Json, Origin, Owner, Status, Subject, Timestamp, setters};

/// A state of an automation run.
///
/// Every append of a run writes its whole state: what a later append leaves out is taken from the
/// run's newest record, so the newest record alone is the run.
///
/// ```
/// use runledger::{Json, Run, Status};
/// let run = Run::new("run-1", "nightly-backup", Status::Running)?
///     .project_id(runledger::Id::new("billing")?)
///     .metadata(Json::parse(r#"{"host":"db1"}"#)?);
/// assert_eq!(run.status, Status::Running);
/// # Ok::<(), runledger::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Run<'a> {
    /// Which run.
    pub run_id: Id<'a>,
    /// What it does, such as `nightly-backup`; 1 to 256 bytes.
    pub run_type: Cow<'a, str>,
    /// The status it is in from `at` on.
    pub status: Status,
    /// When it entered that status; the time of the append when absent. On a record that was read
    /// it is the newest of its times.
    pub at: Option<Timestamp>,
    /// The trace it belongs to.
    pub trace_id: Option<Id<'a>>,
    /// The project it belongs to.
    pub project_id: Option<Id<'a>>,
    /// The user it belongs to.
    pub user_id: Option<Id<'a>>,
    /// The run that started it.
    pub parent_run_id: Option<Id<'a>>,
    /// Which attempt this is, from 1. Absent: the attempt that the run is in, 1 for a new run.
    /// A higher one than the run's reopens a run that has ended.
    pub attempt: Option<u32>,
    /// The business object it acts on.
    pub subject: Option<Subject<'a>>,
    /// When the run came to be. Absent: as before, and `at` for a new run.
    pub created_at: Option<Timestamp>,
    /// When it began to run. Absent: as before, and `at` on entering `running`.
    pub started_at: Option<Timestamp>,
    /// When it ended. Absent: `at` on entering a terminal status.
    pub finished_at: Option<Timestamp>,
    /// What went wrong.
    pub error: Option<RunError<'a>>,
    /// What is to be known about it.
    pub metadata: Option<Json<'a>>,
    /// What it gave.
    pub result: Option<Json<'a>>,
    /// Who answers for it as long as it is open. Absent: as before. A run that has ended has none.
    pub owner: Option<Box<Owner<'a>>>,
    /// Where this state was first, when it was merged from another ledger.
    pub origin: Option<Origin>,
}

/// The error that ended a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RunError<'a> {
    /// The type of the error, such as an exception's class.
    pub error_type: Option<Cow<'a, str>>,
    /// What it says.
    pub message: Cow<'a, str>,
    /// Where it happened.
    pub stack: Option<Cow<'a, str>>,
}

impl<'a> RunError<'a> {
    /// An error with this message.
    #[must_use]
    pub fn new(message: impl Into<Cow<'a, str>>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    setters! {
        /// Sets the type.
        error_type: error_type = Cow<'a, str> => Some;
        /// Sets the stack.
        stack: stack = Cow<'a, str> => Some;
    }

    /// The same error, borrowing nothing.
    #[must_use]
    pub fn into_owned(self) -> RunError<'static> {
        RunError {
            error_type: self.error_type.map(|text| Cow::Owned(text.into_owned())),
            message: Cow::Owned(self.message.into_owned()),
            stack: self.stack.map(|text| Cow::Owned(text.into_owned())),
        }
    }

    /// The same error, borrowing from this one.
    #[must_use]
    pub fn borrowed(&self) -> RunError<'_> {
        RunError {
            error_type: self.error_type.as_deref().map(Cow::Borrowed),
            message: Cow::Borrowed(&self.message),
            stack: self.stack.as_deref().map(Cow::Borrowed),
        }
    }
}

impl<'a> Run<'a> {
    /// A run of this id and type that enters this status.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) when the id is empty or longer than 128 bytes.
    pub fn new(
        run_id: impl Into<Cow<'a, str>>,
        run_type: impl Into<Cow<'a, str>>,
        status: Status,
    ) -> Result<Self> {
        Ok(Self::with_id(Id::new(run_id)?, run_type, status))
    }

    /// As [`Run::new`], with an id that was checked before.
    #[must_use]
    pub fn with_id(run_id: Id<'a>, run_type: impl Into<Cow<'a, str>>, status: Status) -> Self {
        Self {
            run_id,
            run_type: run_type.into(),
            status,
            at: None,
            trace_id: None,
            project_id: None,
            user_id: None,
            parent_run_id: None,
            attempt: None,
            subject: None,
            created_at: None,
            started_at: None,
            finished_at: None,
            error: None,
            metadata: None,
            result: None,
            owner: None,
            origin: None,
        }
    }

    setters! {
        /// Sets when the run entered its status.
        at: at = Timestamp => Some;
        /// Sets the trace.
        trace_id: trace_id = Id<'a> => Some;
        /// Sets the project.
        project_id: project_id = Id<'a> => Some;
        /// Sets the user.
        user_id: user_id = Id<'a> => Some;
        /// Sets the run that started it.
        parent_run_id: parent_run_id = Id<'a> => Some;
        /// Sets which attempt this is, from 1.
        attempt: attempt = u32 => Some;
        /// Sets the business object.
        subject: subject = Subject<'a> => Some;
        /// Sets when the run came to be.
        created_at: created_at = Timestamp => Some;
        /// Sets when it began to run.
        started_at: started_at = Timestamp => Some;
        /// Sets when it ended.
        finished_at: finished_at = Timestamp => Some;
        /// Sets what went wrong.
        error: error = RunError<'a> => Some;
        /// Sets what is to be known about it.
        metadata: metadata = Json<'a> => Some;
        /// Sets what it gave.
        result: result = Json<'a> => Some;
        /// Sets who answers for it as long as it is open.
        owner: owner = Box<Owner<'a>> => Some;
    }

    /// Nanoseconds from its start (its creation, when it never started) to its end; `None` while it
    /// has not ended.
    #[must_use]
    pub fn duration_nanos(&self) -> Option<i64> {
        let from = self.started_at.or(self.created_at)?;
        Some(self.finished_at?.nanos_since(from))
    }

    /// The newest of the run's times: when it ended, else began, else came to be.
    #[must_use]
    pub fn newest_time(&self) -> Option<Timestamp> {
        self.created_at.max(self.started_at).max(self.finished_at)
    }

    /// The same state, borrowing nothing.
    #[must_use]
    pub fn into_owned(self) -> Run<'static> {
        Run {
            run_id: self.run_id.into_owned(),
            run_type: Cow::Owned(self.run_type.into_owned()),
            status: self.status,
            at: self.at,
            trace_id: self.trace_id.map(Id::into_owned),
            project_id: self.project_id.map(Id::into_owned),
            user_id: self.user_id.map(Id::into_owned),
            parent_run_id: self.parent_run_id.map(Id::into_owned),
            attempt: self.attempt,
            subject: self.subject.map(Subject::into_owned),
            created_at: self.created_at,
            started_at: self.started_at,
            finished_at: self.finished_at,
            error: self.error.map(RunError::into_owned),
            metadata: self.metadata.map(Json::into_owned),
            result: self.result.map(Json::into_owned),
            owner: self.owner.map(|owner| Box::new(owner.into_owned())),
            origin: self.origin,
        }
    }

    /// The same state, borrowing from this one.
    #[must_use]
    pub fn borrowed(&self) -> Run<'_> {
        Run {
            run_id: self.run_id.borrowed(),
            run_type: Cow::Borrowed(&self.run_type),
            status: self.status,
            at: self.at,
            trace_id: self.trace_id.as_ref().map(Id::borrowed),
            project_id: self.project_id.as_ref().map(Id::borrowed),
            user_id: self.user_id.as_ref().map(Id::borrowed),
            parent_run_id: self.parent_run_id.as_ref().map(Id::borrowed),
            attempt: self.attempt,
            subject: self.subject.as_ref().map(Subject::borrowed),
            created_at: self.created_at,
            started_at: self.started_at,
            finished_at: self.finished_at,
            error: self.error.as_ref().map(RunError::borrowed),
            metadata: self.metadata.as_ref().map(Json::borrowed),
            result: self.result.as_ref().map(Json::borrowed),
            owner: self.owner.as_ref().map(|owner| Box::new(owner.borrowed())),
            origin: self.origin,
        }
    }
}
