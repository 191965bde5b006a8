use std::sync::Arc;

use crate::error::{Damage, Error, Result};
use crate::format::codec::{self, Decoded, RunState};
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader};
use crate::model::{Field, Kind, Record};
use crate::segment::Segment;
use crate::segment::blocks::Unpacked;
use crate::segment::frames::{Frame, Near};
use crate::segment::sealed::SealedIndex;
use crate::storage::Map;

/// A segment held together with a view of its bytes, from which records are borrowed.
///
/// The view stays readable when the file is removed.
#[derive(Debug, Clone)]
pub(crate) struct Pinned {
    segment: Arc<Segment>,
    bytes: Bytes,
}

/// How much of a packed segment is held unpacked by one who goes through it.
const MOST_UNPACKED: usize = 16 << 20;

/// How many bytes most records have.
const RECORD_BYTES: usize = 192;

/// The bytes of a segment's frames.
#[derive(Debug, Clone)]
enum Bytes {
    /// As they lie in the file.
    Plain(Map),
    /// Unpacked from its blocks.
    Packed(Arc<Unpacked>),
}

impl Bytes {
    /// Those from `offset` on, to the end of the frame there or beyond.
    #[inline]
    fn at(&self, offset: u32) -> Result<&[u8], Damage> {
        match self {
            Self::Plain(map) => map.as_slice().get(offset as usize..).ok_or(Damage::Truncated),
            Self::Packed(unpacked) => unpacked.at(offset),
        }
    }

    /// True when what was read may be zeros that are not in the file. What was unpacked was
    /// compared with its checksum, and does not change.
    #[inline]
    fn is_lost(&self) -> bool {
        match self {
            Self::Plain(map) => map.is_lost(),
            Self::Packed(_) => false,
        }
    }

    fn map(&self) -> &Map {
        match self {
            Self::Plain(map) => map,
            Self::Packed(unpacked) => unpacked.map(),
        }
    }
}

impl Pinned {
    /// The stream that the segment is of.
    pub(crate) fn stream(&self) -> &str {
        &self.segment.header().stream
    }

    /// Holds the segment with all frames that it has now.
    ///
    /// # Errors
    /// When the file cannot be mapped.
    pub(crate) fn new(segment: &Arc<Segment>) -> Result<Self> {
        let bytes = match segment.header().packed {
            false => Bytes::Plain(segment.map(segment.end() as usize)?),
            true => {
                segment.map_anew()?;
                Bytes::Packed(Arc::new(Unpacked::new(segment.blocks()?)))
            }
        };
        Ok(Self { segment: Arc::clone(segment), bytes })
    }

    /// As [`Pinned::new`], when the segment has this footer.
    ///
    /// # Errors
    /// As for [`Pinned::new`].
    pub(crate) fn with_footer(segment: &Arc<Segment>, footer: &SealedIndex) -> Result<Self> {
        match segment.header().packed {
            false => {
                let bytes = Bytes::Plain(footer.map.clone());
                Ok(Self { segment: Arc::clone(segment), bytes })
            }
            true => Self::new(segment),
        }
    }

    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// The same with nothing unpacked yet.
    pub(crate) fn anew(&self) -> Self {
        let bytes = match &self.bytes {
            Bytes::Plain(map) => Bytes::Plain(map.clone()),
            Bytes::Packed(unpacked) => Bytes::Packed(Arc::new(unpacked.anew())),
        };
        Self { segment: Arc::clone(&self.segment), bytes }
    }

    /// Lets go of what was unpacked, once that is much.
    pub(crate) fn let_go(&mut self) {
        if self.unpacked() > MOST_UNPACKED {
            *self = self.anew();
        }
    }

    /// How many bytes were unpacked to be read.
    pub(crate) fn unpacked(&self) -> usize {
        match &self.bytes {
            Bytes::Plain(_) => 0,
            Bytes::Packed(unpacked) => unpacked.bytes(),
        }
    }

