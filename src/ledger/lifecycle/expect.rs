//! Runs that are expected at least so often, and those that never came.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ledger::audit::{RUN_EXPECTED, RUN_MISSED, system};
use crate::ledger::handle::{Inner, Ledger};
use crate::ledger::reader::Reader;
use crate::limits::{MAX_ID_BYTES, MAX_NAME_BYTES};
use crate::model::{Body, Event, Id, Kind, Severity, Status, Timestamp};
use crate::query::Order;

/// How many runs of a type are looked at for one that can be read.
const MOST_DAMAGED: usize = 16;

/// A type of run that is expected at least so often.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExpectedRun {
    /// The type.
    pub run_type: String,
    /// How far apart two runs of it may be created at the most.
    pub every: Duration,
    /// By how much one may be late before it is missed.
    pub grace: Duration,
    /// Since when it is expected.
    pub since: Timestamp,
    /// The last run of it that was created.
    pub last: Option<LastRun>,
    /// When the next one is missed.
    pub due: Timestamp,
    /// True when that has passed.
    pub is_missed: bool,
}

/// The last run of a type.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastRun {
    /// Which run.
    pub run_id: Id<'static>,
    /// How it fares.
    pub status: Status,
    /// When it was created.
    pub created_at: Timestamp,
}

/// What is expected, as notes have it.
#[derive(Debug, Serialize, Deserialize)]
struct Terms {
    #[serde(rename = "type")]
    run_type: String,
    /// Absent when it is no longer expected.
    every_seconds: Option<u64>,
    #[serde(default)]
    grace_seconds: u64,
}

/// A run that never came, as notes have it.
#[derive(Debug, Serialize, Deserialize)]
struct Missed {
    #[serde(rename = "type")]
    run_type: String,
    due: String,
    last_run: Option<String>,
}

impl Ledger {
    /// Expects a run of this type to be created at least so `often`, and allows it to be late by
    /// `grace`; both are counted in whole seconds. It takes the place of what was expected of the
    /// type before; where that was the same, it stays expected since then, so that a service can
    /// say it at each start. One that never comes is told by [`Reader::expected_runs`], and put on
    /// record once, as a note `run.missed`, by the writer's opening or within a minute. Returns
    /// once what is expected is on stable storage.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use runledger::Ledger;
    /// # let dir = tempfile::tempdir()?;
    /// let ledger = Ledger::open(dir.path().join("ledger"))?;
    /// ledger.expect_run("nightly-backup", Duration::from_secs(86_400), Duration::from_secs(600))?;
    /// assert!(!ledger.reader().expected_runs()?[0].is_missed);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] for a type of 0 or over 256 bytes, or less than a second between runs;
    /// else as for [`Ledger::append`].
    pub fn expect_run(&self, run_type: &str, often: Duration, grace: Duration) -> Result<()> {
        let every = often.as_secs();
        if every == 0 {
            return Err(Error::invalid("interval", &format!("{often:?}"), "a second or more"));
        }
        self.inner.check_writable()?;
        let (every, grace) = (Some(every), grace.as_secs());
        let now = self.inner.options.storage.now();
        // A clock that was ahead does not tell since when.
        let is_same = |(terms, since): &(Terms, Timestamp)| {
            (&*terms.run_type, terms.every_seconds, terms.grace_seconds) == (run_type, every, grace)
                && since.as_nanos() <= now
        };
        if self.reader().terms()?.iter().any(is_same) {
            return self.inner.sync();
        }
        let message = format!("{run_type} is expected every {} s", often.as_secs());
        self.note_terms(run_type, every, grace, message)
    }

    /// Expects runs of this type no longer. False when it was not expected.
    ///
    /// # Errors
    /// As for [`Ledger::expect_run`].
    pub fn expect_run_no_longer(&self, run_type: &str) -> Result<bool> {
        let is_expected = |terms: &(Terms, Timestamp)| terms.0.run_type == run_type;
        if !self.reader().terms()?.iter().any(is_expected) {
            return Ok(false);
        }
        let message = format!("{run_type} is no longer expected");
        self.note_terms(run_type, None, 0, message)?;
        Ok(true)
    }

    fn note_terms(
        &self,
        run_type: &str,
        every_seconds: Option<u64>,
        grace_seconds: u64,
        message: String,
    ) -> Result<()> {
        if !(1..=MAX_NAME_BYTES).contains(&run_type.len()) {
            return Err(Error::invalid("run type", run_type, "1 to 256 bytes of UTF-8"));
        }
        self.inner.check_writable()?;
        let terms = Terms { run_type: run_type.to_owned(), every_seconds, grace_seconds };
        self.put_on_record(about(RUN_EXPECTED, run_type, &terms).message(message))
    }
}

/// A note on a type of run, which can be asked for by that as its trace.
fn about(note: &'static str, run_type: &str, detail: &impl Serialize) -> Event<'static> {
    let mut event = system(note, detail);
    event.trace_id = trace(run_type);
    event
}

/// A type as a trace: as much of it as an id may hold.
fn trace(run_type: &str) -> Option<Id<'static>> {
    let end = run_type.floor_char_boundary(MAX_ID_BYTES);
    Id::new(run_type.get(..end)?.to_owned()).ok()
}

