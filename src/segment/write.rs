use crate::error::{Error, Result};
use crate::format::footer::FooterLayout;
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader, payload_crc};
use crate::format::trailer::{TRAILER_BYTES, Trailer};
use crate::index::MemIndex;
use crate::limits::MAX_FRAME_PAYLOAD;
use crate::planted::{Bug, is_planted};
use crate::segment::sealed::SealedIndex;
use crate::segment::{NewState, Segment, State, seal};
use crate::storage::{OpenMode, Storage};
use crate::sync::atomic::Ordering;

/// The first preallocation, and the largest step by which it grows.
const ALLOCATE_BYTES: (u32, u32) = (64 << 10, 8 << 20);

/// What a frame says of itself that only the appender knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewFrame {
    pub(crate) base_seq: u64,
    pub(crate) recorded_at: i64,
    /// How many records the payload holds.
    pub(crate) count: u32,
    /// The masked CRC32 of the payload.
    pub(crate) payload_crc: u32,
    /// Up to where this segment is known to be on stable storage.
    pub(crate) synced: u32,
}

impl Segment {
    /// Writes a frame at the end of the frames; the index follows when it is asked for. `bytes` is
    /// room for the header, then the payload, and `states` are those of runs in it.
    ///
    /// One caller at a time. After an error the file is as it was before.
    ///
    /// # Errors
    /// [`Error::NoSpace`] or [`Error::Io`]; [`Error::Poisoned`] when a failed write could not be
    /// taken back, so that nothing may be appended any more.
    pub(crate) fn append(
        &self,
        bytes: &mut [u8],
        frame: NewFrame,
        states: &[NewState],
    ) -> Result<()> {
        let at = self.end();
        let payload_len = bytes.len().saturating_sub(FRAME_HEADER_BYTES);
        let too_large = || Error::TooLarge {
            what: "a batch in bytes",
            size: payload_len as u64,
            limit: u64::from(MAX_FRAME_PAYLOAD),
        };
        let payload_len = u32::try_from(payload_len)
            .ok()
            .filter(|&len| (1..=MAX_FRAME_PAYLOAD).contains(&len))
            .ok_or_else(too_large)?;
        let len = u32::try_from(bytes.len()).map_err(|_| too_large())?;
        let end = at.checked_add(len).ok_or_else(too_large)?;
        let header = FrameHeader {
            payload_len,
            count: frame.count,
            payload_crc: frame.payload_crc,
            base_seq: frame.base_seq,
            recorded_at: frame.recorded_at,
            synced: frame.synced,
        };
        if let Some(room) = bytes.first_chunk_mut() {
            *room = header.encode(&self.header.salt, u64::from(at));
        }
        if is_planted(Bug::PublishBeforeTheWrite) {
            self.end.store(end, Ordering::Release);
        }
        if let Err(err) = self.file().write_at(bytes, u64::from(at)) {
            if is_planted(Bug::KeepHalfARecord) {
                self.end.store(end, Ordering::Release);
                return Err(err);
            }
            return Err(self.take_back(at, err));
        }
        // What can be seen must lie before the end, as readers hold the file up to there.
        self.end.store(end, Ordering::Release);
        self.note_states(at, frame.base_seq, states);
        Ok(())
    }

    /// Preallocates, so that a frame of so many bytes grows no file (a sync is faster then) and
    /// finds space on a disk that is filling up.
    ///
    /// With `is_exact` it takes no more than the frame needs.
    ///
    /// # Errors
    /// [`Error::NoSpace`] or [`Error::Io`].
    pub(crate) fn reserve(&self, frame_bytes: usize, is_exact: bool) -> Result<()> {
        let end = u64::from(self.end()) + frame_bytes as u64;
        let end = u32::try_from(end).map_err(|_| Error::TooLarge {
            what: "a segment in bytes",
            size: end,
            limit: u64::from(u32::MAX),
        })?;
        let allocated = self.allocated.load(Ordering::Relaxed);
        if end <= allocated {
            return Ok(());
        }
        let step = match is_exact {
            true => 0,
            false => allocated.clamp(ALLOCATE_BYTES.0, ALLOCATE_BYTES.1),
        };
        let target = end.saturating_add(step);
        let reached = match self.file().allocate(u64::from(target)) {
            Ok(()) => target,
            // A disk that has no room for the step may have room for the frame.
            Err(Error::NoSpace { .. }) => {
                self.file().allocate(u64::from(end))?;
                end
            }
            Err(err) => return Err(err),
        };
        self.allocated.store(reached, Ordering::Relaxed);
        Ok(())
    }

    /// True when a frame of so many bytes needs no space that was not reserved before.
    pub(crate) fn has_space(&self, frame_bytes: usize) -> bool {
        let end = u64::from(self.end()) + frame_bytes as u64;
        end <= u64::from(self.allocated.load(Ordering::Relaxed))
    }

    /// Cuts what a failed write may have left. The space comes back with the next append.
    fn take_back(&self, at: u32, err: Error) -> Error {
        match self.file().set_len(u64::from(at)) {
            Ok(()) => {
                self.allocated.store(at, Ordering::Relaxed);
                err
            }
            Err(second) => Error::Poisoned {
                path: self.path.clone(),
                cause: format!("{err}; then, taking the write back: {second}"),
            },
        }
    }

