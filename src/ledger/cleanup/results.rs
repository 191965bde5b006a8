//! The newest success and the newest failure of each type, which outlive their segments: so that
//! "when did this last work" always has an answer.
//!
//! The sums in the footers tell which segments have runs of a type and result, up to which day, so
//! that no more than one record of each is looked at.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::rollup::{RunRow, day_of};
use crate::index::{Row, Table};
use crate::ledger::append::{Encoded, with_batch};
use crate::ledger::audit;
use crate::ledger::catalog::Catalog;
use crate::ledger::classes::{RUN_STREAMS, RUNS};
use crate::ledger::cleanup::plan::Candidate;
use crate::ledger::cleanup::unread::Unread;
use crate::ledger::handle::Inner;
use crate::model::{Body, Field, FieldSet, Run, Status};
use crate::query::confirm;
use crate::segment::{Pinned, Segment};

/// The results that are carried forward.
const RESULTS: [Status; 2] = [Status::Success, Status::Failed];

/// A type and a result: what there is a newest run of.
type Wanted = (String, Status);

/// Where a state of a run lies: sequence number and offset.
type Place = (u64, u32);

/// A segment that has runs of a type and result, as its sums tell.
struct Contender {
    /// False when they are all of days to come.
    is_believed: bool,
    /// The latest day, of those that are not to come if there are any.
    day: i32,
    segment: Arc<Segment>,
    /// The newest of that day, unless another segment has a later state of it.
    newest: u64,
}

/// The newest run of a type and result in one segment. A clock that was ahead makes no run newer
/// than those that were created when it was right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Newest {
    is_believed: bool,
    created_at: i64,
    seq: u64,
    offset: u32,
}

/// Notes with each segment that is to go the results in it that are the newest of their type.
pub(super) fn find_last_results(
    catalog: &Catalog,
    candidates: &mut [Candidate],
    now: i64,
    unread: &Unread,
) -> Result<()> {
    let losing = candidates.iter().filter(|it| it.loses_runs());
    let going: Vec<_> = losing.map(|it| Arc::clone(&it.segment)).collect();
    for (segment, place) in last_results(catalog, &going, now, unread)? {
        let is_its = |it: &&mut Candidate| Arc::ptr_eq(&it.segment, &segment);
        candidates.iter_mut().filter(is_its).for_each(|it| it.results.push(place));
    }
    Ok(())
}

/// The runs in these segments that are the newest success or failure of their type in the ledger,
/// by when they were created; those of days to come only where there is no other. Where one cannot
/// be read, the newest that can be is there besides. What is known to be unreadable is left out.
///
/// # Errors
/// When another segment cannot be read.
pub(in crate::ledger) fn last_results(
    catalog: &Catalog,
    going: &[Arc<Segment>],
    now: i64,
    unread: &Unread,
) -> Result<Vec<(Arc<Segment>, Place)>> {
    let mut found = Vec::new();
    if going.is_empty() {
        return Ok(found);
    }
    let is_going = |segment: &Arc<Segment>| going.iter().any(|it| Arc::ptr_eq(it, segment));
    let today = day_of(now);
    for (wanted, mut contenders) in contenders(catalog, today, &is_going, unread)? {
        // From the latest day on, so that most need not be looked at.
        contenders.sort_by_key(|it| Reverse(it.rank()));
        let mut newest = None;
        let mut seen = Vec::new();
        for contender in contenders {
            let segment = &contender.segment;
            if newest.is_some_and(|newest: Newest| contender.rank() < newest.rank()) {
                break;
            }
            let is_whole = |it: &Newest| !is_going(segment) || it.can_be_read(segment);
            let Some(first) = contender.newest(&wanted, today)? else { continue };
            seen.push((first, Arc::clone(segment)));
            let whole = match is_whole(&first) {
                true => Some(first),
                false => search(segment, &wanted, today, &is_whole)?,
            };
            seen.extend(whole.filter(|it| *it != first).map(|it| (it, Arc::clone(segment))));
            newest = newest.max(whole);
        }
        seen.retain(|(it, segment)| Some(*it) >= newest && is_going(segment));
        found.extend(seen.into_iter().map(|(it, segment)| (segment, (it.seq, it.offset))));
    }
    Ok(found)
}

