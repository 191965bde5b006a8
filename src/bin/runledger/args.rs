//! Readers of arguments that several subcommands take.

use std::time::Duration;

use clap::ValueEnum;
use runledger::{Id, Json, Kind, Result, Status, Subject};

/// The streams of one kind, whether it is split into classes or not.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Stream {
    Runs,
    Events,
    Errors,
}

impl Stream {
    /// The kind of their records.
    pub(crate) const fn kind(self) -> Kind {
        match self {
            Self::Runs => Kind::Run,
            Self::Events => Kind::Event,
            Self::Errors => Kind::Error,
        }
    }
}

/// So many days.
pub(crate) fn days(number: u32) -> Duration {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    DAY.saturating_mul(number)
}

/// An id.
///
/// # Errors
/// When it is empty or longer than 128 bytes.
pub(crate) fn id(text: &str) -> Result<Id<'static>> {
    Id::new(text.to_owned())
}

/// A business object, as `kind:id`.
///
/// # Errors
/// When there is no colon, or a part is empty or too long.
pub(crate) fn subject(text: &str) -> Result<Subject<'static>> {
    Subject::parse(text).map(Subject::into_owned)
}

/// A JSON value.
///
/// # Errors
/// When the text is not JSON.
pub(crate) fn json(text: &str) -> Result<Json<'static>> {
    Json::parse(text.to_owned())
}

/// A status that a caller may give a run: `abandoned` is the ledger's own word for a run whose
/// process died.
///
/// # Errors
/// When it is none of these.
pub(crate) fn status(text: &str) -> std::result::Result<Status, String> {
    const EXPECTED: &str = "expected pending, running, success, failed, skipped or cancelled";
    match text.parse() {
        Ok(Status::Abandoned) => Err(format!("a run is made abandoned by the ledger; {EXPECTED}")),
        Ok(status) => Ok(status),
        Err(_) => Err(EXPECTED.to_owned()),
    }
}
