//! The sums of a segment in the note of its end, or of what was taken out of it when it was
//! written anew.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::format::rollup::{ErrorRow, Rollup, RunRow};
use crate::ledger::audit::SEGMENT_DROPPED;
use crate::ledger::catalog::is_of_one_file;
use crate::ledger::compact::Replaced;
use crate::model::{Body, Event, Fingerprint};
use crate::segment::Segment;

/// How many bytes of JSON the sums in one note may take: it is a record, and has to fit.
const MOST_BYTES: usize = 8 << 20;

/// What a row takes at the most besides its type and its buckets.
const ROW_BYTES: usize = 96;
/// What a bucket takes at the most.
const BUCKET_BYTES: usize = 18;
/// What a byte of a type takes at the most.
const ESCAPED_BYTES: usize = 6;

/// The fingerprint of errors that are counted together.
const OTHERS: Fingerprint = Fingerprint { version: 0, hash: 0 };

/// The sums of a segment, as JSON. Rows are lists, to be short.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::ledger) struct Sums {
    types: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    runs: Vec<RunLine>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    errors: Vec<ErrorLine>,
}

/// Place of the type, status, day, count, code of the longest, and buckets with their counts.
type RunLine = (u32, String, i32, u32, Option<u16>, Vec<(u16, u32)>);

/// Fingerprint, place of the type, count, and when the first and the last was created.
type ErrorLine = (String, u32, u32, i64, i64);

/// What of a note on segments that are gone tells their sums.
#[derive(Deserialize)]
struct Detail {
    #[serde(default)]
    rollup: Option<Sums>,
    #[serde(default)]
    replaced: Vec<Replaced>,
}

/// The segments that are gone by what a note says, with the sums of what went with each.
pub(super) fn gone(note: &Body<'_>) -> Vec<(String, Option<Sums>)> {
    let Body::Event(Event { payload: Some(payload), trace_id, event_type, .. }) = note else {
        return Vec::new();
    };
    let Ok(Detail { rollup, replaced }) = payload.to_value() else { return Vec::new() };
    match trace_id {
        Some(segment) if event_type == SEGMENT_DROPPED => vec![(segment.to_string(), rollup)],
        _ => replaced.into_iter().map(|it| (it.segment, it.rollup)).collect(),
    }
}

impl Sums {
    /// Those of a segment; `None` when there are none. Where they cannot be read, why.
    ///
    /// # Errors
    /// When no file can be read.
    pub(in crate::ledger) fn of_segment(
        segment: &Arc<Segment>,
    ) -> Result<(Option<Self>, Option<Error>)> {
        match segment.current_rollup() {
            Ok(rollup) => Ok((Self::of(rollup, 1), None)),
            Err(err) if is_of_one_file(&err) => Ok((None, Some(err))),
            Err(err) => Err(err),
        }
    }

    /// Those of one of so many segments that one note is about; `None` when there are none.
    pub(in crate::ledger) fn of(mut rollup: Rollup, segments: usize) -> Option<Self> {
        shorten(&mut rollup, MOST_BYTES / segments.max(1));
        let run = |row: RunRow| {
            let status = row.status.name().to_owned();
            (row.run_type, status, row.day, row.count, row.longest, row.lengths)
        };
        let error = |row: ErrorRow| {
            (row.fingerprint.to_string(), row.error_type, row.count, row.first, row.last)
        };
        let is_empty = rollup.runs.is_empty() && rollup.errors.is_empty();
        (!is_empty).then(|| Self {
            types: rollup.types,
            runs: rollup.runs.into_iter().map(run).collect(),
            errors: rollup.errors.into_iter().map(error).collect(),
        })
    }

    /// What they tell, but for the newest of the runs, which are gone. A row that makes no sense is
    /// passed by.
    pub(super) fn rollup(&self) -> Rollup {
        let run = |line: &RunLine| {
            let (run_type, status, day, count, longest, lengths) = line.clone();
            let status = status.parse().ok()?;
            Some(RunRow { run_type, status, day, count, newest: 0, longest, lengths })
        };
        let error = |line: &ErrorLine| {
            let (fingerprint, error_type, count, first, last) = line.clone();
            let fingerprint = fingerprint.parse().unwrap_or(OTHERS);
            Some(ErrorRow { fingerprint, error_type, count, first, last })
        };
        Rollup {
            types: self.types.clone(),
            runs: self.runs.iter().filter_map(run).collect(),
            errors: self.errors.iter().filter_map(error).collect(),
        }
    }
}

