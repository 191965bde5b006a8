//! Comparing a whole segment with its checksums, its index and its hash.

use std::sync::Arc;

use crate::error::{Damage, Result};
use crate::format::footer::BlockInput;
use crate::format::frame::{FRAME_HEADER_BYTES, FRAME_MAGIC};
use crate::format::trailer::{TRAILER_BYTES, Trailer};
use crate::index::{MemIndex, Table};
use crate::planted::{Bug, is_planted};
use crate::segment::blocks::{Blocks, Source};
use crate::segment::scan::DamagedRange;
use crate::segment::{FRAMES_START, Findings, Segment, State, new_index, seal};

/// How many bytes of a packed segment are hashed at a time.
const HASH_BYTES: usize = 1 << 20;

/// What a check of one segment found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) findings: Findings,
    /// Records in whole frames.
    pub(crate) records: u64,
    /// True when the frames are whole and yet not those that were sealed.
    pub(crate) hash_differs: bool,
}

impl Check {
    /// True when a repair has something to do: damage, or a footer or header that is not whole.
    pub(crate) fn needs_repair(&self) -> bool {
        let findings = &self.findings;
        !findings.damaged.is_empty() || findings.footer.is_some() || findings.header
    }

    /// Behind a damaged footer the trailer may be whole: of the records that it counts, those are
    /// missing that are in no frame, and in no damage that tells how many it hides.
    fn compare_with(&mut self, trailer: &Trailer, end: u32) {
        let ranges = self.findings.damaged.iter();
        let Some(hidden) = ranges.map(|range| range.records.map(u64::from)).sum::<Option<u64>>()
        else {
            return;
        };
        let missing = u64::from(trailer.records).saturating_sub(self.records + hidden);
        if missing > 0 {
            let range = DamagedRange::new(end.into(), trailer.frames_end.max(end).into());
            let records = u32::try_from(missing).ok();
            self.findings.damaged.push(DamagedRange { records, ..range.of(Damage::MissingEnd) });
        }
    }

    /// After a clean close, bytes behind the frames are what is left of a footer, or of frames.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn end_is_damaged(&mut self, segment: &Segment) -> Result<()> {
        let Some(tail) = self.findings.tail.take() else { return Ok(()) };
        if segment.header().packed {
            // Its blocks hold frames alone, and where those would be is no place in the file.
            self.findings.damaged.push(tail);
            return Ok(());
        }
        let end = usize::try_from(tail.end).unwrap_or(usize::MAX);
        let start = usize::try_from(tail.start).unwrap_or(usize::MAX);
        let map = segment.map(end)?;
        let bytes = map.as_slice().get(start..end).unwrap_or_default();
        // What is shorter than a frame's header may be the beginning of one; a footer is longer.
        let short = bytes.len() < FRAME_HEADER_BYTES;
        if short || memchr::memmem::find(bytes, &FRAME_MAGIC).is_some() {
            self.findings.damaged.push(tail);
        } else {
            self.findings.footer = Some(Damage::Footer);
        }
        Ok(())
    }
}

