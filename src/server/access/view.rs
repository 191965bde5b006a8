//! What a caller sees of the ledger.

use crate::error::Error;
use crate::ledger::Ledger;
use crate::model::{Kind, Record};
use crate::query::{Cursor, Order, Query, Stored};
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
        if self.shows(&stored, kind)? { Ok(stored) } else { Err(missing().into()) }
    }

    /// A run in its newest state.
    pub(in crate::server) fn run(&self, id: &str) -> Result<Stored, Failure> {
        let missing = || Problem::not_found("run", id);
        let stored = match self.ledger.reader().run(id) {
            Err(Error::NotFound { .. }) => return Err(missing().into()),
            stored => stored?,
        };
        if self.shows(&stored, Kind::Run)? { Ok(stored) } else { Err(missing().into()) }
    }

    /// True when it is of this kind, and the caller's to see.
    fn shows(&self, stored: &Stored, kind: Kind) -> Result<bool, Failure> {
        match stored.record() {
            Ok(Record { body, .. }) => Ok(body.kind() == kind && self.access.sees(&body)),
            // Whose it is the index still tells: others do not learn that it is there.
            Err(Error::Damaged { .. }) if !self.has(kind, stored.seq())? => Ok(false),
            Err(err) => Err(err.into()),
        }
    }

    /// True when the index has such a record among those that the caller sees.
    fn has(&self, kind: Kind, seq: u64) -> Result<bool, Error> {
        let before = Cursor::after_seq(seq.saturating_sub(1));
        let query = self.query().kind(kind).history(true).order(Order::Seq).after(before);
        Ok(query.limit(1).fetch()?.seqs().next() == Some(seq))
    }
}
