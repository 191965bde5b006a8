//! Readers of arguments that several subcommands take.

use runledger::{Id, Json, Result, Status, Subject};

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
