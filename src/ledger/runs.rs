//! What a run's next state is, given its newest record and what is appended.

use std::borrow::Cow;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::error::{Error, Result};
use crate::format::key;
use crate::index::{Row, StatePlace, Table, UnderHash};
use crate::ledger::catalog::Catalog;
use crate::ledger::classes::RUN_STREAMS;
use crate::model::{Body, Field, FieldSet, Id, Json, Run, RunError, Status, Subject, Timestamp};
use crate::query::{SegmentList, confirm};
use crate::segment::{NewestState, Pinned, Segment, StatesAhead, TableRef};

/// Where the newest record of a run lies.
#[derive(Debug)]
pub(super) struct Newest<'s> {
    pinned: Cow<'s, Pinned>,
    /// The place of its stream among the streams.
    pub(super) stream: usize,
    pub(super) seq: u64,
    offset: u32,
    /// Where its frame begins, when no index is there yet to tell.
    frame: Option<u32>,
}

impl<'s> Newest<'s> {
    fn at(pinned: Cow<'s, Pinned>, stream: usize, place: StatePlace) -> Self {
        let StatePlace { seq, offset, frame, .. } = place;
        Self { pinned, stream, seq, offset, frame: Some(frame) }
    }

    /// The segment that it lies in.
    pub(super) fn segment(&self) -> &Arc<Segment> {
        self.pinned.segment()
    }

    /// The run's state; `None` when it is damaged.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn state(&self) -> Result<Option<Run<'_>>> {
        match self.run() {
            Err(Error::Damaged { .. }) => Ok(None),
            state => state.map(Some),
        }
    }

    fn run(&self) -> Result<Run<'_>> {
        match self.pinned.record_at(self.frame, self.seq, self.offset)?.body {
            Body::Run(run) => Ok(run),
            Body::Event(_) | Body::Error(_) => Err(Error::damaged(
                self.pinned.segment().path(),
                u64::from(self.offset),
                crate::error::Damage::Record,
            )),
        }
    }
}

/// The states of runs, as they are looked up for one batch: what all of its runs need is fetched
/// once.
pub(super) struct States<'c> {
    pub(super) catalog: &'c Catalog,
    /// The hashes of the keys of the batch's runs.
    hashes: SmallVec<[u64; 1]>,
    streams: SmallVec<[InStream; 1]>,
}

/// A stream of runs, in which they are looked up.
struct InStream {
    number: usize,
    list: Arc<SegmentList>,
    /// What is known of the runs, when several were looked for at once.
    ahead: Option<StatesAhead>,
}

/// A run that is looked up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'r> {
    run_id: &'r Id<'r>,
    /// The hash of the run's key.
    pub(super) hash: u64,
    /// Its number among the runs of the batch. What is found may then be of another run whose key
    /// has the same hash: who reads it sees that. None to be sure.
    number: Option<usize>,
}

impl Wanted<'_> {
    /// The same run, and no other.
    pub(super) fn surely(self) -> Self {
        Self { number: None, ..self }
    }
}

impl<'c> States<'c> {
    /// Those of these runs. Several are looked for at once.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(super) fn new<'r>(
        catalog: &'c Catalog,
        runs: impl Iterator<Item = &'r Id<'r>>,
    ) -> Result<Self> {
        let hash = |run_id: &Id<'_>| key::id_hash(catalog.seed, run_id);
        let mut hashes = SmallVec::<[u64; 1]>::new();
        runs.for_each(|run_id| hashes.push(hash(run_id)));
        let mut streams = SmallVec::new();
        if hashes.is_empty() {
            return Ok(Self { catalog, hashes, streams });
        }
        for number in catalog.in_use().and(RUN_STREAMS) {
            let list = catalog.list(number);
            let ahead = match hashes.len() {
                1 => None,
                _ => Some(look_ahead(&list, catalog.seed, &hashes)?),
            };
            streams.push(InStream { number, list, ahead });
        }
        Ok(Self { catalog, hashes, streams })
    }

    /// True when there is more than one run, of which some may be the same.
    pub(super) fn are_several(&self) -> bool {
        self.hashes.len() > 1
    }

    /// The run with this number among them.
    pub(super) fn wanted<'r>(&self, number: usize, run_id: &'r Id<'r>) -> Wanted<'r> {
        let hash = self.hashes.get(number).copied().unwrap_or_default();
        Wanted { run_id, hash, number: Some(number) }
    }

    /// Finds the newest record of a run, looking at the newest segment of each stream first.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(super) fn newest(&self, wanted: &Wanted<'_>) -> Result<Option<Newest<'_>>> {
        let mut newest: Option<Newest<'_>> = None;
        for stream in &self.streams {
            // All of them are asked: a power cut may have taken the state between an earlier and a
            // later one, each in a stream of its own.
            let found = self.newest_in(stream, wanted)?;
            if found.as_ref().map(|it| it.seq) > newest.as_ref().map(|it| it.seq) {
                newest = found;
            }
        }
        Ok(newest)
    }

    fn newest_in<'s>(
        &self,
        stream: &'s InStream,
        wanted: &Wanted<'_>,
    ) -> Result<Option<Newest<'s>>> {
        let InStream { number, list, ahead } = stream;
        let &Wanted { run_id, hash, .. } = wanted;
        let hash_with = |seed| match seed == self.catalog.seed {
            true => hash,
            false => key::id_hash(seed, run_id),
        };
        if let Some((ahead, at)) = ahead.as_ref().zip(wanted.number) {
            match ahead.get(at) {
                UnderHash::None => return Ok(None),
                UnderHash::One(place) => {
                    if let Some(pinned) = ahead.pinned_of(&place) {
                        return Ok(Some(Newest::at(Cow::Borrowed(pinned), *number, place)));
                    }
                }
                UnderHash::Unsure => {}
            }
        }
        list.find_from_end(Field::Run, hash_with, |segment| {
            Ok(match segment.newest_state(run_id, hash, wanted.number.is_none())? {
                NewestState::At(pinned, place) => {
                    Some(Newest::at(Cow::Owned(pinned), *number, place))
                }
                NewestState::Nowhere => None,
                NewestState::InFooter => newest_by_index(segment, *number, wanted)?,
            })
        })
    }
}

