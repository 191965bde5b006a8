use crate::error::Result;
use crate::model::{Field, Fingerprint, Kind, Timestamp};
use crate::query::builder::Query;
use crate::query::cursor::Order;
use crate::query::page::Stored;

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
    /// The last of them.
    pub newest: Stored,
}

impl Query {
    /// The errors that match, in groups of those that are alike: the largest first, and no more
    /// groups than the limit. Order, offset and cursor do not matter. From the index, but for two
    /// records a group, and one for each of its runs in each segment.
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
    /// As for [`Query::fetch`], and [`Error::Damaged`](crate::Error::Damaged) when the first or the
    /// last error of a group is damaged.
    pub fn error_groups(&self) -> Result<Vec<ErrorGroup>> {
        let errors = self.clone().only_kind(Kind::Error);
        let counts = errors.count_by(Field::Fingerprint)?;
        let groups = counts.into_iter().take(self.page_size());
        // What was counted may have been dropped since.
        groups.filter_map(|(name, count)| errors.error_group(&name, count).transpose()).collect()
    }

    fn error_group(&self, fingerprint: &str, count: u64) -> Result<Option<ErrorGroup>> {
        let errors = self.clone().only(Field::Fingerprint, fingerprint);
        let at = |order| -> Result<Option<(Stored, Timestamp)>> {
            let page = errors.clone().first_in(order).fetch()?;
            let Some(stored) = page.get(0) else { return Ok(None) };
            let time = stored.record()?.body.created_at().unwrap_or_default();
            Ok(Some((stored, time)))
        };
        let (Some((newest, last_seen)), Some((_, first_seen))) =
            (at(Order::Newest)?, at(Order::Oldest)?)
        else {
            return Ok(None);
        };
        let runs = errors.count_by(Field::Run)?.len() as u64;
        let fingerprint = fingerprint.parse()?;
        Ok(Some(ErrorGroup { fingerprint, count, runs, first_seen, last_seen, newest }))
    }
}
