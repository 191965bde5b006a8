//! Why a record or a run is still there.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::ledger::classes::Class;
use crate::ledger::cleanup::plan::{open_runs, plan};
use crate::ledger::cleanup::unread::Unread;
use crate::ledger::cleanup::{Cleanup, SegmentPlan};
use crate::ledger::policy::{Limits, Retention};
use crate::ledger::reader::Reader;

/// A segment that holds what was asked for, and what keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Kept {
    /// The segment: what keeps it, or why the next clean-up drops it.
    pub segment: SegmentPlan,
    /// The class that it is of.
    pub class: Class,
    /// The limits of the class.
    pub limits: Limits,
    /// How many of the records that were asked for it holds.
    pub records: u64,
    /// How many of those are carried forward when it is dropped: runs that are still open, and the
    /// newest success and failure of their type. 0 when it stays.
    pub carried: u64,
}

impl Reader {
    /// Why a record is still there: the segment it lies in, and what retention makes of that, by
    /// what is given, then the file `runledger.toml`, then the defaults. Nothing for one of the
    /// engine's own notes, which are kept for ever.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound) when there is no such record; else as for
    /// [`Reader::plan_cleanup`].
    pub fn why_kept(&self, seq: u64, given: &Retention) -> Result<Vec<Kept>> {
        self.get(seq)?;
        self.why_all_kept(&[seq], given)
    }

    /// Why a run is still there: the segments that hold a state of it, an event or an error.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound) when there is no such run; else as for
    /// [`Reader::plan_cleanup`].
    pub fn why_run_kept(&self, run_id: &str, given: &Retention) -> Result<Vec<Kept>> {
        self.run(run_id)?;
        let records = self.query().run(run_id).history(true).limit(usize::MAX);
        let seqs: Vec<u64> = records.fetch()?.seqs().collect();
        self.why_all_kept(&seqs, given)
    }

    fn why_all_kept(&self, seqs: &[u64], given: &Retention) -> Result<Vec<Kept>> {
        let catalog = self.catalog();
        let retention = given.clone().over(&self.policy()?);
        let mut counts: BTreeMap<_, u64> = BTreeMap::new();
        for &seq in seqs {
            for segment in catalog.holders(seq) {
                if segment.holds_any(&[seq])? {
                    *counts.entry(segment.path().to_owned()).or_default() += 1;
                }
            }
        }
        let now = catalog.storage.now();
        let cleanup = Cleanup::retention();
        let candidates = plan(self, &cleanup, &retention, now, &mut Unread::default())?;
        let mut kept = Vec::new();
        for candidate in candidates {
            let records = counts.get(candidate.segment.path()).copied();
            let (Some(records), Some(class)) = (records, Class::at(candidate.stream)) else {
                continue;
            };
            let mut carried = 0;
            if candidate.plan.dropped_for.is_some() {
                let open = open_runs(&candidate.segment)?;
                let results = candidate.results.iter().map(|(seq, _)| seq);
                let all = open.iter().map(|state| &state.seq).chain(results);
                carried = all.filter(|seq| seqs.contains(seq)).count() as u64;
            }
            let limits = retention.limits(class);
            kept.push(Kept { segment: candidate.plan, class, limits, records, carried });
        }
        Ok(kept)
    }
}
