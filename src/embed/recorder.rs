//! Where records of a service go: into the ledger in place, or by a queue and a thread.

#[cfg(feature = "tracing")]
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::embed::append::Append;
use crate::embed::losses::{Losses, Lost};
use crate::embed::pending::{self, Bounds};
use crate::embed::queue::{Queue, WhenFull};
use crate::embed::recent;
use crate::embed::spill::Spill;
use crate::embed::within::Within;
use crate::embed::writer::Guard;
use crate::error::{Error, Result};
use crate::ledger::{Durability, Ledger};
use crate::model::{Body, Run, Timestamp};
use crate::storage::Storage;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};

/// Where a service's records go. What cannot be appended is counted, and the ledger is told of it:
/// nothing here fails or panics, whatever becomes of the disk.
///
/// | | an append costs its thread | a kill of the process loses |
/// |---|---|---|
/// | [`Recorder::in_place`] | what it costs at that durability | what that durability says |
/// | [`Recorder::queue`] | a copy in memory | what waits in the queue, besides |
///
/// In place an append costs a call of the operating system, and threads that append at the same
/// time wait for each other's: that is for a few threads, or where a kill must lose nothing. Many
/// threads that record often are better off with a queue, which makes few calls of many records.
///
/// It is cheap to clone, and may be used from any number of threads.
///
/// ```
/// use runledger::embed::Recorder;
/// use runledger::{Event, Ledger};
/// # let dir = tempfile::tempdir()?;
/// let ledger = Ledger::open(dir.path().join("ledger"))?;
/// let (recorder, guard) = Recorder::queue().start(&ledger)?;
/// recorder.record(Event::new("started"));
/// drop(guard);
/// assert_eq!(ledger.query().record_type("started").count()?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Recorder {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    way: Way,
    storage: Arc<dyn Storage>,
    /// Of the ledger, which a queue does not keep open.
    #[cfg(feature = "tracing")]
    dir: PathBuf,
}

#[derive(Debug)]
enum Way {
    InPlace(InPlace),
    Queue(Arc<Queue>),
}

#[derive(Debug)]
struct InPlace {
    ledger: Ledger,
    durability: Durability,
    losses: Mutex<Losses>,
    /// True when the ledger is to be told of some of them.
    has_untold: AtomicBool,
}

/// What a [`Recorder`] could not do, and what it has still to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecorderStats {
    /// Records that wait in the queue, and those that were spilled and wait in files.
    pub waiting: u64,
    /// Records that were spilled as the queue was full. Those that wait no more were appended.
    pub spilled: u64,
    /// Records that were left out because the queue was full.
    pub dropped: u64,
    /// Records that could not be appended or spilled: the disk was full or failed, the ledger
    /// closed; and lines of a spill that turned out damaged, or those of a whole one that could not
    /// be read, which the next recorder that spills tries again.
    pub failed: u64,
    /// Records that the ledger refused for what they hold.
    pub refused: u64,
    /// The last error that made a record fail or be refused.
    pub last_error: Option<String>,
}

/// How a queue is set up: [`Recorder::queue`].
#[derive(Debug, Clone)]
#[must_use = "there is no queue until it is started"]
pub struct QueueOptions {
    durability: Durability,
    bounds: Bounds,
    when_full: WhenFull,
    spill_bytes: u64,
}

impl Recorder {
    /// A recorder that appends each record where it is made, at this durability, and returns when
    /// that is reached.
    ///
    /// It keeps the ledger open. A subscriber that is installed for the whole process is never
    /// dropped: [`Ledger::close`] is then for the end of `main`.
    #[must_use]
    pub fn in_place(ledger: &Ledger, durability: Durability) -> Self {
        let in_place = InPlace {
            ledger: ledger.clone(),
            durability,
            losses: Mutex::default(),
            has_untold: AtomicBool::new(false),
        };
        Self::of(Way::InPlace(in_place), ledger)
    }

