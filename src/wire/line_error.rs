//! Why a line was refused.

use crate::model::Kind;

/// Why a line is no record. The text names the key and the value, and says what would be right;
/// who reads the lines adds the file and the number of the line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// The line is longer than any record can be.
    #[error(
        "the line has {bytes} bytes, over the limit of {limit}; store a reference to it instead"
    )]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
        /// The longest that is read, in bytes.
        limit: usize,
    },

    /// The line is not text.
    #[error("the line is not UTF-8 at byte {at}; convert it, for instance with iconv")]
    NotUtf8 {
        /// The first byte that is wrong, from 0.
        at: usize,
    },

    /// The line is not JSON.
    #[error("not JSON at column {column}: {problem}; each line must be one whole JSON object")]
    NotJson {
        /// Where, in bytes from 1.
        column: usize,
        /// What is wrong there.
        problem: String,
    },

    /// The line is JSON, and something else than an object.
    #[error("the line holds {found}; each line must be one JSON object")]
    NotAnObject {
        /// What it holds instead.
        found: &'static str,
    },

    /// No record has such a key.
    #[error("unknown key {key:?}; leave it out, or put it into metadata, payload or detail{known}")]
    UnknownKey {
        /// The key, cut after 80 characters.
        key: String,
        /// The keys that the kind has, when the kind is known by then.
        known: String,
    },

    /// The key belongs to records of another kind.
    #[error("key {key:?} belongs to {owners}, not to a line of kind {kind}; leave it out")]
    ForeignKey {
        /// The key.
        key: &'static str,
        /// The kind that the line says it is.
        kind: Kind,
        /// The kinds that have the key.
        owners: &'static str,
    },

    /// A key is given twice.
    #[error("key {key:?} is given twice; keep one of them")]
    DuplicateKey {
        /// The key.
        key: &'static str,
    },

    /// `ts` and `created_at` of an event or error differ.
    #[error(
        "\"ts\" and \"created_at\" are the same time for this kind, and differ; keep one of them"
    )]
    TimesDiffer,

    /// A key that the kind must have is missing or null.
    #[error("key {key:?} is missing; expected {expected}")]
    MissingKey {
        /// The key.
        key: &'static str,
        /// What it would hold.
        expected: &'static str,
    },

    /// The value is of another JSON type.
    #[error("key {key:?} holds {found}; expected {expected}")]
    WrongType {
        /// The key.
        key: &'static str,
        /// What it holds.
        found: &'static str,
        /// What it should hold.
        expected: &'static str,
    },

    /// The value is none of the names that there are: of a kind, status, severity or actor type.
    #[error("unknown {key} {value:?}; expected one of: {expected}")]
    UnknownName {
        /// The key.
        key: &'static str,
        /// The value, cut after 80 characters.
        value: String,
        /// The names that there are, with spaces between them.
        expected: String,
    },

    /// An id, a type or a subject's kind is empty or too long.
    #[error("key {key:?} holds {bytes} bytes ({value:?}); expected 1 to {limit} bytes")]
    Length {
        /// The key.
        key: &'static str,
        /// The value, cut after 80 characters.
        value: String,
        /// Its length in bytes.
        bytes: usize,
        /// How long it may be, in bytes.
        limit: usize,
    },

    /// The time is no RFC 3339, or out of range.
    #[error("key {key:?} holds {value:?}; expected {expected}")]
    Time {
        /// The key.
        key: &'static str,
        /// The value, cut after 80 characters.
        value: String,
        /// What would be a time.
        expected: String,
    },

    /// The subject is no `{"kind":…,"id":…}` and no `"kind:id"`.
    #[error("key \"subject\" holds {value:?}; expected {expected}")]
    Subject {
        /// The value, cut after 80 characters.
        value: String,
        /// What would be a subject.
        expected: String,
    },

    /// The JSON under a key nests too deeply.
    #[error("the JSON under {key:?} nests deeper than {limit} levels; flatten it")]
    TooDeep {
        /// The key.
        key: &'static str,
        /// The most levels that are taken.
        limit: usize,
    },
}

impl LineError {
    /// The key at fault; `None` when the line as a whole is.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::UnknownKey { key, .. } => Some(key),
            Self::ForeignKey { key, .. }
            | Self::DuplicateKey { key }
            | Self::MissingKey { key, .. }
            | Self::WrongType { key, .. }
            | Self::Length { key, .. }
            | Self::Time { key, .. }
            | Self::TooDeep { key, .. } => Some(key),
            Self::UnknownName { key, .. } => key.split(' ').next(),
            Self::TimesDiffer => Some("ts"),
            Self::Subject { .. } => Some("subject"),
            Self::TooLong { .. }
            | Self::NotUtf8 { .. }
            | Self::NotJson { .. }
            | Self::NotAnObject { .. } => None,
        }
    }
}

/// The value's first 80 characters.
pub(super) fn clip(value: &str) -> String {
    let mut clipped: String = value.chars().take(80).collect();
    if clipped.len() < value.len() {
        clipped.push('…');
    }
    clipped
}