/// The segments that have runs of a type and result of which those that go have some, too.
fn contenders(
    catalog: &Catalog,
    today: i32,
    is_going: &dyn Fn(&Arc<Segment>) -> bool,
    unread: &Unread,
) -> Result<BTreeMap<Wanted, Vec<Contender>>> {
    let mut all: BTreeMap<Wanted, Vec<Contender>> = BTreeMap::new();
    let streams = catalog.in_use().and(RUN_STREAMS);
    let segments = streams.flat_map(|stream| catalog.stream(stream));
    for segment in segments.filter(|segment| !unread.has(segment)) {
        let rollup = match segment.rollup() {
            Ok(rollup) => rollup,
            // It tells of no result, and keeps nothing else from going: `verify` names it.
            Err(Error::Damaged { .. }) => continue,
            Err(err) => return Err(err),
        };
        let results = |row: &&RunRow| RESULTS.contains(&row.status);
        for row in rollup.runs.iter().filter(results) {
            let wanted = (rollup.type_name(row.run_type).to_owned(), row.status);
            let of_type = all.entry(wanted).or_default();
            let next = Contender {
                is_believed: row.day <= today,
                day: row.day,
                segment: Arc::clone(&segment),
                newest: row.newest,
            };
            match of_type.last_mut().filter(|last| Arc::ptr_eq(&last.segment, &segment)) {
                Some(last) if last.rank() < next.rank() => *last = next,
                Some(_) => {}
                None => of_type.push(next),
            }
        }
    }
    all.retain(|_, contenders| contenders.iter().any(|it| is_going(&it.segment)));
    Ok(all)
}

impl Contender {
    const fn rank(&self) -> (bool, i32) {
        (self.is_believed, self.day)
    }

    /// Its newest run of this type and result.
    fn newest(&self, wanted: &Wanted, today: i32) -> Result<Option<Newest>> {
        if self.segment.superseded_by(self.newest).is_some() {
            return search(&self.segment, wanted, today, &|_| true);
        }
        let find = |table: &dyn Table| {
            let position = table.seq_position(self.newest);
            let row = table.seq_row(position);
            (position < table.rows()).then(|| Newest::at(table, row, today))
        };
        self.segment.with_rows(FieldSet::NONE, find)
    }
}

impl Newest {
    fn at(table: &dyn Table, row: Row, today: i32) -> Self {
        let (created_at, seq) = (table.created_at(row), table.seq(row));
        let is_believed = day_of(created_at) <= today;
        Self { is_believed, created_at, seq, offset: table.offset(row) }
    }

    fn rank(&self) -> (bool, i32) {
        (self.is_believed, day_of(self.created_at))
    }

    fn can_be_read(&self, segment: &Arc<Segment>) -> bool {
        let pinned = Pinned::new(segment);
        pinned.is_ok_and(|pinned| pinned.record(self.seq, self.offset).is_ok())
    }
}

/// The newest run of a type and result in a segment that no other has a later state of, and that
/// is accepted: by the rows of the type.
fn search(
    segment: &Arc<Segment>,
    (name, status): &Wanted,
    today: i32,
    accept: &dyn Fn(&Newest) -> bool,
) -> Result<Option<Newest>> {
    let find = |pinned: &Pinned, table: &dyn Table| {
        let code = table.find(Field::Type, name.as_bytes())?;
        if !confirm(pinned, table, Field::Type, code, name.as_bytes()) {
            return None;
        }
        let mut newest = None;
        table.for_each_posting(Field::Type, code, &mut |row| {
            let is_current =
                table.tag(row) == status.code() && segment.superseded_by(table.seq(row)).is_none();
            let found = is_current.then(|| Newest::at(table, row, today));
            newest = newest.max(found.filter(|it| Some(*it) > newest && accept(it)));
            ControlFlow::Continue(())
        });
        newest
    };
    let pinned = Pinned::new(segment)?;
    segment.with_rows(FieldSet::NONE.with(Field::Type), |table| find(&pinned, table))
}

impl Inner {
    /// Appends results anew, as they are and with their times, and syncs them. One whose run has
    /// gone on since needs no carrying.
    pub(super) fn carry_results(&self, segment: &Arc<Segment>, results: &[Place]) -> Result<u64> {
        if results.is_empty() {
            return Ok(0);
        }
        let pinned = Pinned::new(segment)?;
        let mut carried = 0;
        for &(seq, offset) in results {
            match pinned.record(seq, offset) {
                Ok(record) => {
                    let Body::Run(run) = record.body else { continue };
                    carried += u64::from(self.carry_result(seq, &run)?);
                }
                // What cannot be read cannot be carried, and must not keep the others for ever.
                Err(err @ Error::Damaged { .. }) => {
                    let what = "the newest result of its type";
                    self.note(&audit::lost_run(segment, seq, what, &err))?;
                }
                Err(err) => return Err(err),
            }
        }
        self.sync()?;
        Ok(carried)
    }

    fn carry_result(&self, seq: u64, run: &Run<'_>) -> Result<bool> {
        let now = self.options.storage.now();
        with_batch(|batch| {
            // Held before the run is looked up: nobody appends a state of it meanwhile.
            let runs = self.streams.get(RUNS).map(|stream| stream.lock());
            if !batch.encode_result(&self.catalog, self.policy.split(), seq, run)? {
                return Ok(false);
            }
            batch.is_urgent = true;
            let targets = self.lock_parts(batch, runs);
            self.check_open()?;
            self.write_frames(batch, Encoded::ENGINES, targets, now)?;
            Ok(true)
        })
    }
}
