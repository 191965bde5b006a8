use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::ledger::catalog::Catalog;
use crate::ledger::classes::STREAM_KINDS;
use crate::ledger::clock::Clock;
use crate::ledger::compact::Compactor;
use crate::ledger::layout::Layout;
use crate::ledger::maintain::Maintenance;
use crate::ledger::options::Options;
use crate::ledger::passed_over::PassedOvers;
use crate::ledger::policy::LivePolicy;
#[cfg(feature = "server")]
use crate::ledger::policy::Retention;
use crate::ledger::reader::Reader;
use crate::ledger::reserve::Reserve;
use crate::ledger::sequence::Sequence;
use crate::ledger::stream::Stream;
use crate::model::{Event, Owner, Timestamp};
use crate::planted::{Bug, is_planted};
use crate::query::{Events, Query};
use crate::storage::Storage;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, RwLock, RwLockReadGuard};

/// A ledger, open for writing.
///
/// A handle is cheap to clone and may be used from any number of threads. There is one writer at a
/// time for a ledger; other processes read it by [`Reader`]. When the last handle is dropped the
/// ledger is closed as by [`Ledger::close`], whose errors are then lost.
///
/// ```
/// use runledger::{Event, Id, Ledger, Run, Status};
/// # let dir = tempfile::tempdir()?;
/// let ledger = Ledger::open(dir.path().join("ledger"))?;
/// let run = ledger.start_run(Run::new("r-1", "nightly-backup", Status::Running)?)?;
/// run.event(Event::new("table.dumped").message("bookings: 12,004 rows"))?;
/// run.succeed()?;
/// assert_eq!(ledger.query().run("r-1").count()?, 2);
/// ledger.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Ledger {
    pub(super) inner: Arc<Inner>,
    /// Closes the ledger with the last handle, also while the background thread holds `inner`.
    _closes: Arc<CloseOnDrop>,
}

#[derive(Debug)]
struct CloseOnDrop(Arc<Inner>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        // Who wants to know of an error calls `close`.
        let _ = self.0.close();
    }
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) catalog: Arc<Catalog>,
    pub(super) reader: Reader,
    pub(super) options: Options,
    /// How long records are kept, and where they go.
    pub(super) policy: LivePolicy,
    pub(super) streams: [Stream; STREAM_KINDS.len()],
    pub(super) sequence: Sequence,
    /// The time that clean-up goes by.
    pub(super) clock: Clock,
    /// The time that retention goes by besides, when nobody asks for it.
    pub(super) doubting_clock: Clock,
    pub(super) maintenance: Arc<Maintenance>,
    pub(super) compactor: Arc<Compactor>,
    /// Why nothing may be appended any more.
    pub(super) poisoned: OnceLock<String>,
    pub(super) closed: AtomicBool,
    /// Held by who may put something on record at the end of what it does: a close waits for that.
    pub(super) jobs: RwLock<()>,
    /// True when nothing is put on record any more, either.
    pub(super) ended: AtomicBool,
    /// Space held back for a full disk.
    pub(super) reserve: Reserve,
    /// Appends that were refused for what they held and not yet put on record.
    pub(super) refused: AtomicU64,
    /// The process that opened the ledger: a fork of it is another, and not the writer.
    pub(super) pid: u32,
    /// The same as the owner of runs, once that was asked for.
    pub(super) owner: OnceLock<Owner<'static>>,
    /// Notes that the disk had no room for.
    pub(super) owed_notes: Mutex<VecDeque<Event<'static>>>,
    /// What the chain of hashes passes over.
    pub(super) passed_over: Mutex<PassedOvers>,
    /// What the opening found that a person should know.
    pub(super) noticed: OnceLock<Vec<String>>,
    /// Held while segments are dropped.
    pub(super) cleaning: Mutex<()>,
    /// Held during a merge: what another one adds meanwhile would not be known to be here.
    pub(super) merging: Mutex<()>,
    pub(super) lock: LockGuard,
}

/// The writer's lock, given back when it is dropped.
pub(super) struct LockGuard(pub(super) Mutex<Option<Box<dyn Send + Sync>>>);

impl std::fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LockGuard")
    }
}

impl Ledger {
    pub(super) fn of(inner: Arc<Inner>) -> Self {
        Self { _closes: Arc::new(CloseOnDrop(Arc::clone(&inner))), inner }
    }

    /// Opens the ledger in this directory for writing, with the default [`Options`]; makes one
    /// where there is none.
    ///
    /// # Errors
    /// As for [`Options::open`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        Options::new().open(dir)
    }

    /// The ledger's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.inner.catalog.layout.dir()
    }

    /// What the opening found that a person should know, each in a line: what a crash tore and was
    /// cut, ends of streams that are gone, and segments that cannot be read and are left out. Empty
    /// after a clean close, as a rule.
    #[must_use]
    pub fn noticed(&self) -> &[String] {
        self.inner.noticed.get().map_or(&[], Vec::as_slice)
    }

    /// The reading side: it sees each append as soon as it was made.
    #[must_use]
    pub fn reader(&self) -> &Reader {
        &self.inner.reader
    }

    /// This process as the owner of a run, for [`Run::owner`](crate::Run::owner): with a lease from
    /// now on, where [`Options::lease`] sets one.
    #[must_use]
    pub fn owner(&self) -> Owner<'static> {
        let inner = &self.inner;
        let (storage, lease) = (&inner.options.storage, inner.options.lease);
        let mut owner = inner.owner.get_or_init(|| storage.owner(inner.pid)).clone();
        owner.lease_until =
            lease.map(|lease| Timestamp::from_nanos(storage.now()).saturating_add(lease));
        owner
    }

    /// A question to the ledger as it is now.
    pub fn query(&self) -> Query {
        self.inner.reader.query()
    }

    /// The events, each with its payload as a `T`, the newest first: [`Reader::events`].
    pub fn events<T: DeserializeOwned>(&self) -> Events<T> {
        self.inner.reader.events()
    }

    /// The names in the ledger's directory.
    pub(crate) fn layout(&self) -> &Layout {
        &self.inner.catalog.layout
    }

    /// How long records are kept now, by what it was opened with, then by its file.
    #[cfg(feature = "server")]
    pub(crate) fn retention(&self) -> Arc<Retention> {
        self.inner.policy.current()
    }

    /// Where the ledger is kept, and by which clock.
    pub(crate) fn storage(&self) -> &Arc<dyn Storage> {
        &self.inner.options.storage
    }
}