    fn of(way: Way, ledger: &Ledger) -> Self {
        let inner = Inner {
            way,
            storage: Arc::clone(ledger.storage()),
            #[cfg(feature = "tracing")]
            dir: ledger.dir().to_owned(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// A recorder with a queue and a thread of its own that appends what is in it, many records at
    /// a time: at [`Durability::Interval`], with room for 8,192 records and 8 MiB, and
    /// [`WhenFull::Block`], unless it is set otherwise.
    pub const fn queue() -> QueueOptions {
        QueueOptions {
            durability: Durability::Interval,
            bounds: Bounds { records: 8192, bytes: 8 << 20 },
            when_full: WhenFull::Block,
            spill_bytes: 64 << 20,
        }
    }

    /// Records a state of a run, an event or an error. False when that is not, or will not be, in
    /// the ledger as far as is known now: [`Recorder::stats`] says why.
    ///
    /// A run that is open and has no owner is this process's, as for [`Ledger::start_run`]. What is
    /// recorded while a record is written, by a [`Storage`] that logs for
    /// instance, is left out. Where such a storage serves a thread that appends by the ledger
    /// itself, it must not log: the thread holds what the record would wait for.
    pub fn record<'a>(&self, record: impl Into<Body<'a>>) -> bool {
        let Some(_within) = Within::begin() else { return false };
        self.take(record.into())
    }

    /// Appends a record, at the recorder's durability or a stronger one, without keeping the thread
    /// that awaits it from other work. It waits for room in a queue that is full. All that wait for
    /// their records at the same time share one sync.
    ///
    /// A recorder in place has no thread for it: it appends at once, and blocks.
    ///
    /// ```
    /// # use runledger::embed::Recorder;
    /// # use runledger::{Durability, Event, Ledger};
    /// # let dir = tempfile::tempdir()?;
    /// # let ledger = Ledger::open(dir.path().join("ledger"))?;
    /// let (recorder, _guard) = Recorder::queue().start(&ledger)?;
    /// # smol::block_on(async {
    /// let seq = recorder.append(Event::new("booked"), Durability::Sync).await?;
    /// # assert_eq!(ledger.query().record_type("booked").fetch()?.seqs().next(), Some(seq));
    /// # Ok::<(), runledger::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The future gives those of [`Ledger::append`], and [`Error::Closed`] after the queue's
    /// [`Guard`] was dropped.
    pub fn append<'a>(&self, record: impl Into<Body<'a>>, durability: Durability) -> Append {
        let mut body = record.into();
        match &self.inner.way {
            Way::InPlace(in_place) => {
                // What a storage logs meanwhile is left out here, too.
                let _within = Within::begin();
                in_place.own(&mut body);
                Append::done(in_place.ledger.append_with(body, durability))
            }
            Way::Queue(queue) => {
                pending::date(&mut body, self.now());
                let sync = durability == Durability::Sync;
                Append::queued(Arc::clone(queue), body, sync)
            }
        }
    }

    /// Returns once all that was recorded before is appended, or could not be.
    pub fn flush(&self) {
        // The thread that writes cannot wait for itself.
        if let Some(_within) = Within::begin() {
            self.flush_all();
        }
    }

    /// As [`Recorder::flush`], for a thread that is not the one that writes.
    pub(super) fn flush_all(&self) {
        if let Way::Queue(queue) = &self.inner.way {
            queue.flush();
        }
    }

    /// What was lost so far, and what waits.
    #[must_use]
    pub fn stats(&self) -> RecorderStats {
        let of = |losses: &mut Losses| RecorderStats {
            waiting: 0,
            spilled: 0,
            dropped: losses.total.full,
            failed: losses.total.failed,
            refused: losses.refused,
            last_error: losses.last_error.clone(),
        };
        match &self.inner.way {
            Way::InPlace(in_place) => of(&mut in_place.losses.lock()),
            Way::Queue(queue) => {
                let (waiting, spilled) = queue.waiting();
                RecorderStats { waiting, spilled, ..queue.losses(of) }
            }
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.inner.storage.now())
    }

    /// The directory of the ledger.
    #[cfg(feature = "tracing")]
    pub(super) fn ledger(&self) -> &Path {
        &self.inner.dir
    }

    /// What makes this recorder out from all others that there are.
    #[cfg(feature = "tracing")]
    pub(super) fn identity(&self) -> usize {
        Arc::as_ptr(&self.inner).addr()
    }

    /// Records it for a caller who is [`Within`].
    pub(super) fn take(&self, mut body: Body<'_>) -> bool {
        let now = self.now();
        pending::date(&mut body, now);
        recent::note(&body);
        match &self.inner.way {
            Way::InPlace(in_place) => in_place.append(body, now),
            Way::Queue(queue) => queue.push(body, now),
        }
    }
}

impl InPlace {
    fn append(&self, mut body: Body<'_>, now: Timestamp) -> bool {
        self.own(&mut body);
        match self.ledger.append_with(body, self.durability) {
            Ok(_) => {
                if self.has_untold.load(Ordering::Relaxed) {
                    self.tell(false);
                }
                true
            }
            Err(err) => {
                let mut losses = self.losses.lock();
                losses.note_refused(&err, now);
                self.has_untold.store(losses.has_untold(), Ordering::Relaxed);
                false
            }
        }
    }

