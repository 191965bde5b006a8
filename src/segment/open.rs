use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::RwLock;

use crate::error::{Damage, Result};
use crate::format::footer::FooterLayout;
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader};
use crate::format::header::SegmentHeader;
use crate::format::key;
use crate::format::trailer::{TRAILER_BYTES, Trailer};
use crate::index::MemIndex;
use crate::segment::frames::CheckedFrames;
use crate::segment::handle::Handle;
use crate::segment::scan::{Bounds, Scan, scan};
use crate::segment::sealed::SealedIndex;
use crate::segment::{Draft, FRAMES_START, Findings, Segment, State, file_name, header};
use crate::storage::{File, Map, OpenMode, Storage};

impl Segment {
    /// Makes the file, with its header. The directory is not synced.
    ///
    /// # Errors
    /// `Error::NoSpace` or `Error::Io`; what was made of the file is removed again.
    pub(crate) fn create(
        storage: &Arc<dyn Storage>,
        dir: &Path,
        header: SegmentHeader,
        seed: u64,
    ) -> Result<Self> {
        Self::create_at(storage, &dir.join(file_name(header.first_seq)), header, seed)
    }

    /// As [`Segment::create`], at this path.
    pub(super) fn create_at(
        storage: &Arc<dyn Storage>,
        path: &Path,
        header: SegmentHeader,
        seed: u64,
    ) -> Result<Self> {
        let copy = header.encode()?;
        let file = handle(storage, path, OpenMode::CreateNew)?;
        if let Err(err) = file.write_at(&[copy, copy].concat(), 0) {
            // The error that counts is the first; an empty file that stays is removed by recovery.
            let removed = storage.remove(path);
            // Unless the directory says so for good, the empty file may come back after a clean
            // close, and would be taken for damage.
            let _ =
                removed.and_then(|()| path.parent().map_or(Ok(()), |dir| storage.sync_dir(dir)));
            return Err(err);
        }
        let index = MemIndex::new(key::hash, seed);
        let findings = Findings { synced: 0, ..Findings::default() };
        let state = State::Memory(index);
        Ok(Self::assemble(path.to_owned(), header, file, seed, state, findings, FRAMES_START))
    }

    /// Opens a file. Without a valid trailer it is scanned, and its index is made anew in memory.
    ///
    /// # Errors
    /// `Error::NewerFormat`, `Error::Damaged` when both copies of its header are damaged, or
    /// `Error::Io`.
    pub(crate) fn open(
        storage: &Arc<dyn Storage>,
        path: &Path,
        mode: OpenMode,
        seed: u64,
    ) -> Result<Self> {
        let file = handle(storage, path, mode)?;
        let read = header::read(path, &file)?;
        let mut findings = Findings { header: read.damaged_copy, ..Findings::default() };
        let header = read.header;
        if let Some((sealed, frames)) = open_sealed(&file, &header, &mut findings)? {
            let end = sealed.trailer.frames_end;
            file.close();
            let mut segment = Self::assemble(
                path.to_owned(),
                header,
                file,
                seed,
                State::Sealed(sealed),
                findings,
                end,
            );
            segment.unchecked = Some(CheckedFrames::new(frames));
            return Ok(segment);
        }
        let mut index = MemIndex::new(key::hash, seed);
        let found = scan_into(&mut index, &file, &header, FRAMES_START, None)?;
        note(&mut findings, &found);
        let state = State::Memory(index);
        let end = found.frames_end;
        Ok(Self::assemble(path.to_owned(), header, file, seed, state, findings, end))
    }

    fn assemble(
        path: PathBuf,
        header: SegmentHeader,
        file: Handle,
        seed: u64,
        state: State,
        findings: Findings,
        end: u32,
    ) -> Self {
        let map = match &state {
            State::Sealed(sealed) => Some(sealed.map.clone()),
            State::Memory(_) => None,
        };
        Self {
            path,
            header,
            file,
            seed,
            end: AtomicU32::new(end),
            allocated: AtomicU32::new(end),
            map: RwLock::new(map),
            state: RwLock::new(state),
            unchecked: None,
            superseded: RwLock::default(),
            findings: RwLock::new(findings),
        }
    }

