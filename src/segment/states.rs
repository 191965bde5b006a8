//! The newest states of runs in a segment that has no footer yet.

use std::cell::Cell;
use std::sync::Arc;

use crate::error::Result;
use crate::format::codec::Prior;
use crate::format::frame::FrameHeader;
use crate::format::key;
use crate::index::{NewestStates, StatePlace, Table};
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

impl Segment {
    /// Looks for the newest state of a run; `hash` is that of its key. Unless `sure`, what is found
    /// may be a state of another run whose key has the same hash: who reads it sees that. `view`
    /// may be one of this segment, which is then taken and not made.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn newest_state(
        self: &Arc<Self>,
        run_id: &Id<'_>,
        hash: u64,
        sure: bool,
        view: &Cell<Option<Pinned>>,
    ) -> Result<NewestState> {
        loop {
            if let Some(states) = &*self.newest.read() {
                let mut newest: Option<(Pinned, StatePlace)> = None;
                for place in states.find(hash) {
                    // Held after the state was found: the view shows all that are known.
                    let pinned = match view.take().filter(|view| view.shows_all_of(self)) {
                        Some(view) => view,
                        None => Pinned::new(self)?,
                    };
                    let is_newer = newest.as_ref().is_none_or(|(_, other)| other.seq < place.seq);
                    if is_newer && (!sure || is_of(&pinned, place, run_id)) {
                        newest = Some((pinned, place));
                    }
                }
                return Ok(newest.map_or(NewestState::Nowhere, |(p, at)| NewestState::At(p, at)));
            }
            if !self.find_states()? {
                return Ok(NewestState::InFooter);
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
                    let hash = key::hash(self.seed, key::id_key(&run.run_id).as_slice());
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