    fn own(&self, body: &mut Body<'_>) {
        if let Body::Run(run) = body {
            own(run, &self.ledger);
        }
    }

    /// Tells the ledger of what was lost, now that it takes records again.
    fn tell(&self, is_end: bool) {
        let monotonic = self.ledger.storage().monotonic();
        let Some((event, lost)) = self.losses.lock().tell(monotonic, is_end) else { return };
        let mut telling = Telling { of: self, told: None, monotonic };
        if self.ledger.append_with(event, self.durability).is_ok() {
            telling.told = Some(lost);
        }
    }
}

/// The ledger is being told of losses. However that ends, another one may go on to tell it.
struct Telling<'a> {
    of: &'a InPlace,
    told: Option<Lost>,
    monotonic: Duration,
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        let mut losses = self.of.losses.lock();
        losses.told(self.told, self.monotonic);
        self.of.has_untold.store(losses.has_untold(), Ordering::Relaxed);
    }
}

impl Drop for InPlace {
    fn drop(&mut self) {
        if self.has_untold.load(Ordering::Relaxed) {
            self.tell(true);
        }
    }
}

/// Makes an open run that has no owner this process's.
pub(super) fn own(run: &mut Run<'_>, ledger: &Ledger) {
    if !run.status.is_terminal() {
        run.owner.get_or_insert_with(|| Box::new(ledger.owner()));
    }
}

impl QueueOptions {
    /// At which durability records are appended. What waits in the queue has reached none yet.
    pub const fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// How many records may wait.
    pub const fn records(mut self, records: usize) -> Self {
        self.bounds.records = records;
        self
    }

    /// How many bytes those may take that wait.
    pub const fn bytes(mut self, bytes: usize) -> Self {
        self.bounds.bytes = bytes;
        self
    }

    /// What becomes of a record that finds no room.
    pub const fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }

    /// How many bytes of disk those may take that are spilled, with [`WhenFull::Spill`].
    pub const fn spill_bytes(mut self, bytes: u64) -> Self {
        self.spill_bytes = bytes;
        self
    }

    /// Starts the thread that writes. It keeps the ledger open until the guard is dropped.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a bound of zero, and for a second recorder that spills over the
    /// ledger; [`Error::Io`] when the operating system has no thread to give, and [`Error::Io`] or
    /// [`Error::NoSpace`] when it lets nobody write where records are spilled.
    pub fn start(self, ledger: &Ledger) -> Result<(Recorder, Guard)> {
        if self.bounds.records == 0 || self.bounds.bytes == 0 {
            return Err(Error::invalid("bound of the queue", "0", "1 or more"));
        }
        let spill = match self.when_full {
            WhenFull::Spill => Some(Spill::open(ledger, self.spill_bytes)?),
            WhenFull::Block | WhenFull::Drop => None,
        };
        let queue = Arc::new(Queue::new(self.bounds, self.when_full, spill));
        let guard = Guard::start(&queue, ledger, self.durability)?;
        Ok((Recorder::of(Way::Queue(queue), ledger), guard))
    }
}
