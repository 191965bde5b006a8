//! What a segment tells of its records in sum.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::rollup::{ErrorRow, Rollup, RunRow, day_of};
use crate::index::{Code, MemIndex, SUPERSEDED, Table};
use crate::model::{Body, Field, FieldSet, Fingerprint, Kind, Status};
use crate::segment::draft::length_of_run;
use crate::segment::sealed::SealedIndex;
use crate::segment::{Pinned, Segment};

/// So many places each type has for the rows of its statuses, whose codes are lower.
const STATUSES: usize = 8;

/// No row.
const NOWHERE: u32 = u32::MAX;

/// The sums of the records in an index that is sorted.
pub(super) fn rollup(index: &MemIndex, kind: Kind) -> Rollup {
    let mut rollup = match kind {
        Kind::Run => Rollup { runs: runs(index), ..Rollup::default() },
        Kind::Error => Rollup { errors: errors(index), ..Rollup::default() },
        Kind::Event => return Rollup::default(),
    };
    name_types(index, &mut rollup);
    rollup
}

/// Has the rows, which name types by their codes in the index, name them by their places among the
/// names in use.
fn name_types(index: &MemIndex, rollup: &mut Rollup) {
    let name = |code| str::from_utf8(index.key(Field::Type, code)).unwrap_or_default();
    let of_runs = rollup.runs.iter().map(|row| row.run_type);
    let mut codes: Vec<Code> =
        of_runs.chain(rollup.errors.iter().map(|it| it.error_type)).collect();
    codes.sort_unstable();
    codes.dedup();
    codes.sort_unstable_by_key(|&code| name(code));
    let rename = |code: &mut Code| {
        let place = codes.binary_search_by_key(&name(*code), |&other| name(other));
        *code = place.ok().and_then(|place| u32::try_from(place).ok()).unwrap_or_default();
    };
    rollup.runs.iter_mut().for_each(|row| rename(&mut row.run_type));
    rollup.errors.iter_mut().for_each(|row| rename(&mut row.error_type));
    rollup.runs.sort_unstable_by_key(RunRow::key);
    rollup.types = codes.into_iter().map(|code| name(code).to_owned()).collect();
}

/// The runs that have ended. Rows name types by their codes.
fn runs(index: &MemIndex) -> Vec<RunRow> {
    let codes = index.codes(Field::Type);
    let mut rows: Vec<RunRow> = Vec::new();
    // For each type and status the row of the day at hand.
    let mut places = vec![NOWHERE; index.key_count(Field::Type) as usize * STATUSES];
    let place_of = |code: Code, status: Status| {
        (code as usize).checked_mul(STATUSES).map(|first| first + usize::from(status.code()))
    };
    let (mut today, mut before_today) = (None, 0);
    for row in (0..index.rows()).map(|position| index.time_row(position)) {
        // What was overtaken here has a tag that is no status.
        let Some(status) = Status::from_code(index.tag(row)).filter(|it| it.is_terminal()) else {
            continue;
        };
        let Some(&code) = codes.get(row as usize) else { continue };
        let day = day_of(index.created_at(row));
        if today != Some(day) {
            // In the order of time, no row of an earlier day follows.
            let earlier = rows.get(before_today..).unwrap_or_default().iter();
            for place in earlier.filter_map(|row| place_of(row.run_type, row.status)) {
                places.get_mut(place).into_iter().for_each(|place| *place = NOWHERE);
            }
            (today, before_today) = (Some(day), rows.len());
        }
        let Some(place) = place_of(code, status).and_then(|at| places.get_mut(at)) else {
            continue;
        };
        if *place == NOWHERE {
            *place = u32::try_from(rows.len()).unwrap_or(NOWHERE);
            rows.push(RunRow::new(code, status, day));
        }
        if let Some(sum) = rows.get_mut(*place as usize) {
            sum.add(index.seq(row), index.length(row));
        }
    }
    rows
}

fn errors(index: &MemIndex) -> Vec<ErrorRow> {
    let types = index.codes(Field::Type);
    let mut rows: Vec<Option<ErrorRow>> = vec![None; index.key_count(Field::Fingerprint) as usize];
    for (row, &code) in (0..).zip(index.codes(Field::Fingerprint)) {
        let Some(place) = rows.get_mut(code as usize) else { continue };
        let at = index.created_at(row);
        match place {
            Some(sum) => {
                sum.count = sum.count.saturating_add(1);
                (sum.first, sum.last) = (sum.first.min(at), sum.last.max(at));
            }
            None => {
                let fingerprint = fingerprint(index.key(Field::Fingerprint, code));
                let error_type = types.get(row as usize).copied().unwrap_or_default();
                let (count, first, last) = (1, at, at);
                *place = fingerprint.map(|fingerprint| ErrorRow {
                    fingerprint,
                    error_type,
                    count,
                    first,
                    last,
                });
            }
        }
    }
    let mut rows: Vec<_> = rows.into_iter().flatten().collect();
    rows.sort_unstable_by_key(|row| row.fingerprint);
    rows
}

