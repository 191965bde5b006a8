//! What there was, in sum: of the records that are there, and of those that were dropped.
//!
//! The footer of a segment tells what is in it in sum. When it is dropped, or records that have
//! expired are taken out of it, the note of that, which is kept for ever, holds the sums of what
//! went: one note, so that a crash leaves the segment or the note to be counted, and never both.

mod lengths;
mod note;

use std::collections::{BTreeMap, HashSet};

use crate::error::{Error, Result};
use crate::format::rollup::Rollup;
use crate::ledger::audit::{self, SEGMENT_COMPACTED, SEGMENT_DROPPED};
use crate::ledger::classes::AUDIT_STREAM;
use crate::ledger::reader::Reader;
use crate::model::{Fingerprint, Kind, Status, Timestamp};
use crate::query::Order;

pub use lengths::Lengths;
pub(super) use note::Sums;

/// Nanoseconds of a day.
const DAY_NANOS: i64 = 24 * 60 * 60 * 1_000_000_000;

/// How many runs ended and how, and how many errors were raised, since the ledger was made.
///
/// A run counts once, where its newest state is, on the day (UTC) on which it was created; one that
/// is still open does not count. One that went on after its end was dropped counts again. What was
/// erased while it was there no longer counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct History {
    /// Runs, by day, type and status.
    pub runs: Vec<RunSum>,
    /// Errors, by fingerprint.
    pub errors: Vec<ErrorSum>,
}

/// Runs of one type that were created on one day and ended in one status.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunSum {
    /// When the day began.
    pub day: Timestamp,
    /// Their type. It is empty where one dropped segment had more of them than its note has room
    /// for, some 100,000: then those of which there were the fewest are counted together.
    pub run_type: String,
    /// How they ended.
    pub status: Status,
    /// How many there are or were.
    pub count: u64,
    /// How long they took.
    pub lengths: Lengths,
}

/// Errors of one fingerprint.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErrorSum {
    /// Their fingerprint; of version 0 for those that are counted together, as for
    /// [`RunSum::run_type`].
    pub fingerprint: Fingerprint,
    /// Their type.
    pub error_type: String,
    /// How many there are or were.
    pub count: u64,
    /// When the first of them was created.
    pub first_seen: Timestamp,
    /// When the last of them was.
    pub last_seen: Timestamp,
}

/// What is summed up, by what it is of.
#[derive(Debug, Default)]
struct Summed {
    runs: BTreeMap<(i32, String, u8), (Status, u64, Lengths)>,
    errors: BTreeMap<Fingerprint, ErrorSum>,
}

impl Summed {
    fn add(&mut self, rollup: &Rollup) {
        for row in &rollup.runs {
            let name = rollup.type_name(row.run_type).to_owned();
            let sum = self.runs.entry((row.day, name, row.status.code()));
            let (_, count, lengths) = sum.or_insert((row.status, 0, Lengths::default()));
            *count = count.saturating_add(row.count.into());
            lengths.add_row(row);
        }
        for row in &rollup.errors {
            let time = Timestamp::from_nanos;
            let sum = self.errors.entry(row.fingerprint).or_insert_with(|| ErrorSum {
                fingerprint: row.fingerprint,
                error_type: rollup.type_name(row.error_type).to_owned(),
                count: 0,
                first_seen: time(row.first),
                last_seen: time(row.last),
            });
            sum.count = sum.count.saturating_add(row.count.into());
            sum.first_seen = sum.first_seen.min(time(row.first));
            sum.last_seen = sum.last_seen.max(time(row.last));
        }
    }

    fn finish(self) -> History {
        let run = |((day, run_type, _), (status, count, lengths))| RunSum {
            day: Timestamp::from_nanos(i64::from(day).saturating_mul(DAY_NANOS)),
            run_type,
            status,
            count,
            lengths,
        };
        let runs = self.runs.into_iter().map(run).collect();
        History { runs, errors: self.errors.into_values().collect() }
    }
}

impl Reader {
    /// How many runs ended and how, and how many errors were raised, since the ledger was made:
    /// what was dropped counts as what is there. No record is read; the time that it takes grows
    /// with the segments that there are and were. What was dropped by a version that kept no sums
    /// is not told.
    ///
    /// ```
    /// # use runledger::{Ledger, Run, Status};
    /// # let dir = tempfile::tempdir()?;
    /// # let ledger = Ledger::open(dir.path().join("ledger"))?;
    /// ledger.append(Run::new("r1", "backup", Status::Success)?)?;
    /// let history = ledger.reader().history()?;
    /// assert_eq!((&*history.runs[0].run_type, history.runs[0].count), ("backup", 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Io`] when a segment cannot be read.
    pub fn history(&self) -> Result<History> {
        let catalog = self.catalog();
        let mut summed = Summed::default();
        // First what is there: what goes meanwhile was seen, and its note is passed by.
        let mut seen = HashSet::new();
        for stream in catalog.in_use().without(AUDIT_STREAM) {
            for segment in catalog.stream(stream) {
                seen.insert(audit::segment_name(&segment));
                if segment.kind() == Kind::Event {
                    continue;
                }
                match segment.current_rollup() {
                    Ok(rollup) => summed.add(&rollup),
                    // What cannot be read is not counted: `verify` names it.
                    Err(Error::Damaged { .. }) => {}
                    Err(err) => return Err(err),
                }
            }
        }
        let notes = self.audit().record_type(SEGMENT_DROPPED).record_type(SEGMENT_COMPACTED);
        let notes = notes.order(Order::SeqDescending).limit(usize::MAX).fetch()?;
        // A note that is damaged tells nothing: `verify` names it.
        for note in notes.records().filter_map(Result::ok) {
            for (segment, sums) in note::gone(&note.body) {
                // Of one that came back, or that a crash kept, there are more notes: the last is
                // what became of it.
                if seen.insert(segment) {
                    sums.iter().for_each(|sums| summed.add(&sums.rollup()));
                }
            }
        }
        Ok(summed.finish())
    }
}
