use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::error::{Damage, Result};
use crate::format::footer::FooterLayout;
use crate::format::header::SegmentHeader;
use crate::format::trailer::{TRAILER_BYTES, Trailer};
use crate::index::MemIndex;
use crate::segment::blocks::blocks_of;
use crate::segment::found::find_frames;
use crate::segment::frames::CheckedFrames;
use crate::segment::handle::Handle;
use crate::segment::sealed::SealedIndex;
use crate::segment::{FRAMES_START, Findings, Name, Segment, State, header, new_index};
use crate::storage::{File, OpenMode, Storage};
use crate::sync::atomic::{AtomicU32, AtomicU64};
use crate::sync::{Mutex, RwLock};

impl Segment {
    /// Makes the file, with its header, and with this empty index. The directory is not synced.
    ///
    /// # Errors
    /// `Error::NoSpace` or `Error::Io`; what was made of the file is removed again.
    pub(crate) fn create(
        storage: &Arc<dyn Storage>,
        dir: &Path,
        header: SegmentHeader,
        index: MemIndex,
    ) -> Result<Self> {
        let name = Name::new(header.first_seq).to_string();
        Self::create_at(storage, &dir.join(name), header, index)
    }

    /// The trailer of a segment that was sealed, also of one whose footer is damaged since.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn was_sealed_with(&self) -> Result<Option<Trailer>> {
        match self.trailer() {
            None => Ok(trailer_of(self.file(), &self.header)?.map(|(trailer, _)| trailer)),
            known => Ok(known),
        }
    }

    /// As [`Segment::create`], at this path.
    pub(super) fn create_at(
        storage: &Arc<dyn Storage>,
        path: &Path,
        header: SegmentHeader,
        index: MemIndex,
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
        let seed = index.seed();
        let (state, findings) = (State::Memory(Box::new(index)), Findings::default());
        Ok(Self::assemble(path.to_owned(), header, file, seed, state, findings, FRAMES_START))
    }

    /// Opens a file. Without a valid trailer its frames are looked for and compared with their
    /// checksums; the index is made from them when it is asked for.
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
            let end = sealed.frames_end(&header);
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
        let blocks = header.packed.then(|| blocks_of(path, &file, header.salt)).transpose()?;
        let (scan, states) = match &blocks {
            Some(blocks) => {
                // It was whole when it got its name, and is never written again.
                findings.footer = Some(findings.footer.unwrap_or(Damage::Footer));
                find_frames(blocks, &header)?
            }
            None => find_frames(&file, &header)?,
        };
        findings.note(&scan);
        let state = State::Memory(Box::new(new_index(seed)));
        let end = scan.frames_end;
        let mut segment = Self::assemble(path.to_owned(), header, file, seed, state, findings, end);
        segment.blocks = RwLock::new(blocks.map(Arc::new));
        let found = segment.found(&scan, states)?;
        segment.last_seq = AtomicU64::new(found.last.map_or(0, |(seq, _)| seq));
        segment.found = Some(found);
        Ok(segment)
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
        let (map, last_seq) = match &state {
            State::Sealed(sealed) => (Some(sealed.map.clone()), sealed.trailer.last_seq),
            State::Memory(_) => (None, 0),
        };
        let segment = Self {
            path,
            header,
            file,
            seed,
            end: AtomicU32::new(end),
            indexed: AtomicU32::new(FRAMES_START),
            found: None,
            allocated: AtomicU32::new(end),
            map: RwLock::new(map),
            blocks: RwLock::default(),
            state: RwLock::new(state),
            span: OnceLock::new(),
            newest: RwLock::default(),
            unchecked: None,
            last_seq: AtomicU64::new(last_seq),
            superseded: RwLock::default(),
            replaced: RwLock::default(),
            findings: RwLock::new(findings),
            syncs: Mutex::default(),
        };
        if let Some(trailer) = segment.trailer() {
            segment.note_sealed(&trailer);
        }
        segment
    }
}

fn handle(storage: &Arc<dyn Storage>, path: &Path, mode: OpenMode) -> Result<Handle> {
    let file = storage.open(path, mode)?;
    Ok(Handle::new(Arc::clone(storage), path.to_owned(), file))
}

/// The trailer at the end of a file, when there is a whole one, and the length of the file.
fn trailer_of(file: &dyn File, header: &SegmentHeader) -> Result<Option<(Trailer, u64)>> {
    let len = file.len()?;
    let Some(at) = len.checked_sub(TRAILER_BYTES as u64).filter(|&at| at >= FRAMES_START.into())
    else {
        return Ok(None);
    };
    let mut bytes = [0; TRAILER_BYTES];
    if file.read_at(&mut bytes, at)? < TRAILER_BYTES {
        return Ok(None);
    }
    Ok(Trailer::decode(&bytes, &header.salt, at).ok().map(|trailer| (trailer, len)))
}

/// Reads the trailer and the footer's table of sections. `None` when the segment has no valid ones.
pub(super) fn open_sealed(
    file: &dyn File,
    header: &SegmentHeader,
    findings: &mut Findings,
) -> Result<Option<(Arc<SealedIndex>, usize)>> {
    let Some((trailer, len)) = trailer_of(file, header)? else { return Ok(None) };
    let Ok(whole) = usize::try_from(len) else { return Ok(None) };
    let map = file.map(whole)?;
    match FooterLayout::parse(map.as_slice(), &trailer) {
        Ok(layout) => {
            let sealed = SealedIndex::new(trailer, layout, map);
            let blocks = if header.packed { sealed.blocks().map(drop) } else { Ok(()) };
            match blocks.and_then(|()| sealed.frames().map(|frames| frames.len())) {
                Ok(frames) => return Ok(Some((sealed, frames))),
                Err(damage) => findings.footer = Some(damage),
            }
        }
        Err(damage) => findings.footer = Some(damage),
    }
    Ok(None)
}
