//! Records that wait in files of the ledger's directory, as the queue has no room for them.

mod drain;
mod line;

use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::ledger::Ledger;
use crate::limits::MAX_LINE_BYTES;
use crate::model::Body;
use crate::storage::{DirEntry, File, OpenMode, Storage};

pub(super) use drain::{LeftOut, drain};

/// When a file is full, in bytes. It is read whole, and appended as one batch.
const FULL_BYTES: u64 = 1 << 20;

/// The longest file that can be: full but for one byte, and then one line.
const MAX_BYTES: u64 = FULL_BYTES + MAX_LINE_BYTES as u64;

/// A buffer that grew beyond this is given back after use.
const KEEP_BYTES: usize = 64 << 10;

/// What the names of the files end with.
const ENDING: &str = ".ndjson";

/// Held by the one recorder that spills.
const LOCK: &str = "LOCK";

/// A file of records.
#[derive(Debug)]
pub(super) struct Spilled {
    /// Its place among the files.
    number: u64,
    /// Once it was begun to append it: from which sequence number on the ledger may have its
    /// records. The name says so, too, for those who find it after a crash.
    since: Option<u64>,
    bytes: u64,
    /// How many records this process has put into it.
    pub(super) records: u64,
}

impl Spilled {
    fn name(&self) -> String {
        match self.since {
            None => format!("{:020}{ENDING}", self.number),
            Some(since) => format!("{:020}-{since:020}{ENDING}", self.number),
        }
    }

    /// The file that has this entry; `None` for what is none.
    fn of(entry: &DirEntry) -> Option<Self> {
        let stem = entry.name.strip_suffix(ENDING)?;
        let (number, since) = match stem.split_once('-') {
            Some((number, since)) => (number, Some(since.parse().ok()?)),
            None => (stem, None),
        };
        let spilled = Self { number: number.parse().ok()?, since, bytes: entry.len, records: 0 };
        let is_ours = !entry.is_dir && entry.len <= MAX_BYTES && spilled.name() == entry.name;
        is_ours.then_some(spilled)
    }
}

/// The files, the oldest first: those that are full, and then the one that is written.
pub(super) struct Spill {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    /// How many bytes all of them may take.
    bound: u64,
    /// How many they take, the one that is drained included.
    bytes: u64,
    full: VecDeque<Spilled>,
    open: Option<(Spilled, Arc<dyn File>)>,
    /// True while one is drained.
    is_drained: bool,
    next: u64,
    line: Vec<u8>,
    _lock: Box<dyn Send + Sync>,
}

impl fmt::Debug for Spill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spill").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Spill {
    /// The files of this ledger, those included that an earlier process has left.
    ///
    /// # Errors
    /// [`Error::Invalid`] when another recorder spills over the ledger; [`Error::NoSpace`] or
    /// [`Error::Io`].
    pub(super) fn open(ledger: &Ledger, bound: u64) -> Result<Self> {
        let storage = Arc::clone(ledger.storage());
        let dir = ledger.layout().spill();
        storage.create_dir_all(&dir)?;
        let note = format!("pid={}", std::process::id());
        let lock = storage.lock(&dir.join(LOCK), &note).map_err(|err| match err {
            Error::Locked { .. } => Error::invalid(
                "way of a full queue",
                "WhenFull::Spill",
                "one recorder at a time that spills over a ledger",
            ),
            other => other,
        })?;
        let mut full: Vec<_> = storage.list(&dir)?.iter().filter_map(Spilled::of).collect();
        full.sort_unstable_by_key(|spilled| spilled.number);
        Ok(Self {
            bound,
            bytes: full.iter().map(|spilled| spilled.bytes).sum(),
            next: full.last().map_or(1, |last| last.number.saturating_add(1)),
            full: full.into(),
            open: None,
            is_drained: false,
            line: Vec::new(),
            storage,
            dir,
            _lock: lock,
        })
    }

    /// True when nothing waits: what comes next need not wait behind it.
    pub(super) fn is_empty(&self) -> bool {
        self.full.is_empty() && self.open.is_none() && !self.is_drained
    }

    /// Writes a record behind the others. False when the bound is reached.
    ///
    /// # Errors
    /// [`Error::NoSpace`] or [`Error::Io`]: the record is in no file.
    pub(super) fn push(&mut self, body: &Body<'_>) -> Result<bool> {
        self.line.clear();
        self.line.shrink_to(KEEP_BYTES);
        line::write(body, &mut self.line);
        let len = self.line.len() as u64;
        if self.bytes.saturating_add(len) > self.bound {
            return Ok(false);
        }
        if self.open.as_ref().is_some_and(|(open, _)| open.bytes + len > FULL_BYTES) {
            self.full.extend(self.open.take().map(|(full, _)| full));
        }
        if self.open.is_none() {
            let spilled = Spilled { number: self.next, since: None, bytes: 0, records: 0 };
            self.next = self.next.saturating_add(1);
            let path = self.dir.join(spilled.name());
            self.open = Some((spilled, self.storage.open(&path, OpenMode::CreateNew)?));
        }
        let Some((open, file)) = &mut self.open else { return Ok(false) };
        if let Err(err) = file.write_at(&self.line, open.bytes) {
            // What stays of it behind the end is no line, and the next one is written over it.
            let _ = file.set_len(open.bytes);
            return Err(err);
        }
        open.bytes += len;
        open.records += 1;
        self.bytes += len;
        Ok(true)
    }

    /// True when there is a file to be drained.
    pub(super) fn has_more(&self) -> bool {
        !self.full.is_empty() || self.open.is_some()
    }

    /// For the writer: the oldest file, to be drained. Nothing is added to it any more.
    pub(super) fn take(&mut self) -> Option<Spilled> {
        let taken = self.full.pop_front().or_else(|| self.open.take().map(|(open, _)| open));
        self.is_drained = taken.is_some();
        taken
    }

    /// For the writer: the file could not be drained yet.
    pub(super) fn put_back(&mut self, spilled: Spilled) {
        self.full.push_front(spilled);
        self.is_drained = false;
    }

    /// For the writer: the file is gone.
    pub(super) fn drained(&mut self, spilled: &Spilled) {
        self.bytes = self.bytes.saturating_sub(spilled.bytes);
        self.is_drained = false;
    }
}