    /// Reads the record that lies at `offset` and whose sequence number the index gives as `seq`.
    /// Its text is borrowed.
    ///
    /// # Errors
    /// [`Error::Damaged`] when its frame does not match its checksum.
    pub(crate) fn record(&self, seq: u64, offset: u32) -> Result<Record<'_>> {
        self.record_near(&mut Near::default(), seq, offset)
    }

    /// Has the processor fetch the record that lies at `offset`, which is read soon.
    #[inline]
    pub(crate) fn prefetch(&self, offset: u32) {
        if let Bytes::Plain(map) = &self.bytes {
            map.prefetch(offset as usize, RECORD_BYTES);
        }
    }

    /// As [`Pinned::prefetch`], with the header of the record's frame, which begins at `frame`.
    #[inline]
    pub(super) fn prefetch_at(&self, frame: u32, offset: u32) {
        if let Bytes::Plain(map) = &self.bytes {
            map.prefetch(frame as usize, FRAME_HEADER_BYTES);
            map.prefetch(offset as usize, RECORD_BYTES);
        }
    }

    /// Fetches the headers of the frames of these records, whose places are remembered.
    pub(crate) fn prefetch_frames(&self, near: &mut Near, offsets: impl Iterator<Item = u32>) {
        let Bytes::Plain(map) = &self.bytes else { return };
        let state = self.segment.state.read_recursive();
        for offset in offsets {
            let [last, before, third, _] = near.ahead;
            if last.holds(offset) {
                continue;
            }
            if let Ok(spot) = self.segment.spot_in(&state, last.number, offset) {
                map.prefetch(spot.start as usize, FRAME_HEADER_BYTES);
                near.ahead = [spot, last, before, third];
            }
        }
    }

    /// As [`Pinned::record`], when the last record that was read was in the same frame, or in one
    /// nearby.
    ///
    /// # Errors
    /// As for [`Pinned::record`].
    #[inline]
    pub(crate) fn record_near(&self, near: &mut Near, seq: u64, offset: u32) -> Result<Record<'_>> {
        let frame = self.frame_near(near, offset)?;
        self.record_of(&frame, seq, offset)
    }

    /// As [`Pinned::record`]; where it is known where its frame begins, which was compared with its
    /// checksums when it was written or found, no index has to tell.
    ///
    /// # Errors
    /// As for [`Pinned::record`].
    pub(crate) fn record_at(
        &self,
        frame: Option<u32>,
        seq: u64,
        offset: u32,
    ) -> Result<Record<'_>> {
        self.record_of(&self.frame_at(frame, offset)?, seq, offset)
    }

    /// As [`Pinned::record_at`], of a run's state with what the next one takes over.
    ///
    /// # Errors
    /// As for [`Pinned::record`].
    pub(crate) fn state_at(&self, frame: Option<u32>, offset: u32) -> Result<RunState<'_>> {
        let frame = self.frame_at(frame, offset)?;
        let bytes = self.in_frame(&frame, offset)?;
        let state = match self.segment.kind() {
            Kind::Run => codec::decode_state(bytes),
            Kind::Event | Kind::Error => Err(Damage::Record),
        };
        let (state, consumed) = state.map_err(|damage| self.damaged(offset, damage))?;
        self.check_kept(frame.start, bytes, consumed)?;
        Ok(state)
    }

    /// The frame that `offset` lies in, and that begins at `frame`, where that is known.
    #[inline]
    fn frame_at(&self, frame: Option<u32>, offset: u32) -> Result<Frame> {
        let Some(frame) = frame else { return self.frame_of(&Near::default(), offset) };
        let header = self.bytes.at(frame).and_then(FrameHeader::decode_checked);
        let header = header.map_err(|damage| self.damaged(offset, damage))?;
        Ok(Frame::new(None, frame, &header))
    }

    /// True when the record that lies at `offset` has this key in this field; `near` is as for
    /// [`Pinned::record_near`].
    ///
    /// # Errors
    /// As for [`Pinned::record`].
    pub(crate) fn has_key(
        &self,
        near: &mut Near,
        offset: u32,
        field: Field,
        key: &[u8],
    ) -> Result<bool> {
        let bytes = self.in_frame(&self.frame_near(near, offset)?, offset)?;
        let found = codec::has_key(self.segment.kind(), bytes, field, key)
            .map_err(|damage| self.damaged(offset, damage))?;
        if self.bytes.is_lost() { Err(self.segment.lost(self.bytes.map())) } else { Ok(found) }
    }

    /// The frame that `offset` lies in, its checksums compared now or before.
    #[inline]
    fn frame_near(&self, near: &mut Near, offset: u32) -> Result<Frame> {
        match near.frame {
            Some(frame) if frame.holds(offset) => Ok(frame),
            _ => {
                let frame = self.frame_of(near, offset)?;
                Ok(*near.frame.insert(frame))
            }
        }
    }

    fn frame_of(&self, near: &Near, offset: u32) -> Result<Frame> {
        let spot = match near.ahead.iter().find(|spot| spot.holds(offset)) {
            Some(spot) => Ok(*spot),
            None => self.segment.spot_of(near.frame.and_then(|frame| frame.number), offset),
        };
        let checked =
            spot.and_then(|spot| self.segment.checked_frame(self.bytes.at(spot.start)?, spot));
        checked.map_err(|damage| self.damaged(offset, damage))
    }

    /// The bytes from `offset` to the end of the frame.
    #[inline]
    fn in_frame(&self, frame: &Frame, offset: u32) -> Result<&[u8]> {
        let len = frame.end.saturating_sub(offset.into());
        let bytes = self.bytes.at(offset).and_then(|bytes| {
            bytes.get(..usize::try_from(len).unwrap_or(usize::MAX)).ok_or(Damage::Truncated)
        });
        bytes.map_err(|damage| self.damaged(offset, damage))
    }

    #[inline]
    fn record_of(&self, frame: &Frame, seq: u64, offset: u32) -> Result<Record<'_>> {
        let bytes = self.in_frame(frame, offset)?;
        // In one piece, as a record is large and each step that hands it on may copy it.
        match codec::decode(self.segment.kind(), bytes) {
            Ok(Decoded { prior, body, consumed, .. }) => {
                match self.check_kept(frame.start, bytes, consumed) {
                    Ok(()) => Ok(Record {
                        seq,
                        recorded_at: frame.recorded_at,
                        supersedes: prior.resolve(seq),
                        body,
                    }),
                    Err(err) => Err(err),
                }
            }
            Err(damage) => Err(self.damaged(offset, damage)),
        }
    }

    /// An error when the record that was just read is no longer in the file: a page of it was lost,
    /// or it was cut off. Then all that follows is zeros, which no record in a frame begins with;
    /// the last one of a frame ends in them itself. As it may do in order, its frame is compared.
    #[inline]
    fn check_kept(&self, frame: u32, record: &[u8], len: usize) -> Result<()> {
        if record.get(len).or(record.last()) == Some(&0) {
            let checked = self.bytes.at(frame).and_then(check_frame);
            checked.map_err(|damage| self.damaged(frame, damage))?;
        }
        if self.bytes.is_lost() { Err(self.segment.lost(self.bytes.map())) } else { Ok(()) }
    }

    /// The error of what could not be read, which may be for want of a page of the file.
    #[cold]
    fn damaged(&self, offset: u32, damage: Damage) -> Error {
        match (&self.bytes, self.bytes.map().is_lost()) {
            (Bytes::Packed(_), true) => self.segment.lost(self.bytes.map()),
            _ => self.segment.damaged(offset, damage),
        }
    }
}

/// Compares the payload of the frame that `bytes` begin with with its checksum, whether or not that
/// was done before.
fn check_frame(bytes: &[u8]) -> Result<(), Damage> {
    let payload = bytes.get(FRAME_HEADER_BYTES..).unwrap_or_default();
    FrameHeader::decode_checked(bytes)?.check_payload(payload)
}
