use std::sync::Arc;

use crate::error::{Damage, Error, Result};
use crate::format::codec;
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader, payload_crc};
use crate::model::{Field, Record, Timestamp};
use crate::segment::blocks::Unpacked;
use crate::segment::scan::frame_len;
use crate::segment::{Segment, State};
use crate::storage::Map;

/// A segment held together with a view of its bytes, from which records are borrowed.
///
/// The view stays readable when the file is removed.
#[derive(Debug, Clone)]
pub(crate) struct Pinned {
    segment: Arc<Segment>,
    bytes: Bytes,
}

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

/// A frame whose checksums have held.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    start: u32,
    end: u64,
    recorded_at: Timestamp,
}

impl Frame {
    fn new(start: u32, header: &FrameHeader) -> Self {
        let recorded_at = Timestamp::from_nanos(header.recorded_at);
        Self { start, end: u64::from(start) + frame_len(header), recorded_at }
    }

    fn holds(&self, offset: u32) -> bool {
        self.start <= offset && u64::from(offset) < self.end
    }
}

impl Pinned {
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

    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// Reads the record that lies at `offset` and whose sequence number the index gives as `seq`.
    /// Its text is borrowed.
    ///
    /// # Errors
    /// [`Error::Damaged`] when its frame does not match its checksum.
    pub(crate) fn record(&self, seq: u64, offset: u32) -> Result<Record<'_>> {
        self.record_near(&mut None, seq, offset)
    }

    /// Has the processor fetch the record that lies at `offset`, which is read soon.
    #[inline]
    pub(crate) fn prefetch(&self, offset: u32) {
        if let Bytes::Plain(map) = &self.bytes {
            map.prefetch(offset as usize);
        }
    }

    /// As [`Pinned::record`], when the last record that was read may have been in the same frame.
    ///
    /// # Errors
    /// As for [`Pinned::record`].
    #[inline]
    pub(crate) fn record_near(
        &self,
        last: &mut Option<Frame>,
        seq: u64,
        offset: u32,
    ) -> Result<Record<'_>> {
        let frame = match last {
            Some(frame) if frame.holds(offset) => *frame,
            _ => *last.insert(self.frame_of(offset)?),
        };
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
        let Some(frame) = frame else { return self.record(seq, offset) };
        let header = self.bytes.at(frame).and_then(FrameHeader::decode_checked);
        let header = header.map_err(|damage| self.damaged(offset, damage))?;
        self.record_of(&Frame::new(frame, &header), seq, offset)
    }

    /// True when the record that lies at `offset` has this key in this field.
    ///
    /// # Errors
    /// As for [`Pinned::record`].
    pub(crate) fn has_key(&self, offset: u32, field: Field, key: &[u8]) -> Result<bool> {
        let bytes = self.in_frame(&self.frame_of(offset)?, offset)?;
        let found = codec::has_key(self.segment.kind(), bytes, field, key)
            .map_err(|damage| self.damaged(offset, damage))?;
        if self.bytes.is_lost() { Err(self.segment.lost(self.bytes.map())) } else { Ok(found) }
    }

    fn frame_of(&self, offset: u32) -> Result<Frame> {
        let checked = self.segment.checked_frame(&self.bytes, offset);
        let (start, header) = checked.map_err(|damage| self.damaged(offset, damage))?;
        Ok(Frame::new(start, &header))
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
        let record = codec::decode(self.segment.kind(), bytes)
            .map_err(|damage| self.damaged(offset, damage))?;
        self.check_kept(frame.start, bytes, record.consumed)?;
        Ok(Record {
            seq,
            recorded_at: frame.recorded_at,
            supersedes: record.prior.resolve(seq),
            body: record.body,
        })
    }

    /// An error when the record that was just read is no longer in the file: a page of it was lost,
    /// or it was cut off. Then all that follows is zeros, which no record in a frame begins with;
    /// the last one of a frame ends in them itself. As it may do in order, its frame is compared.
    #[inline]
    fn check_kept(&self, frame: u32, record: &[u8], len: usize) -> Result<()> {
        if record.get(len).or(record.last()) == Some(&0) {
            let checked = self.bytes.at(frame).and_then(Segment::check_frame);
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

impl Segment {
    /// The frame that `offset` lies in, its checksums compared now or before.
    fn checked_frame(&self, bytes: &Bytes, offset: u32) -> Result<(u32, FrameHeader), Damage> {
        let (number, frame_at) = self.frame_of(offset)?;
        let frame = bytes.at(frame_at)?;
        let unchecked = self.unchecked.as_ref().filter(|frames| !frames.is_checked(number));
        let Some(unchecked) = unchecked else {
            return Ok((frame_at, FrameHeader::decode_checked(frame)?));
        };
        let header = FrameHeader::decode(frame, &self.header().salt, u64::from(frame_at))?;
        let payload_end = FRAME_HEADER_BYTES + header.payload_len as usize;
        let payload = frame.get(FRAME_HEADER_BYTES..payload_end).ok_or(Damage::Truncated)?;
        if payload_crc(payload) != header.payload_crc {
            return Err(Damage::PayloadChecksum);
        }
        unchecked.set_checked(number);
        Ok((frame_at, header))
    }

    /// The number of the frame that `offset` lies in, and where it begins.
    fn frame_of(&self, offset: u32) -> Result<(usize, u32), Damage> {
        // A query reads records while it holds the rows: an append that waits for them must not
        // stand between.
        match &*self.state.read_recursive() {
            State::Memory(index) => {
                let after = index.frames().partition_point(|&frame| frame <= offset);
                let number = after.checked_sub(1).ok_or(Damage::Length)?;
                Ok((number, index.frames().get(number).copied().ok_or(Damage::Length)?))
            }
            State::Sealed(sealed) => {
                let frames = sealed.frames()?;
                let after = frames.partition_point(|frame| frame <= u64::from(offset));
                let number = after.checked_sub(1).ok_or(Damage::Length)?;
                let frame = frames.get(number).and_then(|frame| u32::try_from(frame).ok());
                Ok((number, frame.ok_or(Damage::Length)?))
            }
        }
    }
}
