//! What a caller sees of the ledger.

use crate::error::Error;
use crate::ledger::Ledger;
use crate::model::Kind;
use crate::query::{Query, Stored};
use crate::server::access::{Access, Failure};
use crate::server::problem::Problem;

/// What a caller sees of the ledger.
pub(in crate::server) struct View<'a> {
    pub(super) ledger: &'a Ledger,
    pub(super) access: &'a Access,
}

impl View<'_> {
    /// A question to what the caller sees.
    pub(in crate::server) fn query(&self) -> Query {
        self.access.bound(self.ledger.query())
    }

    /// Up to where the ledger can be followed.
    pub(in crate::server) fn settled(&self) -> u64 {
        self.ledger.settled()
    }

    /// A record of this kind by its number.
    pub(in crate::server) fn record(&self, kind: Kind, seq: u64) -> Result<Stored, Failure> {
        let missing = || Problem::not_found(kind.name(), &seq.to_string());
        let stored = match self.ledger.reader().get(seq) {
            Err(Error::NotFound { .. }) => return Err(missing().into()),
            stored => stored?,
        };
        let body = stored.record()?.body;
        let is_seen = body.kind() == kind && self.access.sees(&body);
        if is_seen { Ok(stored) } else { Err(missing().into()) }
    }

    /// A run in its newest state.
    pub(in crate::server) fn run(&self, id: &str) -> Result<Stored, Failure> {
        let missing = || Problem::not_found("run", id);
        let stored = match self.ledger.reader().run(id) {
            Err(Error::NotFound { .. }) => return Err(missing().into()),
            stored => stored?,
        };
        let is_seen = self.access.sees(&stored.record()?.body);
        if is_seen { Ok(stored) } else { Err(missing().into()) }
    }
}
