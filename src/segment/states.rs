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
use crate::segment::{FRAMES_START, Pinned, Segment, TableRef};

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

/// Where the newest states of several runs lie in a segment. They were looked for all at once, so
/// that the processor waits for many places of memory at a time and not for one after the other.
#[derive(Debug)]
pub(crate) struct StatesAhead {
    pinned: Pinned,
    places: Vec<UnderHash>,
}

impl StatesAhead {
    /// The segment that was looked through, with a view that shows all of the states.
    pub(crate) fn pinned(&self) -> &Pinned {
        &self.pinned
    }

    /// What was found for the run with this number among them. It is to be asked in their order:
    /// what comes after is fetched.
    pub(crate) fn get(&self, number: usize) -> UnderHash {
        if let Some(UnderHash::One(place)) = self.places.get(number + AHEAD) {
            self.pinned.prefetch_at(place.frame, place.offset);
        }
        self.places.get(number).copied().unwrap_or(UnderHash::Several)
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

    /// Looks for the newest states of the runs whose keys have these hashes; `None` when the footer
    /// tells.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn states_ahead(self: &Arc<Self>, hashes: &[u64]) -> Result<Option<StatesAhead>> {
        self.with_states(|states| {
            let places = hashes.iter().map(|&hash| states.find_one(hash)).collect();
            Ok(StatesAhead { pinned: Pinned::new(self)?, places })
        })
    }

    /// What `work` makes of the newest states; `None` when the footer tells.
    fn with_states<R>(&self, work: impl Fn(&NewestStates) -> Result<R>) -> Result<Option<R>> {
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
        fn holds<T: Table>(table: &T, seqs: &[u64]) -> bool {
            seqs.iter().any(|&seq| {
                let position = table.seq_position(seq);
                position < table.rows() && table.seq(table.seq_row(position)) == seq
            })
        }
        self.with_table(FieldSet::NONE, |table| match table {
            TableRef::Memory(table) => holds(table, seqs),
            TableRef::Sealed(table) => holds(table, seqs),
        })
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
        let mut states = NewestStates::default();
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
        scan(&self.file, &self.bounds(FRAMES_START, Some(self.end())), &mut visit)?;
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
