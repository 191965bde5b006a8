use std::path::Path;
use std::sync::Arc;

use crate::error::{Damage, Error, Result};
use crate::format::seqfile::{Head, SEQ_FILE_BYTES, SeqState};
use crate::planted::{Bug, is_planted};
use crate::storage::{File, OpenMode, Storage};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

/// How many numbers are reserved at first and at the most. A crash skips what was reserved and not
/// used; a reservation costs a sync, so they grow with use.
const RESERVE: (u64, u64) = (1 << 12, 1 << 22);

/// How far to skip when the file that says how far numbers were given out is gone.
const SKIP_WITHOUT_FILE: u64 = 1 << 32;

/// Gives out sequence numbers, none of them ever twice: a number is given out only after a bound
/// above it is on stable storage, and an opening that does not follow a clean close goes on at that
/// bound.
#[derive(Debug)]
pub(super) struct Sequence {
    next: AtomicU64,
    /// Numbers below this may be given out.
    reserved: AtomicU64,
    /// From this number on, more should be reserved before there are none left.
    low: AtomicU64,
    file: Mutex<SeqFile>,
}

#[derive(Debug)]
struct SeqFile {
    file: Arc<dyn File>,
    ledger: [u8; 16],
    generation: u64,
    step: u64,
    /// True while the file says that the writer closed.
    is_clean: bool,
    /// Up to where the streams are known to be on stable storage.
    heads: Vec<Head>,
    /// What the opening read, until that is known to be on stable storage: the sync of who wrote it
    /// may have failed, and then only the kernel has it.
    unsure: Option<SeqState>,
}

/// What the file said at the opening.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) state: Option<SeqState>,
    /// True when the segments show that it is older than they are.
    pub(super) is_stale: bool,
    /// What is wrong with it, and where. A crash tears one of its slots at the most.
    pub(super) damage: Option<(u64, Damage)>,
}

impl Found {
    /// True after a clean close: nothing can be torn.
    pub(super) fn is_clean(&self) -> bool {
        !self.is_stale && self.state.as_ref().is_some_and(|state| state.clean)
    }
}

/// Reads the file; an absent or damaged one says nothing.
pub(super) fn read(storage: &dyn Storage, path: &Path, ledger: &[u8; 16]) -> Result<Found> {
    if !storage.exists(path)? {
        let damage = Some((0, Damage::MissingSegment));
        return Ok(Found { damage, ..Found::default() });
    }
    let file = storage.open(path, OpenMode::Read)?;
    let mut bytes = vec![0; usize::try_from(SEQ_FILE_BYTES).unwrap_or(0)];
    let read = file.read_at(&mut bytes, 0)?;
    let bytes = bytes.get(..read).unwrap_or_default();
    let (state, damage) = (SeqState::decode(bytes, ledger), SeqState::damage(bytes, ledger));
    Ok(Found { state, damage, ..Found::default() })
}

/// Has the file tell nothing of the streams' ends, and no clean close, before they are changed past
/// the writer. The file is there and whole.
pub(super) fn forget_ends(storage: &dyn Storage, path: &Path, ledger: &[u8; 16]) -> Result<()> {
    let found = read(storage, path, ledger)?;
    Sequence::open(storage, path, *ledger, &found, None, Vec::new())?.unclose()
}

impl Sequence {
    /// Opens or makes the file. `highest` is the highest number that any record has, and `heads`
    /// say up to where the streams are on stable storage.
    pub(super) fn open(
        storage: &dyn Storage,
        path: &Path,
        ledger: [u8; 16],
        found: &Found,
        highest: Option<u64>,
        heads: Vec<Head>,
    ) -> Result<Self> {
        let after_highest = highest.map_or(1, |seq| seq.saturating_add(1));
        let next = match (&found.state, highest) {
            (Some(state), _) => state.bound.max(after_highest),
            (None, None) => 1,
            (None, Some(_)) => after_highest.saturating_add(SKIP_WITHOUT_FILE),
        };
        let file = match storage.exists(path)? {
            true => storage.open(path, OpenMode::Write)?,
            false => {
                let file = storage.open(path, OpenMode::CreateNew)?;
                file.allocate(SEQ_FILE_BYTES)?;
                file.set_len(SEQ_FILE_BYTES)?;
                file.sync()?;
                if let Some(dir) = path.parent() {
                    storage.sync_dir(dir)?;
                }
                file
            }
        };
        let generation = found.state.as_ref().map_or(0, |state| state.generation);
        Ok(Self {
            next: AtomicU64::new(next),
            reserved: AtomicU64::new(next),
            low: AtomicU64::new(next.saturating_add(1)),
            file: Mutex::new(SeqFile {
                file,
                ledger,
                generation,
                step: RESERVE.0,
                is_clean: found.is_clean(),
                heads,
                unsure: found.state.clone(),
            }),
        })
    }

    /// The number that is given out next.
    pub(super) fn peek(&self) -> u64 {
        self.next.load(Ordering::Acquire)
    }

