//! Readers of arguments that several subcommands take.

use runledger::{Id, Json, Result, Subject};

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
