use std::borrow::Cow;
use std::fmt;

use crate::error::{Error, Result};
use crate::limits::MAX_NAME_BYTES;
use crate::model::Id;

/// The business object a run acted on: its kind and its id, such as `booking` and `B-1041`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject<'a> {
    kind: Cow<'a, str>,
    id: Id<'a>,
}

impl<'a> Subject<'a> {
    /// Checks both parts and takes them.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the kind is empty, longer than 256 bytes or holds a colon, or when
    /// the id is empty or longer than 128 bytes.
    ///
    /// ```
    /// use runledger::Subject;
    /// assert_eq!(Subject::new("booking", "B-1041")?.to_string(), "booking:B-1041");
    /// # Ok::<(), runledger::Error>(())
    /// ```
    pub fn new(kind: impl Into<Cow<'a, str>>, id: impl Into<Cow<'a, str>>) -> Result<Self> {
        Self::from_parts(kind.into(), Id::new(id)?)
    }

    /// As [`Subject::new`], with an id that was checked before.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the kind is empty, longer than 256 bytes or holds a colon.
    pub fn from_parts(kind: Cow<'a, str>, id: Id<'a>) -> Result<Self> {
        if kind.is_empty() || kind.len() > MAX_NAME_BYTES || kind.contains(':') {
            return Err(Error::invalid("subject", &kind, "a kind of 1 to 256 bytes, no colon"));
        }
        Ok(Self { kind, id })
    }

    /// Reads `kind:id`.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no colon, or as for [`Subject::new`].
    pub fn parse(text: &'a str) -> Result<Self> {
        let (kind, id) = text.split_once(':').ok_or_else(|| {
            Error::invalid("subject", text, "kind:id, for example booking:B-1041")
        })?;
        Self::new(kind, id)
    }

    /// What kind of object it is.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Which one it is.
    #[must_use]
    pub const fn id(&self) -> &Id<'a> {
        &self.id
    }

    /// The same subject, borrowing nothing.
    #[must_use]
    pub fn into_owned(self) -> Subject<'static> {
        Subject { kind: Cow::Owned(self.kind.into_owned()), id: self.id.into_owned() }
    }

    /// The same subject, borrowing from this one.
    #[must_use]
    pub fn borrowed(&self) -> Subject<'_> {
        Subject { kind: Cow::Borrowed(&self.kind), id: self.id.borrowed() }
    }
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.id)
    }
}
