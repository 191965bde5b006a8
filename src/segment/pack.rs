//! Writing a packed segment: frames in compressed blocks, then the footer, in one go.

use std::path::{Path, PathBuf};

use crate::error::{Damage, Error, Result};
use crate::format::block::BLOCK_BYTES;
use crate::format::codec::{self, Decoded};
use crate::format::footer::BlockInput;
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader, payload_crc};
use crate::format::header::SegmentHeader;
use crate::format::trailer::Trailer;
use crate::index::{MemIndex, Table};
use crate::planted::{Bug, is_planted};
use crate::segment::block_writer::{BlockWriter, Frames};
use crate::segment::draft::for_each_record;
use crate::segment::scan::scan;
use crate::segment::{Draft, FRAMES_START, Segment, new_index, seal};
use crate::storage::{OpenMode, Storage};

/// A packed segment that is being made. It is written under another name than it is to have.
pub(crate) struct Packer {
    writer: BlockWriter,
    path: PathBuf,
    header: SegmentHeader,
    index: MemIndex,
    draft: Draft,
    hasher: blake3::Hasher,
    /// The frames of the next block, and where they end in the segment that is not packed.
    frames: Frames,
    end: u64,
}

/// A frame that is being put together.
#[derive(Debug, Default)]
struct NewFrame {
    /// Room for the header, then the payload.
    bytes: Vec<u8>,
    count: u32,
    base_seq: u64,
    last_seq: u64,
    recorded_at: i64,
}

impl NewFrame {
    /// Adds the record at the beginning of `bytes`.
    fn add(&mut self, seq: u64, bytes: &[u8]) -> std::result::Result<(), Damage> {
        if self.count == 0 {
            self.bytes.clear();
            self.bytes.resize(FRAME_HEADER_BYTES, 0);
            (self.base_seq, self.last_seq) = (seq, seq);
        }
        let next = if self.count == 0 { seq } else { self.last_seq + 1 };
        let gap = seq.checked_sub(next).and_then(|gap| u32::try_from(gap).ok());
        codec::append_with_gap(&mut self.bytes, bytes, gap.ok_or(Damage::Sequence)?)?;
        self.count += 1;
        self.last_seq = seq;
        Ok(())
    }
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packer").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Packer {
    /// Begins the file at `path`, where none may be.
    ///
    /// # Errors
    /// [`Error::NoSpace`] or [`Error::Io`].
    pub(crate) fn create(
        storage: &dyn Storage,
        path: &Path,
        header: SegmentHeader,
        seed: u64,
    ) -> Result<Self> {
        let header = SegmentHeader { packed: true, ..header };
        let copy = header.encode()?;
        let headers = [copy, copy].concat();
        let mut hasher = blake3::Hasher::new();
        hasher.update(&headers);
        let mut draft = Draft::default();
        draft.reset(seed);
        let file = storage.open(path, OpenMode::CreateNew)?;
        Ok(Self {
            writer: BlockWriter::new(file, header.salt, headers),
            path: path.to_owned(),
            header,
            index: new_index(seed),
            draft,
            hasher,
            frames: Frames::default(),
            end: FRAMES_START.into(),
        })
    }