/// Counts together what goes beyond so many bytes: of runs and of errors those rows that stand for
/// the fewest.
fn shorten(rollup: &mut Rollup, most: usize) {
    let takes = |rollup: &Rollup, place: u32, buckets: usize| {
        ROW_BYTES + rollup.type_name(place).len() * ESCAPED_BYTES + buckets * BUCKET_BYTES
    };
    let of_runs = rollup.runs.iter().map(|row| takes(rollup, row.run_type, row.lengths.len()));
    let of_errors = rollup.errors.iter().map(|row| takes(rollup, row.error_type, 0));
    if of_runs.chain(of_errors).sum::<usize>() <= most {
        return;
    }
    let named = rollup.clone();
    let mut left = most;
    let mut fits = |bytes: usize| {
        left = left.saturating_sub(bytes);
        left > 0
    };
    rollup.runs.sort_by_key(|row| std::cmp::Reverse(row.count));
    rollup.errors.sort_by_key(|row| std::cmp::Reverse(row.count));
    let mut kept = Rollup::default();
    let mut others: Vec<RunRow> = Vec::new();
    for row in rollup.runs.drain(..) {
        match fits(takes(&named, row.run_type, row.lengths.len())) {
            true => kept.runs.push(row),
            false => match others.iter_mut().find(|other| other.status == row.status) {
                Some(other) => join(other, &row),
                None => others.push(row),
            },
        }
    }
    let mut other_errors: Option<ErrorRow> = None;
    for row in rollup.errors.drain(..) {
        match (fits(takes(&named, row.error_type, 0)), &mut other_errors) {
            (true, _) => kept.errors.push(row),
            (false, None) => other_errors = Some(ErrorRow { fingerprint: OTHERS, ..row }),
            (false, Some(other)) => {
                other.count = other.count.saturating_add(row.count);
                (other.first, other.last) = (other.first.min(row.first), other.last.max(row.last));
            }
        }
    }
    name_anew(&mut kept, &named);
    // No record has an empty type.
    let nameless = u32::try_from(kept.types.len()).unwrap_or(u32::MAX);
    kept.types.push(String::new());
    kept.runs.extend(others.into_iter().map(|row| RunRow { run_type: nameless, ..row }));
    kept.errors.extend(other_errors.map(|row| ErrorRow { error_type: nameless, ..row }));
    *rollup = kept;
}

/// Adds a row to another of its status.
fn join(other: &mut RunRow, row: &RunRow) {
    other.count = other.count.saturating_add(row.count);
    other.day = other.day.max(row.day);
    other.longest = other.longest.max(row.longest);
    for &(bucket, count) in &row.lengths {
        match other.lengths.binary_search_by_key(&bucket, |&(of, _)| of) {
            Ok(at) => other.lengths.iter_mut().skip(at).take(1).for_each(|(_, sum)| {
                *sum = sum.saturating_add(count);
            }),
            Err(at) => other.lengths.insert(at, (bucket, count)),
        }
    }
}

/// Gives the rows, which name types of another rollup, those types that they name.
fn name_anew(rollup: &mut Rollup, named: &Rollup) {
    let of_runs = rollup.runs.iter().map(|row| row.run_type);
    let mut places: Vec<u32> =
        of_runs.chain(rollup.errors.iter().map(|it| it.error_type)).collect();
    places.sort_unstable();
    places.dedup();
    let rename = |place: &mut u32| {
        let at = places.binary_search(place).ok().and_then(|at| u32::try_from(at).ok());
        *place = at.unwrap_or(u32::MAX);
    };
    rollup.runs.iter_mut().for_each(|row| rename(&mut row.run_type));
    rollup.errors.iter_mut().for_each(|row| rename(&mut row.error_type));
    rollup.types = places.iter().map(|&place| named.type_name(place).to_owned()).collect();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Json, Status};

    fn rollup(types: u32) -> Rollup {
        let run = |at: u32| {
            let mut row = RunRow::new(at, Status::Failed, i32::try_from(at).unwrap());
            (0..=at).for_each(|seq| row.add(seq.into(), Some(1000)));
            row
        };
        let error = |at: u32| ErrorRow {
            fingerprint: Fingerprint { version: 1, hash: at.into() },
            error_type: at,
            count: at + 1,
            first: i64::from(at),
            last: i64::from(at) + 1,
        };
        Rollup {
            types: (0..types).map(|at| format!("type-{at:04}")).collect(),
            runs: (0..types).map(run).collect(),
            errors: (0..types).map(error).collect(),
        }
    }

    fn counts(rollup: &Rollup) -> (u32, u32) {
        let of_runs = rollup.runs.iter().map(|row| row.count).sum();
        (of_runs, rollup.errors.iter().map(|row| row.count).sum())
    }

    #[test]
    fn a_note_tells_what_the_footer_told() {
        let rollup = rollup(20);
        let json = Json::from_value(&Sums::of(rollup.clone(), 1).unwrap()).unwrap();
        let mut read = json.to_value::<Sums>().unwrap().rollup();
        read.runs.iter_mut().zip(&rollup.runs).for_each(|(row, from)| row.newest = from.newest);
        assert_eq!(read, rollup);
        assert!(Sums::of(Rollup::default(), 1).is_none());
    }

    /// A note that is larger than a record may be would keep its segment from being dropped.
    #[test]
    fn a_note_has_room_for_any_segment_and_its_counts_are_whole() {
        let whole = rollup(400);
        for most in [0, 1, 300, 30_000] {
            let mut short = whole.clone();
            shorten(&mut short, most);
            assert_eq!(counts(&short), counts(&whole), "{most}");
            let json = Json::from_value(&Sums::of(short, 1).unwrap()).unwrap();
            assert!(json.as_str().len() <= most + 300, "{} bytes of {most}", json.as_str().len());
        }
    }
}
