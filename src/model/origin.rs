use std::fmt;

use crate::model::Id;

/// Where a record was before it was merged: in which other ledger, and under which number.
///
/// Set by [`Ledger::merge_from`](crate::Ledger::merge_from).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Origin {
    /// The 16 bytes of the other ledger's id.
    pub ledger: [u8; 16],
    /// The record's sequence number there.
    pub seq: u64,
}

impl Origin {
    /// The record of this number in the ledger with this id.
    #[must_use]
    pub const fn new(ledger: [u8; 16], seq: u64) -> Self {
        Self { ledger, seq }
    }

    /// The other ledger's id.
    #[must_use]
    pub const fn ledger_id(&self) -> Id<'static> {
        Id::from_uuid(self.ledger)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.seq, self.ledger_id())
    }
}
