//! The newest states of runs in a segment that has no footer yet.

use std::sync::Arc;

use crate::error::Result;
use crate::format::codec::Prior;
use crate::format::frame::FrameHeader;
use crate::format::key;
use crate::index::{NewestStates, StatePlace, Table, UnderHash};
use crate::model::{Body, FieldSet, Id, Kind};
use crate::segment::draft::{for_each_record, payload_of};
use crate::segment::scan::scan;
use crate::segment::{FRAMES_START, Pinned, Segment};

/// A state of a run in a frame that is to be appended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewState {
    /// The hash of the run's key.
    pub(crate) hash: u64,
    /// The sequence number, less the frame's.
    pub(crate) relative_seq: u32,
    /// Where the record lies, less where the payload begins.
    pub(crate) offset: u32,
    /// The state before it.
    pub(crate) prior: Prior,
}

impl NewState {
    /// Enters it as one of the frame that begins at `frame` and whose first number is `base_seq`.
    fn enter(&self, states: &mut NewestStates, frame: u32, base_seq: u64) {
        let seq = base_seq + u64::from(self.relative_seq);
        let offset = payload_of(frame) + self.offset;
        let place = StatePlace { hash: self.hash, seq, frame, offset };
        states.note(place, self.prior.resolve(seq));
    }
}

/// What a segment knows of a run.
#[derive(Debug)]
pub(crate) enum NewestState {
    /// Its newest state lies here.
    At(Pinned, StatePlace),
    /// It has no state of the run.
    Nowhere,
    /// Its footer tells.
    InFooter,
}

/// How many states ahead of the one that is read the processor is told to fetch.
const AHEAD: usize = 8;

/// Where the newest states of several runs lie in the segments of a stream that have no footer yet.
/// They are looked for all at once, so that the processor waits for many places of memory at a time
/// and not for one after the other.
#[derive(Debug)]
pub(crate) struct StatesAhead {
    /// The segments that were looked through, the last one first, each with a view that shows all
    /// of the states.
    pinned: Vec<Pinned>,
    places: Vec<UnderHash>,
}

impl StatesAhead {
    /// Looks for the runs whose keys have these hashes in the last of the segments, which are given
    /// from the end. A state in one that has a footer, or before that, is not found.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(crate) fn new<'s>(
        hashes: &[u64],
        segments: impl Iterator<Item = &'s Arc<Segment>>,
    ) -> Result<Self> {
        let mut ahead = Self { pinned: Vec::new(), places: Vec::new() };
        ahead.places.resize(hashes.len(), UnderHash::None);
        for segment in segments {
            let Some(pinned) = segment.with_states(|states| {
                let places = ahead.places.iter_mut().zip(hashes);
                let left = places.filter(|(place, _)| **place == UnderHash::None);
                left.for_each(|(place, &hash)| *place = states.find_one(hash));
                // Held after the states were found: the view shows all that are known.
                Pinned::new(segment)
            })?
            else {
                break;
            };
            ahead.pinned.push(pinned);
        }
        Ok(ahead)
    }

    /// The first sequence number of the segments that were looked through.
    pub(crate) fn first_seq(&self) -> u64 {
        self.pinned.last().map_or(u64::MAX, |pinned| pinned.segment().first_seq())
    }

    /// Notes of the runs that were not found which of them may be in an earlier segment.
    pub(crate) fn doubt(&mut self, hashes: &[u64], may_be_before: impl Fn(u64) -> bool) {
        for (place, &hash) in self.places.iter_mut().zip(hashes) {
            if *place == UnderHash::None && may_be_before(hash) {
                *place = UnderHash::Unsure;
            }
        }
    }

    /// What was found for the run with this number among them. It is to be asked in their order:
    /// what comes after is fetched.
    pub(crate) fn get(&self, number: usize) -> UnderHash {
        if let Some(UnderHash::One(place)) = self.places.get(number + AHEAD)
            && let Some(pinned) = self.pinned_of(place)
        {
            pinned.prefetch_at(place.frame, place.offset);
        }
        self.places.get(number).copied().unwrap_or(UnderHash::Unsure)
    }

    /// The segment that a state was found in.
    pub(crate) fn pinned_of(&self, place: &StatePlace) -> Option<&Pinned> {
        self.pinned.iter().find(|pinned| pinned.segment().first_seq() <= place.seq)
    }
}

