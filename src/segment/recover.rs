use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::error::{Damage, Error, Result};
use crate::format::frame::{FRAME_HEADER_BYTES, FrameHeader};
use crate::planted::{Bug, is_planted};
use crate::segment::scan::{DamagedRange, scan};
use crate::segment::{FRAMES_START, Findings, Segment, Syncs};
use crate::storage::{File, OpenMode, Storage};
use crate::sync::atomic::Ordering;

/// How many bytes are copied at a time.
const COPY_BYTES: usize = 1 << 16;

/// Bytes that a crash took, none of them ever acknowledged as synced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Loss {
    pub(crate) kind: LossKind,
    pub(crate) range: DamagedRange,
    /// Where a copy of the bytes is, unless the disk had no room for it.
    pub(crate) copy: Option<PathBuf>,
}

/// How the bytes were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LossKind {
    /// They were the end of the segment, and were cut.
    TornTail,
    /// They were never synced and whole frames follow them; a void frame covers them.
    Hole,
}

impl Segment {
    /// Makes an unsealed segment ready for appends after a clean close: all of it is on stable
    /// storage, and what looks torn is damage, and stays.
    ///
    /// # Errors
    /// When the operating system refuses to tell its length.
    pub(crate) fn go_on(&self) -> Result<()> {
        let mut findings = self.findings.write();
        self.note_allocated()?;
        findings.synced = self.end();
        if let Some(tail) = findings.tail.take() {
            findings.damaged.push(tail);
            findings.footer = Some(Damage::Footer);
        }
        Ok(())
    }

    /// Up to where the segment is known to be on stable storage, from what was found at its opening
    /// and recovered since. A footer is written when all frames are.
    pub(crate) fn synced_at_opening(&self) -> u32 {
        match self.is_sealed() {
            true => self.end(),
            false => self.findings.read().synced.min(self.end()),
        }
    }

    /// Makes an unsealed segment ready for appends after a crash: cuts a torn tail and covers
    /// holes, each after a copy into `lost`. What was never synced is written once more with the
    /// next sync, which comes at once when something was cut or covered.
    ///
    /// # Errors
    /// When the copies or the cut cannot be made.
    pub(crate) fn recover(&self, storage: &dyn Storage, lost: &Path) -> Result<Vec<Loss>> {
        self.note_allocated()?;
        let findings = self.findings();
        let mut losses = Vec::new();
        for range in holes(&findings) {
            losses.push(self.cover_hole(storage, lost, range)?);
        }
        if let Some(tail) = findings.tail {
            let copy = self.copy_aside(storage, lost, &tail)?;
            self.file().set_len(tail.start)?;
            self.allocated.store(self.end(), Ordering::Relaxed);
            self.findings.write().tail = None;
            losses.push(Loss { kind: LossKind::TornTail, range: tail, copy });
        }
        self.syncs.lock().left_behind = Some((findings.synced, self.end()));
        if !losses.is_empty() {
            self.sync()?;
            self.findings.write().synced = self.end();
        }
        Ok(losses)
    }

    /// True when a writer before this one may have left something that is not on stable storage.
    pub(crate) fn is_unsynced(&self) -> bool {
        self.syncs.lock().left_behind.is_some()
    }

    /// Puts what was written on stable storage.
    ///
    /// # Errors
    /// When the operating system refuses. After an error nothing is known of what was written, and
    /// no later sync succeeds.
    pub(crate) fn sync(&self) -> Result<()> {
        // One at a time: the operating system tells of an error once, and a sync beside or after
        // the one that is told of it succeeds, whatever was lost.
        let mut syncs = self.syncs.lock();
        if syncs.has_failed && !is_planted(Bug::RetryFailedSync) {
            let cause = "a sync failed before".to_owned();
            return Err(Error::Poisoned { path: self.path.clone(), cause });
        }
        syncs.has_failed = true;
        let trusted = is_planted(Bug::TrustPagesOfAFailedSync);
        if let Some((start, end)) = syncs.left_behind.filter(|_| !trusted) {
            // Written once more: when a sync has failed, the kernel may serve pages that it takes
            // for written and will never write. A sync alone would succeed, and keep none of them.
            self.copy_bytes(start.into()..end.into(), self.file(), start.into())?;
            self.check_anew(start, end)?;
        }
        self.file().sync()?;
        *syncs = Syncs::default();
        Ok(())
    }