    /// Cuts what was preallocated, at a clean close.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub(crate) fn trim(&self) -> Result<()> {
        let end = self.end();
        if u64::from(end) < self.file().len()? {
            self.file().set_len(u64::from(end))?;
        }
        self.allocated.store(end, Ordering::Relaxed);
        Ok(())
    }

    /// Writes the footer and makes it the index. Nothing may be appended any more.
    ///
    /// The frames are synced before the footer is written, and the footer before its trailer: a
    /// valid trailer means that they are there, and a crash on the way leaves a tail to be cut.
    ///
    /// Gives the index that the footer has taken the place of; `None` when it was sealed before.
    ///
    /// # Errors
    /// [`Error::NoSpace`] or [`Error::Io`]: the segment stays as it was, with its index in memory.
    pub(crate) fn seal(&self, previous: [u8; 32]) -> Result<Option<MemIndex>> {
        self.sync()?;
        // In slices: queries wait for no more than one.
        self.catch_up(&|| true)?;
        let end = self.end();
        let hash = self.frames_hash()?;
        let (footer, trailer) = {
            let state = self.sorted()?;
            let State::Memory(index) = &*state else { return Ok(None) };
            let footer = seal::footer(index, self.header(), end, None)?;
            let trailer = seal::trailer(index, end, &footer, hash, previous);
            (footer, trailer)
        };
        let trailer_at = u64::from(end) + footer.bytes.len() as u64;
        let written = self
            .file()
            .write_at(&footer.bytes, u64::from(end))
            .and_then(|()| self.file().set_len(trailer_at))
            .and_then(|()| match is_planted(Bug::SealWithOneSync) {
                true => Ok(()),
                false => self.file().sync(),
            })
            .and_then(|()| {
                let trailer = trailer.encode(&self.header.salt, trailer_at);
                self.file().write_at(&trailer, trailer_at)
            })
            .and_then(|()| self.file().sync());
        if let Err(err) = written {
            // Half a footer is no footer; the next opening makes the index anew.
            let _ = self.file().set_len(u64::from(end));
            return Err(err);
        }
        self.adopt_footer(trailer, trailer_at + TRAILER_BYTES as u64)
    }

    /// Writes the trailer of a sealed segment once more, and syncs it: whoever wrote it may have
    /// died before its sync. Or that has failed, and the kernel never writes what it shows.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub(crate) fn sync_trailer(&self, storage: &dyn Storage) -> Result<()> {
        let State::Sealed(sealed) = &*self.state.read() else { return Ok(()) };
        let at = (sealed.map.as_slice().len() as u64).saturating_sub(TRAILER_BYTES as u64);
        let trailer = sealed.trailer.encode(&self.header.salt, at);
        match storage.open(&self.path, OpenMode::Write) {
            Ok(file) => file.write_at(&trailer, at).and_then(|()| file.sync()),
            // A file of another owner can be synced at the least.
            Err(_) => storage.open(&self.path, OpenMode::Read)?.sync(),
        }
    }

    fn adopt_footer(&self, trailer: Trailer, total: u64) -> Result<Option<MemIndex>> {
        let whole = usize::try_from(total).map_err(|_| Error::TooLarge {
            what: "a segment in bytes",
            size: total,
            limit: usize::MAX as u64,
        })?;
        let map = self.file().map(whole)?;
        let layout = FooterLayout::parse(map.as_slice(), &trailer)
            .map_err(|damage| self.damaged(trailer.frames_end, damage))?;
        Ok(match self.take_footer(SealedIndex::new(trailer, layout, map)) {
            State::Memory(index) => Some(*index),
            State::Sealed(_) => None,
        })
    }

    /// Covers a hole that a crash left in bytes that were never synced with a void frame, so that
    /// the segment reads as whole.
    pub(super) fn cover(&self, start: u32, end: u32, base_seq: u64) -> Result<()> {
        let header_len = FRAME_HEADER_BYTES as u64;
        let mut at = u64::from(start);
        while u64::from(end).saturating_sub(at) > header_len {
            let left = u64::from(end) - at - header_len;
            // What is left over must have room for a header and a byte.
            let len = match left.saturating_sub(u64::from(MAX_FRAME_PAYLOAD)) {
                0 => left,
                over if over > header_len => u64::from(MAX_FRAME_PAYLOAD),
                _ => u64::from(MAX_FRAME_PAYLOAD) - header_len - 1,
            };
            self.cover_one(at, u32::try_from(len).unwrap_or(MAX_FRAME_PAYLOAD), base_seq)?;
            at += header_len + len;
        }
        Ok(())
    }

    fn cover_one(&self, at: u64, payload_len: u32, base_seq: u64) -> Result<()> {
        let mut payload = vec![0; payload_len.min(MAX_FRAME_PAYLOAD) as usize];
        self.file().read_at(&mut payload, at + FRAME_HEADER_BYTES as u64)?;
        let header = FrameHeader {
            payload_len,
            count: 0,
            payload_crc: payload_crc(&payload),
            base_seq,
            recorded_at: 0,
            synced: 0,
        };
        self.file().write_at(&header.encode(&self.header.salt, at), at)
    }
}