/// The run that a note on one that never came names as the last one of its type.
pub(in crate::ledger) fn last_before_miss(body: &Body<'_>) -> Option<Id<'static>> {
    let Body::Event(note) = body else { return None };
    Id::new(missed(note)?.last_run?).ok()
}

/// What a note says of a run that never came; `None` when it is about something else.
fn missed(note: &Event<'_>) -> Option<Missed> {
    let payload = note.payload.as_ref().filter(|_| note.event_type == RUN_MISSED)?;
    payload.to_value().ok()
}

impl Reader {
    /// The types of run that are expected, with the last run of each, in the order of their names.
    ///
    /// # Errors
    /// As for [`Query::fetch`](crate::Query::fetch).
    pub fn expected_runs(&self) -> Result<Vec<ExpectedRun>> {
        let now = Timestamp::from_nanos(self.catalog().storage.now());
        self.expected_runs_at(now)?.into_iter().collect()
    }

    /// As [`Reader::expected_runs`]; what cannot be told of one type hides no other.
    fn expected_runs_at(&self, now: Timestamp) -> Result<Vec<Result<ExpectedRun>>> {
        let expected = self.terms()?.into_iter().map(|(terms, since)| {
            let every = Duration::from_secs(terms.every_seconds.unwrap_or_default());
            let grace = Duration::from_secs(terms.grace_seconds);
            let last = self.last_run(&terms.run_type, now)?;
            // A clock that was ahead does not tell since when.
            let since_then = Some(since).filter(|since| *since <= now);
            let from = last.as_ref().map(|last| last.created_at).max(since_then).unwrap_or(now);
            let due = from.saturating_add(every).saturating_add(grace);
            let (run_type, is_missed) = (terms.run_type, due < now);
            Ok(ExpectedRun { run_type, every, grace, since, last, due, is_missed })
        });
        Ok(expected.collect())
    }

    /// What is expected, by type, and since when.
    fn terms(&self) -> Result<Vec<(Terms, Timestamp)>> {
        let notes = self.audit().record_type(RUN_EXPECTED).order(Order::Seq);
        let page = notes.limit(usize::MAX).fetch()?;
        let mut newest = BTreeMap::new();
        // A note that is damaged keeps no other from being told.
        for note in page.records().filter_map(Result::ok) {
            let Body::Event(Event { payload: Some(payload), .. }) = &note.body else { continue };
            let Ok(terms) = payload.to_value::<Terms>() else { continue };
            newest.insert(terms.run_type.clone(), (terms, note.recorded_at));
        }
        newest.retain(|_, (terms, _)| terms.every_seconds.is_some());
        Ok(newest.into_values().collect())
    }

    /// The run of this type that was created last. One from the future is not the last.
    fn last_run(&self, run_type: &str, now: Timestamp) -> Result<Option<LastRun>> {
        let runs = self.query().kind(Kind::Run).record_type(run_type).order(Order::Newest);
        let runs = runs.until(now.saturating_add(Duration::from_nanos(1)));
        let page = runs.limit(MOST_DAMAGED).fetch()?;
        // `verify` names it, and the one before it tells enough.
        let is_damaged = |record: &Result<_>| matches!(record, Err(Error::Damaged { .. }));
        let record = page.records().find(|record| !is_damaged(record)).transpose()?;
        let Some(record) = record else { return Ok(None) };
        let (Body::Run(run), Some(created_at)) = (&record.body, record.body.created_at()) else {
            return Ok(None);
        };
        let (run_id, status) = (run.run_id.clone().into_owned(), run.status);
        Ok(Some(LastRun { run_id, status, created_at }))
    }
}

impl Inner {
    /// Puts on record which runs never came, each miss once: it is over when a run comes, and the
    /// next one is another.
    pub(super) fn note_missed(&self, now: i64, unread: &mut Vec<Error>) -> Result<()> {
        let expected = match self.reader.expected_runs_at(Timestamp::from_nanos(now)) {
            Ok(expected) => expected,
            Err(err) => {
                unread.push(err);
                return Ok(());
            }
        };
        for run in expected {
            match run.and_then(|run| Ok((run.is_missed && !self.is_noted(&run)?).then_some(run))) {
                Ok(Some(run)) => self.note_miss(&run)?,
                Ok(None) => {}
                Err(err) => unread.push(err),
            }
        }
        Ok(())
    }

    fn note_miss(&self, run: &ExpectedRun) -> Result<()> {
        let last = run.last.as_ref().map(|last| (last.run_id.to_string(), last.created_at));
        let since = match &last {
            Some((id, created_at)) => format!("since {id} of {created_at}"),
            None => format!("since {}, when it was first expected", run.since),
        };
        let missed = Missed {
            run_type: run.run_type.clone(),
            due: run.due.to_string(),
            last_run: last.map(|(id, _)| id),
        };
        let note = about(RUN_MISSED, &run.run_type, &missed).severity(Severity::Error);
        let (name, every) = (&run.run_type, run.every.as_secs());
        self.note(&note.message(format!("no run of {name} {since}: expected every {every} s")))
    }

    /// True when this miss is on record, or will be once there is space.
    fn is_noted(&self, run: &ExpectedRun) -> Result<bool> {
        // Long types may have a trace in common.
        let of_type = |note: &Event<'_>| missed(note).filter(|it| it.run_type == run.run_type);
        // First those that are owed, which may be written meanwhile.
        let owed = self.owed_notes.lock().iter().rev().find_map(of_type);
        let trace = trace(&run.run_type).map(|trace| trace.to_string()).unwrap_or_default();
        let notes = self.reader.audit().record_type(RUN_MISSED).trace(&trace);
        let page = notes.order(Order::SeqDescending).limit(usize::MAX).fetch()?;
        let mut written = page.records().filter_map(Result::ok);
        let last = owed.or_else(|| {
            written.find_map(|note| match &note.body {
                Body::Event(note) => of_type(note),
                Body::Run(_) | Body::Error(_) => None,
            })
        });
        Ok(last.is_some_and(|it| it.due == run.due.to_string()))
    }
}