    /// Compares what was written once more with its checksums: it was read once more, too, and the
    /// kernel may have let go meanwhile of pages that it took for written.
    fn check_anew(&self, start: u32, end: u32) -> Result<()> {
        let start = start.max(FRAMES_START);
        match self.new_damage(start, end)? {
            None => Ok(()),
            // No frame need begin where a damaged one says that all before it was synced.
            Some(_) if start > FRAMES_START => self.check_anew(FRAMES_START, end),
            Some((at, damage)) => Err(Error::damaged(&self.path, at, damage)),
        }
    }

    /// Where there is damage between these offsets that was not found before.
    fn new_damage(&self, start: u32, end: u32) -> Result<Option<(u64, Damage)>> {
        let found = scan(&self.file, &self.bounds(start, Some(end)), &mut |_, _, _| Ok(()))?;
        let known = self.findings();
        let is_known = |range: &&DamagedRange| {
            known.damaged.iter().any(|it| it.start <= range.start && range.end <= it.end)
        };
        let first = found.damaged.iter().find(|range| !is_known(range));
        Ok(first.map(|range| (range.start, range.damage)))
    }

    fn note_allocated(&self) -> Result<()> {
        let len = u32::try_from(self.file().len()?).unwrap_or(u32::MAX);
        self.allocated.store(len, Ordering::Relaxed);
        Ok(())
    }

    /// True when frames may be appended: it has no footer, not even a damaged one.
    pub(crate) fn is_writable(&self) -> bool {
        !self.is_sealed() && self.findings.read().footer.is_none()
    }

    /// True for damage, among these findings, that the next recovery after a crash covers.
    pub(crate) fn will_cover(&self, range: &DamagedRange, findings: &Findings) -> bool {
        let has_room = range.end.saturating_sub(range.start) > FRAME_HEADER_BYTES as u64;
        !self.is_sealed() && findings.footer.is_none() && has_room && findings.is_hole(range)
    }

    fn cover_hole(&self, storage: &dyn Storage, lost: &Path, range: DamagedRange) -> Result<Loss> {
        let copy = self.copy_aside(storage, lost, &range)?;
        let (Ok(start), Ok(end)) = (u32::try_from(range.start), u32::try_from(range.end)) else {
            return Ok(Loss { kind: LossKind::Hole, range, copy });
        };
        if (end - start) as usize > FRAME_HEADER_BYTES {
            self.cover(start, end, self.seq_at(end)?)?;
            self.findings.write().damaged.retain(|other| *other != range);
        }
        Ok(Loss { kind: LossKind::Hole, range, copy })
    }

    /// The first sequence number of the frame that begins at an offset.
    fn seq_at(&self, offset: u32) -> Result<u64> {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        self.file().read_at(&mut bytes, u64::from(offset))?;
        let header = FrameHeader::decode(&bytes, &self.header.salt, u64::from(offset));
        Ok(header.map_or(self.first_seq(), |header| header.base_seq))
    }

    fn copy_aside(
        &self,
        storage: &dyn Storage,
        lost: &Path,
        range: &DamagedRange,
    ) -> Result<Option<PathBuf>> {
        let (stream, first_seq) = (&self.header.stream, self.header.first_seq);
        let place = format!("{stream}-{first_seq:020}-{}", range.start);
        let mut path = lost.join(format!("{place}.bin"));
        let mut earlier = 0_u32;
        // What was cut at the same place before is another loss, unless it is this one: then a
        // crash came between the copy and the cut.
        while storage.exists(&path)? {
            if self.is_copied(storage, &path, range)? {
                // Whoever made it may have died before its name was on stable storage.
                storage.sync_dir(lost)?;
                return Ok(Some(path));
            }
            earlier += 1;
            path = lost.join(format!("{place}-{earlier}.bin"));
        }
        match self.write_copy(storage, &path, range) {
            Ok(()) => Ok(Some(path)),
            // A full disk must not keep the ledger from opening: clean-up is what helps then.
            Err(Error::NoSpace { .. }) => Ok(None),
            Err(err) => Err(err),
        }
    }

