use std::path::PathBuf;
use std::sync::Arc;

use crate::error::Result;
use crate::ledger::group_commit::GroupCommit;
use crate::ledger::policy::Roll;
use crate::model::Kind;
use crate::planted::{Bug, is_planted};
use crate::segment::Segment;
use crate::storage::Storage;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// The end of one stream, to which frames are appended.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) dir: PathBuf,
    active: Mutex<Active>,
    /// Counts the appends of runs, in the stream whose lock they all take: who prepared a run's
    /// state looks whether another came between.
    version: AtomicU64,
    pub(super) commit: GroupCommit,
}

/// What only the one who appends may touch.
#[derive(Debug, Default)]
pub(super) struct Active {
    /// The segment that is written; none before the first append.
    pub(super) segment: Option<Arc<Segment>>,
    /// How many records it holds, void ones left out.
    pub(super) records: u64,
    /// When it is full.
    pub(super) roll: Roll,
    /// When its newest record arrived; 0 when it has none.
    pub(super) newest_at: i64,
    /// How much was done since the opening, in bytes appended and segments made: the position that
    /// a sync has to reach.
    pub(super) written: u64,
    /// Segments with frames that were not synced.
    unsynced: Vec<Arc<Segment>>,
    /// True when a segment was made since the directory was synced.
    directory_unsynced: bool,
    /// Up to where the segment is known to be on stable storage.
    pub(super) synced_to: u32,
}

impl Stream {
    /// The stream whose segments without a footer are these: those that are `full`, and the one to
    /// be written, if there is one.
    pub(super) fn new(
        name: &'static str,
        kind: Kind,
        dir: PathBuf,
        full: Vec<Arc<Segment>>,
        segment: Option<Arc<Segment>>,
        roll: Roll,
    ) -> Self {
        let records = segment.as_ref().map_or(0, |segment| segment.records_at_opening());
        let last = segment.as_ref().and_then(|segment| segment.last_at_opening());
        let synced_to = segment.as_ref().map_or(0, |segment| segment.synced_at_opening());
        // What a killed writer left in the kernel counts as the first append.
        let mut unsynced = full;
        unsynced.extend(segment.clone());
        unsynced.retain(|segment| segment.is_unsynced());
        let written = u64::from(!unsynced.is_empty());
        Self {
            name,
            kind,
            dir,
            active: Mutex::new(Active {
                segment,
                records,
                roll,
                newest_at: last.map_or(0, |(_, recorded_at)| recorded_at),
                synced_to,
                written,
                unsynced,
                ..Active::default()
            }),
            version: AtomicU64::new(0),
            commit: GroupCommit::default(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Active> {
        self.active.lock()
    }

    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Notes that states of runs were appended, to this stream or another.
    pub(super) fn note_version(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    /// Syncs what was appended so far, and gives the position that this has reached.
    pub(super) fn sync(&self, storage: &dyn Storage) -> Result<u64> {
        let (written, unsynced, directory, reached) = {
            let mut active = self.active.lock();
            let end = active.segment.as_ref().map(|segment| (Arc::clone(segment), segment.end()));
            let unsynced = std::mem::take(&mut active.unsynced);
            (active.written, unsynced, std::mem::take(&mut active.directory_unsynced), end)
        };
        for segment in &unsynced {
            match segment.sync() {
                Err(_) if is_planted(Bug::RetryFailedSync) => segment.sync()?,
                synced => synced?,
            }
        }
        if directory && !is_planted(Bug::SkipDirectorySyncAfterCreate) {
            storage.sync_dir(&self.dir)?;
        }
        let mut active = self.active.lock();
        if let (Some((segment, end)), Some(current)) = (reached, &active.segment)
            && Arc::ptr_eq(&segment, current)
        {
            active.synced_to = active.synced_to.max(end);
        }
        Ok(written)
    }
}

impl Active {
    /// Notes an append of so many bytes and records to the active segment, at this time.
    pub(super) fn appended(&mut self, segment: &Arc<Segment>, bytes: usize, records: u32, at: i64) {
        self.written += bytes as u64;
        self.records += u64::from(records);
        self.newest_at = self.newest_at.max(at);
        // Only the last segment is ever appended to.
        if !self.unsynced.last().is_some_and(|last| Arc::ptr_eq(last, segment)) {
            self.unsynced.push(Arc::clone(segment));
        }
    }

    /// Makes `segment`, which was just created, the one that is written. The one before it, if
    /// any, is given back to be sealed.
    pub(super) fn replace(&mut self, segment: Arc<Segment>) -> Option<Arc<Segment>> {
        self.directory_unsynced = true;
        // What a sync has to reach is its name, too, when nothing is ever appended to it.
        self.written += 1;
        self.synced_to = 0;
        self.records = 0;
        self.newest_at = 0;
        self.segment.replace(segment)
    }

    /// Stops writing the segment, so that the next append makes a new one.
    pub(super) fn retire(&mut self) -> Option<Arc<Segment>> {
        self.synced_to = 0;
        self.records = 0;
        self.newest_at = 0;
        self.segment.take()
    }
}