/// The fingerprint that this is the key of.
fn fingerprint(key: &[u8]) -> Option<Fingerprint> {
    let (&version, hash) = key.split_first()?;
    Some(Fingerprint { version, hash: u64::from_le_bytes(hash.try_into().ok()?) })
}

/// Sums of records that are counted one by one, in any order.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    runs: BTreeMap<(String, u8, i32), RunRow>,
    errors: BTreeMap<Fingerprint, (String, ErrorRow)>,
}

impl Tally {
    /// Counts a run that has ended, or an error.
    pub(crate) fn count(&mut self, seq: u64, body: &Body<'_>) {
        let at = body.created_at().unwrap_or_default().as_nanos();
        match body {
            Body::Run(run) if run.status.is_terminal() => {
                let (status, day) = (run.status, day_of(at));
                let row = self.runs.entry((run.run_type.to_string(), status.code(), day));
                row.or_insert(RunRow::new(0, status, day)).add(seq, length_of_run(run));
            }
            Body::Error(error) => {
                let Some(fingerprint) = error.fingerprint else { return };
                let row = ErrorRow { fingerprint, error_type: 0, count: 0, first: at, last: at };
                let (_, row) = self
                    .errors
                    .entry(fingerprint)
                    .or_insert_with(|| (error.error_type.to_string(), row));
                row.count = row.count.saturating_add(1);
                (row.first, row.last) = (row.first.min(at), row.last.max(at));
            }
            Body::Run(_) | Body::Event(_) => {}
        }
    }

    /// What was counted.
    pub(crate) fn finish(self) -> Rollup {
        let of_runs = self.runs.keys().map(|(name, ..)| name);
        let mut types: Vec<_> =
            of_runs.chain(self.errors.values().map(|(name, _)| name)).cloned().collect();
        types.sort_unstable();
        types.dedup();
        let place = |name: &String| {
            types.binary_search(name).ok().and_then(|at| u32::try_from(at).ok()).unwrap_or_default()
        };
        let runs = self.runs.into_iter();
        let runs = runs.map(|((name, ..), row)| RunRow { run_type: place(&name), ..row }).collect();
        let errors = self.errors.into_values();
        let errors =
            errors.map(|(name, row)| ErrorRow { error_type: place(&name), ..row }).collect();
        Rollup { types, runs, errors }
    }
}

impl Segment {
    /// The sums of its records, but for states of runs that records here supersede.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn rollup(&self) -> Result<Rollup> {
        self.told(|index| rollup(index, self.kind()), SealedIndex::rollup)
    }

    /// The sums of its records, but for states of runs that any record supersedes: over all
    /// segments, each run that has ended is counted once.
    ///
    /// # Errors
    /// As for [`Segment::rollup`].
    pub(crate) fn current_rollup(self: &Arc<Self>) -> Result<Rollup> {
        let mut rollup = self.rollup()?;
        let overtaken = self.ended_and_overtaken()?;
        if overtaken.is_empty() {
            return Ok(rollup);
        }
        let mut pinned = Pinned::new(self)?;
        for (seq, offset) in overtaken {
            pinned.let_go();
            let run = match pinned.record(seq, offset) {
                Ok(record) => record.body,
                // It is counted still, as nobody can tell where.
                Err(Error::Damaged { .. }) => continue,
                Err(err) => return Err(err),
            };
            let Body::Run(run) = run else { continue };
            let day = day_of(run.created_at.unwrap_or_default().as_nanos());
            rollup.take_out(&run.run_type, run.status, day, length_of_run(&run));
        }
        Ok(rollup)
    }

    /// Where states lie that ended runs, and that records of other segments supersede.
    fn ended_and_overtaken(&self) -> Result<Vec<(u64, u32)>> {
        let overtaken = self.superseded();
        if overtaken.is_empty() {
            return Ok(Vec::new());
        }
        self.with_rows(FieldSet::NONE, |table| {
            let place = |&seq: &u64| {
                let row = table.row_of(seq)?;
                let tag = table.tag(row);
                let has_ended = Status::from_code(tag).is_some_and(Status::is_terminal);
                (has_ended && tag & SUPERSEDED == 0).then(|| (seq, table.offset(row)))
            };
            overtaken.iter().filter_map(place).collect()
        })
    }
}
