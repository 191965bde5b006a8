use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::{Error, Result};

/// A point in time: nanoseconds since the Unix epoch, UTC, without leap seconds.
///
/// The range is that of an `i64`, 1677-09-21 to 2262-04-11. It prints as RFC 3339 with as many
/// digits of a second as it needs.
///
/// ```
/// use runledger::Timestamp;
/// let t: Timestamp = "2026-11-01T08:30:00.25Z".parse()?;
/// assert_eq!(t.as_nanos(), 1_793_521_800_250_000_000);
/// assert_eq!(t.to_string(), "2026-11-01T08:30:00.25Z");
/// # Ok::<(), runledger::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest time that can be stored.
    pub const MIN: Self = Self(i64::MIN);
    /// The latest time that can be stored.
    pub const MAX: Self = Self(i64::MAX);

    /// The time that is this many nanoseconds after the Unix epoch.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// This time moved forward by `by`, held to the range of this type.
    #[must_use]
    pub fn saturating_add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(nanos(by)))
    }

    /// This time moved back by `by`, held to the range of this type.
    #[must_use]
    pub fn saturating_sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(by)))
    }

    /// Nanoseconds from `earlier` to this time; negative when `earlier` is later.
    #[must_use]
    pub const fn nanos_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A length of time in nanoseconds, held to the range of [`Timestamp`].
pub(crate) fn nanos(length: Duration) -> i64 {
    i64::try_from(length.as_nanos()).unwrap_or(i64::MAX)
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let nanos = match time.duration_since(UNIX_EPOCH) {
            Ok(after) => nanos(after),
            Err(before) => {
                i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos)
            }
        };
        Self(nanos)
    }
}

impl std::str::FromStr for Timestamp {
    type Err = Error;

    /// Reads RFC 3339, with or without fractions of a second, with an offset or `Z`.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the text is no RFC 3339 time or lies outside of the range.
    fn from_str(text: &str) -> Result<Self> {
        let parsed: jiff::Timestamp = text.parse().map_err(|_| {
            Error::invalid("time", text, "RFC 3339, for example 2026-11-01T08:30:00Z")
        })?;
        i64::try_from(parsed.as_nanosecond())
            .map(Self)
            .map_err(|_| Error::invalid("time", text, "a time between the years 1678 and 2262"))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(time) => time.fmt(f),
            // jiff's range is wider than ours, so this arm is out of reach; it stays truthful.
            Err(_) => write!(f, "{}ns", self.0),
        }
    }
}
