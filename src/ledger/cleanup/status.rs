//! Clean-up of the runs in one status: segments in which they lie alone are dropped, the others
//! written anew without them.

use crate::error::Result;
use crate::ledger::cleanup::plan::{Candidate, allocated, words};
use crate::ledger::cleanup::{Cleanup, CleanupReport, Keep, SegmentPlan};
use crate::ledger::compact::{Expiry, Weeding};
use crate::ledger::handle::Inner;
use crate::ledger::reader::Reader;
use crate::model::{FieldSet, Status, Timestamp, nanos};
use crate::segment::Segment;

/// How many runs a segment has whose newest state lies in it.
#[derive(Debug, Default)]
struct Counts {
    /// Those in the status that is asked for.
    of_status: u64,
    others: u64,
}

/// Decides by the status of the runs and their own times. A segment goes when no run is in another
/// status and none is younger; whose earlier states it holds is looked at later.
pub(super) fn judge_by_status(
    candidate: &mut Candidate,
    cleanup: &Cleanup,
    status: Status,
    now: i64,
) -> Result<()> {
    let (age, before) = (cleanup.older_than.unwrap_or_default(), cleanup.before(now));
    let counts = count(&candidate.segment, status)?;
    let newest = candidate.overview.summary.newest;
    match counts {
        Counts { of_status: 0, .. } => candidate.keep(Keep::OtherStatus),
        Counts { others: 0, .. } if newest < before => {
            candidate.drop_for(format!("all runs {status} and older than {}", words(age)));
        }
        Counts { .. } => candidate.keep(Keep::Younger(Timestamp::from_nanos(newest))),
    }
    Ok(())
}

impl Cleanup {
    /// Which time all of a record's own times have to lie before.
    pub(super) fn before(&self, now: i64) -> i64 {
        now.saturating_sub(nanos(self.older_than.unwrap_or_default()))
    }

    /// Why a segment is written anew, in words.
    fn words(&self, status: Status, records: u64) -> String {
        let (age, s) =
            (words(self.older_than.unwrap_or_default()), if records == 1 { "" } else { "s" });
        format!("{records} record{s} of runs {status} and older than {age}")
    }
}

impl SegmentPlan {
    /// Has it written anew without so many records.
    fn rewrite_for(&mut self, why: String, records: u64) {
        self.kept_for = None;
        self.rewritten_for = Some(why);
        self.left_out = records;
    }
}

/// Keeps the segments that hold more than runs that go: the newest success or failure of a type, or
/// an earlier state of a run that came to another status elsewhere.
pub(super) fn keep_others(
    reader: &Reader,
    candidates: &mut [Candidate],
    cleanup: &Cleanup,
    status: Status,
    now: i64,
) -> Result<()> {
    let expiry = Expiry::of_status(reader, status, cleanup.before(now))?;
    for candidate in candidates.iter_mut().filter(|it| it.plan.dropped_for.is_some()) {
        let rows = u64::from(candidate.overview.rows);
        let mut guess = Weeding::guessing(reader, Some(&expiry));
        if expiry.holds_result(&candidate.segment)? {
            candidate.keep(Keep::LastResults);
        } else if count(&candidate.segment, status)?.of_status < rows
            && guess.count_in(&candidate.segment, rows)? < rows
        {
            candidate.keep(Keep::OtherStatus);
        }
    }
    Ok(())
}

/// Finds the runs that are to go in segments that stay.
pub(super) fn plan_rewrites(
    reader: &Reader,
    candidates: &mut [Candidate],
    cleanup: &Cleanup,
    status: Status,
    now: i64,
) -> Result<()> {
    let expiry = Expiry::of_status(reader, status, cleanup.before(now))?;
    let is_one = |it: &&mut Candidate| it.plan.dropped_for.is_none() && !it.segment.is_damaged();
    for candidate in candidates.iter_mut().filter(is_one) {
        let mut guess = Weeding::guessing(reader, Some(&expiry));
        let records = guess.count_in(&candidate.segment, u64::MAX)?;
        if records > 0 {
            candidate.plan.rewrite_for(cleanup.words(status, records), records);
        }
    }
    Ok(())
}

impl Inner {
    /// Takes the runs out of the segments that a clean-up by their status has left, and puts that
    /// into its report.
    ///
    /// # Errors
    /// As for a compaction.
    pub(super) fn take_out(
        &self,
        cleanup: &Cleanup,
        status: Status,
        now: i64,
        report: &mut CleanupReport,
    ) -> Result<()> {
        let dir = self.catalog.layout.dir();
        let before = allocated(&self.catalog, dir)?;
        let taken = self.weed(status, cleanup.before(now))?;
        for (&(stream, first_seq), &records) in &taken {
            let is_it = |plan: &&mut SegmentPlan| {
                plan.dropped_for.is_none() && plan.is_of(stream, first_seq)
            };
            if let Some(plan) = report.segments.iter_mut().find(is_it) {
                plan.rewrite_for(cleanup.words(status, records), records);
            }
        }
        let after = allocated(&self.catalog, dir)?;
        report.freed_bytes += before.saturating_sub(after);
        Ok(())
    }
}

fn count(segment: &Segment, status: Status) -> Result<Counts> {
    segment.with_rows(FieldSet::NONE, |table| {
        let mut counts = Counts::default();
        for row in 0..table.rows() {
            let tag = table.tag(row);
            if segment.is_earlier(table.seq(row), tag) {
                continue;
            }
            match tag == status.code() {
                true => counts.of_status += 1,
                false => counts.others += 1,
            }
        }
        counts
    })
}
