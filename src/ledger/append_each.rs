//! Appending records that have nothing to do with one another.

use crate::error::Result;
use crate::ledger::Durability;
use crate::ledger::commit::Appended;
use crate::ledger::handle::{Inner, Ledger};
use crate::ledger::lifecycle::Author;
use crate::ledger::part::OnReject;
use crate::ledger::stopped::Stopped;
use crate::model::Body;

impl Ledger {
    /// Appends records each on its own merits: those that cannot be taken have an error in their
    /// place, and the others are appended, as few frames as they fit. A state of a run is not taken
    /// where the one before it cannot be read.
    ///
    /// # Errors
    /// Those of [`Ledger::append`] that no single record is to blame for. Some of the records may
    /// then have been appended.
    pub fn append_each(
        &self,
        records: &[Body<'_>],
        durability: Durability,
    ) -> Result<Vec<Result<u64>>> {
        Ok(self.append_each_or_stop(records, durability)?)
    }

    /// As [`Ledger::append_each`]; the error says whether some of the records may be there.
    pub(crate) fn append_each_or_stop(
        &self,
        records: &[Body<'_>],
        durability: Durability,
    ) -> Result<Vec<Result<u64>>, Stopped> {
        self.inner.append_each_as(Author::Caller, records, durability)
    }
}

impl Inner {
    /// Appends what this author has to say, each record on its own merits.
    pub(super) fn append_each_as(
        &self,
        author: Author,
        records: &[Body<'_>],
        durability: Durability,
    ) -> Result<Vec<Result<u64>>, Stopped> {
        let mut outcomes = Vec::with_capacity(records.len());
        while let Some(rest) = records.get(outcomes.len()..).filter(|rest| !rest.is_empty()) {
            let appended = self.append_as(author, rest, durability, OnReject::Skip);
            let Appended { first_seq, encoded } =
                appended.map_err(|it| it.after(outcomes.iter().any(Result::is_ok)))?;
            let mut next = first_seq;
            let mut rejected = encoded.rejected.into_iter();
            for _ in 0..encoded.taken {
                outcomes.push(match rejected.next().flatten() {
                    Some(err) => Err(err),
                    None => {
                        next += 1;
                        Ok(next - 1)
                    }
                });
            }
        }
        Ok(outcomes)
    }
}