    /// True when the file holds these bytes and no others.
    fn is_copied(&self, storage: &dyn Storage, path: &Path, range: &DamagedRange) -> Result<bool> {
        let copy = storage.open(path, OpenMode::Read)?;
        if copy.len()? != range.end.saturating_sub(range.start) {
            return Ok(false);
        }
        let (mut ours, mut theirs) = (vec![0; COPY_BYTES], vec![0; COPY_BYTES]);
        let mut at = range.start;
        while at < range.end {
            let want = usize::try_from(range.end - at).unwrap_or(COPY_BYTES).min(COPY_BYTES);
            let (Some(ours), Some(theirs)) = (ours.get_mut(..want), theirs.get_mut(..want)) else {
                return Ok(false);
            };
            let read = self.file().read_at(ours, at)?;
            if read < want || copy.read_at(theirs, at - range.start)? < want || ours != theirs {
                return Ok(false);
            }
            at += read as u64;
        }
        Ok(true)
    }

    /// Copies the whole file to a place in the ledger's directory for what was lost.
    pub(crate) fn copy_whole(&self, storage: &dyn Storage, path: &Path) -> Result<()> {
        self.write_copy(storage, path, &DamagedRange::new(0, self.file().len()?))
    }

    /// Makes a copy under another name first: what has the name of a copy is whole.
    fn write_copy(&self, storage: &dyn Storage, path: &Path, range: &DamagedRange) -> Result<()> {
        let dir = path.parent().unwrap_or(path);
        if !storage.exists(dir)? {
            storage.create_dir_all(dir)?;
            storage.sync_dir(dir.parent().unwrap_or(dir))?;
        }
        let draft = path.with_extension("tmp");
        if storage.exists(&draft)? {
            storage.remove(&draft)?;
        }
        let copy = storage.open(&draft, OpenMode::CreateNew)?;
        let copied = self.copy_bytes(range.start..range.end, &*copy, 0);
        if let Err(err) = copied.and_then(|()| copy.sync()) {
            // The error that counts is the first; the next copy of this place removes it, too.
            let _ = storage.remove(&draft);
            return Err(err);
        }
        storage.rename(&draft, path)?;
        storage.sync_dir(dir)
    }

    /// Writes these bytes of the file into another one, or into itself, from `to` on.
    fn copy_bytes(&self, bytes: Range<u64>, into: &dyn File, to: u64) -> Result<()> {
        let mut buffer = vec![0; COPY_BYTES];
        let mut at = bytes.start;
        while at < bytes.end {
            let want = usize::try_from(bytes.end - at).unwrap_or(COPY_BYTES).min(COPY_BYTES);
            let Some(chunk) = buffer.get_mut(..want) else { break };
            let read = self.file().read_at(chunk, at)?;
            if read == 0 {
                break;
            }
            into.write_at(chunk.get(..read).unwrap_or_default(), to + (at - bytes.start))?;
            at += read as u64;
        }
        Ok(())
    }
}

/// Damage in bytes that were never synced.
pub(super) fn holes(findings: &Findings) -> impl Iterator<Item = DamagedRange> + '_ {
    findings.damaged.iter().copied().filter(|range| findings.is_hole(range))
}

impl Findings {
    /// True for damage in bytes that were never synced: a crash can leave it.
    fn is_hole(&self, range: &DamagedRange) -> bool {
        // Records that do not decode, in a frame that is whole, are not what a crash leaves.
        let is_whole = matches!(range.damage, Damage::Record | Damage::Sequence);
        range.start >= u64::from(self.synced) && !is_whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::made::{append, create, storage};
    use crate::storage::OpenMode;

    /// A cut that is not yet on stable storage brings the torn tail back with the next power cut,
    /// and what was copied aside is then there twice. What was only found is left to the next sync.
    #[test]
    fn what_a_recovery_cuts_is_synced_at_once() {
        for torn in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let (storage, lost) = (storage(), dir.path().join("lost"));
            let segment = create(dir.path());
            append(&segment, 1, 10);
            if torn {
                segment.file().write_at(b"torn", u64::from(segment.end())).unwrap();
            }
            let again = Segment::open(&storage, segment.path(), OpenMode::Write, 3).unwrap();
            let losses = again.recover(&*storage, &lost).unwrap();
            assert_eq!((losses.len(), again.is_unsynced()), (usize::from(torn), !torn));
            assert_eq!(again.synced_at_opening() == again.end(), torn);
        }
    }
}