    /// Adds a frame, and empties it.
    ///
    /// # Errors
    /// [`Error::NoSpace`] or [`Error::Io`]; [`Error::TooLarge`] beyond the bounds of a segment;
    /// [`Error::Damaged`] when the records do not decode.
    fn push(&mut self, frame: &mut NewFrame) -> Result<()> {
        let NewFrame { bytes, count, base_seq, recorded_at, .. } = frame;
        let (count, base_seq, recorded_at) = (std::mem::take(count), *base_seq, *recorded_at);
        let waiting = self.frames.bytes.len();
        if waiting > 0 && waiting + bytes.len() > BLOCK_BYTES {
            self.writer.add(std::mem::take(&mut self.frames))?;
        }
        let at = self.end;
        let too_large = || Error::TooLarge {
            what: "a segment in bytes",
            size: at.saturating_add(bytes.len() as u64),
            limit: u64::from(u32::MAX),
        };
        let place = u32::try_from(at).map_err(|_| too_large())?;
        let payload = bytes.get(FRAME_HEADER_BYTES..).unwrap_or_default();
        let header = FrameHeader {
            payload_len: u32::try_from(payload.len()).map_err(|_| too_large())?,
            count,
            payload_crc: payload_crc(payload),
            base_seq,
            recorded_at,
            synced: 0,
        };
        let decoded = self.draft.decode(self.header.kind, &header, payload);
        decoded.map_err(|damage| Error::damaged(&self.path, at, damage))?;
        self.draft.apply(&mut self.index, place, base_seq, recorded_at);
        if let Some(room) = bytes.first_chunk_mut() {
            *room = header.encode(&self.header.salt, at);
        }
        self.hasher.update(bytes);
        self.frames.push(bytes, &self.draft);
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Adds the records of a segment of which `keep`, which is given their sequence numbers, is
    /// true. Those of one frame stay together as far as a block goes; none are put together with
    /// those of another, as they were recorded at different times. `pace` is told how many bytes
    /// were read.
    ///
    /// # Errors
    /// As for [`Packer::push`]; [`Error::Damaged`] when the segment is not whole, or holds not as
    /// many records as it was sealed with; and what `keep` and `pace` give.
    pub(crate) fn copy(
        &mut self,
        segment: &Segment,
        keep: &mut dyn FnMut(u64, &Decoded<'_>) -> Result<bool>,
        pace: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        let (mut failed, mut records) = (None, 0);
        let mut frame = NewFrame::default();
        let mut copy = |_: u32, header: &FrameHeader, payload: &[u8]| {
            records += u64::from(header.count);
            if failed.is_none() {
                frame.recorded_at = header.recorded_at;
                let copied = self
                    .copy_frame(&mut frame, header, payload, keep)
                    .and_then(|()| pace(u64::from(header.payload_len)));
                match copied {
                    Err(Error::Damaged { damage, .. }) => return Err(damage),
                    other => failed = other.err(),
                }
            }
            Ok(())
        };
        let source = segment.source()?;
        let bounds = segment.bounds(FRAMES_START, Some(segment.end()));
        let found = scan(source.as_dyn(), &bounds, &mut copy)?;
        let is_all = segment.trailer().is_none_or(|trailer| u64::from(trailer.records) == records);
        match (failed, found.damaged.first()) {
            (Some(err), _) => Err(err),
            (None, Some(range)) => Err(Error::damaged(segment.path(), range.start, range.damage)),
            (None, None) if is_all => Ok(()),
            (None, None) => {
                let end = u64::from(segment.end());
                Err(Error::damaged(segment.path(), end, Damage::Footer))
            }
        }
    }

    fn copy_frame(
        &mut self,
        frame: &mut NewFrame,
        header: &FrameHeader,
        payload: &[u8],
        keep: &mut dyn FnMut(u64, &Decoded<'_>) -> Result<bool>,
    ) -> Result<()> {
        let (kind, path) = (self.header.kind, self.path.clone());
        let mut failed = Ok(());
        for_each_record(kind, header, payload, |relative, offset, record| {
            let seq = header.base_seq.saturating_add(relative.into());
            failed = std::mem::replace(&mut failed, Ok(())).and_then(|()| {
                if !keep(seq, record)? {
                    return Ok(());
                }
                let bytes = payload.get(offset as usize..).unwrap_or_default();
                if frame.count > 0 && frame.bytes.len() + record.consumed > BLOCK_BYTES {
                    self.push(frame)?;
                }
                let added = frame.add(seq, bytes);
                added.map_err(|damage| Error::damaged(&path, 0, damage))
            });
        })
        .map_err(|damage| Error::damaged(&self.path, 0, damage))?;
        failed?;
        if frame.count > 0 { self.push(frame) } else { Ok(()) }
    }

    /// Writes what is left, the footer and the trailer. Gives the trailer; `None` when nothing was
    /// added, so that there is no segment to be.
    ///
    /// # Errors
    /// As for [`Packer::push`].
    pub(crate) fn finish(&mut self, previous: [u8; 32]) -> Result<Option<Trailer>> {
        if !self.frames.bytes.is_empty() {
            self.writer.add(std::mem::take(&mut self.frames))?;
        }
        if self.index.rows() == 0 {
            return Ok(None);
        }
        self.index.sort();
        let frames_end = self.writer.finish()?;
        let blocks = BlockInput { places: &self.writer.places, starts: &self.writer.starts };
        let footer = seal::footer(&self.index, &self.header, frames_end, Some(blocks))?;
        let hash = *self.hasher.finalize().as_bytes();
        let trailer = seal::trailer(&self.index, frames_end, &footer, hash, previous);
        let trailer_at = u64::from(frames_end) + footer.bytes.len() as u64;
        self.writer.write(&footer.bytes)?;
        self.writer.write(&trailer.encode(&self.header.salt, trailer_at))?;
        Ok(Some(trailer))
    }

    /// Puts all of it on stable storage: only then may it get its name. One sync, as nobody reads
    /// it before.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub(crate) fn sync(&self) -> Result<()> {
        if is_planted(Bug::NameBeforeTheSync) { Ok(()) } else { self.writer.sync() }
    }
}