    /// Gives out `count` numbers in a row; the first of them is the result.
    pub(super) fn take(&self, count: u64) -> Result<u64> {
        let advance = |next: u64| next.checked_add(count);
        let taken = self.next.fetch_update(Ordering::AcqRel, Ordering::Acquire, advance);
        // At the end it stays there: to go round would be to use numbers again.
        let first = taken.map_err(|_| Error::TooLarge {
            what: "a sequence number",
            size: u64::MAX,
            limit: u64::MAX - 1,
        })?;
        let end = first.saturating_add(count);
        if end > self.reserved.load(Ordering::Acquire) {
            self.reserve(end)?;
        }
        Ok(first)
    }

    /// True when so few reserved numbers are left that more should be, before an append has to wait
    /// for it.
    pub(super) fn is_low(&self) -> bool {
        self.peek() >= self.low.load(Ordering::Acquire)
    }

    /// Reserves more numbers, if few are left.
    pub(super) fn reserve_ahead(&self) -> Result<()> {
        match self.is_low() {
            true => self.reserve(self.reserved.load(Ordering::Acquire).saturating_add(1)),
            false => Ok(()),
        }
    }

    fn reserve(&self, end: u64) -> Result<()> {
        let mut file = self.file.lock();
        if end <= self.reserved.load(Ordering::Acquire) {
            return Ok(());
        }
        let bound = end.saturating_add(file.step);
        if !is_planted(Bug::NumbersBeforeTheirBound) {
            file.write(bound, false)?;
        }
        self.low.store(bound - file.step / 2, Ordering::Release);
        file.step = (file.step * 2).min(RESERVE.1);
        self.reserved.store(bound, Ordering::Release);
        Ok(())
    }

    /// Takes back that the writer closed, before a segment is changed without a number being taken:
    /// what a crash leaves of the change is to be recovered, and not to be taken for damage.
    pub(super) fn unclose(&self) -> Result<()> {
        let mut file = self.file.lock();
        if file.is_clean { file.write(self.peek(), false) } else { Ok(()) }
    }

    /// Notes up to where the streams are on stable storage, in place of what was known of them
    /// before. That was true as well, unless an end is missing or a segment is to be dropped.
    pub(super) fn note_heads(&self, change: impl FnOnce(&mut Vec<Head>)) -> Result<()> {
        let mut file = self.file.lock();
        let before = file.heads.clone();
        change(&mut file.heads);
        if file.heads == before {
            return Ok(());
        }
        let bound = self.reserved.load(Ordering::Acquire);
        let written = file.write(bound, false);
        if written.is_err() {
            // Else the next try would find nothing to change.
            file.heads = before;
        }
        written
    }

    /// Notes a clean close, with the streams' ends. No number may be taken after it.
    pub(super) fn close(&self, heads: impl FnOnce(&[Head]) -> Vec<Head>) -> Result<()> {
        let mut file = self.file.lock();
        if file.is_clean {
            return Ok(());
        }
        file.heads = heads(&file.heads);
        file.write(self.peek(), true)
    }
}

impl SeqFile {
    fn write(&mut self, bound: u64, clean: bool) -> Result<()> {
        // The other slot, which is written next, is all there is if this one is not on the disk.
        if let Some(read) = &self.unsure {
            self.put(read)?;
            self.unsure = None;
        }
        // At the end it stays there: gone round, the slot would count as older than the other.
        let generation = self.generation.checked_add(1).ok_or(Error::TooLarge {
            what: "a generation of the file SEQ",
            size: u64::MAX,
            limit: u64::MAX - 1,
        })?;
        self.put(&SeqState { generation, bound, clean, heads: self.heads.clone() })?;
        self.generation = generation;
        self.is_clean = clean;
        Ok(())
    }

    /// Writes a slot, and syncs it.
    fn put(&self, state: &SeqState) -> Result<()> {
        self.file.write_at(&state.encode(&self.ledger), state.offset())?;
        self.file.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Disk;

    /// Only a file that was made for it has the last generation. After it came the first: numbers
    /// were reserved in a slot that counted as older than the other.
    #[test]
    fn nothing_is_reserved_after_the_last_generation() {
        let dir = tempfile::tempdir().unwrap();
        let (path, ledger) = (dir.path().join("SEQ"), [7; 16]);
        let state = SeqState { generation: u64::MAX, bound: 9, clean: true, heads: Vec::new() };
        let mut bytes = vec![0; usize::try_from(state.offset()).unwrap()];
        bytes.extend(state.encode(&ledger));
        std::fs::write(&path, bytes).unwrap();
        let found = read(&Disk, &path, &ledger).unwrap();
        assert_eq!(found.state, Some(state));
        let sequence = Sequence::open(&Disk, &path, ledger, &found, None, Vec::new()).unwrap();
        let refused = sequence.take(1).unwrap_err();
        assert!(matches!(refused, Error::TooLarge { .. }), "{refused}");
    }
}
