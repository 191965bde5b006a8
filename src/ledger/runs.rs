//! What a run's next state is, given its newest record and what is appended.
//!
//! The newest record is looked for in three steps, each for what the one before leaves open: of all
//! runs of a batch at once, by the hash of the key, in the segments that have no footer yet; of one
//! run, from the newest segment on, in those; and in the footers of the others. Up to there a hash
//! is believed. The record that is read tells whose it is, and where it is another run's, the run
//! is looked for once more, surely: then each find is compared with the key.

use std::borrow::Cow;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::error::{Error, Result};
use crate::format::codec::{Kept, NextRun, RunState};
use crate::format::key;
use crate::index::{Row, StatePlace, Table, UnderHash};
use crate::ledger::catalog::Catalog;
use crate::ledger::classes::RUN_STREAMS;
use crate::ledger::part::OnReject;
use crate::model::{Field, FieldSet, Id, Run, Status, Timestamp};
use crate::query::{SegmentList, confirm};
use crate::segment::{NewestState, Pinned, Segment, StatesAhead};

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
    pub(super) fn state(&self) -> Result<Option<RunState<'_>>> {
        match self.pinned.state_at(self.frame, self.offset) {
            Err(Error::Damaged { .. }) => Ok(None),
            state => state.map(Some),
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
    /// Those of these runs. Several are looked for at once. With [`OnReject::Skip`] each is looked
    /// for by itself where that fails: it fails then for those alone whose states cannot be read.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(super) fn new<'r>(
        catalog: &'c Catalog,
        runs: impl Iterator<Item = &'r Id<'r>>,
        on_reject: OnReject,
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
                _ => match look_ahead(&list, catalog.seed, &hashes) {
                    Err(_) if on_reject == OnReject::Skip => None,
                    found => Some(found?),
                },
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
    let fields = FieldSet::NONE.with(Field::Run);
    let found = segment.with_rows(fields, |table| newest_of(&pinned, table))?;
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
    prior: Option<&RunState<'a>>,
    now: Timestamp,
) -> Result<NextRun<'a>> {
    let at = run.at.unwrap_or(now);
    let reopened = match prior {
        Some(prior) => check_transition(run, prior)?,
        None => true,
    };
    // What belongs to one attempt is not taken over into the next.
    let same_attempt = prior.filter(|_| !reopened);
    let kept = match (prior, same_attempt) {
        (_, Some(prior)) => prior.kept,
        (Some(prior), None) => prior.kept.of_any_attempt(),
        (None, None) => Kept::default(),
    };
    let running = (run.status == Status::Running).then_some(at);
    let ended = run.status.is_terminal().then_some(at);
    Ok(NextRun {
        run,
        attempt: run.attempt.or(prior.map(|prior| prior.attempt)).unwrap_or(1),
        // Nobody answers for a run that has ended.
        owner: run.owner.as_deref().filter(|_| ended.is_none()),
        created_at: run.created_at.or(prior.map(|prior| prior.created_at)).unwrap_or(at),
        started_at: run.started_at.or(same_attempt.and_then(|prior| prior.started_at)).or(running),
        finished_at: run.finished_at.or(ended),
        kept: if ended.is_some() { kept.of_nobody() } else { kept },
    })
}

