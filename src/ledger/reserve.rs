//! A little disk space held back, so that the ends of runs and clean-up get through on a full disk.

use std::io;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::ledger::append::Batch;
use crate::ledger::audit;
use crate::ledger::commit::Targets;
use crate::ledger::handle::Inner;
use crate::storage::{OpenMode, Storage};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};

/// The reserve is no larger than this part of the cap on the directory.
const SHARE_OF_CAP: u64 = 64;

/// The file that holds the space. What is in it means nothing, and it may be removed at any time.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    bytes: u64,
    /// True while the file has its space, or is to have none; changes with `changing` held.
    is_held: AtomicBool,
    changing: Mutex<()>,
    /// The appends that were refused for want of space, and are not yet on record.
    refused: Mutex<Option<Refused>>,
}

/// How many appends found no space, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) count: u64,
    pub(super) first: i64,
    pub(super) last: i64,
}

/// How a segment may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    /// In steps that spare later appends the work.
    Plenty,
    /// By what is needed: the space comes out of the reserve.
    Exact,
    /// Not at all: what is free now is left of the reserve, and meant for others.
    Nothing,
}

impl Reserve {
    /// Makes the file, no larger than a share of the cap on the directory, or removes one that is
    /// no longer wanted. A disk that is full already has none to hold back.
    ///
    /// # Errors
    /// When the operating system refuses, for another reason than a full disk.
    pub(super) fn open(
        storage: &dyn Storage,
        path: PathBuf,
        bytes: u64,
        cap: Option<u64>,
    ) -> Result<Self> {
        let bytes = cap.map_or(bytes, |cap| bytes.min(cap / SHARE_OF_CAP));
        let is_held = AtomicBool::new(bytes == 0);
        let reserve =
            Self { path, bytes, is_held, changing: Mutex::default(), refused: Mutex::default() };
        if bytes > 0 {
            reserve.make(storage)?;
        } else if storage.exists(&reserve.path)? {
            storage.remove(&reserve.path)?;
        }
        Ok(reserve)
    }

    /// Takes the space, if it is not held and the disk has it. True when it is held.
    fn make(&self, storage: &dyn Storage) -> Result<bool> {
        let _changing = self.changing.lock();
        if self.is_held() {
            return Ok(true);
        }
        match self.allocate(storage) {
            Ok(()) => self.is_held.store(true, Ordering::Release),
            Err(Error::NoSpace { .. }) => return Ok(false),
            Err(err) => return Err(err),
        }
        Ok(true)
    }

    fn is_held(&self) -> bool {
        self.is_held.load(Ordering::Acquire)
    }

    fn allocate(&self, storage: &dyn Storage) -> Result<()> {
        let mode = match storage.exists(&self.path)? {
            true => OpenMode::Write,
            false => OpenMode::CreateNew,
        };
        let file = storage.open(&self.path, mode)?;
        // A file of another length was made under another option.
        if file.len()? > self.bytes {
            file.set_len(self.bytes)?;
        }
        file.allocate(self.bytes)
    }

    /// Gives the space back to the file system. False when there is none to give.
    fn give_up(&self, storage: &dyn Storage) -> Result<bool> {
        let _changing = self.changing.lock();
        if self.bytes == 0 || !self.is_held.swap(false, Ordering::AcqRel) {
            return Ok(false);
        }
        storage.open(&self.path, OpenMode::Write)?.set_len(0)?;
        Ok(true)
    }

    /// What an append may take. After the reserve was given up, only one that is urgent may go on
    /// until it is made anew: what there is would be gone at once otherwise.
    fn room(&self, storage: &dyn Storage, is_urgent: bool) -> Result<Room> {
        if self.is_held() {
            return Ok(Room::Plenty);
        }
        Ok(match (is_urgent, self.bytes) {
            (true, _) => Room::Exact,
            (false, _) if self.make(storage)? => Room::Plenty,
            (false, _) => Room::Nothing,
        })
    }

    /// Finds space with `find`. What is urgent and finds none gets the reserve.
    fn find<T>(
        &self,
        storage: &dyn Storage,
        is_urgent: bool,
        mut find: impl FnMut(Room) -> Result<T>,
    ) -> Result<T> {
        match find(self.room(storage, is_urgent)?) {
            Err(Error::NoSpace { .. }) if is_urgent && self.give_up(storage)? => find(Room::Exact),
            found => found,
        }
    }

    /// The error of an append that may not have what is left.
    fn refusal(&self) -> Error {
        let source = io::Error::from(io::ErrorKind::StorageFull);
        Error::NoSpace { path: self.path.clone(), source }
    }

    /// Notes an append that was refused for want of space.
    pub(super) fn note_refused(&self, now: i64) {
        let mut refused = self.refused.lock();
        let so_far = refused.get_or_insert(Refused { count: 0, first: now, last: now });
        so_far.count += 1;
        so_far.last = now;
    }
}

impl Inner {
    /// Finds the segment for each part of a batch, with space for it reserved.
    pub(super) fn find_space(
        &self,
        batch: &Batch,
        targets: &mut Targets<'_>,
        first_seq: u64,
        now: i64,
    ) -> Result<()> {
        for target in targets {
            let parts = batch.parts.get(target.number);
            let Some(part) = parts.filter(|part| !part.is_empty()) else { continue };
            let (len, base_seq) = (part.bytes.len(), first_seq + u64::from(part.first));
            let (number, stream, active) = (target.number, target.stream, &mut target.active);
            let mut find = |room| {
                if room == Room::Nothing {
                    let ready = active.segment.as_ref();
                    let ready =
                        ready.filter(|it| self.has_room(active, it, len, now) && it.has_space(len));
                    return ready.cloned().ok_or_else(|| self.reserve.refusal());
                }
                let segment = self.segment_for(number, stream, active, len, base_seq, now)?;
                segment.reserve(len, room == Room::Exact)?;
                Ok(segment)
            };
            let storage = &*self.options.storage;
            target.segment = Some(self.reserve.find(storage, batch.is_urgent, &mut find)?);
        }
        Ok(())
    }

    /// Puts on record how many appends a full disk has refused, once there is space again: one note
    /// for all of them. With `at_any_rate`, also while it is full.
    pub(super) fn note_full_disk(&self, at_any_rate: bool) -> Result<()> {
        let is_back = self.reserve.make(&*self.options.storage)?;
        if !is_back && !at_any_rate {
            return Ok(());
        }
        let Some(refused) = self.reserve.refused.lock().take() else { return Ok(()) };
        self.note(&audit::disk_full(&refused))
    }
}