/// What is known of runs at once, without reading a footer.
fn look_ahead(list: &SegmentList, seed: u64, hashes: &[u64]) -> Result<StatesAhead> {
    let mut ahead = StatesAhead::new(hashes, list.segments().rev())?;
    ahead.doubt(hashes, list.may_hold_before(ahead.first_seq(), Field::Run, seed));
    Ok(ahead)
}

fn newest_by_index<'s>(
    segment: &Arc<Segment>,
    stream: usize,
    wanted: &Wanted<'_>,
) -> Result<Option<Newest<'s>>> {
    let key = key::id_key(wanted.run_id);
    let newest_of = |pinned: &Pinned, table: &dyn Table| -> Option<(u64, u32)> {
        let code = table.find(Field::Run, key.as_slice())?;
        let is_sure = wanted.number.is_none();
        if is_sure && !confirm(pinned, table, Field::Run, code, key.as_slice()) {
            return None;
        }
        let mut newest: Option<(u64, Row)> = None;
        table.for_each_posting(Field::Run, code, &mut |row| {
            newest = newest.max(Some((table.seq(row), row)));
            std::ops::ControlFlow::Continue(())
        });
        newest.map(|(seq, row)| (seq, table.offset(row)))
    };
    let pinned = Pinned::new(segment)?;
    let found = segment.with_table(FieldSet::NONE.with(Field::Run), |table| match table {
        TableRef::Memory(table) => newest_of(&pinned, table),
        TableRef::Sealed(table) => newest_of(&pinned, table),
    })?;
    let newest =
        |(seq, offset)| Newest { pinned: Cow::Owned(pinned), stream, seq, offset, frame: None };
    Ok(found.map(newest))
}

/// The whole state of a run that is appended: what `run` leaves out is taken from `prior`.
///
/// # Errors
/// [`Error::RunTransition`] when the run cannot go where it is sent.
pub(super) fn merge<'a>(
    run: &'a Run<'_>,
    prior: Option<&'a Run<'_>>,
    now: Timestamp,
) -> Result<Run<'a>> {
    let at = run.at.unwrap_or(now);
    let reopened = match prior {
        Some(prior) => check_transition(run, prior)?,
        None => true,
    };
    // What belongs to one attempt is not taken over into the next.
    let same_attempt = prior.filter(|_| !reopened);
    let running = (run.status == Status::Running).then_some(at);
    let ended = run.status.is_terminal().then_some(at);
    let mut next = run.borrowed();
    next.attempt = Some(run.attempt.or(prior.and_then(|prior| prior.attempt)).unwrap_or(1));
    next.created_at = run.created_at.or(prior.and_then(|prior| prior.created_at)).or(Some(at));
    next.started_at =
        run.started_at.or(same_attempt.and_then(|prior| prior.started_at)).or(running);
    next.finished_at = run.finished_at.or(ended);
    // Nobody answers for a run that has ended.
    next.owner = next.owner.filter(|_| ended.is_none());
    if let Some(prior) = prior {
        take_over(&mut next.trace_id, &prior.trace_id, Id::borrowed);
        take_over(&mut next.project_id, &prior.project_id, Id::borrowed);
        take_over(&mut next.user_id, &prior.user_id, Id::borrowed);
        take_over(&mut next.parent_run_id, &prior.parent_run_id, Id::borrowed);
        take_over(&mut next.subject, &prior.subject, Subject::borrowed);
        take_over(&mut next.metadata, &prior.metadata, Json::borrowed);
        if !reopened {
            take_over(&mut next.error, &prior.error, RunError::borrowed);
            take_over(&mut next.result, &prior.result, Json::borrowed);
            if ended.is_none() {
                take_over(&mut next.owner, &prior.owner, |owner| Box::new(owner.borrowed()));
            }
        }
    }
    next.at = next.newest_time();
    Ok(next)
}