impl Segment {
    /// Reads every frame, decodes every record, makes the index anew and compares it with the
    /// footer byte for byte, and the frames with their hash.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn check(self: &Arc<Self>) -> Result<Check> {
        let Some((trailer, seed)) = self.sealed_with() else {
            let records = u64::from(self.overview()?.rows);
            let mut check = Check { findings: self.findings(), records, hash_differs: false };
            // Without a damaged footer it is still written, and may just be sealed.
            if check.findings.footer.is_some()
                && let Some(trailer) = self.was_sealed_with()?
            {
                check.compare_with(&trailer, self.end());
            }
            return Ok(check);
        };
        let mut findings = self.findings();
        let mut index = new_index(seed);
        let found = self.enter_all(&mut index, Some(self.end()))?;
        findings.damaged = found.damaged;
        let mut hash_differs = false;
        if findings.damaged.is_empty() {
            index.sort();
            let blocks = if self.header().packed { Some(self.blocks()?) } else { None };
            let is_whole = blocks.as_ref().is_none_or(|blocks| blocks.has_whole_dictionary());
            if !is_whole || !self.footer_is(&index, &trailer, blocks.as_deref())? {
                findings.footer = Some(Damage::Footer);
            }
            hash_differs = self.frames_hash()? != trailer.hash && !is_planted(Bug::SkipHash);
            if let Some(blocks) = blocks {
                blocks.check_kept()?;
            }
        }
        Ok(Check { findings, records: u64::from(index.rows()), hash_differs })
    }

    fn sealed_with(&self) -> Option<(Trailer, u64)> {
        match &*self.state.read() {
            State::Sealed(sealed) => Some((sealed.trailer.clone(), sealed.layout.seed())),
            State::Memory(_) => None,
        }
    }

    fn footer_is(
        &self,
        index: &MemIndex,
        trailer: &Trailer,
        blocks: Option<&Blocks>,
    ) -> Result<bool> {
        let columns = blocks.map(Blocks::columns);
        let blocks = columns.as_ref().map(|(places, starts)| BlockInput { places, starts });
        let expected = seal::footer(index, self.header(), trailer.frames_end, blocks)?;
        let len = usize::try_from(self.file().len()?).unwrap_or(usize::MAX);
        let map = self.map(len)?;
        let footer_end = len.saturating_sub(TRAILER_BYTES);
        let footer = map.as_slice().get(trailer.frames_end as usize..footer_end);
        let (hash, previous) = (trailer.hash, trailer.previous);
        let is_footer = footer == Some(&*expected.bytes)
            && *trailer == seal::trailer(index, trailer.frames_end, &expected, hash, previous);
        if map.is_lost() { Err(self.lost(&map)) } else { Ok(is_footer) }
    }

    /// BLAKE3 of the file up to where its frames end; of a packed one, as it would be if it were
    /// not packed.
    pub(super) fn frames_hash(&self) -> Result<[u8; 32]> {
        let end = self.end();
        if !self.header().packed {
            return self.hash_to(end);
        }
        let (blocks, mut hasher) = (self.blocks()?, blake3::Hasher::new());
        let (mut at, mut buffer) = (0, vec![0; HASH_BYTES]);
        while at < u64::from(end) {
            let read = blocks.read_at(&mut buffer, at)?;
            if read == 0 {
                break;
            }
            hasher.update(buffer.get(..read).unwrap_or_default());
            at += read as u64;
        }
        Ok(*hasher.finalize().as_bytes())
    }

    /// BLAKE3 of the file up to `end`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn hash_to(&self, end: u32) -> Result<[u8; 32]> {
        let map = self.map(end as usize)?;
        let bytes = map.as_slice().get(..end as usize).unwrap_or_default();
        let hash = *blake3::hash(bytes).as_bytes();
        if map.is_lost() { Err(self.lost(&map)) } else { Ok(hash) }
    }

    /// What is damaged beyond the frames: `start` is where they end.
    pub(crate) fn footer_range(&self, damage: Damage) -> DamagedRange {
        // Of a packed segment only the trailer tells where the frames end in the file.
        let trailer = self.was_sealed_with().ok().flatten();
        let start = u64::from(trailer.map_or(self.end(), |it| it.frames_end).max(FRAMES_START));
        let end = self.file().len().unwrap_or(start);
        DamagedRange { start: start.min(end), end, damage, records: Some(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::segment::Packer;
    use crate::segment::blocks::blocks_of;
    use crate::segment::made::{SEED, append, create, open, storage};
    use crate::storage::OpenMode;

    /// Of a page that the disk cannot read a map gives zeros: they were compared with checksums,
    /// and called damage, which a repair was to mend.
    #[test]
    fn a_page_that_cannot_be_read_is_no_damage() {
        for packed in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let (storage, made) = (storage(), create(dir.path()));
            for seq in 1..=3_000 {
                append(&made, seq, 200);
            }
            made.seal([0; 32]).unwrap();
            let path = dir.path().join("packed");
            let (header, salt) = (made.header().clone(), made.header().salt);
            let mut packer = Packer::create(&*storage, &path, header, SEED).unwrap();
            packer.copy(&open(&made), &mut |_, _| Ok(true), &mut |_| Ok(())).unwrap();
            packer.finish([0; 32]).unwrap();
            let path = if packed { &path } else { made.path() };
            let segment = Arc::new(Segment::open(&storage, path, OpenMode::Read, SEED).unwrap());
            assert!(!segment.check().unwrap().needs_repair());
            // A map loses the pages of a file that is cut short as it does those of a bad disk.
            let shadow = dir.path().join("shadow");
            let copy = storage.open(&shadow, OpenMode::CreateNew).unwrap();
            let bytes = segment.map(0).unwrap().as_slice().to_vec();
            copy.write_at(&bytes, 0).unwrap();
            match packed {
                true => {
                    let blocks = blocks_of(path, &*copy, salt).unwrap();
                    *segment.blocks.write() = Some(Arc::new(blocks));
                }
                false => *segment.map.write() = Some(copy.map(bytes.len()).unwrap()),
            }
            copy.set_len(4096).unwrap();
            let refused = segment.check().unwrap_err();
            assert!(matches!(refused, Error::Io { .. }), "{packed}: {refused}");
        }
    }
}
