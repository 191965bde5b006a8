//! The newest states of runs in a segment that has no footer yet.

use std::sync::Arc;

use crate::error::Result;
use crate::format::codec::Prior;
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader};
use crate::format::key;
use crate::index::{NewestStates, StatePlace};
use crate::model::{Body, Id, Kind};
use crate::segment::draft::for_each_record;
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
        loop {
            if let Some(states) = &*self.newest.read() {
                let mut newest: Option<(Pinned, StatePlace)> = None;
                for place in states.find(hash) {
                    // Held after the state was found: the view shows all that are known.
                    let pinned = Pinned::new(self)?;
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

    /// Notes the states in a frame that was appended, if those before it are known.
    pub(super) fn note_states(&self, frame: u32, base_seq: u64, new: &[NewState]) {
        if let Some(states) = self.newest.write().as_mut().filter(|_| !new.is_empty()) {
            let payload = payload_of(frame);
            for state in new {
                let seq = base_seq + u64::from(state.relative_seq);
                let offset = payload + state.offset;
                let place = StatePlace { hash: state.hash, seq, frame, offset };
                states.note(place, state.prior.resolve(seq));
            }
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
                    let seq = header.base_seq + u64::from(relative);
                    let offset = payload_of(frame) + offset;
                    let place = StatePlace { hash, seq, frame, offset };
                    states.note(place, record.prior.resolve(seq));
                }
            })
            .map(drop)
        };
        // What is damaged is known since the opening.
        scan(&self.file, &self.bounds(FRAMES_START, Some(self.end())), &mut visit)?;
        *place = Some(states);
        Ok(true)
    }
}

/// Where the payload of a frame begins.
fn payload_of(frame: u32) -> u32 {
    frame.saturating_add(u32::try_from(FRAME_HEADER_BYTES).unwrap_or(u32::MAX))
}

/// True when the record is a state of the run. One that cannot be read is taken for it, so that the
/// damage is seen and not passed over.
fn is_of(pinned: &Pinned, place: StatePlace, run_id: &Id<'_>) -> bool {
    match pinned.record_in(place.frame, place.seq, place.offset).map(|record| record.body) {
        Ok(Body::Run(run)) => run.run_id == *run_id,
        Ok(Body::Event(_) | Body::Error(_)) => false,
        Err(_) => true,
    }
}