/// Takes a field that is absent from the state before.
fn take_over<'a, T, U>(field: &mut Option<U>, prior: &'a Option<T>, lend: impl Fn(&'a T) -> U) {
    if field.is_none() {
        *field = prior.as_ref().map(lend);
    }
}

/// True when the run begins a new attempt.
fn check_transition(run: &Run<'_>, prior: &Run<'_>) -> Result<bool> {
    let current = prior.attempt.unwrap_or(1);
    let attempt = run.attempt.unwrap_or(current);
    let goes_back = prior.status == Status::Running && run.status == Status::Pending;
    // An owner that was found gone may have been replaced since, or may have renewed its lease.
    let is_anothers = run.status == Status::Abandoned && run.owner != prior.owner;
    let refused = attempt < current
        || attempt == current && (prior.status.is_terminal() || goes_back || is_anothers);
    if refused {
        return Err(Error::RunTransition {
            run_id: run.run_id.to_string(),
            from: prior.status.name(),
            to: run.status.name(),
            attempt: current,
        });
    }
    Ok(attempt > current)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Json, RunError};

    fn at(nanos: i64) -> Timestamp {
        Timestamp::from_nanos(nanos)
    }

    fn run(status: Status, time: i64) -> Run<'static> {
        Run::new("r", "t", status).unwrap().at(at(time))
    }

    #[test]
    fn only_the_transitions_of_the_model_are_taken() {
        use Status::{Abandoned, Cancelled, Failed, Pending, Running, Skipped, Success};
        for &from in Status::ALL {
            for &to in Status::ALL {
                let prior = merge(&run(from, 1), None, at(0)).unwrap().into_owned();
                let allowed = match (from, to) {
                    (Pending, _) => true,
                    (Running, to) => to != Pending,
                    (Success | Failed | Skipped | Cancelled | Abandoned, _) => false,
                };
                assert_eq!(merge(&run(to, 2), Some(&prior), at(0)).is_ok(), allowed, "{from} {to}");
                let again = run(to, 2).attempt(2u32);
                assert!(merge(&again, Some(&prior), at(0)).is_ok(), "a new attempt: {from} {to}");
                let second = merge(&again, Some(&prior), at(0)).unwrap().into_owned();
                let stale = run(to, 3).attempt(1u32);
                assert!(merge(&stale, Some(&second), at(0)).is_err(), "an attempt that is over");
            }
        }
    }

    #[test]
    fn times_follow_from_the_lines_of_a_run() {
        let pending = merge(&run(Status::Pending, 10), None, at(0)).unwrap().into_owned();
        let running = merge(&run(Status::Running, 20), Some(&pending), at(0)).unwrap().into_owned();
        let update = run(Status::Running, 25).metadata(Json::parse("{}").unwrap());
        let update = merge(&update, Some(&running), at(0)).unwrap().into_owned();
        let failed = run(Status::Failed, 30).error(RunError::new("boom"));
        let failed = merge(&failed, Some(&update), at(0)).unwrap().into_owned();
        let times = |run: &Run<'_>| (run.created_at, run.started_at, run.finished_at);
        assert_eq!(times(&pending), (Some(at(10)), None, None));
        assert_eq!(times(&running), (Some(at(10)), Some(at(20)), None));
        assert_eq!(times(&failed), (Some(at(10)), Some(at(20)), Some(at(30))));
        assert_eq!(failed.metadata.as_ref().unwrap().as_str(), "{}");
        let again = run(Status::Running, 40).attempt(2u32);
        let again = merge(&again, Some(&failed), at(0)).unwrap();
        assert_eq!(times(&again), (Some(at(10)), Some(at(40)), None));
        assert_eq!((again.attempt, again.error.is_none()), (Some(2), true));
    }

    #[test]
    fn a_run_logged_whole_ends_when_it_is_said_to() {
        let whole = run(Status::Success, 30).created_at(at(10)).started_at(at(12));
        let whole = merge(&whole, None, at(99)).unwrap();
        assert_eq!(whole.finished_at, Some(at(30)));
        let untimed = Run::new("r", "t", Status::Skipped).unwrap();
        let untimed = merge(&untimed, None, at(99)).unwrap();
        assert_eq!((untimed.created_at, untimed.started_at), (Some(at(99)), None));
    }
}
