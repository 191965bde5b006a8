//! What of a batch goes into one stream: the frame, encoded but for what is known only under the
//! stream's lock.

use crate::error::{Error, Result};
use crate::format::codec;
use crate::format::frame::{FRAME_HEADER_BYTES, payload_crc};
use crate::limits::MAX_FRAME_PAYLOAD;
use crate::model::Id;
use crate::segment::NewState;

/// The frame of one stream.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// Room for the header, then the payload.
    pub(super) bytes: Vec<u8>,
    /// How many records the payload holds.
    pub(super) count: u32,
    /// The states of runs among them.
    pub(super) states: Vec<NewState>,
    /// The stream in which the state before each of them lies, if there is one.
    pub(super) priors: Vec<usize>,
    /// The place in the batch of its first record, and of the last one so far.
    pub(super) first: u32,
    pub(super) last: u32,
    pub(super) payload_crc: u32,
}

impl Part {
    /// Empties it.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
        self.states.clear();
        self.priors.clear();
    }

    /// Adds a record, which `encode` appends to the bytes that it is given, after a gap of so many
    /// numbers. `place` is the record's place in the batch.
    pub(super) fn push(
        &mut self,
        place: u32,
        encode: impl FnOnce(&mut Vec<u8>, u32) -> Result<()>,
    ) -> Result<(), Refused> {
        let is_first = self.is_empty();
        if is_first {
            self.bytes.resize(FRAME_HEADER_BYTES, 0);
            self.first = place;
        }
        let before = self.bytes.len();
        let gap = if is_first { 0 } else { place - self.last - 1 };
        let encoded = encode(&mut self.bytes, gap);
        let size = self.bytes.len() - FRAME_HEADER_BYTES;
        if encoded.is_err() || size > MAX_FRAME_PAYLOAD as usize {
            self.bytes.truncate(if is_first { 0 } else { before });
            encoded.map_err(Refused::Record)?;
            let (size, limit) = (size as u64, u64::from(MAX_FRAME_PAYLOAD));
            return Err(Refused::Full(Error::TooLarge { what: "a batch in bytes", size, limit }));
        }
        self.count += 1;
        self.last = place;
        Ok(())
    }

    /// How many bytes of payload there are.
    pub(super) fn payload_len(&self) -> u32 {
        u32::try_from(self.bytes.len().saturating_sub(FRAME_HEADER_BYTES)).unwrap_or(u32::MAX)
    }

    /// The bytes of a state, from its number among the states.
    pub(super) fn state(&self, number: usize) -> &[u8] {
        let start = |number: usize| self.states.get(number).map(|state| state.offset as usize);
        let payload = self.bytes.get(FRAME_HEADER_BYTES..).unwrap_or_default();
        let end = start(number + 1).unwrap_or(payload.len());
        start(number).and_then(|start| payload.get(start..end)).unwrap_or_default()
    }

    /// True when the state is one of this run, whose key has this hash.
    pub(super) fn is_state_of(&self, number: usize, hash: u64, run_id: &Id<'_>) -> bool {
        self.states.get(number).is_some_and(|state| state.hash == hash)
            && codec::decode_state(self.state(number))
                .is_ok_and(|(state, _)| state.run_id == *run_id)
    }

    /// Makes the checksum of what was pushed.
    pub(super) fn finish(&mut self) {
        if let Some(payload) = self.bytes.get(FRAME_HEADER_BYTES..) {
            self.payload_crc = payload_crc(payload);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// What becomes of a batch with a record that cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnReject {
    /// Nothing of it is appended.
    FailAll,
    /// The others are appended.
    Skip,
}

/// Why a record did not go into a frame.
#[derive(Debug)]
pub(super) enum Refused {
    /// For what it is.
    Record(Error),
    /// The frame has no room for it.
    Full(Error),
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Record(err) | Refused::Full(err) => err,
        }
    }
}
