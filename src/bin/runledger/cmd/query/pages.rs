//! A long result, fetched page by page so that it takes little memory.

use runledger::{Body, Cursor, Error, Page, Query, Record};

use crate::exit::{Failure, Outcome, say};

/// Records fetched at a time.
const PAGE: usize = 4096;

/// After how many bytes no more are taken of a page: it holds what was unpacked of it.
const ENOUGH: usize = 8 << 20;

/// How much of a page is taken.
#[derive(Default)]
pub(crate) struct Taken {
    pub(crate) records: usize,
    bytes: usize,
}

impl Taken {
    /// Counts another record. False when the next one is for another page.
    pub(crate) fn count(&mut self, body: Option<&Body<'_>>) -> bool {
        self.records += 1;
        self.bytes += body.map_or(0, Body::text_bytes);
        self.bytes < ENOUGH
    }

    /// Where the query goes on behind what was taken.
    pub(crate) fn next(&self, page: &Page) -> Option<Cursor> {
        let is_all = self.records == page.len();
        if is_all { page.next() } else { page.cursor_after(self.records.saturating_sub(1)) }
    }
}

/// The result of a query, up to a limit.
pub(crate) struct Pages {
    query: Query,
    /// Where the next page begins; `None` for the first.
    after: Option<Cursor>,
    offset: u64,
    left: usize,
}

/// What was met on the way through a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Seen {
    records: u64,
    damaged: u64,
}

impl Pages {
    /// At most `limit` records of a query.
    pub(crate) const fn new(query: Query, limit: usize) -> Self {
        Self { query, after: None, offset: 0, left: limit }
    }

    /// All records of a query.
    pub(crate) const fn all(query: Query) -> Self {
        Self::new(query, usize::MAX)
    }

    /// The same, without this many records at the beginning.
    pub(crate) const fn offset(mut self, offset: u64) -> Self {
        self.offset = offset;
        self
    }

    /// The same, from this place on.
    pub(crate) const fn after(mut self, cursor: Option<Cursor>) -> Self {
        self.after = cursor;
        self
    }

    /// Where the result would go on behind its limit, once it was walked.
    pub(crate) const fn rest(&self) -> Option<Cursor> {
        self.after
    }

    /// Hands over each record. One that is damaged is named on stderr, and the others follow.
    ///
    /// # Errors
    /// When the ledger cannot be read, and those of `take`.
    pub(crate) fn each(
        &mut self,
        mut take: impl FnMut(&Record<'_>) -> Result<(), Failure>,
    ) -> Result<Seen, Failure> {
        let mut seen = Seen::default();
        while self.left > 0 {
            let mut query = self.query.clone().offset(self.offset).limit(self.left.min(PAGE));
            if let Some(cursor) = self.after {
                query = query.after(cursor);
            }
            let page = query.fetch()?;
            let mut taken = Taken::default();
            for record in page.records() {
                seen.records += 1;
                let goes_on = taken.count(record.as_ref().ok().map(|record| &record.body));
                match record {
                    Ok(record) => take(&record)?,
                    Err(err @ Error::Damaged { .. }) => {
                        seen.damaged += 1;
                        say(&err.to_string());
                    }
                    Err(err) => return Err(err.into()),
                }
                if !goes_on {
                    break;
                }
            }
            self.offset = 0;
            self.left = self.left.saturating_sub(taken.records);
            self.after = taken.next(&page);
            if self.after.is_none() {
                self.left = 0;
            }
        }
        Ok(seen)
    }
}

impl Seen {
    /// True when there was a record.
    pub(crate) const fn any(self) -> bool {
        self.records > 0
    }

    /// How the command ends that walked the result.
    pub(crate) const fn outcome(self) -> Outcome {
        match (self.damaged, self.records) {
            (0, 0) => Outcome::Notable,
            (0, _) => Outcome::Done,
            _ => Outcome::Damaged,
        }
    }
}
