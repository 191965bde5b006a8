//! What has expired in segments that stay: runs of one status, when somebody asks for that, and
//! records whose class has a shorter term than what they lie among.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::Result;
use crate::ledger::arrivals::arrivals;
use crate::ledger::catalog::Catalog;
use crate::ledger::classes::{Class, RUN_STREAMS, tag_of};
use crate::ledger::cleanup::{Unread, last_results};
use crate::ledger::displaced::{Tags, held};
use crate::ledger::part::OnReject;
use crate::ledger::policy::{Retention, Term};
use crate::ledger::reader::Reader;
use crate::ledger::runs::States;
use crate::model::{Body, FieldSet, Id, Kind, Status, Timestamp, nanos};
use crate::segment::Segment;

/// Which records have expired.
#[derive(Debug)]
pub(in crate::ledger) struct Expiry {
    rule: Rule,
    /// The runs that are pinned.
    pins: HashSet<Id<'static>>,
    /// The newest success and the newest failure of each type: when a thing last worked is to be
    /// known for ever.
    results: HashSet<u64>,
}

#[derive(Debug)]
enum Rule {
    /// Runs that are in this status, and whose own times all lie before this.
    Status { status: Status, before: i64 },
    /// Those with one of these tags in a segment, by its path.
    Classes(HashMap<PathBuf, Tags>),
}

impl Expiry {
    /// Of the runs in this status whose own times all lie before `before`. One that is open has not
    /// expired, whatever is asked for.
    ///
    /// # Errors
    /// When the notes cannot be read.
    pub(in crate::ledger) fn of_status(
        reader: &Reader,
        status: Status,
        before: i64,
    ) -> Result<Self> {
        Self::new(reader, Rule::Status { status, before })
    }

    /// Of the records of classes that were split off after they had come, by `now`. As with whole
    /// segments, all records of one count as old as the newest. `None` when there are none, and of
    /// a segment of which all has expired: that goes as a whole.
    ///
    /// # Errors
    /// When a segment or the notes cannot be read.
    pub(in crate::ledger) fn of_classes(
        reader: &Reader,
        retention: &Retention,
        now: i64,
    ) -> Result<Option<Self>> {
        let (catalog, split) = (reader.catalog(), retention.split());
        let mut expired = HashMap::new();
        for stream in catalog.in_use().filter(|&stream| split.is_split(stream)) {
            expired.extend(expired_in(catalog, stream, retention, now)?);
        }
        match expired.is_empty() {
            true => Ok(None),
            false => Self::new(reader, Rule::Classes(expired)).map(Some),
        }
    }

    fn new(reader: &Reader, rule: Rule) -> Result<Self> {
        let pins = reader.pins()?.into_iter().map(|pin| pin.run_id).collect();
        let catalog = reader.catalog();
        let streams = catalog.in_use().and(RUN_STREAMS);
        let segments: Vec<_> = streams.flat_map(|stream| catalog.stream(stream)).collect();
        let results = last_results(catalog, &segments, catalog.storage.now(), &Unread::default())?;
        let results = results.into_iter().map(|(_, (seq, _))| seq).collect();
        Ok(Self { rule, pins, results })
    }

    /// True when no run was pinned since.
    ///
    /// # Errors
    /// When the notes cannot be read.
    pub(super) fn knows_all_pins(&self, reader: &Reader) -> Result<bool> {
        Ok(reader.pins()?.iter().all(|pin| self.pins.contains(&pin.run_id)))
    }

    /// True when this state of a run, which is its newest, has expired.
    pub(super) fn takes_run(
        &self,
        segment: &Segment,
        seq: u64,
        run_id: &Id<'_>,
        (status, newest_time): (Status, Option<Timestamp>),
    ) -> bool {
        let is_due = status.is_terminal()
            && match &self.rule {
                Rule::Status { status: expired, before } => {
                    status == *expired && newest_time.is_some_and(|time| time.as_nanos() < *before)
                }
                Rule::Classes(expired) => {
                    expired.get(segment.path()).is_some_and(|it| it.contains(status.code()))
                }
            };
        is_due && !self.pins.contains(run_id) && !self.results.contains(&seq)
    }

