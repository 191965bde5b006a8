use std::sync::Arc;

use crate::error::{Damage, Result};
use crate::format::codec;
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader, payload_crc};
use crate::model::{Field, Record, Timestamp};
use crate::segment::scan::frame_len;
use crate::segment::{Segment, State};
use crate::storage::Map;

/// A segment held together with a view of its bytes, from which records are borrowed.
///
/// The view stays readable when the file is removed.
#[derive(Debug, Clone)]
pub(crate) struct Pinned {
    segment: Arc<Segment>,
    map: Map,
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
        let map = segment.map(segment.end() as usize)?;
        Ok(Self { segment: Arc::clone(segment), map })
    }

    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// Reads the record that lies at `offset` and whose sequence number the index gives as `seq`.
    /// Its text is borrowed.
    ///
    /// # Errors
    /// [`Error::Damaged`](crate::Error::Damaged) when its frame does not match its checksum.
    pub(crate) fn record(&self, seq: u64, offset: u32) -> Result<Record<'_>> {
        self.record_near(&mut None, seq, offset)
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

    /// As [`Pinned::record`], of a frame that begins at `frame` and was compared with its checksums
    /// when it was written or found.
    ///
    /// # Errors
    /// [`Error::Damaged`](crate::Error::Damaged) when it is no record.
    pub(crate) fn record_in(&self, frame: u32, seq: u64, offset: u32) -> Result<Record<'_>> {
        let damaged = |damage| self.segment.damaged(offset, damage);
        let bytes = self.map.as_slice().get(frame as usize..);
        let bytes = bytes.ok_or_else(|| damaged(Damage::Truncated))?;
        let header = FrameHeader::decode_checked(bytes).map_err(damaged)?;
        self.record_of(&Frame::new(frame, &header), seq, offset)
    }

    /// True when the record that lies at `offset` has this key in this field.
    ///
    /// # Errors
    /// As for [`Pinned::record`].
    pub(crate) fn has_key(&self, offset: u32, field: Field, key: &[u8]) -> Result<bool> {
        let bytes = self.in_frame(&self.frame_of(offset)?, offset)?;
        let found = codec::has_key(self.segment.kind(), bytes, field, key)
            .map_err(|damage| self.segment.damaged(offset, damage))?;
        if self.map.is_lost() { Err(self.segment.lost(&self.map)) } else { Ok(found) }
    }

    fn frame_of(&self, offset: u32) -> Result<Frame> {
        let checked = self.segment.checked_frame(&self.map, offset);
        let (start, header) = checked.map_err(|damage| self.segment.damaged(offset, damage))?;
        Ok(Frame::new(start, &header))
    }

    /// The bytes from `offset` to the end of the frame.
    #[inline]
    fn in_frame(&self, frame: &Frame, offset: u32) -> Result<&[u8]> {
        let end = usize::try_from(frame.end).unwrap_or(usize::MAX);
        let bytes = self.map.as_slice().get(offset as usize..end);
        bytes.ok_or_else(|| self.segment.damaged(offset, Damage::Truncated))
    }

    #[inline]
    fn record_of(&self, frame: &Frame, seq: u64, offset: u32) -> Result<Record<'_>> {
        let bytes = self.in_frame(frame, offset)?;
        let record = codec::decode(self.segment.kind(), bytes)
            .map_err(|damage| self.segment.damaged(offset, damage))?;
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
            let checked = Segment::check_frame(self.map.as_slice(), frame);
            checked.map_err(|damage| self.segment.damaged(frame, damage))?;
        }
        if self.map.is_lost() { Err(self.segment.lost(&self.map)) } else { Ok(()) }
    }
}

impl Segment {
    /// The frame that `offset` lies in, its checksums compared now or before.
    fn checked_frame(&self, map: &Map, offset: u32) -> Result<(u32, FrameHeader), Damage> {
        let (number, frame_at) = self.frame_of(offset)?;
        let frame = map.as_slice().get(frame_at as usize..).ok_or(Damage::Truncated)?;
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