impl Segment {
    /// Looks for the newest state of a run; `hash` is that of its key. Unless `sure`, what is found
    /// may be a state of another run whose key has the same hash: who reads it sees that.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn newest_state(
        self: &Arc<Self>,
        run_id: &Id<'_>,
        hash: u64,
        sure: bool,
    ) -> Result<NewestState> {
        let find = |states: &NewestStates| {
            let mut newest: Option<(Pinned, StatePlace)> = None;
            for place in states.find(hash) {
                // Held after the state was found: the view shows all that are known.
                let pinned = Pinned::new(self)?;
                let is_newer = newest.as_ref().is_none_or(|(_, other)| other.seq < place.seq);
                if is_newer && (!sure || is_of(&pinned, place, run_id)) {
                    newest = Some((pinned, place));
                }
            }
            Ok(newest.map_or(NewestState::Nowhere, |(pinned, at)| NewestState::At(pinned, at)))
        };
        Ok(self.with_states(find)?.unwrap_or(NewestState::InFooter))
    }

    /// What `work` makes of the newest states; `None` when the footer tells.
    fn with_states<R>(&self, work: impl FnOnce(&NewestStates) -> Result<R>) -> Result<Option<R>> {
        loop {
            if let Some(states) = &*self.newest.read() {
                return work(states).map(Some);
            }
            if !self.find_states()? {
                return Ok(None);
            }
        }
    }

    /// True when one of these records lies here: others with numbers of this range lie in other
    /// streams.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn holds_any(&self, seqs: &[u64]) -> Result<bool> {
        let holds = |table: &dyn Table| seqs.iter().any(|&seq| table.row_of(seq).is_some());
        self.with_rows(FieldSet::NONE, holds)
    }

    /// Notes the states in a frame that was appended, if those before it are known.
    pub(super) fn note_states(&self, frame: u32, base_seq: u64, new: &[NewState]) {
        if new.is_empty() {
            return;
        }
        if let Some(states) = self.newest.write().as_mut() {
            new.iter().for_each(|state| state.enter(states, frame, base_seq));
        }
    }

    /// Finds the states in the frames that there are. False when there is a footer.
    fn find_states(&self) -> Result<bool> {
        let mut place = self.newest.write();
        if self.is_sealed() {
            return Ok(false);
        }
        let source = self.source()?;
        let mut states = Box::<NewestStates>::default();
        let mut visit = |frame: u32, header: &FrameHeader, payload: &[u8]| {
            for_each_record(Kind::Run, header, payload, |relative, offset, record| {
                if let Body::Run(run) = &record.body {
                    let hash = key::id_hash(self.seed, &run.run_id);
                    let state =
                        NewState { hash, relative_seq: relative, offset, prior: record.prior };
                    state.enter(&mut states, frame, header.base_seq);
                }
            })
        };
        // What is damaged is known since the opening.
        scan(source.as_dyn(), &self.bounds(FRAMES_START, Some(self.end())), &mut visit)?;
        *place = Some(states);
        Ok(true)
    }
}

/// True when the record is a state of the run. One that cannot be read is taken for it, so that the
/// damage is seen and not passed over.
fn is_of(pinned: &Pinned, place: StatePlace, run_id: &Id<'_>) -> bool {
    match pinned.record_at(Some(place.frame), place.seq, place.offset).map(|record| record.body) {
        Ok(Body::Run(run)) => run.run_id == *run_id,
        Ok(Body::Event(_) | Body::Error(_)) => false,
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::format::codec::{self, Prior};
    use crate::model::{Run, Status, Timestamp};
    use crate::segment::made::{SEED, append_record, create_of};

    /// A segment with one state of each of these runs.
    fn segment(dir: &Path, first_seq: u64, runs: std::ops::Range<u64>) -> Arc<Segment> {
        let segment = create_of(Kind::Run, dir, first_seq);
        for (run, seq) in runs.zip(first_seq..) {
            let run = Run::new(name(run), "t", Status::Running).unwrap();
            let run = run.created_at(Timestamp::from_nanos(0));
            append_record(&segment, seq, |out| codec::encode_run(out, 0, Prior::None, &run));
        }
        // As the last append has published it.
        segment.publish(first_seq + 9);
        Arc::new(segment)
    }

    fn name(run: u64) -> String {
        format!("run-{run}")
    }

    fn id(run: u64) -> Id<'static> {
        Id::new(name(run)).unwrap()
    }

    #[test]
    fn the_newest_state_is_found_in_whichever_segment_without_a_footer_it_lies() {
        let dir = tempfile::tempdir().unwrap();
        // A sealed one, and three with a state of run 5 each.
        let runs = [(1, 0..2), (11, 2..6), (21, 4..7), (31, 5..8)];
        let segments = runs.map(|(first_seq, runs)| segment(dir.path(), first_seq, runs));
        segments[0].seal([0; 32]).unwrap();
        let hashes: Vec<_> = (0..10).map(|run| key::id_hash(SEED, &id(run))).collect();
        let mut ahead = StatesAhead::new(&hashes, segments.iter().rev()).unwrap();
        assert_eq!(ahead.first_seq(), 11);
        // As a filter says that run 1 lies before them, and wrongly that runs 5 and 9 do.
        ahead.doubt(&hashes, |hash| [1, 5, 9].iter().any(|&run| hash == hashes[run]));
        let expected = [None, None, Some(11), Some(12), Some(21), Some(31), Some(32), Some(33)];
        for (run, seq) in expected.into_iter().chain([None, None]).enumerate() {
            match ahead.get(run) {
                UnderHash::One(place) => {
                    assert_eq!(Some(place.seq), seq, "run {run}");
                    let pinned = ahead.pinned_of(&place).unwrap();
                    let record = pinned.record_at(Some(place.frame), place.seq, place.offset);
                    let Ok(Body::Run(found)) = record.map(|record| record.body) else {
                        panic!("run {run}: no run lies at {place:?}");
                    };
                    assert_eq!(found.run_id, id(run as u64));
                }
                UnderHash::None => assert!(seq.is_none() && ![1, 9].contains(&run), "run {run}"),
                UnderHash::Unsure => assert!([1, 9].contains(&run), "run {run}"),
            }
        }
    }
}
