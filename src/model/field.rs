use std::fmt;

use crate::error::{Error, Result};

/// A field that records are indexed, counted and grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Field {
    /// The type of a run, event or error.
    Type,
    /// The trace id.
    Trace,
    /// The run id: of a run its own, of an event or error the run's that it belongs to.
    Run,
    /// The project id.
    Project,
    /// The user id.
    User,
    /// The business object of a run, as `kind:id`.
    Subject,
    /// The fingerprint of an error.
    Fingerprint,
    /// The status of a run.
    Status,
    /// The severity of an event or error.
    Severity,
}

impl Field {
    /// All fields. The first [`Field::KEYED`] of them hold keys of many values.
    pub const ALL: &'static [Self] = &[
        Self::Type,
        Self::Trace,
        Self::Run,
        Self::Project,
        Self::User,
        Self::Subject,
        Self::Fingerprint,
        Self::Status,
        Self::Severity,
    ];

    /// How many fields are indexed by key; status and severity are small enumerations beside them.
    pub const KEYED: usize = 7;

    /// The place among the keyed fields; `None` for status and severity.
    #[must_use]
    pub const fn key_index(self) -> Option<usize> {
        match self {
            Self::Type => Some(0),
            Self::Trace => Some(1),
            Self::Run => Some(2),
            Self::Project => Some(3),
            Self::User => Some(4),
            Self::Subject => Some(5),
            Self::Fingerprint => Some(6),
            Self::Status | Self::Severity => None,
        }
    }

    /// The name, as it stands on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::Trace => "trace",
            Self::Run => "run",
            Self::Project => "project",
            Self::User => "user",
            Self::Subject => "subject",
            Self::Fingerprint => "fingerprint",
            Self::Status => "status",
            Self::Severity => "severity",
        }
    }
}

/// Some of the keyed fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct FieldSet(u8);

impl FieldSet {
    /// The set of none.
    pub(crate) const NONE: Self = Self(0);

    /// The set with another field, when that is a keyed one.
    #[must_use]
    pub(crate) const fn with(self, field: Field) -> Self {
        match field.key_index() {
            Some(at) => Self(self.0 | 1 << at),
            None => self,
        }
    }

    pub(crate) const fn contains(self, field: Field) -> bool {
        matches!(field.key_index(), Some(at) if self.0 & (1 << at) != 0)
    }
}

const _: () = assert!(Field::KEYED <= u8::BITS as usize);

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl std::str::FromStr for Field {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let name = text.strip_suffix("_id").unwrap_or(text);
        Self::ALL.iter().copied().find(|field| field.name() == name).ok_or_else(|| {
            let all: Vec<_> = Self::ALL.iter().map(|field| field.name()).collect();
            Error::invalid("field", text, &format!("one of: {}", all.join(" ")))
        })
    }
}