impl Inner {
    /// An error in a fork of the process that opened the ledger.
    pub(super) fn check_process(&self) -> Result<()> {
        match std::process::id() == self.pid {
            true => Ok(()),
            false => Err(Error::Locked {
                path: self.catalog.layout.dir().to_owned(),
                holder: format!("pid={}, of which this process is a fork", self.pid),
                pid: Some(self.pid),
            }),
        }
    }

    /// An error when nothing may be appended or changed.
    // Each append looks, and is told by a register instead of by what a call leaves in memory.
    #[inline(always)]
    pub(super) fn check_writable(&self) -> Result<()> {
        self.check_process()?;
        self.check_open()
    }

    /// As [`Inner::check_writable`], of a process that was looked at before.
    pub(super) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::Closed);
        }
        self.check_poisoned()
    }

    /// As [`Inner::check_open`], for the engine's own notes: what has begun before a close is put
    /// on record yet.
    pub(super) fn check_notable(&self) -> Result<()> {
        if self.ended.load(Ordering::Acquire) {
            return Err(Error::Closed);
        }
        self.check_poisoned()
    }

    /// The right to do what is put on record at its end.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Poisoned`], or [`Error::Locked`] in a fork.
    pub(super) fn begin_job(&self) -> Result<RwLockReadGuard<'_, ()>> {
        // A fork may have the lock as it was taken by a thread that it does not have.
        self.check_process()?;
        let job = self.jobs.read();
        self.check_open()?;
        Ok(job)
    }

    pub(super) fn check_poisoned(&self) -> Result<()> {
        match self.poisoned.get() {
            Some(cause) => Err(Error::Poisoned {
                path: self.catalog.layout.dir().to_owned(),
                cause: cause.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Stops the writer: after this nothing is known of what is on the disk.
    pub(super) fn poison(&self, cause: impl std::fmt::Display) {
        if is_planted(Bug::GoOnAfterFailedSync) {
            return;
        }
        // The first cause is the one to be told.
        let _ = self.poisoned.set(cause.to_string());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ledger::{Cleanup, Compaction, Erasure, Options};
    use crate::model::{Event, Field, Id, Run, Status};

    fn open(dir: &Path) -> Ledger {
        Options::new().background(false).open(dir).unwrap()
    }

    /// The ledger as a fork of this process has it.
    fn fork_of(ledger: Ledger, other: &Ledger) -> Ledger {
        let Ledger { mut inner, _closes: mut closes } = ledger;
        // Else it would be closed here.
        Arc::get_mut(&mut closes).unwrap().0 = Arc::clone(&other.inner);
        Arc::get_mut(&mut inner).unwrap().pid += 1;
        Ledger::of(inner)
    }

    /// A fork was refused appends alone: its clean-up dropped segments, its compaction and its
    /// erasure removed those that the writer has open, and its sync could take from the writer the
    /// one word of an error that the kernel gives.
    #[test]
    fn a_fork_changes_nothing() {
        let (dir, of_other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let ledger = open(dir.path());
        let user = || Id::new("u").unwrap();
        let run = Run::new("r", "t", Status::Success).unwrap();
        ledger.append(run.user_id(user())).unwrap();
        ledger.pin("r", "evidence").unwrap();
        let fork = fork_of(ledger, &open(of_other.path()));
        let erasure = Erasure::of(Field::User, user()).unwrap();
        let by_status = Cleanup::older_than(Duration::ZERO).status(Status::Success);
        let minute = Duration::from_secs(60);
        let tried = [
            ("append", fork.append(Event::new("e")).map(drop)),
            ("sync", fork.sync()),
            ("maintain", fork.maintain()),
            ("clean-up", fork.cleanup(&Cleanup::older_than(Duration::ZERO), false).map(drop)),
            ("clean-up by status", fork.cleanup(&by_status, false).map(drop)),
            ("compact", fork.compact(&Compaction::new()).map(drop)),
            ("erase", fork.erase(&erasure).map(drop)),
            ("pin", fork.pin("r", "more evidence")),
            ("unpin", fork.unpin("r", "no evidence")),
            ("expect", fork.expect_run("t", minute, minute)),
            ("checkpoint", fork.checkpoint().map(drop)),
        ];
        for (what, outcome) in tried {
            assert!(matches!(outcome, Err(Error::Locked { .. })), "{what}: {outcome:?}");
        }
        assert_eq!(fork.query().history(true).count().unwrap(), 1);
    }
}