/// True when the run begins a new attempt.
fn check_transition(run: &Run<'_>, prior: &RunState<'_>) -> Result<bool> {
    let current = prior.attempt;
    let attempt = run.attempt.unwrap_or(current);
    let goes_back = prior.status == Status::Running && run.status == Status::Pending;
    // An owner that was found gone may have been replaced since, or may have renewed its lease.
    let is_anothers =
        run.status == Status::Abandoned && run.owner.as_deref() != prior.owner().as_ref();
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
    use crate::format::codec::{self, Prior};
    use crate::model::{Body, Json, Kind, Owner, RunError, Subject};

    fn at(nanos: i64) -> Timestamp {
        Timestamp::from_nanos(nanos)
    }

    fn run(status: Status, time: i64) -> Run<'static> {
        Run::new("r", "t", status).unwrap().at(at(time))
    }

    /// The record of the run as it is after the one of `prior`.
    fn record(run: &Run<'_>, prior: Option<&[u8]>, now: i64) -> Result<Vec<u8>> {
        let prior = prior.map(|bytes| codec::decode_state(bytes).unwrap().0);
        let next = merge(run, prior.as_ref(), at(now))?;
        let mut record = Vec::new();
        codec::encode_next(&mut record, 0, Prior::None, &next).unwrap();
        Ok(record)
    }

    fn first(run: &Run<'_>) -> Vec<u8> {
        record(run, None, 0).unwrap()
    }

    fn after(run: &Run<'_>, prior: &[u8]) -> Vec<u8> {
        record(run, Some(prior), 0).unwrap()
    }

    fn read(record: &[u8]) -> Run<'_> {
        let Body::Run(run) = codec::decode(Kind::Run, record).unwrap().body else { panic!() };
        run
    }

    #[test]
    fn only_the_transitions_of_the_model_are_taken() {
        use Status::{Abandoned, Cancelled, Failed, Pending, Running, Skipped, Success};
        for &from in Status::ALL {
            for &to in Status::ALL {
                let prior = first(&run(from, 1));
                let is_taken = |next: &Run<'_>, prior| record(next, Some(prior), 0).is_ok();
                let allowed = match (from, to) {
                    (Pending, _) => true,
                    (Running, to) => to != Pending,
                    (Success | Failed | Skipped | Cancelled | Abandoned, _) => false,
                };
                assert_eq!(is_taken(&run(to, 2), &prior), allowed, "{from} {to}");
                let again = run(to, 2).attempt(2u32);
                assert!(is_taken(&again, &prior), "a new attempt: {from} {to}");
                let second = after(&again, &prior);
                let stale = run(to, 3).attempt(1u32);
                assert!(!is_taken(&stale, &second), "an attempt that is over");
            }
        }
    }

    #[test]
    fn times_follow_from_the_lines_of_a_run() {
        let pending = first(&run(Status::Pending, 10));
        let running = after(&run(Status::Running, 20), &pending);
        let update = run(Status::Running, 25).metadata(Json::parse("{}").unwrap());
        let update = after(&update, &running);
        let failed = run(Status::Failed, 30).error(RunError::new("boom"));
        let failed = after(&failed, &update);
        let times = |record| {
            let run = read(record);
            (run.created_at, run.started_at, run.finished_at)
        };
        assert_eq!(times(&pending), (Some(at(10)), None, None));
        assert_eq!(times(&running), (Some(at(10)), Some(at(20)), None));
        assert_eq!(times(&failed), (Some(at(10)), Some(at(20)), Some(at(30))));
        assert_eq!(read(&failed).metadata.unwrap().as_str(), "{}");
        let again = after(&run(Status::Running, 40).attempt(2u32), &failed);
        assert_eq!(times(&again), (Some(at(10)), Some(at(40)), None));
        assert_eq!((read(&again).attempt, read(&again).error.is_none()), (Some(2), true));
    }

    #[test]
    fn a_run_logged_whole_ends_when_it_is_said_to() {
        let whole = run(Status::Success, 30).created_at(at(10)).started_at(at(12));
        let whole = record(&whole, None, 99).unwrap();
        assert_eq!(read(&whole).finished_at, Some(at(30)));
        let untimed = Run::new("r", "t", Status::Skipped).unwrap();
        let untimed = record(&untimed, None, 99).unwrap();
        let untimed = read(&untimed);
        assert_eq!((untimed.created_at, untimed.started_at), (Some(at(99)), None));
    }

    /// A run of which all is said.
    fn whole(status: Status, mark: &str) -> Run<'static> {
        let id = |name: &str| Id::new(format!("{name}-{mark}")).unwrap();
        let json = |name: &str| Json::parse(format!("{{\"{name}\":\"{mark}\"}}")).unwrap();
        run(status, 10)
            .trace_id(id("trace"))
            .project_id(id("project"))
            .user_id(id("user"))
            .parent_run_id(id("parent"))
            .subject(Subject::new("booking", mark.to_owned()).unwrap())
            .error(RunError::new(format!("message {mark}")).stack(format!("stack {mark}")))
            .metadata(json("metadata"))
            .result(json("result"))
            .owner(Owner::new(format!("host-{mark}")))
    }

    #[test]
    fn what_a_later_line_does_not_say_is_kept_and_what_it_says_counts() {
        let prior = first(&whole(Status::Running, "old"));
        let silent = after(&run(Status::Running, 20), &prior);
        let kept = Run { at: Some(at(10)), ..read(&prior) };
        assert_eq!(read(&silent), kept);
        let said = after(&whole(Status::Running, "new"), &prior);
        let new = first(&whole(Status::Running, "new"));
        assert_eq!(read(&said), read(&new));

        // One that has ended has no owner, whoever names one.
        for end in [run(Status::Failed, 30), run(Status::Failed, 30).owner(Owner::new("host"))] {
            let ended = after(&end, &prior);
            let expected = Run {
                status: Status::Failed,
                at: Some(at(30)),
                finished_at: Some(at(30)),
                owner: None,
                ..kept.clone()
            };
            assert_eq!(read(&ended), expected);
        }

        // What belongs to an attempt is not taken over into the next.
        let again = after(&run(Status::Running, 40).attempt(2u32), &prior);
        let expected = Run {
            attempt: Some(2),
            at: Some(at(40)),
            started_at: Some(at(40)),
            error: None,
            result: None,
            owner: None,
            ..kept
        };
        assert_eq!(read(&again), expected);
    }

    #[test]
    fn a_run_is_abandoned_only_for_the_owner_that_it_has() {
        let prior = first(&whole(Status::Running, "a"));
        let abandoned = |host: &str| run(Status::Abandoned, 20).owner(Owner::new(host.to_owned()));
        let is_taken = |run: &Run<'_>| record(run, Some(&prior), 0).is_ok();
        assert!(is_taken(&abandoned("host-a")));
        assert!(!is_taken(&abandoned("host-b")));
        assert!(!is_taken(&run(Status::Abandoned, 20)));
    }
}