    /// Scans what a writer in another process has added since the last look.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn follow(&self) -> Result<()> {
        let mut state = self.state.write();
        let State::Memory(index) = &mut *state else { return Ok(()) };
        let mut findings = self.findings.write();
        // A tail that was found may begin with zeros: only a scan tells that it is gone.
        if findings.tail.is_none() && self.ends_in_zeros()? {
            return Ok(());
        }
        // Sealed meanwhile: its footer is the index from now on, once all frames were seen.
        let mut of_footer = Findings::default();
        let sealed = open_sealed(&self.file, &self.header, &mut of_footer)?;
        let sealed = sealed.map(|(sealed, _)| sealed);
        let until = sealed.as_ref().map(|sealed| sealed.trailer.frames_end);
        let found = scan_into(index, &self.file, &self.header, self.end(), until)?;
        self.end.store(found.frames_end, Ordering::Release);
        note(&mut findings, &found);
        let is_whole = findings.damaged.is_empty() && findings.footer.is_none();
        if let Some(sealed) = sealed.filter(|_| is_whole && Some(found.frames_end) == until) {
            *self.map.write() = Some(sealed.map.clone());
            *state = State::Sealed(sealed);
            self.file.close();
        }
        Ok(())
    }

    /// True when no frame was begun behind the last one.
    fn ends_in_zeros(&self) -> Result<bool> {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        let read = self.file().read_at(&mut bytes, u64::from(self.end()))?;
        Ok(bytes.iter().take(read).all(|&byte| byte == 0))
    }

    /// Scans the frames into an index that is empty.
    pub(super) fn scan_frames(&self, index: &mut MemIndex, until: Option<u32>) -> Result<Scan> {
        scan_into(index, &self.file, &self.header, FRAMES_START, until)
    }

    /// Replaces the index in a damaged footer by one made from the records.
    pub(super) fn rebuild(&self, damage: Damage) -> Result<()> {
        let mut state = self.state.write();
        if matches!(*state, State::Memory(_)) {
            return Ok(());
        }
        let mut index = MemIndex::new(key::hash, self.seed);
        let until = Some(self.end());
        let found = self.scan_frames(&mut index, until)?;
        let mut findings = self.findings.write();
        note(&mut findings, &found);
        // Up to the end of the frames nothing can be torn.
        let tail = findings.tail.take();
        findings.damaged.extend(tail);
        findings.footer = Some(damage);
        *state = State::Memory(index);
        Ok(())
    }
}

fn handle(storage: &Arc<dyn Storage>, path: &Path, mode: OpenMode) -> Result<Handle> {
    let file = storage.open(path, mode)?;
    Ok(Handle::new(Arc::clone(storage), path.to_owned(), file))
}

/// Reads the trailer and the footer's table of sections. `None` when the segment has no valid ones.
fn open_sealed(
    file: &dyn File,
    header: &SegmentHeader,
    findings: &mut Findings,
) -> Result<Option<(SealedIndex, usize)>> {
    let len = file.len()?;
    let Some(at) = len.checked_sub(TRAILER_BYTES as u64).filter(|&at| at >= FRAMES_START.into())
    else {
        return Ok(None);
    };
    let mut bytes = [0; TRAILER_BYTES];
    if file.read_at(&mut bytes, at)? < TRAILER_BYTES {
        return Ok(None);
    }
    let Ok(trailer) = Trailer::decode(&bytes, &header.salt, at) else { return Ok(None) };
    let Ok(whole) = usize::try_from(len) else { return Ok(None) };
    let map: Map = file.map(whole)?;
    match FooterLayout::parse(map.as_slice(), &trailer) {
        Ok(layout) => {
            let sealed = SealedIndex { trailer, layout, map };
            let frames = sealed.frames().map(|frames| frames.len());
            match frames {
                Ok(frames) => return Ok(Some((sealed, frames))),
                Err(damage) => findings.footer = Some(damage),
            }
        }
        Err(damage) => findings.footer = Some(damage),
    }
    Ok(None)
}

/// Scans frames into an index.
fn scan_into(
    index: &mut MemIndex,
    file: &dyn File,
    header: &SegmentHeader,
    from: u32,
    until: Option<u32>,
) -> Result<Scan> {
    use crate::index::Table;
    let mut next_seq = match index.rows().checked_sub(1) {
        Some(row) => index.seq(row) + 1,
        None => header.first_seq,
    };
    let mut draft = Draft::default();
    draft.reset(index.seed());
    let mut visit = |offset: u32, frame: &FrameHeader, payload: &[u8]| {
        draft.decode(header.kind, frame, payload)?;
        if frame.base_seq < next_seq {
            return Err(Damage::Sequence);
        }
        if frame.is_void() {
            // It holds no record, and was recorded at no time.
            return Ok(());
        }
        draft.apply(index, offset, frame.base_seq, frame.recorded_at);
        if let Some(last) = draft.last_seq(frame.base_seq) {
            next_seq = last + 1;
        }
        Ok(())
    };
    let bounds = Bounds { salt: &header.salt, from, until };
    scan(file, &bounds, &mut visit)
}

fn note(findings: &mut Findings, found: &Scan) {
    findings.damaged.extend_from_slice(&found.damaged);
    findings.tail = found.tail;
    findings.synced = findings.synced.max(found.synced);
}
