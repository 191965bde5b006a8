use std::borrow::Cow;

use crate::model::{Fingerprint, Id, Json, Origin, Severity, Timestamp, setters};

/// Something that went wrong, usually in a run.
///
/// ```
/// use runledger::{ErrorRecord, Severity};
/// let error = ErrorRecord::new("TimeoutError", "no answer from db1 after 30 s")
///     .severity(Severity::Critical)
///     .stack("connect\n  at pool.rs:41");
/// assert_eq!(error.severity, Severity::Critical);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErrorRecord<'a> {
    /// The type of the error, such as an exception's class; 1 to 256 bytes.
    pub error_type: Cow<'a, str>,
    /// What it says.
    pub message: Cow<'a, str>,
    /// Where it happened.
    pub stack: Option<Cow<'a, str>>,
    /// The particulars.
    pub detail: Option<Json<'a>>,
    /// How bad it is: `warning`, `error` or `critical`.
    pub severity: Severity,
    /// The trace it belongs to.
    pub trace_id: Option<Id<'a>>,
    /// The project it belongs to.
    pub project_id: Option<Id<'a>>,
    /// The run it belongs to.
    pub run_id: Option<Id<'a>>,
    /// The user it belongs to.
    pub user_id: Option<Id<'a>>,
    /// The address or entry point at which it happened.
    pub endpoint: Option<Cow<'a, str>>,
    /// When it happened; the time of the append when absent.
    pub created_at: Option<Timestamp>,
    /// What groups it with others like it; derived at the append, whatever stands here before.
    pub fingerprint: Option<Fingerprint>,
    /// Where it was first, when it was merged from another ledger.
    pub origin: Option<Origin>,
}

impl<'a> ErrorRecord<'a> {
    /// An error of this type and message, of severity `error`.
    #[must_use]
    pub fn new(error_type: impl Into<Cow<'a, str>>, message: impl Into<Cow<'a, str>>) -> Self {
        Self {
            error_type: error_type.into(),
            message: message.into(),
            stack: None,
            detail: None,
            severity: Severity::Error,
            trace_id: None,
            project_id: None,
            run_id: None,
            user_id: None,
            endpoint: None,
            created_at: None,
            fingerprint: None,
            origin: None,
        }
    }

    setters! {
        /// Sets where it happened.
        stack: stack = Cow<'a, str> => Some;
        /// Sets the particulars.
        detail: detail = Json<'a> => Some;
        /// Sets how bad it is.
        severity: severity = Severity => std::convert::identity;
        /// Sets the trace.
        trace_id: trace_id = Id<'a> => Some;
        /// Sets the project.
        project_id: project_id = Id<'a> => Some;
        /// Sets the run.
        run_id: run_id = Id<'a> => Some;
        /// Sets the user.
        user_id: user_id = Id<'a> => Some;
        /// Sets the entry point.
        endpoint: endpoint = Cow<'a, str> => Some;
        /// Sets when it happened.
        created_at: created_at = Timestamp => Some;
    }

    /// The same error, borrowing nothing.
    #[must_use]
    pub fn into_owned(self) -> ErrorRecord<'static> {
        ErrorRecord {
            error_type: Cow::Owned(self.error_type.into_owned()),
            message: Cow::Owned(self.message.into_owned()),
            stack: self.stack.map(|text| Cow::Owned(text.into_owned())),
            detail: self.detail.map(Json::into_owned),
            severity: self.severity,
            trace_id: self.trace_id.map(Id::into_owned),
            project_id: self.project_id.map(Id::into_owned),
            run_id: self.run_id.map(Id::into_owned),
            user_id: self.user_id.map(Id::into_owned),
            endpoint: self.endpoint.map(|text| Cow::Owned(text.into_owned())),
            created_at: self.created_at,
            fingerprint: self.fingerprint,
            origin: self.origin,
        }
    }

    /// The same error, borrowing from this one.
    #[must_use]
    pub fn borrowed(&self) -> ErrorRecord<'_> {
        ErrorRecord {
            error_type: Cow::Borrowed(&self.error_type),
            message: Cow::Borrowed(&self.message),
            stack: self.stack.as_deref().map(Cow::Borrowed),
            detail: self.detail.as_ref().map(Json::borrowed),
            severity: self.severity,
            trace_id: self.trace_id.as_ref().map(Id::borrowed),
            project_id: self.project_id.as_ref().map(Id::borrowed),
            run_id: self.run_id.as_ref().map(Id::borrowed),
            user_id: self.user_id.as_ref().map(Id::borrowed),
            endpoint: self.endpoint.as_deref().map(Cow::Borrowed),
            created_at: self.created_at,
            fingerprint: self.fingerprint,
            origin: self.origin,
        }
    }
}
