use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// The order in which records are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Order {
    /// By creation, the newest first; of equal times the highest sequence number first.
    #[default]
    Newest,
    /// By creation, the oldest first; of equal times the lowest sequence number first.
    Oldest,
    /// By sequence number, in the order of the appends.
    Seq,
    /// By sequence number, the last append first.
    SeqDescending,
}

impl Order {
    /// True for the orders that begin with the highest key.
    pub(super) const fn is_descending(self) -> bool {
        matches!(self, Self::Newest | Self::SeqDescending)
    }

    /// True for the orders by creation.
    pub(super) const fn is_by_time(self) -> bool {
        matches!(self, Self::Newest | Self::Oldest)
    }

    /// What records are sorted by: creation and sequence number, or that alone.
    pub(super) const fn key(self, created_at: i64, seq: u64) -> (i64, u64) {
        if self.is_by_time() { (created_at, seq) } else { (0, seq) }
    }

    const fn letter(self) -> char {
        match self {
            Self::Newest => 'n',
            Self::Oldest => 'o',
            Self::Seq => 's',
            Self::SeqDescending => 'd',
        }
    }
}

/// A place in the result of a query, from which the query can go on.
///
/// It is a place in the order, not a number of records, so records that are appended or dropped
/// meanwhile neither repeat nor hide others. Its text is opaque.
///
/// A run has the place of its newest state. When it gets another one between two pages it moves:
/// by sequence number to the end, by creation only among runs of the very same time. From the
/// newest on it may then be in neither page, from the oldest on in both. Each state keeps its place
/// in [`Query::history`](crate::Query::history).
///
/// ```
/// use runledger::Cursor;
/// let text = "n80000000000000010000000000000002";
/// assert_eq!(text.parse::<Cursor>()?.to_string(), text);
/// # Ok::<(), runledger::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor {
    pub(super) order: Order,
    /// The key of the last record that was given.
    pub(super) key: (i64, u64),
}

impl Cursor {
    /// The place behind a sequence number in the order of [`Order::Seq`]: what has come since.
    #[must_use]
    pub const fn after_seq(seq: u64) -> Self {
        Self { order: Order::Seq, key: (0, seq) }
    }
}

/// Flips the sign bit, so that times sort as text.
const SIGN: u64 = 1 << 63;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.key.0.cast_unsigned() ^ SIGN;
        write!(f, "{}{time:016x}{:016x}", self.order.letter(), self.key.1)
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parse = || {
            let order = match text.get(..1)? {
                "n" => Order::Newest,
                "o" => Order::Oldest,
                "s" => Order::Seq,
                "d" => Order::SeqDescending,
                _ => return None,
            };
            let digits = text.get(1..).filter(|rest| {
                rest.len() == 32 && rest.bytes().all(|byte| byte.is_ascii_hexdigit())
            })?;
            let time = u64::from_str_radix(digits.get(..16)?, 16).ok()?;
            let seq = u64::from_str_radix(digits.get(16..)?, 16).ok()?;
            Some(Self { order, key: ((time ^ SIGN).cast_signed(), seq) })
        };
        parse().ok_or_else(|| Error::invalid("cursor", text, "one that a query has given"))
    }
}
