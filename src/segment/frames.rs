//! The frame that a record lies in: where it is, and whether its checksums were compared.

use std::sync::atomic::{AtomicU64, Ordering};

use smallvec::SmallVec;

use crate::error::Damage;
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader};
use crate::model::Timestamp;
use crate::segment::scan::frame_len;
use crate::segment::{Segment, State};

/// For each frame of a segment, whether its payload was compared with its checksum since the file
/// was opened.
#[derive(Debug)]
pub(super) struct CheckedFrames(SmallVec<[AtomicU64; FEW]>);

/// The bits of few frames are in place. It takes no more room than where those of many are.
const FEW: usize = 2;

impl CheckedFrames {
    /// For a file with this many frames, none of them compared.
    pub(super) fn new(frames: usize) -> Self {
        Self((0..frames.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }

    pub(super) fn is_checked(&self, frame: usize) -> bool {
        self.0
            .get(frame / 64)
            .is_some_and(|word| word.load(Ordering::Relaxed) & (1 << (frame % 64)) != 0)
    }

    pub(super) fn set_checked(&self, frame: usize) {
        if let Some(word) = self.0.get(frame / 64) {
            word.fetch_or(1 << (frame % 64), Ordering::Relaxed);
        }
    }
}

/// What is remembered of the frames of a segment while records of it are read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Near {
    /// The last of those that were fetched ahead, the newest first.
    pub(super) ahead: [Spot; 4],
    /// The last one that was read.
    pub(super) frame: Option<Frame>,
}

/// Where a frame lies, as the index tells. The default is that of none.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spot {
    /// Its number among those of the footer; none where the index in memory tells: that was made
    /// of frames that were compared with their checksums.
    pub(super) number: Option<usize>,
    pub(super) start: u32,
    /// What lies before this is in no later frame.
    end: u32,
}

impl Spot {
    pub(super) fn holds(&self, offset: u32) -> bool {
        (self.start..self.end).contains(&offset)
    }
}

/// A frame whose checksums have held.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    /// As that of its [`Spot`].
    pub(super) number: Option<usize>,
    pub(super) start: u32,
    pub(super) end: u64,
    pub(super) recorded_at: Timestamp,
}

impl Frame {
    pub(super) fn new(number: Option<usize>, start: u32, header: &FrameHeader) -> Self {
        let recorded_at = Timestamp::from_nanos(header.recorded_at);
        Self { number, start, end: u64::from(start) + frame_len(header), recorded_at }
    }

    pub(super) fn holds(&self, offset: u32) -> bool {
        self.start <= offset && u64::from(offset) < self.end
    }
}

impl Segment {
    /// The frame that lies there and that these bytes begin with, its checksums compared now or
    /// before.
    pub(super) fn checked_frame(&self, frame: &[u8], spot: Spot) -> Result<Frame, Damage> {
        let Spot { number, start: frame_at, .. } = spot;
        let unchecked = self.unchecked.as_ref().zip(number);
        let unchecked = unchecked.filter(|(frames, number)| !frames.is_checked(*number));
        let Some((unchecked, of_footer)) = unchecked else {
            return Ok(Frame::new(number, frame_at, &FrameHeader::decode_checked(frame)?));
        };
        let header = FrameHeader::decode(frame, &self.header().salt, u64::from(frame_at))?;
        header.check_payload(frame.get(FRAME_HEADER_BYTES..).unwrap_or_default())?;
        unchecked.set_checked(of_footer);
        Ok(Frame::new(number, frame_at, &header))
    }

    /// Where the frame is that `offset` lies in, found the faster the nearer it is to the one with
    /// the number `near`.
    pub(super) fn spot_of(&self, near: Option<usize>, offset: u32) -> Result<Spot, Damage> {
        // A query reads records while it holds the rows: an append that waits for them must not
        // stand between.
        self.spot_in(&self.state.read_recursive(), near, offset)
    }

    /// As [`Segment::spot_of`], for who holds this state.
    pub(super) fn spot_in(
        &self,
        state: &State,
        near: Option<usize>,
        offset: u32,
    ) -> Result<Spot, Damage> {
        let ends = |after: usize, start: &dyn Fn(usize) -> Option<u32>| {
            let number = after.checked_sub(1)?;
            // Frames may yet follow the last one, and where it ends its header alone tells.
            Some((number, start(number)?, start(after).unwrap_or(offset.saturating_add(1))))
        };
        let spot = match state {
            State::Memory(index) => {
                let frames = index.frames();
                let after = frames.partition_point(|&frame| frame <= offset);
                let ends = ends(after, &|number| frames.get(number).copied());
                ends.map(|(_, start, end)| Spot { number: None, start, end })
            }
            State::Sealed(sealed) => {
                let frames = sealed.frames()?;
                let guess = near.unwrap_or_else(|| self.about(offset, frames.len()));
                let after = frames.count_below(u64::from(offset) + 1, guess);
                let ends = ends(after, &|number| u32::try_from(frames.get(number)?).ok());
                ends.map(|(number, start, end)| Spot { number: Some(number), start, end })
            }
        };
        spot.ok_or(Damage::Length)
    }

    /// About which of so many frames `offset` lies in, when all are of one size.
    fn about(&self, offset: u32, frames: usize) -> usize {
        let share = u64::from(offset) * frames as u64 / u64::from(self.end().max(1));
        usize::try_from(share).unwrap_or(frames)
    }
}