    /// True when the newest state of this run has expired, wherever it lies.
    ///
    /// # Errors
    /// When that state cannot be read. One that is damaged has not expired.
    pub(super) fn takes_state_of(&self, catalog: &Catalog, run_id: &Id<'_>) -> Result<bool> {
        let states = States::new(catalog, std::iter::once(run_id), OnReject::FailAll)?;
        let found = states.newest(&states.wanted(0, run_id).surely())?;
        let Some(found) = found else { return Ok(false) };
        let Some(run) = found.state()? else { return Ok(false) };
        let at_end = (run.status, Some(run.newest_time()));
        Ok(self.takes_run(found.segment(), found.seq, run_id, at_end))
    }

    /// True when this event or error has expired.
    pub(super) fn takes_other(&self, segment: &Segment, body: &Body<'_>) -> bool {
        let Rule::Classes(expired) = &self.rule else { return false };
        let is_due = expired.get(segment.path()).is_some_and(|it| it.contains(tag_of(body)));
        is_due && !body.run_id().is_some_and(|id| self.pins.contains(id))
    }

    /// True when the newest success or failure of a type lies in this segment.
    ///
    /// # Errors
    /// When the segment cannot be read.
    pub(in crate::ledger) fn holds_result(&self, segment: &Segment) -> Result<bool> {
        let results: Vec<_> = self.results.iter().copied().collect();
        segment.holds_any(&results)
    }

    /// The rows of a segment that may have expired, by sequence number and offset, in the order of
    /// their numbers.
    ///
    /// # Errors
    /// When the segment cannot be read.
    pub(super) fn suspects(&self, segment: &Arc<Segment>) -> Result<Vec<(u64, u32)>> {
        let is_run = segment.kind() == Kind::Run;
        // Of an earlier state the status tells nothing: the run may have come to another later.
        let is_one: Box<dyn Fn(u64, u8, i64) -> bool> = match &self.rule {
            Rule::Status { .. } if !is_run => return Ok(Vec::new()),
            &Rule::Status { status, before } => Box::new(move |seq, tag, created_at| {
                created_at < before && (tag == status.code() || segment.is_earlier(seq, tag))
            }),
            Rule::Classes(expired) => match expired.get(segment.path()) {
                None => return Ok(Vec::new()),
                Some(&tags) => Box::new(move |seq, tag, _| {
                    tags.contains(tag) || is_run && segment.is_earlier(seq, tag)
                }),
            },
        };
        segment.with_rows(FieldSet::NONE, |table| {
            let rows = (0..table.rows()).map(|position| table.seq_row(position));
            let is_one =
                |row: &u32| is_one(table.seq(*row), table.tag(*row), table.created_at(*row));
            rows.filter(is_one).map(|row| (table.seq(row), table.offset(row))).collect()
        })
    }
}

/// The segments of a stream in which some records have expired, with the tags of those.
fn expired_in(
    catalog: &Catalog,
    stream: usize,
    retention: &Retention,
    now: i64,
) -> Result<Vec<(PathBuf, Tags)>> {
    let segments = catalog.stream(stream);
    let recorded = |it: &Arc<Segment>| Ok(it.overview()?.summary.recorded);
    let recorded: Vec<_> = segments.iter().map(recorded).collect::<Result<_>>()?;
    let mut found = Vec::new();
    for (segment, arrived) in segments.iter().zip(arrivals(&recorded, now)) {
        let held = held(segment, stream, retention.split())?;
        let is_over = |class| {
            let term = retention.limits(class).term.and_then(Term::duration);
            term.is_some_and(|term| arrived.saturating_add(nanos(term)) <= now)
        };
        let (mut tags, mut stays) = (Tags::default(), false);
        for &(tag, class) in &held.displaced {
            if is_over(class) { tags.insert(tag) } else { stays = true }
        }
        if Class::at(stream).is_some_and(is_over) {
            tags = tags.or(held.own);
        } else {
            stays |= !held.own.is_empty();
        }
        if !held.displaced.is_empty() && stays && !tags.is_empty() {
            found.push((segment.path().to_owned(), tags));
        }
    }
    Ok(found)
}
