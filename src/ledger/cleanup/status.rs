//! Clean-up of the runs in one status.

use crate::error::Result;
use crate::index::{SUPERSEDED, Table};
use crate::ledger::cleanup::plan::{Candidate, words};
use crate::ledger::cleanup::{Cleanup, Keep};
use crate::model::{FieldSet, Status, Timestamp};
use crate::segment::{Segment, TableRef};

/// How many runs a segment has whose newest state lies in it.
#[derive(Debug, Default)]
struct Counts {
    /// Those in the status that is asked for.
    of_status: u64,
    /// Those of them that were created early enough to go.
    old: u64,
    others: u64,
}

/// Decides by the status of the runs and their own times. A segment goes when no run is in another
/// status and none is younger: earlier states of runs that are elsewhere now do not count.
pub(super) fn judge_by_status(
    candidate: &mut Candidate,
    cleanup: &Cleanup,
    status: Status,
    now: i64,
) -> Result<()> {
    if candidate.overview.rows == 0 {
        candidate.keep(Keep::Empty);
        return Ok(());
    }
    let age = cleanup.older_than.unwrap_or_default();
    let before = now.saturating_sub(i64::try_from(age.as_nanos()).unwrap_or(i64::MAX));
    let counts = count(&candidate.segment, status, before)?;
    let newest = candidate.overview.summary.newest;
    match counts {
        Counts { of_status: 0, .. } => candidate.keep(Keep::OtherStatus),
        Counts { others: 0, .. } if newest < before => {
            candidate.drop_for(format!("all runs {status} and older than {}", words(age)));
        }
        Counts { old: 0, .. } | Counts { others: 0, .. } => {
            candidate.keep(Keep::Younger(Timestamp::from_nanos(newest)));
        }
        Counts { old, .. } => candidate.keep(Keep::Mixed(old)),
    }
    Ok(())
}

fn count(segment: &Segment, status: Status, before: i64) -> Result<Counts> {
    fn count_in<T: Table>(
        table: &T,
        is_overtaken: &dyn Fn(u64) -> bool,
        (status, before): (Status, i64),
    ) -> Counts {
        let mut counts = Counts::default();
        for row in 0..table.rows() {
            let tag = table.tag(row);
            if tag & SUPERSEDED != 0 || is_overtaken(table.seq(row)) {
                continue;
            }
            match tag == status.code() {
                true => {
                    counts.of_status += 1;
                    counts.old += u64::from(table.created_at(row) < before);
                }
                false => counts.others += 1,
            }
        }
        counts
    }
    let is_overtaken = |seq| segment.superseded_by(seq).is_some();
    let wanted = (status, before);
    segment.with_table(FieldSet::NONE, |table| match table {
        TableRef::Memory(table) => count_in(table, &is_overtaken, wanted),
        TableRef::Sealed(table) => count_in(table, &is_overtaken, wanted),
    })
}
