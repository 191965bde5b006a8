use crate::error::{Error, Result};
use crate::model::{Field, Fingerprint, Kind, Timestamp};
use crate::query::builder::Query;
use crate::query::cursor::Order;
use crate::query::page::Stored;

/// How many records are looked at at a time for one that can be read.
const AT_ONCE: usize = 100;

/// Errors that are alike: of one type, with the same message but for numbers, ids and quoted words,
/// raised in the same place.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ErrorGroup {
    /// What they have in common.
    pub fingerprint: Fingerprint,
    /// How many they are.
    pub count: u64,
    /// In how many runs they occurred. Errors without a run are of none.
    pub runs: u64,
    /// When the first of them happened.
    pub first_seen: Timestamp,
    /// When the last of them happened.
    pub last_seen: Timestamp,
    /// The last of them; of those that can be read, by [`Query::or_damaged`].
    pub newest: Stored,
}

impl Query {
    /// The errors that match, in groups of those that are alike: the largest first, and no more
    /// groups than the limit. Order, offset and cursor do not matter. From the index, but for the
    /// newest record of a group, and one for each of its runs in each segment.
    ///
    /// ```
    /// # use runledger::{ErrorRecord, Ledger};
    /// # let dir = tempfile::tempdir()?;
    /// # let ledger = Ledger::open(dir.path().join("ledger"))?;
    /// for seconds in [30, 31, 45] {
    ///     ledger.append(ErrorRecord::new("Timeout", format!("no answer after {seconds} s")))?;
    /// }
    /// let groups = ledger.query().limit(10).error_groups()?;
    /// assert_eq!((groups.len(), groups[0].count), (1, 3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As for [`Query::count_by`], and [`Error::Damaged`] when the newest error of a group is
    /// damaged: with [`Query::or_damaged`] one before it is taken for it.
    pub fn error_groups(&self) -> Result<Vec<ErrorGroup>> {
        let errors = self.clone().only_kind(Kind::Error);
        let counts = errors.count_by(Field::Fingerprint)?;
        let groups = counts.into_iter().take(self.page_size());
        // What was counted may have been dropped since.
        groups.filter_map(|(name, count)| errors.error_group(&name, count).transpose()).collect()
    }

    fn error_group(&self, fingerprint: &str, count: u64) -> Result<Option<ErrorGroup>> {
        let errors = self.clone().only(Field::Fingerprint, fingerprint);
        let oldest = errors.clone().first_in(Order::Oldest).fetch()?.created_at(0);
        let (Some(first_seen), Some((newest, last_seen))) = (oldest, errors.newest()?) else {
            return Ok(None);
        };
        let runs = errors.count_by(Field::Run)?.len() as u64;
        let fingerprint = fingerprint.parse()?;
        Ok(Some(ErrorGroup { fingerprint, count, runs, first_seen, last_seen, newest }))
    }

    /// The newest record that matches, of those that can be read where damage is passed over, and
    /// when the newest of all was created.
    fn newest(&self) -> Result<Option<(Stored, Timestamp)>> {
        let mut query = self.clone().first_in(Order::Newest);
        let mut last_seen = None;
        loop {
            let page = query.fetch()?;
            last_seen = last_seen.or(page.created_at(0));
            for stored in (0..page.len()).filter_map(|at| page.get(at)) {
                match stored.record() {
                    Ok(_) => return Ok(last_seen.map(|time| (stored, time))),
                    Err(Error::Damaged { .. }) if self.passes_damaged() => {}
                    Err(err) => return Err(err),
                }
            }
            let Some(next) = page.next() else { return Ok(None) };
            query = query.limit(AT_ONCE).after(next);
        }
    }
}
