use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::ledger::classes::Class;
use crate::ledger::policy::{Limits, Retention, Term};
use crate::ledger::{Durability, Ledger};
use crate::limits::{DEFAULT_SEGMENT_BYTES, MAX_SEGMENT_BYTES, MIN_SEGMENT_BYTES};
use crate::model::Kind;
use crate::storage::{Disk, Storage};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How many bytes are held back for a full disk.
const DEFAULT_RESERVE_BYTES: u64 = 512 << 10;

/// How many bytes of frames the background compacts a second.
const DEFAULT_COMPACTION_RATE: u64 = 16 << 20;

/// How a ledger is opened for writing.
///
/// ```
/// use std::time::Duration;
/// use runledger::{Durability, Kind, Options};
/// # let dir = tempfile::tempdir()?;
/// let ledger = Options::new()
///     .durability(Durability::Sync)
///     .retention(Kind::Event, Some(Duration::from_secs(7 * 24 * 60 * 60)))
///     .max_bytes(Some(1 << 30))
///     .open(dir.path().join("ledger"))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "options do nothing until a ledger is opened with them"]
pub struct Options {
    pub(super) durability: Durability,
    pub(super) interval: Duration,
    pub(super) segment_bytes: u32,
    pub(super) segment_age: Duration,
    pub(super) retention: Retention,
    pub(super) create: bool,
    pub(super) background: bool,
    pub(super) reserve_bytes: u64,
    pub(super) lease: Option<Duration>,
    pub(super) restores: bool,
    pub(super) compaction_age: Option<Duration>,
    pub(super) compaction_rate: u64,
    pub(super) storage: Arc<dyn Storage>,
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

impl Options {
    /// The defaults: durability `Interval` at 200 ms, segments of 64 MiB or one day, events kept
    /// for 30 days, errors for 90, runs for 365, no cap on the disk, segments compacted after a
    /// day, a ledger is made where there is none.
    pub fn new() -> Self {
        Self {
            durability: Durability::default(),
            interval: Duration::from_millis(200),
            segment_bytes: DEFAULT_SEGMENT_BYTES,
            segment_age: DAY,
            retention: Retention::new(),
            create: true,
            background: true,
            reserve_bytes: DEFAULT_RESERVE_BYTES,
            lease: None,
            restores: false,
            compaction_age: Some(DAY),
            compaction_rate: DEFAULT_COMPACTION_RATE,
            storage: Arc::new(Disk),
        }
    }

    /// What an append reaches when it does not say so itself.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// How often what was appended at [`Durability::Interval`] is synced, a minute at the most.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// How large a segment grows before the next one is begun, in bytes: 64 KiB to 1 GiB.
    pub fn segment_bytes(mut self, bytes: u32) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// How old a segment grows before the next one is begun. Retention drops whole segments, so
    /// records are kept up to this much longer than they have to be.
    pub fn segment_age(mut self, age: Duration) -> Self {
        self.segment_age = age;
        self
    }

    /// How long records of a kind are kept after they were appended; `None` keeps them for ever.
    /// Those of a class that is split off are kept as long, unless it has a term of its own.
    ///
    /// What is set here, in [`Options::class`] and in [`Options::max_bytes`] takes precedence over
    /// the ledger's file `runledger.toml`, which takes it over the defaults.
    pub fn retention(mut self, kind: Kind, age: Option<Duration>) -> Self {
        self.retention.set_term(Class::of(kind), age.map_or(Term::Forever, Term::For));
        self
    }

    /// The limits of a class of records. One narrower than a kind is split off by it: from now on
    /// its records go to a stream of their own, which expires by itself.
    pub fn class(mut self, class: Class, limits: Limits) -> Self {
        self.retention = self.retention.class(class, limits);
        self
    }

    /// How many bytes of disk the whole directory may take: beyond, the copies of what recovery has
    /// cut go, and then the oldest segments. Segments are no larger than a sixteenth of it, so that
    /// not everything goes at once; where pins and the like take more than that by themselves, the
    /// newest of each stream stay. `None` leaves the bound to the file `runledger.toml`; without
    /// one there is none.
    pub fn max_bytes(mut self, bytes: Option<u64>) -> Self {
        self.retention = self.retention.max_bytes(bytes);
        self
    }

    /// Whether a ledger is made where there is none.
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Whether a thread seals segments, syncs at intervals and applies retention. Without it
    /// segments are sealed by the append that fills them, and the rest is done by
    /// [`Ledger::maintain`].
    pub fn background(mut self, background: bool) -> Self {
        self.background = background;
        self
    }

    /// How long after the arrival of its newest record a segment is compacted in the background; a
    /// day unless set, and `None` for never. Of runs only the newest states are left then. Without
    /// [`Options::background`] nothing is compacted but by [`Ledger::compact`].
    pub fn compaction(mut self, age: Option<Duration>) -> Self {
        self.compaction_age = age;
        self
    }

    /// How many bytes of frames the background reads and compacts a second at the most, so that the
    /// disk and the processor are left to others: 16 MiB unless set.
    pub fn compaction_rate(mut self, bytes_per_second: u64) -> Self {
        self.compaction_rate = bytes_per_second;
        self
    }

    /// How many bytes of disk are held back in a file of their own, so that on a full disk the ends
    /// of runs and clean-up still get through: half a mebibyte unless set, no more than a 64th of
    /// [`Options::max_bytes`], and 0 for none. They are given up when they are needed, and taken
    /// anew before any other append when there is space again.
    pub fn reserve_bytes(mut self, bytes: u64) -> Self {
        self.reserve_bytes = bytes;
        self
    }

    /// How long the owner of a run that is started here vouches for it, from each sign of life:
    /// [`Ledger::start_run`], [`RunHandle::update`](crate::RunHandle::update) or
    /// [`RunHandle::heartbeat`](crate::RunHandle::heartbeat). `None`, the default, for no such
    /// promise. It counts for writers that cannot see this process, from another machine or another
    /// container: they abandon the run when the lease has ended by their clock, at their opening or
    /// within a minute.
    pub fn lease(mut self, lease: Option<Duration>) -> Self {
        self.lease = lease;
        self
    }

    /// Whether what is appended is another ledger's, as an import's is. Runs may then be given as
    /// `abandoned`, which is else for this ledger alone to say.
    pub fn restores(mut self, restores: bool) -> Self {
        self.restores = restores;
        self
    }

    /// Where files are kept; the real disk unless a test puts in another.
    pub fn storage(mut self, storage: Arc<dyn Storage>) -> Self {
        self.storage = storage;
        self
    }

    /// Opens the ledger in this directory for writing. What a crash left is put in order first.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a segment size out of bounds; [`Error::Locked`] when it has a writer
    /// already; [`Error::NotALedger`] when the directory is something else, or is missing and
    /// [`Options::create`] is off; [`Error::NewerFormat`] when a newer program wrote it;
    /// [`Error::NoSpace`], [`Error::ReadOnly`] or [`Error::Io`] when it cannot be made or read.
    pub fn open(self, dir: impl AsRef<Path>) -> Result<Ledger> {
        if !(MIN_SEGMENT_BYTES..=MAX_SEGMENT_BYTES).contains(&self.segment_bytes) {
            return Err(Error::invalid(
                "segment size",
                &self.segment_bytes.to_string(),
                "65536 to 1073741824 bytes",
            ));
        }
        Ledger::open_with(dir.as_ref(), self)
    }
}
